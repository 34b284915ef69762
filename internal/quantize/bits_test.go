package quantize

import (
	"encoding/binary"
	"hash/fnv"
	"math/rand/v2"
	"testing"

	"github.com/segue-ann/segue/internal/distance"
)

// TestSameBitsEverywhere pins what the package computes from fixed input, on every architecture: replicas of different
// machines must have the same codes. The constant changes only with a change of the codec.
func TestSameBitsEverywhere(t *testing.T) {
	const want = 0x37896b9b69443208
	rnd := rand.New(rand.NewPCG(5, 1))
	h := fnv.New64a()
	write := func(v any) {
		if err := binary.Write(h, binary.LittleEndian, v); err != nil {
			t.Fatal(err)
		}
	}
	for _, dim := range testDims {
		vecs := vectors(40, dim, func() float32 { return (rnd.Float32() - 0.4) * (rnd.Float32() + 0.1) })
		c := mustFit(t, dim, vecs)
		write(c.Lo)
		write(c.Step)
		codes, signed := make([]uint8, distance.PadU7(dim)), make([]int8, distance.PadU7(dim))
		back, halves := make([]float32, dim), make([]uint16, dim)
		for _, vec := range vecs {
			write(vec)
			write(c.BindL2(codes, vec))
			write(codes)
			write(c.BindDot(signed, vec))
			write(signed)
			c.Decode(back, codes)
			write(back)
			EncodeF16(halves, vec)
			write(halves)
		}
	}
	if got := h.Sum64(); got != want {
		t.Errorf("got %#x, want %#x", got, uint64(want))
	}
}
