package distance

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// oracleF16 is binary16 as IEEE 754 describes it.
func oracleF16(h uint16) float32 {
	exponent, fraction := int(h>>10&31), float64(h&1023)
	x := math.Ldexp(1024+fraction, exponent-25)
	switch {
	case exponent == 31 && fraction != 0:
		return float32(math.NaN())
	case exponent == 31:
		x = math.Inf(1)
	case exponent == 0:
		x = math.Ldexp(fraction, -24)
	}
	return float32(math.Copysign(x, 1-float64(h>>15)*2))
}

// checkHalf compares what a tier makes of half floats with another implementation, and what it scores with its own kernels of
// float32, to the bit. Every part of the batch lies between guard pages.
func checkHalf(t *testing.T, p *pen, rnd *rand.Rand, tr tier, dim, rows, n int, component func() float32, half func() uint16) {
	t.Helper()
	b := newBatch(p, rnd, dim, PadF16(dim), rows, n, component, half)
	wide, inOrder := penned[float32](p, "wide", n*b.stride), make([]uint32, n)
	widenF16(tr, wide, b.rows, b.stride, b.slots)
	for j := range n {
		inOrder[j] = uint32(j)
		for i, h := range b.row(j) {
			if want, got := oracleF16(h), wide[j*b.stride+i]; !sameFloat(got, want) {
				t.Fatalf("%s, %v: row %d: %04x is %g, want %g", tr, &b, j, h, got, want)
			}
		}
	}
	if n == 0 {
		return
	}
	for i, q := range b.queries[:2] {
		got, want := penned[float32](p, "got", n), make([]float32, n)
		for _, c := range []struct {
			what string
			half func(tier, []float32, []uint16, int, []uint32, []float32)
			full func(tier, []float32, []float32, int, []uint32, []float32)
		}{{"L2F16", l2F16, l2F32}, {"DotF16", dotF16, dotF32}} {
			c.half(tr, q, b.rows, b.stride, b.slots, got)
			c.full(tr, q, wide, b.stride, inOrder, want)
			for j := range n {
				if !sameFloat(got[j], want[j]) {
					t.Fatalf("%s, %v: %s of query %d and row %d: got %g, want %g", tr, &b, c.what, i, j, got[j], want[j])
				}
			}
		}
	}
}

// sameFloat compares bits, but for the payload of a NaN.
func sameFloat(a, b float32) bool {
	return math.Float32bits(a) == math.Float32bits(b) || a != a && b != b
}

func TestHalf(t *testing.T) {
	eachTier(t, func(t *testing.T, tr tier) {
		rnd := rand.New(rand.NewPCG(4, 1))
		p := newPen(t)
		sources, anyHalf := floatSources(rnd), func() uint16 { return uint16(rnd.Uint32()) }
		finite := func() uint16 { return uint16(rnd.Uint32()) & 0xbfff }
		for _, dim := range testDims() {
			for _, n := range []int{0, 1, 9, 17} {
				checkHalf(t, p, rnd, tr, dim, 7, n, sources["normal"], finite)
			}
			checkHalf(t, p, rnd, tr, dim, 7, 5, sources["mixed"], anyHalf)
		}
		next := uint16(0) // each half float there is, subnormal numbers, infinities and NaN among them
		checkHalf(t, p, rnd, tr, 1<<14, 4, 4, sources["normal"], func() uint16 { next++; return next })
		checkHalf(t, p, rnd, tr, 32, 50, 2*maxCallRows+3, sources["normal"], finite)
		checkHalf(t, p, rnd, tr, 3072, 50, 2*maxCallBytes/(2*3072)+5, sources["normal"], finite)
	})
}

func FuzzHalf(f *testing.F) {
	f.Add([]byte{0, 0x3c, 1, 0, 0xff, 0x7b, 0, 0xfc}, uint16(63), uint8(3), uint8(5))
	f.Add([]byte("\x01\xf2\x03"), uint16(256), uint8(19), uint8(70))
	f.Fuzz(func(t *testing.T, data []byte, dim uint16, rows, slots uint8) {
		d, r, s := fuzzShape(dim, rows, slots)
		p := newPen(t)
		for _, tr := range machineTiers() {
			next := cycle(data)
			half := func() uint16 { return uint16(next()) | uint16(next())<<8 }
			checkHalf(t, p, fuzzRand(data), tr, d, r, s, func() float32 { return oracleF16(half()) }, half)
		}
	})
}

// TestHalfQuads: four queries at once are four queries.
func TestHalfQuads(t *testing.T) {
	rnd := rand.New(rand.NewPCG(4, 2))
	for _, n := range []int{0, 1, quadRows, 3*quadRows + 5} {
		b := newBatch(newPen(t), rnd, 50, PadF16(50), 10, n, floatSources(rnd)["normal"], func() uint16 { return uint16(rnd.Uint32()) & 0xbfff })
		l2, dot, one := make([][4]float32, n), make([][4]float32, n), make([]float32, n)
		L2F16Quad(&b.queries, b.rows, b.stride, b.slots, l2)
		DotF16Quad(&b.queries, b.rows, b.stride, b.slots, dot)
		for i, q := range b.queries {
			L2F16(q, b.rows, b.stride, b.slots, one)
			for j, want := range one {
				if l2[j][i] != want {
					t.Errorf("%v: row %d, query %d: L2 is %g, want %g", &b, j, i, l2[j][i], want)
				}
			}
			DotF16(q, b.rows, b.stride, b.slots, one)
			for j, want := range one {
				if dot[j][i] != want {
					t.Errorf("%v: row %d, query %d: dot is %g, want %g", &b, j, i, dot[j][i], want)
				}
			}
		}
	}
}

func TestHalfShapes(t *testing.T) {
	rows, dst := make([]uint16, 32*5+31), make([]float32, 32*3)
	for name, call := range map[string]func(){
		"short query":     func() { L2F16(dst[:31], rows, 32, []uint32{0}, dst) },
		"short out":       func() { DotF16(dst[:32], rows, 32, []uint32{0, 1}, dst[:1]) },
		"slot":            func() { L2F16(dst[:32], rows, 32, []uint32{0, 5}, dst) },
		"last slot":       func() { DotF16(dst[:32], rows, 32, []uint32{math.MaxUint32}, dst) },
		"stride 0":        func() { WidenF16(dst, rows, 0, []uint32{0}) },
		"negative stride": func() { WidenF16(dst, rows, -32, []uint32{0}) },
		"odd stride":      func() { WidenF16(dst, rows, 16, []uint32{0}) },
		"short dst":       func() { WidenF16(dst, rows, 32, []uint32{0, 1, 2, 3}) },
		"no rows":         func() { WidenF16(dst, nil, 32, []uint32{0}) },
		"partial row":     func() { WidenF16(dst, rows, 32, []uint32{0, 5}) },
		"largest slot":    func() { WidenF16(dst, rows, 32, []uint32{math.MaxUint32}) },
	} {
		if msg := panicOf(call); !strings.HasPrefix(msg, "distance: ") {
			t.Errorf("%s: panic is %q", name, msg)
		}
	}
	WidenF16(nil, nil, 32, nil)
	for _, c := range [][2]int{{1, 32}, {32, 32}, {33, 64}, {784, 800}} {
		if got := PadF16(c[0]); got != c[1] || got%blockF32 != 0 {
			t.Errorf("PadF16(%d) is %d, want %d", c[0], got, c[1])
		}
	}
}
