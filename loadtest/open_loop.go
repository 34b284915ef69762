package loadtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"google.golang.org/grpc/status"
)

// Call makes the n-th call of a load and reports what it cost. It is called from many goroutines.
type Call func(ctx context.Context, n int) error

// Step is a load at one rate.
type Step struct {
	// Rate is how many calls begin each second, in the mean: arrivals are a Poisson process, as those of many independent
	// users are.
	Rate float64
	// Duration is how long calls are begun.
	Duration time.Duration
	// Workers bounds the calls in flight. A call that finds none free begins late, and its latency counts from when it was
	// due: a server that stalls cannot hide it by slowing its clients down (coordinated omission).
	Workers int
	// Timeout is the deadline of a call, from when it begins.
	Timeout time.Duration
	// Seed of the arrivals.
	Seed uint64
}

// Bounds of a step: a mistyped flag does not load a machine for a day.
const (
	maxCalls   = 10_000_000
	maxWorkers = 10_000
)

// Validate reports every field that is out of range.
func (s Step) Validate() error {
	var errs []error
	if !(s.Rate > 0 && s.Rate <= 1e6) {
		errs = append(errs, fmt.Errorf("loadtest: Rate must be above 0 and at most 1e6, is %v", s.Rate))
	}
	if s.Duration <= 0 || s.Duration > time.Hour {
		errs = append(errs, fmt.Errorf("loadtest: Duration must be above 0 and at most 1h, is %v", s.Duration))
	}
	if n := s.Rate * s.Duration.Seconds(); n > maxCalls {
		errs = append(errs, fmt.Errorf("loadtest: Rate times Duration must be at most %d calls, is %.0f", maxCalls, n))
	}
	if s.Workers < 1 || s.Workers > maxWorkers {
		errs = append(errs, fmt.Errorf("loadtest: Workers must be between 1 and %d, is %d", maxWorkers, s.Workers))
	}
	if s.Timeout <= 0 {
		errs = append(errs, fmt.Errorf("loadtest: Timeout must be above 0, is %v", s.Timeout))
	}
	return errors.Join(errs...)
}

// StepResult is what a step measured.
type StepResult struct {
	Step Step
	// Due is how many calls were due, OK how many succeeded; Codes counts all ends by gRPC code.
	Due, OK int
	Codes   map[string]int
	// Elapsed is from the first due call to the last end.
	Elapsed time.Duration
	// Latency of the calls that succeeded, in microseconds from when they were due, at most 10 minutes.
	Latency *hdrhistogram.Histogram
}

// Achieved is how many calls succeeded a second.
func (r StepResult) Achieved() float64 {
	if r.Elapsed <= 0 {
		return 0
	}
	return float64(r.OK) / r.Elapsed.Seconds()
}

// Quantile returns a latency; q is in 0..100.
func (r StepResult) Quantile(q float64) time.Duration {
	return time.Duration(r.Latency.ValueAtQuantile(q)) * time.Microsecond
}

// arrivals returns when calls are due, ascending, from 0 to below the duration.
func (s Step) arrivals() []time.Duration {
	r := rand.New(rand.NewPCG(s.Seed, 1))
	out := make([]time.Duration, 0, int(s.Rate*s.Duration.Seconds()*1.1)+16)
	for at := 0.0; ; {
		at += r.ExpFloat64() / s.Rate
		due := time.Duration(at * float64(time.Second))
		if due >= s.Duration || len(out) == 2*maxCalls {
			return out
		}
		out = append(out, due)
	}
}

// longest is the latency above which latencies are not told apart.
const longest = 10 * time.Minute

// newHistogram has three digits.
func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, longest.Microseconds(), 3) }

// Run makes the calls of a step, and returns when all of them have ended. It ends early with ctx, and returns its error.
func (s Step) Run(ctx context.Context, call Call) (StepResult, error) {
	if err := s.Validate(); err != nil {
		return StepResult{}, err
	}
	due := s.arrivals()
	result := StepResult{Step: s, Due: len(due), Codes: map[string]int{}, Latency: newHistogram()}
	queue := make(chan int, len(due)) // of indices: the arrivals never wait for a worker
	var (
		mu    sync.Mutex // guards result
		group sync.WaitGroup
	)
	start := time.Now()
	for range min(s.Workers, len(due)) {
		group.Go(func() {
			for n := range queue {
				if ctx.Err() != nil {
					continue
				}
				one, cancel := context.WithTimeout(ctx, s.Timeout)
				err := call(one, n)
				cancel()
				took := time.Since(start) - due[n]
				mu.Lock()
				result.Codes[status.Code(err).String()]++
				if err == nil {
					result.OK++
					// What waited for a worker for longer counts as the longest there is: left out, it would make a stall look short.
					_ = result.Latency.RecordValue(min(max(1, took.Microseconds()), longest.Microseconds()))
				}
				mu.Unlock()
			}
		})
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for n, at := range due {
		if wait := at - time.Since(start); wait > 0 {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
		}
		if ctx.Err() != nil {
			break
		}
		queue <- n
	}
	close(queue)
	group.Wait()
	result.Elapsed = max(time.Since(start), s.Duration)
	return result, ctx.Err()
}
