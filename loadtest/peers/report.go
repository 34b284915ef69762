package peers

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
)

// Report is what a run saw. It goes to disk as JSON, and [Report.Markdown] and [SetResult.SVG] show it.
type Report struct {
	Processor string
	Cores     int
	Commit    string // with "+" if the tree had changes
	Go        string
	Compiler  string
	Rounds    int
	Sets      []SetResult
}

// SetResult is one set's part of a report.
type SetResult struct {
	Name, About, Metric string
	Rows, Dim, Queries  int
	Entries             []Entry
}

// Entry is one library on one set.
type Entry struct {
	Library, About string
	Unsupported    string // why it is not measured; the rest is empty then
	BuildSeconds   float64
	BytesPerVector float64
	Points         []Point // by ascending ef
}

// Point is one ef.
type Point struct {
	Ef        int
	Recall    float64
	QPS       float64 // per second of the searching thread's processor time, median of the rounds
	Distances float64 // per query; 0 if the library does not tell
}

// levels are the recalls at which libraries are compared.
var levels = []float64{0.90, 0.95, 0.99}

// newReport says where o is about to run. What cannot be found out is left empty.
func newReport(ctx context.Context, o Options) *Report {
	output := func(name string, args ...string) string {
		c := exec.CommandContext(ctx, name, args...)
		c.Dir = o.Root
		out, err := c.Output()
		if err != nil {
			return ""
		}
		first, _, _ := strings.Cut(string(out), "\n")
		return first
	}
	r := &Report{
		Cores: runtime.NumCPU(), Go: runtime.Version(), Rounds: o.Rounds,
		Commit:   output("git", "rev-parse", "--short", "HEAD"),
		Compiler: output("g++", "--version"),
	}
	if output("git", "status", "--porcelain", "--untracked-files=no") != "" {
		r.Commit += "+"
	}
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(info)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				r.Processor = strings.TrimSpace(value)
				break
			}
		}
	}
	return r
}

// frontier returns the points no other beats in both recall and rate, by ascending recall.
func (e Entry) frontier() []Point {
	points := slices.Clone(e.Points)
	slices.SortFunc(points, func(a, b Point) int {
		return cmp.Or(cmp.Compare(a.Recall, b.Recall), cmp.Compare(a.QPS, b.QPS))
	})
	var out []Point
	best := 0.0
	for i := len(points) - 1; i >= 0; i-- {
		if points[i].QPS > best {
			best = points[i].QPS
			out = append(out, points[i])
		}
	}
	slices.Reverse(out)
	return out
}

// at returns rate and distances at a recall, between points of the frontier on the straight line of the logarithms; above says
// that the smallest ef has a higher recall already, and is what is returned. It returns zeros if the recall was not reached.
func (e Entry) at(recall float64) (qps, distances float64, above bool) {
	points := e.frontier()
	i := slices.IndexFunc(points, func(p Point) bool { return p.Recall >= recall })
	switch {
	case i < 0:
		return 0, 0, false
	case i == 0:
		return points[0].QPS, points[0].Distances, points[0].Recall > recall
	}
	a, b := points[i-1], points[i]
	t := (recall - a.Recall) / (b.Recall - a.Recall)
	between := func(x, y float64) float64 {
		if x <= 0 || y <= 0 {
			return 0
		}
		return math.Exp((1-t)*math.Log(x) + t*math.Log(y))
	}
	return between(a.QPS, b.QPS), between(a.Distances, b.Distances), false
}

// best returns the highest recall reached.
func (e Entry) best() float64 {
	best := 0.0
	for _, p := range e.Points {
		best = max(best, p.Recall)
	}
	return best
}

// reference is the library that ratios are to.
const reference = "hnswlib"

func (s SetResult) entry(library string) Entry {
	for _, e := range s.Entries {
		if e.Library == library {
			return e
		}
	}
	return Entry{}
}

// Table returns the set's results as a table in Markdown.
func (s SetResult) Table() string {
	var b strings.Builder
	b.WriteString("| library | .90 | .95 | .99 | ratio .90 / .95 / .99 | distances .95 / .99 | best recall | build s | bytes/vector |\n")
	b.WriteString("|---|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	ref := s.entry(reference)
	for _, e := range s.Entries {
		if e.Unsupported != "" {
			fmt.Fprintf(&b, "| %s | - | - | - | - | - | - | - | - |\n", e.Library)
			continue
		}
		var rates, ratios, work []string
		for _, level := range levels {
			qps, distances, above := e.at(level)
			refQPS, _, _ := ref.at(level)
			rate := "-"
			if qps > 0 {
				rate = thousands(qps)
			}
			if above {
				rate += "*"
			}
			rates = append(rates, rate)
			ratio := "-"
			if qps > 0 && refQPS > 0 {
				ratio = fmt.Sprintf("%.2f", qps/refQPS)
			}
			ratios = append(ratios, ratio)
			if level > levels[0] {
				count := "-"
				if distances > 0 {
					count = thousands(distances)
				}
				work = append(work, count)
			}
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %.3f | %.1f | %s |\n", e.Library, strings.Join(rates, " | "), strings.Join(ratios, " / "),
			strings.Join(work, " / "), e.best(), e.BuildSeconds, thousands(e.BytesPerVector))
	}
	return b.String()
}

// thousands returns v without decimals and with commas.
func thousands(v float64) string {
	digits := fmt.Sprintf("%.0f", v)
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// Markdown returns the page docs/benchmarks.md. Plots are expected as plots/NAME.svg beside it.
func (r *Report) Markdown(plots string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `# Benchmarks against other libraries

Written by `+"`make bench-peers`"+` on %s, %d cores, at commit %s (%s; %s -O3 -march=native). Another machine gives other rates;
ratios travel better.

**How to read it.** One thread searches, k = %d. A rate is queries per second of that thread's processor time at the recall@%d named by
its column, taken between measured points of the library's own recall/rate curve; %s marks a rate at the smallest ef, whose recall
is higher already, and - a recall that was not reached. Recall counts ties by exact distance. Ratios are to hnswlib at the same recall
in the same run. Each point is the median of %d rounds; in every round all libraries take turns, ef by ef, each after a pass that
warms its caches up. Build times are wall time on %d threads (coder/hnsw: one). Bytes per vector include the vector: for C++ what the
process grew by, for Segue its own account. Distances are counted per query (Segue: on codes and in rescoring).

`, r.Processor, r.Cores, r.Commit, r.Go, r.Compiler, k, k, "`*`", r.Rounds, buildThreads)
	if len(r.Sets) > 0 {
		b.WriteString("| library | is |\n|---|---|\n")
		for _, e := range r.Sets[0].Entries {
			fmt.Fprintf(&b, "| %s | %s |\n", e.Library, e.About)
		}
	}
	b.WriteString("\nFaiss as Debian builds it has no SIMD for distances, so the driver gives it loops compiled for this machine\n" +
		"([faiss.cpp](../loadtest/peers/drivers/faiss.cpp)). The other drivers call the libraries as they are.\n")
	for _, s := range r.Sets {
		fmt.Fprintf(&b, "\n## %s\n\n%s. %s rows of %d values, %s queries.\n\n%s\n![recall and rate on %s](%s/%s.svg)\n",
			s.Name, s.About, thousands(float64(s.Rows)), s.Dim, thousands(float64(s.Queries)), s.Table(), s.Name, plots, s.Name)
		for _, e := range s.Entries {
			if e.Unsupported != "" {
				fmt.Fprintf(&b, "\nNot measured: %s.\n", e.Unsupported)
			}
		}
	}
	return b.String()
}
