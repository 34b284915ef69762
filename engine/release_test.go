package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// importAll imports items as one job and waits until the release is ready.
func importAll(t testing.TB, c *Collection, o ImportOptions, items ...Item) ImportInfo {
	t.Helper()
	if _, err := c.StartImport(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	for seq := uint64(1); len(items) > 0; seq++ {
		n := min(len(items), 500)
		if _, err := c.WriteImport(t.Context(), o.JobID, ImportRows{Sequence: seq, Items: items[:n]}, false); err != nil {
			t.Fatal(err)
		}
		items = items[n:]
	}
	if _, err := c.CommitImport(t.Context(), o.JobID); err != nil {
		t.Fatal(err)
	}
	info, err := c.WaitImport(t.Context(), o.JobID)
	if err != nil || info.State != ReleaseReady || info.Err != nil {
		t.Fatalf("%+v, %v", info, err)
	}
	return info
}

func mustPublish(t testing.TB, c *Collection, id uint32) {
	t.Helper()
	if _, err := c.PublishRelease(t.Context(), id, PublishConditions{}); err != nil {
		t.Fatal(err)
	}
}

// A call works on the release it began on, also when another one is published meanwhile; its memory is freed after.
func TestCallsEndOnTheReleaseTheyBeganOn(t *testing.T) {
	c := newTestCollection(t, 4, L2)
	mustUpsert(t, c, Item{ID: "old", Vector: make1(4)})
	r, err := c.acquire()
	if err != nil {
		t.Fatal(err)
	}
	info := importAll(t, c, ImportOptions{JobID: "a"}, Item{ID: "new", Vector: make1(4)})
	mustPublish(t, c, info.Release)
	if _, err := c.Get(t.Context(), "new"); err != nil {
		t.Error(err)
	}
	if _, err := r.get(t.Context(), "old"); err != nil {
		t.Errorf("the old release under a call: %v", err)
	}
	s := r.index.Acquire()
	slot, ok := r.table.slotOf("old")
	if !ok || s.Vector(slot)[0] != 1 {
		t.Error("the old index is gone under a call")
	}
	s.Release()
	select {
	case <-r.stopped:
		t.Error("the old applier stopped under a call")
	default:
	}
	r.leave()
	<-r.stopped
}

// A read token taken before a publication is good after it, and one that waits for a later write is not left behind.
func TestRevisionsGoOnOverPublications(t *testing.T) {
	c := newTestCollection(t, 4, L2)
	before := mustUpsert(t, c, Item{ID: "a", Vector: make1(4)})
	info := importAll(t, c, ImportOptions{JobID: "job"}, Item{ID: "b", Vector: make1(4)})
	old := c.published.Load()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	got := make(chan error, 1)
	go func() {
		// Waits at the old release for a write that only the new one gets.
		r, err := c.acquireAt(ctx, before+1)
		if err == nil {
			if r == old {
				err = errors.New("got the old release")
			}
			r.leave()
		}
		got <- err
	}()
	mustPublish(t, c, info.Release)
	if c.Revision() != before {
		t.Errorf("revision %d after the publication, %d before", c.Revision(), before)
	}
	if lsn := mustUpsert(t, c, Item{ID: "c", Vector: make1(4)}); lsn != before+1 {
		t.Errorf("LSN %d follows %d", lsn, before)
	}
	if err := <-got; err != nil {
		t.Error(err)
	}
	res, err := c.Search(t.Context(), SearchRequest{Query: Query{Vector: make1(4)}, K: 5, MinRevision: before + 1})
	if err != nil || len(res.Neighbors) != 2 {
		t.Errorf("%+v, %v", res, err)
	}
}

// A job that was finished is finished for good, also after its release was dropped; a cancelled one starts anew.
func TestImportIsIdempotentByJob(t *testing.T) {
	fs := vfs.NewMem()
	e, err := Open(t.Context(), "store", testOptions(fs))
	if err != nil {
		t.Fatal(err)
	}
	c, err := e.CreateCollection(t.Context(), CollectionConfig{Name: "tracks", Dim: 4, Metric: L2})
	if err != nil {
		t.Fatal(err)
	}
	for day := range 4 {
		info := importAll(t, c, ImportOptions{JobID: fmt.Sprint("day ", day)}, Item{ID: "a", Vector: make1(4)})
		mustPublish(t, c, info.Release)
	}
	if _, err := c.StartImport(t.Context(), ImportOptions{JobID: "cancelled"}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.CancelImport(t.Context(), "cancelled"), c.CancelImport(t.Context(), "cancelled"), e.Close()); err != nil {
		t.Fatal(err)
	}
	e = open(t, "store", testOptions(fs))
	if c, err = e.Collection("tracks"); err != nil {
		t.Fatal(err)
	}
	for day, want := range []ReleaseState{ReleaseDropped, ReleaseDropped, ReleaseRetired, ReleasePublished} {
		job := fmt.Sprint("day ", day)
		info, err := c.StartImport(t.Context(), ImportOptions{JobID: job})
		if err != nil || info.State != want || info.Accepted != 1 {
			t.Errorf("%s again: %+v, %v, want %s", job, info, err, want)
		}
		if _, err := c.WriteImport(t.Context(), job, ImportRows{Sequence: 1}, true); !errors.As(err, new(*StateError)) {
			t.Errorf("rows for a finished job: %v", err)
		}
	}
	info, err := c.StartImport(t.Context(), ImportOptions{JobID: "cancelled"})
	if err != nil || info.State != ReleaseImporting {
		t.Errorf("%+v, %v", info, err)
	}
	infos, err := c.Releases(t.Context())
	if err != nil || len(infos) != 3 {
		t.Errorf("on disk: %+v, %v", infos, err)
	}
	if _, err := c.Import(t.Context(), "unknown"); !errors.As(err, new(*NotFoundError)) {
		t.Error(err)
	}
}

// Rows that break a rule are listed with the rule, in order, and counted beyond what is kept.
func TestImportRejects(t *testing.T) {
	c := newTestCollection(t, 2, Cosine)
	if _, err := c.StartImport(t.Context(), ImportOptions{JobID: "job"}); err != nil {
		t.Fatal(err)
	}
	nan := float32(math.NaN())
	batch := ImportRows{Sequence: 1, Items: []Item{
		{ID: "good", Vector: []float32{1, 2}}, {ID: "", Vector: []float32{1, 2}}, {ID: "short", Vector: []float32{1}},
		{ID: "nan", Vector: []float32{1, nan}}, {ID: "zero", Vector: []float32{0, 0}}, {ID: strings.Repeat("x", 9999), Vector: []float32{1, 1}},
	}, Profiles: []Profile{{UserID: "u", Interests: []Interest{{Vector: []float32{0, 0}}}}}}
	if _, err := c.WriteImport(t.Context(), "job", batch, false); err != nil {
		t.Fatal(err)
	}
	many := ImportRows{Items: slices.Repeat([]Item{{ID: "bad"}}, MaxRejects)}
	many.Sequence = 2
	if durable, err := c.WriteImport(t.Context(), "job", many, true); durable != 2 || err != nil {
		t.Fatal(durable, err)
	}
	info, err := c.Import(t.Context(), "job")
	if err != nil || info.Accepted != 1 || info.Rejected != 6+MaxRejects {
		t.Errorf("%+v, %v", info, err)
	}
	rejects, more, err := c.ImportRejects(t.Context(), "job", 0, 7)
	if err != nil || !more {
		t.Fatal(more, err)
	}
	var got []string
	for _, r := range rejects {
		got = append(got, fmt.Sprintf("%d/%d %.5s %s %s", r.Sequence, r.Index, r.ID, r.Reason, r.Field))
	}
	want := []string{"1/1  FIELD_REQUIRED id", "1/2 short DIMENSION_MISMATCH vector", "1/3 nan VECTOR_NOT_FINITE vector[1]",
		"1/4 zero ZERO_VECTOR vector", "1/5 xxxxx TOO_LONG id", "1/6 u ZERO_VECTOR interests[0].vector", "2/0 bad DIMENSION_MISMATCH vector"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	total := 0
	for more := true; more; {
		if rejects, more, err = c.ImportRejects(t.Context(), "job", total, 1000); err != nil {
			t.Fatal(err)
		}
		total += len(rejects)
	}
	if total != MaxRejects {
		t.Errorf("%d rejects kept", total)
	}
}

// Vectors of another model are refused by what declares its model, before and after a release of that model serves;
// live ones do not get into it, deletes do.
func TestEmbeddingModels(t *testing.T) {
	e := open(t, "store", testOptions(vfs.NewMem()))
	v1, v2 := EmbeddingModel{"taste", "1"}, EmbeddingModel{"taste", "2"}
	c, err := e.CreateCollection(t.Context(), CollectionConfig{Name: "tracks", Dim: 2, Metric: L2, Model: v1})
	if err != nil {
		t.Fatal(err)
	}
	put := func(id string, m EmbeddingModel) error {
		_, err := c.UpsertWith(t.Context(), []Item{{ID: id, Vector: []float32{1, 1}}}, WriteOptions{Model: m})
		return err
	}
	ask := func(m EmbeddingModel) error {
		_, err := c.Search(t.Context(), SearchRequest{Query: Query{Vector: []float32{1, 1}}, K: 1, Model: m})
		return err
	}
	var mismatch *ModelMismatchError
	if err := errors.Join(put("a", v1), put("b", EmbeddingModel{}), put("gone", v1), ask(v1), ask(EmbeddingModel{})); err != nil {
		t.Fatal(err)
	}
	if err := put("a", v2); !errors.As(err, &mismatch) || mismatch.Want != v1 || mismatch.Got != v2 {
		t.Error(err)
	}
	if err := ask(v2); !errors.As(err, &mismatch) {
		t.Error(err)
	}
	if _, err := c.StartImport(t.Context(), ImportOptions{JobID: "retrained", Model: v2}); err != nil {
		t.Fatal(err)
	}
	if err := put("during", v1); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Delete(t.Context(), []string{"gone"}); err != nil {
		t.Fatal(err)
	}
	info := importAll(t, c, ImportOptions{JobID: "retrained", Model: v2}, Item{ID: "a", Vector: []float32{2, 2}}, Item{ID: "gone", Vector: []float32{2, 2}})
	mustPublish(t, c, info.Release)
	if err := put("x", v1); !errors.As(err, &mismatch) {
		t.Error(err)
	}
	if err := errors.Join(put("x", v2), ask(v2)); err != nil {
		t.Error(err)
	}
	items, _, err := c.List(t.Context(), "", 10)
	if err != nil || len(items) != 2 || items[0].ID != "a" || items[0].Vector[0] != 2 || items[1].ID != "x" {
		t.Errorf("%+v, %v", items, err)
	}
	if _, err := c.RollbackCollection(t.Context()); err != nil {
		t.Fatal(err)
	}
	items, _, err = c.List(t.Context(), "", 10)
	if err != nil || len(items) != 3 || items[0].Vector[0] != 1 || items[2].ID != "during" {
		t.Errorf("after the rollback: %+v, %v", items, err)
	}
}

// What a release does not fulfil is named, and it does not serve; the report says the same numbers.
func TestPublishConditions(t *testing.T) {
	c := newTestCollection(t, 8, Cosine)
	rng := rand.New(rand.NewPCG(1, 2))
	items := randomItems(rng, 800, 8)
	mustUpsert(t, c, items...)
	other := randomItems(rng, 400, 8) // the same ids, other vectors: no overlap to speak of
	for i := range other {
		other[i].ID = items[i].ID
	}
	info := importAll(t, c, ImportOptions{JobID: "job"}, append(other, Item{ID: "bad"})...)
	strict := PublishConditions{MinItems: 401, MinItemsRatio: 0.9, MinRecall: 1, MinOverlap: 0.5, MaxRejectRatio: -1}
	_, err := c.PublishRelease(t.Context(), info.Release, strict)
	var broken *ConditionError
	if !errors.As(err, &broken) || len(broken.Violations) < 4 {
		t.Fatal(err)
	}
	for i, want := range []string{"400 items, must be at least 401", "at least 0.9 of the 800", "1 of 401 rows were rejected"} {
		if !strings.Contains(broken.Violations[i], want) {
			t.Errorf("%q does not say %q", broken.Violations[i], want)
		}
	}
	if got, err := c.Release(t.Context(), 0); err != nil || got.ID != firstRelease {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := c.PublishRelease(t.Context(), info.Release, PublishConditions{MinRecall: 1.5}); !errors.As(err, new(*InvalidError)) {
		t.Error(err)
	}
	report, err := c.ReleaseReport(t.Context(), info.Release, 100)
	if err != nil {
		t.Fatal(err)
	}
	if report.Sample != 100 || report.OverlapSample != 100 || report.Overlap > 0.3 || report.GraphFaults != 0 || report.Release.Items != 400 {
		t.Errorf("%+v", report)
	}
	if !slices.IsSortedFunc(report.Recall, func(a, b RecallPoint) int { return a.Ef - b.Ef }) || report.recallAtDefault() < 0.95 {
		t.Errorf("%+v", report.Recall)
	}
	if n := report.Norms; !(0 < n.Min && n.Min <= n.Mean && n.Mean <= n.Max && n.StdDev > 0) {
		t.Errorf("%+v", n)
	}
	live, err := c.ReleaseReport(t.Context(), 0, 50)
	if err != nil || live.Overlap != 1 || live.GraphFaults != -1 || live.Release.ID != firstRelease {
		t.Errorf("%+v, %v", live, err)
	}
	if len(report.Hubs) == 0 || report.Coverage <= 0 || report.Coverage > 1 {
		t.Errorf("%+v", report)
	}
	lenient := PublishConditions{MinItems: 400, MinItemsRatio: 0.5, MinRecall: 0.9, MaxRejectRatio: 0.01}
	if _, err := c.PublishRelease(t.Context(), info.Release, lenient); err != nil {
		t.Error(err)
	}
}

// The log that another release has still to follow is not trimmed by snapshots.
func TestTrimWaitsForFollowers(t *testing.T) {
	c := newTestCollection(t, 2, L2)
	mustUpsert(t, c, Item{ID: "a", Vector: make1(2)})
	if _, err := c.StartImport(t.Context(), ImportOptions{JobID: "job"}); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		mustUpsert(t, c, Item{ID: fmt.Sprint("live ", i), Vector: make1(2)})
		if _, err := c.CreateSnapshot(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	first, err := c.published.Load().rows.FirstLSN()
	if err != nil || first > 2 {
		t.Errorf("the log starts at %d, %v", first, err)
	}
	info := importAll(t, c, ImportOptions{JobID: "job"}, Item{ID: "b", Vector: make1(2)})
	mustPublish(t, c, info.Release)
	if c.Len() != 6 {
		t.Errorf("%d items", c.Len())
	}
	if err := c.DeleteRelease(t.Context(), firstRelease); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		mustUpsert(t, c, Item{ID: "more", Vector: make1(2)})
		if _, err := c.CreateSnapshot(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if first, err = c.published.Load().rows.FirstLSN(); err != nil || first < 6 {
		t.Errorf("with nobody to follow the log starts at %d, %v", first, err)
	}
	if err := c.DeleteRelease(t.Context(), info.Release); !errors.As(err, new(*StateError)) {
		t.Errorf("deleting the published release: %v", err)
	}
}

// An interrupted build goes on from its last snapshot after a restart, by itself, and misses nothing.
func TestBuildGoesOnAfterRestart(t *testing.T) {
	fs := vfs.NewMem()
	o := testOptions(fs)
	o.BuildSnapshotItems = maxGroupMutations
	items := randomItems(rand.New(rand.NewPCG(5, 5)), 3*maxGroupMutations, 4)
	e, err := Open(t.Context(), "store", o)
	if err != nil {
		t.Fatal(err)
	}
	c, err := e.CreateCollection(t.Context(), CollectionConfig{Name: "tracks", Dim: 4, Metric: L2, M: 4, EfConstruction: 8})
	if err != nil {
		t.Fatal(err)
	}
	mustUpsert(t, c, items[0])
	if _, err := c.StartImport(t.Context(), ImportOptions{JobID: "job"}); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(items); i += 512 {
		if _, err := c.WriteImport(t.Context(), "job", ImportRows{Sequence: uint64(i/512 + 1), Items: items[i : i+512]}, false); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.CommitImport(t.Context(), "job"); err != nil {
		t.Fatal(err)
	}
	for restarts := 0; ; restarts++ {
		live := Item{ID: fmt.Sprint("live ", restarts), Vector: make1(4)}
		mustUpsert(t, c, live)
		items = append(items, live)
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		if e, err = Open(t.Context(), "store", o); err != nil {
			t.Fatal(err)
		}
		if c, err = e.Collection("tracks"); err != nil {
			t.Fatal(err)
		}
		if restarts == 3 {
			break
		}
	}
	defer e.Close()
	info, err := c.WaitImport(t.Context(), "job")
	if err != nil || info.State != ReleaseReady {
		t.Fatalf("%+v, %v", info, err)
	}
	mustPublish(t, c, info.Release)
	if c.Len() != len(items) {
		t.Errorf("%d items, want %d", c.Len(), len(items))
	}
	for _, it := range items {
		if _, ok := c.published.Load().table.slotOf(it.ID); !ok {
			t.Fatalf("item %s is missing", it.ID)
		}
	}
	if err := c.published.Load().index.Check(); err != nil {
		t.Error(err)
	}
	if kept, err := c.Snapshots(t.Context()); err != nil || len(kept) != 1 || kept[0].Items != len(items) {
		t.Errorf("snapshots of the new release: %+v, %v", kept, err)
	}
}

// Searches, writes, deletes and snapshots go on while releases are imported, published and rolled back. A deleted item
// never comes back, and what was acknowledged is there.
func TestReleasesUnderLoad(t *testing.T) {
	c := newTestCollection(t, 4, L2)
	rng := rand.New(rand.NewPCG(9, 9))
	base := randomItems(rng, 300, 4)
	mustUpsert(t, c, base...)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var mu sync.Mutex
	deleted := map[string]bool{}
	// As many writes an import: without a bound they outrun what has to follow them.
	writes := make(chan struct{}, 200)
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-ctx.Done():
				return
			case <-writes:
			}
			id := fmt.Sprint("live ", i%50)
			if _, err := c.Upsert(t.Context(), []Item{{ID: id, Vector: base[i%300].Vector}}); err != nil {
				t.Error(err)
			}
			if i < 100 {
				if _, _, err := c.Delete(t.Context(), []string{base[i].ID}); err != nil {
					t.Error(err)
				}
				mu.Lock()
				deleted[base[i].ID] = true
				mu.Unlock()
			}
			if i%20 == 0 {
				if _, err := c.CreateSnapshot(t.Context()); err != nil {
					t.Error(err)
				}
			}
		}
	})
	wg.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			mu.Lock()
			gone := map[string]bool{}
			for id := range deleted {
				gone[id] = true
			}
			mu.Unlock()
			res, err := c.Search(t.Context(), SearchRequest{Query: Query{Vector: base[i%300].Vector}, K: 20})
			if err != nil || len(res.Neighbors) != 20 {
				t.Errorf("%d neighbors, %v", len(res.Neighbors), err)
			}
			for _, n := range res.Neighbors {
				if gone[n.ItemID] {
					t.Errorf("deleted item %s came back", n.ItemID)
				}
			}
		}
	})
	for i := range 3 {
		for len(writes) < cap(writes) {
			writes <- struct{}{}
		}
		info := importAll(t, c, ImportOptions{JobID: fmt.Sprint("job ", i)}, base[100:]...)
		mustPublish(t, c, info.Release)
	}
	if _, err := c.RollbackCollection(t.Context()); err != nil {
		t.Error(err)
	}
	cancel()
	wg.Wait()
	if err := c.published.Load().index.Check(); err != nil {
		t.Error(err)
	}
}

// A record of format 1 has no releases and means the first; damaged ones are refused.
func TestCollectionRecord(t *testing.T) {
	r, err := decodeCollectionRecord([]byte(`{"config": {"name": "a", "dim": 2, "metric": 1}, "create_time": "2026-01-02T03:04:05Z"}`))
	if err != nil || r.Published != firstRelease || len(r.Releases) != 1 || r.Releases[0].State != ReleasePublished {
		t.Errorf("%+v, %v", r, err)
	}
	for _, bad := range []string{`{`, `{"published": 3, "releases": [{"id": 1, "state": "PUBLISHED"}]}`, `{"published": 1, "releases": [{"id": 1, "state": "READY"}]}`} {
		if _, err := decodeCollectionRecord([]byte(bad)); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
	for i := range 200 {
		r.Releases = append(r.Releases, releaseRecord{ID: uint32(i + 2), State: ReleaseDropped, Job: fmt.Sprint(i)})
	}
	r.forget()
	if n := len(r.Releases); n != 1+releasesRemembered+1 || r.Releases[0].ID != 1 || r.Releases[n-1].ID != 201 || r.job("199") == nil || r.job("0") != nil {
		t.Errorf("%d remembered", n)
	}
}
