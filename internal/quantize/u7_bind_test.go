package quantize

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/segue-ann/segue/internal/distance"
)

func norm(v []float32) float64 {
	var sum float64
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	return math.Sqrt(sum)
}

func dist(a, b []float32) float64 {
	var sum float64
	for i := range a {
		d := float64(a[i]) - float64(b[i])
		sum += d * d
	}
	return math.Sqrt(sum)
}

func dot(a, b []float32) (sum, magnitude float64) {
	for i := range a {
		p := float64(a[i]) * float64(b[i])
		sum += p
		magnitude += math.Abs(p)
	}
	return sum, magnitude
}

func largest(v []float32) (m float64) {
	for _, x := range v {
		m = max(m, math.Abs(float64(x)))
	}
	return m
}

// TestL2Error proves the stated error of L2 through the kernels.
func TestL2Error(t *testing.T) {
	rnd := rand.New(rand.NewPCG(2, 1))
	for name, source := range sources(rnd) {
		for _, dim := range testDims {
			vecs := vectors(30, dim, source)
			c := mustFit(t, dim, vecs[:15])
			stride := distance.PadU7(dim)
			query, row, out := make([]uint8, stride), make([]uint8, stride), []uint32{0}
			for i, y := range vecs {
				x := vecs[(i*7+1)%len(vecs)]
				bound := c.BindL2(query, y)
				clipped := c.Encode(row, x)
				distance.L2U7(query, row, stride, []uint32{0}, out)
				got, want := math.Sqrt(float64(bound.Distance(out[0]))), dist(x, y)
				lo, hi := c.Range()
				slack := 1e-6*(got+want) + max(math.Abs(lo), math.Abs(hi))*0x1p-22*math.Sqrt(float64(dim))
				if e := math.Abs(got - want); e > dist(x, roundTrip(c, x))+dist(y, roundTrip(c, y))+slack {
					t.Fatalf("%s, dim %d: distance %g, want %g: more than both decoding errors", name, dim, got, want)
				} else if clipped+c.Encode(row, y) == 0 && e > 2*c.ErrorBound()*math.Sqrt(float64(dim))+slack {
					t.Fatalf("%s, dim %d: distance %g, want %g: error %g", name, dim, got, want, e)
				}
			}
		}
	}
}

// TestDotError proves the stated error of the dot product through the kernels, for queries of any scale.
func TestDotError(t *testing.T) {
	rnd := rand.New(rand.NewPCG(2, 2))
	for name, source := range sources(rnd) {
		for qname, querySource := range sources(rnd) {
			for _, dim := range testDims {
				vecs, queries := vectors(10, dim, source), vectors(10, dim, querySource)
				c := mustFit(t, dim, vecs[:5])
				stride := distance.PadU7(dim)
				query, row, out := make([]int8, stride), make([]uint8, stride), []int32{0}
				for i, x := range vecs {
					y := queries[i]
					bound := c.BindDot(query, y)
					clipped := c.Encode(row, x)
					distance.DotU7S8(query, row, stride, []uint32{0}, out)
					want, magnitude := dot(x, y)
					e := math.Abs(float64(bound.Dot(out[0])) - want)
					scale := 32 * float64(c.Step) * largest(y) / 127 * float64(dim)
					// Rounding of float32: of the sums, and of what cancels when the range is far from zero.
					slack := 1e-6*magnitude + 0x1p-22*(math.Abs(float64(bound.Base))+float64(bound.Scale)*math.Abs(float64(out[0]))) +
						0x1p-148*(1+math.Abs(float64(out[0])))
					if e > dist(x, roundTrip(c, x))*norm(y)*(1+1e-6)+scale*(1+1e-6)+slack {
						t.Fatalf("%s by %s, dim %d: error %g of %g is beyond that of the decoded vector", name, qname, dim, e, want)
					}
					if clipped == 0 && e > c.ErrorBound()*math.Sqrt(float64(dim))*norm(y)+scale*(1+1e-6)+slack {
						t.Fatalf("%s by %s, dim %d: error %g of %g", name, qname, dim, e, want)
					}
				}
			}
		}
	}
}

// TestBoundQueryShape: pads are zero whatever was there, and a zero query gives zero for every row.
func TestBoundQueryShape(t *testing.T) {
	c := U7{Dim: 70, Lo: -3, Step: 0.05}
	row := make([]uint8, 128)
	c.Encode(row, slices.Repeat([]float32{1.5}, 70))
	signed := slices.Repeat([]int8{-1}, 128)
	bound := c.BindDot(signed, make([]float32, 70))
	if slices.Max(signed) != 0 || slices.Min(signed) != 0 {
		t.Errorf("zero query is %v", signed)
	}
	out := []int32{0}
	distance.DotU7S8(signed, row, 128, []uint32{0}, out)
	if got := bound.Dot(out[0]); got != 0 {
		t.Errorf("dot of a zero query is %g", got)
	}
	signed = slices.Repeat([]int8{-1}, 128)
	c.BindDot(signed, slices.Repeat([]float32{-2}, 70))
	if !slices.Equal(signed[:70], slices.Repeat([]int8{-127}, 70)) || slices.Max(signed[70:]) != 0 || slices.Min(signed[70:]) != 0 {
		t.Errorf("bound query is %v", signed)
	}
	codes := slices.Repeat([]uint8{255}, 128)
	c.BindL2(codes, make([]float32, 70))
	if slices.Max(codes[70:]) != 0 {
		t.Errorf("pad of the bound query is %v", codes[70:])
	}
}

// TestResultsAreMonotone: integers may be compared instead of the distances they stand for.
func TestResultsAreMonotone(t *testing.T) {
	rnd := rand.New(rand.NewPCG(2, 3))
	for range 1000 {
		l2 := L2Query{Scale: rnd.Float32()}
		dp := DotQuery{Base: float32(rnd.NormFloat64()), Scale: rnd.Float32()}
		a, b := rnd.Int32(), rnd.Int32()
		a, b = min(a, b), max(a, b)
		if l2.Distance(uint32(a)) > l2.Distance(uint32(b)) {
			t.Fatalf("%+v decreases from %d to %d", l2, a, b)
		}
		if dp.Dot(a) > dp.Dot(b) || dp.Dot(-b) > dp.Dot(-a) {
			t.Fatalf("%+v decreases between %d and %d", dp, a, b)
		}
	}
}

// TestRecallOfCodes: the 15 nearest by codes contain nearly all of the 10 truly nearest, so rescoring a few repairs what
// coding loses. Heavy tails are what rotation is for, and for a cosine the L2 of normalised vectors beats the dot product,
// because its error shrinks with the distance.
func TestRecallOfCodes(t *testing.T) {
	const dim = 96
	rnd := rand.New(rand.NewPCG(2, 4))
	for _, test := range []struct {
		name            string
		floorL2, floorP float64
	}{
		{"normal", 0.995, 0.995},
		{"relu", 0.995, 0.995},
		{"bytes", 0.995, 0.995},
		{"heavy", 0.97, 0.93},
	} {
		vecs := vectors(3040, dim, sources(rnd)[test.name])
		stored, queries := vecs[:3000], vecs[3000:]
		l2, dp := recallL2(t, stored, queries), recallDot(t, stored, queries)
		t.Logf("%s: recall 10@15 of codes: L2 %.4f, dot %.4f", test.name, l2, dp)
		if l2 < test.floorL2 || dp < test.floorP {
			t.Errorf("%s: recall of codes: L2 %.4f below %g, or dot %.4f below %g", test.name, l2, test.floorL2, dp, test.floorP)
		}
	}

	// Tight clusters on the sphere: near neighbours differ in their last digits.
	centres := vectors(30, dim, sources(rnd)["normal"])
	vecs := vectors(3040, dim, sources(rnd)["normal"])
	for i, vec := range vecs {
		for k := range vec {
			vec[k] = 0.1*vec[k] + centres[i%len(centres)][k]
		}
		scale := float32(1 / norm(vec))
		for k := range vec {
			vec[k] *= scale
		}
	}
	l2, dp := recallL2(t, vecs[:3000], vecs[3000:]), recallDot(t, vecs[:3000], vecs[3000:])
	t.Logf("clusters on the sphere: recall 10@15 of codes: L2 %.4f, dot %.4f", l2, dp)
	if l2 < 0.95 || l2 < dp {
		t.Errorf("clusters on the sphere: recall of codes: L2 %.4f, dot %.4f", l2, dp)
	}
}

// arena codes vectors into rows and lists all slots.
func arena(c U7, vecs [][]float32) (rows []uint8, slots []uint32) {
	stride := distance.PadU7(c.Dim)
	rows, slots = make([]uint8, len(vecs)*stride), make([]uint32, len(vecs))
	for i, vec := range vecs {
		c.Encode(rows[i*stride:][:stride], vec)
		slots[i] = uint32(i)
	}
	return rows, slots
}

// recallL2 returns the share of the 10 nearest by L2 that are among the 15 nearest by codes.
func recallL2(t *testing.T, stored, queries [][]float32) float64 {
	c, err := FitU7(len(stored[0]), slices.Values(stored[:500]), ClipL2)
	if err != nil {
		t.Fatal(err)
	}
	rows, slots := arena(c, stored)
	query, out, hits := make([]uint8, distance.PadU7(c.Dim)), make([]uint32, len(stored)), 0
	for _, y := range queries {
		c.BindL2(query, y)
		distance.L2U7(query, rows, len(query), slots, out)
		truth := nearest(len(stored), 10, func(i int) float64 { return dist(stored[i], y) })
		hits += common(truth, nearest(len(stored), 15, func(i int) float64 { return float64(out[i]) }))
	}
	return float64(hits) / float64(10*len(queries))
}

// recallDot is recallL2 for the largest dot products.
func recallDot(t *testing.T, stored, queries [][]float32) float64 {
	c, err := SpanU7(len(stored[0]), slices.Values(stored), 0.1)
	if err != nil {
		t.Fatal(err)
	}
	rows, slots := arena(c, stored)
	query, out, hits := make([]int8, distance.PadU7(c.Dim)), make([]int32, len(stored)), 0
	for _, y := range queries {
		c.BindDot(query, y)
		distance.DotU7S8(query, rows, len(query), slots, out)
		truth := nearest(len(stored), 10, func(i int) float64 { d, _ := dot(stored[i], y); return -d })
		hits += common(truth, nearest(len(stored), 15, func(i int) float64 { return -float64(out[i]) }))
	}
	return float64(hits) / float64(10*len(queries))
}

// nearest returns the k of 0..n-1 with the least keys.
func nearest(n, k int, key func(int) float64) []int {
	keys, order := make([]float64, n), make([]int, n)
	for i := range order {
		keys[i], order[i] = key(i), i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case keys[a] < keys[b]:
			return -1
		case keys[a] > keys[b]:
			return 1
		}
		return 0
	})
	return order[:k]
}

func common(a, b []int) (n int) {
	for _, x := range a {
		if slices.Contains(b, x) {
			n++
		}
	}
	return n
}
