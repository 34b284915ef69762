package distance

import "math"

// Half floats are IEEE 754 binary16 bit patterns: half the bytes of float32 rows, where memory is what counts. Every result is
// that which the kernels of float32 have for the row made float32, to the bit, tier by tier; making it so is exact.

// blockF16 is the components in one line.
const blockF16 = lineBytes / 2

// PadF16 returns the stride, in half floats, of a row of dim: dim rounded up to whole cache lines. It is a stride of
// float32 rows as well.
func PadF16(dim int) int { return (dim + blockF16 - 1) &^ (blockF16 - 1) }

// L2F16 sets out[j] to the squared Euclidean distance of query and row slots[j], for each j.
//
// The stride is in half floats, positive and a multiple of 32; len(query) == stride and len(out) >= len(slots).
func L2F16(query []float32, rows []uint16, stride int, slots []uint32, out []float32) {
	l2F16(active, query, rows, stride, slots, out)
}

// DotF16 sets out[j] to the dot product of query and row slots[j], for each j. Shapes are those of L2F16.
func DotF16(query []float32, rows []uint16, stride int, slots []uint32, out []float32) {
	dotF16(active, query, rows, stride, slots, out)
}

// L2F16Quad sets out[j][i] to the squared Euclidean distance of queries[i] and row slots[j], as L2F16 has it.
func L2F16Quad(queries *[4][]float32, rows []uint16, stride int, slots []uint32, out [][4]float32) {
	var one [quadRows]float32
	for len(slots) > 0 {
		n := min(len(slots), quadRows)
		for i, q := range queries {
			L2F16(q, rows, stride, slots[:n], one[:n])
			for j, v := range one[:n] {
				out[j][i] = v
			}
		}
		slots, out = slots[n:], out[n:]
	}
}

// DotF16Quad sets out[j][i] to the dot product of queries[i] and row slots[j], as DotF16 has it.
func DotF16Quad(queries *[4][]float32, rows []uint16, stride int, slots []uint32, out [][4]float32) {
	var one [quadRows]float32
	for len(slots) > 0 {
		n := min(len(slots), quadRows)
		for i, q := range queries {
			DotF16(q, rows, stride, slots[:n], one[:n])
			for j, v := range one[:n] {
				out[j][i] = v
			}
		}
		slots, out = slots[n:], out[n:]
	}
}

// WidenF16 sets row j of dst, stride floats a row, to the values of row slots[j] of rows, for each j. It is exact, and the same
// in every tier but for the payload of a NaN.
//
// The stride is in half floats, positive and a multiple of 32; len(dst) >= stride*len(slots).
func WidenF16(dst []float32, rows []uint16, stride int, slots []uint32) {
	widenF16(active, dst, rows, stride, slots)
}

func l2F16(t tier, query []float32, rows []uint16, stride int, slots []uint32, out []float32) {
	checkShape(len(query), len(rows), stride, blockF16, len(slots), len(out))
	ahead, limit := plan(2*stride, len(slots))
	for len(slots) > 0 {
		n := min(len(slots), limit)
		if done := kernelL2F16(t, query, rows, stride, slots[:n], out[:n], ahead); done != n {
			panicSlot(slots[done], len(rows)/stride)
		}
		slots, out = slots[n:], out[n:]
	}
}

func dotF16(t tier, query []float32, rows []uint16, stride int, slots []uint32, out []float32) {
	checkShape(len(query), len(rows), stride, blockF16, len(slots), len(out))
	ahead, limit := plan(2*stride, len(slots))
	for len(slots) > 0 {
		n := min(len(slots), limit)
		if done := kernelDotF16(t, query, rows, stride, slots[:n], out[:n], ahead); done != n {
			panicSlot(slots[done], len(rows)/stride)
		}
		slots, out = slots[n:], out[n:]
	}
}

func widenF16(t tier, dst []float32, rows []uint16, stride int, slots []uint32) {
	checkShape(stride, len(rows), stride, blockF16, len(slots), len(dst)/max(stride, 1))
	ahead, limit := plan(2*stride, len(slots))
	for len(slots) > 0 {
		n := min(len(slots), limit)
		if done := kernelWidenF16(t, dst[:n*stride], rows, stride, slots[:n], ahead); done != n {
			panicSlot(slots[done], len(rows)/stride)
		}
		slots, dst = slots[n:], dst[n*stride:]
	}
}

func l2F16Generic(query []float32, rows []uint16, stride int, slots []uint32, out []float32) int {
	for j, s := range slots {
		at := int(s) * stride
		if at > len(rows)-stride {
			return j
		}
		out[j] = l2RowF16(query, rows[at:at+stride])
	}
	return len(slots)
}

func dotF16Generic(query []float32, rows []uint16, stride int, slots []uint32, out []float32) int {
	for j, s := range slots {
		at := int(s) * stride
		if at > len(rows)-stride {
			return j
		}
		out[j] = dotRowF16(query, rows[at:at+stride])
	}
	return len(slots)
}

func widenF16Generic(dst []float32, rows []uint16, stride int, slots []uint32) int {
	for j, s := range slots {
		at := int(s) * stride
		if at > len(rows)-stride {
			return j
		}
		to := dst[j*stride : (j+1)*stride]
		for i, h := range rows[at : at+stride] {
			to[i] = FloatOfF16(h)
		}
	}
	return len(slots)
}

// l2RowF16 is l2Row.
func l2RowF16(q []float32, r []uint16) float32 {
	var s [8]float32
	for i, h := range r {
		d := q[i] - FloatOfF16(h)
		s[i&7] += float32(d * d)
	}
	return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]))
}

// dotRowF16 is dotRow.
func dotRowF16(q []float32, r []uint16) float32 {
	var s [8]float32
	for i, h := range r {
		s[i&7] += float32(q[i] * FloatOfF16(h))
	}
	return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]))
}

// FloatOfF16 returns the value of a half float. It shifts the pattern in place and rebases the exponent by a multiplication,
// which also makes the subnormal numbers normal.
func FloatOfF16(h uint16) float32 {
	const inf = 0x7f800000
	sign, bits := uint32(h&0x8000)<<16, uint32(h&0x7fff)<<13
	if h&0x7c00 == 0x7c00 {
		return math.Float32frombits(sign | inf | bits)
	}
	return math.Float32frombits(sign | math.Float32bits(math.Float32frombits(bits)*0x1p112))
}
