package engine

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// TestVectorsAreRefusedByDefinition: a component that is not finite is named, the first of them, wherever it is and whatever the others are; else
// the norm decides. Components are of all magnitudes that float32 has, and lengths leave all remainders.
func TestVectorsAreRefusedByDefinition(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 25))
	inf := float32(math.Inf(1))
	odd := []float32{inf, -inf, float32(math.NaN()), math.MaxFloat32, -math.MaxFloat32, math.SmallestNonzeroFloat32, 0, float32(math.Copysign(0, -1))}
	refusals := map[Reason]int{}
	for round := range 20_000 {
		v := make([]float32, 1+rng.IntN(40))
		scale := math.Pow(10, float64(rng.IntN(60)-40))
		for i := range v {
			v[i] = float32(rng.NormFloat64() * scale)
		}
		for range rng.IntN(3) {
			v[rng.IntN(len(v))] = odd[rng.IntN(len(odd))]
		}
		if round%50 == 0 {
			clear(v)
		}
		cfg := &CollectionConfig{Dim: len(v), Metric: []Metric{Cosine, InnerProduct, L2}[round%3]}

		want, sum := Violation{}, 0.0
		for i, x := range v {
			if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
				want = Violation{Reason: ReasonNotFinite, Field: fmt.Sprintf("v[%d]", i), Rule: fmt.Sprintf("must be finite, is %v", x)}
				break
			}
			sum += float64(x) * float64(x)
		}
		norm := math.Sqrt(sum)
		switch {
		case want.Reason != "":
		case norm == 0 && cfg.Metric == Cosine:
			want = Violation{Reason: ReasonZeroVector, Field: "v"}
		case norm > MaxNorm*(1+1e-12):
			want = Violation{Reason: ReasonOutOfRange, Field: "v"}
		case norm > MaxNorm*(1-1e-12):
			continue // at the border the order of additions decides
		}

		var p problems
		p.vector("v", v, cfg)
		got := Violation{}
		if len(p.list) > 0 {
			got = p.list[0]
		}
		if want.Reason != ReasonNotFinite {
			got.Rule = ""
		}
		if len(p.list) > 1 || got != want {
			t.Fatalf("%v: %v, want %v", v, p.list, want)
		}
		refusals[want.Reason]++
	}
	for _, r := range []Reason{"", ReasonNotFinite, ReasonZeroVector, ReasonOutOfRange} {
		if refusals[r] < 100 {
			t.Errorf("%d vectors were refused for %q: too few to tell", refusals[r], r)
		}
	}
}
