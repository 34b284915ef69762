package rank

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// drawCase draws a list of candidates and everything that can be asked of it, as an oracle and as the call's arguments.
func drawCase(t *rapid.T) (*oracle, []Candidate, Options) {
	n := rapid.IntRange(0, 24).Draw(t, "n")
	groups := rapid.IntRange(1, 3).Draw(t, "groups")
	dim := rapid.IntRange(1, 20).Draw(t, "dim")
	o := &oracle{most: map[string]int{}, l2: rapid.Bool().Draw(t, "l2")}
	if rapid.Bool().Draw(t, "diverse") {
		o.lambda = rapid.SampledFrom([]float64{0.1, 0.3, 0.5, 0.9, 1}).Draw(t, "diversity")
	}
	if groups > 1 {
		for range groups {
			o.weights = append(o.weights, float64(rapid.IntRange(1, 4).Draw(t, "weight")))
		}
	}
	opt := Options{K: rapid.IntRange(0, 30).Draw(t, "k"), Weights: o.weights, Diversity: o.lambda}
	limits := rapid.IntRange(0, 2).Draw(t, "limits")
	var most []int
	for l := range limits {
		most = append(most, rapid.IntRange(1, 3).Draw(t, "most"))
		o.most[fmt.Sprint(l)] = most[l]
	}
	if limits > 0 {
		opt.Crowd = NewCrowd(most...)
	}
	opt.Vectors = NewMatrix(n, dim, o.l2)
	rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
	names := rng.Perm(n)
	var all [][]ValueID
	opt.Limited = func(row uint32) []ValueID { return all[row] }
	for i := range n {
		c := Candidate{
			Value: float64(rapid.IntRange(-4, 4).Draw(t, "value")), // ties are common
			Group: rapid.IntRange(0, groups-1).Draw(t, "group"),
			Row:   uint32(i),
		}
		o.ids = append(o.ids, fmt.Sprintf("i%02d", names[i]))
		var values []string
		var limited []ValueID
		for l := range limits {
			for v := range rapid.IntRange(0, 2).Draw(t, "values") {
				value := fmt.Sprint(rapid.IntRange(0, 3).Draw(t, "v"), v)
				limited = append(limited, opt.Crowd.Value(l, []byte(value)))
				values = append(values, fmt.Sprintf("%d/%s", l, value))
			}
		}
		vec := make([]float64, dim)
		norm := 0.0
		for j := range vec {
			vec[j] = rng.NormFloat64()
			norm += vec[j] * vec[j]
		}
		for j := range vec {
			if !o.l2 {
				vec[j] /= math.Sqrt(norm)
			}
			x := float32(vec[j])
			opt.Vectors.Row(uint32(i))[j], vec[j] = x, float64(x)
		}
		all = append(all, limited)
		o.cs, o.values, o.vectors = append(o.cs, c), append(o.values, values), append(o.vectors, vec)
	}
	// The call wants rank order; the oracle then speaks of the same positions.
	order := o.order()
	sorted := &oracle{most: o.most, weights: o.weights, lambda: o.lambda, l2: o.l2}
	for _, i := range order {
		sorted.cs, sorted.ids = append(sorted.cs, o.cs[i]), append(sorted.ids, o.ids[i])
		sorted.values = append(sorted.values, o.values[i])
		sorted.vectors = append(sorted.vectors, o.vectors[i])
	}
	cs := slices.Clone(o.cs)
	Sort(cs, func(row uint32) string { return o.ids[row] })
	return sorted, cs, opt
}

// TestSelect holds every rule at once against the oracle: limits never exceeded, as many picks as can be had, turns, order,
// objectives. What is picked for k begins with what is picked for less, and the same call gives the same picks.
func TestSelect(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o, cs, opt := drawCase(t)
		picks, err := Select(context.Background(), cs, opt)
		if err != nil {
			t.Fatal(err)
		}
		if wrong := o.verdict(picks, opt.K); wrong != "" {
			t.Fatalf("%s\npicks %+v\ncandidates %+v", wrong, picks, cs)
		}
		fewer := opt
		fewer.K = rapid.IntRange(0, opt.K).Draw(t, "fewer")
		if opt.Crowd != nil {
			opt.Crowd.Reset()
		}
		again, err := Select(context.Background(), cs, fewer)
		if err != nil || !slices.Equal(again, picks[:min(fewer.K, len(picks))]) {
			t.Fatalf("%d picks %+v, %v are no beginning of %+v", fewer.K, again, err, picks)
		}
	})
}

// TestTurnsAreFair: while no group runs out, each has had its share of the picks to within one.
func TestTurnsAreFair(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.Float64Range(0.01, 100), 1, 8).Draw(t, "weights")
		tr, sum := newTurns(weights), 0.0
		for _, w := range weights {
			sum += w
		}
		had := make([]float64, len(weights))
		for n := 1; n <= 100; n++ {
			had[tr.next(func(int) bool { return true })]++
			for g, w := range weights {
				if off := had[g] - float64(n)*w/sum; off < -1.0001 && len(weights) <= 2 || math.Abs(off) > float64(len(weights)) {
					t.Fatalf("after %d turns group %d of weights %v has had %v", n, g, weights, had)
				}
			}
		}
	})
}

// TestDiversityPays: on clustered candidates more diversity means picks that lie farther apart, and a lower sum of values.
func TestDiversityPays(t *testing.T) {
	const n, dim, k = 200, 16, 20
	cs, m := clustered(n, dim)
	spread, value := math.Inf(-1), math.Inf(1)
	for _, d := range []float64{0, 0.5, 1} {
		picks, err := Select(t.Context(), cs, Options{K: k, Diversity: d, Vectors: m})
		if err != nil {
			t.Fatal(err)
		}
		s, v := 0.0, 0.0
		for _, a := range picks {
			v += cs[a.Index].Value
			for _, b := range picks {
				var out [1]float32
				m.distances(cs[a.Index].Row, []uint32{cs[b.Index].Row}, out[:])
				s += float64(out[0])
			}
		}
		if s <= spread || v >= value {
			t.Errorf("diversity %v: spread %v after %v, value %v after %v", d, s, spread, v, value)
		}
		spread, value = s, v
	}
}

func TestSelectHonoursContext(t *testing.T) {
	cs, m := clustered(50, 8)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Select(ctx, cs, Options{K: 10, Diversity: 0.5, Vectors: m}); !errors.Is(err, context.Canceled) {
		t.Errorf("with diversity: %v", err)
	}
	if picks, err := Select(ctx, cs, Options{K: 10}); err != nil || len(picks) != 10 {
		t.Errorf("without diversity: %d picks, %v", len(picks), err)
	}
}

// clustered returns candidates in ten clusters; the value falls with the distance from the first axis.
func clustered(n, dim int) ([]Candidate, *Matrix) {
	rng := rand.New(rand.NewPCG(1, 2))
	centers := make([][]float64, 10)
	for i := range centers {
		centers[i] = make([]float64, dim)
		for j := range centers[i] {
			centers[i][j] = rng.NormFloat64()
		}
		centers[i][0] += 3
	}
	cs, m := make([]Candidate, n), NewMatrix(n, dim, false)
	for i := range cs {
		row, norm := m.Row(uint32(i))[:dim], 0.0
		for j := range row {
			row[j] = float32(centers[i%10][j] + 0.2*rng.NormFloat64())
			norm += float64(row[j]) * float64(row[j])
		}
		for j := range row {
			row[j] /= float32(math.Sqrt(norm))
		}
		cs[i] = Candidate{Value: float64(row[0]), Row: uint32(i)}
	}
	Sort(cs, func(row uint32) string { return fmt.Sprintf("c%03d", row) })
	return cs, m
}

// BenchmarkSelectDiverse is MMR over 200 candidates; the target is 0.5 ms.
func BenchmarkSelectDiverse(b *testing.B) {
	for _, dim := range []int{64, 128, 768} {
		for _, k := range []int{20, 50, 200} {
			b.Run(fmt.Sprintf("dim%d/k%d", dim, k), func(b *testing.B) {
				cs, m := clustered(200, dim)
				b.ReportAllocs()
				for b.Loop() {
					if _, err := Select(context.Background(), cs, Options{K: k, Diversity: 0.3, Vectors: m}); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
