package loadtest

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"io"
	"math"
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
