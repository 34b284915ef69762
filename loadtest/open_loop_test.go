package loadtest

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

func TestStepValidate(t *testing.T) {
	err := Step{Rate: math.NaN(), Duration: -1, Workers: 0, Timeout: 0}.Validate()
	for _, want := range []string{"Rate", "Duration", "Workers", "Timeout"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not in %v", want, err)
		}
	}
	if err := (Step{Rate: 1e6, Duration: time.Hour, Workers: 1, Timeout: 1}).Validate(); err == nil {
		t.Error("3.6e9 calls are taken")
	}
	if _, err := (Step{}).Run(t.Context(), nil); err == nil {
		t.Error("an empty step runs")
	}
}

// TestArrivals: a Poisson process of the given rate has as many arrivals as its mean, give or take some roots, and gaps whose
// deviation is their mean.
func TestArrivals(t *testing.T) {
	for seed := range uint64(5) {
		s := Step{Rate: 2000, Duration: 5 * time.Second, Seed: seed}
		due := s.arrivals()
		if n := float64(len(due)); math.Abs(n-10_000) > 5*math.Sqrt(10_000) {
			t.Errorf("seed %d: %v arrivals", seed, n)
		}
		var sum, squares float64
		last := time.Duration(0)
		for _, at := range due {
			if at < last || at >= s.Duration {
				t.Fatalf("seed %d: %v after %v", seed, at, last)
			}
			gap := (at - last).Seconds() * s.Rate
			sum, squares, last = sum+gap, squares+gap*gap, at
		}
		mean := sum / float64(len(due))
		if deviation := math.Sqrt(squares/float64(len(due)) - mean*mean); math.Abs(deviation-1) > 0.1 {
			t.Errorf("seed %d: deviation of the gaps is %v of the mean", seed, deviation)
		}
	}
}

// TestNoCoordinatedOmission: a server that stands still for a second, once, shows in the latencies of all calls that were due
// meanwhile, although a closed loop would have seen one slow call a worker.
func TestNoCoordinatedOmission(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var calls atomic.Int64
		result, err := Step{Rate: 1000, Duration: 4 * time.Second, Workers: 4, Timeout: 10 * time.Second, Seed: 1}.Run(t.Context(), func(context.Context, int) error {
			calls.Add(1)
			if now := time.Since(start); now > time.Second && now < 2*time.Second {
				time.Sleep(2*time.Second - now)
			}
			time.Sleep(100 * time.Microsecond)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if result.OK != result.Due || int(calls.Load()) != result.Due {
			t.Errorf("%d of %d calls, %d made", result.OK, result.Due, calls.Load())
		}
		// A quarter of the calls was due in the second that nothing moved: half of those waited above half a second.
		if p := result.Quantile(50); p > 5*time.Millisecond {
			t.Errorf("p50 %v", p)
		}
		if p := result.Quantile(90); p < 500*time.Millisecond || p > 800*time.Millisecond {
			t.Errorf("p90 %v", p)
		}
		if p := result.Quantile(100); p < 950*time.Millisecond || p > 1100*time.Millisecond {
			t.Errorf("the longest %v", p)
		}
	})
}

// TestLongStallsAreCounted: calls that waited for a worker longer than a latency can be are the longest, not left out.
func TestLongStallsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		result, err := Step{Rate: 1, Duration: 30 * time.Second, Workers: 1, Timeout: 2 * time.Minute, Seed: 3}.Run(t.Context(), func(context.Context, int) error {
			time.Sleep(time.Minute)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if result.Due < 15 || int(result.Latency.TotalCount()) != result.OK || result.OK != result.Due {
			t.Errorf("%d due, %d answered, %d latencies", result.Due, result.OK, result.Latency.TotalCount())
		}
		if p := result.Quantile(99); p < longest*99/100 || p > longest*101/100 {
			t.Errorf("p99 %v", p)
		}
		if p := result.Quantile(0); p < time.Minute*99/100 || p > time.Minute*101/100 {
			t.Errorf("the shortest %v", p)
		}
		if !(ReportStep{StepResult: result}).Saturated() {
			t.Error("one answer a minute of one a second is no saturation")
		}
	})
}

// TestSaturation: of a server that answers 500 calls a second, by queueing, steps below that get what they offer, those above do not,
// and what they get is the 500; a server that sheds saturates without a queue.
func TestSaturation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, shed := range []bool{false, true} {
			for _, rate := range []float64{100, 300, 420, 700, 1500} {
				turn := make(chan struct{}, 1)
				step := Step{Rate: rate, Duration: 10 * time.Second, Workers: 200, Timeout: time.Hour, Seed: 5}
				result, err := step.Run(t.Context(), func(context.Context, int) error {
					busy := make(chan struct{})
					if shed {
						close(busy)
					}
					select {
					case turn <- struct{}{}:
					default:
						select {
						case turn <- struct{}{}:
						case <-busy: // never where calls queue
							return status.Error(codes.Unavailable, "busy")
						}
					}
					defer func() { <-turn }()
					time.Sleep(2 * time.Millisecond)
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
				s := ReportStep{StepResult: result}
				want := rate > 500 || shed // who sheds whatever finds the one server busy loses a share rate/(rate+500)
				if s.Saturated() != want {
					t.Errorf("shed %v, %v of 500 offered: %.0f answered, saturated %v", shed, rate, s.Achieved(), s.Saturated())
				}
				achieved := min(rate, 500)
				if shed {
					achieved = rate * 500 / (rate + 500)
				}
				if math.Abs(s.Achieved()-achieved) > 0.08*achieved {
					t.Errorf("shed %v, %v offered: %.0f answered, want about %.0f", shed, rate, s.Achieved(), achieved)
				}
				if result.Codes["OK"]+result.Codes["Unavailable"] != result.Due {
					t.Errorf("%d due: %v", result.Due, result.Codes)
				}
			}
		}
	})
}

// TestQuantiles: of latencies that are known, one by one, to a thousandth.
func TestQuantiles(t *testing.T) {
	h := newHistogram()
	for v := int64(10_000); v > 0; v-- {
		if err := h.RecordValue(v * 10); err != nil {
			t.Fatal(err)
		}
	}
	r := ReportStep{StepResult: StepResult{OK: 10_000, Elapsed: 4 * time.Second, Latency: h}}
	for q, want := range map[float64]float64{50: 50_000, 90: 90_000, 99: 99_000, 99.9: 99_900, 100: 100_000, 0.01: 10} {
		if got := float64(r.Quantile(q).Microseconds()); math.Abs(got-want) > 0.001*want {
			t.Errorf("p%v: %v us, want %v", q, got, want)
		}
	}
	if r.Achieved() != 2500 || r.milliseconds(50) != "50.01" && r.milliseconds(50) != "50.00" && r.milliseconds(50) != "50.02" && r.milliseconds(50) != "50.05" {
		t.Errorf("%v a second, p50 %s ms", r.Achieved(), r.milliseconds(50))
	}
	if (StepResult{OK: 1}).Achieved() != 0 {
		t.Error("answers in no time have a rate")
	}
}

// TestArrivalsOfTheSeed: the same seed has the same arrivals, another has others, and most gaps of a Poisson process are short: the
// median is ln 2 of the mean.
func TestArrivalsOfTheSeed(t *testing.T) {
	s := Step{Rate: 500, Duration: 20 * time.Second, Seed: 9}
	due := s.arrivals()
	if !slices.Equal(due, s.arrivals()) {
		t.Error("one seed gives two loads")
	}
	other := s
	if other.Seed++; slices.Equal(due, other.arrivals()) {
		t.Error("two seeds give one load")
	}
	var gaps []float64
	for i := range due[1:] {
		gaps = append(gaps, (due[i+1]-due[i]).Seconds()*s.Rate)
	}
	if m := median(gaps); math.Abs(m-math.Ln2) > 0.03 {
		t.Errorf("the median gap is %v of the mean, want %v", m, math.Ln2)
	}
	// A Poisson count has the mean as its variance, second by second.
	var counts [20]float64
	for _, at := range due {
		counts[int(at.Seconds())]++
	}
	variance := 0.0
	for _, c := range counts {
		variance += (c - s.Rate) * (c - s.Rate) / float64(len(counts))
	}
	if variance < s.Rate/4 || variance > s.Rate*3 {
		t.Errorf("the variance of arrivals a second is %v, want about %v", variance, s.Rate)
	}
}

func TestStepCountsEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		result, err := Step{Rate: 100, Duration: time.Second, Workers: 50, Timeout: 50 * time.Millisecond, Seed: 1}.Run(t.Context(), func(ctx context.Context, n int) error {
			switch n % 3 {
			case 0:
				return status.Error(codes.Unavailable, "shed")
			case 1:
				<-ctx.Done()
				return status.FromContextError(ctx.Err()).Err()
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		third := result.Due / 3
		if result.Codes["OK"] != result.OK || result.OK < third-1 || result.OK > third+1 || result.Codes["Unavailable"] < third || result.Codes["DeadlineExceeded"] < third {
			t.Errorf("of %d: %v", result.Due, result.Codes)
		}
		if int(result.Latency.TotalCount()) != result.OK {
			t.Errorf("%d latencies of %d answers", result.Latency.TotalCount(), result.OK)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		began := time.Now()
		if _, err := (Step{Rate: 100, Duration: time.Minute, Workers: 1, Timeout: time.Second}).Run(ctx, func(context.Context, int) error { return nil }); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > time.Second {
			t.Errorf("cut short: %v after %v", err, time.Since(began))
		}
	})
}

func TestRecallOfAnswers(t *testing.T) {
	at := func(ds ...float32) (ns []*seguev1.Neighbor) {
		for _, d := range ds {
			ns = append(ns, &seguev1.Neighbor{Distance: d})
		}
		return ns
	}
	for _, c := range []struct {
		truth, answer []*seguev1.Neighbor
		want          float64
	}{
		{at(1, 2, 3, 4), at(1, 2, 3, 4), 1},
		{at(1, 2, 3, 4), at(1, 2, 5, 6), 0.5},
		{at(1, 2, 2, 2), at(1, 2, 2, 2, 2), 1},
		{at(1, 2), nil, 0},
		{nil, nil, 1},
	} {
		if got := recall(c.truth, c.answer); got != c.want {
			t.Errorf("recall %v, want %v", got, c.want)
		}
	}
}

// TestReport: the page is well-formed, holds every step, escapes what came from outside, and fetches nothing.
func TestReport(t *testing.T) {
	r := LoadReport{Title: "Load of <tracks>", Lines: []string{"one & two"}}
	for i, rate := range []float64{100, 1000, 5000} {
		h := newHistogram()
		for v := range int64(1000) {
			if err := h.RecordValue(1 + v*int64(i+1)); err != nil {
				t.Fatal(err)
			}
		}
		r.Steps = append(r.Steps, ReportStep{StepResult: StepResult{
			Step: Step{Rate: rate, Duration: time.Second}, Due: int(rate), OK: 1000, Elapsed: time.Second, Codes: map[string]int{"OK": 1000, "Unavailable": i}, Latency: h,
		}, Recall: 0.99, Checked: i})
	}
	var b bytes.Buffer
	if err := r.WriteHTML(&b); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	for _, want := range []string{"Load of &lt;tracks&gt;", "one &amp; two", "<td>5000</td><td>1000</td>", "OK 1000, Unavailable 2", `class="saturated"`, "p99.9", "0.9900"} {
		if !strings.Contains(page, want) {
			t.Errorf("%q is not in the page", want)
		}
	}
	if strings.Contains(page, "NaN") || strings.Contains(page, "Inf") || strings.Contains(page, "src=") || strings.Contains(page, "href=") || strings.Contains(page, "url(") {
		t.Error("the page has what is no number, or fetches something")
	}
	if n := strings.Count(page, "<polyline"); n != 5 {
		t.Errorf("%d lines are drawn, want 4 quantiles and the recall", n)
	}
	for i, svg := range strings.SplitAfter(page, "</svg>")[:2] {
		d := xml.NewDecoder(strings.NewReader(svg[strings.Index(svg, "<svg"):]))
		for {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("plot %d: %v", i, err)
			}
		}
	}
	// A step without one answer has no latency: no line goes to its rate, and no number stands in its row.
	failed := LoadReport{Steps: append(slices.Clone(r.Steps), ReportStep{StepResult: StepResult{
		Step: Step{Rate: 10_000, Duration: time.Second}, Due: 10_000, Elapsed: time.Second, Codes: map[string]int{"Unavailable": 10_000}, Latency: newHistogram(),
	}})}
	for _, line := range failed.latencyPlot().Series {
		points := strings.Fields(line.Points)
		if len(points) != 3 || strings.HasPrefix(points[2], fmt.Sprintf("%.1f,", plotRight)) {
			t.Errorf("%s is drawn through %v", line.Name, points)
		}
	}
	b.Reset()
	if err := failed.WriteHTML(&b); err != nil || !strings.Contains(b.String(), "<td>10000</td><td>0</td><td></td><td></td><td></td><td></td><td></td><td>0</td><td>Unavailable 10000</td>") {
		t.Errorf("the row of a step without answers is not in the page (%v)", err)
	}
	labels := r.latencyPlot().Series
	for i := range labels[1:] {
		if above := labels[i].LabelY - labels[i+1].LabelY; above < 12 {
			t.Errorf("labels of %s and %s are %.1f pixels apart", labels[i].Name, labels[i+1].Name, above)
		}
	}
	if err := (LoadReport{}).WriteHTML(io.Discard); err != nil {
		t.Errorf("a report of nothing: %v", err)
	}
}
