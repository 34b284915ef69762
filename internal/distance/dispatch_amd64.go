//go:build amd64 && !race

package distance

import "golang.org/x/sys/cpu"

// machineTiers returns the tiers this machine can run, the best last. The flags of x/sys/cpu take in that the operating
// system saves the registers.
func machineTiers() []tier {
	tiers := []tier{tierGeneric}
	if cpu.X86.HasAVX2 && cpu.X86.HasFMA && cpu.X86.HasF16C {
		tiers = append(tiers, tierAVX2)
		if cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512VL && cpu.X86.HasAVX512VNNI {
			tiers = append(tiers, tierAVX512)
		}
	}
	return tiers
}

func kernelL2F32(t tier, query, rows []float32, stride int, slots []uint32, out []float32, ahead int) int {
	switch t {
	case tierAVX512:
		return l2F32AVX512(&query[0], &rows[0], 4*stride, 4*(len(rows)-stride), &slots[0], len(slots), &out[0], ahead)
	case tierAVX2:
		return l2F32AVX2(&query[0], &rows[0], 4*stride, 4*(len(rows)-stride), &slots[0], len(slots), &out[0], ahead)
	}
	return l2F32Generic(query, rows, stride, slots, out)
}

func kernelL2F32Quad(t tier, queries *[4][]float32, rows []float32, stride int, slots []uint32, out [][4]float32, ahead int) int {
	first := [4]*float32{&queries[0][0], &queries[1][0], &queries[2][0], &queries[3][0]}
	switch t {
	case tierAVX512:
		return l2F32QuadAVX512(&first, &rows[0], 4*stride, 4*(len(rows)-stride), &slots[0], len(slots), &out[0], ahead)
	case tierAVX2:
		return l2F32QuadAVX2(&first, &rows[0], 4*stride, 4*(len(rows)-stride), &slots[0], len(slots), &out[0], ahead)
	}
	return l2F32QuadGeneric(queries, rows, stride, slots, out)
}

func kernelDotF32(t tier, query, rows []float32, stride int, slots []uint32, out []float32, ahead int) int {
	switch t {
	case tierAVX512:
		return dotF32AVX512(&query[0], &rows[0], 4*stride, 4*(len(rows)-stride), &slots[0], len(slots), &out[0], ahead)
	case tierAVX2:
		return dotF32AVX2(&query[0], &rows[0], 4*stride, 4*(len(rows)-stride), &slots[0], len(slots), &out[0], ahead)
	}
	return dotF32Generic(query, rows, stride, slots, out)
}

func kernelDotF32Quad(t tier, queries *[4][]float32, rows []float32, stride int, slots []uint32, out [][4]float32, ahead int) int {
	first := [4]*float32{&queries[0][0], &queries[1][0], &queries[2][0], &queries[3][0]}
	switch t {
	case tierAVX512:
		return dotF32QuadAVX512(&first, &rows[0], 4*stride, 4*(len(rows)-stride), &slots[0], len(slots), &out[0], ahead)
	case tierAVX2:
		return dotF32QuadAVX2(&first, &rows[0], 4*stride, 4*(len(rows)-stride), &slots[0], len(slots), &out[0], ahead)
	}
	return dotF32QuadGeneric(queries, rows, stride, slots, out)
}

func kernelL2U7(t tier, query, rows []uint8, stride int, slots []uint32, out []uint32, ahead int) int {
	switch t {
	case tierAVX512:
		return l2U7AVX512(&query[0], &rows[0], stride, len(rows)-stride, &slots[0], len(slots), &out[0], ahead)
	case tierAVX2:
		return l2U7AVX2(&query[0], &rows[0], stride, len(rows)-stride, &slots[0], len(slots), &out[0], ahead)
	}
	return l2U7Generic(query, rows, stride, slots, out)
}

func kernelL2U7Quad(t tier, queries *[4][]uint8, rows []uint8, stride int, slots []uint32, out [][4]uint32, ahead int) int {
	first := [4]*uint8{&queries[0][0], &queries[1][0], &queries[2][0], &queries[3][0]}
	switch t {
	case tierAVX512:
		return l2U7QuadAVX512(&first, &rows[0], stride, len(rows)-stride, &slots[0], len(slots), &out[0], ahead)
	case tierAVX2:
		return l2U7QuadAVX2(&first, &rows[0], stride, len(rows)-stride, &slots[0], len(slots), &out[0], ahead)
	}
	return l2U7QuadGeneric(queries, rows, stride, slots, out)
}

func kernelDotU7S8(t tier, query []int8, rows []uint8, stride int, slots []uint32, out []int32, ahead int) int {
	switch t {
	case tierAVX512:
		return dotU7S8AVX512(&query[0], &rows[0], stride, len(rows)-stride, &slots[0], len(slots), &out[0], ahead)
	case tierAVX2:
		return dotU7S8AVX2(&query[0], &rows[0], stride, len(rows)-stride, &slots[0], len(slots), &out[0], ahead)
	}
	return dotU7S8Generic(query, rows, stride, slots, out)
}

func kernelDotU7S8Quad(t tier, queries *[4][]int8, rows []uint8, stride int, slots []uint32, out [][4]int32, ahead int) int {
	first := [4]*int8{&queries[0][0], &queries[1][0], &queries[2][0], &queries[3][0]}
	switch t {
	case tierAVX512:
		return dotU7S8QuadAVX512(&first, &rows[0], stride, len(rows)-stride, &slots[0], len(slots), &out[0], ahead)
	case tierAVX2:
		return dotU7S8QuadAVX2(&first, &rows[0], stride, len(rows)-stride, &slots[0], len(slots), &out[0], ahead)
	}
	return dotU7S8QuadGeneric(queries, rows, stride, slots, out)
}

func kernelL2U4(t tier, query []int8, rows []uint8, stride int, slots []uint32, out []uint32, ahead int) int {
	switch t {
	case tierAVX512:
		return l2U4AVX512(&query[0], &rows[0], stride, len(rows)-stride, &slots[0], len(slots), &out[0], ahead)
	case tierAVX2:
		return l2U4AVX2(&query[0], &rows[0], stride, len(rows)-stride, &slots[0], len(slots), &out[0], ahead)
	}
	return l2U4Generic(query, rows, stride, slots, out)
}

func kernelDotU4S8(t tier, query []int8, rows []uint8, stride int, slots []uint32, out []int32, ahead int) int {
	switch t {
	case tierAVX512:
		return dotU4S8AVX512(&query[0], &rows[0], stride, len(rows)-stride, &slots[0], len(slots), &out[0], ahead)
	case tierAVX2:
		return dotU4S8AVX2(&query[0], &rows[0], stride, len(rows)-stride, &slots[0], len(slots), &out[0], ahead)
	}
	return dotU4S8Generic(query, rows, stride, slots, out)
}

func kernelWidenF16(t tier, dst []float32, rows []uint16, stride int, slots []uint32, ahead int) int {
	switch t {
	case tierAVX512:
		return widenF16AVX512(&dst[0], &rows[0], 2*stride, 2*(len(rows)-stride), &slots[0], len(slots), ahead)
	case tierAVX2:
		return widenF16AVX2(&dst[0], &rows[0], 2*stride, 2*(len(rows)-stride), &slots[0], len(slots), ahead)
	}
	return widenF16Generic(dst, rows, stride, slots)
}

func kernelL2F16(t tier, query []float32, rows []uint16, stride int, slots []uint32, out []float32, ahead int) int {
	switch t {
	case tierAVX512:
		return l2F16AVX512(&query[0], &rows[0], 2*stride, 2*(len(rows)-stride), &slots[0], len(slots), &out[0], ahead)
	case tierAVX2:
		return l2F16AVX2(&query[0], &rows[0], 2*stride, 2*(len(rows)-stride), &slots[0], len(slots), &out[0], ahead)
	}
	return l2F16Generic(query, rows, stride, slots, out)
}

func kernelDotF16(t tier, query []float32, rows []uint16, stride int, slots []uint32, out []float32, ahead int) int {
	switch t {
	case tierAVX512:
		return dotF16AVX512(&query[0], &rows[0], 2*stride, 2*(len(rows)-stride), &slots[0], len(slots), &out[0], ahead)
	case tierAVX2:
		return dotF16AVX2(&query[0], &rows[0], 2*stride, 2*(len(rows)-stride), &slots[0], len(slots), &out[0], ahead)
	}
	return dotF16Generic(query, rows, stride, slots, out)
}

func kernelMerge(t tier, items []uint64, n int, fresh []uint64) (first int) {
	if t == tierAVX512 {
		return mergeAVX512(&items[0], n, &fresh[0], len(fresh))
	}
	return mergeGeneric(items, n, fresh)
}
