package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// entryPoints are all calls of a collection that take a context, with arguments that are fine.
func entryPoints() map[string]func(context.Context, *Collection) error {
	similar := SearchRequest{Query: Query{ItemID: "a"}, K: 2}
	return map[string]func(context.Context, *Collection) error{
		"Get": func(ctx context.Context, c *Collection) error { _, err := c.Get(ctx, "a"); return err },
		"GetBatch": func(ctx context.Context, c *Collection) error {
			_, _, err := c.GetBatch(ctx, []string{"a"})
			return err
		},
		"List":             func(ctx context.Context, c *Collection) error { _, _, err := c.List(ctx, "", 10); return err },
		"Profile":          func(ctx context.Context, c *Collection) error { _, err := c.Profile(ctx, "u"); return err },
		"Search":           func(ctx context.Context, c *Collection) error { _, err := c.Search(ctx, similar); return err },
		"ExplainNeighbors": func(ctx context.Context, c *Collection) error { _, err := c.ExplainNeighbors(ctx, similar); return err },
		"ExplainAbsence": func(ctx context.Context, c *Collection) error {
			_, err := c.ExplainAbsence(ctx, similar, "b")
			return err
		},
		"ScoreItems": func(ctx context.Context, c *Collection) error {
			_, err := c.ScoreItems(ctx, ScoreRequest{Query: similar.Query, ItemIDs: []string{"b"}})
			return err
		},
		"MeasureRecall": func(ctx context.Context, c *Collection) error {
			_, _, err := c.MeasureRecall(ctx, RecallRequest{K: 1, Queries: 2})
			return err
		},
		"ListHubs": func(ctx context.Context, c *Collection) error {
			_, err := c.ListHubs(ctx, HubsRequest{K: 1, Queries: 2, Most: 1})
			return err
		},
		"Statistics":     func(ctx context.Context, c *Collection) error { _, err := c.Statistics(ctx); return err },
		"Unreachable":    func(ctx context.Context, c *Collection) error { _, err := c.Unreachable(ctx); return err },
		"CreateSnapshot": func(ctx context.Context, c *Collection) error { _, err := c.CreateSnapshot(ctx); return err },
		"Snapshots":      func(ctx context.Context, c *Collection) error { _, err := c.Snapshots(ctx); return err },
		"Upsert": func(ctx context.Context, c *Collection) error {
			_, err := c.Upsert(ctx, []Item{{ID: "new", Vector: []float32{1, 2}}})
			return err
		},
		"Delete": func(ctx context.Context, c *Collection) error { _, _, err := c.Delete(ctx, []string{"a"}); return err },
		"UpsertProfiles": func(ctx context.Context, c *Collection) error {
			_, err := c.UpsertProfiles(ctx, []Profile{{UserID: "new", Interests: []Interest{{Vector: []float32{1, 2}}}}})
			return err
		},
		"DeleteProfile": func(ctx context.Context, c *Collection) error { _, err := c.DeleteProfile(ctx, "u"); return err },
		"UpdateAttributes": func(ctx context.Context, c *Collection) error {
			_, _, err := c.UpdateAttributes(ctx, []AttributesUpdate{{ID: "a", Set: Attributes{{Name: "n", Value: Value{Type: Int, Int: 1}}}}})
			return err
		},
		"AddExclusions": func(ctx context.Context, c *Collection) error {
			return c.AddExclusions(ctx, "s", []string{"b"}, time.Time{})
		},
		"RemoveExclusions":   func(ctx context.Context, c *Collection) error { return c.RemoveExclusions(ctx, "s", []string{"a"}) },
		"DeleteExclusionSet": func(ctx context.Context, c *Collection) error { return c.DeleteExclusionSet(ctx, "s") },
		"ExclusionSet": func(ctx context.Context, c *Collection) error {
			_, _, err := c.ExclusionSet(ctx, "s", "", 10)
			return err
		},
		"StartImport": func(ctx context.Context, c *Collection) error {
			_, err := c.StartImport(ctx, ImportOptions{JobID: "next"})
			return err
		},
		"WriteImport": func(ctx context.Context, c *Collection) error {
			_, err := c.WriteImport(ctx, "job", ImportRows{Sequence: 1, Items: []Item{{ID: "x", Vector: []float32{1, 2}}}}, true)
			return err
		},
		"FlushImport": func(ctx context.Context, c *Collection) error { _, err := c.FlushImport(ctx, "job"); return err },
		"Import":      func(ctx context.Context, c *Collection) error { _, err := c.Import(ctx, "job"); return err },
		"ImportRejects": func(ctx context.Context, c *Collection) error {
			_, _, err := c.ImportRejects(ctx, "job", 0, 10)
			return err
		},
		"CommitImport":  func(ctx context.Context, c *Collection) error { _, err := c.CommitImport(ctx, "job"); return err },
		"CancelImport":  func(ctx context.Context, c *Collection) error { return c.CancelImport(ctx, "job") },
		"Releases":      func(ctx context.Context, c *Collection) error { _, err := c.Releases(ctx); return err },
		"Release":       func(ctx context.Context, c *Collection) error { _, err := c.Release(ctx, 1); return err },
		"ReleaseReport": func(ctx context.Context, c *Collection) error { _, err := c.ReleaseReport(ctx, 1, 1); return err },
		"DeleteRelease": func(ctx context.Context, c *Collection) error { return c.DeleteRelease(ctx, 2) },
		"PublishRelease": func(ctx context.Context, c *Collection) error {
			_, err := c.PublishRelease(ctx, 1, PublishConditions{})
			return err
		},
		"RollbackCollection": func(ctx context.Context, c *Collection) error {
			_, err := c.RollbackCollection(ctx)
			return err
		},
		"ExportRelease": func(ctx context.Context, c *Collection) error {
			return c.ExportRelease(ctx, 1, func(ReleaseExport) error { return nil }, func(ImportRows) error { return nil })
		},
	}
}

// entryCollection holds two items, a profile, an exclusion set, an unfinished import as release 2.
func entryCollection(t *testing.T, e *Engine) *Collection {
	t.Helper()
	c, err := e.CreateCollection(t.Context(), CollectionConfig{Name: "c", Dim: 2, Metric: L2})
	if err != nil {
		t.Fatal(err)
	}
	mustUpsert(t, c, Item{ID: "a", Vector: []float32{1, 0}}, Item{ID: "b", Vector: []float32{0, 1}})
	_, err = c.UpsertProfiles(t.Context(), []Profile{{UserID: "u", Interests: []Interest{{Vector: []float32{1, 1}}}}})
	_, started := c.StartImport(t.Context(), ImportOptions{JobID: "job"})
	if err := errors.Join(err, started, c.AddExclusions(t.Context(), "s", []string{"a"}, time.Time{})); err != nil {
		t.Fatal(err)
	}
	return c
}

// entryState is what the calls could have changed.
func entryState(t *testing.T, c *Collection) string {
	t.Helper()
	items, _, err := c.List(t.Context(), "", 100)
	set, _, failed := c.ExclusionSet(t.Context(), "s", "", 100)
	releases, listed := c.Releases(t.Context())
	snapshots, shown := c.Snapshots(t.Context())
	if err := errors.Join(err, failed, listed, shown); err != nil {
		t.Fatal(err)
	}
	state := fmt.Sprint(c.Revision(), items, set, snapshots)
	for _, r := range releases {
		state += fmt.Sprint(r.ID, r.State)
	}
	return state
}

// TestCancelledCalls: whichever call has a cancelled context says so, and changes nothing.
func TestCancelledCalls(t *testing.T) {
	c := entryCollection(t, open(t, "store", testOptions(vfs.NewMem())))
	before, last := entryState(t, c), c.Revision()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, call := range entryPoints() {
		if err := call(ctx, c); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
		if after := entryState(t, c); after != before {
			t.Fatalf("%s changed\n%s\nto\n%s", name, before, after)
		}
	}
	// Nor does a write come later: the next one has the next revision, however often others were cancelled.
	for range 50 {
		if err := entryPoints()["Upsert"](ctx, c); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	rev, err := c.Upsert(t.Context(), []Item{{ID: "a", Vector: []float32{1, 0}}})
	if err != nil || rev != last+1 {
		t.Errorf("revision %d, %v; want %d", rev, err, last+1)
	}
}

// TestCallsOfWhatIsGone: a deleted collection is not found, one of a closed engine closed, whichever the call; and a collection of
// the same name that is created afterwards is another one.
func TestCallsOfWhatIsGone(t *testing.T) {
	e := open(t, "store", testOptions(vfs.NewMem()))
	c := entryCollection(t, e)
	if err := e.DeleteCollection(t.Context(), "c"); err != nil {
		t.Fatal(err)
	}
	again := entryCollection(t, e)
	before := entryState(t, again)
	for name, call := range entryPoints() {
		var missing *NotFoundError
		if err := call(t.Context(), c); !errors.As(err, &missing) || missing.Kind != "collection" || missing.Name != "c" {
			t.Errorf("%s of a deleted collection: %v", name, err)
		}
	}
	if after := entryState(t, again); after != before {
		t.Errorf("its successor changed from\n%s\nto\n%s", before, after)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	for name, call := range entryPoints() {
		if err := call(t.Context(), again); !errors.Is(err, ErrClosed) {
			t.Errorf("%s of a closed engine: %v", name, err)
		}
	}
	for name, call := range map[string]func() error{
		"Collection": func() error { _, err := e.Collection("c"); return err },
		"CreateCollection": func() error {
			_, err := e.CreateCollection(t.Context(), CollectionConfig{Name: "d", Dim: 2, Metric: L2})
			return err
		},
		"DeleteCollection": func() error { return e.DeleteCollection(t.Context(), "c") },
		"SetAlias":         func() error { _, err := e.SetAlias(t.Context(), "x", "c"); return err },
		"DeleteAlias":      func() error { return e.DeleteAlias(t.Context(), "x") },
	} {
		if err := call(); !errors.Is(err, ErrClosed) {
			t.Errorf("%s of a closed engine: %v", name, err)
		}
	}
}

// TestCancelledCallsOfTheEngine: they change nothing either.
func TestCancelledCallsOfTheEngine(t *testing.T) {
	e := open(t, "store", testOptions(vfs.NewMem()))
	entryCollection(t, e)
	if _, err := e.SetAlias(t.Context(), "live", "c"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, call := range map[string]func() error{
		"CreateCollection": func() error {
			_, err := e.CreateCollection(ctx, CollectionConfig{Name: "d", Dim: 2, Metric: L2})
			return err
		},
		"DeleteCollection": func() error { return e.DeleteCollection(ctx, "c") },
		"SetAlias":         func() error { _, err := e.SetAlias(ctx, "other", "c"); return err },
		"DeleteAlias":      func() error { return e.DeleteAlias(ctx, "live") },
		"Backup":           func() error { _, err := e.Backup(ctx, t.TempDir()); return err },
	} {
		if err := call(); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
		if all, aliases := e.Collections(), e.Aliases(); len(all) != 1 || len(aliases) != 1 || aliases[0].Name != "live" {
			t.Fatalf("%s left %v, %v", name, all, aliases)
		}
	}
}

// TestLimitsOfTheEngine: the collection beyond the limit is refused with the limit, one makes room for another, and a taken name is
// refused as such.
func TestLimitsOfTheEngine(t *testing.T) {
	o := testOptions(vfs.NewMem())
	o.Limits = DefaultLimits()
	o.Limits.MaxCollections = 2
	e := open(t, "store", o)
	create := func(name string) error {
		_, err := e.CreateCollection(t.Context(), CollectionConfig{Name: name, Dim: 2, Metric: L2})
		return err
	}
	if err := errors.Join(create("a"), create("b")); err != nil {
		t.Fatal(err)
	}
	var limit *LimitError
	if err := create("c"); !errors.As(err, &limit) || limit.Limit != 2 || err.Error() != "limit of 2 collections reached" {
		t.Errorf("a third collection: %v", err)
	}
	var taken *AlreadyExistsError
	if err := create("a"); !errors.As(err, &taken) || err.Error() != `collection "a" already exists` {
		t.Errorf("a taken name: %v", err)
	}
	if err := errors.Join(e.DeleteCollection(t.Context(), "a"), create("c")); err != nil {
		t.Errorf("after one was deleted: %v", err)
	}
	var missing *NotFoundError
	if err := e.DeleteCollection(t.Context(), "a"); !errors.As(err, &missing) || err.Error() != `collection "a" not found` {
		t.Errorf("deleted twice: %v", err)
	}
	if _, err := e.SetAlias(t.Context(), "x", "b"); err != nil {
		t.Fatal(err)
	}
	var invalid *InvalidError
	if err := e.DeleteCollection(t.Context(), "x"); !errors.As(err, &invalid) || invalid.Violations[0].Field != "name" {
		t.Errorf("deleted by an alias: %v", err)
	}
	// What is deleted takes its aliases with it.
	if err := e.DeleteCollection(t.Context(), "b"); err != nil || len(e.Aliases()) != 0 {
		t.Errorf("%v, aliases %v", err, e.Aliases())
	}
}

// TestBadArguments: each call names the field that is wrong, with its reason, and does nothing.
func TestBadArguments(t *testing.T) {
	e := open(t, "store", testOptions(vfs.NewMem()))
	c := entryCollection(t, e)
	before := entryState(t, c)
	ctx, l := t.Context(), e.Limits()
	long := strings.Repeat("x", l.MaxIDBytes+1)
	many := make([]string, l.MaxBatch+1)
	for i := range many {
		many[i] = fmt.Sprint(i)
	}
	var heavy []Interest
	for range l.MaxInterests + 1 {
		heavy = append(heavy, Interest{Vector: []float32{1, 2}})
	}
	profile := func(is ...Interest) error {
		_, err := c.UpsertProfiles(ctx, []Profile{{UserID: "new", Interests: is}})
		return err
	}
	for _, tc := range []struct {
		name, field string
		reason      Reason
		call        func() error
	}{
		{"Get of no id", "ids[0]", ReasonRequired, func() error { _, err := c.Get(ctx, ""); return err }},
		{"Get of a long id", "ids[0]", ReasonTooLong, func() error { _, err := c.Get(ctx, long); return err }},
		{"GetBatch of too many", "ids", ReasonOutOfRange, func() error { _, _, err := c.GetBatch(ctx, many); return err }},
		{"List of no page", "limit", ReasonOutOfRange, func() error { _, _, err := c.List(ctx, "", 0); return err }},
		{"List of a large page", "limit", ReasonOutOfRange, func() error { _, _, err := c.List(ctx, "", l.MaxPage+1); return err }},
		{"Profile of nobody", "user_id", ReasonRequired, func() error { _, err := c.Profile(ctx, ""); return err }},
		{"ExplainAbsence of no id", "item_id", ReasonRequired, func() error {
			_, err := c.ExplainAbsence(ctx, SearchRequest{Query: Query{ItemID: "a"}, K: 2}, "")
			return err
		}},
		{"Delete of too many", "ids", ReasonOutOfRange, func() error { _, _, err := c.Delete(ctx, many); return err }},
		{"DeleteProfile of nobody", "user_id", ReasonRequired, func() error { _, err := c.DeleteProfile(ctx, ""); return err }},
		{"a profile of no interest", "profiles[0].interests", ReasonRequired, func() error { return profile() }},
		{"a profile of too many", "profiles[0].interests", ReasonOutOfRange, func() error { return profile(heavy...) }},
		{"a negative weight", "profiles[0].interests[0].weight", ReasonOutOfRange, func() error { return profile(Interest{[]float32{1, 2}, -1}) }},
		{"a heavy weight", "profiles[0].interests[0].weight", ReasonOutOfRange, func() error { return profile(Interest{[]float32{1, 2}, MaxWeight * 2}) }},
		{"AddExclusions to no set", "exclusion_set", ReasonRequired, func() error { return c.AddExclusions(ctx, "", []string{"a"}, time.Time{}) }},
		{"AddExclusions of no id", "item_ids[1]", ReasonRequired, func() error { return c.AddExclusions(ctx, "s", []string{"a", ""}, time.Time{}) }},
		{"AddExclusions of too many", "item_ids", ReasonOutOfRange, func() error { return c.AddExclusions(ctx, "s", many, time.Time{}) }},
		{"RemoveExclusions of too many", "item_ids", ReasonOutOfRange, func() error { return c.RemoveExclusions(ctx, "s", many) }},
		{"DeleteExclusionSet of none", "exclusion_set", ReasonRequired, func() error { return c.DeleteExclusionSet(ctx, "") }},
		{"ExclusionSet of none", "exclusion_set", ReasonRequired, func() error { _, _, err := c.ExclusionSet(ctx, "", "", 1); return err }},
		{"ExclusionSet of no page", "limit", ReasonOutOfRange, func() error { _, _, err := c.ExclusionSet(ctx, "s", "", 0); return err }},
		{"StartImport of no job", "job_id", ReasonRequired, func() error { _, err := c.StartImport(ctx, ImportOptions{}); return err }},
		{"StartImport of fewer than none", "expected_items", ReasonOutOfRange, func() error {
			_, err := c.StartImport(ctx, ImportOptions{JobID: "job", ExpectedItems: -1})
			return err
		}},
		{"WriteImport of too many", "items", ReasonOutOfRange, func() error {
			_, err := c.WriteImport(ctx, "job", ImportRows{Sequence: 1, Items: make([]Item, l.MaxBatch+1)}, false)
			return err
		}},
		{"ImportRejects of no page", "limit", ReasonOutOfRange, func() error { _, _, err := c.ImportRejects(ctx, "job", 0, 0); return err }},
	} {
		err := tc.call()
		var invalid *InvalidError
		if !errors.As(err, &invalid) || len(invalid.Violations) == 0 {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		if v := invalid.Violations[0]; v.Field != tc.field || v.Reason != tc.reason || !strings.Contains(err.Error(), tc.field) {
			t.Errorf("%s: %v of %s (%v), want %v of %s", tc.name, v.Reason, v.Field, err, tc.reason, tc.field)
		}
		if after := entryState(t, c); after != before {
			t.Fatalf("%s changed\n%s\nto\n%s", tc.name, before, after)
		}
	}
	// What is not there is not found by its kind and name.
	for kind, call := range map[string]func() error{
		"item":    func() error { _, err := c.Get(ctx, "none"); return err },
		"user":    func() error { _, err := c.Profile(ctx, "none"); return err },
		"release": func() error { _, err := c.Release(ctx, 99); return err },
		"import":  func() error { _, err := c.Import(ctx, "none"); return err },
	} {
		var missing *NotFoundError
		if err := call(); !errors.As(err, &missing) || missing.Kind != kind {
			t.Errorf("%s: %v", kind, err)
		}
	}
	for name, call := range map[string]func() error{
		"WriteImport":   func() error { _, err := c.WriteImport(ctx, "none", ImportRows{Sequence: 1}, false); return err },
		"CommitImport":  func() error { _, err := c.CommitImport(ctx, "none"); return err },
		"CancelImport":  func() error { return c.CancelImport(ctx, "none") },
		"ImportRejects": func() error { _, _, err := c.ImportRejects(ctx, "none", 0, 1); return err },
	} {
		var missing *NotFoundError
		if err := call(); !errors.As(err, &missing) || missing.Kind != "import" || missing.Name != "none" {
			t.Errorf("%s: %v", name, err)
		}
	}
}
