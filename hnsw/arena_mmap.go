//go:build linux && !race

package hnsw

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

const hugePage = 2 << 20

// maxReservation returns the most bytes one index asks for: a quarter of what a process can address on amd64 and arm64.
func maxReservation() uint64 { return 1 << 45 }

// arena is an anonymous private mapping outside the Go heap: the garbage collector neither scans it nor counts it.
type arena[T uint8 | uint16 | float32 | uint32 | uint64] struct {
	rows    []T
	mapping []byte
}

// reserve maps n zero elements, aligned to huge pages, and reports whether the kernel granted them. Nothing is resident
// before it is touched.
//
// Huge pages halve the cost of a dependent random load. The first 2 MB stay on
// small pages, so that an index of a few hundred items does not cost 2 MB an arena.
func (a *arena[T]) reserve(n uint64) bool {
	size := n * uint64(unsafe.Sizeof(a.rows[0]))
	mapping, err := unix.Mmap(-1, 0, int(size+2*hugePage), unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_NORESERVE)
	if err != nil {
		return false
	}
	base := unsafe.Pointer(unsafe.SliceData(mapping))
	skip := -uintptr(base) & (hugePage - 1)
	a.mapping = mapping
	a.rows = unsafe.Slice((*T)(unsafe.Add(base, skip)), n)
	if size > hugePage {
		end := skip + uintptr(size+hugePage-1)&^(hugePage-1)
		// A kernel without huge pages says EINVAL; the arena works all the same.
		_ = unix.Madvise(mapping[skip+hugePage:end], unix.MADV_HUGEPAGE)
	}
	return true
}

// adopt uses the first n elements of mem, which Options.Validate has looked at. It stays the caller's.
func (a *arena[T]) adopt(mem []byte, n uint64) {
	a.rows = unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(mem))), n)
}

// misaligned returns by how many bytes mem misses the alignment of vectors.
func misaligned(mem []byte) int {
	return int(uintptr(unsafe.Pointer(unsafe.SliceData(mem))) % vectorAlign)
}

func (a *arena[T]) release() {
	if a.mapping == nil {
		return
	}
	// Munmap of a whole mapping made by Mmap cannot fail.
	_ = unix.Munmap(a.mapping)
	*a = arena[T]{}
}
