package distance

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestFormsAgree: for one tier, batch, pair (padded or not) and quad give the same bits, whatever surrounds a row in the
// list, and two runs give the same bits.
func TestFormsAgree(t *testing.T) {
	eachTier(t, func(t *testing.T, tr tier) {
		rnd := rand.New(rand.NewPCG(2, 1))
		p := newPen(t)
		source := floatSources(rnd)["mixed"]
		for _, dim := range testDims() {
			b := newBatch(p, rnd, dim, PadF32(dim), 9, 11, source, source)
			n := len(b.slots)
			var quad, dots [11][4]float32
			l2F32Quad(tr, &b.queries, b.rows, b.stride, b.slots, quad[:])
			dotF32Quad(tr, &b.queries, b.rows, b.stride, b.slots, dots[:])
			for i, q := range b.queries {
				var l2, dot, alone [11]float32
				l2F32(tr, q, b.rows, b.stride, b.slots, l2[:])
				dotF32(tr, q, b.rows, b.stride, b.slots, dot[:])
				for j := range n {
					r := b.row(j)
					l2F32(tr, q, b.rows, b.stride, b.slots[j:], alone[:])
					sameBits(t, &b, "L2F32 of a shorter list", alone[0], l2[j])
					sameBits(t, &b, "L2F32Quad", quad[j][i], l2[j])
					sameBits(t, &b, "DotF32Quad", dots[j][i], dot[j])
					sameBits(t, &b, "padded L2F32Pair", l2F32Pair(tr, q, r), l2[j])
					sameBits(t, &b, "padded DotF32Pair", dotF32Pair(tr, q, r), dot[j])
					sameBits(t, &b, "L2F32Pair", l2F32Pair(tr, q[:dim], r[:dim]), l2[j])
					sameBits(t, &b, "DotF32Pair", dotF32Pair(tr, q[:dim], r[:dim]), dot[j])
					sameBits(t, &b, "L2F32Pair the other way", l2F32Pair(tr, r, q), l2[j])
					sameBits(t, &b, "DotF32Pair the other way", dotF32Pair(tr, r, q), dot[j])
				}
			}
		}
	})
}

func sameBits(t *testing.T, b *batch[float32, float32], what string, got, want float32) {
	t.Helper()
	if math.Float32bits(got) != math.Float32bits(want) {
		t.Fatalf("%v: %s: got %x, want %x", b, what, got, want)
	}
}

// TestPairOfAnyLength reaches the empty pair and the lengths whose padding does not fit on the stack.
func TestPairOfAnyLength(t *testing.T) {
	eachTier(t, func(t *testing.T, tr tier) {
		rnd := rand.New(rand.NewPCG(2, 2))
		p := newPen(t)
		source := floatSources(rnd)["normal"]
		for _, dim := range []int{0, 1, pairStack - 1, pairStack, pairStack + 1, 5000} {
			a, b := penned[float32](p, "a", dim), penned[float32](p, "b", dim)
			for i := range a {
				a[i], b[i] = source(), source()
			}
			want := oracleL2(a, b)
			if err := math.Abs(float64(l2F32Pair(tr, a, b)) - want); err > relativeBound(dim)*want {
				t.Errorf("L2F32Pair of length %d: error %g of %g", dim, err, want)
			}
			want, magnitude := oracleDot(a, b)
			if err := math.Abs(float64(dotF32Pair(tr, a, b)) - want); err > relativeBound(dim)*magnitude {
				t.Errorf("DotF32Pair of length %d: error %g of %g", dim, err, want)
			}
		}
	})
}

// TestQuadU7 compares the integer quad kernels with the oracle.
func TestQuadU7(t *testing.T) {
	eachTier(t, func(t *testing.T, tr tier) {
		rnd := rand.New(rand.NewPCG(2, 3))
		p := newPen(t)
		for qname, query := range codeSources(rnd) {
			for _, dim := range testDims() {
				b := newBatch(p, rnd, dim, PadU7(dim), 9, dim%71, query, codeSources(rnd)["ends"])
				out := penned[[4]uint32](p, "out", len(b.slots))
				l2U7Quad(tr, &b.queries, b.rows, b.stride, b.slots, out)
				for j := range out {
					for i, q := range b.queries {
						if want := oracleL2U7(q, b.row(j)); out[j][i] != want {
							t.Fatalf("%s, %v: row %d, query %d: got %d, want %d", qname, &b, j, i, out[j][i], want)
						}
					}
				}
			}
		}
	})
}

// TestQuadS8 compares the signed integer quad kernels with the oracle.
func TestQuadS8(t *testing.T) {
	eachTier(t, func(t *testing.T, tr tier) {
		rnd := rand.New(rand.NewPCG(2, 4))
		p := newPen(t)
		for qname, query := range signedSources(rnd) {
			for _, dim := range testDims() {
				b := newBatch(p, rnd, dim, PadU7(dim), 9, dim%71, query, codeSources(rnd)["uniform"])
				out := penned[[4]int32](p, "out", len(b.slots))
				dotU7S8Quad(tr, &b.queries, b.rows, b.stride, b.slots, out)
				for j := range out {
					for i, q := range b.queries {
						if want := oracleDotU7S8(q, b.row(j)); out[j][i] != want {
							t.Fatalf("%s, %v: row %d, query %d: got %d, want %d", qname, &b, j, i, out[j][i], want)
						}
					}
				}
			}
		}
	})
}

// TestSpecialFloats: NaN and infinities reach the result as IEEE 754 has it, they are not lost in a lane.
func TestSpecialFloats(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	eachTier(t, func(t *testing.T, tr tier) {
		for _, dim := range []int{16, 48, 64, 112, 128} {
			for at := range dim {
				a, b := make([]float32, dim), make([]float32, dim)
				a[at], b[at] = inf, 1
				if got := l2F32Pair(tr, a, b); got != inf {
					t.Fatalf("dim %d: L2 with an infinity at %d is %g", dim, at, got)
				}
				if got := dotF32Pair(tr, a, b); got != inf {
					t.Fatalf("dim %d: dot with an infinity at %d is %g", dim, at, got)
				}
				a[at] = nan
				if got := l2F32Pair(tr, a, b); got == got {
					t.Fatalf("dim %d: L2 with a NaN at %d is %g", dim, at, got)
				}
				if got := dotF32Pair(tr, b, a); got == got {
					t.Fatalf("dim %d: dot with a NaN at %d is %g", dim, at, got)
				}
			}
		}
	})
}
