package peers

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// Geometry of a plot, in pixels.
const (
	plotWidth, plotHeight = 760, 440
	plotLeft, plotRight   = 70, 130
	plotTop, plotBottom   = 44, 52
)

// colors tell libraries apart, also for most of those who confuse red and green (Okabe and Ito).
var colors = []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#666666", "#e69f00", "#56b4e9", "#000000"}

// recallTicks are where the horizontal axis has lines. It is logarithmic in what is missing to 1, so that each nine has its room.
var recallTicks = []float64{0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998}

// SVG draws the recall/rate curves of a set: up and to the right is better.
func (s SetResult) SVG() string {
	low, high := math.Inf(1), math.Inf(-1)
	for _, e := range s.Entries {
		for _, p := range e.frontier() {
			if p.Recall >= recallTicks[0] {
				low, high = min(low, p.QPS), max(high, p.QPS)
			}
		}
	}
	if low > high {
		low, high = 100, 1000 // nothing to draw
	}
	low, high = low/1.15, high*1.15

	nines := func(recall float64) float64 { return -math.Log10(1 - min(recall, recallTicks[len(recallTicks)-1])) }
	left, right := nines(recallTicks[0]), nines(recallTicks[len(recallTicks)-1])
	x := func(recall float64) float64 {
		return plotLeft + (nines(recall)-left)/(right-left)*(plotWidth-plotLeft-plotRight)
	}
	y := func(qps float64) float64 {
		return plotTop + (math.Log(high)-math.Log(qps))/(math.Log(high)-math.Log(low))*(plotHeight-plotTop-plotBottom)
	}

	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" font-family="system-ui, sans-serif" font-size="12" fill="#333">`+"\n",
		plotWidth, plotHeight, plotWidth, plotHeight)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" rx="6" fill="#fff"/>`+"\n", plotWidth, plotHeight)
	fmt.Fprintf(&b, `<text x="%d" y="26" font-size="15" font-weight="600">%s, %s x %d, %s</text>`+"\n",
		plotLeft, html.EscapeString(s.Name), thousands(float64(s.Rows)), s.Dim, s.Metric)
	for _, r := range recallTicks {
		fmt.Fprintf(&b, `<line x1="%.1f" x2="%.1f" y1="%d" y2="%d" stroke="#e4e4e4"/><text x="%.1f" y="%d" text-anchor="middle">%g</text>`+"\n",
			x(r), x(r), plotTop, plotHeight-plotBottom, x(r), plotHeight-plotBottom+18, r)
	}
	for _, q := range rateTicks(low, high) {
		fmt.Fprintf(&b, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#e4e4e4"/><text x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n",
			plotLeft, plotWidth-plotRight, y(q), y(q), plotLeft-8, y(q)+4, thousands(q))
	}
	fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle">recall@%d</text>`+"\n",
		(plotLeft+plotWidth-plotRight)/2, plotHeight-12, k)
	fmt.Fprintf(&b, `<text transform="translate(18 %d) rotate(-90)" text-anchor="middle">queries per second, one thread</text>`+"\n",
		(plotTop+plotHeight-plotBottom)/2)

	for i, e := range s.Entries {
		color := colors[i%len(colors)]
		var line, dots strings.Builder
		for _, p := range e.frontier() {
			if p.Recall < recallTicks[0] {
				continue
			}
			fmt.Fprintf(&line, "%.1f,%.1f ", x(p.Recall), y(p.QPS))
			fmt.Fprintf(&dots, `<circle cx="%.1f" cy="%.1f" r="2.5"/>`, x(p.Recall), y(p.QPS))
		}
		width := 1.6
		if e.Library == "segue" {
			width = 2.8
		}
		if line.Len() > 0 {
			fmt.Fprintf(&b, `<g fill="%s"><polyline points="%s" fill="none" stroke="%s" stroke-width="%.1f" stroke-linejoin="round"/>%s</g>`+"\n",
				color, strings.TrimSpace(line.String()), color, width, dots.String())
		}
		row := plotTop + 14 + 20*i
		name := e.Library
		if line.Len() == 0 {
			name += " (not in view)"
		}
		fmt.Fprintf(&b, `<line x1="%d" x2="%d" y1="%d" y2="%d" stroke="%s" stroke-width="%.1f"/><text x="%d" y="%d">%s</text>`+"\n",
			plotWidth-plotRight+10, plotWidth-plotRight+30, row-4, row-4, color, width, plotWidth-plotRight+36, row, html.EscapeString(name))
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// rateTicks returns 1, 2 and 5 times the powers of ten within a range.
func rateTicks(low, high float64) []float64 {
	var ticks []float64
	for power := math.Pow(10, math.Floor(math.Log10(low))); power <= high; power *= 10 {
		for _, step := range []float64{1, 2, 5} {
			if t := step * power; t >= low && t <= high {
				ticks = append(ticks, t)
			}
		}
	}
	return ticks
}
