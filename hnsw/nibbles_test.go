package hnsw_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/segue-ann/segue/hnsw"
	"github.com/segue-ann/segue/internal/invariants"
)

// wide returns n vectors of dim components that lie near a subspace of 16, as embeddings of many components do.
func wide(rng *rand.Rand, n, dim int) [][]float32 {
	axes := gaussian(rand.New(rand.NewPCG(61, 61)), 16, dim, 1)
	vecs := gaussian(rng, n, dim, 0.1)
	for _, v := range vecs {
		for _, axis := range axes {
			w := float32(rng.NormFloat64())
			for j := range v {
				v[j] += w * axis[j]
			}
		}
	}
	return vecs
}

// TestWalkOnNibbles: in every metric, from 256 components on walks read nibbles and find what walks on vectors find; one
// query and many agree; and a restored index does the same to the bit.
func TestWalkOnNibbles(t *testing.T) {
	if invariants.Race {
		t.Skip("too slow under the race detector, which has other tests")
	}
	const dim, k, ef = 260, 10, 64
	n := 2000
	for _, metric := range []hnsw.Metric{hnsw.Cosine, hnsw.InnerProduct, hnsw.L2} {
		t.Run(metric.String(), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(67, uint64(metric)))
			vecs, queries := wide(rng, n, dim), wide(rng, 60, dim)
			x := newIndex(t, hnsw.Options{Dim: dim, Metric: metric, MaxSlots: n, Seed: 1})
			for _, v := range vecs {
				if _, err := x.Insert(v); err != nil {
					t.Fatal(err)
				}
			}
			if !hnsw.WalksOnNibbles(x) {
				t.Fatal("walks do not read nibbles")
			}
			y := restored(t, x)
			if !hnsw.WalksOnNibbles(y) {
				t.Fatal("walks of the restored index do not read nibbles")
			}
			for _, index := range []*hnsw.Index{x, y} {
				if err := index.Check(); err != nil {
					t.Fatal(err)
				}
			}
			s, r := x.Acquire(), y.Acquire()
			same := 0
			for _, q := range queries {
				a, _, err := s.Search(context.Background(), q, hnsw.SearchParams{K: k, Ef: ef})
				if err != nil {
					t.Fatal(err)
				}
				b, _, err := r.Search(context.Background(), q, hnsw.SearchParams{K: k, Ef: ef})
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(a, b) {
					t.Fatalf("%v became %v", a, b)
				}
				if err := r.Begin(context.Background(), hnsw.SearchParams{K: k, Ef: ef}, q, q, q, q, q); err != nil {
					t.Fatal(err)
				}
				many, _, err := r.More(context.Background(), k)
				if err != nil {
					t.Fatal(err)
				}
				for _, c := range many {
					if slices.ContainsFunc(a, func(o hnsw.Candidate) bool { return o.Slot == c.Slot && o.Distance == c.Distance }) {
						same++
					}
				}
			}
			if share := float64(same) / float64(k*len(queries)); share < 0.99 {
				t.Errorf("five times the same query finds %.3f of what it finds once", share)
			}
			s.Release()
			r.Release()
			nibbles, few := recallOf(t, x, metric, vecs, queries, k, ef)
			hnsw.WalkOnVectors(x)
			vectors, many := recallOf(t, x, metric, vecs, queries, k, ef)
			t.Logf("recall@%d at ef %d: %.4f on nibbles with %.0f distances, %.4f on vectors with %.0f", k, ef, nibbles, few, vectors, many)
			if nibbles < vectors-0.01 || few > 1.3*many+ef {
				t.Errorf("recall %.4f with %.0f distances on nibbles, %.4f with %.0f on vectors", nibbles, few, vectors, many)
			}
		})
	}
}

// TestNibblesThatDoNotTell: where four bits are too few and seven are not, walks read codes of seven.
func TestNibblesThatDoNotTell(t *testing.T) {
	if invariants.Race {
		t.Skip("too slow under the race detector, which has other tests")
	}
	const dim, clusters = 256, 20
	n := 1500
	rng := rand.New(rand.NewPCG(71, 71))
	centers, vecs := gaussian(rng, clusters, dim, 1), gaussian(rng, n, dim, 0.25)
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
	if _, ok := hnsw.Codec(x); !ok || hnsw.WalksOnNibbles(x) {
		t.Errorf("codes: %t, nibbles: %t", ok, hnsw.WalksOnNibbles(x))
	}
}

// TestImageVersion1 is read as codes of seven bits.
func TestImageVersion1(t *testing.T) {
	n := sized(1200)
	vecs := gaussian(rand.New(rand.NewPCG(73, 73)), n, 20, 1)
	x := newIndex(t, hnsw.Options{Dim: 20, Metric: hnsw.L2, MaxSlots: n})
	insertAll(t, x, vecs)
	image := snapshotOf(t, x)
	image.Header = hnsw.HeaderV1(image.Header)
	y := restore(t, image, n)
	defer y.Close()
	if err := y.Check(); err != nil {
		t.Fatal(err)
	}
	if c, ok := hnsw.Codec(y); !ok || hnsw.WalksOnNibbles(y) {
		t.Errorf("codec %+v, %t", c, ok)
	}
}
