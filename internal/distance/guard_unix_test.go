//go:build unix

package distance

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// guardedRegion returns n bytes, a whole number of pages, between two pages that cannot be touched.
func guardedRegion(t testing.TB, n int) []byte {
	t.Helper()
	page := unix.Getpagesize()
	mem, err := unix.Mmap(-1, 0, n+2*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatalf("mmap of %d bytes: %v", n+2*page, err)
	}
	t.Cleanup(func() {
		if err := unix.Munmap(mem); err != nil {
			t.Errorf("munmap: %v", err)
		}
	})
	for _, guard := range [][]byte{mem[:page], mem[page+n:]} {
		if err := unix.Mprotect(guard, unix.PROT_NONE); err != nil {
			t.Fatalf("mprotect: %v", err)
		}
	}
	return mem[page : page+n : page+n]
}

// benchArena returns n zeros in touched pages outside the Go heap, huge ones where the system gives them.
func benchArena[T any](b *testing.B, n int) []T {
	b.Helper()
	var zero T
	mem, err := unix.Mmap(-1, 0, n*int(unsafe.Sizeof(zero)), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		b.Fatalf("mmap: %v", err)
	}
	b.Cleanup(func() {
		if err := unix.Munmap(mem); err != nil {
			b.Errorf("munmap: %v", err)
		}
	})
	adviseHuge(mem)
	for i := 0; i < len(mem); i += 4096 {
		mem[i] = 0
	}
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(mem))), n)
}
