package background

import (
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

func TestEachRunsAllOfIt(t *testing.T) {
	p := NewPool(3)
	defer p.Close()
	for _, n := range []int{0, 1, 2, 3, 1000, 7} {
		seen, busy := make([]atomic.Int32, n), make([]atomic.Bool, 3)
		err := p.Each(n, func(worker, i int) error {
			if !busy[worker].CompareAndSwap(false, true) {
				t.Errorf("worker %d does two things at once", worker)
			}
			seen[i].Add(1)
			busy[worker].Store(false)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for i := range seen {
			if got := seen[i].Load(); got != 1 {
				t.Errorf("%d of %d was run %d times", i, n, got)
			}
		}
	}
}

func TestEachEndsWithAnError(t *testing.T) {
	p := NewPool(2)
	defer p.Close()
	bad, ran := errors.New("bad"), atomic.Int64{}
	err := p.Each(1_000_000, func(_, i int) error {
		if ran.Add(1); i == 10 {
			return bad
		}
		return nil
	})
	if !errors.Is(err, bad) || ran.Load() > 500_000 {
		t.Errorf("%v after %d", err, ran.Load())
	}
	if err := p.Each(5, func(int, int) error { return nil }); err != nil {
		t.Errorf("the next: %v", err)
	}
}

// TestSpare: a share more, which does not count as a processor, until it is given back; beside pools too.
func TestSpare(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	want := func(when string, shares int) {
		t.Helper()
		if got := runtime.GOMAXPROCS(0); got != shares {
			t.Errorf("%s: GOMAXPROCS is %d, want %d", when, got, shares)
		}
		if got := Processors(); got != before {
			t.Errorf("%s: %d processors, want %d", when, got, before)
		}
	}
	first := Spare()
	want("one", before+1)
	second := Spare()
	want("two", before+2)
	first()
	p := NewPool(2)
	if p.Idle() {
		want("with a pool", before+3)
	}
	p.Close()
	want("one again", before+1)
	second()
	want("none", before)
}

// TestSharesComeAndGo: however pools come and go, GOMAXPROCS is in the end what it was.
func TestSharesComeAndGo(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for n := 1; n < 6; n++ {
				p := NewPool(n)
				if got := runtime.GOMAXPROCS(0); p.Idle() && got < before+n {
					t.Errorf("GOMAXPROCS is %d in a pool of %d, was %d", got, n, before)
				}
				if got := Processors(); got != before {
					t.Errorf("%d processors, want %d", got, before)
				}
				p.Run(func() {})
				p.Close()
			}
		})
	}
	wg.Wait()
	if got := runtime.GOMAXPROCS(0); got != before || Processors() != before {
		t.Errorf("GOMAXPROCS is %d, was %d", got, before)
	}
}

// TestLimitedProcessesAddNothing: below the number of processors GOMAXPROCS stands for a limit, which more threads would use up.
func TestLimitedProcessesAddNothing(t *testing.T) {
	if runtime.NumCPU() < 2 {
		t.Skip("one processor")
	}
	defer runtime.SetDefaultGOMAXPROCS()
	limit := runtime.NumCPU() - 1
	runtime.GOMAXPROCS(limit)
	p := NewPool(2)
	defer p.Close()
	if p.Idle() || runtime.GOMAXPROCS(0) != limit {
		t.Errorf("idle %v, GOMAXPROCS %d", p.Idle(), runtime.GOMAXPROCS(0))
	}
	ran := false
	p.Run(func() { ran = true })
	if !ran {
		t.Error("nothing ran")
	}
}
