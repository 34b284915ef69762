package distance

import "fmt"

// pairStack is the longest unpadded pair, in floats, that is padded on the stack.
const pairStack = 512

// slotZero is the list of slots of a pair: the second vector is an arena of one row. Nobody writes it.
var slotZero = [1]uint32{0}

// L2F32Pair returns the squared Euclidean distance of a and b, which have the same length (it panics otherwise). It is
// the same to the bit as L2F32 of the two padded vectors. A length that is not a multiple of 16 costs a copy of both.
func L2F32Pair(a, b []float32) float32 { return l2F32Pair(active, a, b) }

// DotF32Pair returns the dot product of a and b, under the rules of L2F32Pair.
func DotF32Pair(a, b []float32) float32 { return dotF32Pair(active, a, b) }

func l2F32Pair(t tier, a, b []float32) float32 {
	if len(a) != len(b) {
		panicPair(len(a), len(b))
	}
	if len(a) == 0 {
		return 0
	}
	var out [1]float32
	if len(a)&(blockF32-1) == 0 {
		kernelL2F32(t, a, b, len(a), slotZero[:], out[:], 0)
		return out[0]
	}
	if len(a) > pairStack {
		a, b = padded(a), padded(b)
		kernelL2F32(t, a, b, len(a), slotZero[:], out[:], 0)
		return out[0]
	}
	var pa, pb [pairStack]float32
	copy(pa[:], a)
	copy(pb[:], b)
	n := PadF32(len(a))
	kernelL2F32(t, pa[:n], pb[:n], n, slotZero[:], out[:], 0)
	return out[0]
}

func dotF32Pair(t tier, a, b []float32) float32 {
	if len(a) != len(b) {
		panicPair(len(a), len(b))
	}
	if len(a) == 0 {
		return 0
	}
	var out [1]float32
	if len(a)&(blockF32-1) == 0 {
		kernelDotF32(t, a, b, len(a), slotZero[:], out[:], 0)
		return out[0]
	}
	if len(a) > pairStack {
		a, b = padded(a), padded(b)
		kernelDotF32(t, a, b, len(a), slotZero[:], out[:], 0)
		return out[0]
	}
	var pa, pb [pairStack]float32
	copy(pa[:], a)
	copy(pb[:], b)
	n := PadF32(len(a))
	kernelDotF32(t, pa[:n], pb[:n], n, slotZero[:], out[:], 0)
	return out[0]
}

// padded returns a copy of v with zeros up to whole cache lines.
func padded(v []float32) []float32 {
	p := make([]float32, PadF32(len(v)))
	copy(p, v)
	return p
}

//go:noinline
func panicPair(a, b int) { panic(fmt.Sprintf("distance: pair of lengths %d and %d", a, b)) }
