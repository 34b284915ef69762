package hnsw_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/segue-ann/segue/examples/demo"
	"github.com/segue-ann/segue/hnsw"
	"github.com/segue-ann/segue/internal/dataset"
	"github.com/segue-ann/segue/internal/distance"
	"github.com/segue-ann/segue/internal/groundtruth"
	"github.com/segue-ann/segue/internal/invariants"
	"github.com/segue-ann/segue/internal/quantize"
)

// rounded returns vec as half precision has it, and by how much of its norm it moved.
func rounded(vec []float32) (out []float32, moved float64) {
	half := make([]uint16, len(vec))
	quantize.EncodeF16(half, vec)
	out = make([]float32, len(vec))
	norm2, moved2 := 0.0, 0.0
	for i, h := range half {
		out[i] = distance.FloatOfF16(h)
		norm2 += float64(vec[i]) * float64(vec[i])
		moved2 += (float64(vec[i]) - float64(out[i])) * (float64(vec[i]) - float64(out[i]))
	}
	return out, math.Sqrt(moved2 / max(norm2, math.SmallestNonzeroFloat64))
}

// TestFloat16IsFloat32OfRounded: an index of half precision is that of float32 over the rounded vectors: the same links, results
// and distances, to the bit, through deletes, filters, several queries, scans, snapshots and restores. 64 components are whole lines
// in both, so that the kernels add in one order.
func TestFloat16IsFloat32OfRounded(t *testing.T) {
	alone(t)
	const dim, n = 64, 2000
	for _, metric := range []hnsw.Metric{hnsw.InnerProduct, hnsw.L2} {
		rng := rand.New(rand.NewPCG(91, uint64(metric)))
		vecs, queries := gaussian(rng, n, dim, 1), gaussian(rng, 40, dim, 1)
		o := hnsw.Options{Dim: dim, Metric: metric, MaxSlots: 2 * n, Seed: 3}
		full := newIndex(t, o)
		o.Precision = hnsw.Float16
		half := newIndex(t, o)
		for _, v := range vecs {
			r, _ := rounded(v)
			mustInsert(t, full, r)
			slot := mustInsert(t, half, v)
			s := half.Acquire()
			copied := make([]float32, dim)
			s.CopyVector(copied, slot)
			if !slices.Equal(s.Vector(slot), r) || !slices.Equal(copied, r) || !half.Holds(slot, v) || !half.Holds(slot, r) {
				t.Fatalf("%v becomes %v and %v, want %v", v, s.Vector(slot), copied, r)
			}
			s.Release()
		}
		for slot := range uint32(n / 4) {
			mustDelete(t, full, 3*slot)
			mustDelete(t, half, 3*slot)
		}
		if _, ok := hnsw.Codec(half); !ok {
			t.Fatal("walks do not read codes")
		}
		image, halfImage := snapshotOf(t, full), snapshotOf(t, half)
		if a, b := len(image.Slabs["vectors"][0]), len(halfImage.Slabs["vectors"][0]); a != 2*b && len(halfImage.Slabs["vectors"]) > 1 {
			t.Errorf("slabs of %d and %d bytes", a, b)
		}
		for _, name := range []string{"links0", "upper", "parents", "live"} {
			if diff := cmp.Diff(image.Slabs[name], halfImage.Slabs[name]); diff != "" {
				t.Fatalf("%v: %s differ", metric, name)
			}
		}
		restored := restore(t, halfImage, 2*n)
		if got := restored.Options().Precision; got != hnsw.Float16 {
			t.Fatalf("restored as %v", got)
		}
		if diff := cmp.Diff(halfImage, snapshotOf(t, restored)); diff != "" {
			t.Error("the image of the restored index differs")
		}
		allowed := hnsw.NewSlotSet(n)
		for slot := range uint32(n) {
			if slot%7 == 0 {
				allowed.Add(slot)
			}
		}
		for _, x := range []*hnsw.Index{half, restored} {
			if err := x.Check(); err != nil {
				t.Fatal(err)
			}
			a, b := full.Acquire(), x.Acquire()
			for i, q := range queries {
				for _, p := range []hnsw.SearchParams{{K: 10, Ef: 30}, {K: 10, Ef: 30, Allowed: allowed}, {K: 30, Exact: true}} {
					want, wantStats, err := a.Search(context.Background(), q, p)
					if err != nil {
						t.Fatal(err)
					}
					got, stats, err := b.Search(context.Background(), q, p)
					if diff := cmp.Diff(want, got); err != nil || diff != "" || stats.Distances != wantStats.Distances {
						t.Fatalf("%v, %+v: %v, %+v %+v\n%s", metric, p, err, wantStats, stats, diff)
					}
				}
				several := [][]float32{q, queries[(i+1)%40], queries[(i+2)%40], queries[(i+3)%40], queries[(i+4)%40]}
				for _, s := range []*hnsw.Searcher{a, b} {
					if err := s.Begin(context.Background(), hnsw.SearchParams{K: 20, Ef: 30}, several...); err != nil {
						t.Fatal(err)
					}
				}
				want, _, err := a.More(context.Background(), 20)
				if err != nil {
					t.Fatal(err)
				}
				if got, _, err := b.More(context.Background(), 20); err != nil || !slices.Equal(want, got) {
					t.Fatalf("%v, several queries: %v, %v, want %v", metric, err, got, want)
				}
			}
			a.Release()
			b.Release()
		}
	}
}

// TestFloat16Range: what half precision cannot hold is refused with a rule of its own, and nothing else is; under Cosine
// nothing is, because vectors are normalised before.
func TestFloat16Range(t *testing.T) {
	with := func(components ...float32) []float32 {
		return append(components, make([]float32, 4-len(components))...)
	}
	for _, c := range []struct {
		vec   []float32
		holds bool
	}{
		{with(0), true},
		{with(1, -2, 3), true},
		{with(65504), true},
		{with(65519), true}, // rounds to 65504
		{with(65520), false},
		{with(-65520, 1), false},
		{with(1e10), false},
		{with(6.2e-5, -6.2e-5), true},
		{with(1e-6), false}, // one component of about 17 steps of 2^-24, rounded by more than 1/1000
		{with(1e-9), false},
		{with(1e-9, 1), true}, // moves by a billionth
		{with(0x1p-24), true}, // the smallest there is
		{with(0x1p-25), false},
	} {
		for _, metric := range []hnsw.Metric{hnsw.Cosine, hnsw.InnerProduct, hnsw.L2} {
			if metric == hnsw.Cosine && c.vec[0] == 0 {
				continue
			}
			full := newIndex(t, hnsw.Options{Dim: 4, Metric: metric, MaxSlots: 8})
			half := newIndex(t, hnsw.Options{Dim: 4, Metric: metric, MaxSlots: 8, Precision: hnsw.Float16})
			if _, err := full.Insert(c.vec); err != nil {
				t.Errorf("%v, float32: %v", c.vec, err)
			}
			_, err := half.Insert(c.vec)
			var refused *hnsw.VectorError
			if errors.As(err, &refused) && refused.Rule != hnsw.OutOfPrecision || (err == nil) != (c.holds || metric == hnsw.Cosine) {
				t.Errorf("%v, %v: %v", metric, c.vec, err)
			}
			if err := half.Check(); err != nil || half.Slots() != half.Len() {
				t.Errorf("%v, %v: %d slots of %d vectors, %v", metric, c.vec, half.Slots(), half.Len(), err)
			}
		}
		if got := hnsw.Float16.Holds(c.vec); got != c.holds || !hnsw.Float32.Holds(c.vec) {
			t.Errorf("%v: holds %t", c.vec, got)
		}
	}
	var refused *hnsw.OptionError
	if _, err := hnsw.New(hnsw.Options{Dim: 4, Metric: hnsw.L2, Precision: 3}); !errors.As(err, &refused) || refused.Field != "Precision" {
		t.Errorf("precision 3: %v", err)
	}
}

// TestFloat16Holds: vectors of any length that are held moved by no more than the share that is stated.
func TestFloat16Holds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		scale := math.Exp(rapid.Float64Range(-30, 15).Draw(t, "scale"))
		vec := make([]float32, rapid.IntRange(1, 200).Draw(t, "dim"))
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		for i := range vec {
			vec[i] = float32(scale * rng.NormFloat64())
		}
		_, moved := rounded(vec)
		want := moved <= 0x1p-10
		if got := hnsw.Float16.Holds(vec); got != want && math.Abs(moved-0x1p-10) > 1e-9 {
			t.Fatalf("moved by %g of the norm, held %t", moved, got)
		}
	})
}

// TestFloat16Image pins the bytes of an image.
func TestFloat16Image(t *testing.T) {
	x := newIndex(t, hnsw.Options{Dim: 3, Metric: hnsw.L2, M: 4, MaxSlots: 8, Seed: 7, Precision: hnsw.Float16})
	for _, v := range [][]float32{{1, -2, 0.5}, {65504, 0, 0x1p-24}, {0.1, 3, -1}} {
		mustInsert(t, x, v)
	}
	mustDelete(t, x, 1)
	image := snapshotOf(t, x)
	const header = "5365677565414e4e" + "03000000" + "03000000" + "03000000" + "04000000" + "64000000" + "0700000000000000" +
		"03000000" + "02000000" + "02000000" + "00000000" + "0000000000000000" + "00000000" + "00000000" + "00000000" + "02000000"
	if got := hex.EncodeToString(image.Header); got[:len(got)-8] != header {
		t.Errorf("header %s", got)
	}
	const vectors = "003c00c00038" + "000000000000" + "662e004200bc"
	if got := hex.EncodeToString(image.Slabs["vectors"][0]); got != vectors {
		t.Errorf("vectors %s", got)
	}
	for what, change := range map[string]func(*encoded){
		"an infinity":      func(e *encoded) { e.Slabs["vectors"][0][1] = 0x7c },
		"a NaN":            func(e *encoded) { e.Slabs["vectors"][0][1] = 0x7e },
		"a precision of 3": func(e *encoded) { e.Header[72] = 3; e.Header = hnsw.SealHeader(e.Header) },
	} {
		e := snapshotOf(t, x)
		change(&e)
		var format *hnsw.FormatError
		r, err := hnsw.NewRestorer(e.Header, hnsw.RestoreOptions{MaxSlots: 8})
		if err == nil {
			err = r.PutSlab("vectors", 0, e.Slabs["vectors"][0])
			r.Close()
		}
		if !errors.As(err, &format) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestImageVersion2 is read as float32.
func TestImageVersion2(t *testing.T) {
	x := newIndex(t, hnsw.Options{Dim: 20, Metric: hnsw.Cosine, MaxSlots: 200})
	insertAll(t, x, gaussian(rand.New(rand.NewPCG(73, 73)), 200, 20, 1))
	image := snapshotOf(t, x)
	image.Header = hnsw.HeaderV2(image.Header)
	y := restore(t, image, 200)
	defer y.Close()
	if err := y.Check(); err != nil || y.Options().Precision != hnsw.Float32 {
		t.Fatalf("%v, %v", y.Options().Precision, err)
	}
	if diff := cmp.Diff(snapshotOf(t, x), snapshotOf(t, y)); diff != "" {
		t.Error(diff)
	}
}

// TestGateFloat16: what half precision loses of recall@10, against vectors as they came, is at most .002 at the same beam; and
// it computes about as many distances. Half of the bytes of a vector go.
func TestGateFloat16(t *testing.T) {
	if invariants.Race {
		t.Skip("too slow under the race detector, which has other tests")
	}
	const n, queries = 8000, 300
	split := func(all [][]float32) (base, asked [][]float32) { return all[queries:], all[:queries] }
	for _, tc := range []struct {
		name   string
		metric hnsw.Metric
		all    [][]float32
	}{
		{"tracks", hnsw.Cosine, readRows(t, demo.FS, "tracks.f16.npy.zst", n+queries)},
		{"clusters", hnsw.L2, slices.Collect(slices.Chunk(dataset.Embedded(7, n+queries, 128, 200, 12), 128))},
		{"products", hnsw.InnerProduct, gaussian(rand.New(rand.NewPCG(95, 95)), n+queries, 32, 1)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			base, asked := split(tc.all)
			dim := len(base[0])
			oracle := groundtruth.New(map[hnsw.Metric]groundtruth.Metric{
				hnsw.Cosine: groundtruth.Cosine, hnsw.InnerProduct: groundtruth.InnerProduct, hnsw.L2: groundtruth.L2,
			}[tc.metric], flat(base), dim)
			nearest, err := oracle.TopKAll(context.Background(), flat(asked), 10, 2)
			if err != nil {
				t.Fatal(err)
			}
			truths := oracle.Truths(flat(asked), nearest)
			var indexes [2]*hnsw.Index
			for i, p := range []hnsw.Precision{hnsw.Float32, hnsw.Float16} {
				indexes[i] = newIndex(t, hnsw.Options{Dim: dim, Metric: tc.metric, MaxSlots: len(base), Seed: 1, Precision: p})
				insertAll(t, indexes[i], base)
			}
			_, codes := hnsw.Codec(indexes[1])
			if codes != (tc.name != "tracks") {
				t.Errorf("walks read codes: %t", codes) // which tell clusters and products apart, and no tracks
			}
			full, half := indexes[0].Stats(), indexes[1].Stats()
			t.Logf("codes %t, %.0f and %.0f bytes a vector", codes, full.BytesPerVector, half.BytesPerVector)
			if saved := full.BytesPerVector - half.BytesPerVector; math.Abs(saved-float64(2*dim)) > 1 {
				t.Errorf("%g bytes saved of %d", saved, 4*dim)
			}
			for _, ef := range []int{16, 64} {
				want, wantDistances := measure(t, indexes[0], oracle, asked, truths, ef)
				got, distances := measure(t, indexes[1], oracle, asked, truths, ef)
				line := fmt.Sprintf("ef %d: recall@10 %.4f, float32 %.4f; %.0f distances, float32 %.0f", ef, got, want, distances, wantDistances)
				if t.Log(line); got < want-0.002 || distances > 1.03*wantDistances {
					t.Error(line)
				}
			}
		})
	}
}
