package hnsw_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/segue-ann/segue/hnsw"
	"github.com/segue-ann/segue/internal/invariants"
)

// sized returns n, or less under the race detector, whose kernels are slow: but enough for a codec.
func sized(n int) int {
	if invariants.Race {
		return 1100
	}
	return n
}

// alone skips a test of one goroutine under the race detector, which has nothing to find there and slows it thirtyfold.
func alone(t *testing.T) {
	t.Helper()
	if invariants.Race {
		t.Skip("one goroutine")
	}
}

// gaussian returns n vectors of independent normal components: far-apart neighbours, which codes tell well.
func gaussian(rng *rand.Rand, n, dim int, scale float64) [][]float32 {
	vecs := make([][]float32, n)
	for i := range vecs {
		vecs[i] = make([]float32, dim)
		for j := range vecs[i] {
			vecs[i][j] = float32(scale * rng.NormFloat64())
		}
	}
	return vecs
}

// exactTop returns the slots of the k nearest vectors by float64, ascending; slot i is vecs[i].
func exactTop(metric hnsw.Metric, vecs [][]float32, query []float32, k int) []float64 {
	m := &model{metric: metric}
	all := make([]float64, len(vecs))
	for i, v := range vecs {
		all[i] = m.distance(query, v)
	}
	slices.Sort(all)
	return all[:k]
}

// recallOf searches with each query and returns recall@k by distance, and distances a query.
func recallOf(t testing.TB, x *hnsw.Index, metric hnsw.Metric, vecs, queries [][]float32, k, ef int) (recall, distances float64) {
	t.Helper()
	s := x.Acquire()
	defer s.Release()
	hits, count := 0, 0
	for _, q := range queries {
		got, stats, err := s.Search(context.Background(), q, hnsw.SearchParams{K: k, Ef: ef})
		if err != nil {
			t.Fatal(err)
		}
		count += stats.Distances
		worst := exactTop(metric, vecs, q, k)[k-1]
		for _, c := range got {
			if float64(c.Distance) <= worst+tolerance(worst)/10 {
				hits++
			}
			if d := s.Distance(q, c.Slot); d != c.Distance {
				t.Fatalf("slot %d is returned at %g and lies at %g: results must carry true distances", c.Slot, c.Distance, d)
			}
		}
	}
	return float64(hits) / float64(k*len(queries)), float64(count) / float64(len(queries))
}

// TestWalkOnCodes: on data that codes tell, the same index searched on codes and on vectors finds as much.
func TestWalkOnCodes(t *testing.T) {
	alone(t)
	const dim, k, ef = 48, 10, 64
	n := sized(4000)
	for _, metric := range []hnsw.Metric{hnsw.Cosine, hnsw.InnerProduct, hnsw.L2} {
		t.Run(metric.String(), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, uint64(metric)))
			vecs, queries := gaussian(rng, n, dim, 3), gaussian(rng, 100, dim, 3)
			x := newIndex(t, hnsw.Options{Dim: dim, Metric: metric, MaxSlots: n, Seed: 1})
			for _, v := range vecs {
				if _, err := x.Insert(v); err != nil {
					t.Fatal(err)
				}
			}
			if _, ok := hnsw.Codec(x); !ok {
				t.Fatal("walks do not read codes")
			}
			if err := x.Check(); err != nil {
				t.Fatal(err)
			}
			onCodes, codeDistances := recallOf(t, x, metric, vecs, queries, k, ef)
			hnsw.WalkOnVectors(x)
			onVectors, vectorDistances := recallOf(t, x, metric, vecs, queries, k, ef)
			t.Logf("recall@%d at ef %d: %.4f on codes with %.0f distances, %.4f on vectors with %.0f", k, ef, onCodes, codeDistances, onVectors, vectorDistances)
			if onCodes < onVectors-0.01 || onCodes < 0.95 {
				t.Errorf("recall %.4f on codes, %.4f on vectors", onCodes, onVectors)
			}
			if codeDistances > 1.3*vectorDistances+ef {
				t.Errorf("%.0f distances on codes, %.0f on vectors", codeDistances, vectorDistances)
			}
		})
	}
}

// TestCodesThatDoNotTellAreNotUsed: clusters far tighter than a step of the codec are searched on vectors.
func TestCodesThatDoNotTellAreNotUsed(t *testing.T) {
	const dim, clusters = 16, 30
	n := sized(3000)
	rng := rand.New(rand.NewPCG(3, 3))
	centers := gaussian(rng, clusters, dim, 1)
	vecs := gaussian(rng, n, dim, 0.002)
	for i, v := range vecs {
		for j := range v {
			v[j] += centers[i%clusters][j]
		}
	}
	x := newIndex(t, hnsw.Options{Dim: dim, Metric: hnsw.L2, MaxSlots: n, Seed: 1})
	for _, v := range vecs {
		if _, err := x.Insert(v); err != nil {
			t.Fatal(err)
		}
	}
	if _, ok := hnsw.Codec(x); ok {
		t.Error("walks read codes that cannot tell neighbours apart")
	}
	s := x.Acquire()
	defer s.Release()
	for i := range 50 {
		got, _, err := s.Search(context.Background(), vecs[i], hnsw.SearchParams{K: 1, Ef: 32})
		if err != nil || got[0].Distance != 0 {
			t.Errorf("vector %d does not find itself: %v, %v", i, got, err)
		}
	}
}

// TestCodecFollowsTheData: when what is inserted leaves the range of the codec, a new one is fitted and recall stays.
func TestCodecFollowsTheData(t *testing.T) {
	const dim, k = 32, 10
	n := sized(3000)
	rng := rand.New(rand.NewPCG(5, 5))
	vecs := append(gaussian(rng, n, dim, 1), gaussian(rng, n, dim, 20)...)
	x := newIndex(t, hnsw.Options{Dim: dim, Metric: hnsw.L2, MaxSlots: 2 * n, Seed: 1})
	var first float32
	for i, v := range vecs {
		if _, err := x.Insert(v); err != nil {
			t.Fatal(err)
		}
		if i == n-1 {
			codec, ok := hnsw.Codec(x)
			if !ok {
				t.Fatal("walks do not read codes")
			}
			first = codec.Step
		}
	}
	if codec, ok := hnsw.Codec(x); ok && codec.Step < 5*first {
		t.Errorf("step %g, %g before the data grew twenty times wider", codec.Step, first)
	}
	if err := x.Check(); err != nil {
		t.Fatal(err)
	}
	if recall, _ := recallOf(t, x, hnsw.L2, vecs, gaussian(rng, 60, dim, 20), k, 100); recall < 0.9 {
		t.Errorf("recall %.3f of the wide vectors", recall)
	}
}

// TestCodesSurviveSnapshots: a restored index has the codec it was saved with, and gives the same results.
func TestCodesSurviveSnapshots(t *testing.T) {
	const dim = 20
	n := sized(2000)
	rng := rand.New(rand.NewPCG(7, 7))
	vecs := gaussian(rng, n, dim, 1)
	for _, metric := range []hnsw.Metric{hnsw.Cosine, hnsw.InnerProduct, hnsw.L2} {
		x := newIndex(t, hnsw.Options{Dim: dim, Metric: metric, MaxSlots: n, Seed: 9})
		for _, v := range vecs {
			if _, err := x.Insert(v); err != nil {
				t.Fatal(err)
			}
		}
		y := restored(t, x)
		before, ok := hnsw.Codec(x)
		after, again := hnsw.Codec(y)
		if !ok || !again || before != after {
			t.Fatalf("%v: codec %+v %t became %+v %t", metric, before, ok, after, again)
		}
		if err := y.Check(); err != nil {
			t.Fatal(err)
		}
		s, r := x.Acquire(), y.Acquire()
		for _, q := range gaussian(rng, 40, dim, 1) {
			a, sa, err := s.Search(context.Background(), q, hnsw.SearchParams{K: 15, Ef: 40})
			if err != nil {
				t.Fatal(err)
			}
			b, sb, err := r.Search(context.Background(), q, hnsw.SearchParams{K: 15, Ef: 40})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(a, b) || sa != sb {
				t.Errorf("%v: %v %+v became %v %+v", metric, a, sa, b, sb)
			}
		}
		s.Release()
		r.Release()
	}
}

// restored returns x after a snapshot and a restore.
func restored(t *testing.T, x *hnsw.Index) *hnsw.Index {
	t.Helper()
	snap, err := x.BeginSnapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Close()
	r, err := hnsw.NewRestorer(snap.Header(), hnsw.RestoreOptions{MaxSlots: x.Options().MaxSlots})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, sec := range snap.Sections() {
		for n := range sec.Slabs {
			data, err := snap.AppendSlab(nil, sec.Name, n)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.PutSlab(sec.Name, n, data); err != nil {
				t.Fatal(err)
			}
		}
	}
	y, err := r.Finish()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := y.Close(); err != nil {
			t.Error(err)
		}
	})
	return y
}

// TestRefitUnderSearches fits codecs again and again while searches, inserts and deletions go on: each result must be a
// vector that was live, at its true distance. Meant for -race.
func TestRefitUnderSearches(t *testing.T) {
	const dim, writes = 8, 1500
	x := newIndex(t, hnsw.Options{Dim: dim, Metric: hnsw.L2, MaxSlots: 4096, EfConstruction: 20, Seed: 2})
	hnsw.FitAt(x, 32)
	rng := rand.New(rand.NewPCG(11, 11))
	for _, v := range gaussian(rng, 64, dim, 0.01) {
		if _, err := x.Insert(v); err != nil {
			t.Fatal(err)
		}
	}
	var stop atomic.Bool
	var wg sync.WaitGroup
	for r := range 3 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(13, uint64(r)))
			for !stop.Load() {
				q := gaussian(rng, 1, dim, math.Pow(10, rng.Float64()*4-2))[0]
				s := x.Acquire()
				got, _, err := s.Search(context.Background(), q, hnsw.SearchParams{K: 5, Ef: 20})
				if err != nil || len(got) != 5 {
					t.Errorf("%d results, %v", len(got), err)
				}
				for _, c := range got {
					if s.Distance(q, c.Slot) != c.Distance {
						t.Errorf("slot %d at %g lies at %g", c.Slot, c.Distance, s.Distance(q, c.Slot))
					}
				}
				s.Release()
			}
		})
	}
	steps := map[float32]bool{}
	var slots []uint32
	for i := range writes {
		// The scale climbs and falls, so that ranges are left and codecs fitted on the way.
		scale := math.Pow(10, 2*math.Sin(float64(i)/200))
		slot, err := x.Insert(gaussian(rng, 1, dim, scale)[0])
		if err != nil {
			t.Fatal(err)
		}
		slots = append(slots, slot)
		if len(slots) > 200 {
			if err := x.Delete(slots[0]); err != nil {
				t.Fatal(err)
			}
			slots = slots[1:]
		}
		if codec, ok := hnsw.Codec(x); ok {
			steps[codec.Step] = true
		}
	}
	stop.Store(true)
	wg.Wait()
	if err := x.Check(); err != nil {
		t.Error(err)
	}
	if len(steps) < 2 {
		t.Errorf("%d codecs were in force: nothing was tested", len(steps))
	}
}

func BenchmarkWalk(b *testing.B) {
	const n, dim = 20_000, 128
	rng := rand.New(rand.NewPCG(1, 1))
	vecs, queries := gaussian(rng, n, dim, 1), gaussian(rng, 256, dim, 1)
	x := newIndex(b, hnsw.Options{Dim: dim, Metric: hnsw.L2, MaxSlots: n, Seed: 1})
	for _, v := range vecs {
		if _, err := x.Insert(v); err != nil {
			b.Fatal(err)
		}
	}
	for _, on := range []string{"codes", "vectors"} {
		if on == "vectors" {
			hnsw.WalkOnVectors(x)
		}
		b.Run(fmt.Sprintf("on=%s", on), func(b *testing.B) {
			s := x.Acquire()
			defer s.Release()
			i, distances := 0, 0
			b.ReportAllocs()
			for b.Loop() {
				_, stats, err := s.Search(context.Background(), queries[i%len(queries)], hnsw.SearchParams{K: 10, Ef: 64})
				if err != nil {
					b.Fatal(err)
				}
				distances += stats.Distances
				i++
			}
			b.ReportMetric(float64(distances)/float64(i), "distances/op")
		})
	}
}

// TestCodecSpansHubs: under InnerProduct the codec follows a vector that is larger than all before, which answers
// everybody it points at, from the moment it is live.
func TestCodecSpansHubs(t *testing.T) {
	const n, dim = 1500, 16
	rng := rand.New(rand.NewPCG(1, 12))
	x := newIndex(t, hnsw.Options{Dim: dim, Metric: hnsw.InnerProduct, MaxSlots: n + 10, Seed: 1})
	for _, v := range gaussian(rng, n, dim, 1) {
		mustInsert(t, x, v)
	}
	for scale := 10.0; scale < 1e6; scale *= 10 {
		hub := gaussian(rng, 1, dim, scale)[0]
		slot := mustInsert(t, x, hub)
		codec, ok := hnsw.Codec(x)
		if !ok {
			t.Logf("at %g codes do not tell the others apart any more", scale)
			return
		}
		low, high := codec.Range()
		if float64(slices.Min(hub)) < low || float64(slices.Max(hub)) > high {
			t.Errorf("range %g to %g does not hold a hub from %g to %g", low, high, slices.Min(hub), slices.Max(hub))
		}
		s := x.Acquire()
		got, _, err := s.Search(context.Background(), hub, hnsw.SearchParams{K: 1, Ef: 16})
		if err != nil || len(got) != 1 || got[0].Slot != slot {
			t.Errorf("a hub of scale %g is not found: %v, %v", scale, got, err)
		}
		s.Release()
		if err := x.Check(); err != nil {
			t.Fatal(err)
		}
	}
	t.Error("codes of one step for everybody are still in use")
}
