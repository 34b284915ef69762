package distance

// L2F32Quad sets out[j][i] to the squared Euclidean distance of queries[i] and row slots[j]. Each query is shaped as L2F32
// wants it and the results are the same to the bit; a row is read from memory once for the four.
func L2F32Quad(queries *[4][]float32, rows []float32, stride int, slots []uint32, out [][4]float32) {
	l2F32Quad(active, queries, rows, stride, slots, out)
}

// DotF32Quad sets out[j][i] to the dot product of queries[i] and row slots[j], as DotF32 has it.
func DotF32Quad(queries *[4][]float32, rows []float32, stride int, slots []uint32, out [][4]float32) {
	dotF32Quad(active, queries, rows, stride, slots, out)
}

// L2U7Quad sets out[j][i] to the squared Euclidean distance of the codes queries[i] and row slots[j], as L2U7 has it.
func L2U7Quad(queries *[4][]uint8, rows []uint8, stride int, slots []uint32, out [][4]uint32) {
	l2U7Quad(active, queries, rows, stride, slots, out)
}

// DotU7S8Quad sets out[j][i] to the dot product of the signed queries[i] and the codes of row slots[j], as DotU7S8 has it.
func DotU7S8Quad(queries *[4][]int8, rows []uint8, stride int, slots []uint32, out [][4]int32) {
	dotU7S8Quad(active, queries, rows, stride, slots, out)
}

func l2F32Quad(t tier, queries *[4][]float32, rows []float32, stride int, slots []uint32, out [][4]float32) {
	for _, q := range queries {
		checkShape(len(q), len(rows), stride, blockF32, len(slots), len(out))
	}
	ahead, limit := plan(4*stride, len(slots))
	for len(slots) > 0 {
		n := min(len(slots), limit)
		if done := kernelL2F32Quad(t, queries, rows, stride, slots[:n], out[:n], ahead); done != n {
			panicSlot(slots[done], len(rows)/stride)
		}
		slots, out = slots[n:], out[n:]
	}
}

func dotF32Quad(t tier, queries *[4][]float32, rows []float32, stride int, slots []uint32, out [][4]float32) {
	for _, q := range queries {
		checkShape(len(q), len(rows), stride, blockF32, len(slots), len(out))
	}
	ahead, limit := plan(4*stride, len(slots))
	for len(slots) > 0 {
		n := min(len(slots), limit)
		if done := kernelDotF32Quad(t, queries, rows, stride, slots[:n], out[:n], ahead); done != n {
			panicSlot(slots[done], len(rows)/stride)
		}
		slots, out = slots[n:], out[n:]
	}
}

func l2U7Quad(t tier, queries *[4][]uint8, rows []uint8, stride int, slots []uint32, out [][4]uint32) {
	for _, q := range queries {
		checkShapeU7(len(q), len(rows), stride, len(slots), len(out))
	}
	ahead, limit := plan(stride, len(slots))
	for len(slots) > 0 {
		n := min(len(slots), limit)
		if done := kernelL2U7Quad(t, queries, rows, stride, slots[:n], out[:n], ahead); done != n {
			panicSlot(slots[done], len(rows)/stride)
		}
		slots, out = slots[n:], out[n:]
	}
}

func dotU7S8Quad(t tier, queries *[4][]int8, rows []uint8, stride int, slots []uint32, out [][4]int32) {
	for _, q := range queries {
		checkShapeU7(len(q), len(rows), stride, len(slots), len(out))
	}
	ahead, limit := plan(stride, len(slots))
	for len(slots) > 0 {
		n := min(len(slots), limit)
		if done := kernelDotU7S8Quad(t, queries, rows, stride, slots[:n], out[:n], ahead); done != n {
			panicSlot(slots[done], len(rows)/stride)
		}
		slots, out = slots[n:], out[n:]
	}
}
