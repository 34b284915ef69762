package distance

import "fmt"

const (
	// lineBytes is the size of a cache line and the unit of padding.
	lineBytes = 64
	// blockF32 and blockU7 are the components in one line; strides are multiples of them.
	blockF32 = lineBytes / 4
	blockU7  = lineBytes

	// maxStrideU7 keeps the sums inside their result: 127*128*maxStrideU7 < 1<<31 and 127*127*maxStrideU7 < 1<<32.
	maxStrideU7 = 1 << 17

	// Assembly cannot be preempted, and a stop of the world waits for it. One call therefore reads at most maxCallBytes
	// (about 100 us from memory at one core's bandwidth) and at most maxCallRows rows (about as much again when each row
	// is one missed line), but always one row at least.
	maxCallBytes = 1 << 20
	maxCallRows  = 4096
)

// PadF32 returns the stride, in floats, of a row of dim float32 components: dim rounded up to whole cache lines.
func PadF32(dim int) int { return (dim + blockF32 - 1) &^ (blockF32 - 1) }

// PadU7 returns the stride, in bytes, of a row of dim 7-bit codes: dim rounded up to whole cache lines.
func PadU7(dim int) int { return (dim + blockU7 - 1) &^ (blockU7 - 1) }

// L2F32 sets out[j] to the squared Euclidean distance of query and row slots[j], for each j.
//
// The stride is in floats, positive and a multiple of 16; len(query) == stride and len(out) >= len(slots). Cost: about 10 ns
// plus 10 ns per cache line for a row that comes from memory, because rows ahead are prefetched.
func L2F32(query, rows []float32, stride int, slots []uint32, out []float32) {
	l2F32(active, query, rows, stride, slots, out)
}

// DotF32 sets out[j] to the dot product of query and row slots[j], for each j. Shapes and cost are those of L2F32.
func DotF32(query, rows []float32, stride int, slots []uint32, out []float32) {
	dotF32(active, query, rows, stride, slots, out)
}

// L2U7 sets out[j] to the squared Euclidean distance of the codes query and row slots[j], for each j. Every code is at most
// 127.
//
// The stride is in bytes, a multiple of 64, positive and at most 1<<17; len(query) == stride and len(out) >= len(slots).
func L2U7(query, rows []uint8, stride int, slots []uint32, out []uint32) {
	l2U7(active, query, rows, stride, slots, out)
}

// DotU7S8 sets out[j] to the dot product of the signed query and the codes of row slots[j], for each j. Every code is at
// most 127; the query may hold any int8. Shapes are those of L2U7.
func DotU7S8(query []int8, rows []uint8, stride int, slots []uint32, out []int32) {
	dotU7S8(active, query, rows, stride, slots, out)
}

func l2F32(t tier, query, rows []float32, stride int, slots []uint32, out []float32) {
	checkShape(len(query), len(rows), stride, blockF32, len(slots), len(out))
	ahead, limit := plan(4*stride, len(slots))
	for len(slots) > 0 {
		n := min(len(slots), limit)
		if done := kernelL2F32(t, query, rows, stride, slots[:n], out[:n], ahead); done != n {
			panicSlot(slots[done], len(rows)/stride)
		}
		slots, out = slots[n:], out[n:]
	}
}

func dotF32(t tier, query, rows []float32, stride int, slots []uint32, out []float32) {
	checkShape(len(query), len(rows), stride, blockF32, len(slots), len(out))
	ahead, limit := plan(4*stride, len(slots))
	for len(slots) > 0 {
		n := min(len(slots), limit)
		if done := kernelDotF32(t, query, rows, stride, slots[:n], out[:n], ahead); done != n {
			panicSlot(slots[done], len(rows)/stride)
		}
		slots, out = slots[n:], out[n:]
	}
}

func l2U7(t tier, query, rows []uint8, stride int, slots []uint32, out []uint32) {
	checkShapeU7(len(query), len(rows), stride, len(slots), len(out))
	ahead, limit := plan(stride, len(slots))
	for len(slots) > 0 {
		n := min(len(slots), limit)
		if done := kernelL2U7(t, query, rows, stride, slots[:n], out[:n], ahead); done != n {
			panicSlot(slots[done], len(rows)/stride)
		}
		slots, out = slots[n:], out[n:]
	}
}

func dotU7S8(t tier, query []int8, rows []uint8, stride int, slots []uint32, out []int32) {
	checkShapeU7(len(query), len(rows), stride, len(slots), len(out))
	ahead, limit := plan(stride, len(slots))
	for len(slots) > 0 {
		n := min(len(slots), limit)
		if done := kernelDotU7S8(t, query, rows, stride, slots[:n], out[:n], ahead); done != n {
			panicSlot(slots[done], len(rows)/stride)
		}
		slots, out = slots[n:], out[n:]
	}
}

// plan returns how many rows ahead to prefetch for rows of rowBytes, and how many rows one kernel call may read.
//
// The prefetch distance is a default, not a measurement: about 2 KiB ahead (32 lines, what the line fill buffers and the
// queue behind them hold), between one row and eight.
func plan(rowBytes, n int) (ahead, limit int) {
	switch {
	case rowBytes <= 256:
		ahead = 8
	case rowBytes <= 640:
		ahead = 4
	case rowBytes <= 1536:
		ahead = 2
	default:
		ahead = 1
	}
	limit = maxCallRows
	if n*rowBytes > maxCallBytes { // the division is for long lists only
		limit = max(1, min(maxCallRows, maxCallBytes/rowBytes))
	}
	return ahead, limit
}

// checkShape panics unless a batch of n rows is well formed. It does not look at the slots: the kernels do, at no cost.
func checkShape(query, rows, stride, block, n, out int) {
	if stride <= 0 || stride&(block-1) != 0 || query != stride || out < n || (n > 0 && rows < stride) {
		panicShape(query, rows, stride, block, n, out)
	}
}

func checkShapeU7(query, rows, stride, n, out int) {
	if stride > maxStrideU7 {
		panicShape(query, rows, stride, blockU7, n, out)
	}
	checkShape(query, rows, stride, blockU7, n, out)
}

//go:noinline
func panicShape(query, rows, stride, block, n, out int) {
	panic(fmt.Sprintf("distance: bad shape: len(query)=%d len(rows)=%d stride=%d (want a multiple of %d) len(slots)=%d len(out)=%d",
		query, rows, stride, block, n, out))
}

//go:noinline
func panicSlot(slot uint32, rows int) {
	panic(fmt.Sprintf("distance: slot %d is outside an arena of %d rows", slot, rows))
}
