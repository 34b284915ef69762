package peers

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// drawn is what an SVG shows: the points of each curve, and its texts.
func drawn(t interface{ Fatalf(string, ...any) }, svg string) (curves [][][2]float64, texts []string) {
	d := xml.NewDecoder(strings.NewReader(svg))
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return curves, texts
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, svg)
		}
		switch e := token.(type) {
		case xml.CharData:
			if s := strings.TrimSpace(string(e)); s != "" {
				texts = append(texts, s)
			}
		case xml.StartElement:
			if e.Name.Local != "polyline" {
				continue
			}
			var curve [][2]float64
			for _, a := range e.Attr {
				if a.Name.Local != "points" {
					continue
				}
				for _, point := range strings.Fields(a.Value) {
					x, y, _ := strings.Cut(point, ",")
					px, errX := strconv.ParseFloat(x, 64)
					py, errY := strconv.ParseFloat(y, 64)
					if err := errors.Join(errX, errY); err != nil {
						t.Fatalf("point %q: %v", point, err)
					}
					curve = append(curve, [2]float64{px, py})
				}
			}
			curves = append(curves, curve)
		}
	}
}

// TestSVG: whatever was measured, every curve has the points of its frontier that are in view, within the frame, further right for more
// recall and higher up for a higher rate, on one scale for all.
func TestSVG(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := SetResult{Name: "a & b", Rows: 1000, Dim: 4, Metric: "L2"}
		for i := range rapid.IntRange(0, 5).Draw(t, "libraries") {
			e := Entry{Library: fmt.Sprintf("lib <%d>", i)}
			for range rapid.IntRange(0, 6).Draw(t, "points") {
				e.Points = append(e.Points, Point{
					Recall: float64(rapid.IntRange(0, 1000).Draw(t, "recall")) / 1000, QPS: math.Exp(float64(rapid.IntRange(0, 140).Draw(t, "rate")) / 10),
				})
			}
			s.Entries = append(s.Entries, e)
		}
		svg := s.SVG()
		curves, texts := drawn(t, svg)
		if strings.Contains(svg, "NaN") || strings.Contains(svg, "Inf") {
			t.Fatalf("no number in\n%s", svg)
		}
		type seen struct {
			p  Point
			at [2]float64
		}
		var all []seen
		n := 0
		for i, e := range s.Entries {
			var inView []Point
			for _, p := range e.frontier() {
				if p.Recall >= recallTicks[0] {
					inView = append(inView, p)
				}
			}
			label := fmt.Sprintf("lib <%d>", i)
			if len(inView) == 0 {
				label += " (not in view)"
			} else {
				if len(curves[n]) != len(inView) {
					t.Fatalf("%s: %d points drawn, want %d", e.Library, len(curves[n]), len(inView))
				}
				for j, p := range inView {
					all = append(all, seen{p, curves[n][j]})
				}
				n++
			}
			if !strings.Contains(strings.Join(texts, "\n"), label) {
				t.Fatalf("%q is not in %q", label, texts)
			}
		}
		if n != len(curves) {
			t.Fatalf("%d curves, want %d", len(curves), n)
		}
		for _, a := range all {
			if a.at[0] < plotLeft || a.at[0] > plotWidth-plotRight || a.at[1] < plotTop || a.at[1] > plotHeight-plotBottom {
				t.Fatalf("%+v is drawn at %v, outside", a.p, a.at)
			}
			for _, b := range all {
				if a.p.Recall < b.p.Recall && a.at[0] > b.at[0] || a.p.QPS < b.p.QPS && a.at[1] < b.at[1] {
					t.Fatalf("%+v at %v, %+v at %v", a.p, a.at, b.p, b.at)
				}
			}
		}
	})
}

// TestRateTicks: 1, 2 and 5 times powers of ten, all of those within the range and no other.
func TestRateTicks(t *testing.T) {
	for _, tt := range []struct {
		low, high float64
		want      string
	}{
		{100, 1000, "[100 200 500 1000]"}, {99, 101, "[100]"}, {101, 199, "[]"}, {0.9, 5, "[1 2 5]"}, {3, 30_000, "[5 10 20 50 100 200 500 1000 2000 5000 10000 20000]"},
	} {
		if got := fmt.Sprint(rateTicks(tt.low, tt.high)); got != tt.want {
			t.Errorf("%v..%v: %s, want %s", tt.low, tt.high, got, tt.want)
		}
	}
}
