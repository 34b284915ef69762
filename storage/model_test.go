package storage

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/segue-ann/segue/internal/crashfs"
)

// releaseModel is what a release must hold, by plain maps.
type releaseModel struct {
	items     map[string]ItemRow
	profiles  map[string]ProfileRow
	log       []LogRecord // of all time; log[i] has LSN i+1
	first     uint64
	snapshots map[uint64]uint64 // generation -> LSN
}

func newReleaseModel() *releaseModel {
	return &releaseModel{items: map[string]ItemRow{}, profiles: map[string]ProfileRow{}, first: 1, snapshots: map[uint64]uint64{}}
}

// storeMachine drives a store and the model side by side.
type storeMachine struct {
	fs       *crashfs.FS
	s        *Store
	catalog  map[uint32]CollectionRow
	highest  uint32
	releases map[releaseID]*releaseModel
}

var (
	genID      = rapid.SampledFrom([]string{"a", "b", "aa", "track-1", "\x00", "\xff\xff", "ü"})
	genBytes   = rapid.SliceOfN(rapid.Byte(), 0, 40)
	genRelease = rapid.SampledFrom([]releaseID{{1, 0}, {1, 1}, {2, 0}, {0xffffffff, 0xffffffff}})
)

func (m *storeMachine) open(t *rapid.T) {
	s, err := Open(testDir, Options{FS: m.fs, MemTableBytes: 64 << 10})
	if err != nil {
		t.Fatal(err)
	}
	m.s = s
}

func (m *storeMachine) pick(t *rapid.T) (*Collection, *releaseModel) {
	id := genRelease.Draw(t, "release")
	r := m.releases[id]
	if r == nil {
		r = newReleaseModel()
		m.releases[id] = r
	}
	return m.s.Collection(id.collection, id.release), r
}

// Write commits a batch of random mutations; the same id may occur in it more than once.
func (m *storeMachine) Write(t *rapid.T) {
	c, r := m.pick(t)
	b := c.NewBatch()
	defer b.Close()
	for range rapid.IntRange(0, 6).Draw(t, "mutations") {
		id, lsn := genID.Draw(t, "id"), uint64(len(r.log)+1)
		kind := rapid.SampledFrom([]LogKind{LogPutItem, LogDeleteItem, LogPutProfile, LogDeleteProfile, LogExpireItem, LogExpireProfile}).Draw(t, "kind")
		var err error
		switch kind {
		case LogPutItem:
			row := ItemRow{ID: id, LSN: lsn, DType: rapid.Uint8().Draw(t, "dtype"), Dim: rapid.Uint32().Draw(t, "dim"),
				Vector: genBytes.Draw(t, "vector"), Attributes: genBytes.Draw(t, "attributes")}
			err = b.PutItem(row)
			r.items[id] = row
		case LogDeleteItem:
			err = b.DeleteItem(id, lsn)
			delete(r.items, id)
		case LogPutProfile:
			row := ProfileRow{UserID: id, LSN: lsn, DType: rapid.Uint8().Draw(t, "dtype"), Dim: rapid.Uint32().Draw(t, "dim"),
				Count: rapid.Uint32().Draw(t, "count"), Vectors: genBytes.Draw(t, "vectors"), Attributes: genBytes.Draw(t, "attributes")}
			err = b.PutProfile(row)
			r.profiles[id] = row
		case LogDeleteProfile:
			err = b.DeleteProfile(id, lsn)
			delete(r.profiles, id)
		case LogExpireItem:
			err = b.ExpireItem(id, lsn)
			delete(r.items, id)
		case LogExpireProfile:
			err = b.ExpireProfile(id, lsn)
			delete(r.profiles, id)
		}
		if err != nil {
			t.Fatal(err)
		}
		r.log = append(r.log, LogRecord{LSN: lsn, Kind: kind, ID: id})
	}
	if err := b.Commit(); err != nil {
		t.Fatal(err)
	}
}

// Trim trims the log anywhere, also where it was trimmed and beyond its end.
func (m *storeMachine) Trim(t *rapid.T) {
	c, r := m.pick(t)
	below := rapid.Uint64Range(0, uint64(len(r.log)+3)).Draw(t, "below")
	err := c.TrimLog(below)
	var lsnErr *LSNError
	switch {
	case below > uint64(len(r.log)+1):
		if !errors.As(err, &lsnErr) {
			t.Fatalf("trim below %d of %d: %v", below, len(r.log), err)
		}
	case err != nil:
		t.Fatal(err)
	default:
		r.first = max(r.first, below)
	}
}

// Catalog puts or drops a collection.
func (m *storeMachine) Catalog(t *rapid.T) {
	id := rapid.SampledFrom([]uint32{1, 2, 0xffffffff}).Draw(t, "id")
	if rapid.Bool().Draw(t, "drop") {
		err := m.s.DropCollection(id)
		if _, ok := m.catalog[id]; !ok {
			if !errors.Is(err, ErrNotFound) {
				t.Fatal(err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		delete(m.catalog, id)
		maps.DeleteFunc(m.releases, func(r releaseID, _ *releaseModel) bool { return r.collection == id })
		return
	}
	row := CollectionRow{ID: id, Name: rapid.StringN(1, 5, 20).Draw(t, "name"), Config: genBytes.Draw(t, "config")}
	err := m.s.PutCollection(row)
	var v *ValueError
	if _, ok := m.catalog[id]; !ok && id <= m.highest {
		if !errors.As(err, &v) {
			t.Fatalf("id %d used again: %v", id, err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	m.catalog[id], m.highest = row, max(m.highest, id)
}

// Snapshot writes a generation, or gives up half way.
func (m *storeMachine) Snapshot(t *rapid.T) {
	c, r := m.pick(t)
	gen := rapid.Uint64Range(1, 4).Draw(t, "gen")
	w, err := c.NewSnapshot(gen)
	if _, ok := r.snapshots[gen]; ok {
		if !errors.Is(err, ErrSnapshotExists) {
			t.Fatal(err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := writeSlabs(w, gen, 200); err != nil {
		t.Fatal(err)
	}
	switch rapid.IntRange(0, 3).Draw(t, "end") {
	case 0:
		if err := w.Abort(); err != nil {
			t.Fatal(err)
		}
	default:
		if err := w.Commit(testHeader(gen, uint64(len(r.log)))); err != nil {
			t.Fatal(err)
		}
		r.snapshots[gen] = uint64(len(r.log))
	}
}

// DropSnapshot drops a generation that exists or not.
func (m *storeMachine) DropSnapshot(t *rapid.T) {
	c, r := m.pick(t)
	gen := rapid.Uint64Range(1, 4).Draw(t, "gen")
	err := c.DropSnapshot(gen)
	if _, ok := r.snapshots[gen]; ok != (err == nil) || err != nil && !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	delete(r.snapshots, gen)
}

// Reopen closes and opens the store; an open snapshot writer is left behind half written.
func (m *storeMachine) Reopen(t *rapid.T) {
	var w *SnapshotWriter
	if rapid.Bool().Draw(t, "abandon a snapshot") {
		c, _ := m.pick(t)
		var err error
		if w, err = c.NewSnapshot(99); err != nil {
			t.Fatal(err)
		}
		if err := w.Slab("vectors", 0, false, []byte("lost")); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.s.Close(); err != nil {
		t.Fatal(err)
	}
	if w != nil {
		if err := w.Abort(); !errors.Is(err, ErrClosed) {
			t.Fatal(err)
		}
	}
	m.open(t)
	if err := leftovers(m.s); err != nil {
		t.Fatal(err)
	}
}

// Flush moves rows from memtables to tables.
func (m *storeMachine) Flush(t *rapid.T) {
	if err := m.s.db.Flush(); err != nil {
		t.Fatal(err)
	}
}

// Page reads items in pages of random size.
func (m *storeMachine) Page(t *rapid.T) {
	c, r := m.pick(t)
	limit := rapid.IntRange(1, 4).Draw(t, "limit")
	var got []string
	for after := ""; ; {
		n := 0
		for row, err := range c.Items(after, limit) {
			if err != nil {
				t.Fatal(err)
			}
			got, after = append(got, row.ID), row.ID
			n++
		}
		if n < limit {
			break
		}
	}
	if want := slices.Sorted(maps.Keys(r.items)); !slices.Equal(got, want) {
		t.Fatalf("pages of %d: %q, want %q", limit, got, want)
	}
}

// Check compares everything a reader can see with the model.
func (m *storeMachine) Check(t *rapid.T) {
	rows, err := m.s.Collections()
	if err != nil {
		t.Fatal(err)
	}
	var want []CollectionRow
	for _, id := range slices.Sorted(maps.Keys(m.catalog)) {
		want = append(want, m.catalog[id])
	}
	if diff := diffRows(want, rows); diff != "" {
		t.Fatal(diff)
	}
	for id, r := range m.releases {
		if err := r.check(m.s.Collection(id.collection, id.release)); err != nil {
			t.Fatalf("release %v: %v", id, err)
		}
	}
}

func (r *releaseModel) check(c *Collection) error {
	items := map[string]ItemRow{}
	for row, err := range c.Items("", 0) {
		if err != nil {
			return err
		}
		row.Vector, row.Attributes = slices.Clone(row.Vector), slices.Clone(row.Attributes)
		items[row.ID] = row
	}
	profiles := map[string]ProfileRow{}
	for row, err := range c.Profiles("", 0) {
		if err != nil {
			return err
		}
		row.Vectors, row.Attributes = slices.Clone(row.Vectors), slices.Clone(row.Attributes)
		profiles[row.UserID] = row
	}
	var log []LogRecord
	if err := c.Log(r.first, func(rec LogRecord) error { log = append(log, rec); return nil }); err != nil {
		return err
	}
	snapshots := map[uint64]uint64{}
	infos, err := c.Snapshots()
	if err != nil {
		return err
	}
	for _, info := range infos {
		snapshots[info.Generation] = info.LSN
		if err := checkSnapshot(c, info.Generation, info.LSN, 200); err != nil {
			return err
		}
	}
	diff := diffRows(r.items, items) + diffRows(r.profiles, profiles) + diffRows(r.log[r.first-1:], log) + diffRows(r.snapshots, snapshots)
	if diff != "" {
		return errors.New(diff)
	}
	first, err1 := c.FirstLSN()
	last, err2 := c.LastLSN()
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if first != r.first || last != uint64(len(r.log)) {
		return fmt.Errorf("log %d..%d, want %d..%d", first, last, r.first, len(r.log))
	}
	return nil
}

// diffRows is cmp.Diff that takes nil for empty.
func diffRows[T any](want, got T) string {
	return cmp.Diff(want, got, cmp.Transformer("empty", func(b []byte) string { return string(b) }),
		cmp.FilterValues(func(a, b []LogRecord) bool { return len(a) == 0 && len(b) == 0 }, cmp.Ignore()),
		cmp.FilterValues(func(a, b []CollectionRow) bool { return len(a) == 0 && len(b) == 0 }, cmp.Ignore()))
}

// Random sequences of everything a store can do, restarts included, against maps.
func TestStoreAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &storeMachine{fs: crashfs.New(), catalog: map[uint32]CollectionRow{}, releases: map[releaseID]*releaseModel{}}
		m.open(t)
		defer func() {
			if err := m.s.Close(); err != nil {
				t.Fatal(err)
			}
		}()
		t.Repeat(map[string]func(*rapid.T){
			"write": m.Write, "write more": m.Write, "trim": m.Trim, "catalog": m.Catalog, "snapshot": m.Snapshot,
			"drop snapshot": m.DropSnapshot, "reopen": m.Reopen, "flush": m.Flush, "page": m.Page, "": m.Check,
		})
	})
}
