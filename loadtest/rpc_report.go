package loadtest

import (
	"fmt"
	"io"
)

// WriteText writes the report for people.
func (r *RPCReport) WriteText(w io.Writer) error {
	if _, err := fmt.Fprintf(w, "%d items of %d values, k %d, ef %d: recall %.4f; a unary request has %d bytes, its answer %d\n\n%-8s %12s %14s %8s %10s %14s\n",
		r.Items, r.Dim, r.K, r.Ef, r.Recall, r.RequestBytes, r.AnswerBytes, "PATH", "QUERIES/S", "CPU US/QUERY", "RATIO", "CPU RATIO", "ALLOCATIONS"); err != nil {
		return err
	}
	for _, p := range r.Results {
		ratio, cpu, of, allocations := "", "", "", ""
		if p.Of != "" {
			ratio, cpu, of = fmt.Sprintf("%.3f", p.Ratio), fmt.Sprintf("%.3f", p.CPURatio), "  of "+string(p.Of)
		}
		if p.Allocations > 0 {
			allocations = fmt.Sprintf("%.1f", p.Allocations)
		}
		if _, err := fmt.Fprintf(w, "%-8s %12.0f %14.1f %8s %10s %14s%s\n", p.Path, p.Rate, p.CPU, ratio, cpu, allocations, of); err != nil {
			return err
		}
	}
	return nil
}

// WriteAllocations writes for people where a unary call allocates, beside what a call that does nothing allocates there.
func (r *RPCReport) WriteAllocations(w io.Writer) error {
	empty := map[string]float64{}
	for _, s := range r.Result(PathEmpty).Sites {
		empty[s.Package+" "+s.Function] = s.Objects
	}
	if _, err := fmt.Fprintf(w, "\n%8s %8s %8s  %s\n", "UNARY", "BYTES", "EMPTY", "WHERE"); err != nil {
		return err
	}
	for _, s := range r.Result(PathUnary).Sites {
		name := s.Function
		if s.Package != "grpc" {
			name = s.Package + "." + s.Function
		}
		if _, err := fmt.Fprintf(w, "%8.2f %8.0f %8.2f  %s\n", s.Objects, s.Bytes, empty[s.Package+" "+s.Function], name); err != nil {
			return err
		}
	}
	return nil
}
