package hnsw_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/segue-ann/segue/examples/demo"
	"github.com/segue-ann/segue/hnsw"
	"github.com/segue-ann/segue/internal/dataset"
)

// TestReachOf: the beam has the room asked for and at most twice that, and more effort never means less room nor a smaller margin.
func TestReachOf(t *testing.T) {
	const n = 400
	for _, metric := range []hnsw.Metric{hnsw.Cosine, hnsw.InnerProduct, hnsw.L2} {
		x := newIndex(t, hnsw.Options{Dim: 4, Metric: metric, MaxSlots: n, EfConstruction: 8, Seed: 1})
		insertAll(t, x, gaussian(rand.New(rand.NewPCG(7, 7)), n, 4, 1))
		rapid.Check(t, func(t *rapid.T) {
			k := rapid.IntRange(1, 2*n).Draw(t, "k")
			ef := k + rapid.IntRange(0, 2*n).Draw(t, "more")
			width, margin, bounded := hnsw.Reach(x, k, ef)
			if width < min(ef, n) || width > min(2*ef, n) || margin < 0 {
				t.Fatalf("k %d, ef %d: a beam of %d, margin %v", k, ef, width, margin)
			}
			if bounded && (metric == hnsw.InnerProduct || ef >= n || margin == 0) {
				t.Fatalf("k %d, ef %d: bounded by %v", k, ef, margin)
			}
			more, wider, still := hnsw.Reach(x, k, ef+1)
			if more < width && bounded == still || bounded && still && wider < margin {
				t.Fatalf("k %d, ef %d: %d, %v and then %d, %v", k, ef, width, margin, more, wider)
			}
		})
	}
}

// TestReachIsWalked: what a search leaves in its beam is out of its reach; on codes, nibbles and vectors.
func TestReachIsWalked(t *testing.T) {
	alone(t)
	for _, dim := range []int{24, 260} {
		all := rows(dataset.Embedded(92, 3030, dim, 20, 6), dim)
		x := newIndex(t, hnsw.Options{Dim: dim, Metric: hnsw.L2, MaxSlots: 3000, EfConstruction: 40, Seed: 1})
		insertAll(t, x, all[30:])
		for _, on := range []string{"codes", "vectors"} {
			if on == "vectors" {
				hnsw.WalkOnVectors(x)
			}
			s := x.Acquire()
			sum := 0
			for _, q := range all[:30] {
				for _, ef := range []int{5, 8, 40, 128} {
					if _, _, err := s.Search(t.Context(), q, hnsw.SearchParams{K: 5, Ef: ef}); err != nil {
						t.Fatal(err)
					}
					left, within := hnsw.Left(s, 5, ef)
					if within > 0 {
						t.Fatalf("%d on %s, ef %d: %d of %d that are left are within reach", dim, on, ef, within, left)
					}
					sum += left
				}
			}
			if sum == 0 {
				t.Errorf("%d on %s: every beam was walked to its end", dim, on)
			}
			s.Release()
		}
	}
}

// TestReachOfEverything: an effort of all there is finds all there is, in order.
func TestReachOfEverything(t *testing.T) {
	rng := rand.New(rand.NewPCG(93, 1))
	for _, n := range []int{1, 9, 130, 200} {
		x := newIndex(t, hnsw.Options{Dim: 6, Metric: hnsw.L2, MaxSlots: n, Seed: 1})
		insertAll(t, x, clusters(rng, n, 6, 3, 0.1))
		s := x.Acquire()
		for _, q := range gaussian(rng, 10, 6, 1) {
			exact, _, err := s.Search(t.Context(), q, hnsw.SearchParams{K: 7, Exact: true})
			if err != nil {
				t.Fatal(err)
			}
			want := slices.Clone(exact)
			if got, _, err := s.Search(t.Context(), q, hnsw.SearchParams{K: 7, Ef: n}); err != nil || !slices.Equal(got, want) {
				t.Fatalf("%d: %v, %v, want %v", n, got, err, want)
			}
		}
		s.Release()
	}
}

// TestReachPays: at equal recall, walks that end by their reach compare no more rows than walks of a beam to its end, and on
// data whose neighbours stand apart for most queries far fewer; at equal effort they find as much.
func TestReachPays(t *testing.T) {
	alone(t)
	tracks := readRows(t, demo.FS, demo.TrackVectors, 8000)
	touching := rows(dataset.Embedded(94, 12_400, 48, 200, 16), 48)
	even := gaussian(rand.New(rand.NewPCG(94, 1)), 6400, 24, 1)
	for _, tc := range []struct {
		name          string
		metric        hnsw.Metric
		base, queries [][]float32
		share         float64 // of the distances of walks to the end, at most
	}{
		{"tracks", hnsw.Cosine, tracks[400:], tracks[:400], 0.9},
		{"clusters", hnsw.L2, touching[400:], touching[:400], 0.9},
		{"even", hnsw.L2, even[400:], even[:400], 1.03},
	} {
		t.Run(tc.name, func(t *testing.T) {
			x := newIndex(t, hnsw.Options{Dim: len(tc.base[0]), Metric: tc.metric, MaxSlots: len(tc.base), Seed: 1})
			insertAll(t, x, tc.base)
			s := x.Acquire()
			defer s.Release()
			worst := make([]float32, len(tc.queries))
			for i, q := range tc.queries {
				found, _, err := s.Search(t.Context(), q, hnsw.SearchParams{K: 10, Exact: true})
				if err != nil {
					t.Fatal(err)
				}
				worst[i] = found[9].Distance
			}
			type search func(context.Context, *hnsw.Searcher, []float32, hnsw.SearchParams) ([]hnsw.Candidate, hnsw.Parts, error)
			run := func(of search, ef int) (recall, distances float64) {
				for i, q := range tc.queries {
					found, parts, err := of(t.Context(), s, q, hnsw.SearchParams{K: 10, Ef: ef})
					if err != nil {
						t.Fatal(err)
					}
					for _, c := range found {
						if c.Distance <= worst[i] {
							recall++
						}
					}
					distances += float64(parts.Distances())
				}
				n := float64(len(tc.queries))
				return recall / 10 / n, distances / n
			}
			type point struct{ recall, distances float64 }
			var plain []point // walked to the end, ascending
			for ef := 10; ef <= 256; ef += 1 + ef/8 {
				r, d := run(hnsw.TakeApartToTheEnd, ef)
				plain = append(plain, point{r, d})
			}
			sum, plainSum := 0.0, 0.0
			for _, ef := range []int{16, 24, 32, 48, 64} {
				atEnd, _ := run(hnsw.TakeApartToTheEnd, ef)
				r, d := run(hnsw.TakeApart, ef)
				if r < atEnd-0.01 {
					t.Errorf("ef %d: recall@10 %.4f, to the end %.4f", ef, r, atEnd)
				}
				i := slices.IndexFunc(plain, func(p point) bool { return p.recall >= r })
				if i < 0 {
					i = len(plain) - 1 // as much is not found by a beam four times as wide
				}
				same := plain[i].distances
				if i > 0 && plain[i].recall > plain[i-1].recall {
					a, b := plain[i-1], plain[i]
					same = min(b.distances, a.distances+(b.distances-a.distances)*(r-a.recall)/(b.recall-a.recall))
				}
				t.Logf("ef %d: recall@10 %.4f with %.0f distances; to the end %.4f, and as much with %.0f", ef, r, d, atEnd, same)
				sum, plainSum = sum+d, plainSum+same
			}
			if sum > tc.share*plainSum {
				t.Errorf("%.0f distances, to the end %.0f: at most %v of them", sum, plainSum, tc.share)
			}
		})
	}
}
