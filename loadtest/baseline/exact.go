package baseline

import (
	"cmp"
	"slices"
)

// candidate is a row and its distance from the query.
type candidate struct {
	row      uint32
	distance float32
}

// compare orders by distance, then row.
func compare(a, b candidate) int {
	if c := cmp.Compare(a.distance, b.distance); c != 0 {
		return c
	}
	return cmp.Compare(a.row, b.row)
}

// Exact looks at every row. It does not change after NewExact and is safe for concurrent use.
type Exact struct {
	distance Distance
	base     []float32
	dim      int
}

// NewExact returns the scan over base, rows of dim values one after the other, which it keeps.
func NewExact(distance Distance, base []float32, dim int) *Exact {
	return &Exact{distance: distance, base: base, dim: dim}
}

// Len returns the number of rows, which is also the number of distances of one search.
func (e *Exact) Len() int { return len(e.base) / e.dim }

// Search appends the k nearest rows to dst, all if there are fewer, nearest first, ties by row. The float32 distances
// decide, so rows that only rounding parts may come out in another order than in exact arithmetic.
func (e *Exact) Search(query []float32, k int, dst []uint32) []uint32 {
	best := make([]candidate, 0, min(k, e.Len())+1)
	row := uint32(0)
	for v := range slices.Chunk(e.base, e.dim) {
		c := candidate{row, e.distance(query, v)}
		row++
		if len(best) == k && (k == 0 || compare(c, best[k-1]) >= 0) {
			continue
		}
		i, _ := slices.BinarySearchFunc(best, c, compare)
		best = slices.Insert(best, i, c)
		best = best[:min(len(best), k)]
	}
	for _, c := range best {
		dst = append(dst, c.row)
	}
	return dst
}
