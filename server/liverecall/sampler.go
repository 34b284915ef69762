package liverecall

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// Options configure a Sampler.
type Options struct {
	// Share is how much of one core jobs may take, above 0 and at most 1.
	Share float64
	// Timeout bounds one job. Default 10 s.
	Timeout time.Duration
	// Pressed says that the server has no time to spare; nil means that it always has.
	Pressed func() bool
}

const (
	defaultTimeout = 10 * time.Second
	// patience is how long a Sampler waits before it looks again whether the server has time to spare.
	patience = time.Second
	// shortest is the shortest rest, for jobs that take next to nothing.
	shortest = time.Millisecond
)

// Validate reports a share that is none.
func (o Options) Validate() error {
	if !(o.Share > 0 && o.Share <= 1) { // also NaN
		return fmt.Errorf("liverecall: Share must be above 0 and at most 1, is %v", o.Share)
	}
	return nil
}

// Job measures one served search. It ends early when ctx does.
type Job func(ctx context.Context)

// Sampler runs jobs in the background, within a budget. nil is one that wants none.
type Sampler struct {
	o       Options
	wants   atomic.Bool // whoever sets it to false owes the one job that fits jobs
	jobs    chan Job
	stop    context.CancelFunc
	stopped chan struct{}
}

// New starts a sampler; Close ends it.
func New(o Options) (*Sampler, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	if o.Pressed == nil {
		o.Pressed = func() bool { return false }
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &Sampler{o: o, jobs: make(chan Job, 1), stop: stop, stopped: make(chan struct{})}
	go s.run(ctx)
	return s, nil
}

// Wants says whether an offer would be taken: only then is it worth making a job.
func (s *Sampler) Wants() bool { return s != nil && s.wants.Load() }

// Offer gives a job to the sampler and reports whether it was taken: not where another was faster.
func (s *Sampler) Offer(job Job) bool {
	if s == nil || !s.wants.CompareAndSwap(true, false) {
		return false
	}
	s.jobs <- job // never waits: there is room for one, and one taker of wants
	return true
}

// Close ends the goroutine, and with it the job that runs. It may be called more than once.
func (s *Sampler) Close() {
	if s == nil {
		return
	}
	s.stop()
	<-s.stopped
}

func (s *Sampler) run(ctx context.Context) {
	defer close(s.stopped)
	defer s.wants.Store(false)
	rest := time.Duration(0)
	for pause(ctx, rest) {
		if rest = patience; s.o.Pressed() {
			continue
		}
		s.wants.Store(true)
		select {
		case <-ctx.Done():
			return
		case job := <-s.jobs:
			if s.o.Pressed() { // since
				continue
			}
			began := time.Now()
			s.do(ctx, job)
			mean := float64(time.Since(began)) * (1/s.o.Share - 1)
			rest = max(shortest, time.Duration(mean*(0.5+rand.Float64()))) //nolint:gosec // not to fall in step
		}
	}
}

func (s *Sampler) do(ctx context.Context, job Job) {
	ctx, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	job(ctx)
}

// pause waits, and reports whether ctx lasted.
func pause(ctx context.Context, d time.Duration) bool {
	if d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-ctx.Done():
		case <-t.C:
		}
	}
	return ctx.Err() == nil
}
