package quantize

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/segue-ann/segue/internal/distance"
)

func rotationDims() []int {
	dims := []int{384, 513, 768, 784, 960, 1023, 1024, 1025, 1536, 3072}
	for d := 1; d <= 130; d++ {
		dims = append(dims, d)
	}
	return dims
}

// TestRotationKeeps: norms, distances and dot products survive, and the inverse brings vectors back.
func TestRotationKeeps(t *testing.T) {
	rnd := rand.New(rand.NewPCG(4, 1))
	for _, dim := range rotationDims() {
		r := NewRotation(dim, rnd.Uint64())
		if r.Dim() != dim {
			t.Fatalf("dimension %d, want %d", r.Dim(), dim)
		}
		vecs := vectors(2, dim, sources(rnd)["heavy"])
		x, y := vecs[0], vecs[1]
		rx, ry, back := make([]float32, dim), make([]float32, dim), make([]float32, dim)
		r.Apply(rx, x)
		r.Apply(ry, y)
		tolerance := 1e-6 * (1 + norm(x)) * (1 + norm(y))
		if e := math.Abs(norm(rx) - norm(x)); e > tolerance {
			t.Errorf("dim %d: norm changes by %g", dim, e)
		}
		if e := math.Abs(dist(rx, ry) - dist(x, y)); e > tolerance {
			t.Errorf("dim %d: distance changes by %g", dim, e)
		}
		before, _ := dot(x, y)
		after, _ := dot(rx, ry)
		if e := math.Abs(after - before); e > tolerance {
			t.Errorf("dim %d: dot product changes by %g", dim, e)
		}
		r.Invert(back, rx)
		if e := dist(back, x); e > tolerance {
			t.Errorf("dim %d: the inverse is %g away", dim, e)
		}
		r.Apply(x, x)
		if !slices.Equal(x, rx) {
			t.Errorf("dim %d: in place differs", dim)
		}
	}
}

// TestRotationSpreads: a vector that is one component becomes one in which no component is larger than five
// sigma of noise of the same energy, and in which quarters have within a factor of two of their even share of it.
func TestRotationSpreads(t *testing.T) {
	for _, dim := range []int{64, 65, 100, 127, 128, 200, 257, 384, 513, 784, 960, 1023} {
		r := NewRotation(dim, 42)
		for _, at := range []int{0, 1, dim / 3, dim / 2, dim - 1} {
			vec := make([]float32, dim)
			vec[at] = 1
			r.Apply(vec, vec)
			if m := largest(vec); m*m > 25/float64(dim) {
				t.Errorf("dim %d, component %d: the largest has %.1f times its even share", dim, at, m*m*float64(dim))
			}
			for _, part := range [][]float32{vec[:dim/4], vec[3*dim/4:], vec[dim/4 : 3*dim/4]} {
				share := norm(part) * norm(part) * float64(dim) / float64(len(part))
				if share < 0.5 || share > 2 {
					t.Errorf("dim %d, component %d: a part has %.2f times its even share", dim, at, share)
				}
			}
		}
	}
}

// TestRotationHelps: for vectors dominated by a few components, codes of rotated vectors err much less.
func TestRotationHelps(t *testing.T) {
	const n, dim = 200, 200
	rnd := rand.New(rand.NewPCG(4, 2))
	vecs := vectors(n, dim, func() float32 { return float32(rnd.NormFloat64()) })
	for _, vec := range vecs {
		for i := range 4 {
			vec[i*7] *= 40
		}
	}
	r, rotated := NewRotation(dim, 1), make([][]float32, n)
	for i, vec := range vecs {
		rotated[i] = make([]float32, dim)
		r.Apply(rotated[i], vec)
	}
	mean := func(vecs [][]float32) (sum float64) {
		c := mustFit(t, dim, vecs)
		for _, vec := range vecs {
			sum += dist(vec, roundTrip(c, vec)) / n
		}
		return sum
	}
	plain, after := mean(vecs), mean(rotated)
	t.Logf("mean error %.3g, rotated %.3g", plain, after)
	if after > plain/2 {
		t.Errorf("mean error %.3g becomes %.3g", plain, after)
	}
}

// TestRotationIsFixed pins the rotation of a seed, which stored codes depend on.
func TestRotationIsFixed(t *testing.T) {
	vec := []float32{1, 2, 3, 4, 5, 6}
	NewRotation(6, 7).Apply(vec, vec)
	if got, want := fmt.Sprint(vec), "[5.7499995 -4.875 0.37500006 -5 -2.8750002 -0.87499994]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	other := []float32{1, 2, 3, 4, 5, 6}
	NewRotation(6, 8).Apply(other, other)
	if slices.Equal(vec, other) {
		t.Error("two seeds give one rotation")
	}
}

// TestHadamard compares the transform with its definition: entry (i, j) of the matrix is -1 to the number of common bits.
func TestHadamard(t *testing.T) {
	rnd := rand.New(rand.NewPCG(4, 3))
	for n := 1; n <= 256; n *= 2 {
		x := vectors(1, n, func() float32 { return float32(rnd.IntN(100) - 50) })[0]
		want := make([]float32, n)
		for i := range want {
			for j, v := range x {
				sign := float32(1)
				for b := i & j; b != 0; b &= b - 1 {
					sign = -sign
				}
				want[i] += sign * v
			}
		}
		hadamard(x)
		if !slices.Equal(x, want) {
			t.Errorf("length %d: got %v, want %v", n, x, want)
		}
	}
}

func FuzzRotation(f *testing.F) {
	f.Add(uint16(5), uint64(1))
	f.Add(uint16(784), uint64(2))
	f.Fuzz(func(t *testing.T, dim uint16, seed uint64) {
		d := 1 + int(dim)%2000
		rnd := rand.New(rand.NewPCG(seed, 5))
		vec := vectors(1, d, sources(rnd)["normal"])[0]
		got := make([]float32, d)
		r := NewRotation(d, seed)
		r.Apply(got, vec)
		if e := math.Abs(norm(got) - norm(vec)); e > 1e-5*norm(vec) {
			t.Errorf("dim %d: norm changes by %g", d, e)
		}
		r.Invert(got, got)
		if e := dist(got, vec); e > 1e-5*norm(vec) {
			t.Errorf("dim %d: the inverse is %g away", d, e)
		}
	})
}

func BenchmarkRotation(b *testing.B) {
	for _, dim := range []int{64, 128, 784} {
		b.Run(fmt.Sprint(dim), func(b *testing.B) {
			r, vec := NewRotation(dim, 1), make([]float32, dim)
			for b.Loop() {
				r.Apply(vec, vec)
			}
		})
	}
}

func BenchmarkCodec(b *testing.B) {
	const dim = 784
	rnd := rand.New(rand.NewPCG(4, 4))
	vec := vectors(1, dim, sources(rnd)["normal"])[0]
	c := U7{Dim: dim, Lo: -3, Step: 6. / 127}
	codes, signed, halves := make([]uint8, distance.PadU7(dim)), make([]int8, distance.PadU7(dim)), make([]uint16, dim)
	for name, run := range map[string]func(){
		"encode": func() { c.Encode(codes, vec) }, "decode": func() { c.Decode(vec, codes) }, "bindDot": func() { c.BindDot(signed, vec) },
		"encodeF16": func() { EncodeF16(halves, vec) }, "decodeF16": func() { DecodeF16(vec, halves) },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				run()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/dim, "ns/component")
		})
	}
}
