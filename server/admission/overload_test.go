package admission

import (
	"context"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// machine is a server in virtual time: calls that were admitted take turns on a few processors.
type machine struct {
	control    *Controller
	message    time.Duration // from a call's headers to its message
	processors chan struct{}
	work       time.Duration
	most       atomic.Int64 // calls inside at once, admitted or waiting
	inside     atomic.Int64
}

// call is one call with a deadline; it says whether it was answered in time.
func (m *machine) call(priority seguev1.Priority, deadline time.Duration) bool {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	coming, err := m.control.Room(ctx, priority)
	if err != nil {
		return false
	}
	n := m.inside.Add(1)
	defer m.inside.Add(-1)
	for most := m.most.Load(); n > most && !m.most.CompareAndSwap(most, n); most = m.most.Load() {
	}
	if m.message > 0 {
		<-time.After(m.message)
	}
	coming.Arrived()
	permit, err := m.control.Admit(ctx, priority)
	if err != nil {
		return false
	}
	m.processors <- struct{}{}
	if ctx.Err() == nil { // the engine looks at the context before it searches
		time.Sleep(m.work)
	}
	<-m.processors
	permit.Done(ctx.Err())
	return ctx.Err() == nil
}

// offer makes calls at a rate for a time, whatever becomes of them, and returns how many were answered in time and the latencies
// of those.
func (m *machine) offer(rate float64, d, deadline time.Duration) (due, good int, latency []time.Duration) {
	r := rand.New(rand.NewPCG(1, 2))
	var (
		group sync.WaitGroup
		mu    sync.Mutex
	)
	for at, start := 0.0, time.Now(); ; due++ {
		at += r.ExpFloat64() / rate
		if at > d.Seconds() {
			break
		}
		time.Sleep(time.Until(start.Add(time.Duration(at * float64(time.Second)))))
		group.Go(func() {
			began := time.Now()
			if m.call(query, deadline) {
				mu.Lock()
				defer mu.Unlock()
				good++
				latency = append(latency, time.Since(began))
			}
		})
	}
	group.Wait()
	return due, good, latency
}

// TestTenTimesTheCapacity: with ten times the load that the processors can do, and deadlines of 5, 10 and 50 times what a call takes,
// they go on doing nearly as much in time as they can; what waits is bounded; and as soon as the load is gone calls are answered.
// What a limiter that lets more run at once does here: all are begun, all are late, and the goodput is next to nothing.
func TestTenTimesTheCapacity(t *testing.T) {
	const work, d = 4 * time.Millisecond, 2 * time.Second
	processors := runtime.GOMAXPROCS(0)
	capacity := float64(processors) / work.Seconds()
	for _, deadline := range []time.Duration{5 * work, 10 * work, 50 * work} {
		for _, message := range []time.Duration{0, work / 8} {
			synctest.Test(t, func(t *testing.T) {
				control, err := New(Options{MaxWait: 20 * time.Millisecond})
				if err != nil {
					t.Fatal(err)
				}
				defer control.Close()
				m := &machine{control: control, message: message, processors: make(chan struct{}, processors), work: work}
				if due, good, _ := m.offer(capacity/2, d, deadline); good < due*995/1000 {
					t.Errorf("deadline %v: %d of %d answered at half the capacity", deadline, good, due)
				}
				for range 2 {
					due, good, latency := m.offer(10*capacity, d, deadline)
					share := float64(good) / (capacity * d.Seconds())
					slices.Sort(latency)
					t.Logf("deadline %v, message after %v: %d calls due, goodput %.3f of capacity, p99 of those %v, at most %d inside",
						deadline, message, due, share, latency[len(latency)*99/100], m.most.Load())
					if share < 0.85 {
						t.Errorf("deadline %v: goodput %.3f of capacity", deadline, share)
					}
					if most := m.most.Load(); most > int64(9*queriesPerProcessor*processors+processors) {
						t.Errorf("%d calls inside at once", most)
					}
				}
				// For the first tenth of a second the queue is still short.
				if due, good, _ := m.offer(capacity/2, d, deadline); good < due*98/100 {
					t.Errorf("deadline %v: %d of %d answered after the overload", deadline, good, due)
				}
			})
		}
	}
}

// TestNoLockout: calls that took longer than deadlines leave do not keep later ones, which are fast again, from being tried.
func TestNoLockout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		control, err := New(Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer control.Close()
		m := &machine{control: control, processors: make(chan struct{}, runtime.GOMAXPROCS(0)), work: time.Second}
		for range 100 {
			m.call(query, time.Minute)
		}
		m.work = time.Millisecond
		for i := range 100 {
			if !m.call(query, 10*time.Millisecond) {
				t.Fatalf("call %d was refused", i)
			}
		}
	})
}
