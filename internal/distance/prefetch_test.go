package distance

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestPrefetchIsHarmless: whatever is asked for, nothing faults and nothing changes: also slots outside the arena, which
// name pages that cannot be touched, and rows that end there.
func TestPrefetchIsHarmless(t *testing.T) {
	rnd := rand.New(rand.NewPCG(41, 41))
	p := newPen(t)
	for range 200 {
		n, stride := rnd.IntN(100), 64*(1+rnd.IntN(60))
		codes, floats := penned[uint8](p, "codes", stride), penned[float32](p, "floats", stride)
		halves := penned[uint16](p, "halves", stride)
		slots := penned[uint32](p, "slots", n)
		for i := range slots {
			slots[i] = []uint32{0, uint32(rnd.IntN(10)), rnd.Uint32()}[rnd.IntN(3)]
		}
		before := slices.Clone(slots)
		Prefetch(slots)
		PrefetchU7(codes, stride, slots)
		PrefetchF32(floats, stride, slots)
		PrefetchF16(halves, stride, slots)
		if !slices.Equal(slots, before) || slices.Max(codes) != 0 || slices.Max(floats) != 0 || slices.Max(halves) != 0 {
			t.Fatal("prefetching changed memory")
		}
	}
}

func TestPrefetchBounds(t *testing.T) {
	for _, c := range []struct{ rowBytes, n, want int }{{64, 0, 0}, {64, 1000, 128}, {128, 20, 20}, {3136, 20, 2}, {1 << 17, 20, 1}, {1 << 17, 0, 0}} {
		if got := prefetched(c.rowBytes, c.n); got != c.want {
			t.Errorf("%d of %d rows of %d bytes, want %d", got, c.n, c.rowBytes, c.want)
		}
	}
}
