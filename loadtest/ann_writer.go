package loadtest

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// ANNWriter prints results as they come, one line each: as a table under one header line, or as one JSON object a line
// (JSON Lines). Both have the fields of [ANNResult] under their JSON names, in their order.
type ANNWriter struct {
	out    io.Writer
	json   bool
	headed bool
}

// NewANNWriter writes to out, JSON if asJSON.
func NewANNWriter(out io.Writer, asJSON bool) *ANNWriter { return &ANNWriter{out: out, json: asJSON} }

// annColumns are the columns of the table. Widths are fixed, so that lines can be printed before later ones are known.
var annColumns = []struct {
	title string
	width int // at least that of the title
	cell  func(ANNResult) string
}{
	{"engine", 6, func(r ANNResult) string { return r.Engine }},
	{"n", 8, func(r ANNResult) string { return strconv.Itoa(r.N) }},
	{"dim", 4, func(r ANNResult) string { return strconv.Itoa(r.Dim) }},
	{"metric", 6, func(r ANNResult) string { return r.Metric }},
	{"m", 3, func(r ANNResult) string { return strconv.Itoa(r.M) }},
	{"ef_construction", 15, func(r ANNResult) string { return strconv.Itoa(r.EfConstruction) }},
	{"build_seconds", 13, func(r ANNResult) string { return fixed(r.BuildSeconds, 2) }},
	{"bytes_per_vector", 16, func(r ANNResult) string { return fixed(r.BytesPerVector, 1) }},
	{"ef", 5, func(r ANNResult) string { return strconv.Itoa(r.Ef) }},
	{"k", 4, func(r ANNResult) string { return strconv.Itoa(r.K) }},
	{"recall", 6, func(r ANNResult) string { return fixed(r.Recall, 4) }},
	{"qps", 9, func(r ANNResult) string { return fixed(r.QPS, 1) }},
	{"p50_us", 9, func(r ANNResult) string { return fixed(r.P50, 1) }},
	{"p99_us", 9, func(r ANNResult) string { return fixed(r.P99, 1) }},
	{"distances_per_query", 19, func(r ANNResult) string { return fixed(r.DistancesPerQuery, 1) }},
	{"hops_per_query", 14, func(r ANNResult) string {
		if r.HopsPerQuery == nil {
			return "-"
		}
		return fixed(*r.HopsPerQuery, 1)
	}},
}

func fixed(v float64, digits int) string { return strconv.FormatFloat(v, 'f', digits, 64) }

// Write prints one result.
func (w *ANNWriter) Write(r ANNResult) error {
	if w.json {
		line, err := json.Marshal(r)
		if err != nil {
			return err
		}
		_, err = w.out.Write(append(line, '\n'))
		return err
	}
	var b strings.Builder
	if !w.headed {
		for i, c := range annColumns {
			cell(&b, i, c.width, c.title)
		}
		b.WriteByte('\n')
		w.headed = true
	}
	for i, c := range annColumns {
		cell(&b, i, c.width, c.cell(r))
	}
	b.WriteByte('\n')
	_, err := io.WriteString(w.out, b.String())
	return err
}

// cell appends text aligned right, the first column left; columns are two spaces apart.
func cell(b *strings.Builder, column, width int, text string) {
	if column == 0 {
		fmt.Fprintf(b, "%-*s", width, text)
		return
	}
	fmt.Fprintf(b, "  %*s", width, text)
}
