package quantize

import (
	"fmt"
	"math"

	"github.com/segue-ann/segue/internal/distance"
)

// The float32 bit patterns that part the cases of encodeF16.
const (
	bits32Inf       = 0x7f800000
	bits32OverF16   = 0x47800000 // 65536, the first power of two that half precision lacks
	bits32NormalF16 = 0x38800000 // 2^-14, the smallest normal number of half precision
)

// EncodeF16 writes vec in half precision (IEEE 754 binary16 bit patterns, rounded to nearest, ties to even) to dst, which
// has the same length. It returns how many finite components became infinite: those of magnitude 65520 and above.
func EncodeF16(dst []uint16, vec []float32) (overflows int) {
	if len(dst) != len(vec) {
		panic(fmt.Sprintf("quantize: %d half floats for %d components", len(dst), len(vec)))
	}
	for i, x := range vec {
		h := encodeF16(x)
		dst[i] = h
		if h&0x7fff == 0x7c00 && math.Float32bits(x)&^(1<<31) != bits32Inf {
			overflows++
		}
	}
	return overflows
}

// DecodeF16 writes the values of halves to dst, which has the same length. It is exact.
func DecodeF16(dst []float32, halves []uint16) {
	if len(dst) != len(halves) {
		panic(fmt.Sprintf("quantize: %d components for %d half floats", len(dst), len(halves)))
	}
	for i, h := range halves {
		dst[i] = distance.FloatOfF16(h)
	}
}

// encodeF16 rounds by arithmetic on the bit pattern (F. Giesen, "float->half variants", float_to_half_fast3_rtne).
func encodeF16(x float32) uint16 {
	bits := math.Float32bits(x)
	sign := uint16(bits >> 16 & 0x8000)
	bits &^= 1 << 31
	switch {
	case bits > bits32Inf:
		return sign | 0x7e00 // a quiet NaN; its payload is lost
	case bits >= bits32OverF16:
		return sign | 0x7c00
	case bits < bits32NormalF16:
		// Adding 1/2 moves the ten bits that stay to the low end of the sum, rounded by the addition itself.
		return sign | uint16(math.Float32bits(math.Float32frombits(bits)+0.5)-math.Float32bits(0.5))
	}
	// Rebase the exponent from 127 to 15 and round: half an ulp less one, and one more if the result would be odd.
	bits += 0xc8000fff + bits>>13&1
	return sign | uint16(bits>>13)
}
