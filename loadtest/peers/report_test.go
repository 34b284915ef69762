package peers

import (
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestAt(t *testing.T) {
	e := Entry{Points: []Point{{10, 0.92, 4000, 100}, {20, 0.94, 2000, 200}, {30, 0.93, 1500, 300}, {40, 0.96, 1000, 400}}}
	for _, tt := range []struct {
		recall, qps, distances float64
		above                  bool
	}{
		{0.90, 4000, 100, true},
		{0.92, 4000, 100, false},
		{0.93, math.Sqrt(4000 * 2000), math.Sqrt(100 * 200), false}, // the dominated point counts for nothing
		{0.94, 2000, 200, false},
		{0.96, 1000, 400, false},
		{0.99, 0, 0, false},
	} {
		qps, distances, above := e.at(tt.recall)
		if math.Abs(qps-tt.qps) > 1e-6 || math.Abs(distances-tt.distances) > 1e-6 || above != tt.above {
			t.Errorf("at %v: %v, %v, %v, want %+v", tt.recall, qps, distances, above, tt)
		}
	}
	if e.best() != 0.96 {
		t.Errorf("best %v", e.best())
	}
}

// TestFrontier: whatever the points, none of the frontier beats another, each other point is beaten or equalled, and the rate at a
// recall never rises with the recall.
func TestFrontier(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var e Entry
		for range rapid.IntRange(0, 12).Draw(t, "points") {
			e.Points = append(e.Points, Point{
				Recall: float64(rapid.IntRange(0, 20).Draw(t, "recall")) / 20, QPS: float64(rapid.IntRange(1, 9).Draw(t, "qps")),
			})
		}
		frontier := e.frontier()
		for i := 1; i < len(frontier); i++ {
			if a, b := frontier[i-1], frontier[i]; a.Recall >= b.Recall || a.QPS <= b.QPS {
				t.Fatalf("%v before %v", a, b)
			}
		}
		for _, p := range e.Points {
			beaten := false
			for _, f := range frontier {
				beaten = beaten || f.Recall >= p.Recall && f.QPS >= p.QPS
			}
			if !beaten {
				t.Fatalf("%v is not in %v", p, frontier)
			}
		}
		last := math.Inf(1)
		for r := 0.0; r <= 1; r += 0.01 {
			qps, _, _ := e.at(r)
			if qps > last+1e-9 {
				t.Fatalf("%v at %v, %v before", qps, r, last)
			}
			last = qps
			if reached := r <= e.best(); len(e.Points) > 0 && reached != (qps > 0) {
				t.Fatalf("%v at %v, best %v", qps, r, e.best())
			}
		}
	})
}

func TestTable(t *testing.T) {
	s := SetResult{Name: "set", Dim: 4, Rows: 1000, Entries: []Entry{
		{Library: "segue", BuildSeconds: 1.25, BytesPerVector: 1234, Points: []Point{{10, 0.91, 30_000, 100}, {20, 0.99, 10_000, 300}}},
		{Library: "hnswlib", BuildSeconds: 5, BytesPerVector: 900, Points: []Point{{10, 0.90, 12_000, 0}, {20, 0.95, 6_000, 0}}},
		{Library: "coder", Unsupported: "takes too long"},
	}}
	want := []string{
		"| segue | 30,000* | 17,321 | 10,000 | 2.50 / 2.89 / - | 173 / 300 | 0.990 | 1.2 | 1,234 |",
		"| hnswlib | 12,000 | 6,000 | - | 1.00 / 1.00 / - | - / - | 0.950 | 5.0 | 900 |",
		"| coder | - | - | - | - | - | - | - | - |",
	}
	got := strings.Split(strings.TrimSpace(s.Table()), "\n")[2:]
	for i := range want {
		if i >= len(got) || got[i] != want[i] {
			t.Errorf("got %q, want %q", got, want[i])
		}
	}
	checkSVG(t, s)
}

func TestThousands(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 999.4: "999", 999.6: "1,000", 1234567: "1,234,567", -1234: "-1,234", -123: "-123"} {
		if got := thousands(v); got != want {
			t.Errorf("%v: %q, want %q", v, got, want)
		}
	}
}
