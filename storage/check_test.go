package storage

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
)

// findings runs Check and renders what it found.
func findings(t testing.TB, fsys vfs.FS) (out []string) {
	t.Helper()
	err := Check(testDir, Options{FS: fsys}, func(f Finding) { out = append(out, f.String()) })
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestCheckFindsNothingInIntactStores(t *testing.T) {
	for state, im := range images(t) {
		fsys := im.mount(t, nil)
		if got := findings(t, fsys); len(got) != 0 {
			t.Errorf("%s: %q", state, got)
		}
		if diff := cmp.Diff(im, takeImage(t, fsys)); diff != "" {
			t.Errorf("%s: Check changed files:\n%s", state, diff)
		}
	}
}

// Each fault is planted behind the store's back in an otherwise intact store; Check must report exactly it.
func TestCheckFindsPlantedFaults(t *testing.T) {
	set := func(key, value []byte) func(*Store) error {
		return func(s *Store) error { return s.db.Set(key, value, pebble.Sync) }
	}
	del := func(key []byte) func(*Store) error {
		return func(s *Store) error { return s.db.Delete(key, pebble.Sync) }
	}
	flip := func(key []byte) func(*Store) error {
		return func(s *Store) error {
			return s.edit(key, func(v []byte) []byte { v[len(v)-1] ^= 0x10; return v })
		}
	}
	newer := func(key []byte) func(*Store) error {
		return func(s *Store) error {
			return s.edit(key, func(v []byte) []byte { sealEnvelope(key, v, 99); return v })
		}
	}
	itemKey, userKey := rowKey(kindItem, 1, 0, "track-4"), rowKey(kindProfile, 1, 0, "user-2")
	rewrite := func(lsn uint64) []byte {
		r := item("track-4", lsn)
		v := make([]byte, itemValueLen(&r))
		encodeItem(itemKey, v, &r)
		return v
	}
	logRecord := func(lsn uint64, kind LogKind, id string) (key, value []byte) {
		key, value = logKey(1, 0, lsn), make([]byte, logHeaderLen+len(id))
		encodeLog(key, value, kind, id)
		return key, value
	}
	header := snapshotKey(1, 0, snapshotHeader, 2)
	slab := slabKey(1, 0, 2, "vectors", 1)
	orphan := slabKey(1, 0, 9, "vectors", 0)
	extra := slabKey(1, 0, 2, "vectors", 7)
	first := func(slab []byte) []byte { return fragmentKey(slab, 0) }
	stray := rowKey(kindItem, 7, 0, "x")
	mark := pendingKey(1, 0, 5)
	doneMark := pendingKey(1, 0, 2)
	heard := append(exclusionSetKey(1, "user-1"), "track-2"...)
	strayHeard := append(exclusionSetKey(7, "user-1"), "track-2"...)
	fault := func(key []byte, what string) string { return "fault: " + formatKeyForPeople(key) + ": " + what }
	for _, tc := range []struct {
		name  string
		plant func(*Store) error
		want  []string
	}{
		{"nothing", func(*Store) error { return nil }, nil},
		{"item flipped", flip(itemKey), []string{`fault: i/1/0/"track-4": `, "checksum mismatch"}},
		{"item of a newer version", newer(itemKey), []string{`fault: i/1/0/"track-4": `, "version 99"}},
		{"item missing", del(rowKey(kindItem, 1, 0, "track-6")), []string{`fault: i/1/0/"track-6": missing, the log wrote it at LSN 20`}},
		{"item beyond the log", set(itemKey, rewrite(99)), []string{`fault: i/1/0/"track-4": LSN 99 is beyond the end of the log, 20`}},
		{"item older than the log says", set(itemKey, rewrite(2)), []string{`fault: i/1/0/"track-4": has LSN 2, the log wrote it last at 18`}},
		{"item with another row's LSN", set(rowKey(kindItem, 1, 0, "zzz"), func() []byte {
			r := item("zzz", 19)
			v := make([]byte, itemValueLen(&r))
			encodeItem(rowKey(kindItem, 1, 0, "zzz"), v, &r)
			return v
		}()), []string{`fault: i/1/0/"zzz": LSN 19 is of another row's log record`}},
		{"profile flipped", flip(userKey), []string{`fault: p/1/0/"user-2": `, "checksum mismatch"}},
		{"item of no collection", func(s *Store) error {
			r := item("x", 1)
			v := make([]byte, itemValueLen(&r))
			encodeItem(stray, v, &r)
			k := logKey(7, 0, 1)
			rec := make([]byte, logHeaderLen+1)
			encodeLog(k, rec, LogPutItem, "x")
			return errors.Join(s.db.Set(stray, v, pebble.Sync), s.db.Set(k, rec, pebble.Sync))
		}, []string{"fault: l/7/0: rows of a collection that the catalog does not know", "fault: i/7/0: rows of"}},
		{"log gap", del(logKey(1, 0, 16)), []string{"fault: l/1/0/16: log records 16..16 are missing"}},
		{"log record flipped", flip(logKey(1, 0, 17)), []string{"fault: l/1/0/17: ", "checksum mismatch"}},
		{"log record below the head", func(s *Store) error {
			k, v := logRecord(3, LogPutItem, "track-3")
			return s.db.Set(k, v, pebble.Sync)
		}, []string{"fault: l/1/0/3: log record below the start of the log, 14"}},
		{"log head flipped", flip(logKey(1, 0, 0)), []string{"fault: l/1/0/0: ", "checksum mismatch"}},
		{"catalog row flipped", flip(collectionKey(1)), []string{"fault: c/1: ", "checksum mismatch"}},
		{"collection counter behind", set([]byte(collectionsKey), encodeCollectionsRow(0)), []string{"fault: c/1: above the highest collection id ever used, 0"}},
		{"collection counter flipped", flip([]byte(collectionsKey)), []string{"fault: m/collections: ", "checksum mismatch", "fault: c/1: above"}},
		{"snapshot header flipped", flip(header), []string{"fault: s/1/0/h/2: ", "checksum mismatch", "slabs of a snapshot without an intact header"}},
		{"slab flipped", flip(first(slab)), []string{`fault: s/1/0/s/2/"vectors"/1: `, "checksum mismatch"}},
		{"slab missing", del(first(slab)), []string{`fault: s/1/0/s/2/"vectors"/1: slab is missing`}},
		{"slab replaced", set(first(slab), encodeSlab(nil, slab, []byte("x"), nil)), []string{`fault: s/1/0/s/2/"vectors"/1: slab is not the one`}},
		{"slab of nothing", set(first(orphan), encodeSlab(nil, orphan, []byte("x"), nil)), []string{`fault: s/1/0/s/9/"vectors"/0+0: slabs of a snapshot without`}},
		{"slab not listed", set(first(extra), encodeSlab(nil, extra, []byte("x"), nil)), []string{`fault: s/1/0/s/2/"vectors"/7+0: the snapshot's header does not list this slab`}},
		{"snapshot beyond the log", func(s *Store) error { return writeSnapshot(s.Collection(1, 0), 3, 77, 10) }, []string{"fault: s/1/0/h/3: snapshot of LSN 77, the log ends at 20"}},
		{"snapshot before the log", func(s *Store) error { return writeSnapshot(s.Collection(1, 0), 3, 5, 10) }, []string{"fault: s/1/0/h/3: snapshot of LSN 5, the log was trimmed up to 14"}},
		{"pending mark", set(mark, encodePending(mark)), []string{"note: w/1/0/5: unfinished snapshot"}},
		{"pending mark of a whole snapshot", set(doneMark, encodePending(doneMark)),
			[]string{"note: w/1/0/2: unfinished snapshot", "fault: w/1/0/2: mark of a snapshot that has its header"}},
		{"long pending mark", func(s *Store) error {
			v := append(encodePending(mark), 0)
			sealEnvelope(mark, v, pendingVersion)
			return s.db.Set(mark, v, pebble.Sync)
		}, []string{"note: w/1/0/5: unfinished snapshot", "fault: w/1/0/5: pending mark is too long"}},
		{"newer pending mark", func(s *Store) error {
			return errors.Join(s.db.Set(mark, encodePending(mark), pebble.Sync), newer(mark)(s))
		}, []string{"note: w/1/0/5: unfinished snapshot", "fault: w/1/0/5: ", "version 99"}},
		{"exclusion flipped", flip(heard), []string{fault(heard, ""), "checksum mismatch"}},
		{"newer exclusion", newer(heard), []string{fault(heard, ""), "version 99"}},
		{"exclusion that expired before time began", set(heard, encodeExclusion(heard, -1)), []string{fault(heard, "exclusion expires before 1970")}},
		{"exclusion of no collection", set(strayHeard, encodeExclusion(strayHeard, 0)), []string{fault(strayHeard, "entry of a collection that the catalog does not know")}},
		{"exclusion of nothing", set(exclusionSetKey(1, "user-1"), nil), []string{"malformed key"}},
		{"set of impossible length", set([]byte{kindExclusion, 0, 0, 0, 1, 0xff, 0xff, 'x'}, nil), []string{"malformed key"}},
		{"progress flipped", flip(progressKey(1, 2)), []string{fault(progressKey(1, 2), ""), "checksum mismatch"}},
		{"progress missing", del(progressKey(1, 2)), []string{fault(rejectKey(1, 2, 0), "reject of an import without progress")}},
		{"first reject missing", del(rejectKey(1, 2, 0)), []string{fault(rejectKey(1, 2, 0), "rejects 0..0 are missing")}},
		{"reject missing", del(rejectKey(1, 2, 1)), []string{fault(rejectKey(1, 2, 1), "rejects 1..1 are missing")}},
		{"rejects far ahead", func(s *Store) error {
			key := rejectKey(1, 2, 90)
			return s.db.Set(key, encodeImport(key, []byte("x")), pebble.Sync)
		}, []string{fault(rejectKey(1, 2, 3), "rejects 3..89 are missing")}},
		{"newer reject", newer(rejectKey(1, 2, 1)), []string{fault(rejectKey(1, 2, 1), ""), "version 99"}},
		{"piece of a graph missing", del(graphKey(1, 2, 1)), []string{fault(graphKey(1, 2, 1), "pieces 1..1 of the graph are missing")}},
		{"piece of a graph flipped", flip(graphKey(1, 2, 2)), []string{fault(graphKey(1, 2, 2), ""), "checksum mismatch"}},
		{"import of an unknown kind", set(append(appendPrefix(nil, kindImport, 1, 2), 'z'), nil), []string{"malformed key"}},
		{"unknown kind", set([]byte("zebra"), nil), []string{"fault: unknown key 7a65627261: key of an unknown kind"}},
		{"malformed key", set([]byte("l123"), nil), []string{"malformed key"}},
		{"malformed meta key", set([]byte("m/other"), nil), []string{"fault: unknown key 6d2f6f74686572: malformed key"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fsys := vfs.NewMem()
			s := mustOpen(t, fsys, Options{})
			runWorkload(t, s, workload(64))
			if err := tc.plant(s); err != nil {
				t.Fatal(err)
			}
			mustClose(t, s)
			got := findings(t, fsys)
			all := strings.Join(got, "\n")
			for _, w := range tc.want {
				if !strings.Contains(all, w) {
					t.Errorf("no %q in:\n%s", w, all)
				}
			}
			faults := 0
			for _, w := range tc.want {
				if strings.HasPrefix(w, "fault: ") || strings.HasPrefix(w, "note: ") || strings.HasPrefix(w, "slabs of") || w == "malformed key" {
					faults++
				}
			}
			if len(got) != faults {
				t.Errorf("%d findings, want %d:\n%s", len(got), faults, all)
			}
		})
	}
}

// A damaged table is named by its path, and what is beside it is still examined.
func TestCheckNamesDamagedTable(t *testing.T) {
	fsys := vfs.NewMem()
	s := mustOpen(t, fsys, Options{})
	runWorkload(t, s, workload(400))
	if err := errors.Join(s.db.Flush(), s.Close()); err != nil {
		t.Fatal(err)
	}
	im := takeImage(t, fsys)
	rng := rand.New(rand.NewPCG(3, 3))
	for _, name := range im.names() {
		if !strings.HasSuffix(name, ".sst") {
			continue
		}
		missed := 0
		for range 25 {
			damaged := im.mount(t, func(n string, data []byte) []byte {
				if n == name {
					data = slices.Clone(data)
					data[rng.IntN(len(data))] ^= 1 << rng.IntN(8)
				}
				return data
			})
			if !strings.Contains(strings.Join(findings(t, damaged), "\n"), name) {
				missed++
			}
		}
		// A few bytes of a table are padding.
		if missed > 3 {
			t.Errorf("%s: %d of 25 flips were not found", name, missed)
		}
	}
}

func TestCheckReportsUnusableStores(t *testing.T) {
	fsys := vfs.NewMem()
	if err := Check(testDir, Options{FS: fsys}, nil); !errors.Is(err, ErrNoStore) {
		t.Error(err)
	}
	s := mustOpen(t, fsys, Options{})
	if err := Check(testDir, Options{FS: fsys}, nil); !errors.Is(err, ErrLocked) {
		t.Error(err)
	}
	mustClose(t, s)
	im := takeImage(t, fsys)
	for _, tc := range []struct{ file, want string }{
		{"MANIFEST-", "fault: " + testDir + "/MANIFEST-"},
		{"OPTIONS-", "fault: " + testDir + "/OPTIONS-"},
		{"SEAL", "warning: " + testDir + "/SEAL"},
	} {
		damaged := im.mount(t, func(n string, data []byte) []byte {
			if strings.HasPrefix(n, tc.file) {
				return append([]byte("?"), data[1:]...)
			}
			return data
		})
		if got := findings(t, damaged); len(got) != 1 || !strings.HasPrefix(got[0], tc.want) {
			t.Errorf("%s damaged: %q", tc.file, got)
		}
	}
	newer := mustOpen(t, fsys, Options{})
	if err := errors.Join(newer.db.Set([]byte(formatKey), encodeFormatRow(9, 8), pebble.Sync), newer.Close()); err != nil {
		t.Fatal(err)
	}
	var fe *FormatError
	if _, err := Open(testDir, Options{FS: fsys}); !errors.As(err, &fe) || fe.Found != 9 || !errors.Is(err, ErrFormat) {
		t.Error(err)
	}
	if got := fmt.Sprint(findings(t, fsys)); !strings.Contains(got, "the oldest program that may open it is of format 8") {
		t.Error(got)
	}
}

// TestLostMarkerAndSeal: without both of them Pebble takes the directory for an empty one, and would delete its tables. Open and Check
// say what is missing, and leave every file where it is.
func TestLostMarkerAndSeal(t *testing.T) {
	lost := func(name string) bool { return name == sealName || strings.HasPrefix(name, "marker.manifest.") }
	fsys := vfs.NewMem()
	s := mustOpen(t, fsys, Options{})
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	list := func() []string {
		t.Helper()
		names, err := fsys.List(testDir)
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(names)
		return names
	}
	before := list()
	for _, name := range before {
		if lost(name) {
			if err := fsys.Remove(fsys.PathJoin(testDir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	left := list()
	if len(left) != len(before)-2 {
		t.Fatalf("of %q there are left %q", before, left)
	}
	for _, readOnly := range []bool{false, true} {
		var c *CorruptionError
		if _, err := Open(testDir, Options{FS: fsys, ReadOnly: readOnly}); !errors.As(err, &c) || !strings.Contains(c.Reason, "MANIFEST marker is missing") {
			t.Errorf("open, read-only %t: %v", readOnly, err)
		}
	}
	if got := fmt.Sprint(findings(t, fsys)); !strings.Contains(got, "MANIFEST marker is missing") {
		t.Errorf("check: %s", got)
	}
	if after := list(); !slices.Equal(after, left) {
		t.Errorf("files are %q, were %q", after, left)
	}
}
