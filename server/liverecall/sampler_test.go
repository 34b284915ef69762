package liverecall

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func sampler(t *testing.T, o Options) *Sampler {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestBudget: under a load that always has a search to offer, jobs take their share of the time and no more, whatever one costs.
func TestBudget(t *testing.T) {
	if testing.Short() {
		t.Skip("hours of a clock that costs processor time")
	}
	for _, share := range []float64{0.01, 0.1, 0.5, 1} {
		for _, cost := range []time.Duration{50 * time.Microsecond, 5 * time.Millisecond, 2 * time.Second} {
			synctest.Test(t, func(t *testing.T) {
				s := sampler(t, Options{Share: share})
				defer s.Close()
				var busy atomic.Int64
				job := func(context.Context) {
					time.Sleep(cost)
					busy.Add(int64(cost))
				}
				const jobs = 200
				began := time.Now()
				for done := 0; done < jobs; {
					if s.Offer(job) {
						done++
					}
					time.Sleep(max(cost/10, 200*time.Microsecond)) // between two searches
				}
				used := float64(busy.Load()) / float64(time.Since(began))
				if used > share*1.1 {
					t.Errorf("share %v, jobs of %v: they took %.4f", share, cost, used)
				}
				// It does not leave much of its budget unused where jobs are long enough for the rest to count.
				if cost > time.Millisecond && used < share*0.7 {
					t.Errorf("share %v, jobs of %v: they took only %.4f", share, cost, used)
				}
			})
		}
	}
}

// TestPressure: nothing is wanted, and no job is begun, while the server has no time to spare.
func TestPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var pressed atomic.Bool
		pressed.Store(true)
		s := sampler(t, Options{Share: 1, Pressed: pressed.Load})
		defer s.Close()
		ran := 0
		job := func(context.Context) { ran++ }
		for range 100 {
			if s.Wants() || s.Offer(job) {
				t.Fatal("a job is wanted under pressure")
			}
			time.Sleep(patience / 10)
		}
		pressed.Store(false)
		time.Sleep(patience)
		synctest.Wait()
		if !s.Wants() {
			t.Fatal("no job is wanted when the pressure is over")
		}
		pressed.Store(true) // after it was wanted
		if !s.Offer(job) {
			t.Fatal("not taken")
		}
		synctest.Wait()
		if ran != 0 {
			t.Error("a job ran under pressure")
		}
		pressed.Store(false)
		time.Sleep(patience)
		synctest.Wait()
		if !s.Offer(job) {
			t.Fatal("not taken afterwards")
		}
		synctest.Wait()
		if ran != 1 {
			t.Errorf("%d jobs ran, want 1", ran)
		}
	})
}

// TestOneAtATime: of many offers at once one is taken, none waits, and jobs never overlap.
func TestOneAtATime(t *testing.T) {
	s := sampler(t, Options{Share: 1})
	var running, taken atomic.Int64
	done := make(chan struct{}, 64)
	job := func(context.Context) {
		if running.Add(1) > 1 {
			t.Error("two jobs at once")
		}
		running.Add(-1)
		done <- struct{}{}
	}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for taken.Load() < 50 {
				if s.Wants() && s.Offer(job) {
					taken.Add(1)
				}
			}
		})
	}
	for range 50 {
		<-done
	}
	group.Wait()
	s.Close()
	if s.Wants() || s.Offer(job) {
		t.Error("a closed sampler takes jobs")
	}
	s.Close()
}

// TestCloseEndsTheJob: Close does not wait for an exact search over a large collection.
func TestCloseEndsTheJob(t *testing.T) {
	s := sampler(t, Options{Share: 1})
	begun := make(chan struct{})
	for !s.Offer(func(ctx context.Context) { close(begun); <-ctx.Done() }) {
	}
	<-begun
	s.Close()
}

func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := sampler(t, Options{Share: 1, Timeout: time.Minute})
		defer s.Close()
		synctest.Wait()
		began := time.Now()
		var took time.Duration
		s.Offer(func(ctx context.Context) { <-ctx.Done(); took = time.Since(began) })
		time.Sleep(time.Hour)
		synctest.Wait()
		if took != time.Minute {
			t.Errorf("the job was let run for %v", took)
		}
	})
}

func TestOff(t *testing.T) {
	var off *Sampler
	if off.Wants() || off.Offer(nil) {
		t.Error("nil takes jobs")
	}
	off.Close()
	if n := testing.AllocsPerRun(100, func() { _ = off.Wants() }); n > 0 {
		t.Errorf("%v allocations", n)
	}
	for _, share := range []float64{0, -1, 1.1, math.NaN(), math.Inf(1)} {
		if s, err := New(Options{Share: share}); err == nil {
			s.Close()
			t.Errorf("share %v was accepted", share)
		}
	}
}
