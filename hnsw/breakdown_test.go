package hnsw_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/segue-ann/segue/examples/demo"
	"github.com/segue-ann/segue/hnsw"
	"github.com/segue-ann/segue/internal/dataset"
)

// TestPartsAreTheSearch: a search taken apart finds what Search finds, reads what Search reads, and its walk can be done again
// kind by kind; on codes, nibbles and vectors. So what TestBreakdown times is the search.
func TestPartsAreTheSearch(t *testing.T) {
	n := sized(3000)
	for _, dim := range []int{24, 260} {
		rng := rand.New(rand.NewPCG(91, uint64(dim)))
		x := newIndex(t, hnsw.Options{Dim: dim, Metric: hnsw.L2, MaxSlots: n, EfConstruction: 40, Seed: 1})
		insertAll(t, x, clusters(rng, n, dim, 20, 0.5))
		for _, on := range []string{"codes", "vectors"} {
			if on == "vectors" {
				hnsw.WalkOnVectors(x)
			}
			s := x.Acquire()
			for _, q := range gaussian(rng, 20, dim, 1) {
				p := hnsw.SearchParams{K: 5, Ef: 20}
				found, stats, err := s.Search(t.Context(), q, p)
				want := slices.Clone(found)
				if err != nil {
					t.Fatal(err)
				}
				got, parts, err := hnsw.TakeApart(t.Context(), s, q, p)
				if err != nil || !slices.Equal(got, want) {
					t.Fatalf("%d on %s: %v, %v, want %v", dim, on, got, err, want)
				}
				distances, hops := 0, 0
				for _, part := range []hnsw.Part{parts.Descent, parts.Level0, parts.Rescoring} {
					distances, hops = distances+part.Distances, hops+part.LinkRows
				}
				if distances != stats.Distances || hops != stats.Hops {
					t.Errorf("%d on %s: parts of %d distances and %d hops: %+v", dim, on, distances, hops, stats)
				}
				w := hnsw.Record(s, q, p)
				w.Rows(s)
				if w.Expanded() != parts.Level0.LinkRows || w.Scored() != parts.Level0.Distances || !w.Links(s) || !w.Pool(s) {
					t.Errorf("%d on %s: a recorded walk of %d nodes and %d rows, of %+v", dim, on, w.Expanded(), w.Scored(), parts.Level0)
				}
			}
			s.Release()
		}
	}
}

// TestBreakdown prints where the time of a query goes, for SEGUE_BREAKDOWN=1: `make breakdown`, docs/breakdown.md.
func TestBreakdown(t *testing.T) {
	if os.Getenv("SEGUE_BREAKDOWN") == "" {
		t.Skip("it measures; SEGUE_BREAKDOWN=1 runs it")
	}
	fmt.Println("| set | ef | part | link rows | distances | us | share |\n|---|--:|---|--:|--:|--:|--:|")
	for _, of := range []struct {
		name   string
		metric hnsw.Metric
		load   func() (base, queries [][]float32)
	}{
		{"mnist784", hnsw.L2, func() (base, queries [][]float32) {
			fsys := os.DirFS("../testdata/mnist784")
			return readRows(t, fsys, "base_u8.npy.gz", 0), readRows(t, fsys, "query_u8.npy.gz", 1000)
		}},
		{"tracks", hnsw.Cosine, func() (base, queries [][]float32) {
			for i, v := range readRows(t, demo.FS, demo.TrackVectors, 0) {
				if (i+1)%63 == 0 {
					queries = append(queries, v)
				} else {
					base = append(base, v)
				}
			}
			return base, queries
		}},
		{"clustered", hnsw.L2, func() (base, queries [][]float32) {
			all := rows(dataset.Embedded(1, 501_000, 128, 1000, 24), 128)
			return all[:500_000], all[500_000:]
		}},
		{"skewed", hnsw.InnerProduct, func() (base, queries [][]float32) {
			all := rows(dataset.SkewedNorms(1, 301_000, 64, 300, 0.5), 64)
			return all[:300_000], all[300_000:]
		}},
	} {
		t.Run(of.name, func(t *testing.T) {
			base, queries := of.load()
			x := linkAll(t, hnsw.Options{Dim: len(base[0]), Metric: of.metric, MaxSlots: len(base), Seed: 1}, base)
			for _, target := range []float64{0.95, 0.99} {
				breakdown(t, of.name, x, queries, target)
			}
		})
	}
}

// linkAll builds an index on all processors. Slots are in the order of base.
func linkAll(t *testing.T, o hnsw.Options, base [][]float32) *hnsw.Index {
	t.Helper()
	x := newIndex(t, o)
	slots := make(chan uint32, 64)
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for slot := range slots {
				if err := x.Link(slot); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for _, v := range base {
		slot, err := x.Allocate(v)
		if err != nil {
			t.Fatal(err)
		}
		slots <- slot
	}
	close(slots)
	wg.Wait()
	return x
}

// breakdown prints the parts of a search at the least width of the beam that reaches a recall@10. Every kind of work is
// done for all queries in turn before the next, the least time of a few rounds counts.
func breakdown(t *testing.T, name string, x *hnsw.Index, queries [][]float32, target float64) {
	const k, rounds = 10, 5
	s := x.Acquire()
	defer s.Release()
	ctx := context.Background()
	worst := make([]float32, len(queries))
	for i, q := range queries {
		found, _, err := s.Search(ctx, q, hnsw.SearchParams{K: k, Exact: true})
		if err != nil {
			t.Fatal(err)
		}
		worst[i] = found[k-1].Distance
	}
	p := hnsw.SearchParams{K: k, Ef: k}
	for reached := 0.0; ; p.Ef += 1 + p.Ef/16 {
		hits := 0
		for i, q := range queries {
			found, _, err := s.Search(ctx, q, p)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range found {
				if c.Distance <= worst[i] {
					hits++
				}
			}
		}
		if reached = float64(hits) / float64(k*len(queries)); reached >= target || p.Ef > 2000 {
			break
		}
	}
	var whole, links, scoring, pool time.Duration
	var parts hnsw.Parts
	for range rounds {
		whole = least(whole, timed(func() {
			for _, q := range queries {
				_, _, _ = s.Search(ctx, q, p)
			}
		}))
		var sum hnsw.Parts
		for _, q := range queries {
			_, of, _ := hnsw.TakeApart(ctx, s, q, p)
			for _, add := range []struct{ to, part *hnsw.Part }{
				{&sum.Descent, &of.Descent}, {&sum.Level0, &of.Level0}, {&sum.Rescoring, &of.Rescoring},
			} {
				add.to.LinkRows += add.part.LinkRows
				add.to.Distances += add.part.Distances
				add.to.Time += add.part.Time
			}
		}
		if parts.Level0.Time == 0 || sum.Descent.Time+sum.Level0.Time+sum.Rescoring.Time < parts.Descent.Time+parts.Level0.Time+parts.Rescoring.Time {
			parts = sum
		}
		// Walks are done again a few hundred at a time, so that their notes do not fill the cache; each kind finds the rows where
		// the kind before, or other walks, left them.
		var l, r, o time.Duration
		for some := range slices.Chunk(queries, 100) {
			var walks []*hnsw.Walk
			for _, q := range some {
				walks = append(walks, hnsw.Record(s, q, p))
			}
			r += timed(func() {
				for _, w := range walks {
					w.Rows(s)
				}
			})
			l += timed(func() {
				for _, w := range walks {
					w.Links(s)
				}
			})
			o += timed(func() {
				for _, w := range walks {
					w.Pool(s)
				}
			})
		}
		links, scoring, pool = least(links, l), least(scoring, r), least(pool, o)
	}
	n := float64(len(queries))
	us := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 / n }
	line := func(part string, linkRows, distances int, d time.Duration) {
		fmt.Printf("| %s | %d | %s | %.0f | %.0f | %.1f | %.0f %% |\n", name, p.Ef, part, float64(linkRows)/n, float64(distances)/n, us(d), 100*us(d)/us(whole))
	}
	line("whole, recall "+fmt.Sprint(target), parts.Descent.LinkRows+parts.Level0.LinkRows, parts.Descent.Distances+parts.Level0.Distances+parts.Rescoring.Distances, whole)
	line("descent", parts.Descent.LinkRows, parts.Descent.Distances, parts.Descent.Time)
	line("level 0", parts.Level0.LinkRows, parts.Level0.Distances, parts.Level0.Time)
	line("its links alone", parts.Level0.LinkRows, 0, links)
	line("its rows alone", 0, parts.Level0.Distances, scoring)
	line("its pool alone", 0, 0, pool)
	line("rescoring", 0, parts.Rescoring.Distances, parts.Rescoring.Time)
}

func timed(work func()) time.Duration {
	begin := time.Now()
	work()
	return time.Since(begin)
}

// least returns the lesser of two times, of which the first is 0 before there is one.
func least(a, b time.Duration) time.Duration {
	if a == 0 {
		return b
	}
	return min(a, b)
}
