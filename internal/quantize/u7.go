package quantize

import (
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
)

const (
	maxCode = 127
	midCode = 64

	// maxSample is the number of components that FitU7 looks at, maxMeasured the number it measures errors on.
	maxSample   = 1 << 20
	maxMeasured = 1 << 16

	// minStep is the smallest step: its reciprocal is finite.
	minStep = 0x1p-126
)

// ErrNoSample is returned by FitU7 when there is no finite component to take a range from.
var ErrNoSample = errors.New("quantize: no finite component to fit a scale to")

// U7 is a 7-bit scalar codec: Lo is the value of code 0, Step the distance between the values of two codes. The zero value
// is not valid.
type U7 struct {
	Dim  int
	Lo   float32
	Step float32 // Invariant: finite and positive
}

// RangeError reports a codec that cannot code.
type RangeError struct{ Codec U7 }

func (e *RangeError) Error() string {
	return fmt.Sprintf("quantize: no codec has dimension %d, low end %g and step %g", e.Codec.Dim, e.Codec.Lo, e.Codec.Step)
}

// Validate returns a *RangeError unless the codec can be used: the dimension is positive, the range finite and the step a
// normal number. For codecs that were read from a file.
func (c U7) Validate() error {
	lo, hi := c.Range()
	if c.Dim <= 0 || !(c.Step >= minStep) || !(math.Abs(lo) <= math.MaxFloat32) || !(math.Abs(hi) <= math.MaxFloat32) {
		return &RangeError{c}
	}
	return nil
}

func notFinite(x float32) bool { return !(x-x == 0) }

// ClipL2 is how much FitU7 may clip where distances are sought: clipping buys a finer step, which the distance of near
// neighbours needs. It hurts the vectors that have the largest components, and those are the answers when the largest inner
// product is sought; see SpanU7.
const ClipL2 = 5e-3

// clipShares are the shares of components that FitU7 tries to leave outside the range, half at either end.
var clipShares = [...]float64{0, 1e-4, 3e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2}

// FitU7 returns the codec for vectors of dim components like those given. Its range lies between two quantiles of the
// components: of a few shares to clip, from none to clip, it takes the one with the least mean of |x-x'| over vectors. (The
// mean square would give up the many for the few: five components of a thousand sigma would take all codes.)
//
// Vectors that are not finite are passed over, and none is asked for after the first 2^20 components; a thousand vectors
// are enough. It returns ErrNoSample if nothing is left, or a *RangeError if the components span more than float32 can hold.
// Cost: sorting the sample.
func FitU7(dim int, vectors iter.Seq[[]float32], clip float64) (U7, error) {
	var sample []float32
	for vec := range vectors {
		if len(vec) != dim {
			panic(fmt.Sprintf("quantize: sample of length %d for dimension %d", len(vec), dim))
		}
		if !slices.ContainsFunc(vec, notFinite) {
			sample = append(sample, vec...)
		}
		if len(sample) >= maxSample {
			break
		}
	}
	if len(sample) == 0 {
		return U7{}, ErrNoSample
	}
	sorted := slices.Clone(sample)
	slices.Sort(sorted)
	best, least := U7{}, math.Inf(1)
	for _, share := range clipShares {
		if share > clip {
			break
		}
		cut := int(share / 2 * float64(len(sorted)))
		c := spanU7(dim, sorted[cut], sorted[len(sorted)-1-cut])
		if err := c.meanError(sample); err < least {
			best, least = c, err
		}
	}
	if err := best.Validate(); err != nil {
		return U7{}, err
	}
	return best, nil
}

// SpanU7 returns the codec for vectors of dim components like those given that clips none of them: its range is theirs, wider
// by the share room. Vectors that are not finite are passed over. It returns ErrNoSample if nothing is left, or a *RangeError
// if the range is more than float32 can hold. Cost: reading the vectors once.
func SpanU7(dim int, vectors iter.Seq[[]float32], room float64) (U7, error) {
	lo, hi := float32(math.Inf(1)), float32(math.Inf(-1))
	for vec := range vectors {
		if len(vec) != dim {
			panic(fmt.Sprintf("quantize: vector of length %d for dimension %d", len(vec), dim))
		}
		if !slices.ContainsFunc(vec, notFinite) {
			lo, hi = min(lo, slices.Min(vec)), max(hi, slices.Max(vec))
		}
	}
	if lo > hi {
		return U7{}, ErrNoSample
	}
	wider := float32(room / 2 * (float64(hi) - float64(lo)))
	c := spanU7(dim, lo-wider, hi+wider)
	if err := c.Validate(); err != nil {
		return U7{}, err
	}
	return c, nil
}

// spanU7 returns the codec whose codes span lo to hi. A span that is too small to divide becomes one of width 127.
func spanU7(dim int, lo, hi float32) U7 {
	step := float32((float64(hi) - float64(lo)) / maxCode)
	if !(step >= minStep) {
		step = 1
	}
	return U7{Dim: dim, Lo: lo, Step: step}
}

// meanError returns the mean of |x-x'| over the vectors of the sample, or over some at even distances if they are many.
func (c U7) meanError(sample []float32) float64 {
	step := max(1, len(sample)/maxMeasured) * c.Dim
	var sum float64
	n, scale := 0, 1/c.Step
	for at := 0; at < len(sample); at += step {
		var square float64
		for _, x := range sample[at : at+c.Dim] {
			code, _ := encodeU7(x, c.Lo, scale)
			d := float64(x) - c.value(code)
			square += float64(d * d)
		}
		sum += math.Sqrt(square)
		n++
	}
	return sum / float64(n)
}

// Mid returns the value of code 64, about which the dot product of codes is centred.
func (c U7) Mid() float64 { return float64(c.Lo) + midCode*float64(c.Step) }

// Range returns the smallest and the largest value that a code stands for.
func (c U7) Range() (lo, hi float64) { return float64(c.Lo), c.value(maxCode) }

// ErrorBound returns the largest error of a component that was not clipped: half a step, and what float32 arithmetic adds.
func (c U7) ErrorBound() float64 {
	lo, hi := c.Range()
	return float64(c.Step)*(0.5+0x1p-15) + max(math.Abs(lo), math.Abs(hi))*0x1p-22
}

func (c U7) value(code uint8) float64 { return float64(c.Lo) + float64(code)*float64(c.Step) }
