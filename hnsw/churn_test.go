package hnsw_test

import (
	"context"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/segue-ann/segue/examples/demo"
	"github.com/segue-ann/segue/hnsw"
	"github.com/segue-ann/segue/internal/invariants"
)

// churnRounds is how often every vector is replaced.
const churnRounds = 3

// generations is data for an index that is replaced churnRounds times.
type generations struct {
	metric hnsw.Metric
	// rows of generation g are rows[g*n : (g+1)*n]. kin[i] is the group of rows[i], from 0: in a burst a group goes at
	// once, and that of the next generation comes.
	rows    [][]float32
	kin     []int
	n       int
	queries [][]float32
	// nearest are the distances of the 10 nearest rows to each query, of the generations that are measured.
	nearest map[int][][]float64
}

// churnSize is n for the index under test, or long with SEGUE_LONG=1.
func churnSize(n, long int) int {
	if os.Getenv("SEGUE_LONG") != "" {
		return long
	}
	return n
}

// generate takes n*(1+churnRounds) rows and the queries from one draw of both.
func generate(metric hnsw.Metric, n int, draw func(rows int) [][]float32) *generations {
	queries := churnSize(500, 2000) // fewer do not tell a loss of .005 at recall .96 from chance
	all := draw(n*(1+churnRounds) + queries)
	g := &generations{metric: metric, n: n, rows: all[queries:], queries: all[:queries], nearest: map[int][][]float64{}}
	g.kin = byPivot(g.rows)
	for _, generation := range []int{1, churnRounds} {
		for _, q := range g.queries {
			g.nearest[generation] = append(g.nearest[generation], exactTop(metric, g.of(generation), q, 10))
		}
	}
	return g
}

// of returns the rows of a generation.
func (g *generations) of(generation int) [][]float32 { return g.rows[generation*g.n:][:g.n] }

// byPivot groups rows by the nearest of 25 among them.
func byPivot(rows [][]float32) []int {
	kin := make([]int, len(rows))
	for i, v := range rows {
		best := -1.0
		for p := range 25 {
			sum := 0.0
			for j, c := range rows[p*len(rows)/25] {
				sum += float64((v[j] - c) * (v[j] - c))
			}
			if best < 0 || sum < best {
				kin[i], best = p, sum
			}
		}
	}
	return kin
}

// clusters draws rows around centers, one after the other.
func clusters(rng *rand.Rand, n, dim, centers int, spread float64) [][]float32 {
	at := gaussian(rng, centers, dim, 1)
	rows := gaussian(rng, n, dim, spread)
	for i, v := range rows {
		for j := range v {
			v[j] += at[i%centers][j]
		}
	}
	return rows
}

// TestGateChurn: every vector is replaced once and three times, one by one at random and a group at a time. Then recall@10
// is within .005 of that of an index built afresh of what is left, at the same ef, and distances are no more than 1.12 times
// as many; every node is reachable (Check) and slots are used again.
//
// The hard cases are clusters wider than the beam, whose links to each other must not wear out, and real tracks. The sets
// are small here and of full size with SEGUE_LONG=1.
func TestGateChurn(t *testing.T) {
	if invariants.Race {
		t.Skip("too slow under the race detector, which has other tests")
	}
	rng := func() *rand.Rand { return rand.New(rand.NewPCG(29, 29)) }
	for _, tc := range []struct {
		name string
		set  func(t *testing.T) *generations
	}{
		{"loose clusters", func(*testing.T) *generations {
			return generate(hnsw.L2, churnSize(4000, 20_000), func(n int) [][]float32 { return clusters(rng(), n, 32, 25, 0.7) })
		}},
		{"close clusters", func(*testing.T) *generations {
			return generate(hnsw.L2, churnSize(2500, 10_000), func(n int) [][]float32 { return clusters(rng(), n, 32, 20, 0.3) })
		}},
		{"uniform", func(*testing.T) *generations {
			return generate(hnsw.L2, churnSize(2000, 10_000), func(n int) [][]float32 { return gaussian(rng(), n, 32, 1) })
		}},
		{"duplicates", func(*testing.T) *generations {
			return generate(hnsw.L2, churnSize(2000, 10_000), func(n int) [][]float32 {
				distinct, rng := gaussian(rng(), n/10, 16, 1), rng()
				rows := gaussian(rng, n, 16, 1)
				for i := range rows {
					if i%2 == 0 {
						rows[i] = distinct[rng.IntN(len(distinct))]
					}
				}
				return rows
			})
		}},
		{"tracks", func(t *testing.T) *generations {
			n := churnSize(2500, 15_000)
			return generate(hnsw.Cosine, n, func(n int) [][]float32 {
				rows := readRows(t, demo.FS, "tracks.f16.npy.zst", 0)
				rng().Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
				return rows[:n]
			})
		}},
		{"mnist784", func(t *testing.T) *generations {
			return generate(hnsw.L2, churnSize(1000, 14_000), func(n int) [][]float32 {
				return readRows(t, os.DirFS("../testdata/mnist784"), "base_u8.npy.gz", n)
			})
		}},
		{"skewed inner product", func(*testing.T) *generations {
			return generate(hnsw.InnerProduct, churnSize(2000, 10_000), func(n int) [][]float32 { return skewed(rng(), n, 64, 0.8) })
		}},
		{"even inner product", func(*testing.T) *generations {
			return generate(hnsw.InnerProduct, churnSize(2000, 10_000), func(n int) [][]float32 { return skewed(rng(), n, 64, 0.05) })
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := tc.set(t)
			once, thrice := g.fresh(t, 1), g.fresh(t, churnRounds)
			t.Run("one by one", func(t *testing.T) { g.churn(t, g.replaceEach, once, thrice) })
			t.Run("in bursts", func(t *testing.T) { g.churn(t, g.replaceKin, once, thrice) })
		})
	}
}

// quality is recall@10, and distances a search, at ef 64.
type quality struct{ recall, distances float64 }

func (g *generations) quality(t *testing.T, x *hnsw.Index, generation int) quality {
	s := x.Acquire()
	defer s.Release()
	hits, distances := 0, 0
	for i, q := range g.queries {
		got, stats, err := s.Search(context.Background(), q, hnsw.SearchParams{K: 10, Ef: 64})
		if err != nil {
			t.Fatal(err)
		}
		distances += stats.Distances
		worst := g.nearest[generation][i][9]
		for _, c := range got {
			if float64(c.Distance) <= worst+tolerance(worst)/10 {
				hits++
			}
		}
	}
	return quality{float64(hits) / float64(10*len(g.queries)), float64(distances) / float64(len(g.queries))}
}

func (g *generations) index(t *testing.T) *hnsw.Index {
	return newIndex(t, hnsw.Options{Dim: len(g.rows[0]), Metric: g.metric, MaxSlots: 2 * g.n, Seed: 1})
}

// fresh returns the quality of an index of one generation.
func (g *generations) fresh(t *testing.T, generation int) quality {
	x := g.index(t)
	for _, v := range g.of(generation) {
		mustInsert(t, x, v)
	}
	return g.quality(t, x, generation)
}

func (g *generations) churn(t *testing.T, replace func(*testing.T, *hnsw.Index, []uint32, int), once, thrice quality) {
	x := g.index(t)
	var slots []uint32 // of the rows of the generation that is live
	for _, v := range g.of(0) {
		slots = append(slots, mustInsert(t, x, v))
	}
	for generation := 1; generation <= churnRounds; generation++ {
		replace(t, x, slots, generation)
		if err := x.Check(); err != nil {
			t.Fatal(err)
		}
		fresh := thrice
		switch generation {
		case 1:
			fresh = once
		case churnRounds:
		default:
			continue
		}
		got := g.quality(t, x, generation)
		t.Logf("replaced %d times: recall@10 %.4f with %.0f distances; afresh %.4f with %.0f",
			generation, got.recall, got.distances, fresh.recall, fresh.distances)
		if got.recall < fresh.recall-0.005 {
			t.Errorf("recall@10 %.4f, afresh %.4f", got.recall, fresh.recall)
		}
		if got.distances > 1.12*fresh.distances {
			t.Errorf("%.0f distances, afresh %.0f", got.distances, fresh.distances)
		}
	}
	if x.Len() != g.n || x.Slots() > g.n+g.n/4 {
		t.Errorf("%d live of %d, in %d slots: deleted ones are not used again", x.Len(), g.n, x.Slots())
	}
}

// replaceEach replaces the rows of a generation by those of the next, one by one in a random order.
func (g *generations) replaceEach(t *testing.T, x *hnsw.Index, slots []uint32, generation int) {
	for _, i := range rand.New(rand.NewPCG(31, uint64(generation))).Perm(g.n) {
		mustDelete(t, x, slots[i])
		slots[i] = mustInsert(t, x, g.rows[generation*g.n+i])
	}
}

// replaceKin does so a group at a time.
func (g *generations) replaceKin(t *testing.T, x *hnsw.Index, slots []uint32, generation int) {
	next := make([]uint32, g.n)
	for k := range 1 + slices.Max(g.kin) {
		for i, slot := range slots {
			if g.kin[(generation-1)*g.n+i] == k {
				mustDelete(t, x, slot)
			}
		}
		for i := range next {
			if g.kin[generation*g.n+i] == k {
				next[i] = mustInsert(t, x, g.rows[generation*g.n+i])
			}
		}
	}
	copy(slots, next)
}

func mustInsert(t *testing.T, x *hnsw.Index, vec []float32) uint32 {
	t.Helper()
	slot, err := x.Insert(vec)
	if err != nil {
		t.Fatal(err)
	}
	return slot
}

func mustDelete(t *testing.T, x *hnsw.Index, slot uint32) {
	t.Helper()
	if err := x.Delete(slot); err != nil {
		t.Fatal(err)
	}
}
