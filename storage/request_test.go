package storage

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestRequestsAreOfTheirBatch: a request is remembered with the mutations it is of, and only with them; forgetting takes what is below.
func TestRequestsAreOfTheirBatch(t *testing.T) {
	fsys := vfs.NewMem()
	s := mustOpen(t, fsys, Options{})
	if err := s.PutCollection(CollectionRow{ID: 1, Name: "c"}); err != nil {
		t.Fatal(err)
	}
	seen := func() (lsns []uint64) {
		for r, err := range s.Requests(1) {
			if err != nil || string(r.Data) != fmt.Sprint("data ", r.LSN) {
				t.Fatalf("%+v, %v", r, err)
			}
			lsns = append(lsns, r.LSN)
		}
		return lsns
	}
	c := s.Collection(1, 0)
	for lsn := uint64(1); lsn <= 6; lsn++ {
		b := c.NewBatch()
		var bad *ValueError
		for _, wrong := range []uint64{0, lsn - 1, lsn, lsn + 1} { // no mutation has it yet
			if err := b.PutRequest(wrong, nil); !errors.As(err, &bad) {
				t.Fatalf("request %d of an empty batch: %v", wrong, err)
			}
		}
		if err := b.PutItem(item("a", lsn)); err != nil {
			t.Fatal(err)
		}
		if err := b.PutRequest(lsn+1, nil); !errors.As(err, &bad) {
			t.Fatalf("a request beyond the batch: %v", err)
		}
		if err := b.PutRequest(lsn, []byte(fmt.Sprint("data ", lsn))); err != nil {
			t.Fatal(err)
		}
		if lsn == 5 {
			if err := b.DropRequests(3); err != nil {
				t.Fatal(err)
			}
		}
		if lsn == 6 { // never committed
			if err := b.Close(); err != nil {
				t.Fatal(err)
			}
			break
		}
		if err := errors.Join(b.Commit(), b.PutRequest(lsn, nil)); !errors.Is(err, errBatchUsed) {
			t.Fatalf("a request after the commit: %v", err)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if got := seen(); !slices.Equal(got, []uint64{3, 4, 5}) {
		t.Errorf("remembered %v", got)
	}
	mustClose(t, s)
	s = mustOpen(t, fsys, Options{})
	if got := seen(); !slices.Equal(got, []uint64{3, 4, 5}) {
		t.Errorf("remembered %v after reopening", got)
	}
	if err := s.DropCollection(1); err != nil || len(seen()) > 0 {
		t.Errorf("remembered %v of a dropped collection, %v", seen(), err)
	}
}

// TestAliases: one name means one collection, moves in one step, survives, and goes with its collection.
func TestAliases(t *testing.T) {
	fsys := vfs.NewMem()
	s := mustOpen(t, fsys, Options{})
	for id := uint32(1); id <= 2; id++ {
		if err := s.PutCollection(CollectionRow{ID: id, Name: fmt.Sprint(id)}); err != nil {
			t.Fatal(err)
		}
	}
	for _, a := range []AliasRow{{"b", 1}, {"a", 1}, {"c", 2}, {"b", 2}} {
		if err := s.PutAlias(a); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.DeleteAlias("none"); err != nil {
		t.Error(err)
	}
	want := []AliasRow{{"a", 1}, {"b", 2}, {"c", 2}}
	if got, err := s.Aliases(); err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	mustClose(t, s)
	s = mustOpen(t, fsys, Options{})
	if got, err := s.Aliases(); err != nil || !slices.Equal(got, want) {
		t.Errorf("after reopening %v, %v", got, err)
	}
	if err := s.DropCollection(2); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Aliases(); err != nil || !slices.Equal(got, want[:1]) {
		t.Errorf("after a drop %v, %v", got, err)
	}
	for _, name := range []string{"", strings.Repeat("x", MaxNameBytes+1)} {
		if err := s.PutAlias(AliasRow{name, 1}); !errors.As(err, new(*ValueError)) {
			t.Errorf("an alias of %d bytes: %v", len(name), err)
		}
	}
}

// TestCheckFindsStrayAliases: an alias, or a request, of a collection that is not there is a fault.
func TestCheckFindsStrayAliases(t *testing.T) {
	fsys := vfs.NewMem()
	s := mustOpen(t, fsys, Options{})
	if err := s.PutAlias(AliasRow{"stray", 9}); err != nil {
		t.Fatal(err)
	}
	b := s.Collection(9, 0).NewBatch()
	if err := errors.Join(b.PutItem(item("a", 1)), b.PutRequest(1, nil), b.Commit(), b.Close()); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	got := fmt.Sprint(findings(t, fsys))
	for _, want := range []string{`a/"stray"`, "q/9/1"} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is not among %s", want, got)
		}
	}
}
