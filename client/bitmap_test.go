package client

import (
	"bytes"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	library "github.com/RoaringBitmap/roaring/v2"
)

// TestExcludeValues: the library for Go reads the values back, and where it writes no runs the bytes are those that it writes: for lists,
// sets of bits, the two next to each other, both sides of where one turns into the other, and the ends of the range.
func TestExcludeValues(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	several := func(n int, below uint32, more ...uint32) []uint32 {
		for range n {
			more = append(more, r.Uint32N(below))
		}
		return more
	}
	row := func(from, to uint32) (out []uint32) {
		for v := from; v < to; v++ {
			out = append(out, v)
		}
		return out
	}
	for i, values := range [][]uint32{
		nil, {0}, {math.MaxUint32}, {0, math.MaxUint32, 0}, {5, 3, 4, 3},
		row(1<<16-4, 1<<16+4), row(0, 4096), row(0, 4097), row(1<<16, 1<<17), row(10, 300_000),
		several(1000, math.MaxUint32), several(20_000, 1<<18), several(50_000, 1<<17, row(1<<20, 1<<20+70_000)...),
	} {
		want, before := library.BitmapOf(values...), slices.Clone(values)
		data, err := want.ToBytes()
		if err != nil {
			t.Fatal(err)
		}
		got := ExcludeValues("plays", values)
		if got.GetAttribute() != "plays" || !slices.Equal(values, before) {
			t.Errorf("case %d: attribute %q, or the values were changed", i, got.GetAttribute())
		}
		read := library.New()
		n, err := read.ReadFrom(bytes.NewReader(got.GetRoaring()))
		if err != nil || int(n) != len(got.GetRoaring()) || !read.Equals(want) {
			t.Errorf("case %d: the library reads %d values in %d of %d bytes, want %d: %v",
				i, read.GetCardinality(), n, len(got.GetRoaring()), want.GetCardinality(), err)
		}
		if runs := data[0] == 0x3b; !runs && !bytes.Equal(got.GetRoaring(), data) {
			t.Errorf("case %d, %d values: %d bytes %.40x, the library writes %d bytes %.40x", i, len(values), len(got.GetRoaring()), got.GetRoaring(), len(data), data)
		}
	}
}
