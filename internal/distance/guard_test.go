package distance

import (
	"os"
	"testing"
	"unsafe"
)

// A pen hands out memory that touches a page which cannot be touched, so that a kernel that reads or writes outside its
// arguments dies. Each role has one region, used again by the next batch.
type pen struct {
	t       testing.TB
	regions map[string][]byte
	given   int
}

func newPen(t testing.TB) *pen { return &pen{t: t, regions: map[string][]byte{}} }

// penned returns n zeros of T that end just before a guard page; every fourth time they begin just after one, and every
// fourth time they are aligned to nothing but T.
func penned[T any](p *pen, role string, n int) []T {
	if n == 0 {
		return nil
	}
	var zero T
	size := n * int(unsafe.Sizeof(zero))
	region := p.regions[role]
	if len(region) <= size {
		page := os.Getpagesize()
		region = guardedRegion(p.t, (size/page+1)*page)
		p.regions[role] = region
	}
	p.given++
	part := region[len(region)-size:]
	switch p.given % 4 {
	case 0:
		part = region[:size]
	case 1:
		part = region[unsafe.Sizeof(zero):][:size]
	}
	clear(part)
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(part))), n)
}
