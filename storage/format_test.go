package storage

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
)

// A row of a version, or with a flag, that this program does not know is refused as such and not as corruption,
// through whatever call it is met.
func TestNewerRowsAreRefused(t *testing.T) {
	header := snapshotKey(1, 0, snapshotHeader, 2)
	slab := slabKey(1, 0, 2, "vectors", 0)
	for _, tc := range []struct {
		name string
		key  []byte
		flag int // offset of a byte that must be 0
		read func(s *Store) error
	}{
		{"item", rowKey(kindItem, 1, 0, "track-4"), 5, func(s *Store) error { _, err := s.Collection(1, 0).Item("track-4"); return err }},
		{"item in a scan", rowKey(kindItem, 1, 0, "track-4"), 7, func(s *Store) error {
			for _, err := range s.Collection(1, 0).Items("", 0) {
				if err != nil {
					return err
				}
			}
			return nil
		}},
		{"profile", rowKey(kindProfile, 1, 0, "user-2"), 5, func(s *Store) error { _, err := s.Collection(1, 0).Profile("user-2"); return err }},
		{"profile in a scan", rowKey(kindProfile, 1, 0, "user-2"), 7, func(s *Store) error {
			for _, err := range s.Collection(1, 0).Profiles("", 0) {
				if err != nil {
					return err
				}
			}
			return nil
		}},
		{"log record", logKey(1, 0, 17), -1, func(s *Store) error {
			return s.Collection(1, 0).Log(14, func(LogRecord) error { return nil })
		}},
		{"log head", logKey(1, 0, 0), -1, func(s *Store) error { _, err := s.Collection(1, 0).LastLSN(); return err }},
		{"catalog", collectionKey(1), 5, func(s *Store) error { _, err := s.Collections(); return err }},
		{"counter", []byte(collectionsKey), -1, func(s *Store) error { _, err := s.NextCollectionID(); return err }},
		{"import progress", progressKey(1, 2), -1, func(s *Store) error { _, err := s.Collection(1, 2).ImportProgress(); return err }},
		{"import reject", rejectKey(1, 2, 1), -1, func(s *Store) error {
			for _, err := range s.Collection(1, 2).ImportRejects(0) {
				if err != nil {
					return err
				}
			}
			return nil
		}},
		{"alias", aliasKey("live"), 5, func(s *Store) error { _, err := s.Aliases(); return err }},
		{"exclusion", append(exclusionSetKey(1, "user-1"), "track-2"...), 6, func(s *Store) error {
			for _, err := range s.Exclusions(1, "user-1", "", 0) {
				if err != nil {
					return err
				}
			}
			return nil
		}},
		{"exclusion of all sets", append(exclusionSetKey(1, "user-1"), "track-3"...), 7, func(s *Store) error {
			for _, err := range s.AllExclusions(1, ExclusionEntry{}, 0) {
				if err != nil {
					return err
				}
			}
			return nil
		}},
		{"piece of a graph", graphKey(1, 2, 1), -1, func(s *Store) error {
			for _, err := range s.Collection(1, 2).ImportGraph() {
				if err != nil {
					return err
				}
			}
			return nil
		}},
		{"request", requestKey(1, 12), -1, func(s *Store) error {
			for _, err := range s.Requests(1) {
				if err != nil {
					return err
				}
			}
			return nil
		}},
		{"header", header, 6, func(s *Store) error { _, err := s.Collection(1, 0).OpenSnapshot(2); return err }},
		{"header in the list", header, 35, func(s *Store) error {
			infos, err := s.Collection(1, 0).Snapshots()
			if err != nil || len(infos) != 1 || infos[0].Generation != 2 {
				return errors.New("the list does not hold the generation")
			}
			return infos[0].Err
		}},
	} {
		for _, how := range []string{"version", "flag"} {
			if how == "flag" && tc.flag < 0 {
				continue
			}
			fsys := vfs.NewMem()
			s := mustOpen(t, fsys, Options{})
			runWorkload(t, s, workload(24))
			err := s.edit(tc.key, func(v []byte) []byte {
				version := v[4]
				if how == "version" {
					version = 9
				} else {
					v[tc.flag] = 0x40
				}
				sealEnvelope(tc.key, v, version)
				return v
			})
			if err != nil {
				t.Fatal(tc.name, err)
			}
			mustClose(t, s)
			s = mustOpen(t, fsys, Options{})
			var fe *FormatError
			err = tc.read(s)
			if !errors.As(err, &fe) || IsCorruption(err) || !errors.Is(err, ErrFormat) {
				t.Errorf("%s, newer %s: %v", tc.name, how, err)
				continue
			}
			if fe.Where != formatKeyForPeople(tc.key) || how == "version" && fe.Found != 9 {
				t.Errorf("%s, newer %s: %+v", tc.name, how, fe)
			}
		}
	}
	// A slab's checksum is also in the header, so a newer slab comes with a header that knows it.
	newer := encodeSlab(nil, slab, []byte("x"), nil)
	sealEnvelope(slab, newer, 9)
	var fe *FormatError
	if _, err := assemble(slab, newer); !errors.As(err, &fe) || fe.Found != 9 {
		t.Error(err)
	}
	newer[5] = 7
	sealEnvelope(slab, newer, slabVersion)
	if _, err := assemble(slab, newer); !errors.As(err, &fe) {
		t.Error(err)
	}
}

// The store's own version decides who may open it: a newer store that older programs may read opens and is not
// marked down; one they may not is refused before anything is written.
func TestStoreFormatDecidesWhoOpens(t *testing.T) {
	for _, tc := range []struct {
		row  []byte
		want string
	}{
		{encodeFormatRow(FormatVersion, FormatVersion), ""},
		{encodeFormatRow(7, 1), ""},
		{append(encodeFormatRow(7, 1), "appended"...), "checksum"}, // not resealed below
		{encodeFormatRow(7, FormatVersion+1), fmt.Sprintf("unsupported format version 7, this program reads up to %d", FormatVersion)},
		{encodeFormatRow(2, 3), "impossible versions"},
		{encodeFormatRow(0, 0), "impossible versions"},
		{[]byte("short"), "checksum"},
		{nil, "shorter than its envelope"},
	} {
		fsys := vfs.NewMem()
		s := mustOpen(t, fsys, Options{})
		if err := s.db.Set([]byte(formatKey), tc.row, pebble.Sync); err != nil {
			t.Fatal(err)
		}
		mustClose(t, s)
		for _, readOnly := range []bool{true, false} {
			s, err := Open(testDir, Options{FS: fsys, ReadOnly: readOnly})
			if tc.want != "" {
				if err == nil || !strings.Contains(err.Error(), tc.want) || !namesFault(err) {
					t.Errorf("%x: %v", tc.row, err)
				}
				continue
			}
			if err != nil {
				t.Errorf("%x: %v", tc.row, err)
				continue
			}
			v, done, err := s.get([]byte(formatKey))
			if err != nil || !bytes.Equal(v, tc.row) {
				t.Errorf("format row %x became %x, %v", tc.row, v, err)
			}
			done()
			mustClose(t, s)
		}
	}
	longer := append(encodeFormatRow(7, 1), "appended by a later version"...)
	sealEnvelope([]byte(formatKey), longer, formatVersion)
	if version, oldest, err := decodeFormatRow(longer); version != 7 || oldest != 1 || err != nil {
		t.Error(version, oldest, err)
	}
}

// Directories that are not ours, or of another Pebble, are refused and left as they are.
func TestForeignDirectories(t *testing.T) {
	foreign := vfs.NewMem()
	db, err := pebble.Open(testDir, &pebble.Options{FS: foreign, Logger: quiet{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Set([]byte("their key"), nil, pebble.Sync), db.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(testDir, Options{FS: foreign}); !IsCorruption(err) || !strings.Contains(err.Error(), "m/format") {
		t.Error(err)
	}

	fsys := vfs.NewMem()
	mustClose(t, mustOpen(t, fsys, Options{}))
	im := takeImage(t, fsys)
	newer := make(image)
	for name, data := range im {
		if strings.HasPrefix(name, "marker.format-version.") {
			name = name[:strings.LastIndex(name, ".")] + ".999"
		}
		newer[name] = data
	}
	fsys = newer.mount(t, nil)
	if _, err := Open(testDir, Options{FS: fsys}); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), "999") {
		t.Error(err)
	}
	after := takeImage(t, fsys)
	delete(after, "LOCK")
	delete(newer, "LOCK")
	if diff := cmp.Diff(newer, after); diff != "" {
		t.Errorf("a refused directory changed:\n%s", diff)
	}
	if got := findings(t, fsys); len(got) != 1 || !strings.Contains(got[0], "999") {
		t.Errorf("%q", got)
	}

	file := vfs.NewMem()
	if err := file.MkdirAll("srv/segue", 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := file.Create(testDir, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if s, err := Open(testDir, Options{FS: file}); err == nil {
		s.Close()
		t.Error("a file was opened as a store")
	}
}
