package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/segue-ann/segue/engine/attribute"
)

// fakeClock stands still until it is set.
type fakeClock struct{ at atomic.Int64 }

func newFakeClock() *fakeClock {
	c := &fakeClock{}
	c.at.Store(time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC).UnixMicro())
	return c
}

func (c *fakeClock) now() time.Time               { return time.UnixMicro(c.at.Load()).UTC() }
func (c *fakeClock) advance(d time.Duration)      { c.at.Add(d.Microseconds()) }
func (c *fakeClock) in(d time.Duration) time.Time { return c.now().Add(d) }

// drawExpiry draws a time soon to come, or never.
func (m *model) drawExpiry(t *rapid.T) time.Time {
	if rapid.IntRange(0, 2).Draw(t, "expires") > 0 {
		return time.Time{}
	}
	return m.clock.in(time.Duration(rapid.IntRange(1, 5).Draw(t, "seconds")) * time.Second)
}

// time lets time pass.
func (m *model) time(t *rapid.T) {
	m.clock.advance(time.Duration(rapid.IntRange(1, 3).Draw(t, "seconds")) * time.Second)
	m.expire()
}

// expire takes what has expired out of the truth.
func (m *model) expire() {
	maps.DeleteFunc(m.truth.items, func(_ string, it Item) bool {
		return !it.ExpireTime.IsZero() && !it.ExpireTime.After(m.clock.now())
	})
}

// unswept counts stored items that have expired.
func (m *model) unswept() (n int) {
	for row, err := range m.c.published.Load().rows.Items("", 0) {
		if err == nil && over(row.Attributes, m.clock.at.Load()) {
			n++
		}
	}
	return n
}

// sweep deletes what has expired, and nothing else.
func (m *model) sweep(t *rapid.T) {
	n := m.unswept()
	if err := (&sweeper{c: m.c}).tick(time.Now()); err != nil {
		t.Fatal(err)
	}
	if left := m.unswept(); left > 0 {
		t.Fatalf("%d of %d expired items are left", left, n)
	}
	m.advance(t, m.lsn+LSN(n), n)
}

// drawConditions puts conditions on some items, and returns the error that they must come to, or nil.
func (m *model) drawConditions(t *rapid.T, items []Item) (want *RevisionMismatchError) {
	revisions := map[string]LSN{}
	for i := range items {
		it := &items[i]
		current, written := revisions[it.ID]
		if !written {
			current = m.truth.items[it.ID].Revision
		}
		if rapid.IntRange(0, 4).Draw(t, "conditional") == 0 {
			asked := current
			if rapid.IntRange(0, 4).Draw(t, "wrong") == 0 {
				asked += LSN(rapid.IntRange(1, 3).Draw(t, "off"))
			}
			if it.IfRevision = &asked; asked != current && want == nil {
				want = &RevisionMismatchError{Kind: "item", Name: it.ID, Want: asked, Current: current}
			}
		}
		revisions[it.ID] = m.lsn + LSN(i+1)
	}
	return want
}

func sameMismatch(err error, want *RevisionMismatchError) bool {
	var got *RevisionMismatchError
	if want == nil {
		return err == nil
	}
	return errors.As(err, &got) && *got == *want
}

// clocked returns a collection whose time stands still.
func clocked(t *testing.T, dim int) (*Collection, *fakeClock) {
	t.Helper()
	clock := newFakeClock()
	o := testOptions(vfs.NewMem())
	o.Now = clock.now
	c, err := open(t, "store", o).CreateCollection(t.Context(), CollectionConfig{Name: "c", Dim: dim, Metric: L2})
	if err != nil {
		t.Fatal(err)
	}
	return c, clock
}

// TestExpiredIsGoneEverywhere: from the moment at which an item or a profile expires, and not before, no read of any kind has it;
// without any sweep. What asks for it by name is told that it does not exist.
func TestExpiredIsGoneEverywhere(t *testing.T) {
	c, clock := clocked(t, 1)
	end := clock.in(time.Minute)
	if _, err := c.Upsert(t.Context(), []Item{{ID: "a", Vector: []float32{1}, ExpireTime: end}, {ID: "b", Vector: []float32{2}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.UpsertProfiles(t.Context(), []Profile{{UserID: "u", Interests: []Interest{{Vector: []float32{1}}}, ExpireTime: end}}); err != nil {
		t.Fatal(err)
	}
	vector := Query{Vector: []float32{0}}
	filter, err := c.ParseFilter("NOT nowhere = 1")
	if err != nil {
		t.Fatal(err)
	}
	search := func(req SearchRequest) func() (bool, error) {
		return func() (bool, error) {
			req.K = 2
			res, err := c.Search(t.Context(), req)
			if err == nil && req.Filter != nil && res.Info.Matching != len(res.Neighbors) {
				return false, fmt.Errorf("%d neighbors, %d matching", len(res.Neighbors), res.Info.Matching)
			}
			return slices.ContainsFunc(res.Neighbors, func(n Neighbor) bool { return n.ItemID == "a" }), err
		}
	}
	unknown := func(err error) (bool, error) {
		if errors.As(err, new(*NotFoundError)) {
			return false, nil
		}
		return err == nil, err
	}
	reads := map[string]func() (there bool, err error){
		"search":          search(SearchRequest{Query: vector}),
		"exact search":    search(SearchRequest{Query: vector, Exact: true}),
		"filtered search": search(SearchRequest{Query: vector, Filter: filter}),
		"excluding":       search(SearchRequest{Query: vector, Exclusions: Exclusions{ItemIDs: []string{"z"}}}),
		"ranked search":   search(SearchRequest{Query: vector, Diversity: 0.5}),
		"partial search":  search(SearchRequest{Query: vector, AllowPartial: true}),
		"with vectors":    search(SearchRequest{Query: vector, WithVectors: true}),
		"get":             func() (bool, error) { _, err := c.Get(t.Context(), "a"); return unknown(err) },
		"batch get": func() (bool, error) {
			found, missing, err := c.GetBatch(t.Context(), []string{"a", "b"})
			return len(found) == 2 && len(missing) == 0, err
		},
		"list": func() (bool, error) {
			items, _, err := c.List(t.Context(), "", 2)
			return len(items) == 2, err
		},
		"by item": func() (bool, error) {
			_, err := c.Search(t.Context(), SearchRequest{Query: Query{ItemID: "a"}, K: 1})
			return unknown(err)
		},
		"by user": func() (bool, error) {
			_, err := c.Search(t.Context(), SearchRequest{Query: Query{UserID: "u"}, K: 1})
			return unknown(err)
		},
		"by example": func() (bool, error) {
			_, err := c.Search(t.Context(), SearchRequest{Query: Query{Examples: &Examples{Positive: []Example{{ItemID: "a"}}}}, K: 1})
			return unknown(err)
		},
		"profile": func() (bool, error) { _, err := c.Profile(t.Context(), "u"); return unknown(err) },
		"score": func() (bool, error) {
			res, err := c.ScoreItems(t.Context(), ScoreRequest{Query: vector, ItemIDs: []string{"a"}})
			return len(res.Items) == 1, err
		},
		"explain": func() (bool, error) {
			a, err := c.ExplainAbsence(t.Context(), SearchRequest{Query: vector, K: 2}, "a")
			return a.Reason == Present, err
		},
	}
	for _, at := range []struct {
		time  time.Time
		there bool
	}{{end.Add(-time.Microsecond), true}, {end, false}, {end.Add(time.Hour), false}} {
		clock.at.Store(at.time.UnixMicro())
		for name, read := range reads {
			if there, err := read(); err != nil || there != at.there {
				t.Errorf("%s, %v before the end: there %v, %v", name, end.Sub(at.time), there, err)
			}
		}
	}
	var past *InvalidError
	_, err = c.Upsert(t.Context(), []Item{{ID: "x", Vector: []float32{1}, ExpireTime: clock.now()}})
	if !errors.As(err, &past) || past.Violations[0].Field != "items[0].expire_time" || past.Violations[0].Reason != ReasonOutOfRange {
		t.Errorf("an item that has expired before it is written: %v", err)
	}
	_, err = c.UpsertProfiles(t.Context(), []Profile{{UserID: "x", Interests: []Interest{{Vector: []float32{1}}}, ExpireTime: end}})
	if !errors.As(err, &past) || past.Violations[0].Field != "profiles[0].expire_time" {
		t.Errorf("a profile that has expired before it is written: %v", err)
	}
	old := end
	_, _, err = c.UpdateAttributes(t.Context(), []AttributesUpdate{{ID: "b", ExpireTime: &old}})
	if !errors.As(err, &past) || past.Violations[0].Field != "updates[0].expire_time" {
		t.Errorf("an update to a time that has passed: %v", err)
	}
}

// TestMassExpiry: when most of the neighbors of a query expire at once, k others are found, whether the set of what is due has
// been made or not, and after each step of the sweep.
func TestMassExpiry(t *testing.T) {
	c, clock := clocked(t, 4)
	rng := rand.New(rand.NewPCG(8, 8))
	items := randomItems(rng, 3000, 4)
	end := clock.in(time.Hour)
	truth := oracleOf(L2, nil)
	for i := range items {
		if rng.IntN(10) > 0 {
			items[i].ExpireTime = end
		} else {
			truth.items[items[i].ID] = items[i]
		}
	}
	if _, err := c.Upsert(t.Context(), items); err != nil {
		t.Fatal(err)
	}
	clock.at.Store(end.UnixMicro())
	s := sweeper{c: c}
	for step := 0; ; step++ {
		q := randomVector(rng, 4)
		for _, req := range []SearchRequest{{Query: Query{Vector: q}, K: 20, Exact: true}, {Query: Query{Vector: q}, K: 20, Ef: 3000}} {
			res, err := c.Search(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			if err := truth.agrees(q, req.K, "", res.Neighbors); err != nil || res.Info.Completeness != Complete {
				t.Fatalf("step %d: %v, %v", step, res.Info.Completeness, err)
			}
			if res.Info.Filtered || res.Info.Matching != 0 {
				t.Fatalf("step %d: a request without a filter has %d matching", step, res.Info.Matching)
			}
		}
		if c.Len() == len(truth.items) {
			break
		}
		before := c.Len()
		if err := s.tick(time.Now()); err != nil {
			t.Fatal(err)
		}
		if swept := before - c.Len(); swept < 1 || swept > sweepItems {
			t.Fatalf("one tick deleted %d items", swept)
		}
	}
	x := c.published.Load().expiries
	if x.live != 0 || x.due.Len() != 0 || x.next.Load() != 0 {
		t.Errorf("%d items expire, %d are due, the next at %d, after all were swept", x.live, x.due.Len(), x.next.Load())
	}
	if err := c.published.Load().index.Check(); err != nil {
		t.Error(err)
	}
}

// TestExpiriesModel: what is marked as due is what has expired, whatever comes and goes, and stale places do not pile up.
func TestExpiriesModel(t *testing.T) {
	c, clock := clocked(t, 1)
	rng := rand.New(rand.NewPCG(3, 3))
	r := c.published.Load()
	ends := map[string]time.Time{}
	for step := range 300 {
		id := fmt.Sprint(rng.IntN(20))
		switch rng.IntN(5) {
		case 0:
			if _, _, err := c.Delete(t.Context(), []string{id}); err != nil {
				t.Fatal(err)
			}
			delete(ends, id)
		case 1:
			clock.advance(time.Second)
		default:
			end := clock.in(time.Duration(1+rng.IntN(20)) * time.Second)
			if rng.IntN(4) == 0 {
				end = time.Time{}
			}
			if _, err := c.Upsert(t.Context(), []Item{{ID: id, Vector: []float32{float32(rng.IntN(3))}, ExpireTime: end}}); err != nil {
				t.Fatal(err)
			}
			ends[id] = end
		}
		r.expiries.expired(r.table, clock.at.Load())
		want, live := 0, 0
		for _, end := range ends {
			if !end.IsZero() {
				live++
				if !end.After(clock.now()) {
					want++
				}
			}
		}
		if got := len(r.expiries.oldest(100)); got != want || r.expiries.live != live {
			t.Fatalf("step %d: %d due of %d, want %d of %d", step, got, r.expiries.live, want, live)
		}
	}
	for range 3 * minExpiryHeap {
		r.expiries.change(0, attributeExpiryOf(r, 0), attributeExpiryOf(r, 0)+1)
		r.expiries.change(0, attributeExpiryOf(r, 0)+1, attributeExpiryOf(r, 0))
	}
	r.expiries.collect(r.table, 0, 1)
	if n := len(r.expiries.heap); n > minExpiryHeap+2*20 {
		t.Errorf("%d places for %d items", n, r.expiries.live)
	}
}

// attributeExpiryOf returns a time above 0 for a slot.
func attributeExpiryOf(r *release, slot uint32) int64 {
	return attribute.Expiry(r.table.entries.at(slot).attributes()) + 1
}

// TestExpirySurvives restarts from rows, from the log, and from a snapshot.
func TestExpirySurvives(t *testing.T) {
	for name, snapshot := range map[string]bool{"rows": false, "snapshot": true} {
		t.Run(name, func(t *testing.T) {
			fsys, clock := vfs.NewMem(), newFakeClock()
			o := testOptions(fsys)
			o.Now = clock.now
			func() {
				e, err := Open(context.Background(), "store", o)
				if err != nil {
					t.Fatal(err)
				}
				defer e.Close()
				c, err := e.CreateCollection(t.Context(), CollectionConfig{Name: "c", Dim: 1, Metric: L2})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := c.Upsert(t.Context(), []Item{{ID: "a", Vector: []float32{1}, ExpireTime: clock.in(time.Second)}, {ID: "b", Vector: []float32{2}}}); err != nil {
					t.Fatal(err)
				}
				if snapshot {
					if _, err := c.CreateSnapshot(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
			}()
			e := open(t, "store", o)
			c, err := e.Collection("c")
			if err != nil {
				t.Fatal(err)
			}
			if it, err := c.Get(t.Context(), "a"); err != nil || !it.ExpireTime.Equal(clock.in(time.Second)) {
				t.Fatalf("%+v, %v", it, err)
			}
			clock.advance(time.Second)
			res, err := c.Search(t.Context(), SearchRequest{Query: Query{Vector: []float32{0}}, K: 2})
			if err != nil || len(res.Neighbors) != 1 || res.Neighbors[0].ItemID != "b" {
				t.Errorf("%+v, %v", res.Neighbors, err)
			}
			if err := (&sweeper{c: c}).tick(time.Now()); err != nil || c.Len() != 1 {
				t.Errorf("%d items, %v", c.Len(), err)
			}
		})
	}
}
