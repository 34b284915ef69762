package rank

import (
	"fmt"
	"math"
	"testing"

	"pgregory.net/rapid"
)

// TestContribution holds the transforms against their definitions.
func TestContribution(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := rapid.Float64Range(-10, 10).Draw(t, "weight")
		x := rapid.Float64Range(-1e6, 1e6).Draw(t, "x")
		h := rapid.Float64Range(0.1, 1e6).Draw(t, "half-life")
		clamped := x
		if x < 0 {
			clamped = 0
		}
		for _, c := range []struct {
			b    Boost
			want float64
		}{
			{Boost{Transform: Linear, Weight: w}, w * x},
			{Boost{Transform: Log, Weight: w}, w * math.Log(1+clamped)},
			{Boost{Transform: Decay, Weight: w, HalfLife: h}, w * math.Pow(0.5, clamped/h)},
		} {
			if got := c.b.Contribution(x); math.Abs(got-c.want) > 1e-9*max(1, math.Abs(c.want)) {
				t.Fatalf("%+v of %v is %v, want %v", c.b, x, got, c.want)
			}
		}
	})
	huge := Boost{Transform: Linear, Weight: 1e300}
	if s := huge.Contribution(1e300) + huge.Contribution(1e300); math.IsInf(s, 0) {
		t.Error("the sum of two contributions overflows")
	}
}

// TestNoiseIsGumbel: over many items the share of noise below x is exp(-exp(-x)), within what 40,000 draws allow
// (Kolmogorov-Smirnov at about 1e-6), and neighbouring seeds and ids have nothing to do with each other.
func TestNoiseIsGumbel(t *testing.T) {
	const n = 40_000
	for _, seed := range []uint64{0, 1, 1 << 60} {
		for _, x := range []float64{-1.5, -0.5, 0, 0.5, 1, 2, 4} {
			below := 0
			for i := range n {
				if Noise(seed, fmt.Sprintf("item-%d", i)) < x {
					below++
				}
			}
			want := math.Exp(-math.Exp(-x))
			if got := float64(below) / n; math.Abs(got-want) > 0.0135 {
				t.Errorf("seed %d: share below %v is %.4f, want %.4f", seed, x, got, want)
			}
		}
	}
	sum := 0.0
	for i := range n {
		id := fmt.Sprint(i)
		sum += (Noise(1, id) - 0.5772) * (Noise(2, id) - 0.5772)
	}
	if r := sum / n / (math.Pi * math.Pi / 6); math.Abs(r) > 0.025 {
		t.Errorf("correlation of two seeds is %.4f", r)
	}
}

// TestExplorationSamples: with temperature T the first of the list is item i with probability exp(value_i/T)/sum.
func TestExplorationSamples(t *testing.T) {
	values, temperature, seeds := []float64{1, 0.5, 0, -2}, 0.7, 20_000
	first := make([]float64, len(values))
	for seed := range seeds {
		best, at := math.Inf(-1), 0
		for i, v := range values {
			if v += temperature * Noise(uint64(seed), fmt.Sprintf("track%d", i)); v > best {
				best, at = v, i
			}
		}
		first[at]++
	}
	sum := 0.0
	for _, v := range values {
		sum += math.Exp(v / temperature)
	}
	for i, v := range values {
		want := math.Exp(v/temperature) / sum
		if got := first[i] / float64(seeds); math.Abs(got-want) > 0.02 {
			t.Errorf("item of value %v comes first in %.3f of the draws, want %.3f", v, got, want)
		}
	}
	if Noise(7, "x") != Noise(7, "x") || Noise(7, "x") == Noise(8, "x") || Noise(7, "x") == Noise(7, "y") {
		t.Error("noise is not a function of seed and id")
	}
}
