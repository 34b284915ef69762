package dataset

import (
	"math"
	"math/rand/v2"
)

// The generators below return rows x dim values, row after row, the same for the same arguments on every machine that
// rounds as IEEE 754 says (a compiler that fuses multiply and add may differ in the last bit). Rows are drawn one after
// the other from one distribution, so the first n rows do not depend on how many follow: queries are the rows after the
// base.

// Uniform draws every value evenly from [-1, 1): no structure at all, the hardest case for a graph at a given dimension.
func Uniform(seed uint64, rows, dim int) []float32 {
	r := newRand(seed)
	out := make([]float32, rows*dim)
	for i := range out {
		out[i] = 2*r.Float32() - 1
	}
	return out
}

// Clustered draws each row around one of clusters centres, chosen evenly. Centres are standard normal in every value; a
// row is normal around its centre with deviation spread in every value: at 0.1 clusters lie far apart, at 1 they touch.
func Clustered(seed uint64, rows, dim, clusters int, spread float64) []float32 {
	r := newRand(seed)
	centres := normal(r, clusters*dim)
	out := make([]float32, 0, rows*dim)
	for range rows {
		c := r.IntN(clusters) * dim
		for _, centre := range centres[c : c+dim] {
			out = append(out, float32(centre+spread*r.NormFloat64()))
		}
	}
	return out
}

// Embedded draws rows as learned embeddings lie: on clusters of unequal size, each a cloud that is thick in a few directions of
// its own. Centres are standard normal in every value; cluster c is chosen with a probability that falls as the square root of
// its number; a row is its centre, plus directions normal vectors of the cluster scaled by normal numbers whose deviation
// falls from 0.6 as the square root, plus noise of deviation 0.1 in every value. Clusters touch: the variance within is about that
// between.
func Embedded(seed uint64, rows, dim, clusters, directions int) []float32 {
	r := newRand(seed)
	centres := normal(r, clusters*dim)
	axes := normal(r, clusters*directions*dim)
	for i := range axes {
		axes[i] *= 0.6 / math.Sqrt(float64(1+i/dim%directions))
	}
	out := make([]float32, 0, rows*dim)
	row := make([]float64, dim)
	for range rows {
		u := r.Float64()
		c := int(u * u * float64(clusters))
		copy(row, centres[c*dim:])
		for a := range directions {
			axis, z := axes[(c*directions+a)*dim:][:dim], r.NormFloat64()
			for i, v := range axis {
				row[i] += float64(z * v)
			}
		}
		for _, v := range row {
			out = append(out, float32(v+0.1*r.NormFloat64()))
		}
	}
	return out
}

// Duplicates draws rows that are exact copies of distinct standard normal ones, the first of them by far the most often:
// the number of copies falls as the cube root, so of 1,000 distinct ones the first gets a tenth of all rows.
func Duplicates(seed uint64, rows, dim, distinct int) []float32 {
	r := newRand(seed)
	originals := normal(r, distinct*dim)
	out := make([]float32, 0, rows*dim)
	for range rows {
		u := r.Float64()
		c := int(u*u*u*float64(distinct)) * dim
		for _, v := range originals[c : c+dim] {
			out = append(out, float32(v))
		}
	}
	return out
}

// SkewedNorms draws rows as factor models of music leave them for inner product: directions scatter around genres
// genre directions, norms are log-normal with deviation sigma of the logarithm, independent of direction. Sigma 0 gives
// unit norms; at 0.8 the top percent is six times the median, and becomes hubs.
func SkewedNorms(seed uint64, rows, dim, genres int, sigma float64) []float32 {
	r := newRand(seed)
	centres := normal(r, genres*dim)
	out := make([]float32, 0, rows*dim)
	row := make([]float64, dim)
	for range rows {
		c := r.IntN(genres) * dim
		var sum float64
		for i, centre := range centres[c : c+dim] {
			row[i] = centre + r.NormFloat64()
			sum += row[i] * row[i]
		}
		scale := math.Exp(sigma*r.NormFloat64()) / math.Sqrt(sum)
		for _, v := range row {
			out = append(out, float32(v*scale))
		}
	}
	return out
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0x5e69e)) }

func normal(r *rand.Rand, n int) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = r.NormFloat64()
	}
	return out
}
