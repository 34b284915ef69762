package admission

import (
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// callers holds a token bucket for each caller that called lately.
type callers struct {
	limit rate.Limit
	burst int
	now   func() time.Time

	mu     sync.Mutex // guards bucket
	bucket map[string]*rate.Limiter
}

// maxCallers bounds the buckets. Full ones are dropped first: a caller without one starts with a full one.
const maxCallers = 10_000

func (c *callers) init(o *Options) {
	c.limit, c.burst, c.now = rate.Limit(o.CallerRate), o.CallerBurst, o.now
	c.bucket = map[string]*rate.Limiter{}
}

// Allow counts a call of a caller: nil, or *RateLimitedError.
func (c *Controller) Allow(subject string) error {
	if c.callers.limit == 0 {
		return nil
	}
	return c.callers.allow(subject)
}

func (c *callers) allow(subject string) error {
	now := c.now()
	c.mu.Lock()
	b := c.bucket[subject]
	if b == nil {
		if len(c.bucket) >= maxCallers {
			c.forget(now)
		}
		b = rate.NewLimiter(c.limit, c.burst)
		c.bucket[subject] = b
	}
	c.mu.Unlock()
	r := b.ReserveN(now, 1)
	if wait := r.DelayFrom(now); wait > 0 {
		r.CancelAt(now)
		return &RateLimitedError{Subject: subject, Rate: float64(c.limit), Wait: wait.Truncate(time.Millisecond) + time.Millisecond}
	}
	return nil
}

// forget drops full buckets, or all where there are none: for an instant everybody may burst once more.
func (c *callers) forget(now time.Time) {
	for subject, b := range c.bucket {
		if b.TokensAt(now) >= float64(c.burst) {
			delete(c.bucket, subject)
		}
	}
	if len(c.bucket) >= maxCallers {
		clear(c.bucket)
	}
}
