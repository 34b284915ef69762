package hnsw_test

import (
	"context"
	"errors"
	"maps"
	"math"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/segue-ann/segue/hnsw"
)

// model is what an index should be: a map and brute force.
type model struct {
	metric    hnsw.Metric
	precision hnsw.Precision
	live      map[uint32][]float32 // as they are stored
}

// stored returns what an index keeps of v.
func (m *model) stored(v []float32) []float32 {
	if m.precision != hnsw.Float16 {
		return v
	}
	if m.metric == hnsw.Cosine {
		norm2 := 0.0
		for _, x := range v {
			norm2 += float64(x) * float64(x)
		}
		unit := make([]float32, len(v))
		for i, x := range v {
			unit[i] = float32(float64(x) / math.Sqrt(norm2))
		}
		v = unit
	}
	v, _ = rounded(v)
	return v
}

// distance is the oracle: float64, straight from the definitions. b is a stored vector; under Cosine rounding changed its norm a
// little.
func (m *model) distance(a, b []float32) float64 {
	var dot, l2, aa, bb float64
	for i := range a {
		x, y := float64(a[i]), float64(b[i])
		dot += x * y
		l2 += (x - y) * (x - y)
		aa += x * x
		bb += y * y
	}
	switch m.metric {
	case hnsw.Cosine:
		if m.precision == hnsw.Float16 {
			return (1 + bb - 2*dot/math.Sqrt(aa)) / 2 // half of the square of what lies between
		}
		return 1 - dot/math.Sqrt(aa*bb)
	case hnsw.InnerProduct:
		return -dot
	default:
		return l2
	}
}

// nearest returns the distances of the k nearest live vectors, ascending.
func (m *model) nearest(query []float32, k int) []float64 {
	all := make([]float64, 0, len(m.live))
	for _, v := range m.live {
		all = append(all, m.distance(query, v))
	}
	slices.Sort(all)
	return all[:min(k, len(all))]
}

// tolerance bounds the rounding of a float32 distance between vectors of the generators below.
func tolerance(d float64) float64 { return 1e-4 * (1 + math.Abs(d)) }

// verify compares a result with the oracle: the right number, distinct live slots, in order, true distances, and as near
// as the truth. It allows rounding and nothing else.
func (m *model) verify(t interface{ Fatalf(string, ...any) }, what string, query []float32, k int, got []hnsw.Candidate) {
	want := m.nearest(query, k)
	if len(got) != len(want) {
		t.Fatalf("%s: %d results of %d live, k %d", what, len(got), len(m.live), k)
	}
	seen := map[uint32]bool{}
	for i, c := range got {
		v, live := m.live[c.Slot]
		if !live || seen[c.Slot] {
			t.Fatalf("%s: result %d is slot %d, live %t, again %t", what, i, c.Slot, live, seen[c.Slot])
		}
		seen[c.Slot] = true
		if d := m.distance(query, v); math.Abs(d-float64(c.Distance)) > tolerance(d) {
			t.Fatalf("%s: slot %d at %g, truly %g", what, c.Slot, c.Distance, d)
		}
		if math.Abs(want[i]-float64(c.Distance)) > tolerance(want[i]) {
			t.Fatalf("%s: result %d at %g, the truth is %g", what, i, c.Distance, want[i])
		}
		if i > 0 && (c.Distance < got[i-1].Distance || c.Distance == got[i-1].Distance && c.Slot < got[i-1].Slot) {
			t.Fatalf("%s: results %d and %d are out of order", what, i-1, i)
		}
	}
}

// drawVector draws small integers, so that equal vectors and equal distances are frequent.
func drawVector(t *rapid.T, dim int, metric hnsw.Metric) []float32 {
	v := make([]float32, dim)
	for i := range v {
		v[i] = float32(rapid.IntRange(-3, 3).Draw(t, "component"))
	}
	if metric == hnsw.Cosine && !slices.ContainsFunc(v, func(c float32) bool { return c != 0 }) {
		v[0] = 1
	}
	return v
}

// TestModel runs random calls against an index and the model. With a beam as wide as the index every search must be exact,
// because the graph is connected.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &model{
			metric: rapid.SampledFrom([]hnsw.Metric{hnsw.Cosine, hnsw.InnerProduct, hnsw.L2}).Draw(t, "metric"),
			live:   map[uint32][]float32{},

			precision: rapid.SampledFrom([]hnsw.Precision{hnsw.Float32, hnsw.Float16}).Draw(t, "precision"),
		}
		dim := rapid.IntRange(1, 18).Draw(t, "dim")
		x, err := hnsw.New(hnsw.Options{
			Dim: dim, Metric: m.metric, Precision: m.precision, MaxSlots: 512,
			M:              rapid.SampledFrom([]int{4, 5, 16}).Draw(t, "m"),
			EfConstruction: rapid.SampledFrom([]int{8, 40}).Draw(t, "efConstruction"),
			Seed:           rapid.Uint64().Draw(t, "seed"),
		})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { x.Close() }()
		var open struct { // the snapshot that is open, and what was true when it began
			snapshot *hnsw.Snapshot
			image    encoded
			model    *model
		}
		slots := func() []uint32 {
			s := make([]uint32, 0, len(m.live))
			for slot := range m.live {
				s = append(s, slot)
			}
			slices.Sort(s)
			return s
		}
		insert := func(t *rapid.T) {
			v := drawVector(t, dim, m.metric)
			slot, err := x.Insert(v)
			if errors.Is(err, hnsw.ErrFull) && x.Slots() == 512 {
				t.Skip("full")
			}
			if err != nil {
				t.Fatal(err)
			}
			if m.live[slot] != nil {
				t.Fatalf("slot %d given twice", slot)
			}
			m.live[slot] = m.stored(v)
		}
		search := func(t *rapid.T) {
			query, k := drawVector(t, dim, m.metric), rapid.IntRange(1, 12).Draw(t, "k")
			s := x.Acquire()
			defer s.Release()
			got, _, err := s.Search(context.Background(), query, hnsw.SearchParams{K: k, Ef: len(m.live)})
			if err != nil {
				t.Fatal(err)
			}
			m.verify(t, "search", query, k, got)
			exact, st, err := s.Search(context.Background(), query, hnsw.SearchParams{K: k, Exact: true})
			if err != nil || !st.Exact || st.Distances != len(m.live) {
				t.Fatalf("exact scan: %+v, %v", st, err)
			}
			m.verify(t, "exact", query, k, exact)
		}
		t.Repeat(map[string]func(*rapid.T){
			"insert": insert,
			"insertMany": func(t *rapid.T) {
				for range rapid.IntRange(5, 40).Draw(t, "count") {
					insert(t)
				}
			},
			"delete": func(t *rapid.T) {
				if len(m.live) == 0 {
					t.Skip("empty")
				}
				slot := rapid.SampledFrom(slots()).Draw(t, "slot")
				if err := x.Delete(slot); err != nil {
					t.Fatal(err)
				}
				delete(m.live, slot)
				if err := x.Delete(slot); !errors.Is(err, hnsw.ErrNotLive) {
					t.Fatalf("deleted twice: %v", err)
				}
			},
			"deleteMany": func(t *rapid.T) {
				for _, slot := range slots() {
					if rapid.IntRange(0, 3).Draw(t, "keep") > 0 {
						if err := x.Delete(slot); err != nil {
							t.Fatal(err)
						}
						delete(m.live, slot)
					}
				}
			},
			"discard": func(t *rapid.T) {
				slot, err := x.Allocate(drawVector(t, dim, m.metric))
				if errors.Is(err, hnsw.ErrFull) {
					t.Skip("full")
				}
				if err != nil {
					t.Fatal(err)
				}
				if err := x.Discard(slot); err != nil {
					t.Fatal(err)
				}
				if err := x.Link(slot); !errors.Is(err, hnsw.ErrNotAllocated) {
					t.Fatalf("linked a free slot: %v", err)
				}
			},
			"search": search,
			"snapshot": func(t *rapid.T) {
				s, err := x.BeginSnapshot()
				if open.snapshot != nil {
					if !errors.Is(err, hnsw.ErrSnapshotOpen) {
						t.Fatalf("a second snapshot: %v", err)
					}
					t.Skip("open")
				}
				if err != nil {
					t.Fatal(err)
				}
				open.snapshot, open.image = s, encode(t, s)
				open.model = &model{metric: m.metric, precision: m.precision, live: maps.Clone(m.live)}
			},
			"closeSnapshot": func(t *rapid.T) {
				if open.snapshot == nil {
					t.Skip("none")
				}
				if !reflect.DeepEqual(open.image, encode(t, open.snapshot)) {
					t.Fatal("the image changed while the snapshot was open")
				}
				open.snapshot.Close()
				open.snapshot = nil
				y := restore(t, open.image, 512)
				defer y.Close()
				if err := y.Check(); err != nil {
					t.Fatal(err)
				}
				query, k := drawVector(t, dim, m.metric), rapid.IntRange(1, 12).Draw(t, "k")
				s := y.Acquire()
				defer s.Release()
				got, _, err := s.Search(context.Background(), query, hnsw.SearchParams{K: k, Ef: 512})
				if err != nil {
					t.Fatal(err)
				}
				open.model.verify(t, "search of the restored index", query, k, got)
			},
			"reopen": func(t *rapid.T) {
				if open.snapshot != nil {
					t.Skip("open")
				}
				y := restore(t, snapshotOf(t, x), 512)
				x.Close()
				x = y
			},
			"": func(t *rapid.T) {
				if err := x.Check(); err != nil {
					t.Fatal(err)
				}
				if x.Len() != len(m.live) {
					t.Fatalf("Len %d, model %d", x.Len(), len(m.live))
				}
			},
		})
	})
}
