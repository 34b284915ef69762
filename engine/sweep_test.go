package engine

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/segue-ann/segue/storage"
)

// TestClockJumps (fault F15): a clock that is set wrong hides what expires by it, and nothing is lost by the time that it is set
// right. Only when it has been steady for a while does the sweep delete.
func TestClockJumps(t *testing.T) {
	c, clock := clocked(t, 1)
	if _, err := c.Upsert(t.Context(), []Item{{ID: "a", Vector: []float32{1}, ExpireTime: clock.in(30 * time.Minute)}}); err != nil {
		t.Fatal(err)
	}
	if err := c.AddExclusions(t.Context(), "u", []string{"z"}, clock.in(30*time.Minute)); err != nil {
		t.Fatal(err)
	}
	there := func() bool {
		_, err := c.Get(t.Context(), "a")
		res, serr := c.Search(t.Context(), SearchRequest{Query: Query{Vector: []float32{0}}, K: 1, Exclusions: Exclusions{Sets: []string{"u"}}})
		if serr != nil || (err == nil) != (len(res.Neighbors) == 1) {
			t.Fatalf("get %v, search %v, %v", err, res.Neighbors, serr)
		}
		x, err2 := c.published.Load().excluded(t.Context(), "u")
		if err2 != nil || x.holds(&c.engine.exclusions, []byte("z")) != (err == nil) {
			t.Fatalf("the exclusion expires at another time: %v", err2)
		}
		return err == nil
	}
	stored := func() bool {
		_, err := c.published.Load().rows.Item("a")
		return err == nil
	}
	s, monotonic := sweeper{c: c}, time.Now()
	tick := func(passes, jumps time.Duration) {
		t.Helper()
		monotonic = monotonic.Add(passes)
		clock.advance(passes + jumps)
		if err := s.tick(monotonic); err != nil {
			t.Fatal(err)
		}
	}
	tick(time.Second, 0)
	tick(time.Second, time.Hour)
	if there() {
		t.Error("the item outlives its time by the clock")
	}
	for range 5 {
		if tick(time.Minute, 0); !stored() {
			t.Fatal("swept while the clock might be wrong")
		}
	}
	if tick(time.Second, -time.Hour); !there() {
		t.Error("the item is not back after the clock was set right")
	}
	for range 11 {
		tick(time.Minute, time.Second) // an hour in an hour and a bit: no jump
	}
	if !there() || !stored() {
		t.Error("the item did not outlive the jumps")
	}
	tick(10*time.Minute, 0)
	if tick(10*time.Minute, 0); there() || stored() {
		t.Errorf("there %v, stored %v after its time", there(), stored())
	}
	if tick(sweepPause, 0); len(storedExclusions(t, c, "u")) > 0 {
		t.Error("the exclusion is left")
	}
}

// TestSweepLosesToWrites: what was written again since the sweep saw it stays; items, profiles and exclusions.
func TestSweepLosesToWrites(t *testing.T) {
	c, clock := clocked(t, 1)
	put := func(expire time.Time) {
		t.Helper()
		if _, err := c.Upsert(t.Context(), []Item{{ID: "a", Vector: []float32{1}, ExpireTime: expire}}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.UpsertProfiles(t.Context(), []Profile{{UserID: "u", Interests: []Interest{{Vector: []float32{1}}}, ExpireTime: expire}}); err != nil {
			t.Fatal(err)
		}
	}
	put(clock.in(time.Second))
	item, err := c.Get(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	profile, err := c.Profile(t.Context(), "u")
	if err != nil {
		t.Fatal(err)
	}
	clock.advance(time.Second)
	put(clock.in(time.Second))
	before := c.Revision()
	for name, lsn := range map[string]LSN{"a version replaced": item.Revision, "one that has not expired": before - 1} {
		w := &write{mutations: []mutation{{kind: storage.LogExpireItem, id: "a", guard: &lsn}, {kind: storage.LogExpireItem, id: "gone", guard: &lsn},
			{kind: storage.LogExpireProfile, id: "u", guard: &profile.Revision}}}
		if err := c.submit(t.Context(), w); err != nil || c.Revision() != before {
			t.Errorf("%s: %v, revision %d, was %d", name, err, c.Revision(), before)
		}
	}
	if err := c.AddExclusions(t.Context(), "s", []string{"a"}, time.Time{}); err != nil {
		t.Fatal(err)
	}
	if err := c.sweepExclusions("s", []string{"a", "gone"}, clock.at.Load()); err != nil {
		t.Fatal(err)
	}
	if got := storedExclusions(t, c, "s"); !slices.Equal(got, []string{"a"}) {
		t.Errorf("an exclusion that does not expire was swept: %v", got)
	}
}

// TestSweepRows: profiles and exclusions are looked at a bounded number at a time, all of them in a pass, then none for a while.
func TestSweepRows(t *testing.T) {
	c, clock := clocked(t, 1)
	const n = sweepRows + 300
	profiles := make([]Profile, n)
	ids := make([]string, n)
	for i := range n {
		ids[i] = fmt.Sprintf("%06d", i)
		profiles[i] = Profile{UserID: ids[i], Interests: []Interest{{Vector: []float32{1}}}}
		if i%2 == 0 {
			profiles[i].ExpireTime = clock.in(time.Minute)
		}
	}
	if _, err := c.UpsertProfiles(t.Context(), profiles); err != nil {
		t.Fatal(err)
	}
	for _, set := range []string{"u", "v"} {
		if err := c.AddExclusions(t.Context(), set, ids, clock.in(time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.AddExclusions(t.Context(), "v", ids[:3], time.Time{}); err != nil {
		t.Fatal(err)
	}
	clock.advance(time.Hour)
	count := func() int {
		rows := 0
		for _, err := range c.published.Load().rows.Profiles("", 0) {
			if err != nil {
				t.Fatal(err)
			}
			rows++
		}
		return rows + len(storedExclusions(t, c, "u")) + len(storedExclusions(t, c, "v"))
	}
	s, monotonic := sweeper{c: c}, time.Now()
	ticks := 0
	for before := count(); s.rest.IsZero(); ticks++ {
		if err := s.tick(monotonic); err != nil {
			t.Fatal(err)
		}
		now := count()
		if before-now > sweepRows {
			t.Fatalf("one tick deleted %d rows", before-now)
		}
		before = now
	}
	if left := count(); left != n/2+3 || ticks != 4 {
		t.Errorf("%d rows left after %d ticks, want %d after 4", left, ticks, n/2+3)
	}
	if err := c.AddExclusions(t.Context(), "v", ids[:1], clock.in(time.Second)); err != nil {
		t.Fatal(err)
	}
	after := func(d time.Duration) int {
		t.Helper()
		clock.advance(d)
		monotonic = monotonic.Add(d)
		if err := s.tick(monotonic); err != nil {
			t.Fatal(err)
		}
		return count()
	}
	if left := after(time.Minute); left != n/2+3 {
		t.Errorf("%d rows left: swept during the pause", left)
	}
	if left := after(sweepPause); left != n/2+2 {
		t.Errorf("%d rows left after the pause, want %d", left, n/2+2)
	}
}

// TestSweepRuns: without anyone calling for it, what expires is deleted by and by; and the sweep ends with the engine, which
// TestMain checks.
func TestSweepRuns(t *testing.T) {
	o := testOptions(vfs.NewMem())
	o.SweepInterval = time.Millisecond
	c, err := open(t, "store", o).CreateCollection(t.Context(), CollectionConfig{Name: "c", Dim: 1, Metric: L2})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Upsert(t.Context(), []Item{{ID: "a", Vector: []float32{1}, ExpireTime: time.Now().Add(50 * time.Millisecond)}, {ID: "b", Vector: []float32{1}}}); err != nil {
		t.Fatal(err)
	}
	r := c.published.Load()
	if err := r.waitVisible(t.Context(), 3); err != nil { // two puts and a delete
		t.Fatal(err)
	}
	if _, err := r.rows.Item("a"); !errors.Is(err, storage.ErrNotFound) || c.Len() != 1 {
		t.Errorf("%v, %d items", err, c.Len())
	}
}

// TestImportOutlivesSweep: an item that expires in the published release while an import gives it more time is there when the
// import is published; one that the import brought with the same end is not, and is swept then.
func TestImportOutlivesSweep(t *testing.T) {
	c, clock := clocked(t, 1)
	item := func(id string, expire time.Time) Item { return Item{ID: id, Vector: []float32{1}, ExpireTime: expire} }
	soon, late := clock.in(time.Minute), clock.in(time.Hour)
	if _, err := c.Upsert(t.Context(), []Item{item("renewed", soon), item("same", soon), item("kept", late)}); err != nil {
		t.Fatal(err)
	}
	info, err := c.StartImport(t.Context(), ImportOptions{JobID: "j"})
	if err != nil {
		t.Fatal(err)
	}
	rows := ImportRows{Sequence: 1, Items: []Item{item("renewed", late), item("same", soon), item("past", clock.now()), item("b", time.Time{})}}
	if _, err := c.WriteImport(t.Context(), "j", rows, true); err != nil {
		t.Fatal(err)
	}
	clock.at.Store(soon.UnixMicro())
	if err := (&sweeper{c: c}).tick(time.Now()); err != nil {
		t.Fatal(err)
	}
	if c.Len() != 1 {
		t.Fatalf("%d items after the sweep", c.Len())
	}
	if _, err := c.CommitImport(t.Context(), "j"); err != nil {
		t.Fatal(err)
	}
	if info, err = c.WaitImport(t.Context(), "j"); err != nil || info.Accepted != 3 || info.Rejected != 1 {
		t.Fatalf("%+v, %v", info, err)
	}
	if _, err := c.PublishRelease(t.Context(), info.Release, PublishConditions{}); err != nil {
		t.Fatal(err)
	}
	ids := func() (ids []string) {
		items, _, err := c.List(t.Context(), "", 10)
		if err != nil {
			t.Fatal(err)
		}
		for _, it := range items {
			ids = append(ids, it.ID)
		}
		return ids
	}
	if got := ids(); !slices.Equal(got, []string{"b", "renewed"}) {
		t.Errorf("published %v", got)
	}
	if err := (&sweeper{c: c}).tick(time.Now()); err != nil || c.Len() != 2 {
		t.Errorf("%d items after the sweep of the new release, %v", c.Len(), err)
	}
}
