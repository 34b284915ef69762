package engine

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"github.com/segue-ann/segue/internal/distance"
	"github.com/segue-ann/segue/internal/quantize"
)

// halved returns items whose vectors are what an index keeps of them in half precision, but under Cosine.
func halved(items []Item) []Item {
	out := slices.Clone(items)
	for i := range out {
		half, v := make([]uint16, len(out[i].Vector)), make([]float32, len(out[i].Vector))
		quantize.EncodeF16(half, out[i].Vector)
		for j, h := range half {
			v[j] = distance.FloatOfF16(h)
		}
		out[i].Vector = v
	}
	return out
}

// TestFloat16: a collection of half precision, in memory and in a file, answers as the oracle of the rounded vectors does,
// through replacements, deletions, a snapshot, a log behind it and a restart; returns items as they were written; and takes half of
// the memory for vectors.
func TestFloat16(t *testing.T) {
	notUnderRace(t)
	const n, dim = 1300, 32
	for _, storage := range []VectorStorage{VectorsInMemory, VectorsInFile} {
		if storage == VectorsInFile && runtime.GOOS != "linux" {
			continue
		}
		t.Run(fmt.Sprint(storage), func(t *testing.T) {
			dir := t.TempDir()
			e, err := Open(t.Context(), dir, testOptions(nil))
			if err != nil {
				t.Fatal(err)
			}
			cfg := CollectionConfig{Name: "tracks", Dim: dim, Metric: L2, VectorStorage: storage, VectorPrecision: Float16}
			c, err := e.CreateCollection(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			rng := rand.New(rand.NewPCG(97, 97))
			items := randomItems(rng, n, dim)
			mustUpsert(t, c, items...)
			if _, err := c.CreateSnapshot(t.Context()); err != nil {
				t.Fatal(err)
			}
			var gone []string
			for i := range 50 {
				gone = append(gone, items[i].ID)
				items[i+50].Vector = randomVector(rng, dim)
			}
			mustUpsert(t, c, items[50:100]...)
			if _, _, err := c.Delete(t.Context(), gone); err != nil {
				t.Fatal(err)
			}
			want := oracleOf(L2, halved(items[50:]))
			for _, when := range []string{"before", "after"} {
				for range 20 {
					q := randomVector(rng, dim)
					res, err := c.Search(t.Context(), SearchRequest{Query: Query{Vector: q}, K: 10, Ef: 600})
					if err != nil {
						t.Fatal(err)
					}
					if err := want.agrees(q, 10, "", res.Neighbors); err != nil {
						t.Errorf("%s the restart: %v", when, err)
					}
				}
				got, err := c.Get(t.Context(), items[70].ID)
				if err != nil || !slices.Equal(got.Vector, items[70].Vector) {
					t.Errorf("%s the restart: %v, %v, want %v", when, got, err, items[70].Vector)
				}
				s := statistics(t, c)
				if s.FileBytes != 0 != (storage == VectorsInFile) || storage == VectorsInFile && s.FileBytes < int64(2*dim*n) {
					t.Errorf("%s the restart: %+v", when, s)
				}
				if err := c.published.Load().index.Check(); err != nil {
					t.Error(err)
				}
				if err := e.Close(); err != nil {
					t.Fatal(err)
				}
				if when == "before" {
					if e, err = Open(t.Context(), dir, testOptions(nil)); err != nil {
						t.Fatal(err)
					}
					if c, err = e.Collection("tracks"); err != nil {
						t.Fatal(err)
					}
					if c.Config().VectorPrecision != Float16 {
						t.Error("the configuration is forgotten")
					}
				}
			}
		})
	}
}

// TestFloat16Refuses names the field and the rule where a vector does not fit half precision; queries and, under Cosine, items of any
// size are welcome.
func TestFloat16Refuses(t *testing.T) {
	e := open(t, t.TempDir(), testOptions(nil))
	for _, metric := range []Metric{Cosine, InnerProduct, L2} {
		c, err := e.CreateCollection(t.Context(), CollectionConfig{Name: metric.String(), Dim: 2, Metric: metric, VectorPrecision: Float16})
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range [][]float32{{70_000, 1}, {1e-7, 0}} {
			_, err := c.Upsert(t.Context(), []Item{{ID: "fits", Vector: []float32{1, 2}}, {ID: "does not", Vector: v}})
			if metric == Cosine {
				if err != nil {
					t.Errorf("%v: %v", v, err)
				}
				continue
			}
			if got := reasons(t, err); !slices.Equal(got, []string{"items[1].vector OUT_OF_RANGE"}) {
				t.Errorf("%v, %v: %q", metric, v, got)
			}
			if _, err := c.Search(t.Context(), SearchRequest{Query: Query{Vector: v}, K: 1}); err != nil {
				t.Errorf("%v: a query: %v", metric, err)
			}
		}
		if want := map[Metric]int{Cosine: 2}[metric]; c.Len() != want {
			t.Errorf("%v: %d items, want %d", metric, c.Len(), want)
		}
	}
}

// TestReserveHoldsPrecision: the vectors of all slots lie within the reserve, and half precision leaves room for more of them.
func TestReserveHoldsPrecision(t *testing.T) {
	const dim, reserve = 500, 16 << 20
	o := testOptions(nil)
	o.ReserveBytes = reserve
	e := open(t, t.TempDir(), o)
	slots := map[VectorPrecision]int{}
	for _, p := range []VectorPrecision{Float32, Float16} {
		c, err := e.CreateCollection(t.Context(), CollectionConfig{Name: p.String(), Dim: dim, Metric: L2, VectorPrecision: p})
		if err != nil {
			t.Fatal(err)
		}
		index := c.published.Load().index.Options()
		if index.VectorBytes() > reserve || index.VectorBytes() < reserve/2 {
			t.Errorf("%v: %d slots take %d bytes of %d", p, index.MaxSlots, index.VectorBytes(), reserve)
		}
		slots[p] = index.MaxSlots
	}
	if slots[Float16] < slots[Float32]*3/2 {
		t.Errorf("%v slots", slots)
	}
}
