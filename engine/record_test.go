package engine

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestCatalogRecordsAreChecked: each invariant of a collection's record, broken alone, is named; unbroken records are fine.
func TestCatalogRecordsAreChecked(t *testing.T) {
	cfg := CollectionConfig{Name: "c", Dim: 2, Metric: L2}
	cfg.ensureDefaults()
	whole := func() *collectionRecord {
		r := newCollectionRecord(cfg, now())
		r.Releases = []releaseRecord{
			{ID: 1, State: ReleaseRetired, Job: "a"},
			{ID: 3, State: ReleaseDropped, Job: "given up", Cancelled: true},
			{ID: 4, State: ReleasePublished, Job: "b", Previous: 1},
			{ID: 5, State: ReleaseReady, Job: "given up"},
			{ID: 9, State: ReleaseImporting, Job: "c"},
		}
		r.Published = 4
		return &r
	}
	for want, broken := range map[string]func(r *collectionRecord){
		"":                                     func(*collectionRecord) {},
		`the configuration is that of "d"`:     func(r *collectionRecord) { r.Config.Name = "d" },
		"dim":                                  func(r *collectionRecord) { r.Config.Dim = -1 },
		"release 3 stands behind release 3":    func(r *collectionRecord) { r.Releases[0].ID = 3 },
		"release 4 stands behind release 8":    func(r *collectionRecord) { r.Releases[1].ID = 8 },
		`unknown state "LOST"`:                 func(r *collectionRecord) { r.Releases[3].State = "LOST" },
		"release 1 is PUBLISHED, release 4 is": func(r *collectionRecord) { r.Releases[0].State = ReleasePublished },
		"release 4 is PUBLISHED, release 5 is": func(r *collectionRecord) { r.Published = 5 },
		"release 4 is RETIRED, release 4 is":   func(r *collectionRecord) { r.Releases[2].State = ReleaseRetired },
		"release 9 is IMPORTING by no job":     func(r *collectionRecord) { r.Releases[4].Job = "" },
		`two releases are of job "b"`:          func(r *collectionRecord) { r.Releases[4].Job = "b" },
		`two releases are of job "given up"`:   func(r *collectionRecord) { r.Releases[1].State, r.Releases[1].Cancelled = ReleaseRetired, false },
	} {
		r := whole()
		broken(r)
		err := r.check("c", DefaultLimits())
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// TestRequestsAreChecked: what is remembered of a request and cannot be is named.
func TestRequestsAreChecked(t *testing.T) {
	for _, tc := range []struct {
		r    request
		want string
	}{
		{request{ID: "x", Digest: []byte{1}, Time: 1}, ""},
		{request{Digest: []byte{1}, Time: 1}, "an id of 0 bytes"},
		{request{ID: strings.Repeat("x", MaxRequestIDBytes+1), Digest: []byte{1}, Time: 1}, "an id of"},
		{request{ID: "x", Time: 1}, "no digest"},
		{request{ID: "x", Digest: []byte{1}}, "made at 0"},
		{request{ID: "x", Digest: []byte{1}, Time: -1}, "made at -1"},
	} {
		if err := tc.r.check(); (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%v, want %q", err, tc.want)
		}
	}
}

// TestErrorsSayWhat: what an operator reads of each error, which ends in gRPC messages and logs as it is.
func TestErrorsSayWhat(t *testing.T) {
	for want, err := range map[string]error{
		`item "a" not found`:                                &NotFoundError{Kind: "item", Name: "a"},
		`collection "a" already exists`:                     &AlreadyExistsError{Name: "a"},
		"limit of 3 slots reached":                          &LimitError{Resource: "slots", Limit: 3},
		"snapshot of collection a is already running":       &BusyError{Operation: "snapshot of collection a"},
		`item "a" must not exist, it is at revision 7`:      &RevisionMismatchError{Kind: "item", Name: "a", Current: 7},
		`item "a" must be at revision 7, it does not exist`: &RevisionMismatchError{Kind: "item", Name: "a", Want: 7},
		`item "a" must be at revision 7, it is at 9`:        &RevisionMismatchError{Kind: "item", Name: "a", Want: 7, Current: 9},
		"release 3 is DROPPED, must be READY":               &StateError{What: "release 3", State: ReleaseDropped, Want: "READY"},
		"batch 4 of the import, 2 is next":                  &SequenceError{Want: 2, Got: 4},
		"dim: must be positive; name: must not be empty":    &InvalidError{Violations: []Violation{{Field: "dim", Rule: "must be positive"}, {Field: "name", Rule: "must not be empty"}}},
	} {
		if got := err.Error(); got != want {
			t.Errorf("%T says %q, want %q", err, got, want)
		}
	}
}

// TestRollbackOfTheFirstRelease: there is nothing before it, which is said and changes nothing.
func TestRollbackOfTheFirstRelease(t *testing.T) {
	c := newTestCollection(t, 2, L2)
	mustUpsert(t, c, Item{ID: "a", Vector: []float32{1, 2}})
	var state *StateError
	if _, err := c.RollbackCollection(t.Context()); !errors.As(err, &state) || state.Want != string(ReleaseRetired) {
		t.Errorf("%v", err)
	}
	releases, err := c.Releases(t.Context())
	if err != nil || len(releases) != 1 || releases[0].State != ReleasePublished {
		t.Errorf("%+v, %v", releases, err)
	}
}

// TestListPagesModel: pages of any size, from anywhere, are what a sorted list says, expired and deleted items left out.
func TestListPagesModel(t *testing.T) {
	c, clock := clocked(t, 1)
	var want []string
	for i := range 200 {
		it := Item{ID: strings.Repeat("k", i%3+1) + string(rune('a'+i%26)) + time.Duration(i).String(), Vector: []float32{float32(i)}}
		if i%5 == 0 {
			it.ExpireTime = clock.in(time.Minute)
		}
		mustUpsert(t, c, it)
		switch {
		case i%7 == 0:
			if _, _, err := c.Delete(t.Context(), []string{it.ID}); err != nil {
				t.Fatal(err)
			}
		case i%5 != 0:
			want = append(want, it.ID)
		}
	}
	clock.advance(2 * time.Minute)
	slices.Sort(want)
	for _, after := range []string{"", "a", want[0], want[len(want)/2], want[len(want)/2] + "\x00", want[len(want)-1], "zzz"} {
		for _, limit := range []int{1, 2, 7, 100, 200, 1000} {
			from, found := slices.BinarySearch(want, after)
			if found {
				from++
			}
			rest := want[from:]
			page, more, err := c.List(t.Context(), after, limit)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, it := range page {
				got = append(got, it.ID)
			}
			if !slices.Equal(got, rest[:min(limit, len(rest))]) || !more && len(got) < len(rest) {
				t.Errorf("%d after %q: %d items, more %v, of %d", limit, after, len(got), more, len(rest))
			}
		}
	}
}
