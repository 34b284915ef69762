package loadtest

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// ANNWriter prints results as they come, for people or for programs. For people: two lines on the index, then a table with a
// line for each ef. For programs: JSON Lines, one object a result, with the fields of [ANNResult] in their order.
type ANNWriter struct {
	out    io.Writer
	json   bool
	headed bool
}

// NewANNWriter writes to out, JSON if asJSON.
func NewANNWriter(out io.Writer, asJSON bool) *ANNWriter { return &ANNWriter{out: out, json: asJSON} }

// annColumns are the columns of the table. Widths are fixed, so that lines can be printed before later ones are known.
var annColumns = []struct {
	title string // %d is replaced by k
	width int    // at least that of the title
	cell  func(ANNResult) string
}{
	{"ef", 6, func(r ANNResult) string { return strconv.Itoa(r.Ef) }},
	{"recall@%d", 11, func(r ANNResult) string { return fixed(r.Recall, 4) }},
	{"queries/s", 11, func(r ANNResult) string { return thousands(r.QPS) }},
	{"p50 us", 10, func(r ANNResult) string { return fixed(r.P50, 1) }},
	{"p99 us", 10, func(r ANNResult) string { return fixed(r.P99, 1) }},
	{"distances", 11, func(r ANNResult) string { return thousands(r.DistancesPerQuery) }},
	{"hops", 8, func(r ANNResult) string {
		if r.HopsPerQuery == nil {
			return "-"
		}
		return thousands(*r.HopsPerQuery)
	}},
}

func fixed(v float64, digits int) string { return strconv.FormatFloat(v, 'f', digits, 64) }

// thousands returns v, which is not negative, rounded to a whole number and with commas.
func thousands(v float64) string {
	digits := fixed(v, 0)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

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
		w.headed = true
		head(&b, r)
	}
	for _, c := range annColumns {
		fmt.Fprintf(&b, "%*s", c.width, c.cell(r))
	}
	b.WriteByte('\n')
	_, err := io.WriteString(w.out, b.String())
	return err
}

// head writes what all lines have in common, and the titles of the rest.
func head(b *strings.Builder, r ANNResult) {
	fmt.Fprintf(b, "%s: %s vectors of %d values, %s", r.Engine, thousands(float64(r.N)), r.Dim, r.Metric)
	if r.M > 0 {
		fmt.Fprintf(b, ", M %d, efConstruction %d", r.M, r.EfConstruction)
	}
	fmt.Fprintf(b, "\nbuilt in %.1f s (%s vectors/s), %s bytes/vector\n\n",
		r.BuildSeconds, thousands(float64(r.N)/max(r.BuildSeconds, 1e-9)), thousands(r.BytesPerVector))
	for _, c := range annColumns {
		fmt.Fprintf(b, "%*s", c.width, strings.ReplaceAll(c.title, "%d", strconv.Itoa(r.K)))
	}
	b.WriteByte('\n')
}
