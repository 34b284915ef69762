package loadtest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// ANNOptions says what to build. Zero fields mean their defaults.
type ANNOptions struct {
	Engine         string // one of EngineNames; default segue
	M              int    // default 16; segue takes 4..64
	EfConstruction int    // default 100; segue takes 8..4096
	BuildThreads   int    // goroutines that insert; default one a processor; coder uses 1
	Threads        int    // goroutines that search; default 1
	Seed           uint64 // chooses levels; default 1
}

// EnsureDefaults replaces zero fields by their defaults.
func (o *ANNOptions) EnsureDefaults() {
	if o.Engine == "" {
		o.Engine = "segue"
	}
	for _, f := range []struct {
		field *int
		value int
	}{{&o.M, 16}, {&o.EfConstruction, 100}, {&o.BuildThreads, runtime.GOMAXPROCS(0)}, {&o.Threads, 1}} {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	if o.Seed == 0 {
		o.Seed = 1
	}
}

// OptionError says which option is out of its range.
type OptionError struct {
	Field string
	Value any
	Range string
}

func (e *OptionError) Error() string {
	return fmt.Sprintf("%s is %v, not %s", e.Field, e.Value, e.Range)
}

// Validate returns an [*OptionError] for each field out of its range, joined; call EnsureDefaults first. An engine may be
// stricter.
func (o *ANNOptions) Validate() error {
	var errs []error
	if !slices.Contains(EngineNames(), o.Engine) {
		errs = append(errs, &OptionError{"engine", o.Engine, "one of " + strings.Join(EngineNames(), ", ")})
	}
	for _, f := range []struct {
		field     string
		value     int
		low, high int
	}{
		{"m", o.M, 2, 1024},
		{"ef-construction", o.EfConstruction, 1, 1 << 20},
		{"build-threads", o.BuildThreads, 1, 1024},
		{"threads", o.Threads, 1, 1024},
	} {
		if f.value < f.low || f.value > f.high {
			errs = append(errs, &OptionError{f.field, f.value, fmt.Sprintf("in %d..%d", f.low, f.high)})
		}
	}
	return errors.Join(errs...)
}

// ANNResult is one line of the benchmark: one engine at one ef. The package comment defines every field.
type ANNResult struct {
	Engine            string   `json:"engine"`
	N                 int      `json:"n"`
	Dim               int      `json:"dim"`
	Metric            string   `json:"metric"`
	M                 int      `json:"m"`               // 0 for exact
	EfConstruction    int      `json:"ef_construction"` // 0 for exact
	BuildSeconds      float64  `json:"build_seconds"`
	BytesPerVector    float64  `json:"bytes_per_vector"`
	Ef                int      `json:"ef"`
	K                 int      `json:"k"`
	Recall            float64  `json:"recall"`
	QPS               float64  `json:"qps"`
	P50               float64  `json:"p50_us"`
	P99               float64  `json:"p99_us"`
	DistancesPerQuery float64  `json:"distances_per_query"`
	HopsPerQuery      *float64 `json:"hops_per_query"` // nil if the engine cannot tell
}

// ANNBench is a built index and the data it was built from.
type ANNBench struct {
	data    *ANNData
	options ANNOptions
	engine  Engine
	built   time.Duration
}

// BuildANN builds the index o describes over the rows of d. The caller closes the bench.
func BuildANN(ctx context.Context, d *ANNData, o ANNOptions) (*ANNBench, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	engine, err := newEngine(o.Engine)
	if err != nil {
		return nil, err
	}
	return buildANN(ctx, d, o, engine)
}

func buildANN(ctx context.Context, d *ANNData, o ANNOptions, engine Engine) (*ANNBench, error) {
	started := time.Now()
	err := engine.Build(ctx, Build{
		Base: d.Base, Dim: d.Dim, Metric: d.Metric, M: o.M, EfConstruction: o.EfConstruction,
		Threads: o.BuildThreads, Seed: o.Seed,
	})
	if err != nil {
		return nil, fmt.Errorf("building %s: %w", o.Engine, errors.Join(err, engine.Close()))
	}
	return &ANNBench{data: d, options: o, engine: engine, built: time.Since(started)}, nil
}

// BuildTime returns how long the build took.
func (b *ANNBench) BuildTime() time.Duration { return b.built }

// Close frees the index.
func (b *ANNBench) Close() error { return b.engine.Close() }

// Measure makes the two passes at one ef. An ef below k is raised to k by segue; the result shows ef as it was asked.
func (b *ANNBench) Measure(ctx context.Context, ef int) (ANNResult, error) {
	if ef < 1 {
		return ANNResult{}, &OptionError{"ef", ef, "at least 1"}
	}
	before := b.engine.Work()
	if _, err := b.pass(ctx, ef, true); err != nil {
		return ANNResult{}, fmt.Errorf("searching with ef %d: %w", ef, err)
	}
	work := b.engine.Work()
	runtime.GC() // so that the timed pass does not pay for the other's garbage
	timed, err := b.pass(ctx, ef, false)
	if err != nil {
		return ANNResult{}, fmt.Errorf("searching with ef %d: %w", ef, err)
	}

	d, n := b.data, float64(b.data.NumQueries())
	r := ANNResult{
		Engine: b.options.Engine, N: d.Rows(), Dim: d.Dim, Metric: d.Metric.String(),
		M: b.options.M, EfConstruction: b.options.EfConstruction,
		BuildSeconds: b.built.Seconds(), BytesPerVector: b.engine.BytesPerVector(),
		Ef: ef, K: d.K,
		Recall:            d.Recall(timed.results),
		QPS:               n / timed.busiest.Seconds(),
		DistancesPerQuery: float64(work.Distances-before.Distances) / n,
	}
	if b.options.Engine == "exact" {
		r.M, r.EfConstruction = 0, 0
	}
	slices.Sort(timed.latencies)
	r.P50 = microseconds(percentile(timed.latencies, 0.50))
	r.P99 = microseconds(percentile(timed.latencies, 0.99))
	if work.Hops != unknownHops {
		hops := float64(work.Hops-before.Hops) / n
		r.HopsPerQuery = &hops
	}
	return r, nil
}

// SearchAll asks every query once with beam width ef, on the calling goroutine and without a clock, as a caller does that has
// its own: results[i] becomes the rows found for query i, at most K, in the room it has. Cost: that of the searches.
func (b *ANNBench) SearchAll(ctx context.Context, ef int, results [][]uint32) error {
	b.engine.Prepare(ef, false)
	for i := range results {
		found, err := b.engine.Search(ctx, b.data.query(i), b.data.K, results[i][:0])
		if err != nil {
			return fmt.Errorf("searching with ef %d: query %d: %w", ef, i, err)
		}
		results[i] = found
	}
	return nil
}

// BytesPerVector returns the memory of the index over its rows.
func (b *ANNBench) BytesPerVector() float64 { return b.engine.BytesPerVector() }

// pass is what one pass over the queries found and took.
type pass struct {
	results   [][]uint32
	latencies []time.Duration // by query
	busiest   time.Duration   // the largest sum of latencies of one thread
}

func (b *ANNBench) pass(ctx context.Context, ef int, count bool) (*pass, error) {
	var (
		n       = b.data.NumQueries()
		k       = b.data.K
		threads = min(b.options.Threads, n)
		p       = &pass{results: make([][]uint32, n), latencies: make([]time.Duration, n)}
		flat    = make([]uint32, n*min(k, b.data.Rows()))
		sums    = make([]time.Duration, threads)
		errs    = make([]error, threads)
		workers sync.WaitGroup
	)
	// Room for every result is there before the clock runs.
	for i := range p.results {
		room := len(flat) / n
		p.results[i] = flat[i*room : i*room : (i+1)*room]
	}
	b.engine.Prepare(ef, count)
	for t := range threads {
		workers.Go(func() {
			var sum time.Duration
			for i := t; i < n; i += threads {
				query := b.data.query(i)
				started := time.Now()
				found, err := b.engine.Search(ctx, query, k, p.results[i])
				took := time.Since(started)
				if err == nil && len(found) > k {
					err = fmt.Errorf("%d results for k %d", len(found), k)
				}
				if err != nil {
					errs[t] = fmt.Errorf("query %d: %w", i, err)
					return
				}
				p.results[i], p.latencies[i] = found, took
				sum += took
			}
			sums[t] = sum
		})
	}
	workers.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	p.busiest = max(slices.Max(sums), 1)
	return p, nil
}

// percentile returns the smallest of sorted that is no less than a share q of them (nearest rank). sorted is not empty.
func percentile(sorted []time.Duration, q float64) time.Duration {
	rank := int(math.Ceil(q * float64(len(sorted))))
	return sorted[max(rank, 1)-1]
}

func microseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
