//go:build arm64 && !race

package distance

import "golang.org/x/sys/cpu"

// machineTiers returns the tiers this machine can run, the best last.
func machineTiers() []tier {
	tiers := []tier{tierGeneric, tierNEON}
	if cpu.ARM64.HasASIMDDP {
		tiers = append(tiers, tierNEONDot)
	}
	return tiers
}

func kernelL2F32(t tier, query, rows []float32, stride int, slots []uint32, out []float32, ahead int) int {
	if t == tierGeneric {
		return l2F32Generic(query, rows, stride, slots, out)
	}
	return l2F32NEON(&query[0], &rows[0], 4*stride, 4*(len(rows)-stride), &slots[0], len(slots), &out[0], ahead)
}

func kernelL2F32Quad(t tier, queries *[4][]float32, rows []float32, stride int, slots []uint32, out [][4]float32, ahead int) int {
	first := [4]*float32{&queries[0][0], &queries[1][0], &queries[2][0], &queries[3][0]}
	if t == tierGeneric {
		return l2F32QuadGeneric(queries, rows, stride, slots, out)
	}
	return l2F32QuadNEON(&first, &rows[0], 4*stride, 4*(len(rows)-stride), &slots[0], len(slots), &out[0], ahead)
}

func kernelDotF32(t tier, query, rows []float32, stride int, slots []uint32, out []float32, ahead int) int {
	if t == tierGeneric {
		return dotF32Generic(query, rows, stride, slots, out)
	}
	return dotF32NEON(&query[0], &rows[0], 4*stride, 4*(len(rows)-stride), &slots[0], len(slots), &out[0], ahead)
}

func kernelDotF32Quad(t tier, queries *[4][]float32, rows []float32, stride int, slots []uint32, out [][4]float32, ahead int) int {
	first := [4]*float32{&queries[0][0], &queries[1][0], &queries[2][0], &queries[3][0]}
	if t == tierGeneric {
		return dotF32QuadGeneric(queries, rows, stride, slots, out)
	}
	return dotF32QuadNEON(&first, &rows[0], 4*stride, 4*(len(rows)-stride), &slots[0], len(slots), &out[0], ahead)
}

func kernelL2U7(t tier, query, rows []uint8, stride int, slots []uint32, out []uint32, ahead int) int {
	switch t {
	case tierNEONDot:
		return l2U7NEONDot(&query[0], &rows[0], stride, len(rows)-stride, &slots[0], len(slots), &out[0], ahead)
	case tierNEON:
		return l2U7NEON(&query[0], &rows[0], stride, len(rows)-stride, &slots[0], len(slots), &out[0], ahead)
	}
	return l2U7Generic(query, rows, stride, slots, out)
}

func kernelL2U7Quad(t tier, queries *[4][]uint8, rows []uint8, stride int, slots []uint32, out [][4]uint32, ahead int) int {
	first := [4]*uint8{&queries[0][0], &queries[1][0], &queries[2][0], &queries[3][0]}
	switch t {
	case tierNEONDot:
		return l2U7QuadNEONDot(&first, &rows[0], stride, len(rows)-stride, &slots[0], len(slots), &out[0], ahead)
	case tierNEON:
		return l2U7QuadNEON(&first, &rows[0], stride, len(rows)-stride, &slots[0], len(slots), &out[0], ahead)
	}
	return l2U7QuadGeneric(queries, rows, stride, slots, out)
}

func kernelDotU7S8(t tier, query []int8, rows []uint8, stride int, slots []uint32, out []int32, ahead int) int {
	switch t {
	case tierNEONDot:
		return dotU7S8NEONDot(&query[0], &rows[0], stride, len(rows)-stride, &slots[0], len(slots), &out[0], ahead)
	case tierNEON:
		return dotU7S8NEON(&query[0], &rows[0], stride, len(rows)-stride, &slots[0], len(slots), &out[0], ahead)
	}
	return dotU7S8Generic(query, rows, stride, slots, out)
}

func kernelDotU7S8Quad(t tier, queries *[4][]int8, rows []uint8, stride int, slots []uint32, out [][4]int32, ahead int) int {
	first := [4]*int8{&queries[0][0], &queries[1][0], &queries[2][0], &queries[3][0]}
	switch t {
	case tierNEONDot:
		return dotU7S8QuadNEONDot(&first, &rows[0], stride, len(rows)-stride, &slots[0], len(slots), &out[0], ahead)
	case tierNEON:
		return dotU7S8QuadNEON(&first, &rows[0], stride, len(rows)-stride, &slots[0], len(slots), &out[0], ahead)
	}
	return dotU7S8QuadGeneric(queries, rows, stride, slots, out)
}

func kernelL2U4(t tier, query []int8, rows []uint8, stride int, slots []uint32, out []uint32, ahead int) int {
	switch t {
	case tierNEONDot:
		return l2U4NEONDot(&query[0], &rows[0], stride, len(rows)-stride, &slots[0], len(slots), &out[0], ahead)
	case tierNEON:
		return l2U4NEON(&query[0], &rows[0], stride, len(rows)-stride, &slots[0], len(slots), &out[0], ahead)
	}
	return l2U4Generic(query, rows, stride, slots, out)
}

func kernelDotU4S8(t tier, query []int8, rows []uint8, stride int, slots []uint32, out []int32, ahead int) int {
	switch t {
	case tierNEONDot:
		return dotU4S8NEONDot(&query[0], &rows[0], stride, len(rows)-stride, &slots[0], len(slots), &out[0], ahead)
	case tierNEON:
		return dotU4S8NEON(&query[0], &rows[0], stride, len(rows)-stride, &slots[0], len(slots), &out[0], ahead)
	}
	return dotU4S8Generic(query, rows, stride, slots, out)
}

func kernelWidenF16(t tier, dst []float32, rows []uint16, stride int, slots []uint32, ahead int) int {
	if t == tierGeneric {
		return widenF16Generic(dst, rows, stride, slots)
	}
	return widenF16NEON(&dst[0], &rows[0], 2*stride, 2*(len(rows)-stride), &slots[0], len(slots), ahead)
}

func kernelL2F16(t tier, query []float32, rows []uint16, stride int, slots []uint32, out []float32, ahead int) int {
	if t == tierGeneric {
		return l2F16Generic(query, rows, stride, slots, out)
	}
	return l2F16NEON(&query[0], &rows[0], 2*stride, 2*(len(rows)-stride), &slots[0], len(slots), &out[0], ahead)
}

func kernelDotF16(t tier, query []float32, rows []uint16, stride int, slots []uint32, out []float32, ahead int) int {
	if t == tierGeneric {
		return dotF16Generic(query, rows, stride, slots, out)
	}
	return dotF16NEON(&query[0], &rows[0], 2*stride, 2*(len(rows)-stride), &slots[0], len(slots), &out[0], ahead)
}

func kernelMerge(_ tier, items []uint64, n int, fresh []uint64) (first int) {
	return mergeGeneric(items, n, fresh)
}
