package distance

import (
	"hash/fnv"
	"math"
	"math/rand/v2"
	"testing"
)

// TestGenericBits pins the results of the generic float kernels on fixed input: they have the same bits on every
// architecture, so that tests which count on them (builds with the race detector among others) agree everywhere.
func TestGenericBits(t *testing.T) {
	const want = 0x8ea76cbafa87657e
	rnd := rand.New(rand.NewPCG(4, 1))
	source := func() float32 { return (rnd.Float32() - 0.4) * (rnd.Float32() + 0.1) }
	h, p := fnv.New64a(), newPen(t)
	for _, dim := range testDims() {
		b := newBatch(p, rnd, dim, PadF32(dim), 5, 5, source, source)
		for j := range b.slots {
			for _, x := range []float32{
				l2F32Pair(tierGeneric, b.queries[0], b.row(j)),
				dotF32Pair(tierGeneric, b.queries[1], b.row(j)),
			} {
				bits := math.Float32bits(x)
				h.Write([]byte{byte(bits), byte(bits >> 8), byte(bits >> 16), byte(bits >> 24)})
			}
		}
	}
	if got := h.Sum64(); got != want {
		t.Errorf("got %#x, want %#x", got, uint64(want))
	}
}
