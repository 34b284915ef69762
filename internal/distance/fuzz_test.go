package distance

import (
	"encoding/binary"
	"math"
	"testing"
)

// The fuzz targets choose shape and content; every tier must agree with the oracle. The rows hold data over and over, so
// that a short input reaches long rows.

// fuzzShape makes a shape of three raw numbers: components, rows and slots.
func fuzzShape(dim uint16, rows, slots uint8) (d, r, s int) {
	return 1 + int(dim)%600, 1 + int(rows)%20, int(slots) % 71
}

// cycle returns a source of the bytes of data, again and again.
func cycle(data []byte) func() byte {
	at := 0
	return func() byte {
		if len(data) == 0 {
			return 0
		}
		at++
		return data[(at-1)%len(data)]
	}
}

func FuzzCodes(f *testing.F) {
	f.Add([]byte{0, 127, 128, 255}, uint16(63), uint8(3), uint8(5))
	f.Add([]byte{127}, uint16(127), uint8(0), uint8(70))
	f.Add([]byte("\x01\x02\x03"), uint16(256), uint8(19), uint8(9))
	f.Fuzz(func(t *testing.T, data []byte, dim uint16, rows, slots uint8) {
		d, r, s := fuzzShape(dim, rows, slots)
		next, p := cycle(data), newPen(t)
		b := newBatch(p, fuzzRand(data), d, PadU7(d), r, s, func() int8 { return int8(next()) }, func() uint8 { return next() & 127 })
		codes := [4][]uint8{}
		for i, q := range b.queries {
			codes[i] = penned[uint8](p, "codes"+string(rune('0'+i)), len(q))
			for k := range q {
				codes[i][k] = uint8(q[k]) & 127
			}
		}
		for _, tr := range machineTiers() {
			l2, dot := penned[uint32](p, "l2", s), penned[int32](p, "dot", s)
			l2x4, dotx4 := penned[[4]uint32](p, "l2x4", s), penned[[4]int32](p, "dotx4", s)
			l2U7(tr, codes[0], b.rows, b.stride, b.slots, l2)
			dotU7S8(tr, b.queries[0], b.rows, b.stride, b.slots, dot)
			l2U7Quad(tr, &codes, b.rows, b.stride, b.slots, l2x4)
			dotU7S8Quad(tr, &b.queries, b.rows, b.stride, b.slots, dotx4)
			for j := range s {
				for i := range 4 {
					wantL2, wantDot := oracleL2U7(codes[i], b.row(j)), oracleDotU7S8(b.queries[i], b.row(j))
					if l2x4[j][i] != wantL2 || dotx4[j][i] != wantDot {
						t.Fatalf("%s, %v: row %d, query %d: got %d and %d, want %d and %d", tr, &b, j, i, l2x4[j][i], dotx4[j][i], wantL2, wantDot)
					}
				}
				if l2[j] != l2x4[j][0] || dot[j] != dotx4[j][0] {
					t.Fatalf("%s, %v: row %d: got %d and %d, quad has %d and %d", tr, &b, j, l2[j], dot[j], l2x4[j][0], dotx4[j][0])
				}
			}
		}
	})
}

func FuzzFloats(f *testing.F) {
	f.Add([]byte{0, 0, 0x80, 0x3f, 0, 0, 0x80, 0xbf}, uint16(63), uint8(3), uint8(5))
	f.Add([]byte("\x00\x00\x00\x00\xff\xff\x7f\x52\x01\x00\x00\x00"), uint16(127), uint8(0), uint8(70))
	f.Add([]byte("some bytes to make floats of"), uint16(300), uint8(19), uint8(9))
	f.Fuzz(func(t *testing.T, data []byte, dim uint16, rows, slots uint8) {
		d, r, s := fuzzShape(dim, rows, slots)
		next, p := cycle(data), newPen(t)
		source := func() float32 {
			x := math.Float32frombits(binary.LittleEndian.Uint32([]byte{next(), next(), next(), next()}))
			if x != x || math.Abs(float64(x)) > 1e17 {
				return 1 // the sums must stay finite
			}
			return x
		}
		b := newBatch(p, fuzzRand(data), d, PadF32(d), r, s, source, source)
		for _, tr := range machineTiers() {
			l2, dot := penned[float32](p, "l2", s), penned[float32](p, "dot", s)
			l2x4, dotx4 := penned[[4]float32](p, "l2x4", s), penned[[4]float32](p, "dotx4", s)
			l2F32(tr, b.queries[0], b.rows, b.stride, b.slots, l2)
			dotF32(tr, b.queries[0], b.rows, b.stride, b.slots, dot)
			l2F32Quad(tr, &b.queries, b.rows, b.stride, b.slots, l2x4)
			dotF32Quad(tr, &b.queries, b.rows, b.stride, b.slots, dotx4)
			for j := range s {
				for i, q := range b.queries {
					row := b.row(j)
					want := oracleL2(q, row)
					if err := math.Abs(float64(l2x4[j][i]) - want); err > relativeBound(d)*want+underflow(d) {
						t.Fatalf("%s, %v: row %d, query %d: L2 is %g, want %g", tr, &b, j, i, l2x4[j][i], want)
					}
					want, magnitude := oracleDot(q, row)
					if err := math.Abs(float64(dotx4[j][i]) - want); err > relativeBound(d)*magnitude+underflow(d) {
						t.Fatalf("%s, %v: row %d, query %d: dot is %g, want %g", tr, &b, j, i, dotx4[j][i], want)
					}
				}
				sameBits(t, &b, "L2F32Quad", l2x4[j][0], l2[j])
				sameBits(t, &b, "DotF32Quad", dotx4[j][0], dot[j])
			}
		}
	})
}

// underflow bounds what dim products below the normal numbers may lose besides the relative error.
func underflow(dim int) float64 { return float64(dim) * 0x1p-149 }
