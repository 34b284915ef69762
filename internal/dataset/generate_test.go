package dataset

import (
	"math"
	"slices"
	"testing"
)

var generators = map[string]func(seed uint64, rows, dim int) []float32{
	"uniform":    Uniform,
	"clustered":  func(s uint64, rows, dim int) []float32 { return Clustered(s, rows, dim, 20, 0.1) },
	"embedded":   func(s uint64, rows, dim int) []float32 { return Embedded(s, rows, dim, 20, 3) },
	"duplicates": func(s uint64, rows, dim int) []float32 { return Duplicates(s, rows, dim, 50) },
	"skewed":     func(s uint64, rows, dim int) []float32 { return SkewedNorms(s, rows, dim, 20, 0.8) },
}

func TestGeneratorsAreOfTheSeed(t *testing.T) {
	for name, generate := range generators {
		a := generate(7, 300, 9)
		if len(a) != 300*9 {
			t.Errorf("%s: %d values", name, len(a))
		}
		if !slices.Equal(a, generate(7, 300, 9)) {
			t.Errorf("%s: same seed, other rows", name)
		}
		if slices.Equal(a, generate(8, 300, 9)) {
			t.Errorf("%s: other seed, same rows", name)
		}
		if !slices.Equal(a[:100*9], generate(7, 100, 9)) {
			t.Errorf("%s: the first rows depend on how many follow", name)
		}
		for i, v := range a {
			if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
				t.Fatalf("%s: value %d is %v", name, i, v)
			}
		}
	}
}

// norms returns the sorted norms of rows.
func norms(data []float32, dim int) []float64 {
	var out []float64
	for row := range slices.Chunk(data, dim) {
		var sum float64
		for _, v := range row {
			sum += float64(v) * float64(v)
		}
		out = append(out, math.Sqrt(sum))
	}
	slices.Sort(out)
	return out
}

// wideCentre returns the centre of cluster c of Embedded with seed 1.
func wideCentre(c, dim int) []float64 {
	return normal(newRand(1), (c+1)*dim)[c*dim:]
}

// near reports whether a row is within noise of deviation 0.1 of a centre.
func near(row []float32, centre []float64) bool {
	for i, v := range row {
		if math.Abs(float64(v)-centre[i]) > 0.6 {
			return false
		}
	}
	return true
}

// TestGeneratorShapes holds each generator to what its comment says of the distribution.
func TestGeneratorShapes(t *testing.T) {
	const rows, dim = 20_000, 16

	n := norms(SkewedNorms(1, rows, dim, 50, 0.8), dim)
	if ratio := n[rows*99/100] / n[rows/2]; ratio < 5.5 || ratio > 7.5 {
		t.Errorf("skewed: top percent at %.2f times the median norm, want about 6.4", ratio)
	}
	n = norms(SkewedNorms(1, rows, dim, 50, 0), dim)
	if n[0] < 0.9999 || n[rows-1] > 1.0001 {
		t.Errorf("skewed by 0: norms %v..%v", n[0], n[rows-1])
	}

	counts := map[[dim]float32]int{}
	for row := range slices.Chunk(Duplicates(1, rows, dim, 1000), dim) {
		counts[[dim]float32(row)]++
	}
	most := 0
	for _, c := range counts {
		most = max(most, c)
	}
	if len(counts) > 1000 || most < rows/12 || most > rows/8 {
		t.Errorf("duplicates: %d distinct, the commonest %d times", len(counts), most)
	}

	// 0.6^2 (1 + 1/2 + 1/3) in every value along the three directions, 0.1^2 around: 0.67 within clusters. With one cluster, that
	// is all there is, and three directions hold nearly all of it.
	embedded := Embedded(1, rows, dim, 1, 3)
	var mean, second [dim]float64
	for row := range slices.Chunk(embedded, dim) {
		for i, v := range row {
			mean[i] += float64(v) / rows
		}
	}
	for row := range slices.Chunk(embedded, dim) {
		for i, v := range row {
			d := float64(v) - mean[i]
			second[i] += d * d / rows
		}
	}
	var variance float64
	for _, v := range second {
		variance += v / dim
	}
	if variance < 0.3 || variance > 1.2 {
		t.Errorf("embedded: variance %v of a value within a cluster, want about 0.67", variance)
	}
	// Of 100 clusters the first quarter of numbers has half of the rows: the square of a uniform number is below 1/4 for half.
	first100 := 0
	wide := Embedded(1, rows, dim, 100, 0)
	for row := range slices.Chunk(wide, dim) {
		for c := range 25 {
			if near(row, wideCentre(c, dim)) {
				first100++
			}
		}
	}
	if first100 < rows*48/100 || first100 > rows*52/100 {
		t.Errorf("embedded: %d of %d rows in the first quarter of clusters", first100, rows)
	}

	// With far clusters nearly all of the variance lies between the centres.
	clustered := Clustered(1, rows, dim, 2, 0.01)
	first, near := clustered[:dim], 0
	for row := range slices.Chunk(clustered, dim) {
		var sum float64
		for i, v := range row {
			d := float64(v - first[i])
			sum += d * d
		}
		if sum < 1 {
			near++
		}
	}
	if near < rows*45/100 || near > rows*55/100 {
		t.Errorf("clustered: %d of %d rows near the first, want half", near, rows)
	}

	var sum float64
	for _, v := range Uniform(1, rows, dim) {
		if v < -1 || v >= 1 {
			t.Fatalf("uniform: %v", v)
		}
		sum += float64(v)
	}
	if mean := sum / (rows * dim); math.Abs(mean) > 0.01 {
		t.Errorf("uniform: mean %v", mean)
	}
}
