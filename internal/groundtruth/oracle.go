package groundtruth

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
)

// Metric says how far apart two vectors are.
type Metric uint8

// The metrics; see the package comment.
const (
	Cosine Metric = iota + 1
	InnerProduct
	L2
)

// String returns the name the command line uses.
func (m Metric) String() string {
	switch m {
	case Cosine:
		return "cosine"
	case InnerProduct:
		return "ip"
	case L2:
		return "l2"
	}
	return fmt.Sprintf("Metric(%d)", uint8(m))
}

// ParseMetric is the inverse of [Metric.String].
func ParseMetric(name string) (Metric, error) {
	for _, m := range [...]Metric{Cosine, InnerProduct, L2} {
		if name == m.String() {
			return m, nil
		}
	}
	return 0, fmt.Errorf("metric %q is none of l2, ip, cosine", name)
}

// Neighbor is a row and its exact distance from the query.
type Neighbor struct {
	Row      uint32
	Distance float64
}

// compare orders by distance, then row.
func compare(a, b Neighbor) int {
	if c := cmp.Compare(a.Distance, b.Distance); c != 0 {
		return c
	}
	return cmp.Compare(a.Row, b.Row)
}

// Oracle answers exactly for one base.
type Oracle struct {
	metric Metric
	base   []float32 // row after row; not copied
	dim    int
	norms  []float64 // of every row; nil for L2, which needs none
}

// New returns the oracle of base, which holds dim values per row, row after row, and must not change afterwards. NaN in
// the base or a query gives results without meaning.
func New(m Metric, base []float32, dim int) *Oracle {
	if dim < 1 || len(base)%dim != 0 || len(base)/dim > math.MaxUint32 {
		panic(fmt.Sprintf("groundtruth: %d values are no rows of %d", len(base), dim))
	}
	o := &Oracle{metric: m, base: base, dim: dim}
	if m != L2 {
		o.norms = make([]float64, o.Len())
		for i := range o.norms {
			row := o.row(uint32(i))
			o.norms[i] = math.Sqrt(dot(row, row))
		}
	}
	return o
}

// Len returns the number of rows.
func (o *Oracle) Len() int { return len(o.base) / o.dim }

// Metric returns the metric.
func (o *Oracle) Metric() Metric { return o.metric }

func (o *Oracle) row(i uint32) []float32 {
	return o.base[int(i)*o.dim : (int(i)+1)*o.dim]
}

// Distance returns the exact distance of one row. The cosine distance to or from a zero vector is 1.
func (o *Oracle) Distance(query []float32, row uint32) float64 {
	o.check(query)
	if o.metric == L2 {
		var sum float64
		for i, v := range o.row(row) {
			d := float64(query[i]) - float64(v)
			sum += float64(d * d)
		}
		return sum
	}
	d := dot(query, o.row(row))
	if o.metric == InnerProduct {
		return -d
	}
	return cosine(d, math.Sqrt(dot(query, query)), o.norms[row])
}

// dot sums from first to last, as dot4 does: a row's distance is the same bits however it was reached. The conversions
// around products keep compilers from fusing them into the sum on some machines and not on others.
func dot(a, b []float32) float64 {
	var sum float64
	for i, v := range a {
		sum += float64(float64(v) * float64(b[i]))
	}
	return sum
}

func cosine(dot, queryNorm, rowNorm float64) float64 {
	if queryNorm == 0 || rowNorm == 0 {
		return 1
	}
	return 1 - dot/(queryNorm*rowNorm)
}

func (o *Oracle) check(query []float32) {
	if len(query)%o.dim != 0 {
		panic(fmt.Sprintf("groundtruth: query of %d values for dimension %d", len(query), o.dim))
	}
}

// TopK returns the k nearest rows, all if there are fewer, ascending by distance, then row.
// Cost: Len distances.
func (o *Oracle) TopK(query []float32, k int) []Neighbor {
	out, _ := o.TopKAll(context.Background(), query, k, 1) // fails only by its context
	return out[0]
}

// queriesPerTask and rowsPerBlock keep one task's queries and one block of rows, as float64, within a second-level cache
// at several hundred dimensions, so that each row is fetched from memory once per task.
const (
	queriesPerTask = 32
	rowsPerBlock   = 32
)

// TopKAll is [Oracle.TopK] for every query in queries (row after row) on threads goroutines. Its error is the context's.
func (o *Oracle) TopKAll(ctx context.Context, queries []float32, k, threads int) ([][]Neighbor, error) {
	o.check(queries)
	n := len(queries) / o.dim
	out := make([][]Neighbor, n)
	var next atomic.Int64 // first query of the next task
	var workers sync.WaitGroup
	for range max(1, threads) {
		workers.Go(func() {
			for ctx.Err() == nil {
				from := int(next.Add(queriesPerTask)) - queriesPerTask
				if from >= n {
					return
				}
				to := min(from+queriesPerTask, n)
				o.scan(ctx, queries[from*o.dim:to*o.dim], k, out[from:to])
			}
		})
	}
	workers.Wait()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return out, nil
}

// scan fills out[i] for query i, going over the base once; it stops early when ctx ends.
func (o *Oracle) scan(ctx context.Context, queries []float32, k int, out [][]Neighbor) {
	dim := o.dim
	k = min(k, o.Len())
	wide := widen(nil, queries)
	queryNorms := make([]float64, len(out))
	for i := range out {
		out[i] = make([]Neighbor, 0, k+1)
		q := queries[i*dim : (i+1)*dim]
		queryNorms[i] = math.Sqrt(dot(q, q))
	}
	var block []float64
	for from := 0; from < o.Len() && k > 0 && ctx.Err() == nil; from += rowsPerBlock {
		to := min(from+rowsPerBlock, o.Len())
		block = widen(block[:0], o.base[from*dim:to*dim])
		for (len(block)/dim)%4 != 0 { // zero rows fill the last four up
			block = append(block, make([]float64, dim)...)
		}
		for i := range out {
			q := wide[i*dim : (i+1)*dim]
			for j := from; j < to; j += 4 {
				var d [4]float64
				rows := block[(j-from)*dim : (j-from+4)*dim]
				if o.metric == L2 {
					d = l2x4(q, rows)
				} else {
					d = dot4(q, rows)
				}
				for l := range min(4, to-j) {
					row := j + l
					switch o.metric {
					case InnerProduct:
						d[l] = -d[l]
					case Cosine:
						d[l] = cosine(d[l], queryNorms[i], o.norms[row])
					}
					out[i] = offer(out[i], k, Neighbor{Row: uint32(row), Distance: d[l]})
				}
			}
		}
	}
}

// offer inserts n into best, which ascends and keeps at most k.
func offer(best []Neighbor, k int, n Neighbor) []Neighbor {
	if len(best) == k && compare(n, best[k-1]) >= 0 {
		return best
	}
	i, _ := slices.BinarySearchFunc(best, n, compare)
	best = slices.Insert(best, i, n)
	return best[:min(len(best), k)]
}

func widen(dst []float64, src []float32) []float64 {
	for _, v := range src {
		dst = append(dst, float64(v))
	}
	return dst
}

// l2x4 returns the squared distances from q to four rows. Four independent sums hide the latency of the additions; each
// runs from first to last value.
func l2x4(q, rows []float64) (s [4]float64) {
	dim := len(q)
	r0, r1, r2, r3 := rows[:dim], rows[dim:2*dim], rows[2*dim:3*dim], rows[3*dim:4*dim]
	var s0, s1, s2, s3 float64
	for i, v := range q {
		d0, d1, d2, d3 := v-r0[i], v-r1[i], v-r2[i], v-r3[i]
		s0 += float64(d0 * d0)
		s1 += float64(d1 * d1)
		s2 += float64(d2 * d2)
		s3 += float64(d3 * d3)
	}
	return [4]float64{s0, s1, s2, s3}
}

// dot4 returns the inner products of q with four rows, as l2x4.
func dot4(q, rows []float64) (s [4]float64) {
	dim := len(q)
	r0, r1, r2, r3 := rows[:dim], rows[dim:2*dim], rows[2*dim:3*dim], rows[3*dim:4*dim]
	var s0, s1, s2, s3 float64
	for i, v := range q {
		s0 += float64(v * r0[i])
		s1 += float64(v * r1[i])
		s2 += float64(v * r2[i])
		s3 += float64(v * r3[i])
	}
	return [4]float64{s0, s1, s2, s3}
}
