package engine

import (
	"sync"
	"sync/atomic"
	"testing"
)

// TestCallGate: after close nobody is inside and nobody gets in.
func TestCallGate(t *testing.T) {
	for range 200 {
		var g callGate
		g.init()
		var inside, entered atomic.Int64
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() {
				for g.enter() {
					inside.Add(1)
					entered.Add(1)
					inside.Add(-1)
					g.leave()
				}
			})
		}
		if !g.close() {
			t.Fatal("close says it was closed before")
		}
		if n := inside.Load(); n != 0 {
			t.Fatalf("%d inside after close", n)
		}
		before := entered.Load()
		wg.Wait()
		if entered.Load() != before {
			t.Fatalf("%d entered after close", entered.Load()-before)
		}
		if g.enter() || g.close() {
			t.Fatal("open again")
		}
	}
}
