//go:build !linux || race

package hnsw

import "github.com/segue-ann/segue/internal/invariants"

// maxReservation returns the most bytes one index asks the Go heap for, where the reservation counts towards the garbage
// collector's pace. A race build pays several shadow bytes for each.
func maxReservation() uint64 {
	if invariants.Race {
		return 64 << 20
	}
	return 4 << 30
}

// arena is a slice on the Go heap: the fallback where mappings are not supported, and the choice of race builds, because
// the race detector does not see memory outside the heap.
type arena[T uint8 | uint16 | float32 | uint32 | uint64] struct {
	rows []T
}

// reserve allocates n zero elements. The operating system makes them resident when they are touched.
func (a *arena[T]) reserve(n uint64) bool {
	a.rows = make([]T, n)
	return true
}

// adopt allocates as reserve does: without mappings, and under the race detector, memory of the caller's is not used.
func (a *arena[T]) adopt(_ []byte, n uint64) { a.reserve(n) }

func misaligned([]byte) int { return 0 }

func (a *arena[T]) release() { a.rows = nil }
