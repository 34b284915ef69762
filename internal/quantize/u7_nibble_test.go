package quantize

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/segue-ann/segue/internal/distance"
)

// TestNibbleError proves the stated error of a component, that clipping is counted as Encode does, and that pads are zero.
func TestNibbleError(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 1))
	for name, source := range sources(rnd) {
		for _, dim := range testDims {
			vecs := vectors(30, dim, source)
			c := mustFit(t, dim, vecs[:15])
			lo, hi := c.Range()
			for _, vec := range vecs {
				row, codes := slices.Repeat([]uint8{255}, distance.PadU4(dim)), make([]uint8, distance.PadU7(dim))
				if got, want := c.EncodeNibbles(row, vec), c.Encode(codes, vec); got != want {
					t.Fatalf("%s, dim %d: %d clipped, want %d", name, dim, got, want)
				}
				got := make([]float32, dim)
				c.DecodeNibbles(got, row)
				for i, x := range vec {
					e, inside := math.Abs(float64(x)-float64(got[i])), float64(x) >= lo && float64(x) <= hi
					if inside && e > c.NibbleErrorBound() {
						t.Fatalf("%s, dim %d: %g comes back as %g, error %g > %g", name, dim, x, got[i], e, c.NibbleErrorBound())
					}
				}
				used := 0
				for _, both := range row {
					if both&15 != 0 {
						used++
					}
					if both>>4 != 0 {
						used++
					}
				}
				zero := 0
				for _, code := range codes[:dim] {
					if code>>3 == 0 {
						zero++
					}
				}
				if used != dim-zero {
					t.Fatalf("%s, dim %d: %d nibbles are not zero, want %d", name, dim, used, dim-zero)
				}
			}
		}
	}
}

// TestNibbleEstimates: what the kernels and a bound query give is the distance or product of the decoded vectors.
func TestNibbleEstimates(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 2))
	for name, source := range sources(rnd) {
		if name == "tiny" || name == "huge" { // squares leave float32
			continue
		}
		for _, dim := range testDims {
			vecs := vectors(20, dim, source)
			c := mustFit(t, dim, vecs)
			stride := distance.PadU4(dim)
			row, query := make([]uint8, stride), make([]int8, 2*stride)
			back, asked := make([]float32, dim), make([]float32, dim)
			for i := 1; i < len(vecs); i++ {
				c.EncodeNibbles(row, vecs[i])
				c.DecodeNibbles(back, row)
				var l2 [1]uint32
				q := c.BindL2Nibbles(query, vecs[0])
				distance.L2U4(query, row, stride, []uint32{0}, l2[:])
				codes := make([]uint8, distance.PadU7(dim))
				c.Encode(codes, vecs[0])
				c.Decode(asked, codes)
				want := 0.0
				for k := range dim {
					d := float64(asked[k]) - float64(back[k])
					want += d * d
				}
				bound := 1e-4*want + 1e-3*float64(dim)*float64(c.Step)*float64(c.Step)*16 + 1e-5*float64(dim)*max(math.Abs(float64(c.Lo)), 1)
				if got := float64(q.Distance(l2[0])); math.Abs(got-want) > bound {
					t.Fatalf("%s, dim %d: distance %g, want %g", name, dim, got, want)
				}
				var dot [1]int32
				p := c.BindDotNibbles(query, vecs[0])
				distance.DotU4S8(query, row, stride, []uint32{0}, dot[:])
				want, magnitude, largest := 0.0, 0.0, 0.0
				for k, y := range vecs[0] {
					want += float64(y) * float64(back[k])
					magnitude += math.Abs(float64(y) * float64(back[k]))
					largest = max(largest, math.Abs(float64(y)))
				}
				// Each signed byte is off by half a unit at most, and the row by no more than its range about the middle.
				bound = float64(dim)*largest/127/2*64*float64(c.Step) + 1e-4*magnitude + 1e-6*math.Abs(c.Mid())*float64(dim)*largest + 1e-12
				if got := float64(p.Dot(dot[0])); math.Abs(got-want) > bound {
					t.Fatalf("%s, dim %d: product %g, want %g within %g", name, dim, got, want, bound)
				}
			}
		}
	}
}

func TestNibbleLengthsPanic(t *testing.T) {
	c := U7{Dim: 3, Step: 1}
	for name, call := range map[string]func(){
		"encode":   func() { c.EncodeNibbles(make([]uint8, 3), make([]float32, 3)) },
		"vector":   func() { c.EncodeNibbles(make([]uint8, 64), make([]float32, 4)) },
		"decode":   func() { c.DecodeNibbles(make([]float32, 3), make([]uint8, 128)) },
		"bind L2":  func() { c.BindL2Nibbles(make([]int8, 64), make([]float32, 3)) },
		"bind odd": func() { c.BindL2Nibbles(make([]int8, 129), make([]float32, 3)) },
		"bind dot": func() { c.BindDotNibbles(make([]int8, 128), make([]float32, 2)) },
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
}
