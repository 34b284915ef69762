package distance

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// slotCounts cover the empty list, fewer rows than any prefetch distance, and a list longer than a row of links.
func slotCounts(dim int) []int {
	if dim == 64 || dim == 100 {
		counts := make([]int, 71)
		for i := range counts {
			counts[i] = i
		}
		return counts
	}
	return []int{0, 1, 2, 3, 5, 9, 17}
}

func TestL2F32(t *testing.T) {
	eachTier(t, func(t *testing.T, tr tier) {
		rnd := rand.New(rand.NewPCG(1, 1))
		p := newPen(t)
		for name, source := range floatSources(rnd) {
			for _, dim := range testDims() {
				for _, n := range slotCounts(dim) {
					b := newBatch(p, rnd, dim, PadF32(dim), 7, n, source, source)
					out := penned[float32](p, "out", n)
					l2F32(tr, b.queries[0], b.rows, b.stride, b.slots, out)
					for j := range out {
						want := oracleL2(b.queries[0], b.row(j))
						if err := math.Abs(float64(out[j]) - want); err > relativeBound(dim)*want {
							t.Fatalf("%s, %v: row %d: got %g, want %g, error %g", name, &b, j, out[j], want, err)
						}
					}
				}
			}
		}
	})
}

func TestDotF32(t *testing.T) {
	eachTier(t, func(t *testing.T, tr tier) {
		rnd := rand.New(rand.NewPCG(1, 2))
		p := newPen(t)
		for name, source := range floatSources(rnd) {
			for _, dim := range testDims() {
				for _, n := range slotCounts(dim) {
					b := newBatch(p, rnd, dim, PadF32(dim), 7, n, source, source)
					out := penned[float32](p, "out", n)
					dotF32(tr, b.queries[0], b.rows, b.stride, b.slots, out)
					for j := range out {
						want, magnitude := oracleDot(b.queries[0], b.row(j))
						if err := math.Abs(float64(out[j]) - want); err > relativeBound(dim)*magnitude {
							t.Fatalf("%s, %v: row %d: got %g, want %g, error %g", name, &b, j, out[j], want, err)
						}
					}
				}
			}
		}
	})
}

func TestL2U7(t *testing.T) {
	eachTier(t, func(t *testing.T, tr tier) {
		rnd := rand.New(rand.NewPCG(1, 3))
		p := newPen(t)
		for qname, query := range codeSources(rnd) {
			for rname, row := range codeSources(rnd) {
				for _, dim := range testDims() {
					for _, n := range slotCounts(dim) {
						b := newBatch(p, rnd, dim, PadU7(dim), 7, n, query, row)
						out := penned[uint32](p, "out", n)
						l2U7(tr, b.queries[0], b.rows, b.stride, b.slots, out)
						for j := range out {
							if want := oracleL2U7(b.queries[0], b.row(j)); out[j] != want {
								t.Fatalf("%s against %s, %v: row %d: got %d, want %d", qname, rname, &b, j, out[j], want)
							}
						}
					}
				}
			}
		}
	})
}

func TestDotU7S8(t *testing.T) {
	eachTier(t, func(t *testing.T, tr tier) {
		rnd := rand.New(rand.NewPCG(1, 4))
		p := newPen(t)
		for qname, query := range signedSources(rnd) {
			for rname, row := range codeSources(rnd) {
				for _, dim := range testDims() {
					for _, n := range slotCounts(dim) {
						b := newBatch(p, rnd, dim, PadU7(dim), 7, n, query, row)
						out := penned[int32](p, "out", n)
						dotU7S8(tr, b.queries[0], b.rows, b.stride, b.slots, out)
						for j := range out {
							if want := oracleDotU7S8(b.queries[0], b.row(j)); out[j] != want {
								t.Fatalf("%s against %s, %v: row %d: got %d, want %d", qname, rname, &b, j, out[j], want)
							}
						}
					}
				}
			}
		}
	})
}

// TestLargestStride shows that the sums of the longest allowed codes do not overflow.
func TestLargestStride(t *testing.T) {
	eachTier(t, func(t *testing.T, tr tier) {
		full, empty := make([]uint8, maxStrideU7), make([]uint8, maxStrideU7)
		low := make([]int8, maxStrideU7)
		for i := range full {
			full[i], low[i] = 127, -128
		}
		var l2 [1]uint32
		l2U7(tr, empty, full, maxStrideU7, []uint32{0}, l2[:])
		if want := uint32(127 * 127 * maxStrideU7); l2[0] != want {
			t.Errorf("L2U7: got %d, want %d", l2[0], want)
		}
		var dot [1]int32
		dotU7S8(tr, low, full, maxStrideU7, []uint32{0}, dot[:])
		if want := int32(-128 * 127 * maxStrideU7); dot[0] != want {
			t.Errorf("DotU7S8: got %d, want %d", dot[0], want)
		}
	})
}

// TestLongLists crosses the bound of one kernel call, in rows and in bytes.
func TestLongLists(t *testing.T) {
	eachTier(t, func(t *testing.T, tr tier) {
		rnd := rand.New(rand.NewPCG(1, 5))
		p := newPen(t)
		source := floatSources(rnd)["normal"]
		for _, dim := range []int{16, 3072} {
			n := 2*maxCallRows + 3
			if dim == 3072 {
				n = 3*maxCallBytes/(4*dim) + 5
			}
			b := newBatch(p, rnd, dim, dim, 50, n, source, source)
			got := penned[float32](p, "out", n)
			l2F32(tr, b.queries[0], b.rows, b.stride, b.slots, got)
			for j := range got {
				if want := l2F32Pair(tr, b.queries[0], b.row(j)); got[j] != want {
					t.Fatalf("%v: row %d: got %g, want %g", &b, j, got[j], want)
				}
			}
		}
	})
}

// TestBadArguments: a broken shape or a slot outside the arena panics in every tier, wherever it stands in the list, and
// rows before it stay inside the arena.
func TestBadArguments(t *testing.T) {
	eachTier(t, func(t *testing.T, tr tier) {
		q, rows, out := make([]float32, 64), make([]float32, 64*5+63), make([]float32, 8)
		qu, rowsu, outu := make([]uint8, 64), make([]uint8, 64*5+63), make([]uint32, 8)
		qs, outs := make([]int8, 64), make([]int32, 8)
		cases := map[string]func(){
			"stride 0":        func() { l2F32(tr, nil, rows, 0, []uint32{0}, out) },
			"negative stride": func() { dotF32(tr, q, rows, -64, []uint32{0}, out) },
			"odd stride":      func() { dotF32(tr, q[:63], rows, 63, []uint32{0}, out) },
			"short query":     func() { l2F32(tr, q[:48], rows, 64, []uint32{0}, out) },
			"short out":       func() { l2F32(tr, q, rows, 64, []uint32{0, 1, 2}, out[:2]) },
			"empty arena":     func() { l2F32(tr, q, nil, 64, []uint32{0}, out) },
			"less than a row": func() { l2U7(tr, qu, rowsu[:63], 64, []uint32{0}, outu) },
			"odd code stride": func() { l2U7(tr, qu[:32], rowsu, 32, []uint32{0}, outu) },
			"long code stride": func() {
				l2U7(tr, make([]uint8, 2*maxStrideU7), make([]uint8, 2*maxStrideU7), 2*maxStrideU7, []uint32{0}, outu)
			},
			"first slot":   func() { l2F32(tr, q, rows, 64, []uint32{5}, out) },
			"partial row":  func() { dotF32(tr, q, rows, 64, []uint32{0, 1, 2, 3, 4, 5}, out) },
			"last slot":    func() { l2U7(tr, qu, rowsu, 64, []uint32{4, 4, 4, 4, 4, 4, 4, 1 << 31}, outu) },
			"largest slot": func() { dotU7S8(tr, qs, rowsu, 64, []uint32{0, math.MaxUint32, 0}, outs) },
			"quad query": func() {
				l2F32Quad(tr, &[4][]float32{q, q, q, q[:16]}, rows, 64, []uint32{0}, make([][4]float32, 1))
			},
			"quad slot": func() {
				l2F32Quad(tr, &[4][]float32{q, q, q, q}, rows, 64, []uint32{0, 5}, make([][4]float32, 2))
			},
			"quad dot slot": func() {
				dotF32Quad(tr, &[4][]float32{q, q, q, q}, rows, 64, []uint32{5}, make([][4]float32, 2))
			},
			"quad code slot": func() {
				l2U7Quad(tr, &[4][]uint8{qu, qu, qu, qu}, rowsu, 64, []uint32{0, 0, 5}, make([][4]uint32, 3))
			},
			"quad signed slot": func() {
				dotU7S8Quad(tr, &[4][]int8{qs, qs, qs, qs}, rowsu, 64, []uint32{0, 0, 5}, make([][4]int32, 3))
			},
			"pair": func() { l2F32Pair(tr, q, q[:63]) },
		}
		for name, call := range cases {
			if msg := panicOf(call); !strings.HasPrefix(msg, "distance: ") {
				t.Errorf("%s: panic is %q", name, msg)
			}
		}
	})
}

// panicOf returns what f panics with if that is a string, else "".
func panicOf(f func()) (msg string) {
	defer func() { msg, _ = recover().(string) }()
	f()
	return ""
}

// TestNoAllocation calls the exported functions with every argument on the stack.
func TestNoAllocation(t *testing.T) {
	var rows, q [64]float32
	var rowsu, qu [64]uint8
	var qs [64]int8
	allocs := testing.AllocsPerRun(100, func() {
		slots := [3]uint32{}
		var out [3]float32
		L2F32(q[:], rows[:], 64, slots[:], out[:])
		DotF32(q[:], rows[:], 64, slots[:], out[:])
		out[0] = L2F32Pair(q[:], rows[:]) + DotF32Pair(q[:50], rows[:50])
		var outu [3]uint32
		L2U7(qu[:], rowsu[:], 64, slots[:], outu[:])
		var outs [3]int32
		DotU7S8(qs[:], rowsu[:], 64, slots[:], outs[:])
		queries := [4][]float32{q[:], q[:], q[:], q[:]}
		var out4 [3][4]float32
		L2F32Quad(&queries, rows[:], 64, slots[:], out4[:])
		DotF32Quad(&queries, rows[:], 64, slots[:], out4[:])
		codes := [4][]uint8{qu[:], qu[:], qu[:], qu[:]}
		var outu4 [3][4]uint32
		L2U7Quad(&codes, rowsu[:], 64, slots[:], outu4[:])
		signed := [4][]int8{qs[:], qs[:], qs[:], qs[:]}
		var outs4 [3][4]int32
		DotU7S8Quad(&signed, rowsu[:], 64, slots[:], outs4[:])
		var halves [64]uint16
		L2F16(q[:], halves[:], 64, slots[:], out[:])
		DotF16(q[:], halves[:], 64, slots[:], out[:])
		L2F16Quad(&queries, halves[:], 64, slots[:], out4[:])
		var wide [3 * 64]float32
		WidenF16(wide[:], halves[:], 64, slots[:])
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}
