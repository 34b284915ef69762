package storage

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// A chunk is there whole after its files could not be adopted, or not at all, and leaves no file behind.
func TestImportRefusesAndCleansUp(t *testing.T) {
	fsys := vfs.NewMem()
	s := mustOpen(t, fsys, Options{})
	defer mustClose(t, s)
	c := s.Collection(1, 2)
	var v *ValueError
	for _, row := range []ItemRow{{ID: "", LSN: 1}, {ID: "a", LSN: 0}, {ID: string(make([]byte, MaxIDBytes+1)), LSN: 1}} {
		if err := c.Import(ImportChunk{Rows: []ItemRow{{ID: "good", LSN: 1}, row}}); !errors.As(err, &v) {
			t.Errorf("row %.10q at LSN %d: %v", row.ID, row.LSN, err)
		}
	}
	if _, err := c.Item("good"); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	if err := c.Import(ImportChunk{Rows: []ItemRow{{ID: "good", LSN: 1}}}); err != nil {
		t.Fatal(err)
	}
	names, err := fsys.List(fsys.PathJoin(testDir, ingestDir))
	if err != nil || len(names) != 0 {
		t.Errorf("left behind: %q, %v", names, err)
	}
}

// Of two rows with one id the later stands, within a chunk and over chunks; rejects are numbered through.
func TestImportReplaces(t *testing.T) {
	s := mustOpen(t, vfs.NewMem(), Options{})
	defer mustClose(t, s)
	c := s.Collection(1, 2)
	row := func(id string, b byte) ItemRow { return ItemRow{ID: id, LSN: 1, Vector: []byte{b}} }
	if err := errors.Join(
		c.Import(ImportChunk{Rows: []ItemRow{row("b", 1), row("a", 2), row("b", 3)}, Profiles: []ProfileRow{profile("u", 1), profile("t", 2), profile("u", 3)}, Progress: []byte("1"), Rejects: [][]byte{{0}, {1}}}),
		c.Import(ImportChunk{Rows: []ItemRow{row("a", 4), row("c", 5)}, Progress: []byte("2"), Rejects: [][]byte{{2}}, FirstReject: 2}),
		c.Import(ImportChunk{Progress: []byte("3")}),
	); err != nil {
		t.Fatal(err)
	}
	got := ""
	for r, err := range c.Items("", 0) {
		if err != nil {
			t.Fatal(err)
		}
		got += fmt.Sprint(r.ID, r.Vector[0], " ")
	}
	progress, err := c.ImportProgress()
	if got != "a4 b3 c5 " || string(progress) != "3" || err != nil {
		t.Errorf("items %s, progress %q, %v", got, progress, err)
	}
	if p, err := c.Profile("u"); err != nil || p.LSN != 3 {
		t.Error(p, err)
	}
	if p, err := c.Profile("t"); err != nil || p.LSN != 2 {
		t.Error(p, err)
	}
	for from := range uint64(4) {
		next := from
		for b, err := range c.ImportRejects(from) {
			if err != nil || len(b) != 1 || uint64(b[0]) != next {
				t.Errorf("from %d: reject %x, %v", from, b, err)
			}
			next++
		}
		if next != 3 && from < 3 {
			t.Errorf("from %d: ends at %d", from, next)
		}
	}
	for _, err := range c.ImportRejects(0) {
		if err != nil {
			t.Error(err)
		}
		break // an iteration that is left does not hold the store: mustClose would hang
	}
}

func TestStartLog(t *testing.T) {
	fsys := vfs.NewMem()
	s := mustOpen(t, fsys, Options{})
	c := s.Collection(1, 2)
	if err := errors.Join(c.StartLog(7), c.StartLog(7)); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	s = mustOpen(t, fsys, Options{})
	defer mustClose(t, s)
	c = s.Collection(1, 2)
	if last, err := c.LastLSN(); last != 6 || err != nil {
		t.Fatal(last, err)
	}
	b := c.NewBatch()
	if err := errors.Join(b.PutItem(item("a", 7)), b.Commit(), b.Close()); err != nil {
		t.Fatal(err)
	}
	var lsn *LSNError
	if err := c.StartLog(9); !errors.As(err, &lsn) {
		t.Error(err)
	}
	// A log of its own that holds records is not moved.
	other := s.Collection(1, 3)
	b = other.NewBatch()
	if err := errors.Join(b.PutItem(item("a", 1)), b.Commit(), b.Close()); err != nil {
		t.Fatal(err)
	}
	if err := other.StartLog(9); !errors.As(err, &lsn) {
		t.Error(err)
	}
	if err := errors.Join(s.DropRelease(1, 3), other.StartLog(9)); err != nil {
		t.Error(err)
	}
}

// Pieces of a graph come back in order and whole, over chunks; too large a one is refused; and they can be dropped without
// anything else of the import.
func TestImportGraph(t *testing.T) {
	fsys := vfs.NewMem()
	s := mustOpen(t, fsys, Options{})
	c, other := s.Collection(1, 2), s.Collection(1, 3)
	large := make([]byte, MaxGraphBytes)
	large[5] = 5
	pieces := [][]byte{[]byte("a"), large, {}, []byte("d")}
	if err := errors.Join(
		c.Import(ImportChunk{Rows: []ItemRow{{ID: "a", LSN: 1}}, Progress: []byte("1"), Graph: pieces[:2]}),
		c.Import(ImportChunk{Progress: []byte("2"), Rejects: [][]byte{{7}}, Graph: pieces[2:], FirstGraph: 2}),
		other.Import(ImportChunk{Progress: []byte("o"), Graph: pieces[:1]}),
	); err != nil {
		t.Fatal(err)
	}
	if err := c.Import(ImportChunk{Graph: [][]byte{make([]byte, MaxGraphBytes+1)}, FirstGraph: 4}); !errors.As(err, new(*ValueError)) {
		t.Errorf("a piece that is too large: %v", err)
	}
	read := func(c *Collection) (got [][]byte) {
		for b, err := range c.ImportGraph() {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, b)
		}
		return got
	}
	mustClose(t, s)
	s = mustOpen(t, fsys, Options{})
	defer mustClose(t, s)
	c, other = s.Collection(1, 2), s.Collection(1, 3)
	if got := read(c); !slices.EqualFunc(got, pieces, bytes.Equal) {
		t.Errorf("%d pieces", len(got))
	}
	for range 2 {
		if err := c.DropImportGraph(); err != nil {
			t.Fatal(err)
		}
	}
	if got := read(c); got != nil {
		t.Errorf("%d pieces are left", len(got))
	}
	if got := read(other); len(got) != 1 {
		t.Errorf("%d pieces of another release", len(got))
	}
	if _, err := c.Item("a"); err != nil {
		t.Error(err)
	}
	if p, err := c.ImportProgress(); string(p) != "2" || err != nil {
		t.Errorf("%q, %v", p, err)
	}
	for b, err := range c.ImportRejects(0) {
		if err != nil || b[0] != 7 {
			t.Error(b, err)
		}
	}
}

// Whichever operation on the files of a chunk fails, and whether it goes on failing: the chunk is not there, or whole where Pebble found
// another way; no file of it is left; and once the disk works the same chunk is taken.
func TestImportOnFailingDisk(t *testing.T) {
	chunk := func(n uint64) ImportChunk {
		return ImportChunk{
			Rows:     []ItemRow{item("a", n), item("b", n)},
			Profiles: []ProfileRow{profile("u", n)},
			Progress: fmt.Appendf(nil, "progress %d", n),
			Rejects:  [][]byte{fmt.Appendf(nil, "reject %d", n)}, FirstReject: n - 1,
			Graph: [][]byte{fmt.Appendf(nil, "piece %d", n)}, FirstGraph: n - 1,
		}
	}
	// read is all that imports into c left to be read.
	read := func(c *Collection) string {
		var b bytes.Buffer
		for _, id := range []string{"a", "b"} {
			r, err := c.Item(id)
			fmt.Fprintln(&b, id, r.LSN, err)
		}
		p, err := c.Profile("u")
		fmt.Fprintln(&b, p.LSN, err)
		progress, err := c.ImportProgress()
		fmt.Fprintf(&b, "%s %v\n", progress, err)
		for row, err := range c.ImportRejects(0) {
			fmt.Fprintf(&b, "%s %v\n", row, err)
		}
		for row, err := range c.ImportGraph() {
			fmt.Fprintf(&b, "%s %v\n", row, err)
		}
		return b.String()
	}
	injected := errors.New("injected")
	failed := map[errorfs.OpKind]int{}
	for _, once := range []bool{false, true} {
		for n, ended := int64(1), false; !ended; n++ {
			var at atomic.Int64
			inj := &faulty{err: injected}
			inj.hit = func(op errorfs.Op) bool {
				if op.Kind.ReadOrWrite() != errorfs.OpIsWrite || op.Kind == errorfs.OpRemove || !strings.Contains(op.Path, ingestDir) {
					return false
				}
				i := at.Add(1)
				if i < n || once && i > n {
					return false
				}
				failed[op.Kind]++
				return true
			}
			fsys := vfs.NewMem()
			s := mustOpen(t, errorfs.Wrap(fsys, inj), Options{OnFatal: func(err error) { t.Error(err) }})
			c := s.Collection(1, 2)
			if err := c.Import(chunk(1)); err != nil {
				t.Fatal(err)
			}
			before := read(c)
			inj.armed.Store(true)
			err := c.Import(chunk(2))
			inj.armed.Store(false)
			ended = at.Load() < n
			after := read(c)
			switch {
			case err == nil && after == before:
				t.Errorf("operation %d: nothing of the chunk is there", n)
			case err != nil && (!errors.Is(err, injected) || after != before):
				t.Errorf("operation %d: %v, and then\n%s, was\n%s", n, err, after, before)
			}
			if names, err := fsys.List(fsys.PathJoin(testDir, ingestDir)); err != nil || len(names) != 0 {
				t.Errorf("operation %d left behind %q, %v", n, names, err)
			}
			if err != nil {
				if err := c.Import(chunk(2)); err != nil {
					t.Errorf("operation %d, and the disk is well again: %v", n, err)
				}
			}
			whole := read(c)
			mustClose(t, s)
			again := mustOpen(t, fsys, Options{})
			if got := read(again.Collection(1, 2)); got != whole || strings.Count(got, "2") < 6 {
				t.Errorf("operation %d: opened again it has\n%s, had\n%s", n, got, whole)
			}
			mustClose(t, again)
		}
	}
	for _, kind := range []errorfs.OpKind{errorfs.OpCreate, errorfs.OpFileWrite, errorfs.OpLink} {
		if failed[kind] == 0 {
			t.Errorf("no operation of kind %d failed: %v", kind, failed)
		}
	}
}
