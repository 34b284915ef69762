package storage

import (
	"errors"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
)

// testDir has parents that do not exist: Open makes them durable too.
const testDir = "srv/segue/store"

// mustOpen opens a store on fsys and closes it at the end of the test.
func mustOpen(t testing.TB, fsys vfs.FS, o Options) *Store {
	t.Helper()
	o.FS = fsys
	s, err := Open(testDir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil && !errors.Is(err, ErrClosed) {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func mustClose(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// item returns a row whose bytes follow from id and lsn.
func item(id string, lsn uint64) ItemRow {
	return ItemRow{ID: id, LSN: lsn, DType: 1, Dim: 4,
		Vector: []byte(fmt.Sprintf("vec:%s:%08d", id, lsn)), Attributes: []byte(fmt.Sprintf("attr %d", lsn))}
}

func profile(user string, lsn uint64) ProfileRow {
	return ProfileRow{UserID: user, LSN: lsn, DType: 1, Dim: 2, Count: 3,
		Vectors: []byte(fmt.Sprintf("interests:%s:%d", user, lsn)), Attributes: []byte("a")}
}

// putItems commits one batch of items with LSNs from first on.
func putItems(t testing.TB, c *Collection, first uint64, ids ...string) {
	t.Helper()
	b := c.NewBatch()
	defer b.Close()
	for i, id := range ids {
		if err := b.PutItem(item(id, first+uint64(i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Commit(); err != nil {
		t.Fatal(err)
	}
}

func allItems(t testing.TB, c *Collection) (ids []string) {
	t.Helper()
	for r, err := range c.Items("", 0) {
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(item(r.ID, r.LSN), r); diff != "" {
			t.Fatalf("row %q differs:\n%s", r.ID, diff)
		}
		ids = append(ids, r.ID)
	}
	return ids
}

func TestReopenKeepsRows(t *testing.T) {
	fsys := vfs.NewMem()
	s := mustOpen(t, fsys, Options{})
	if err := s.PutCollection(CollectionRow{ID: 1, Name: "tracks", Config: []byte("dim=4")}); err != nil {
		t.Fatal(err)
	}
	c := s.Collection(1, 0)
	putItems(t, c, 1, "b", "a", "c")
	b := c.NewBatch()
	if err := errors.Join(b.DeleteItem("b", 4), b.PutProfile(profile("u", 5)), b.Commit(), b.Close()); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)

	s = mustOpen(t, fsys, Options{})
	c = s.Collection(1, 0)
	if diff := cmp.Diff([]string{"a", "c"}, allItems(t, c)); diff != "" {
		t.Fatal(diff)
	}
	if _, err := c.Item("b"); !errors.Is(err, ErrNotFound) {
		t.Fatalf("deleted item: %v", err)
	}
	p, err := c.Profile("u")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(profile("u", 5), p); diff != "" {
		t.Fatal(diff)
	}
	var log []LogRecord
	if err := c.Log(0, func(r LogRecord) error { log = append(log, r); return nil }); err != nil {
		t.Fatal(err)
	}
	want := []LogRecord{{1, LogPutItem, "b"}, {2, LogPutItem, "a"}, {3, LogPutItem, "c"}, {4, LogDeleteItem, "b"}, {5, LogPutProfile, "u"}}
	if diff := cmp.Diff(want, log); diff != "" {
		t.Fatal(diff)
	}
	rows, err := s.Collections()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]CollectionRow{{ID: 1, Name: "tracks", Config: []byte("dim=4")}}, rows); diff != "" {
		t.Fatal(diff)
	}
}

func TestBatchRefusesWrongLSN(t *testing.T) {
	s := mustOpen(t, vfs.NewMem(), Options{})
	c := s.Collection(1, 0)
	putItems(t, c, 1, "a")
	for _, first := range []uint64{1, 3} {
		b := c.NewBatch()
		if err := b.PutItem(item("x", first)); err != nil {
			t.Fatal(err)
		}
		var lsnErr *LSNError
		if err := b.Commit(); !errors.As(err, &lsnErr) || lsnErr.Want != 2 {
			t.Fatalf("LSN %d: %v", first, err)
		}
		b.Close()
	}
	b := c.NewBatch()
	defer b.Close()
	if err := b.PutItem(item("x", 2)); err != nil {
		t.Fatal(err)
	}
	var lsnErr *LSNError
	if err := b.PutItem(item("y", 4)); !errors.As(err, &lsnErr) || lsnErr.Want != 3 {
		t.Fatalf("gap inside of a batch: %v", err)
	}
	if err := b.Commit(); err == nil {
		t.Fatal("a batch that refused a row was committed")
	}
	if diff := cmp.Diff([]string{"a"}, allItems(t, c)); diff != "" {
		t.Fatal(diff)
	}
}

func TestDropCollectionLeavesOthers(t *testing.T) {
	fsys := vfs.NewMem()
	s := mustOpen(t, fsys, Options{})
	for id := uint32(1); id <= 3; id++ {
		if err := s.PutCollection(CollectionRow{ID: id, Name: fmt.Sprint("c", id)}); err != nil {
			t.Fatal(err)
		}
		putItems(t, s.Collection(id, 0), 1, "a", "b")
		putItems(t, s.Collection(id, 7), 1, "c")
	}
	if err := s.DropCollection(2); err != nil {
		t.Fatal(err)
	}
	check := func() {
		t.Helper()
		for id := uint32(1); id <= 3; id++ {
			n := len(allItems(t, s.Collection(id, 0))) + len(allItems(t, s.Collection(id, 7)))
			last, err := s.Collection(id, 0).LastLSN()
			if err != nil {
				t.Fatal(err)
			}
			if id == 2 && (n != 0 || last != 0) || id != 2 && (n != 3 || last != 2) {
				t.Fatalf("collection %d has %d items, last LSN %d", id, n, last)
			}
		}
		var v *ValueError
		if err := s.PutCollection(CollectionRow{ID: 2, Name: "again"}); !errors.As(err, &v) {
			t.Fatalf("id reused: %v", err)
		}
		if next, err := s.NextCollectionID(); err != nil || next != 4 {
			t.Fatalf("next id %d, %v", next, err)
		}
		if err := s.DropCollection(2); !errors.Is(err, ErrNotFound) {
			t.Fatal(err)
		}
	}
	check()
	mustClose(t, s)
	s = mustOpen(t, fsys, Options{})
	check()
}

func TestTrimLog(t *testing.T) {
	fsys := vfs.NewMem()
	s := mustOpen(t, fsys, Options{})
	c := s.Collection(1, 0)
	putItems(t, c, 1, "a", "b", "c", "d")
	for _, below := range []uint64{3, 2, 5} {
		if err := c.TrimLog(below); err != nil {
			t.Fatal(err)
		}
	}
	var lsnErr *LSNError
	if err := c.TrimLog(6); !errors.As(err, &lsnErr) {
		t.Fatal(err)
	}
	mustClose(t, s)
	s = mustOpen(t, fsys, Options{})
	c = s.Collection(1, 0)
	if last, err := c.LastLSN(); err != nil || last != 4 {
		t.Fatalf("last LSN of a log trimmed to nothing: %d, %v", last, err)
	}
	if first, err := c.FirstLSN(); err != nil || first != 5 {
		t.Fatalf("first %d, %v", first, err)
	}
	var trimmed *LogTrimmedError
	fail := func(LogRecord) error { t.Error("record of an empty log"); return nil }
	if err := c.Log(4, fail); !errors.As(err, &trimmed) || trimmed.First != 5 {
		t.Fatal(err)
	}
	if err := c.Log(5, fail); err != nil {
		t.Fatal(err)
	}
	putItems(t, c, 5, "e")
}

func TestClosedAndReadOnly(t *testing.T) {
	fsys := vfs.NewMem()
	if _, err := Open(testDir, Options{FS: fsys, ReadOnly: true}); !errors.Is(err, ErrNoStore) {
		t.Fatal(err)
	}
	s := mustOpen(t, fsys, Options{})
	putItems(t, s.Collection(1, 0), 1, "a")
	if _, err := Open(testDir, Options{FS: fsys}); !errors.Is(err, ErrLocked) {
		t.Fatalf("second Open: %v", err)
	}
	mustClose(t, s)
	if err := s.Close(); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
	if _, err := s.Collection(1, 0).Item("a"); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
	s = mustOpen(t, fsys, Options{ReadOnly: true})
	c := s.Collection(1, 0)
	if diff := cmp.Diff([]string{"a"}, allItems(t, c)); diff != "" {
		t.Fatal(diff)
	}
	b := c.NewBatch()
	defer b.Close()
	if err := b.DeleteItem("a", 2); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{b.Commit(), s.PutCollection(CollectionRow{ID: 1, Name: "x"}), s.DropCollection(1), c.TrimLog(2)} {
		if !errors.Is(err, ErrReadOnly) {
			t.Fatal(err)
		}
	}
}
