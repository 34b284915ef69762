package groundtruth

import (
	"context"
	"errors"
	"math"
	"math/big"
	"slices"
	"sort"
	"testing"

	"github.com/segue-ann/segue/internal/dataset"
	"pgregory.net/rapid"
)

var metrics = []Metric{Cosine, InnerProduct, L2}

// exactly computes a distance in 200-bit arithmetic.
func exactly(m Metric, a, b []float32) float64 {
	num := func(v float64) *big.Float { return new(big.Float).SetPrec(200).SetFloat64(v) }
	dot := func(a, b []float32) *big.Float {
		sum := num(0)
		for i := range a {
			sum.Add(sum, new(big.Float).SetPrec(200).Mul(num(float64(a[i])), num(float64(b[i]))))
		}
		return sum
	}
	d := num(0)
	switch m {
	case InnerProduct:
		d.Neg(dot(a, b))
	case L2:
		for i := range a {
			diff := new(big.Float).SetPrec(200).Sub(num(float64(a[i])), num(float64(b[i])))
			d.Add(d, diff.Mul(diff, diff))
		}
	case Cosine:
		norm := new(big.Float).SetPrec(200).Mul(dot(a, a), dot(b, b))
		if norm.Sign() == 0 {
			return 1
		}
		d.Sub(num(1), new(big.Float).SetPrec(200).Quo(dot(a, b), norm.Sqrt(norm)))
	}
	f, _ := d.Float64()
	return f
}

func TestDistanceAgainstBigFloats(t *testing.T) {
	value := rapid.Float32Range(-1000, 1000)
	rapid.Check(t, func(t *rapid.T) {
		dim := rapid.IntRange(1, 40).Draw(t, "dim")
		m := rapid.SampledFrom(metrics).Draw(t, "metric")
		a := rapid.SliceOfN(value, dim, dim).Draw(t, "a")
		b := rapid.SliceOfN(value, dim, dim).Draw(t, "b")
		got, want := New(m, b, dim).Distance(a, 0), exactly(m, a, b)
		scale := 1.0
		switch m {
		case InnerProduct:
			scale = 1e6 * float64(dim)
		case L2:
			scale = want
		}
		if math.Abs(got-want) > 1e-13*scale {
			t.Fatalf("%v of %v and %v: got %v, want %v", m, a, b, got, want)
		}
	})
}

// TestTopKIsTheSortedScan holds the blocked, parallel scan to sorting all distances, bit for bit, at sizes around the
// block and task borders.
func TestTopKIsTheSortedScan(t *testing.T) {
	for _, m := range metrics {
		for _, rows := range []int{0, 1, 3, 4, 5, rowsPerBlock - 1, rowsPerBlock, rowsPerBlock + 1, 333} {
			for _, dim := range []int{1, 2, 7, 16} {
				// Duplicates make ties, which must come in the order of rows.
				base := append(dataset.Duplicates(1, rows/2, dim, 10), dataset.Uniform(2, rows-rows/2, dim)...)
				queries := append(dataset.Uniform(3, queriesPerTask+5, dim), base[:min(len(base), dim)]...)
				o := New(m, base, dim)
				for _, k := range []int{0, 1, 10, rows, rows + 1} {
					got, err := o.TopKAll(context.Background(), queries, k, 2)
					if err != nil {
						t.Fatal(err)
					}
					for i := range got {
						q := queries[i*dim : (i+1)*dim]
						want := make([]Neighbor, rows)
						for j := range want {
							want[j] = Neighbor{uint32(j), o.Distance(q, uint32(j))}
						}
						sort.SliceStable(want, func(a, b int) bool { return want[a].Distance < want[b].Distance })
						if want = want[:min(k, rows)]; !slices.Equal(got[i], want) {
							t.Fatalf("%v, %d x %d, k %d, query %d: got %v, want %v", m, rows, dim, k, i, got[i], want)
						}
						if i == 0 && !slices.Equal(o.TopK(q, k), want) {
							t.Fatalf("%v, %d x %d, k %d: TopK differs from TopKAll", m, rows, dim, k)
						}
					}
				}
			}
		}
	}
}

// TestMetricsAgree: what is known of the metrics' relation. Scaling vectors by powers of two, which rounds nothing, leaves
// cosine order as it is; on unit vectors all three metrics have one order, up to rounding.
func TestMetricsAgree(t *testing.T) {
	const rows, dim, k = 400, 12, 20
	base, query := dataset.Uniform(1, rows, dim), dataset.Uniform(2, 1, dim)
	scaled := slices.Clone(base)
	for i := range scaled {
		scaled[i] *= float32(math.Ldexp(1, i/dim%9-4))
	}
	nearest := New(Cosine, base, dim).TopK(query, k)
	if got := New(Cosine, scaled, dim).TopK(query, k); !slices.Equal(got, nearest) {
		t.Errorf("scaled: %v, want %v", got, nearest)
	}
	unit := slices.Clone(base)
	for row := range slices.Chunk(unit, dim) {
		norm := math.Sqrt(dot(row, row))
		for i := range row {
			row[i] = float32(float64(row[i]) / norm)
		}
	}
	for _, m := range []Metric{InnerProduct, L2} {
		o := New(m, unit, dim)
		truth := o.Truth(query, o.TopK(query, k))
		var rows []uint32
		for _, n := range nearest {
			rows = append(rows, n.Row)
		}
		if hits := o.Hits(query, truth, rows); hits != k {
			t.Errorf("%v finds %d of the %d nearest by cosine", m, hits, k)
		}
	}
}

func TestZeroVectors(t *testing.T) {
	o := New(Cosine, []float32{0, 0, 3, 4}, 2)
	if d := o.Distance([]float32{1, 0}, 0); d != 1 {
		t.Errorf("to a zero row: %v", d)
	}
	if d := o.Distance([]float32{0, 0}, 1); d != 1 {
		t.Errorf("from a zero query: %v", d)
	}
	if got := o.TopK([]float32{3, 4}, 2); got[0].Row != 1 || got[1] != (Neighbor{0, 1}) {
		t.Errorf("got %v", got)
	}
}

func TestTopKAllStops(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	o := New(L2, dataset.Uniform(1, 100, 4), 4)
	if _, err := o.TopKAll(ctx, dataset.Uniform(2, 100, 4), 10, 2); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

func TestMetricNames(t *testing.T) {
	for _, m := range metrics {
		if got, err := ParseMetric(m.String()); err != nil || got != m {
			t.Errorf("%v: %v, %v", m, got, err)
		}
	}
	for _, name := range []string{"", "L2", "euclidean", "Metric(0)"} {
		if m, err := ParseMetric(name); err == nil {
			t.Errorf("%q taken for %v", name, m)
		}
	}
}

func TestMisuse(t *testing.T) {
	o := New(L2, make([]float32, 6), 3)
	for name, f := range map[string]func(){
		"ragged base":  func() { New(L2, make([]float32, 7), 3) },
		"no dimension": func() { New(L2, nil, 0) },
		"query":        func() { o.TopK(make([]float32, 2), 1) },
		"row":          func() { o.Hits(make([]float32, 3), Truth{K: 1}, []uint32{2}) },
		"results":      func() { o.Recall(make([]float32, 3), make([]Truth, 1), nil) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f()
		}()
	}
}

func BenchmarkTopKAll(b *testing.B) {
	const rows, queries, dim = 10_000, 64, 784
	o := New(L2, dataset.Uniform(1, rows, dim), dim)
	q := dataset.Uniform(2, queries, dim)
	for b.Loop() {
		if _, err := o.TopKAll(context.Background(), q, 10, 1); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(rows*queries), "ns/distance")
}
