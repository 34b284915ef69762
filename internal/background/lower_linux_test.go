package background

import (
	"runtime"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// policy returns the scheduling policy and the priority of the calling thread.
func policy(t *testing.T) (policy, priority uint32) {
	t.Helper()
	a, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		t.Error(err)
		return 0, 0
	}
	return a.Policy, a.Priority
}

// TestThreadsAreOfLowPriority: those of a pool are, and no other becomes so: not the caller's, not those that its work starts.
func TestThreadsAreOfLowPriority(t *testing.T) {
	p := NewPool(2)
	defer p.Close()
	if !p.Idle() {
		t.Skip("no threads of low priority here")
	}
	ours, oursPriority := policy(t)
	check := func() {
		got, priority := policy(t)
		if ours == unix.SCHED_FIFO || ours == unix.SCHED_RR {
			if got != ours || priority != 1 {
				t.Errorf("policy %d, priority %d", got, priority)
			}
		} else if got != unix.SCHED_IDLE {
			t.Errorf("policy %d", got)
		}
	}
	p.Run(func() {
		check()
		// Threads that are started from here on: goroutines that each keep one.
		var wg sync.WaitGroup
		gate := make(chan struct{})
		for range 8 {
			wg.Go(func() {
				runtime.LockOSThread() // the thread ends with the goroutine
				if got, priority := policy(t); got != ours || priority != oursPriority {
					t.Errorf("a thread of somebody else has policy %d, priority %d", got, priority)
				}
				<-gate
			})
		}
		close(gate)
		wg.Wait()
	})
	if err := p.Each(100, func(int, int) error { check(); return nil }); err != nil {
		t.Error(err)
	}
	if got, priority := policy(t); got != ours || priority != oursPriority {
		t.Errorf("the caller's thread has policy %d, priority %d", got, priority)
	}
}
