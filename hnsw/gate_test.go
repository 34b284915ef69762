package hnsw_test

import (
	"context"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/segue-ann/segue/examples/demo"
	"github.com/segue-ann/segue/hnsw"
	"github.com/segue-ann/segue/internal/dataset"
	"github.com/segue-ann/segue/internal/groundtruth"
	"github.com/segue-ann/segue/internal/invariants"
)

// A gate is a floor for recall@10 and a ceiling for the distances a search and an insert compute: a measure of speed
// without noise. Indexes are built by one goroutine from fixed seeds, so the numbers of one machine's kernels repeat exactly.
//
// The margins are for kernels that round otherwise: a ceiling is 3 % above what is reached, a floor .004 below, or a third of
// what is missed where that is more. docs/gates.md has what is reached.
type gate struct {
	ef           int
	recall       float64
	maxDistances float64
}

// rows splits a matrix.
func rows(data []float32, dim int) [][]float32 {
	out := make([][]float32, 0, len(data)/dim)
	for at := 0; at+dim <= len(data); at += dim {
		out = append(out, data[at:at+dim])
	}
	return out
}

// readRows reads a matrix of at most limit rows (0: all) from a file system.
func readRows(t testing.TB, fsys fs.FS, name string, limit int) [][]float32 {
	t.Helper()
	data, _, dim, err := dataset.ReadFloat32FS(fsys, name, limit)
	if err != nil {
		t.Fatal(err)
	}
	return rows(data, dim)
}

// pass builds an index of base and checks the gates with the queries.
func pass(t *testing.T, metric hnsw.Metric, base, queries [][]float32, maxLinkDistances float64, gates ...gate) *hnsw.Index {
	t.Helper()
	if invariants.Race {
		t.Skip("too slow under the race detector, which has other tests")
	}
	x := newIndex(t, hnsw.Options{Dim: len(base[0]), Metric: metric, MaxSlots: len(base) + 1000, Seed: 1})
	for _, v := range base {
		if _, err := x.Insert(v); err != nil {
			t.Fatal(err)
		}
	}
	if err := x.Check(); err != nil {
		t.Fatal(err)
	}
	if per := float64(x.Stats().LinkDistances) / float64(len(base)); per > maxLinkDistances {
		t.Errorf("%.0f distances an insert, at most %.0f", per, maxLinkDistances)
	} else {
		t.Logf("%.0f distances an insert", per)
	}
	checkGates(t, x, metric, base, queries, gates...)
	return x
}

// checkGates searches x, where slot i holds base[i].
func checkGates(t *testing.T, x *hnsw.Index, metric hnsw.Metric, base, queries [][]float32, gates ...gate) {
	t.Helper()
	dim := len(base[0])
	oracle := groundtruth.New(map[hnsw.Metric]groundtruth.Metric{
		hnsw.Cosine: groundtruth.Cosine, hnsw.InnerProduct: groundtruth.InnerProduct, hnsw.L2: groundtruth.L2,
	}[metric], flat(base), dim)
	nearest, err := oracle.TopKAll(context.Background(), flat(queries), 10, 2)
	if err != nil {
		t.Fatal(err)
	}
	truths := oracle.Truths(flat(queries), nearest)
	for _, g := range gates {
		recall, distances := measure(t, x, oracle, queries, truths, g.ef)
		t.Logf("ef %d: recall@10 %.4f, %.0f distances", g.ef, recall, distances)
		if recall < g.recall {
			t.Errorf("ef %d: recall@10 %.4f, want %.4f", g.ef, recall, g.recall)
		}
		if distances > g.maxDistances {
			t.Errorf("ef %d: %.0f distances a search, at most %.0f", g.ef, distances, g.maxDistances)
		}
	}
}

func measure(t *testing.T, x *hnsw.Index, oracle *groundtruth.Oracle, queries [][]float32, truths []groundtruth.Truth, ef int) (recall, distances float64) {
	t.Helper()
	s := x.Acquire()
	defer s.Release()
	results := make([][]uint32, len(queries))
	for i, q := range queries {
		got, stats, err := s.Search(context.Background(), q, hnsw.SearchParams{K: 10, Ef: ef})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range got {
			results[i] = append(results[i], c.Slot)
		}
		distances += float64(stats.Distances)
	}
	return oracle.Recall(flat(queries), truths, results), distances / float64(len(queries))
}

func flat(vecs [][]float32) []float32 {
	out := make([]float32, 0, len(vecs)*len(vecs[0]))
	for _, v := range vecs {
		out = append(out, v...)
	}
	return out
}

// TestGateTracks: 63,468 real tracks, asked with 250 real playlists.
func TestGateTracks(t *testing.T) {
	base := readRows(t, demo.FS, "tracks.f16.npy.zst", 0)
	queries := readRows(t, demo.FS, "playlists.f32.npy.zst", 0)
	if len(base) != 63_468 || len(queries) != 250 {
		t.Fatalf("%d tracks, %d playlists", len(base), len(queries))
	}
	x := pass(t, hnsw.Cosine, base, queries, 1120,
		gate{16, 0.9872, 216}, gate{64, 0.996, 333}, gate{128, 0.996, 384})
	filterGates(t, x, hnsw.Cosine, base, queries[:16], 150)
	walkGates(t, x, base, queries[:50], 0.97, 620)
	tenthGate(t, x, base, queries[:50], 2.1)
	severalGates(t, x, queries, 0.99, 2)
	calibrationGate(t, x, queries[:200])
}

// TestGateMNIST: 20,000 of the 60,000 images of mnist784; all of them with SEGUE_LONG=1.
func TestGateMNIST(t *testing.T) {
	n, linkDistances, tenth, gates := 20_000, 1554.0, 1.7, []gate{{16, 0.9788, 312}, {64, 0.9958, 761}, {128, 0.9958, 1102}}
	if os.Getenv("SEGUE_LONG") != "" {
		n, linkDistances, tenth, gates = 60_000, 1801, 1.9, []gate{{16, 0.9738, 355}, {64, 0.9954, 911}, {128, 0.9958, 1329}}
	}
	fsys := os.DirFS("../testdata/mnist784")
	base, queries := readRows(t, fsys, "base_u8.npy.gz", n), readRows(t, fsys, "query_u8.npy.gz", 500)
	if len(base) != n {
		t.Fatalf("%d images", len(base))
	}
	x := pass(t, hnsw.L2, base, queries, linkDistances, gates...)
	if _, ok := hnsw.Codec(x); !ok {
		t.Error("walks do not read codes of mnist784")
	}
	filterGates(t, x, hnsw.L2, base, queries[:10], 200)
	walkGates(t, x, base, queries[:50], 0.97, 700)
	tenthGate(t, x, base, queries[:50], tenth)
	severalGates(t, x, queries, 0.99, 2)
	calibrationGate(t, x, queries[:200])
}

// skewed draws vectors like the factors of a music model: unit directions around a few tastes, norms log-normal.
func skewed(rng *rand.Rand, n, dim int, sigma float64) [][]float32 {
	tastes := gaussian(rand.New(rand.NewPCG(99, 99)), 20, dim, 1)
	vecs := gaussian(rng, n, dim, 1)
	for i, v := range vecs {
		taste := tastes[rng.IntN(len(tastes))]
		sum := 0.0
		for j := range v {
			v[j] += taste[j]
			sum += float64(v[j]) * float64(v[j])
		}
		scale := float32(math.Exp(sigma*rng.NormFloat64()) / math.Sqrt(sum))
		for j := range vecs[i] {
			v[j] *= scale
		}
	}
	return vecs
}

// TestGateInnerProduct: skewed norms and nearly equal ones; 100,000 of them with SEGUE_LONG=1.
func TestGateInnerProduct(t *testing.T) {
	n, long := 10_000, os.Getenv("SEGUE_LONG") != ""
	if long {
		n = 100_000
	}
	for _, tc := range []struct {
		name             string
		sigma            float64
		gates, longGates []gate
	}{
		{"skewed", 0.8, []gate{{64, 0.9945, 840}, {256, 0.996, 2099}}, []gate{{64, 0.991, 1147}, {256, 0.9955, 2813}}},
		{"nearly equal", 0.05, []gate{{64, 0.9955, 667}, {256, 0.996, 1000}}, []gate{{64, 0.97, 1587}, {256, 0.9955, 3339}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(17, 17))
			base, queries := skewed(rng, n, 64, tc.sigma), skewed(rng, 200, 64, 0)
			if long {
				tc.gates = tc.longGates
			}
			pass(t, hnsw.InnerProduct, base, queries, 3620, tc.gates...)
		})
	}
}

// TestGateUniform: independent components in 32 dimensions, the hardest there is for a graph.
func TestGateUniform(t *testing.T) {
	rng := rand.New(rand.NewPCG(19, 19))
	pass(t, hnsw.L2, gaussian(rng, 10_000, 32, 1), gaussian(rng, 200, 32, 1), 3296,
		gate{64, 0.987, 2235}, gate{256, 0.9955, 3781})
}

// TestGateDuplicates: 200 distinct vectors, each 40 times, and as many again that are alone.
func TestGateDuplicates(t *testing.T) {
	rng := rand.New(rand.NewPCG(23, 23))
	var base [][]float32
	for _, v := range gaussian(rng, 200, 16, 1) {
		for range 40 {
			base = append(base, v)
		}
	}
	base = append(base, gaussian(rng, 8000, 16, 1)...)
	rng.Shuffle(len(base), func(i, j int) { base[i], base[j] = base[j], base[i] })
	pass(t, hnsw.L2, base, gaussian(rng, 200, 16, 1), 2832, gate{64, 0.992, 1121}, gate{256, 0.9955, 1697})
}

// TestGateClusters: 100 clusters far apart, which trap a beam that starts in the wrong one.
func TestGateClusters(t *testing.T) {
	rng := rand.New(rand.NewPCG(37, 37))
	all := clusters(rng, 10_000+500, 32, 100, 0.1)
	pass(t, hnsw.L2, all[500:], all[:500], 1001, gate{64, 0.996, 235}, gate{256, 0.996, 255})
}

// TestSearchAllocatesNothing once a searcher has served a search of the width.
func TestSearchAllocatesNothing(t *testing.T) {
	if invariants.Race {
		t.Skip("the race detector allocates")
	}
	const n, dim = 3000, 24
	rng := rand.New(rand.NewPCG(31, 31))
	queries := gaussian(rng, 16, dim, 1)
	for _, metric := range []hnsw.Metric{hnsw.Cosine, hnsw.InnerProduct, hnsw.L2} {
		for _, on := range []string{"codes", "vectors", "half vectors"} {
			o := hnsw.Options{Dim: dim, Metric: metric, MaxSlots: n, Seed: 1}
			if on == "half vectors" {
				o.Precision = hnsw.Float16
			}
			x := newIndex(t, o)
			for _, v := range gaussian(rng, n, dim, 1) {
				if _, err := x.Insert(v); err != nil {
					t.Fatal(err)
				}
			}
			if on != "codes" {
				hnsw.WalkOnVectors(x)
			} else if _, ok := hnsw.Codec(x); !ok {
				t.Fatal("walks do not read codes")
			}
			ctx, cancel := context.WithCancel(context.Background())
			i := 0
			allocs := testing.AllocsPerRun(200, func() {
				s := x.Acquire()
				if _, _, err := s.Search(ctx, queries[i%len(queries)], hnsw.SearchParams{K: 10, Ef: 100}); err != nil {
					t.Fatal(err)
				}
				s.Release()
				i++
			})
			cancel()
			if allocs != 0 {
				t.Errorf("%v on %s: %v allocations a search", metric, on, allocs)
			}
		}
	}
}

// TestGateManyClusters: 600 unequal clusters that touch, most of them larger than the beam of an insert, as 500,000 vectors in 1,000
// clusters are to the usual beam. Which links a full row gives up decides here whether a search comes out of the wrong cluster.
func TestGateManyClusters(t *testing.T) {
	if invariants.Race {
		t.Skip("too slow under the race detector, which has other tests")
	}
	const dim, n, queries = 64, 30_000, 500
	all := slices.Collect(slices.Chunk(dataset.Embedded(5, n+queries, dim, 600, 12), dim))
	x := newIndex(t, hnsw.Options{Dim: dim, Metric: hnsw.L2, MaxSlots: n, EfConstruction: 24, Seed: 1})
	for _, v := range all[:n] {
		if _, err := x.Insert(v); err != nil {
			t.Fatal(err)
		}
	}
	checkGates(t, x, hnsw.L2, all[:n], all[n:], gate{16, 0.9464, 305}, gate{32, 0.9848, 346}, gate{64, 0.9924, 512})
}
