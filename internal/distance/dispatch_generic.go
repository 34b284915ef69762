//go:build (!amd64 && !arm64) || race

package distance

// machineTiers returns the tiers this machine can run, the best last.
func machineTiers() []tier { return []tier{tierGeneric} }

func kernelL2F32(_ tier, query, rows []float32, stride int, slots []uint32, out []float32, _ int) int {
	return l2F32Generic(query, rows, stride, slots, out)
}

func kernelDotF32(_ tier, query, rows []float32, stride int, slots []uint32, out []float32, _ int) int {
	return dotF32Generic(query, rows, stride, slots, out)
}

func kernelL2U7(_ tier, query, rows []uint8, stride int, slots []uint32, out []uint32, _ int) int {
	return l2U7Generic(query, rows, stride, slots, out)
}

func kernelDotU7S8(_ tier, query []int8, rows []uint8, stride int, slots []uint32, out []int32, _ int) int {
	return dotU7S8Generic(query, rows, stride, slots, out)
}

func kernelL2F32Quad(_ tier, queries *[4][]float32, rows []float32, stride int, slots []uint32, out [][4]float32, _ int) int {
	return l2F32QuadGeneric(queries, rows, stride, slots, out)
}

func kernelDotF32Quad(_ tier, queries *[4][]float32, rows []float32, stride int, slots []uint32, out [][4]float32, _ int) int {
	return dotF32QuadGeneric(queries, rows, stride, slots, out)
}

func kernelL2U7Quad(_ tier, queries *[4][]uint8, rows []uint8, stride int, slots []uint32, out [][4]uint32, _ int) int {
	return l2U7QuadGeneric(queries, rows, stride, slots, out)
}

func kernelDotU7S8Quad(_ tier, queries *[4][]int8, rows []uint8, stride int, slots []uint32, out [][4]int32, _ int) int {
	return dotU7S8QuadGeneric(queries, rows, stride, slots, out)
}

func kernelL2U4(_ tier, query []int8, rows []uint8, stride int, slots []uint32, out []uint32, _ int) int {
	return l2U4Generic(query, rows, stride, slots, out)
}

func kernelDotU4S8(_ tier, query []int8, rows []uint8, stride int, slots []uint32, out []int32, _ int) int {
	return dotU4S8Generic(query, rows, stride, slots, out)
}

func kernelWidenF16(_ tier, dst []float32, rows []uint16, stride int, slots []uint32, _ int) int {
	return widenF16Generic(dst, rows, stride, slots)
}

func kernelL2F16(_ tier, query []float32, rows []uint16, stride int, slots []uint32, out []float32, _ int) int {
	return l2F16Generic(query, rows, stride, slots, out)
}

func kernelDotF16(_ tier, query []float32, rows []uint16, stride int, slots []uint32, out []float32, _ int) int {
	return dotF16Generic(query, rows, stride, slots, out)
}

func kernelMerge(_ tier, items []uint64, n int, fresh []uint64) (first int) {
	return mergeGeneric(items, n, fresh)
}
