package hnsw_test

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/segue-ann/segue/examples/demo"
	"github.com/segue-ann/segue/hnsw"
	"github.com/segue-ann/segue/internal/dataset"
	"github.com/segue-ann/segue/internal/invariants"
)

// defaultEf is the beam that the engine uses where nothing else is asked for.
const defaultEf = 64

// linksAsDistances is how many distances reading the links of a node costs about as much as; see cost.go.
const linksAsDistances = 2

// shares are the selectivities a filter is tried at.
var shares = []float64{1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.001}

// ordered returns the slots of base in the order of their distance from query.
func ordered(metric hnsw.Metric, base [][]float32, query []float32) []uint32 {
	m := &model{metric: metric}
	type at struct {
		d    float64
		slot uint32
	}
	all := make([]at, len(base))
	for i, v := range base {
		all[i] = at{m.distance(query, v), uint32(i)}
	}
	slices.SortFunc(all, func(a, b at) int { return cmp.Compare(a.d, b.d) })
	out := make([]uint32, len(all))
	for i, a := range all {
		out[i] = a.slot
	}
	return out
}

// filterGates searches x, where slot i holds base[i], with filters of every share: random; correlated, the share of slots
// nearest to the query; around, the share nearest to a vector that has nothing to do with it; and anti-correlated, the share
// farthest from it. Recall@10 at the default beam must be .95 of each, at no more than 1.2 times the work of scanning what is
// allowed, and what the scout costs; twice the distances where codes could not tell and vectors were scanned after them.
func filterGates(t *testing.T, x *hnsw.Index, metric hnsw.Metric, base, queries [][]float32, scoutWork float64) {
	t.Helper()
	s := x.Acquire()
	defer s.Release()
	ctx := context.Background()
	rng := rand.New(rand.NewPCG(73, 73))
	_, codes := hnsw.Codec(x)
	type tally struct {
		hits, wanted, searches int
		work, scan             float64
		plans                  [4]int
		again                  float64 // distances of scans on vectors after scans on codes
	}
	tallies := map[string]*tally{}
	for _, query := range queries {
		near := ordered(metric, base, query)
		orders := map[string][]uint32{
			"random": nil, "correlated": near, "around": ordered(metric, base, base[rng.IntN(len(base))]), "anti-correlated": slices.Clone(near),
		}
		slices.Reverse(orders["anti-correlated"])
		for _, slot := range rng.Perm(len(base)) {
			orders["random"] = append(orders["random"], uint32(slot))
		}
		for kind, order := range orders {
			for _, share := range shares {
				set := hnsw.NewSlotSet(len(base))
				for _, slot := range order[:int(share*float64(len(base)))] {
					set.Add(slot)
				}
				truth, _, err := s.Search(ctx, query, hnsw.SearchParams{K: 10, Allowed: set, Exact: true})
				if err != nil {
					t.Fatal(err)
				}
				worst := truth[len(truth)-1].Distance
				want := len(truth)
				got, st, err := s.Search(ctx, query, hnsw.SearchParams{K: 10, Ef: defaultEf, Allowed: set})
				if err != nil || len(got) != want {
					t.Fatalf("%s %g: %d results, want %d: %v", kind, share, len(got), want, err)
				}
				key := fmt.Sprintf("%-15s %5g", kind, share)
				of := tallies[key]
				if of == nil {
					of = &tally{}
					tallies[key] = of
				}
				for _, c := range got {
					if c.Distance <= worst {
						of.hits++
					}
				}
				of.wanted += want
				of.searches++
				of.work += float64(st.Distances + linksAsDistances*st.Hops)
				of.scan += float64(set.Len())
				of.plans[st.Plan]++
				if codes && st.Exact {
					of.again += float64(set.Len())
				}
			}
		}
	}
	for _, kind := range []string{"random", "correlated", "around", "anti-correlated"} {
		for _, share := range shares {
			key := fmt.Sprintf("%-15s %5g", kind, share)
			of := tallies[key]
			recall, work, scan := float64(of.hits)/float64(of.wanted), of.work/float64(of.searches), of.scan/float64(of.searches)
			t.Logf("%s: recall@10 %.4f, work %.0f of a scan of %.0f, walks %d, scans %d", key, recall, work, scan, of.plans[hnsw.PlanFiltered], of.plans[hnsw.PlanScan])
			if recall < 0.95 {
				t.Errorf("%s: recall@10 %.4f", key, recall)
			}
			if work > 1.2*scan+of.again/float64(of.searches)+scoutWork {
				t.Errorf("%s: work of %.0f, the scan's is %.0f", key, work, scan)
			}
		}
	}
}

// TestGateFilterClustered: clusters that touch, on codes and on vectors. Codes of all 64 components are one line, so that the
// scan is at its cheapest.
func TestGateFilterClustered(t *testing.T) {
	if invariants.Race {
		t.Skip("too slow under the race detector, which has other tests")
	}
	const n, dim = 15_000, 64
	all := rows(dataset.Clustered(5, n+30, dim, 100, 0.6), dim)
	x := newIndex(t, hnsw.Options{Dim: dim, Metric: hnsw.L2, MaxSlots: n, Seed: 1})
	for _, v := range all[:n] {
		if _, err := x.Insert(v); err != nil {
			t.Fatal(err)
		}
	}
	filterGates(t, x, hnsw.L2, all[:n], all[n:], 150)
	hnsw.WalkOnVectors(x)
	filterGates(t, x, hnsw.L2, all[:n], all[n:], 150)
	walkGates(t, x, all[:n], all[n:], 0.95, 720)
}

// walkGates holds the walk to its recall where the scan would be the plan of an index this small: random filters of half to a
// tenth, at no more than maxWork.
func walkGates(t *testing.T, x *hnsw.Index, base, queries [][]float32, floor, maxWork float64) {
	t.Helper()
	hnsw.Force(x, hnsw.PlanFiltered)
	defer hnsw.Force(x, 0)
	s := x.Acquire()
	defer s.Release()
	for _, share := range []float64{0.5, 0.2, 0.1} {
		rng := rand.New(rand.NewPCG(79, 79))
		hits, work := 0, 0
		for _, query := range queries {
			set := hnsw.NewSlotSet(len(base))
			for slot := range base {
				if rng.Float64() < share {
					set.Add(uint32(slot))
				}
			}
			truth, _, err := s.Search(context.Background(), query, hnsw.SearchParams{K: 10, Allowed: set, Exact: true})
			if err != nil {
				t.Fatal(err)
			}
			worst := truth[9].Distance
			got, st, err := s.Search(context.Background(), query, hnsw.SearchParams{K: 10, Ef: defaultEf, Allowed: set})
			if err != nil || st.Plan != hnsw.PlanFiltered {
				t.Fatalf("%+v, %v", st, err)
			}
			for _, c := range got {
				if c.Distance <= worst {
					hits++
				}
			}
			work += st.Distances + linksAsDistances*st.Hops
		}
		recall, mean := float64(hits)/float64(10*len(queries)), float64(work)/float64(len(queries))
		t.Logf("walk, random %g: recall@10 %.4f, work %.0f", share, recall, mean)
		if recall < floor || mean > maxWork*(1+0.1/share) {
			t.Errorf("walk, random %g: recall@10 %.4f, work %.0f; want %.2f, at most %.0f", share, recall, mean, floor, maxWork*(1+0.1/share))
		}
	}
}

// tenthGate holds what a random filter of a tenth costs at recall@10 of .95 to most times an unfiltered search at that recall,
// in work: the target is twice the time.
func tenthGate(t *testing.T, x *hnsw.Index, base, queries [][]float32, most float64) {
	t.Helper()
	s := x.Acquire()
	defer s.Release()
	rng := rand.New(rand.NewPCG(97, 97))
	set := hnsw.NewSlotSet(len(base))
	for set.Len() < len(base)/10 {
		set.Add(rng.Uint32N(uint32(len(base))))
	}
	var costs [2]float64
	for i, allowed := range []*hnsw.SlotSet{nil, set} {
		for ef, recall := 10, 0.0; recall < 0.95; ef++ {
			hits, work := 0, 0
			for _, query := range queries {
				truth, _, err := s.Search(t.Context(), query, hnsw.SearchParams{K: 10, Allowed: allowed, Exact: true})
				if err != nil {
					t.Fatal(err)
				}
				worst := truth[9].Distance
				got, st, err := s.Search(t.Context(), query, hnsw.SearchParams{K: 10, Ef: ef, Allowed: allowed})
				if err != nil {
					t.Fatal(err)
				}
				for _, c := range got {
					if c.Distance <= worst {
						hits++
					}
				}
				work += st.Distances + linksAsDistances*st.Hops
			}
			recall, costs[i] = float64(hits)/float64(10*len(queries)), float64(work)/float64(len(queries))
			if recall >= 0.95 {
				t.Logf("a tenth (%d of 2): ef %d, recall@10 %.4f, work %.0f", i+1, ef, recall, costs[i])
			}
		}
	}
	if costs[1] > most*costs[0] {
		t.Errorf("a filter of a tenth costs %.0f, an unfiltered search %.0f at equal recall: %.2f, at most %.2f", costs[1], costs[0], costs[1]/costs[0], most)
	}
}

// severalGates searches with three queries at once: recall@10 of the nearest to any, and the work of three searches and little
// more.
func severalGates(t *testing.T, x *hnsw.Index, queries [][]float32, floor, maxWork float64) {
	t.Helper()
	s := x.Acquire()
	defer s.Release()
	ctx := context.Background()
	hits, wanted, together, apart := 0, 0, 0, 0
	for i := 0; i+3 <= len(queries); i += 3 {
		three := queries[i : i+3]
		if err := s.Begin(ctx, hnsw.SearchParams{K: 10, Exact: true}, three...); err != nil {
			t.Fatal(err)
		}
		truth, _, err := s.More(ctx, 10)
		if err != nil {
			t.Fatal(err)
		}
		worst := truth[9].Distance
		if err := s.Begin(ctx, hnsw.SearchParams{K: 10, Ef: defaultEf}, three...); err != nil {
			t.Fatal(err)
		}
		got, st, err := s.More(ctx, 10)
		if err != nil || len(got) != 10 {
			t.Fatalf("%d results: %v", len(got), err)
		}
		for _, c := range got {
			if c.Distance <= worst {
				hits++
			}
		}
		wanted += 10
		together += st.Distances
		for _, q := range three {
			_, st, err := s.Search(ctx, q, hnsw.SearchParams{K: 10, Ef: defaultEf})
			if err != nil {
				t.Fatal(err)
			}
			apart += st.Distances
		}
	}
	recall := float64(hits) / float64(wanted)
	t.Logf("three queries at once: recall@10 %.4f, %d distances, %d apart", recall, together, apart)
	if recall < floor || float64(together) > maxWork*float64(apart) {
		t.Errorf("three queries at once: recall@10 %.4f, want %.4f; %d distances, %d apart", recall, floor, together, apart)
	}
}

// TestEveryQueryIsReached: clusters far apart, a query in each, and a beam as wide as their neighborhoods together. The
// nearest of every query must be found, though the first of them alone could fill the beam.
func TestEveryQueryIsReached(t *testing.T) {
	const dim, clusters, each = 16, 12, 200
	rng := rand.New(rand.NewPCG(83, 83))
	centers := gaussian(rng, clusters, dim, 10)
	x := newIndex(t, hnsw.Options{Dim: dim, Metric: hnsw.L2, MaxSlots: clusters * each, Seed: 1})
	var slots [clusters][]uint32
	near := func(c int, spread float64) []float32 {
		v := gaussian(rng, 1, dim, spread)[0]
		for j := range v {
			v[j] += centers[c][j]
		}
		return v
	}
	for i := range clusters * each {
		slot, err := x.Insert(near(i%clusters, 1))
		if err != nil {
			t.Fatal(err)
		}
		slots[i%clusters] = append(slots[i%clusters], slot)
	}
	s := x.Acquire()
	defer s.Release()
	// One slot of each cluster is allowed, or all are: with one, walks must cross what is not allowed.
	one := new(hnsw.SlotSet)
	for c := range slots {
		one.Add(slots[c][0])
	}
	for _, set := range []*hnsw.SlotSet{nil, one} {
		hnsw.Force(x, hnsw.PlanFiltered)
		queries := make([][]float32, clusters)
		for c := range queries {
			queries[c] = near(c, 0.1)
		}
		if err := s.Begin(context.Background(), hnsw.SearchParams{K: clusters, Ef: 8 * clusters, Allowed: set}, queries...); err != nil {
			t.Fatal(err)
		}
		got, _, err := s.More(context.Background(), clusters)
		if err != nil {
			t.Fatal(err)
		}
		if set != nil {
			for _, c := range got {
				if !one.Contains(c.Slot) || slots[c.Query][0] != c.Slot {
					t.Errorf("slot %d is not the allowed one of query %d", c.Slot, c.Query)
				}
			}
		}
		// The nearest of all queries together, by brute force.
		if err := s.Begin(context.Background(), hnsw.SearchParams{K: clusters, Exact: true, Allowed: set}, queries...); err != nil {
			t.Fatal(err)
		}
		found := slices.Clone(got)
		want, _, err := s.More(context.Background(), clusters)
		if err != nil || !slices.Equal(found, want) {
			t.Errorf("filter %t: got %v, want %v: %v", set != nil, found, want, err)
		}
	}
}

// TestManyQueriesWalk: 64 queries of which hardly anything is left out walk, each for itself, and do not scan: a scan compares four of
// them in the time of two, not of one, and takes three times as long on the tracks.
func TestManyQueriesWalk(t *testing.T) {
	if invariants.Race {
		t.Skip("too slow under the race detector, which has other tests")
	}
	const queries, ef = 64, 100
	base := readRows(t, demo.FS, "tracks.f16.npy.zst", 20_000)
	x := newIndex(t, hnsw.Options{Dim: len(base[0]), Metric: hnsw.Cosine, MaxSlots: len(base), Seed: 1})
	for _, v := range base {
		mustInsert(t, x, v)
	}
	hnsw.WalkOnVectors(x)
	allowed := hnsw.NewSlotSet(len(base))
	for slot := range base[queries:] {
		allowed.Add(uint32(queries + slot))
	}
	s := x.Acquire()
	defer s.Release()
	search := func(exact bool) (map[uint32]bool, hnsw.SearchStats) {
		t.Helper()
		if err := s.Begin(t.Context(), hnsw.SearchParams{K: 100, Ef: ef, Allowed: allowed, Exact: exact}, base[:queries]...); err != nil {
			t.Fatal(err)
		}
		found, stats, err := s.More(t.Context(), 100)
		if err != nil || len(found) != 100 {
			t.Fatalf("%d found, %v", len(found), err)
		}
		slots := map[uint32]bool{}
		for _, c := range found {
			if slots[c.Slot] = true; !allowed.Contains(c.Slot) {
				t.Errorf("slot %d is not allowed", c.Slot)
			}
		}
		return slots, stats
	}
	truth, scan := search(true)
	got, walk := search(false)
	hits := 0
	for slot := range got {
		if truth[slot] {
			hits++
		}
	}
	t.Logf("%d of 100 with %d distances (%v), a scan has %d", hits, walk.Distances, walk.Plan, scan.Distances)
	if walk.Plan != hnsw.PlanFiltered || walk.Distances > scan.Distances/3 || hits < 97 {
		t.Errorf("%d of 100 with %d distances (%v), a scan has %d", hits, walk.Distances, walk.Plan, scan.Distances)
	}
}
