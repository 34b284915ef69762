package hnsw_test

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/segue-ann/segue/hnsw"
	"github.com/segue-ann/segue/internal/invariants"
)

// world is an index and its model, with filters drawn over slots that are live, dead, free and beyond the end.
type world struct {
	model
	x   *hnsw.Index
	dim int
}

func drawWorld(t *rapid.T) *world {
	w := &world{model: model{
		metric: rapid.SampledFrom([]hnsw.Metric{hnsw.Cosine, hnsw.InnerProduct, hnsw.L2}).Draw(t, "metric"),
		live:   map[uint32][]float32{},
	}}
	w.dim = rapid.IntRange(1, 10).Draw(t, "dim")
	x, err := hnsw.New(hnsw.Options{
		Dim: w.dim, Metric: w.metric, MaxSlots: 512, M: rapid.SampledFrom([]int{4, 16}).Draw(t, "m"), EfConstruction: 16, Seed: 5,
	})
	if err != nil {
		t.Fatal(err)
	}
	w.x = x
	hnsw.FitAt(x, rapid.SampledFrom([]int{20, 1000}).Draw(t, "fitAt"))
	for range rapid.IntRange(0, 120).Draw(t, "inserts") {
		v := drawVector(t, w.dim, w.metric)
		slot, err := x.Insert(v)
		if err != nil {
			t.Fatal(err)
		}
		w.live[slot] = v
		if rapid.IntRange(0, 4).Draw(t, "delete") == 0 {
			if err := x.Delete(slot); err != nil {
				t.Fatal(err)
			}
			delete(w.live, slot)
		}
	}
	return w
}

// drawFilter draws a filter, and the model of what it allows. It is nil now and then.
func (w *world) drawFilter(t *rapid.T) (*hnsw.SlotSet, *model) {
	keep := rapid.IntRange(0, 5).Draw(t, "keep")
	if keep == 5 {
		return nil, &w.model
	}
	set, allowed := new(hnsw.SlotSet), &model{metric: w.metric, live: map[uint32][]float32{}}
	for slot := range uint32(w.x.Slots() + 5) {
		if rapid.IntRange(0, 4).Draw(t, "allow") > keep {
			continue
		}
		set.Add(slot)
		if v, ok := w.live[slot]; ok {
			allowed.live[slot] = v
		}
	}
	return set, allowed
}

// distances asks for distances of live slots and compares them with the model's.
func (w *world) distances(t *rapid.T, s *hnsw.Searcher) {
	query := drawVector(t, w.dim, w.metric)
	var slots []uint32
	for slot := range w.live {
		slots = append(slots, slot)
	}
	dst, err := s.Distances(context.Background(), query, slots, []float32{7})
	if err != nil || len(dst) != 1+len(slots) || dst[0] != 7 {
		t.Fatalf("%d distances of %d appended to [7]: %v", len(dst), len(slots), err)
	}
	for i, slot := range slots {
		want := w.distance(query, w.live[slot])
		if math.Abs(want-float64(dst[i+1])) > tolerance(want) || s.Distance(query, slot) != dst[i+1] {
			t.Fatalf("slot %d at %g of %g, alone at %g", slot, dst[i+1], want, s.Distance(query, slot))
		}
	}
	if _, err := s.Distances(context.Background(), query, []uint32{uint32(w.x.Slots())}, nil); !errors.Is(err, hnsw.ErrNotLive) {
		t.Fatalf("distance of a slot that never was: %v", err)
	}
}

// wellFormed checks all of a result but that it is the nearest: distinct slots of the model, in order, at true distances,
// where distance is that to the nearest of the queries.
func (m *model) wellFormed(t *rapid.T, queries [][]float32, got []hnsw.Candidate) {
	for i, c := range got {
		v, ok := m.live[c.Slot]
		if !ok {
			t.Fatalf("slot %d is not allowed or not live", c.Slot)
		}
		best := math.Inf(1)
		for _, q := range queries {
			best = min(best, m.distance(q, v))
		}
		if of := m.distance(queries[c.Query], v); math.Abs(best-float64(c.Distance)) > tolerance(best) || math.Abs(of-best) > tolerance(best) {
			t.Fatalf("slot %d at %g of query %d; it lies at %g of that, and at %g of the nearest", c.Slot, c.Distance, c.Query, of, best)
		}
		if i > 0 && (c.Distance < got[i-1].Distance || c.Distance == got[i-1].Distance && c.Slot <= got[i-1].Slot) {
			t.Fatalf("results %v and %v are out of order", got[i-1], c)
		}
	}
}

// TestFilterModel: whatever the plan, a filtered search returns min(K, matches) allowed live slots, in order and at true
// distances; by the scan, and if asked for the exact result, the nearest.
func TestFilterModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		defer w.x.Close()
		s := w.x.Acquire()
		defer s.Release()
		for range 4 {
			set, allowed := w.drawFilter(t)
			query := drawVector(t, w.dim, w.metric)
			p := hnsw.SearchParams{K: rapid.IntRange(1, 30).Draw(t, "k"), Ef: rapid.IntRange(0, 60).Draw(t, "ef"), Allowed: set}
			p.Exact = rapid.Bool().Draw(t, "exact")
			forced := rapid.SampledFrom([]hnsw.Plan{0, hnsw.PlanFiltered, hnsw.PlanScan}).Draw(t, "plan")
			hnsw.Force(w.x, forced)
			got, st, err := s.Search(context.Background(), query, p)
			if err != nil {
				t.Fatal(err)
			}
			if want := min(p.K, len(allowed.live)); len(got) != want {
				t.Fatalf("%d results, want %d; %+v", len(got), want, st)
			}
			allowed.wellFormed(t, [][]float32{query}, got)
			if st.Exact {
				allowed.verify(t, "exact", query, p.K, got)
			}
			if p.Exact && (!st.Exact || st.Plan != hnsw.PlanScan || st.Distances != len(allowed.live)) {
				t.Fatalf("asked for the exact result of %d: %+v", len(allowed.live), st)
			}
			if forced == hnsw.PlanScan && set != nil && st.Plan != hnsw.PlanScan || set == nil && !p.Exact && st.Plan == hnsw.PlanFiltered {
				t.Fatalf("plan %d where %d was forced", st.Plan, forced)
			}
		}
	})
}

// TestMoreModel: the batches of a begun search are disjoint, each in order and full while there is something to give; when it
// is exhausted, every allowed live slot was given. Of an exact search the batches are the sorted scan.
func TestMoreModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		defer w.x.Close()
		s := w.x.Acquire()
		defer s.Release()
		set, allowed := w.drawFilter(t)
		queries := make([][]float32, rapid.IntRange(1, 6).Draw(t, "queries"))
		for i := range queries {
			queries[i] = drawVector(t, w.dim, w.metric)
		}
		p := hnsw.SearchParams{K: rapid.IntRange(1, 20).Draw(t, "k"), Ef: rapid.IntRange(0, 30).Draw(t, "ef"), Allowed: set}
		p.Exact = rapid.IntRange(0, 3).Draw(t, "exact") == 0
		hnsw.Force(w.x, rapid.SampledFrom([]hnsw.Plan{0, hnsw.PlanFiltered, hnsw.PlanScan}).Draw(t, "plan"))
		if err := s.Begin(context.Background(), p, queries...); err != nil {
			t.Fatal(err)
		}
		seen := map[uint32]bool{}
		last := hnsw.Candidate{Distance: float32(math.Inf(-1))}
		for n := p.K; ; n = rapid.IntRange(1, 25).Draw(t, "n") {
			got, st, err := s.More(context.Background(), n)
			if err != nil {
				t.Fatal(err)
			}
			if want := min(n, len(allowed.live)-len(seen)); len(got) != want {
				t.Fatalf("%d results, want %d; %+v", len(got), want, st)
			}
			allowed.wellFormed(t, queries, got)
			for _, c := range got {
				if seen[c.Slot] {
					t.Fatalf("slot %d twice", c.Slot)
				}
				seen[c.Slot] = true
				if p.Exact && c.Distance < last.Distance {
					t.Fatalf("exact: %v after %v", c, last)
				}
				last = c
			}
			if rapid.Bool().Draw(t, "distances") { // may be asked for between batches
				w.distances(t, s)
			}
			if len(got) < n {
				break
			}
		}
		if got, _, err := s.More(context.Background(), 3); err != nil || len(got) != 0 {
			t.Fatalf("after the end: %v, %v", got, err)
		}
	})
}

// TestMoreIsSearch: the first batch of a begun search is what Search returns, for as many distances; of walks on codes nearly, because
// also what lay beyond reach can be rescored. Taking results in batches finds what one search for them all does, nearly.
func TestMoreIsSearch(t *testing.T) {
	const dim = 24
	n := sized(4000)
	for _, metric := range []hnsw.Metric{hnsw.Cosine, hnsw.InnerProduct, hnsw.L2} {
		rng := rand.New(rand.NewPCG(3, uint64(metric)))
		vecs, queries := gaussian(rng, n, dim, 1), gaussian(rng, 40, dim, 1)
		x := newIndex(t, hnsw.Options{Dim: dim, Metric: metric, MaxSlots: n, Seed: 1})
		for _, v := range vecs {
			if _, err := x.Insert(v); err != nil {
				t.Fatal(err)
			}
		}
		for _, on := range []string{"codes", "vectors"} {
			if on == "vectors" {
				hnsw.WalkOnVectors(x)
			}
			a, b := x.Acquire(), x.Acquire()
			found, all, same := 0, 0, 0
			once, inBatches, first, asSearch := 0, 0, 0, 0
			for _, q := range queries {
				p := hnsw.SearchParams{K: 10, Ef: 50}
				want, wanted, err := a.Search(context.Background(), q, p)
				if err != nil {
					t.Fatal(err)
				}
				if err := b.Begin(context.Background(), p, q); err != nil {
					t.Fatal(err)
				}
				got, st, err := b.More(context.Background(), 10)
				first, asSearch = first+st.Distances, asSearch+wanted.Distances
				if err != nil || st.Hops != wanted.Hops || on == "vectors" && (!slices.Equal(got, want) || st != wanted) {
					t.Fatalf("%v on %s: %v, %+v, %v; want %v, %+v", metric, on, got, st, err, want, wanted)
				}
				slots := map[uint32]bool{}
				for _, c := range want {
					if slices.Contains(got, c) {
						same++
					}
				}
				for range 10 {
					for _, c := range got {
						slots[c.Slot] = true
					}
					if got, st, err = b.More(context.Background(), 10); err != nil {
						t.Fatal(err)
					}
				}
				inBatches += st.Distances
				if want, wanted, err = a.Search(context.Background(), q, hnsw.SearchParams{K: 100, Ef: 150}); err != nil {
					t.Fatal(err)
				}
				once += wanted.Distances
				for _, c := range want {
					if all++; slots[c.Slot] {
						found++
					}
				}
			}
			a.Release()
			b.Release()
			t.Logf("%v on %s: %d of %d found; %d distances in batches, %d at once", metric, on, found, all, inBatches, once)
			if float64(same) < 0.995*float64(10*len(queries)) || float64(first) > 1.02*float64(asSearch) {
				t.Errorf("%v on %s: %d of %d as found by a search, with %d distances, not %d", metric, on, same, 10*len(queries), first, asSearch)
			}
			if float64(found) < 0.97*float64(all) {
				t.Errorf("%v on %s: batches find %d of the %d that one search finds", metric, on, found, all)
			}
			if float64(inBatches) > 1.25*float64(once) {
				t.Errorf("%v on %s: %d distances in batches, %d at once", metric, on, inBatches, once)
			}
		}
	}
}

// TestBeginErrors: what cannot be begun, and what cannot be gone on with.
func TestBeginErrors(t *testing.T) {
	x := newIndex(t, hnsw.Options{Dim: 2, Metric: hnsw.L2, MaxSlots: 10, Seed: 1})
	if _, err := x.Insert([]float32{1, 2}); err != nil {
		t.Fatal(err)
	}
	s := x.Acquire()
	ctx, good := context.Background(), []float32{1, 1}
	more := func() error { _, _, err := s.More(ctx, 1); return err }
	if err := more(); !errors.Is(err, hnsw.ErrNotBegun) {
		t.Errorf("More before Begin: %v", err)
	}
	many := make([][]float32, hnsw.MaxQueries+1)
	for i := range many {
		many[i] = good
	}
	var dimension *hnsw.DimensionError
	var vector *hnsw.VectorError
	for what, tc := range map[string]struct {
		k       int
		queries [][]float32
		is      func(error) bool
	}{
		"no query":         {1, nil, func(err error) bool { return errors.Is(err, hnsw.ErrQueries) }},
		"too many":         {1, many, func(err error) bool { return errors.Is(err, hnsw.ErrQueries) }},
		"k":                {0, many[:1], func(err error) bool { return errors.Is(err, hnsw.ErrK) }},
		"dimension":        {1, [][]float32{{1}}, func(err error) bool { return errors.As(err, &dimension) }},
		"second dimension": {1, [][]float32{good, {1, 2, 3}}, func(err error) bool { return errors.As(err, &dimension) }},
		"second NaN":       {1, [][]float32{good, {1, float32(math.NaN())}}, func(err error) bool { return errors.As(err, &vector) }},
	} {
		if err := s.Begin(ctx, hnsw.SearchParams{K: 1}, good); err != nil {
			t.Fatal(err)
		}
		if err := s.Begin(ctx, hnsw.SearchParams{K: tc.k}, tc.queries...); !tc.is(err) {
			t.Errorf("%s: %v", what, err)
		}
		if err := more(); !errors.Is(err, hnsw.ErrNotBegun) {
			t.Errorf("%s: More goes on with what the failed Begin ended: %v", what, err)
		}
	}
	if err := s.Begin(ctx, hnsw.SearchParams{K: 1}, many[:hnsw.MaxQueries]...); err != nil {
		t.Errorf("%d queries: %v", hnsw.MaxQueries, err)
	}
	if _, _, err := s.More(ctx, 0); !errors.Is(err, hnsw.ErrK) {
		t.Errorf("More of none: %v", err)
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if _, _, err := s.More(cancelled, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("More of a cancelled context: %v", err)
	}
	if err := more(); !errors.Is(err, hnsw.ErrNotBegun) {
		t.Errorf("More after an error: %v", err)
	}
	if err := s.Begin(ctx, hnsw.SearchParams{K: 1}, good); err != nil {
		t.Fatal(err)
	}
	s.Release()
	s = x.Acquire()
	defer s.Release()
	if err := more(); !errors.Is(err, hnsw.ErrNotBegun) {
		t.Errorf("More of a search that another holder began: %v", err)
	}
}

// TestFilteredSearchAllocatesNothing once a searcher has served one of the width, by any plan and with several queries.
func TestFilteredSearchAllocatesNothing(t *testing.T) {
	if invariants.Race {
		t.Skip("the race detector allocates")
	}
	const n, dim = 3000, 24
	rng := rand.New(rand.NewPCG(37, 37))
	queries := gaussian(rng, 16, dim, 1)
	set := hnsw.NewSlotSet(n)
	for range n / 4 {
		set.Add(rng.Uint32N(n))
	}
	for _, metric := range []hnsw.Metric{hnsw.Cosine, hnsw.InnerProduct, hnsw.L2} {
		x := newIndex(t, hnsw.Options{Dim: dim, Metric: metric, MaxSlots: n, Seed: 1})
		for _, v := range gaussian(rng, n, dim, 1) {
			if _, err := x.Insert(v); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancel(context.Background())
		s := x.Acquire()
		for name, search := range map[string]func(i int) error{
			"filtered": func(i int) error {
				_, _, err := s.Search(ctx, queries[i%16], hnsw.SearchParams{K: 10, Ef: 100, Allowed: set})
				return err
			},
			"several": func(i int) error {
				err := s.Begin(ctx, hnsw.SearchParams{K: 10, Ef: 100, Allowed: set}, queries[i%12], queries[i%12+1], queries[i%12+4])
				for range 4 {
					_, _, err = s.More(ctx, 30)
				}
				return err
			},
		} {
			for _, plan := range []hnsw.Plan{hnsw.PlanFiltered, hnsw.PlanScan} {
				hnsw.Force(x, plan)
				i := 0
				run := func() {
					if err := search(i); err != nil {
						t.Fatal(err)
					}
					i++
				}
				for range 50 { // spill grows with the search that meets most
					run()
				}
				if allocs := testing.AllocsPerRun(100, run); allocs != 0 {
					t.Errorf("%v, %s, plan %d: %v allocations a search", metric, name, plan, allocs)
				}
			}
		}
		s.Release()
		cancel()
	}
}

// TestFilterUnderChurn: searches with filters, begun and gone on with, while slots are deleted and inserted. Whatever is
// returned is allowed, was live at some time during the search, and lies where it says. Meant for -race.
func TestFilterUnderChurn(t *testing.T) {
	const dim, maxSlots, writes = 6, 1200, 1500
	x := newIndex(t, hnsw.Options{Dim: dim, Metric: hnsw.L2, MaxSlots: maxSlots, M: 6, EfConstruction: 16, Seed: 3})
	hnsw.FitAt(x, 64)
	var clock atomic.Int64
	var lives [maxSlots]atomic.Pointer[life]
	// insert fails while searchers hold too many deleted slots back.
	insert := func(rng *rand.Rand) (uint32, bool) {
		vec := gaussian(rng, 1, dim, 1)[0]
		slot, err := x.Allocate(vec)
		if errors.Is(err, hnsw.ErrFull) {
			return 0, false
		}
		if err != nil {
			t.Error(err)
			return 0, false
		}
		lives[slot].Store(&life{vec: vec})
		if err := x.Link(slot); err != nil {
			t.Error(err)
		}
		return slot, true
	}
	rng := rand.New(rand.NewPCG(67, 67))
	var slots []uint32
	for range 400 {
		slot, _ := insert(rng)
		slots = append(slots, slot)
	}
	var stop atomic.Bool
	var reading sync.WaitGroup
	for r := range 3 {
		reading.Go(func() {
			rng := rand.New(rand.NewPCG(71, uint64(r)))
			for !stop.Load() {
				began := clock.Load()
				s := x.Acquire()
				set := new(hnsw.SlotSet)
				for slot := range uint32(maxSlots) {
					if rng.IntN(1+r) == 0 {
						set.Add(slot)
					}
				}
				queries := gaussian(rng, 1+rng.IntN(3), dim, 1)
				ctx := context.Background()
				if err := s.Begin(ctx, hnsw.SearchParams{K: 8, Ef: 24, Allowed: set}, queries...); err != nil {
					t.Error(err)
				}
				seen := map[uint32]bool{}
				for range 1 + rng.IntN(4) {
					got, _, err := s.More(ctx, 8)
					if err != nil {
						t.Error(err)
					}
					for _, c := range got {
						was := lives[c.Slot].Load()
						if at := was.died.Load(); at != 0 && at <= began {
							t.Errorf("slot %d died at %d, before the search began at %d", c.Slot, at, began)
						}
						if !set.Contains(c.Slot) || seen[c.Slot] {
							t.Errorf("slot %d: allowed %t, seen %t", c.Slot, set.Contains(c.Slot), seen[c.Slot])
						}
						seen[c.Slot] = true
						if want := sqDistance(queries[c.Query], was.vec); math.Abs(want-float64(c.Distance)) > tolerance(want) {
							t.Errorf("slot %d at %g, its vector lies at %g", c.Slot, c.Distance, want)
						}
					}
				}
				s.Release()
			}
		})
	}
	for range writes {
		slot, ok := insert(rng)
		if !ok {
			runtime.Gosched()
			continue
		}
		i := rng.IntN(len(slots))
		was := lives[slots[i]].Load()
		if err := x.Delete(slots[i]); err != nil {
			t.Error(err)
		}
		was.died.Store(clock.Add(1))
		slots[i] = slot
	}
	stop.Store(true)
	reading.Wait()
	if err := x.Check(); err != nil {
		t.Error(err)
	}
}

func sqDistance(a, b []float32) float64 {
	return (&model{metric: hnsw.L2}).distance(a, b)
}

// TestScanInDoubt: where codes cannot tell apart what a filter leaves, the vectors are scanned, and distances are theirs, for one
// query and for several.
func TestScanInDoubt(t *testing.T) {
	const dim, coarse, fine = 8, 24, 20
	rng := rand.New(rand.NewPCG(41, 41))
	x := newIndex(t, hnsw.Options{Dim: dim, Metric: hnsw.InnerProduct, MaxSlots: 100, Seed: 1})
	hnsw.FitAt(x, coarse)
	m := &model{metric: hnsw.InnerProduct, live: map[uint32][]float32{}}
	set := hnsw.NewSlotSet(coarse + fine)
	for i, v := range append(gaussian(rng, coarse, dim, 1000), gaussian(rng, fine, dim, 1)...) { // a step of the codec is some 40
		slot, err := x.Insert(v)
		if err != nil {
			t.Fatal(err)
		}
		if i >= coarse {
			set.Add(slot)
			m.live[slot] = v
		}
	}
	if _, ok := hnsw.Codec(x); !ok {
		t.Fatal("walks do not read codes")
	}
	hnsw.Force(x, hnsw.PlanScan)
	s := x.Acquire()
	defer s.Release()
	for n := 1; n <= 3; n++ {
		queries := gaussian(rng, n, dim, 1)
		if err := s.Begin(context.Background(), hnsw.SearchParams{K: 2, Ef: 2, Allowed: set}, queries...); err != nil {
			t.Fatal(err)
		}
		got, st, err := s.More(context.Background(), 2)
		if err != nil || len(got) != 2 || !st.Exact {
			t.Fatalf("%d queries: %d results, %+v, %v", n, len(got), st, err)
		}
		var nearest []float64
		for _, q := range queries {
			nearest = append(nearest, m.nearest(q, 2)...)
		}
		slices.Sort(nearest)
		for i, c := range got {
			if d := m.distance(queries[c.Query], m.live[c.Slot]); math.Abs(d-float64(c.Distance)) > tolerance(d) {
				t.Errorf("%d queries: slot %d at %g, it lies at %g", n, c.Slot, c.Distance, d)
			}
			if i == 0 && math.Abs(nearest[0]-float64(c.Distance)) > tolerance(nearest[0]) {
				t.Errorf("%d queries: the nearest at %g, not %g", n, c.Distance, nearest[0])
			}
		}
	}
}
