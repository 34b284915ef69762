package admission

import (
	"sync/atomic"
	"time"
)

// patience is how long a call counts as coming whose message does not come, at least; at most twice as long.
const patience = 5 * time.Millisecond

// coming counts calls whose headers were read and whose messages were not. Headers are read in bursts, ahead of the messages: without a
// count all calls of a burst would find the queue as the first one does.
type coming struct {
	periods [2]period // the present one, and the one before
}

// period counts the calls of one stretch of time: which stretch in the upper half, how many calls in the lower.
type period struct{ packed atomic.Uint64 }

// Coming is a call on its way. The zero Coming is one that nothing counts.
type Coming struct {
	period  *period
	stretch uint32
}

func stretchOf(now time.Time) uint32 { return uint32(now.UnixNano() / int64(patience)) }

func (c *coming) add(now time.Time) Coming {
	stretch := stretchOf(now)
	p := &c.periods[stretch%2]
	for {
		old := p.packed.Load()
		next := uint64(stretch)<<32 | 1
		if uint32(old>>32) == stretch {
			next = old + 1
		}
		if p.packed.CompareAndSwap(old, next) {
			return Coming{p, stretch}
		}
	}
}

// Arrived ends the way of a call. Only the first time counts for anything; it is not safe for concurrent use.
func (c *Coming) Arrived() {
	if c.period == nil {
		return
	}
	for {
		old := c.period.packed.Load()
		if uint32(old>>32) != c.stretch || c.period.packed.CompareAndSwap(old, old-1) {
			break
		}
	}
	c.period = nil
}

// count is how many calls are coming.
func (c *coming) count(now time.Time) (n int) {
	stretch := stretchOf(now)
	for i := range c.periods {
		if packed := c.periods[i].packed.Load(); stretch-uint32(packed>>32) <= 1 {
			n += int(uint32(packed))
		}
	}
	return n
}
