package storage

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
)

// slabBytes are the bytes of one slab of a test snapshot: half noise, half zeros, different for each slab.
func slabBytes(gen uint64, section string, n, size int) []byte {
	rng := rand.New(rand.NewPCG(gen, uint64(n)*1000+uint64(len(section))))
	b := make([]byte, size)
	for i := range size / 2 {
		b[i] = byte(rng.Uint32())
	}
	return b
}

var testSections = []SectionInfo{{Name: "vectors", Slabs: 3}, {Name: "links0", Slabs: 2}, {Name: "upper", Slabs: 1}, {Name: "empty"}}

func testHeader(gen, lsn uint64) SnapshotHeader {
	return SnapshotHeader{LSN: lsn, CreateTime: time.UnixMicro(1700000000000000 + int64(gen)).UTC(),
		Engine: []byte(fmt.Sprintf("engine %d", gen)), Index: []byte("index"), Sections: testSections}
}

// writeSlabs writes all slabs of a generation; "links0" and "upper" are compressed.
func writeSlabs(w *SnapshotWriter, gen uint64, size int) error {
	for _, sec := range testSections {
		for n := range sec.Slabs {
			if err := w.Slab(sec.Name, n, sec.Name != "vectors", slabBytes(gen, sec.Name, n, size)); err != nil {
				return err
			}
		}
	}
	return nil
}

func writeSnapshot(c *Collection, gen, lsn uint64, size int) error {
	w, err := c.NewSnapshot(gen)
	if err != nil {
		return err
	}
	defer w.Abort()
	if err := writeSlabs(w, gen, size); err != nil {
		return err
	}
	return w.Commit(testHeader(gen, lsn))
}

// checkSnapshot reads a generation whole and compares it with what writeSnapshot wrote.
func checkSnapshot(c *Collection, gen, lsn uint64, size int) error {
	r, err := c.OpenSnapshot(gen)
	if err != nil {
		return err
	}
	if diff := cmp.Diff(testHeader(gen, lsn), r.Header()); diff != "" {
		return fmt.Errorf("header of %d differs:\n%s", gen, diff)
	}
	for _, sec := range r.Header().Sections {
		for n := range sec.Slabs {
			got, err := r.ReadSlab(sec.Name, n, nil)
			if err != nil {
				return err
			}
			if !bytes.Equal(got, slabBytes(gen, sec.Name, n, size)) {
				return fmt.Errorf("slab %d of %s differs", n, sec.Name)
			}
		}
	}
	return nil
}

func TestSnapshotRoundTrip(t *testing.T) {
	fsys := vfs.NewMem()
	s := mustOpen(t, fsys, Options{})
	c := s.Collection(1, 0)
	putItems(t, c, 1, "a", "b")
	const size = 40_000
	for gen := uint64(1); gen <= 3; gen++ {
		if err := writeSnapshot(c, gen, 10*gen, size); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.NewSnapshot(2); !errors.Is(err, ErrSnapshotExists) {
		t.Fatal(err)
	}
	if err := c.DropSnapshot(2); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		infos, err := c.Snapshots()
		if err != nil {
			t.Fatal(err)
		}
		if len(infos) != 2 || infos[0].Generation != 3 || infos[1].Generation != 1 || infos[0].LSN != 30 ||
			infos[0].Slabs != 6 || infos[0].Bytes < 3*size || infos[0].Bytes > 6*size {
			t.Fatalf("%+v", infos)
		}
		for _, gen := range []uint64{1, 3} {
			if err := checkSnapshot(c, gen, 10*gen, size); err != nil {
				t.Fatal(err)
			}
		}
		if err := checkSnapshot(c, 2, 20, size); !errors.Is(err, ErrNotFound) {
			t.Fatal(err)
		}
		mustClose(t, s)
		s = mustOpen(t, fsys, Options{})
		c = s.Collection(1, 0)
	}
	if names, err := fsys.List(testDir + "/" + ingestDir); err == nil && len(names) > 0 {
		t.Fatalf("files left behind: %v", names)
	}
	if err := c.DropSnapshot(2); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
}

// Interleaved sections make one file a run; the ranges of the files must not overlap.
func TestSnapshotInterleavedSections(t *testing.T) {
	s := mustOpen(t, vfs.NewMem(), Options{})
	c := s.Collection(1, 0)
	w, err := c.NewSnapshot(1)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	for n := range 3 {
		for _, sec := range []string{"b", "aa", "a"} {
			if err := w.Slab(sec, n, n == 1, []byte(fmt.Sprint(sec, n))); err != nil {
				t.Fatal(err)
			}
		}
	}
	h := SnapshotHeader{LSN: 1, Sections: []SectionInfo{{"a", 3}, {"aa", 3}, {"b", 3}}}
	if err := w.Commit(h); err != nil {
		t.Fatal(err)
	}
	r, err := c.OpenSnapshot(1)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for _, sec := range h.Sections {
		for n := range sec.Slabs {
			wg.Go(func() {
				buf, err := r.ReadSlab(sec.Name, n, make([]byte, 0, 64))
				if err != nil || string(buf) != fmt.Sprint(sec.Name, n) {
					t.Errorf("%s %d: %q, %v", sec.Name, n, buf, err)
				}
			})
		}
	}
	wg.Wait()
	for _, bad := range []struct {
		section string
		n       int
	}{{"a", 3}, {"a", -1}, {"c", 0}} {
		if _, err := r.ReadSlab(bad.section, bad.n, nil); !errors.Is(err, ErrNotFound) {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

func TestSnapshotWriterRefuses(t *testing.T) {
	s := mustOpen(t, vfs.NewMem(), Options{})
	c := s.Collection(1, 0)
	for name, misuse := range map[string]func(w *SnapshotWriter) error{
		"slab out of order": func(w *SnapshotWriter) error { return w.Slab("a", 1, false, nil) },
		"no section":        func(w *SnapshotWriter) error { return w.Slab("", 0, false, nil) },
		"huge slab":         func(w *SnapshotWriter) error { return w.Slab("a", 0, false, make([]byte, MaxSlabBytes+1)) },
		"unlisted section": func(w *SnapshotWriter) error {
			return errors.Join(w.Slab("a", 0, false, nil), w.Commit(SnapshotHeader{}))
		},
		"slab count": func(w *SnapshotWriter) error {
			return errors.Join(w.Slab("a", 0, false, nil), w.Commit(SnapshotHeader{Sections: []SectionInfo{{"a", 2}}}))
		},
		"listed twice": func(w *SnapshotWriter) error {
			return w.Commit(SnapshotHeader{Sections: []SectionInfo{{"a", 0}, {"a", 0}}})
		},
	} {
		w, err := c.NewSnapshot(1)
		if err != nil {
			t.Fatal(name, err)
		}
		if _, err := c.NewSnapshot(1); !errors.Is(err, ErrSnapshotExists) {
			t.Fatal("two writers of one generation", err)
		}
		var v *ValueError
		if err := misuse(w); !errors.As(err, &v) {
			t.Errorf("%s: %v", name, err)
		}
		if err := w.Commit(SnapshotHeader{}); err == nil {
			t.Errorf("%s: committed after a refusal", name)
		}
		if err := w.Abort(); err != nil {
			t.Errorf("%s: abort: %v", name, err)
		}
	}
	if infos, err := c.Snapshots(); err != nil || len(infos) != 0 {
		t.Fatal(infos, err)
	}
	if ids, err := s.pending(); err != nil || len(ids) != 0 {
		t.Fatal(ids, err)
	}
}

// Every planted fault is named with section and slab, and never hides the other generation.
func TestSnapshotCorruptionIsNamed(t *testing.T) {
	const size = 3*fragmentBytes + 1000
	plant := map[string]func(s *Store, key []byte) error{
		"first fragment missing": func(s *Store, key []byte) error { return s.db.Delete(fragmentKey(key, 0), pebble.Sync) },
		"fragment missing":       func(s *Store, key []byte) error { return s.db.Delete(fragmentKey(key, 1), pebble.Sync) },
		"all fragments missing": func(s *Store, key []byte) error {
			start, end := keySpan(key)
			return s.db.DeleteRange(start, end, pebble.Sync)
		},
		"fragment too many": func(s *Store, key []byte) error { return s.db.Set(fragmentKey(key, 4), []byte("x"), pebble.Sync) },
		"header flipped": func(s *Store, key []byte) error {
			return s.edit(fragmentKey(key, 0), func(v []byte) []byte { v[9] ^= 1; return v })
		},
		"checksum flipped": func(s *Store, key []byte) error {
			return s.edit(fragmentKey(key, 0), func(v []byte) []byte { v[0] ^= 1; return v })
		},
		"bit flipped": func(s *Store, key []byte) error {
			return s.edit(fragmentKey(key, 1), func(v []byte) []byte { v[len(v)-1] ^= 4; return v })
		},
		"cut": func(s *Store, key []byte) error {
			return s.edit(fragmentKey(key, 1), func(v []byte) []byte { return v[:len(v)-1] })
		},
		"cut in the header": func(s *Store, key []byte) error {
			return s.edit(fragmentKey(key, 0), func(v []byte) []byte { return v[:3] })
		},
		// Intact bytes, but of another slab: only the key in the checksum tells.
		"swapped": func(s *Store, key []byte) error {
			other := slabKey(1, 0, 2, "vectors", 0)
			for f := range 4 {
				v, done, err := s.get(fragmentKey(other, f))
				if err != nil {
					return err
				}
				err = s.db.Set(fragmentKey(key, f), v, pebble.Sync)
				done()
				if err != nil {
					return err
				}
			}
			return nil
		},
		// Intact bytes under the right key, but not those of this generation's writer.
		"replaced": func(s *Store, key []byte) error {
			start, end := keySpan(key)
			return errors.Join(s.db.DeleteRange(start, end, pebble.Sync),
				s.db.Set(fragmentKey(key, 0), encodeSlab(nil, key, []byte("other"), nil), pebble.Sync))
		},
	}
	s := mustOpen(t, vfs.NewMem(), Options{})
	c := s.Collection(1, 0)
	if err := writeSnapshot(c, 1, 1, size); err != nil {
		t.Fatal(err)
	}
	for name, fault := range plant {
		for _, at := range []struct {
			section string
			n       int
		}{{"vectors", 2}, {"links0", 1}} {
			if err := writeSnapshot(c, 2, 2, size); err != nil {
				t.Fatal(err)
			}
			key := slabKey(1, 0, 2, at.section, uint32(at.n))
			if err := fault(s, key); err != nil {
				t.Fatal(name, err)
			}
			var ce *CorruptionError
			err := checkSnapshot(c, 2, 2, size)
			if !errors.As(err, &ce) || ce.Section != at.section || ce.Slab != at.n || !IsCorruption(err) {
				t.Errorf("%s at %v: %v", name, at, err)
			}
			if err := checkSnapshot(c, 1, 1, size); err != nil {
				t.Errorf("%s: older generation: %v", name, err)
			}
			if err := c.DropSnapshot(2); err != nil {
				t.Errorf("%s: drop: %v", name, err)
			}
		}
	}
}

func TestSnapshotDamagedHeaderIsListed(t *testing.T) {
	s := mustOpen(t, vfs.NewMem(), Options{})
	c := s.Collection(1, 0)
	for gen := uint64(1); gen <= 2; gen++ {
		if err := writeSnapshot(c, gen, gen, 100); err != nil {
			t.Fatal(err)
		}
	}
	key := snapshotID{releaseID{1, 0}, 2}.headerKey()
	if err := s.edit(key, func(v []byte) []byte { v[10] ^= 1; return v }); err != nil {
		t.Fatal(err)
	}
	infos, err := c.Snapshots()
	if err != nil || len(infos) != 2 || infos[0].Generation != 2 || !IsCorruption(infos[0].Err) || infos[1].Err != nil {
		t.Fatalf("%+v, %v", infos, err)
	}
	if _, err := c.OpenSnapshot(2); !IsCorruption(err) {
		t.Fatal(err)
	}
	if err := c.DropSnapshot(2); err != nil {
		t.Fatal(err)
	}
	if err := checkSnapshot(c, 1, 1, 100); err != nil {
		t.Fatal(err)
	}
}

// edit rewrites a value behind the store's back.
func (s *Store) edit(key []byte, fn func([]byte) []byte) error {
	v, done, err := s.get(key)
	if err != nil {
		return err
	}
	v = bytes.Clone(v)
	done()
	return s.db.Set(key, fn(v), pebble.Sync)
}
