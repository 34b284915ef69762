package engine

import (
	"errors"
	"math"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"testing"
)

// TestParallel: everything is done once by one of the workers, and the first error ends it. Workers that pause as long as they may hold
// up nothing: the first does it all, and then they end too.
func TestParallel(t *testing.T) {
	old := runtime.GOMAXPROCS(4)
	defer runtime.GOMAXPROCS(old)
	patient := func(worker int, more func() bool) {
		for worker > 0 && more() {
			runtime.Gosched()
		}
	}
	for name, pause := range map[string]func(int, func() bool){"at once": nil, "patient": patient} {
		for _, n := range []int{0, 1, 2, 3, 1000} {
			done := make([]atomic.Int32, n)
			err := parallel(n, pause, func(worker, i int) error {
				if pause != nil && worker != 0 {
					t.Errorf("%s: worker %d did something", name, worker)
				}
				done[i].Add(1)
				return nil
			})
			if err != nil {
				t.Error(err)
			}
			for i := range done {
				if got := done[i].Load(); got != 1 {
					t.Errorf("%s: %d of %d done %d times", name, i, n, got)
				}
			}
			broken := errors.New("broken")
			if err := parallel(n, pause, func(_, i int) error {
				if i == n/2 {
					return broken
				}
				return nil
			}); n > 0 && !errors.Is(err, broken) {
				t.Errorf("%s: %d with one that fails: %v", name, n, err)
			}
		}
	}
}

// TestBuildsBesideReadsWithoutEnd: where reads never cease, a release is built and published.
func TestBuildsBesideReadsWithoutEnd(t *testing.T) {
	old := runtime.GOMAXPROCS(4)
	defer runtime.GOMAXPROCS(old)
	c := newTestCollection(t, 4, L2)
	c.engine.lastRead.Store(math.MaxInt64 / 2)
	if !c.engine.readSince(yieldAfterRead) {
		t.Fatal("reads have ceased")
	}
	items := randomItems(rand.New(rand.NewPCG(61, 1)), 400, 4)
	info := importAll(t, c, ImportOptions{JobID: "beside reads"}, items...)
	mustPublish(t, c, info.Release)
	if got := c.published.Load().index.Len(); got != len(items) {
		t.Errorf("%d vectors, want %d", got, len(items))
	}
}
