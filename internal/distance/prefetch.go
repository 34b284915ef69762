package distance

import "unsafe"

// Prefetching is a hint: it cannot fault, it changes nothing that a program can see, and the rows may be anything. Where
// there is no assembly it does nothing.

// Prefetch asks for the cache lines of row, which will be read soon.
func Prefetch(row []uint32) {
	if len(row) > 0 {
		prefetchRow((*byte)(unsafe.Pointer(&row[0])), 4*len(row))
	}
}

// PrefetchF32 asks for the rows that slots name, first to last, as L2F32 and DotF32 read them.
func PrefetchF32(rows []float32, stride int, slots []uint32) {
	if n := prefetched(4*stride, len(slots)); n > 0 {
		prefetchRows((*byte)(unsafe.Pointer(&rows[0])), 4*stride, &slots[0], n)
	}
}

// PrefetchF16 asks for the rows that slots name, first to last, as WidenF16 reads them.
func PrefetchF16(rows []uint16, stride int, slots []uint32) {
	if n := prefetched(2*stride, len(slots)); n > 0 {
		prefetchRows((*byte)(unsafe.Pointer(&rows[0])), 2*stride, &slots[0], n)
	}
}

// PrefetchU7 asks for the rows that slots name, first to last, as L2U7 and DotU7S8 read them.
func PrefetchU7(rows []uint8, stride int, slots []uint32) {
	if n := prefetched(stride, len(slots)); n > 0 {
		prefetchRows(&rows[0], stride, &slots[0], n)
	}
}

// prefetched returns how many of n rows are asked for: no more bytes than a first-level cache holds beside other things.
func prefetched(rowBytes, n int) int { return min(n, max(1, maxPrefetchBytes/rowBytes)) }

const maxPrefetchBytes = 8 << 10
