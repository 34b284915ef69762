package distance

// Nibbles are 4-bit codes, two to a byte: half the bytes of 7-bit codes where memory is what a walk waits for. A nibble n
// stands for the 7-bit code 8n+4, the middle of the eight codes it takes the place of.
//
// Block b of a row is 64 bytes and holds components 128b to 128b+127: byte i has component 128b+i in its low half and
// 128b+64+i in its high half. Queries are in plain order and twice as long as a row. A zero byte of the query adds nothing
// for a zero nibble, so pads are zero on both sides, as everywhere.

// blockU4 is the components in one line.
const blockU4 = 2 * lineBytes

// PadU4 returns the stride, in bytes, of a row of dim nibbles: whole cache lines of 128 each.
func PadU4(dim int) int { return (dim + blockU4 - 1) / blockU4 * lineBytes }

// L2U4 sets out[j] to the sum over components of (q+4 - (8n+4))^2, that is (q-8n)^2, for query q and nibbles n of row
// slots[j], for each j. A query component is its 7-bit code less 4, at least -4; so out[j] is in the units of L2U7.
//
// The stride is in bytes, a multiple of 64, positive and at most 1<<16; len(query) == 2*stride and len(out) >= len(slots).
func L2U4(query []int8, rows []uint8, stride int, slots []uint32, out []uint32) {
	l2U4(active, query, rows, stride, slots, out)
}

// DotU4S8 sets out[j] to the sum of q*8n over components, for the signed query q and nibbles n of row slots[j], for each j:
// what DotU7S8 has for codes 8n+4, less four times the sum of q. Shapes are those of L2U4; the query may hold any int8.
func DotU4S8(query []int8, rows []uint8, stride int, slots []uint32, out []int32) {
	dotU4S8(active, query, rows, stride, slots, out)
}

func l2U4(t tier, query []int8, rows []uint8, stride int, slots []uint32, out []uint32) {
	checkShapeU4(len(query), len(rows), stride, len(slots), len(out))
	ahead, limit := plan(stride, len(slots))
	for len(slots) > 0 {
		n := min(len(slots), limit)
		if done := kernelL2U4(t, query, rows, stride, slots[:n], out[:n], ahead); done != n {
			panicSlot(slots[done], len(rows)/stride)
		}
		slots, out = slots[n:], out[n:]
	}
}

func dotU4S8(t tier, query []int8, rows []uint8, stride int, slots []uint32, out []int32) {
	checkShapeU4(len(query), len(rows), stride, len(slots), len(out))
	ahead, limit := plan(stride, len(slots))
	for len(slots) > 0 {
		n := min(len(slots), limit)
		if done := kernelDotU4S8(t, query, rows, stride, slots[:n], out[:n], ahead); done != n {
			panicSlot(slots[done], len(rows)/stride)
		}
		slots, out = slots[n:], out[n:]
	}
}

func checkShapeU4(query, rows, stride, n, out int) {
	if stride > maxStrideU7/2 || query != 2*stride {
		panicShape(query, rows, stride, lineBytes, n, out)
	}
	checkShape(stride, rows, stride, lineBytes, n, out)
}

func l2U4Generic(query []int8, rows []uint8, stride int, slots []uint32, out []uint32) int {
	for j, s := range slots {
		at := int(s) * stride
		if at > len(rows)-stride {
			return j
		}
		sum := uint32(0)
		for b, row := 0, rows[at:at+stride]; b < len(row); b += lineBytes {
			q := query[2*b : 2*b+blockU4]
			for i, both := range row[b : b+lineBytes] {
				low, high := int32(q[i])-int32(both&15)*8, int32(q[i+lineBytes])-int32(both>>4)*8
				sum += uint32(low*low) + uint32(high*high)
			}
		}
		out[j] = sum
	}
	return len(slots)
}

func dotU4S8Generic(query []int8, rows []uint8, stride int, slots []uint32, out []int32) int {
	for j, s := range slots {
		at := int(s) * stride
		if at > len(rows)-stride {
			return j
		}
		sum := int32(0)
		for b, row := 0, rows[at:at+stride]; b < len(row); b += lineBytes {
			q := query[2*b : 2*b+blockU4]
			for i, both := range row[b : b+lineBytes] {
				sum += int32(q[i])*int32(both&15)*8 + int32(q[i+lineBytes])*int32(both>>4)*8
			}
		}
		out[j] = sum
	}
	return len(slots)
}

// quadRows is how many rows the quad forms score at a time: what four queries read of them stays in the first-level cache.
const quadRows = 16

// L2U4Quad sets out[j][i] to the squared Euclidean distance of queries[i] and row slots[j], as L2U4 has it.
func L2U4Quad(queries *[4][]int8, rows []uint8, stride int, slots []uint32, out [][4]uint32) {
	var one [quadRows]uint32
	for len(slots) > 0 {
		n := min(len(slots), quadRows)
		for i, q := range queries {
			L2U4(q, rows, stride, slots[:n], one[:n])
			for j, v := range one[:n] {
				out[j][i] = v
			}
		}
		slots, out = slots[n:], out[n:]
	}
}

// DotU4S8Quad sets out[j][i] to the dot product of queries[i] and row slots[j], as DotU4S8 has it.
func DotU4S8Quad(queries *[4][]int8, rows []uint8, stride int, slots []uint32, out [][4]int32) {
	var one [quadRows]int32
	for len(slots) > 0 {
		n := min(len(slots), quadRows)
		for i, q := range queries {
			DotU4S8(q, rows, stride, slots[:n], one[:n])
			for j, v := range one[:n] {
				out[j][i] = v
			}
		}
		slots, out = slots[n:], out[n:]
	}
}
