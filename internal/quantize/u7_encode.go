package quantize

import (
	"fmt"
	"math"

	"github.com/segue-ann/segue/internal/distance"
)

// roundMagic is 1.5*2^23: adding it to a float32 of magnitude below 2^22 rounds that to an integer, ties to even, and
// leaves the integer in the low bits of the sum.
const roundMagic = 0x1.8p23

// Encode writes the codes of vec, which has length Dim, to dst, and zeros to the rest of dst, which has length
// distance.PadU7(Dim). It returns how many components were outside the range of the codec and therefore clipped.
func (c U7) Encode(dst []uint8, vec []float32) (clipped int) {
	c.checkLengths(len(dst), len(vec))
	lo, scale := c.Lo, 1/c.Step
	codes := dst[:len(vec)]
	for i, x := range vec {
		code, out := encodeU7(x, lo, scale)
		codes[i] = code
		clipped += out
	}
	clear(dst[len(vec):])
	return clipped
}

// encodeU7 returns the code of one component and 1 if it was clipped, else 0. A component is clipped when it is further
// than half a step outside the range.
func encodeU7(x, lo, scale float32) (code uint8, clipped int) {
	// float32(...) keeps the product from being fused with an addition.
	v := float32((x - lo) * scale)
	if !(v >= 0) { // NaN too
		if !(v >= -0.5) {
			clipped = 1
		}
		v = 0
	} else if v > maxCode {
		if v > maxCode+0.5 {
			clipped = 1
		}
		v = maxCode
	}
	return uint8(math.Float32bits(v + roundMagic)), clipped
}

// Decode writes the values of the first Dim codes to dst, which has length Dim.
func (c U7) Decode(dst []float32, codes []uint8) {
	c.checkLengths(len(codes), len(dst))
	lo, step := c.Lo, c.Step
	codes = codes[:len(dst)]
	for i, code := range codes {
		dst[i] = lo + float32(float32(code)*step)
	}
}

func (c U7) checkLengths(codes, vec int) {
	if vec != c.Dim || codes != distance.PadU7(c.Dim) {
		panic(fmt.Sprintf("quantize: %d codes and %d components for dimension %d", codes, vec, c.Dim))
	}
}
