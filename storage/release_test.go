package storage

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// After every step of the workload the releases that are told are those of which a scan of everything sees a row, each once and in
// order; a row whose key does not parse is named.
func TestReleases(t *testing.T) {
	s := mustOpen(t, vfs.NewMem(), Options{})
	if got, err := s.Releases(); err != nil || len(got) != 0 {
		t.Errorf("of an empty store: %v, %v", got, err)
	}
	most := 0
	for _, step := range workload(40) {
		if err := step.do(s); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		var want []ReleaseID
		err := s.scan([]byte{0}, []byte{0xff}, func(key, _ []byte) (bool, error) {
			k, ok := parseKey(key)
			if !ok {
				return false, fmt.Errorf("key %x", key)
			}
			if id := (ReleaseID{k.collection, k.release}); slices.Contains(releaseKinds(), k.kind) && !slices.Contains(want, id) {
				want = append(want, id)
			}
			return true, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		slices.SortFunc(want, func(a, b ReleaseID) int {
			return int(a.Collection)*1000 + int(a.Release) - int(b.Collection)*1000 - int(b.Release)
		})
		got, err := s.Releases()
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("after %q: %v, %v, want %v", step.name, got, err, want)
		}
		most = max(most, len(got))
	}
	if most < 4 {
		t.Errorf("the workload has %d releases at most", most)
	}
	bad := append(appendPrefix(nil, kindImport, 1, 0), 'z')
	if err := s.db.Set(bad, nil, pebble.Sync); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Releases(); !IsCorruption(err) {
		t.Errorf("with a malformed key: %v, %v", got, err)
	}
	mustClose(t, s)
	if _, err := s.Releases(); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

// What the catalog cannot hold is refused by field, and changes nothing.
func TestCatalogRefuses(t *testing.T) {
	s := mustOpen(t, vfs.NewMem(), Options{})
	good := CollectionRow{ID: 1, Name: "tracks", Config: []byte("c")}
	if err := s.PutCollection(good); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		field string
		row   CollectionRow
	}{
		{"name", CollectionRow{ID: 1}},
		{"name", CollectionRow{ID: 1, Name: strings.Repeat("x", MaxNameBytes+1)}},
		{"config", CollectionRow{ID: 1, Name: "tracks", Config: make([]byte, maxConfigBytes+1)}},
		{"id", CollectionRow{Name: "tracks"}},
	} {
		var v *ValueError
		if err := s.PutCollection(tc.row); !errors.As(err, &v) || v.Field != tc.field {
			t.Errorf("%d %.10q with %d bytes: %v, want one of the %s", tc.row.ID, tc.row.Name, len(tc.row.Config), err, tc.field)
		}
	}
	for _, name := range []string{"", strings.Repeat("x", MaxNameBytes+1)} {
		var v *ValueError
		if err := s.PutAlias(AliasRow{name, 1}); !errors.As(err, &v) || v.Field != "alias" {
			t.Errorf("alias %.10q: %v", name, err)
		}
	}
	rows, err := s.Collections()
	if err != nil || len(rows) != 1 || rows[0].Name != good.Name || string(rows[0].Config) != "c" {
		t.Errorf("the catalog is %v, %v", rows, err)
	}
	if aliases, err := s.Aliases(); err != nil || len(aliases) != 0 {
		t.Errorf("aliases are %v, %v", aliases, err)
	}
	longest := CollectionRow{ID: 2, Name: strings.Repeat("x", MaxNameBytes), Config: make([]byte, 1<<20)}
	if err := s.PutCollection(longest); err != nil {
		t.Error(err)
	}
}
