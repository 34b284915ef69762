package replay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// Target answers the n-th query of a run, n counting from 0. It must be safe for concurrent use.
type Target struct {
	Name string
	Ask  func(ctx context.Context, n int, req *seguev1.NearestNeighborsRequest) (*seguev1.NearestNeighborsResponse, error)
}

// Options bound a run. The zero value of a field means its documented default.
type Options struct {
	// Workers is how many queries are under way at a time, 1 to 1,000. Default 4.
	Workers int
	// Rate is how many queries begin a second at most; 0 is no limit.
	Rate float64
	// Count is how many queries are asked at most, up to 10 million. Default 100,000.
	Count int
	// Duration is how long queries are begun, up to an hour. Default 10 minutes.
	Duration time.Duration
	// Timeout is the deadline of a call. Default 1 s.
	Timeout time.Duration
}

// EnsureDefaults replaces zero values by the defaults.
func (o *Options) EnsureDefaults() {
	if o.Workers == 0 {
		o.Workers = 4
	}
	if o.Count == 0 {
		o.Count = 100_000
	}
	if o.Duration == 0 {
		o.Duration = 10 * time.Minute
	}
	if o.Timeout == 0 {
		o.Timeout = time.Second
	}
}

// Validate reports every field that is out of range.
func (o Options) Validate() error {
	var errs []error
	check := func(ok bool, field, rule string, value any) {
		if !ok {
			errs = append(errs, fmt.Errorf("replay: %s must be %s, is %v", field, rule, value))
		}
	}
	check(o.Workers >= 1 && o.Workers <= 1000, "Workers", "between 1 and 1000", o.Workers)
	check(o.Rate >= 0 && o.Rate <= 1e6, "Rate", "between 0 and 1e6", o.Rate)
	check(o.Count >= 1 && o.Count <= 10_000_000, "Count", "between 1 and 10000000", o.Count)
	check(o.Duration > 0 && o.Duration <= time.Hour, "Duration", "above 0 and at most 1h", o.Duration)
	check(o.Timeout > 0, "Timeout", "above 0", o.Timeout)
	return errors.Join(errs...)
}

// query is one with its number.
type query struct {
	n   int
	req *seguev1.NearestNeighborsRequest
}

// Run asks the queries that next gives, until it gives io.EOF or a bound is reached; next is not called concurrently. b may be
// nil. answered, where it is not nil, is told a's answer or error to each query, one at a time, in any order. An error of next
// ends the run and is returned, with the report of what was asked until then; errors of queries are part of the report.
func Run(ctx context.Context, next func() (*seguev1.NearestNeighborsRequest, error), a Target, b *Target, o Options,
	answered func(n int, m *seguev1.NearestNeighborsResponse, err error),
) (*Report, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	began := time.Now()
	run := &run{o: o, a: a, b: b, report: &Report{A: newSide(a.Name)}, answered: answered}
	if b != nil {
		run.report.B = newSide(b.Name)
	}
	queries := make(chan query)
	var group sync.WaitGroup
	for range o.Workers {
		group.Go(func() {
			for q := range queries {
				run.ask(ctx, q)
			}
		})
	}
	err := feed(ctx, next, queries, began, o)
	close(queries)
	group.Wait()
	run.report.Elapsed = time.Since(began)
	run.report.finish()
	return run.report, err
}

// feed gives queries to the workers, as fast as they take them and the rate allows.
func feed(ctx context.Context, next func() (*seguev1.NearestNeighborsRequest, error), queries chan<- query, began time.Time, o Options) error {
	for n := range o.Count {
		due := began
		if o.Rate > 0 {
			due = began.Add(time.Duration(float64(n) / o.Rate * float64(time.Second)))
		}
		if max(time.Since(began), due.Sub(began)) >= o.Duration {
			return nil
		}
		if err := waitUntil(ctx, due); err != nil {
			return err
		}
		req, err := next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case queries <- query{n, req}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func waitUntil(ctx context.Context, due time.Time) error {
	wait := time.Until(due)
	if wait <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run is what workers share.
type run struct {
	o        Options
	a        Target
	b        *Target
	answered func(int, *seguev1.NearestNeighborsResponse, error)

	mu     sync.Mutex // guards report
	report *Report
}

// ask asks one query, of b first every second time: who comes second finds warm caches.
func (r *run) ask(ctx context.Context, q query) {
	var ma, mb *seguev1.NearestNeighborsResponse
	var ea, eb error
	first, second := func() { ma, ea = r.call(ctx, &r.a, r.report.A, q) }, func() {}
	if r.b != nil {
		second = func() { mb, eb = r.call(ctx, r.b, r.report.B, q) }
	}
	if q.n%2 == 1 {
		first, second = second, first
	}
	first()
	second()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.Queries++
	if r.answered != nil {
		r.answered(q.n, ma, ea)
	}
	if r.b != nil && ea == nil && eb == nil {
		r.report.compare(q, ma, mb)
	}
}

func (r *run) call(ctx context.Context, t *Target, side *Side, q query) (*seguev1.NearestNeighborsResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, r.o.Timeout)
	defer cancel()
	began := time.Now()
	m, err := t.Ask(ctx, q.n, q.req)
	took := time.Since(began)
	r.mu.Lock()
	defer r.mu.Unlock()
	side.Codes[status.Code(err).String()]++
	if status.Code(err) == codes.OK {
		_ = side.Latency.RecordValue(min(max(1, took.Microseconds()), maxMicros)) // within its range
	}
	return m, err
}

// maxMicros is the longest latency that a histogram tells apart.
const maxMicros = int64(time.Hour / time.Microsecond)

// Side is how one target did.
type Side struct {
	Name string
	// Codes counts calls by gRPC code.
	Codes map[string]int
	// Latency of the calls that succeeded, in microseconds.
	Latency *hdrhistogram.Histogram
}

func newSide(name string) *Side {
	return &Side{Name: name, Codes: map[string]int{}, Latency: hdrhistogram.New(1, maxMicros, 3)}
}

// Quantile returns the latency that p percent of the calls kept.
func (s *Side) Quantile(p float64) time.Duration {
	return time.Duration(s.Latency.ValueAtQuantile(p)) * time.Microsecond
}
