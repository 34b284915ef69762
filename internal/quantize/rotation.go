package quantize

import (
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
)

// rotationRounds is the number of rounds. One makes a single component flat but leaves a pattern that a signed flat vector
// can match; two spread it over all others like noise, in every dimension (TestRotationSpreads).
const rotationRounds = 2

// Rotation is a random rotation of vectors of one dimension: distances and dot products stay, while a few large
// components become many like ones, which a global scale codes well.
//
// Each round flips signs at random and applies the Walsh-Hadamard transform, scaled to be orthogonal, to the first
// components, as many as the largest power of two that fits. Where that is not the whole vector, it flips again, does the
// same to as many of the last components, and turns each component of the first half against its like in the second by 45 degrees,
// because the two blocks may share as little as one component. No dimension is padded; the usual transform would double 513
// to 1024. The parts are those of the RaBitQ library (Gao and Long, arXiv 2405.12497, FhtKacRotator), which alternates the
// blocks from round to round: a component that the first block misses then stays whole for longer.
type Rotation struct {
	dim, block int
	norm       float32
	signs      [2 * rotationRounds][]float32 // +1 or -1 per component; two for each round
}

// NewRotation returns the rotation of vectors of dim > 0 components that seed determines, on every machine.
func NewRotation(dim int, seed uint64) *Rotation {
	if dim <= 0 {
		panic(fmt.Sprintf("quantize: rotation of dimension %d", dim))
	}
	block := 1 << (bits.Len(uint(dim)) - 1)
	r := &Rotation{dim: dim, block: block, norm: float32(1 / math.Sqrt(float64(block)))}
	random := rand.NewPCG(seed, uint64(dim))
	for s := range r.signs {
		r.signs[s] = make([]float32, dim)
		var word uint64
		for i := range dim {
			if i%64 == 0 {
				word = random.Uint64()
			}
			r.signs[s][i] = float32(1 - 2*int(word>>(i%64)&1))
		}
	}
	return r
}

// Dim returns the dimension of the vectors that r rotates.
func (r *Rotation) Dim() int { return r.dim }

// Apply writes the rotated src to dst. Both have length Dim and may be the same slice. Cost: O(Dim log Dim).
func (r *Rotation) Apply(dst, src []float32) {
	r.checkLengths(dst, src)
	copy(dst, src)
	for round := range rotationRounds {
		flip(dst, r.signs[2*round])
		r.transform(dst[:r.block])
		if r.block < r.dim {
			flip(dst, r.signs[2*round+1])
			r.transform(dst[r.dim-r.block:])
			turnHalves(dst)
		}
	}
}

// Invert writes the vector that Apply rotates to src, but for rounding, to dst. Both have length Dim and may be the same
// slice. Every part of a round is its own inverse.
func (r *Rotation) Invert(dst, src []float32) {
	r.checkLengths(dst, src)
	copy(dst, src)
	for round := rotationRounds - 1; round >= 0; round-- {
		if r.block < r.dim {
			turnHalves(dst)
			r.transform(dst[r.dim-r.block:])
			flip(dst, r.signs[2*round+1])
		}
		r.transform(dst[:r.block])
		flip(dst, r.signs[2*round])
	}
}

func (r *Rotation) checkLengths(dst, src []float32) {
	if len(dst) != r.dim || len(src) != r.dim {
		panic(fmt.Sprintf("quantize: rotation of dimension %d from length %d to %d", r.dim, len(src), len(dst)))
	}
}

// flip multiplies by signs.
func flip(vec, signs []float32) {
	for i, s := range signs[:len(vec)] {
		vec[i] *= s
	}
}

// transform applies the orthogonal Walsh-Hadamard transform to one block.
func (r *Rotation) transform(block []float32) {
	hadamard(block)
	for i := range block {
		block[i] *= r.norm
	}
}

// turnHalves rotates the halves of vec against each other; the component in the middle of an odd length stays.
func turnHalves(vec []float32) {
	lower, upper := vec[:len(vec)/2], vec[(len(vec)+1)/2:]
	for i, u := range lower {
		v := upper[i]
		lower[i], upper[i] = (u+v)*(math.Sqrt2/2), (u-v)*(math.Sqrt2/2)
	}
}

// hadamard replaces x, whose length is a power of two, by its Walsh-Hadamard transform, not scaled.
func hadamard(x []float32) {
	h := 1
	if len(x) >= 4 { // the first two steps in one pass
		for b := x; len(b) >= 4; b = b[4:] {
			s, d, t, e := b[0]+b[1], b[0]-b[1], b[2]+b[3], b[2]-b[3]
			b[0], b[1], b[2], b[3] = s+t, d+e, s-t, d-e
		}
		h = 4
	}
	for ; h < len(x); h *= 2 {
		for b := x; len(b) >= 2*h; b = b[2*h:] {
			lower, upper := b[:h], b[h:][:h]
			for j, u := range lower {
				v := upper[j]
				lower[j], upper[j] = u+v, u-v
			}
		}
	}
}
