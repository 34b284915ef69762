package quantize

import (
	"fmt"
	"math"

	"github.com/segue-ann/segue/internal/distance"
)

// nibbleMiddle is what a nibble n stands for beside 8n: it takes the place of the codes 8n to 8n+7.
const nibbleMiddle = 4

// EncodeNibbles writes the upper four bits of the codes of vec, which has length Dim, to dst, which has length
// distance.PadU4(Dim), in the layout of distance.L2U4 with zeros as pad. It returns how many components were clipped, as
// Encode does.
func (c U7) EncodeNibbles(dst []uint8, vec []float32) (clipped int) {
	c.checkNibbles(len(dst), 2*len(dst), len(vec))
	lo, scale := c.Lo, 1/c.Step
	clear(dst)
	for len(vec) > 0 {
		low, high := vec[:min(64, len(vec))], vec[min(64, len(vec)):min(128, len(vec))]
		for i, x := range low {
			code, out := encodeU7(x, lo, scale)
			dst[i] = code >> 3
			clipped += out
		}
		for i, x := range high {
			code, out := encodeU7(x, lo, scale)
			dst[i] |= code >> 3 << 4
			clipped += out
		}
		vec, dst = vec[len(low)+len(high):], dst[64:]
	}
	return clipped
}

// BindL2Nibbles writes the codes of query (length Dim), less 4, and zeros to dst (length 2*distance.PadU4(Dim)), to be given
// to distance.L2U4.
func (c U7) BindL2Nibbles(dst []int8, query []float32) L2Query {
	c.checkNibbles(len(dst)/2, len(dst), len(query))
	lo, scale := c.Lo, 1/c.Step
	codes := dst[:len(query)]
	for i, x := range query {
		code, _ := encodeU7(x, lo, scale)
		codes[i] = int8(code) - nibbleMiddle
	}
	clear(dst[len(query):])
	return L2Query{Scale: c.Step * c.Step}
}

// BindDotNibbles is BindDot for distance.DotU4S8; dst has length 2*distance.PadU4(Dim).
func (c U7) BindDotNibbles(dst []int8, query []float32) DotQuery {
	c.checkNibbles(len(dst)/2, len(dst), len(query))
	q, signedSum := c.bindSigned(dst, query)
	q.Base += float32(float64(q.Scale) * nibbleMiddle * float64(signedSum))
	return q
}

// DecodeNibbles writes the values that the nibbles of codes stand for to dst, which has length Dim.
func (c U7) DecodeNibbles(dst []float32, codes []uint8) {
	c.checkNibbles(len(codes), 2*len(codes), len(dst))
	for i := range dst {
		n := codes[i/128*64+i%64] >> (i % 128 / 64 * 4) & 15
		dst[i] = float32(c.value(n*8 + nibbleMiddle))
	}
}

func (c U7) checkNibbles(row, query, vec int) {
	if vec != c.Dim || row != distance.PadU4(c.Dim) || query != 2*row {
		panic(fmt.Sprintf("quantize: %d bytes of nibbles and %d components for dimension %d", row, vec, c.Dim))
	}
}

// NibbleErrorBound returns the largest error of a component that was not clipped: four codes and a half, and what float32
// arithmetic adds.
func (c U7) NibbleErrorBound() float64 {
	lo, hi := c.Range()
	return float64(c.Step)*(4.5+0x1p-12) + max(math.Abs(lo), math.Abs(hi))*0x1p-22
}
