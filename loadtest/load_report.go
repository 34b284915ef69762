package loadtest

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"slices"
	"strings"
)

// LoadReport is a run of several steps.
type LoadReport struct {
	Title string
	Lines []string // what was loaded, and how
	Steps []ReportStep
}

// ReportStep is a step with the recall seen while it ran.
type ReportStep struct {
	StepResult
	Recall  float64
	Checked int
}

// Saturated says whether a step got less than it was offered.
func (s ReportStep) Saturated() bool {
	return s.Achieved() < 0.95*float64(s.Due)/s.Step.Duration.Seconds()
}

//go:embed load_report.html
var reportHTML string

// quantiles of the tables and plots.
var quantiles = []float64{50, 90, 99, 99.9}

// WriteHTML writes one page that needs nothing else: tables, and plots as SVG.
func (r LoadReport) WriteHTML(w io.Writer) error {
	t, err := template.New("report").Funcs(template.FuncMap{
		"q":     ReportStep.milliseconds,
		"codes": codesText,
	}).Parse(reportHTML)
	if err != nil {
		return fmt.Errorf("loadtest: %w", err)
	}
	return t.Execute(w, map[string]any{
		"Report": r, "Quantiles": quantiles, "Latency": r.latencyPlot(), "Recall": r.recallPlot(),
	})
}

// milliseconds returns a quantile of the latency, nothing where no call succeeded.
func (s ReportStep) milliseconds(q float64) string {
	if s.OK == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", s.ms(q))
}

func (s ReportStep) ms(q float64) float64 { return float64(s.Quantile(q).Microseconds()) / 1000 }

func codesText(codes map[string]int) string {
	names := make([]string, 0, len(codes))
	for name := range codes {
		names = append(names, name)
	}
	slices.Sort(names)
	for i, name := range names {
		names[i] = fmt.Sprintf("%s %d", name, codes[name])
	}
	return strings.Join(names, ", ")
}

// plot is a line chart. X is linear from 0, y is linear or logarithmic.
type plot struct {
	XLabel, YLabel string
	XTicks, YTicks []plotTick
	Series         []plotSeries
}

type plotTick struct {
	At    float64 // in pixels
	Label string
}

type plotSeries struct {
	Name, Color, Points string
	LabelX, LabelY      float64
}

const (
	plotWidth, plotHeight = 640.0, 280.0
	plotLeft, plotBottom  = 60.0, 240.0
	plotRight, plotTop    = 560.0, 16.0
)

var plotColors = []string{"#1b6ca8", "#2a9d5c", "#d1840f", "#b3262a"}

// latencyPlot draws quantiles of latency, on a logarithmic scale, over the offered rate.
func (r LoadReport) latencyPlot() plot {
	low, high := math.Inf(1), math.Inf(-1)
	answered := slices.DeleteFunc(slices.Clone(r.Steps), func(s ReportStep) bool { return s.OK == 0 })
	for _, s := range answered {
		for _, q := range quantiles {
			v := max(0.01, s.ms(q))
			low, high = min(low, v), max(high, v)
		}
	}
	if math.IsInf(low, 1) {
		low, high = 0.1, 1
	}
	bottom, top := math.Floor(math.Log10(low)), math.Ceil(math.Log10(high)+1e-9)
	y := func(v float64) float64 {
		return plotBottom - (math.Log10(max(v, 0.01))-bottom)/max(1, top-bottom)*(plotBottom-plotTop)
	}
	p := plot{XLabel: "offered calls a second", YLabel: "latency, ms"}
	for e := bottom; e <= top; e++ {
		p.YTicks = append(p.YTicks, plotTick{y(math.Pow(10, e)), fmt.Sprintf("%g", math.Pow(10, e))})
	}
	x := r.xAxis(&p)
	for i, q := range quantiles {
		p.add(fmt.Sprintf("p%g", q), plotColors[i], answered, x, func(s ReportStep) float64 { return y(s.ms(q)) })
	}
	p.spreadLabels()
	return p
}

// spreadLabels keeps the labels of lines that end close together legible. Lines are in the order of quantiles: upwards.
func (p *plot) spreadLabels() {
	const apart = 12
	for i := range p.Series[:max(0, len(p.Series)-1)] {
		p.Series[i+1].LabelY = min(p.Series[i+1].LabelY, p.Series[i].LabelY-apart)
	}
}

// recallPlot draws recall over the offered rate.
func (r LoadReport) recallPlot() plot {
	low := 1.0
	for _, s := range r.Steps {
		if s.Checked > 0 {
			low = min(low, s.Recall)
		}
	}
	low = max(0, math.Floor(low*20-1e-9)/20)
	if low >= 1 {
		low = 0.95
	}
	y := func(v float64) float64 { return plotBottom - (v-low)/(1-low)*(plotBottom-plotTop) }
	p := plot{XLabel: "offered calls a second", YLabel: "recall"}
	for i := range 6 {
		v := low + (1-low)*float64(i)/5
		p.YTicks = append(p.YTicks, plotTick{y(v), fmt.Sprintf("%.3f", v)})
	}
	x := r.xAxis(&p)
	checked := slices.DeleteFunc(slices.Clone(r.Steps), func(s ReportStep) bool { return s.Checked == 0 })
	p.add("recall", plotColors[1], checked, x, func(s ReportStep) float64 { return y(s.Recall) })
	return p
}

func (r LoadReport) xAxis(p *plot) func(ReportStep) float64 {
	most := 1.0
	for _, s := range r.Steps {
		most = max(most, s.Step.Rate)
	}
	for i := range 6 {
		v := most * float64(i) / 5
		p.XTicks = append(p.XTicks, plotTick{plotLeft + (plotRight-plotLeft)*float64(i)/5, fmt.Sprintf("%.0f", v)})
	}
	return func(s ReportStep) float64 { return plotLeft + s.Step.Rate/most*(plotRight-plotLeft) }
}

func (p *plot) add(name, color string, steps []ReportStep, x, y func(ReportStep) float64) {
	s := plotSeries{Name: name, Color: color}
	for _, step := range steps {
		s.LabelX, s.LabelY = x(step)+6, y(step)+4
		s.Points += fmt.Sprintf("%.1f,%.1f ", x(step), y(step))
	}
	if s.Points != "" {
		p.Series = append(p.Series, s)
	}
}
