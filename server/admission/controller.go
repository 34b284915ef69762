package admission

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/failsafe-go/failsafe-go/adaptivelimiter"
	"github.com/failsafe-go/failsafe-go/priority"

	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// OverloadedError says that a call was shed before it was begun.
type OverloadedError struct {
	// Why is one word, for metrics: queue, priority.
	Why string
}

func (e *OverloadedError) Error() string {
	return fmt.Sprintf("the server has more work than it can do in time (%s): try again later", e.Why)
}

// RateLimitedError says that a caller calls more often than it may.
type RateLimitedError struct {
	Subject string
	Rate    float64
	Wait    time.Duration // until the next call is taken
}

func (e *RateLimitedError) Error() string {
	return fmt.Sprintf("more than %g calls a second: the next is taken in %v", e.Rate, e.Wait.Round(time.Millisecond))
}

// tick is how often shedding thresholds and the effort are set anew.
const tick = 100 * time.Millisecond

// Controller admits calls. Make one with New.
type Controller struct {
	o       Options
	queries pool
	writes  pool
	callers callers
	effort  atomic.Uint64 // bits of a float64 in [o.EffortFloor, 1]

	stop    context.CancelFunc
	stopped chan struct{}
}

// pool is a limiter, and what happened at it.
type pool struct {
	limiter     adaptivelimiter.PriorityLimiter[any]
	prioritizer priority.Prioritizer
	least       int          // concurrency that is always worth it
	service     atomic.Int64 // moving average of the time that calls take, nanoseconds
	pressed     atomic.Int64 // calls shed, or admitted after a wait that is felt, since the last tick
}

// init makes a pool that lets between least and most calls run, depending on how long they take.
func (p *pool) init(least, most int) {
	p.least = min(least, most)
	p.prioritizer = adaptivelimiter.NewPrioritizer()
	p.limiter = adaptivelimiter.NewBuilder[any]().
		WithLimits(uint(p.least), uint(most), uint(min(2*p.least, most))).
		WithRecentWindow(200*time.Millisecond, 5*time.Second, 50).
		WithQueueing(2, 8).
		BuildPrioritized(p.prioritizer)
}

// New starts a controller; Close ends it.
func New(o Options) (*Controller, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	c := &Controller{o: o, stop: stop, stopped: make(chan struct{})}
	c.queries.init(runtime.GOMAXPROCS(0), o.concurrent(queriesPerProcessor))
	// Writes that wait together share an fsync: each takes longer the more there are, and all of them less. A limiter that takes
	// that for overload would let in one at a time.
	most := o.concurrent(writesPerProcessor)
	c.writes.init((most+1)/2, most)
	c.callers.init(&o)
	c.effort.Store(math.Float64bits(1))
	go c.run(ctx)
	return c, nil
}

// Close ends the controller's goroutine. Calls may still be admitted after it, by the last thresholds.
func (c *Controller) Close() {
	c.stop()
	<-c.stopped
}

func (c *Controller) run(ctx context.Context) {
	defer close(c.stopped)
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			c.tick()
		}
	}
}

// tick sets what follows from the time since the last tick.
func (c *Controller) tick() {
	c.queries.prioritizer.Calibrate()
	c.writes.prioritizer.Calibrate()
	c.writes.pressed.Store(0)
	effort := c.Effort()
	if c.queries.pressed.Swap(0) > 0 {
		effort = max(c.o.EffortFloor, effort*0.8)
	} else {
		effort = min(1, effort+0.02)
	}
	c.effort.Store(math.Float64bits(effort))
}

// Effort is the share of the asked beam width that a search should get now: 1 in good times, never below the floor.
func (c *Controller) Effort() float64 { return math.Float64frombits(c.effort.Load()) }

// Stats are the controller's numbers.
type Stats struct {
	// Limit is how many calls may run at once, Running how many do, Queued how many wait.
	QueryLimit, QueriesRunning, QueriesQueued int
	WriteLimit, WritesRunning, WritesQueued   int
	Effort                                    float64
}

// Stats returns the current numbers.
func (c *Controller) Stats() Stats {
	q, w := c.queries.limiter, c.writes.limiter
	return Stats{
		QueryLimit: q.Limit(), QueriesRunning: q.Inflight(), QueriesQueued: q.Queued(),
		WriteLimit: w.Limit(), WritesRunning: w.Inflight(), WritesQueued: w.Queued(),
		Effort: c.Effort(),
	}
}

// pool returns which limiter a priority goes to, and its rank there. nil: none.
func (c *Controller) pool(p seguev1.Priority) (*pool, priority.Priority) {
	switch p {
	case seguev1.Priority_PRIORITY_QUERY:
		return &c.queries, priority.VeryHigh
	case seguev1.Priority_PRIORITY_BATCH_QUERY:
		return &c.queries, priority.Low
	case seguev1.Priority_PRIORITY_WRITE:
		return &c.writes, priority.VeryHigh
	case seguev1.Priority_PRIORITY_IMPORT:
		return &c.writes, priority.Low
	case seguev1.Priority_PRIORITY_UNSPECIFIED, seguev1.Priority_PRIORITY_OPERATOR:
	}
	return nil, 0
}

// yields says whether a write has to give way to queries.
func (c *Controller) yields(p seguev1.Priority) bool {
	if c.o.EffortFloor == 1 {
		return false
	}
	switch p {
	case seguev1.Priority_PRIORITY_IMPORT:
		return c.Effort() < 0.9
	case seguev1.Priority_PRIORITY_WRITE:
		return c.Effort() <= c.o.EffortFloor
	case seguev1.Priority_PRIORITY_UNSPECIFIED, seguev1.Priority_PRIORITY_OPERATOR,
		seguev1.Priority_PRIORITY_QUERY, seguev1.Priority_PRIORITY_BATCH_QUERY:
	}
	return false
}

// Room says whether Admit could admit a call now, before its message is read: nil, *OverloadedError or context.DeadlineExceeded. ctx has
// the call's deadline. Cheap.
func (c *Controller) Room(ctx context.Context, p seguev1.Priority) error {
	pool, rank := c.pool(p)
	switch {
	case pool == nil:
		return nil
	case c.yields(p):
		return &OverloadedError{Why: "priority"}
	case !pool.limiter.CanAcquirePermitWithPriority(context.Background(), rank):
		pool.pressed.Add(1)
		return &OverloadedError{Why: "queue"}
	}
	_, err := pool.left(ctx, time.Now())
	return err
}

// left is how long a call may wait and still end before its deadline; without one, as long as there is. Where it cannot, the error is
// context.DeadlineExceeded.
func (p *pool) left(ctx context.Context, now time.Time) (time.Duration, error) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return math.MaxInt64, nil
	}
	// Half as much again as calls take in the mean: who waits to the last moment must not miss the deadline by a little.
	left := deadline.Sub(now) - time.Duration(p.service.Load()*3/2)
	// Where a processor is idle the call is tried: what calls take now is known only from calls.
	if left <= 0 && p.limiter.Inflight() >= p.least {
		p.pressed.Add(1)
		return 0, context.DeadlineExceeded
	}
	return max(left, time.Millisecond), nil
}

// Permit is the right to run one call; Done must be called once. The zero Permit is one that nothing counts.
type Permit struct {
	pool   *pool
	permit adaptivelimiter.Permit
	began  time.Time
	// Waited is how long the call waited for its turn.
	Waited time.Duration
}

// Done gives the permit back. err is how the call ended: what it took counts where it was answered, and where it missed its deadline,
// for if only the calls that were fast enough counted, an overloaded server would look like a fast one. Other failures say nothing.
func (p Permit) Done(err error) {
	if p.pool == nil {
		return
	}
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		p.permit.Drop()
		return
	}
	took := int64(time.Since(p.began))
	old := p.pool.service.Load()
	p.pool.service.CompareAndSwap(old, old+(took-old)/16) // one that is lost does no harm
	p.permit.Record()
}

// Admit waits for the turn of a call. It waits no longer than Options.MaxWait, and not at all for a call that would then
// miss its deadline. Errors: *OverloadedError, and those of ctx.
func (c *Controller) Admit(ctx context.Context, p seguev1.Priority) (Permit, error) {
	pool, rank := c.pool(p)
	if pool == nil {
		return Permit{}, nil
	}
	if c.yields(p) {
		return Permit{}, &OverloadedError{Why: "priority"}
	}
	began := time.Now()
	left, err := pool.left(ctx, began)
	if err != nil {
		return Permit{}, err
	}
	wait := min(c.o.MaxWait, left)
	permit, err := pool.limiter.AcquirePermitWithMaxWait(rank.AddTo(ctx), wait)
	if err != nil {
		pool.pressed.Add(1)
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			return Permit{}, err
		}
		return Permit{}, &OverloadedError{Why: "queue"}
	}
	now := time.Now()
	waited := now.Sub(began)
	if waited > c.o.MaxWait/4 {
		pool.pressed.Add(1)
	}
	return Permit{pool: pool, permit: permit, began: now, Waited: waited}, nil
}
