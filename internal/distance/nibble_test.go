package distance

import (
	"math/rand/v2"
	"testing"
)

// nibbleOf returns component k of a row of nibbles.
func nibbleOf(row []uint8, k int) int {
	both := row[k/blockU4*lineBytes+k%lineBytes]
	if k%blockU4 < lineBytes {
		return int(both & 15)
	}
	return int(both >> 4)
}

func oracleU4(q []int8, row []uint8) (l2 uint32, dot int32) {
	for k, x := range q {
		d := int(x) - 8*nibbleOf(row, k)
		l2 += uint32(d * d)
		dot += int32(x) * int32(8*nibbleOf(row, k))
	}
	return l2, dot
}

// checkNibbles compares both kernels of a tier with the oracle on one batch, every part of it between guard pages.
func checkNibbles(t *testing.T, p *pen, rnd *rand.Rand, tr tier, dim, rows, n int, signed func() int8, both func() uint8) {
	t.Helper()
	stride := PadU4(dim)
	any8, query := penned[int8](p, "any", 2*stride), penned[int8](p, "query", 2*stride)
	for k := range dim {
		any8[k] = signed()
		query[k] = int8(uint8(any8[k])&127) - 4
	}
	arena := penned[uint8](p, "arena", rows*stride)
	for i := range arena {
		arena[i] = both()
	}
	slots, l2, dot := penned[uint32](p, "slots", n), penned[uint32](p, "l2", n), penned[int32](p, "dot", n)
	for j := range slots {
		slots[j] = uint32(rnd.IntN(rows))
	}
	if n > 0 {
		slots[n-1] = uint32(rows - 1) // the row that touches the guard page
	}
	l2U4(tr, query, arena, stride, slots, l2)
	dotU4S8(tr, any8, arena, stride, slots, dot)
	for j, s := range slots {
		row := arena[int(s)*stride:][:stride]
		wantL2, _ := oracleU4(query, row)
		_, wantDot := oracleU4(any8, row)
		if l2[j] != wantL2 || dot[j] != wantDot {
			t.Fatalf("%s, dim %d, row %d: got %d and %d, want %d and %d", tr, dim, j, l2[j], dot[j], wantL2, wantDot)
		}
	}
}

func TestNibbles(t *testing.T) {
	eachTier(t, func(t *testing.T, tr tier) {
		rnd := rand.New(rand.NewPCG(3, 1))
		p := newPen(t)
		ends := []uint8{0, 15, 240, 255}
		for _, signed := range signedSources(rnd) {
			for _, dim := range testDims() {
				for _, n := range []int{0, 1, 2, 3, 9, 17} {
					checkNibbles(t, p, rnd, tr, dim, 7, n, signed, func() uint8 { return uint8(rnd.Uint32()) })
					checkNibbles(t, p, rnd, tr, dim, 7, n, signed, func() uint8 { return ends[rnd.IntN(4)] })
				}
			}
		}
	})
}

// TestNibblesAreCodes: the two sums are those of the 7-bit kernels for codes 8n+4.
func TestNibblesAreCodes(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 2))
	const dim = 300
	row, codes := make([]uint8, PadU4(dim)), make([]uint8, PadU7(dim))
	q7, shifted, s8 := make([]uint8, PadU7(dim)), make([]int8, 2*PadU4(dim)), make([]int8, 2*PadU4(dim))
	sum := int32(0)
	for k := range dim {
		n := uint8(rnd.IntN(16))
		row[k/blockU4*lineBytes+k%lineBytes] |= n << (k % blockU4 / lineBytes * 4)
		codes[k], q7[k], s8[k] = 8*n+4, uint8(rnd.IntN(128)), int8(rnd.IntN(256)-128)
		shifted[k] = int8(q7[k]) - 4
		sum += int32(s8[k])
	}
	var l2, l2x [1]uint32
	var dot, dotx [1]int32
	L2U4(shifted, row, len(row), []uint32{0}, l2[:])
	L2U7(q7, codes, len(codes), []uint32{0}, l2x[:])
	DotU4S8(s8, row, len(row), []uint32{0}, dot[:])
	DotU7S8(s8[:len(codes)], codes, len(codes), []uint32{0}, dotx[:])
	if l2 != l2x || dot[0]+4*sum != dotx[0] {
		t.Errorf("nibbles give %d and %d, their codes %d and %d", l2, dot[0]+4*sum, l2x, dotx)
	}
}

func TestNibbleShapes(t *testing.T) {
	for name, call := range map[string]func(){
		"short query": func() { L2U4(make([]int8, 64), make([]uint8, 64), 64, []uint32{0}, make([]uint32, 1)) },
		"stride":      func() { DotU4S8(make([]int8, 64), make([]uint8, 64), 32, []uint32{0}, make([]int32, 1)) },
		"long":        func() { L2U4(make([]int8, 1<<18), make([]uint8, 1<<17), 1<<17, []uint32{0}, make([]uint32, 1)) },
		"slot":        func() { L2U4(make([]int8, 128), make([]uint8, 64), 64, []uint32{1}, make([]uint32, 1)) },
		"out":         func() { DotU4S8(make([]int8, 128), make([]uint8, 64), 64, []uint32{0}, nil) },
	} {
		func() {
			defer func() {
				if _, ok := recover().(string); !ok {
					t.Errorf("%s: no panic", name)
				}
			}()
			call()
		}()
	}
	for _, c := range [][2]int{{1, 64}, {128, 64}, {129, 128}, {784, 448}} {
		if got := PadU4(c[0]); got != c[1] {
			t.Errorf("PadU4(%d) is %d, want %d", c[0], got, c[1])
		}
	}
}

func FuzzNibbles(f *testing.F) {
	f.Add([]byte{0, 127, 128, 255}, uint16(63), uint8(3), uint8(5))
	f.Add([]byte("\x01\xf2\x03"), uint16(256), uint8(19), uint8(9))
	f.Fuzz(func(t *testing.T, data []byte, dim uint16, rows, slots uint8) {
		d, r, s := fuzzShape(dim, rows, slots)
		p := newPen(t)
		for _, tr := range machineTiers() {
			next := cycle(data)
			checkNibbles(t, p, fuzzRand(data), tr, d, r, s, func() int8 { return int8(next()) }, next)
		}
	})
}

// TestNibbleQuads: four queries at once are four queries.
func TestNibbleQuads(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 3))
	for _, n := range []int{0, 1, quadRows, quadRows + 1, 3*quadRows + 5} {
		rows, slots := make([]uint8, 10*128), make([]uint32, n)
		for i := range rows {
			rows[i] = uint8(rnd.Uint32())
		}
		for j := range slots {
			slots[j] = uint32(rnd.IntN(10))
		}
		var queries [4][]int8
		for i := range queries {
			queries[i] = make([]int8, 256)
			for k := range queries[i] {
				queries[i][k] = int8(rnd.IntN(128) - 4)
			}
		}
		l2x4, dotx4 := make([][4]uint32, n), make([][4]int32, n)
		L2U4Quad(&queries, rows, 128, slots, l2x4)
		DotU4S8Quad(&queries, rows, 128, slots, dotx4)
		for j, s := range slots {
			for i, q := range queries {
				if l2, dot := oracleU4(q, rows[128*s:][:128]); l2x4[j][i] != l2 || dotx4[j][i] != dot {
					t.Fatalf("row %d, query %d: got %d and %d, want %d and %d", j, i, l2x4[j][i], dotx4[j][i], l2, dot)
				}
			}
		}
	}
}
