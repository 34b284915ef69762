//go:build !unix

package distance

import "testing"

// guardedRegion has no guard pages where there is no mmap.
func guardedRegion(_ testing.TB, n int) []byte { return make([]byte, n) }

func benchArena[T any](_ *testing.B, n int) []T { return make([]T, n) }
