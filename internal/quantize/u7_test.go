package quantize

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/segue-ann/segue/internal/distance"
)

var testDims = []int{1, 2, 3, 15, 16, 63, 64, 65, 100, 127, 128, 129, 257, 784, 960}

// sources are component distributions that embeddings have.
func sources(rnd *rand.Rand) map[string]func() float32 {
	return map[string]func() float32{
		"normal":   func() float32 { return float32(rnd.NormFloat64()) },
		"uniform":  func() float32 { return rnd.Float32() },
		"bytes":    func() float32 { return float32(rnd.IntN(256)) },
		"relu":     func() float32 { return float32(max(0, rnd.NormFloat64())) },
		"heavy":    func() float32 { return float32(rnd.NormFloat64() * math.Exp(rnd.NormFloat64())) },
		"shifted":  func() float32 { return float32(1000 + rnd.NormFloat64()) },
		"tiny":     func() float32 { return float32(1e-15 * rnd.NormFloat64()) },
		"huge":     func() float32 { return float32(1e15 * rnd.NormFloat64()) },
		"constant": func() float32 { return 0.25 },
	}
}

func vectors(n, dim int, source func() float32) [][]float32 {
	vecs := make([][]float32, n)
	for i := range vecs {
		vecs[i] = make([]float32, dim)
		for k := range vecs[i] {
			vecs[i][k] = source()
		}
	}
	return vecs
}

func mustFit(t testing.TB, dim int, vecs [][]float32) U7 {
	t.Helper()
	c, err := FitU7(dim, slices.Values(vecs), ClipL2)
	if err != nil {
		t.Fatalf("FitU7: %v", err)
	}
	return c
}

// roundTrip returns the decoded codes of vec.
func roundTrip(c U7, vec []float32) []float32 {
	codes, out := make([]uint8, distance.PadU7(c.Dim)), make([]float32, c.Dim)
	c.Encode(codes, vec)
	c.Decode(out, codes)
	return out
}

// TestComponentError proves the stated error of a component, the count of clipped ones and the shape of codes.
func TestComponentError(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	for name, source := range sources(rnd) {
		for _, dim := range testDims {
			vecs := vectors(50, dim, source)
			c := mustFit(t, dim, vecs[:25]) // the others may be clipped
			lo, hi := c.Range()
			half := float64(c.Step) / 2
			for _, vec := range vecs {
				codes := slices.Repeat([]uint8{255}, distance.PadU7(dim))
				clipped, outside := c.Encode(codes, vec), 0
				got := make([]float32, dim)
				c.Decode(got, codes)
				for i, x := range vec {
					e := math.Abs(float64(x) - float64(got[i]))
					beyond := max(lo-float64(x), float64(x)-hi)
					if beyond > half {
						outside++
						if math.Abs(e-beyond) > c.ErrorBound() {
							t.Fatalf("%s, dim %d: %g is clipped to %g by codec %+v", name, dim, x, got[i], c)
						}
					} else if e > c.ErrorBound() {
						t.Fatalf("%s, dim %d: %g comes back as %g, error %g > %g", name, dim, x, got[i], e, c.ErrorBound())
					}
					if codes[i] > 127 {
						t.Fatalf("%s, dim %d: code %d", name, dim, codes[i])
					}
				}
				if clipped != outside {
					t.Fatalf("%s, dim %d: %d clipped, %d outside", name, dim, clipped, outside)
				}
				if pad := codes[dim:]; slices.Max(append(pad, 0)) != 0 {
					t.Fatalf("%s, dim %d: pad is %v", name, dim, pad)
				}
			}
		}
	}
}

// TestEncodeIsIdempotent: coding a decoded vector gives the same codes, so re-coding never drifts.
func TestEncodeIsIdempotent(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for name, source := range sources(rnd) {
		vecs := vectors(100, 64, source)
		c := mustFit(t, 64, vecs)
		for _, vec := range vecs {
			once := roundTrip(c, vec)
			if twice := roundTrip(c, once); !slices.Equal(once, twice) {
				t.Fatalf("%s: %v becomes %v", name, once, twice)
			}
		}
	}
}

// TestEncodeIsMonotone: a larger component never has a smaller code, so order along an axis survives.
func TestEncodeIsMonotone(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 3))
	for name, source := range sources(rnd) {
		values := vectors(1, 1000, source)[0]
		values = append(values, -math.MaxFloat32, math.MaxFloat32, 0, float32(math.Inf(1)), float32(math.Inf(-1)))
		slices.Sort(values)
		c := mustFit(t, 800, [][]float32{values[100:900]})
		c.Dim = len(values)
		codes := make([]uint8, distance.PadU7(len(values)))
		c.Encode(codes, values)
		if !slices.IsSorted(codes[:len(values)]) {
			t.Errorf("%s: codes do not ascend", name)
		}
	}
}

func TestEncodeNaN(t *testing.T) {
	c := U7{Dim: 3, Lo: -1, Step: 1}
	codes := make([]uint8, 64)
	if clipped := c.Encode(codes, []float32{5, float32(math.NaN()), 7}); clipped != 1 || codes[1] != 0 {
		t.Errorf("NaN has code %d, %d clipped", codes[1], clipped)
	}
}

// TestFitExact: data on a grid of at most 128 values is coded without loss.
func TestFitExact(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 4))
	vecs := vectors(200, 32, func() float32 { return float32(rnd.IntN(128)) })
	c := mustFit(t, 32, vecs)
	for _, vec := range vecs {
		if got := roundTrip(c, vec); !slices.Equal(got, vec) {
			t.Fatalf("codec %+v: %v comes back as %v", c, vec, got)
		}
	}
}

// TestFitClipsOutliers: a few wild components do not coarsen the others, and at most 0.5 % are given up.
func TestFitClipsOutliers(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 5))
	vecs := vectors(1000, 64, func() float32 { return float32(rnd.NormFloat64()) })
	plain := mustFit(t, 64, vecs)
	for i := range 20 {
		vecs[i*50][i] = float32(12 * (1 - 2*(i&1)))
	}
	wild := mustFit(t, 64, vecs)
	if wild.Step > 1.5*plain.Step {
		t.Errorf("20 outliers of 12 sigma in 64000 components widen the step from %g to %g", plain.Step, wild.Step)
	}
	if n := clippedOf(wild, vecs); n == 0 || n > ClipL2*64000 {
		t.Errorf("%d of 64000 components clipped", n)
	}
	c, err := FitU7(64, slices.Values(vecs), 0)
	if n := clippedOf(c, vecs); err != nil || n > 0 {
		t.Errorf("%d of 64000 components clipped where none may be, error %v", n, err)
	}
}

// TestSpan: nothing is clipped, nor is what exceeds the largest component by half of the room; vectors that are not finite
// are passed over; and the range is no wider than asked for.
func TestSpan(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 8))
	for _, room := range []float64{0, 0.1, 1} {
		vecs := make([][]float32, 200)
		lo, hi := 0.0, 0.0
		for i := range vecs {
			vecs[i] = make([]float32, 24)
			scale := math.Exp(rnd.NormFloat64())
			for j := range vecs[i] {
				vecs[i][j] = float32(scale * rnd.NormFloat64())
				lo, hi = min(lo, float64(vecs[i][j])), max(hi, float64(vecs[i][j]))
			}
		}
		bad := slices.Clone(vecs[0])
		bad[3] = float32(math.Inf(1))
		c, err := SpanU7(24, slices.Values(slices.Concat(vecs, [][]float32{bad})), room)
		if err != nil {
			t.Fatal(err)
		}
		edge := make([]float32, 24)
		edge[0], edge[1] = float32(lo-0.49*room*(hi-lo)), float32(hi+0.49*room*(hi-lo))
		if n := clippedOf(c, vecs) + clippedOf(c, [][]float32{edge}); n > 0 {
			t.Errorf("room %g: %d components clipped", room, n)
		}
		if low, high := c.Range(); high-low > (1+room)*(hi-lo)*1.001 {
			t.Errorf("room %g: range %g to %g for components from %g to %g", room, low, high, lo, hi)
		}
	}
	if _, err := SpanU7(2, slices.Values([][]float32{}), 0); !errors.Is(err, ErrNoSample) {
		t.Errorf("no vectors: %v", err)
	}
	if _, err := SpanU7(2, slices.Values([][]float32{{math.MaxFloat32, -math.MaxFloat32}}), 0.1); err == nil {
		t.Error("a range beyond float32 is taken")
	}
}

func clippedOf(c U7, vecs [][]float32) (n int) {
	codes := make([]uint8, distance.PadU7(c.Dim))
	for _, vec := range vecs {
		n += c.Encode(codes, vec)
	}
	return n
}

// TestFitIsNearlyOptimal compares the error of the fitted range with the best of many ranges.
func TestFitIsNearlyOptimal(t *testing.T) {
	const n, dim = 1000, 64
	rnd := rand.New(rand.NewPCG(1, 6))
	for name, source := range sources(rnd) {
		vecs := vectors(n, dim, source)
		sample := slices.Concat(vecs...)
		sorted := slices.Clone(sample)
		slices.Sort(sorted)
		best := math.Inf(1)
		for cut := range 160 { // up to 0.5 % together
			best = min(best, spanU7(dim, sorted[cut], sorted[len(sorted)-1-cut]).meanError(sample))
		}
		if got := mustFit(t, dim, vecs).meanError(sample); got > 1.1*best {
			t.Errorf("%s: mean error %g, %g is possible", name, got, best)
		}
	}
}

func TestFitErrors(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, vecs := range [][][]float32{nil, {{nan, 1}, {1, inf}, {-inf, 0}}} {
		if _, err := FitU7(2, slices.Values(vecs), ClipL2); !errors.Is(err, ErrNoSample) {
			t.Errorf("FitU7 of %v: %v", vecs, err)
		}
	}
	c := mustFit(t, 2, [][]float32{{nan, 1000}, {0, 1}, {2, 127}})
	if want := (U7{Dim: 2, Lo: 0, Step: 1}); c != want {
		t.Errorf("got %+v, want %+v", c, want)
	}
	for _, c := range []U7{{}, {Dim: 4}, {Dim: 0, Step: 1}, {Dim: 4, Step: -1}, {Dim: 4, Step: nan}, {Dim: 4, Step: inf}, {Dim: 4, Lo: nan, Step: 1},
		{Dim: 4, Lo: inf, Step: 1}, {Dim: 4, Step: 0x1p-149}, {Dim: 4, Lo: 3e38, Step: 1e37}, {Dim: -1, Step: 1}} {
		var re *RangeError
		if err := c.Validate(); !errors.As(err, &re) || re.Codec.Dim != c.Dim || re.Error() == "" {
			t.Errorf("Validate of %+v: %v", c, err)
		}
	}
	if err := (U7{Dim: 4, Lo: -1, Step: 1e-3}).Validate(); err != nil {
		t.Error(err)
	}
	var re *RangeError
	if _, err := FitU7(1, slices.Values([][]float32{{math.MaxFloat32}, {-math.MaxFloat32}}), 0); err != nil && !errors.As(err, &re) {
		t.Errorf("FitU7 of the whole range: %v", err)
	}
}

// TestFitStops: FitU7 does not ask for more vectors than it needs.
func TestFitStops(t *testing.T) {
	vec, asked := make([]float32, 1<<16), 0
	_, err := FitU7(len(vec), func(yield func([]float32) bool) {
		for asked = 1; yield(vec); asked++ {
		}
	}, ClipL2)
	if err != nil || asked > maxSample/len(vec) {
		t.Errorf("%d vectors asked for, error %v", asked, err)
	}
}

func TestLengthsPanic(t *testing.T) {
	c := U7{Dim: 3, Step: 1}
	for name, call := range map[string]func(){
		"short codes": func() { c.Encode(make([]uint8, 3), make([]float32, 3)) },
		"long vector": func() { c.Encode(make([]uint8, 64), make([]float32, 4)) },
		"decode":      func() { c.Decode(make([]float32, 4), make([]uint8, 64)) },
		"bind L2":     func() { c.BindL2(make([]uint8, 64), make([]float32, 2)) },
		"bind dot":    func() { c.BindDot(make([]int8, 3), make([]float32, 3)) },
		"sample":      func() { _, _ = FitU7(3, slices.Values([][]float32{{1, 2}}), 0) },
		"encode half": func() { EncodeF16(make([]uint16, 1), make([]float32, 2)) },
		"decode half": func() { DecodeF16(make([]float32, 1), make([]uint16, 2)) },
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

func FuzzU7(f *testing.F) {
	f.Add(float32(-1), float32(0.01), float32(0.3))
	f.Add(float32(1e30), float32(1e20), float32(-1e35))
	f.Add(float32(0), float32(0x1p-126), float32(1e-45))
	f.Fuzz(func(t *testing.T, lo, step, x float32) {
		c := U7{Dim: 1, Lo: lo, Step: step}
		if c.Validate() != nil || notFinite(x) {
			return
		}
		var codes [64]uint8
		clipped := c.Encode(codes[:], []float32{x})
		var out [1]float32
		c.Decode(out[:], codes[:])
		if e := math.Abs(float64(out[0]) - float64(x)); clipped == 0 && e > c.ErrorBound() {
			t.Errorf("%+v: %g comes back as %g, error %g > %g", c, x, out[0], e, c.ErrorBound())
		}
		first, last := c.Range()
		if outside := max(first-float64(x), float64(x)-last); outside > c.ErrorBound() && clipped == 0 {
			t.Errorf("%+v: %g is %g outside and not clipped", c, x, outside)
		}
	})
}
