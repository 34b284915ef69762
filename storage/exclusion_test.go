package storage

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"
)

// TestExclusionsModel: sets hold what a map of maps would, across reopening; sets with names that are prefixes of others, and other
// collections, are apart.
func TestExclusionsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fsys := vfs.NewMem()
		s, err := Open(testDir, Options{FS: fsys})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = s.Close() }()
		type setID struct {
			collection uint32
			set        string
		}
		model := map[setID]map[string]int64{}
		names, items := []string{"u", "u1", "\x00", "é"}, []string{"a", "ab", "b", "\x00", "\xff"}
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			id := setID{uint32(rapid.IntRange(1, 2).Draw(t, "collection")), rapid.SampledFrom(names).Draw(t, "set")}
			if model[id] == nil {
				model[id] = map[string]int64{}
			}
			ids := rapid.SliceOfN(rapid.SampledFrom(items), 0, 3).Draw(t, "items")
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0, 1:
				var rows []ExclusionRow
				for _, item := range ids {
					r := ExclusionRow{item, rapid.Int64Range(0, 9).Draw(t, "expires")}
					rows = append(rows, r)
					model[id][item] = r.ExpireTime
				}
				err = s.PutExclusions(id.collection, id.set, rows)
			case 2:
				for _, item := range ids {
					delete(model[id], item)
				}
				err = s.DeleteExclusions(id.collection, id.set, ids)
			case 3:
				clear(model[id])
				err = s.DropExclusionSet(id.collection, id.set)
			default:
				if err = s.Close(); err == nil {
					s, err = Open(testDir, Options{FS: fsys})
				}
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		for id, want := range model {
			limit, after, got := rapid.IntRange(1, 3).Draw(t, "page"), "", map[string]int64{}
			var order []string
			for more := true; more; {
				more = false
				for r, err := range s.Exclusions(id.collection, id.set, after, limit) {
					if err != nil {
						t.Fatal(err)
					}
					after, more = r.ItemID, true
					got[r.ItemID] = r.ExpireTime
					order = append(order, r.ItemID)
				}
			}
			for _, item := range items {
				expires, err := s.Exclusion(id.collection, id.set, item)
				if at, ok := want[item]; ok && (err != nil || expires != at) || !ok && !errors.Is(err, ErrNotFound) {
					t.Fatalf("%v, %q: %d, %v, want %d, %v", id, item, expires, err, at, ok)
				}
			}
			if !maps.Equal(got, want) || !slices.IsSorted(order) || len(order) != len(want) {
				t.Fatalf("%v holds %v in order %q, want %v", id, got, order, want)
			}
		}
		for collection := range uint32(3) {
			limit, after, entries := rapid.IntRange(1, 3).Draw(t, "page"), ExclusionEntry{}, 0
			for more := true; more; {
				more = false
				for e, err := range s.AllExclusions(collection, after, limit) {
					if err != nil {
						t.Fatal(err)
					}
					if expires, ok := model[setID{collection, e.Set}][e.ItemID]; !ok || expires != e.ExpireTime {
						t.Fatalf("collection %d has %+v, want %d, %v", collection, e, expires, ok)
					}
					after, more = e, true
					entries++
				}
			}
			want := 0
			for id, set := range model {
				if id.collection == collection {
					want += len(set)
				}
			}
			if entries != want {
				t.Fatalf("collection %d has %d entries, want %d", collection, entries, want)
			}
		}
	})
}

func TestExclusionsRefuse(t *testing.T) {
	s := mustOpen(t, vfs.NewMem(), Options{})
	long := strings.Repeat("x", MaxIDBytes+1)
	for name, err := range map[string]error{
		"no set":         s.PutExclusions(1, "", []ExclusionRow{{"a", 0}}),
		"long set":       s.DropExclusionSet(1, long),
		"no item":        s.PutExclusions(1, "u", []ExclusionRow{{"a", 0}, {"", 0}}),
		"long item":      s.DeleteExclusions(1, "u", []string{"a", long}),
		"expired before": s.PutExclusions(1, "u", []ExclusionRow{{"a", 0}, {"b", -1}}),
	} {
		if !errors.As(err, new(*ValueError)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for r, err := range s.Exclusions(1, "u", "", 0) {
		t.Errorf("a refused change left %v, %v", r, err)
	}
}
