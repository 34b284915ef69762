package admission

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/failsafe-go/failsafe-go/adaptivelimiter"
	"github.com/failsafe-go/failsafe-go/priority"

	"github.com/segue-ann/segue/internal/background"
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

// These are all errors of that type.
var (
	ErrQueue    error = &OverloadedError{Why: "queue"}
	ErrPriority error = &OverloadedError{Why: "priority"}
)

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
	coming      coming       // calls that Room let pass
	service     atomic.Int64 // moving average of the time that calls take, nanoseconds
	pressed     atomic.Int64 // calls shed, or admitted after a wait that is felt, since the last tick

	passed, refused atomic.Int64 // at Room, since the last tick
	overloaded      atomic.Bool  // in the tick before, more than a tenth were refused
}

// tick sets what follows from the time since the last tick.
func (p *pool) tick() {
	p.prioritizer.Calibrate()
	passed, refused := p.passed.Swap(0), p.refused.Swap(0)
	p.overloaded.Store(10*refused > passed+refused)
}

// init makes a pool that lets between least and most calls run, depending on how long they take, and for each of those up to queue wait; where half as
// many do, lower priorities are refused first.
func (p *pool) init(least, most int, queue float64) {
	p.least = min(least, most)
	p.prioritizer = adaptivelimiter.NewPrioritizer()
	p.limiter = adaptivelimiter.NewBuilder[any]().
		WithLimits(uint(p.least), uint(most), uint(min(2*p.least, most))).
		WithRecentWindow(200*time.Millisecond, 5*time.Second, 50).
		WithQueueing(queue/2, queue).
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
	// How many queries wait is bounded by how long: see left.
	c.queries.init(background.Processors(), o.concurrent(queriesPerProcessor), 128)
	// Writes that wait together share an fsync: each takes longer the more there are, and all of them less. A limiter that takes
	// that for overload would let in one at a time.
	most := o.concurrent(writesPerProcessor)
	c.writes.init((most+1)/2, most, 8)
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
	c.queries.tick()
	c.writes.tick()
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
// the call's deadline. A call that has room is on its way until Arrived of what is returned, which Admit is to follow. Cheap.
func (c *Controller) Room(ctx context.Context, p seguev1.Priority) (Coming, error) {
	pool, rank := c.pool(p)
	switch {
	case pool == nil:
		return Coming{}, nil
	case c.yields(p):
		return Coming{}, ErrPriority
	case !pool.limiter.CanAcquirePermitWithPriority(context.Background(), rank):
		pool.pressed.Add(1)
		pool.refused.Add(1)
		return Coming{}, ErrQueue
	}
	now := time.Now()
	if _, err := pool.left(ctx, now, rank, c.o.MaxWait); err != nil {
		pool.refused.Add(1)
		return Coming{}, err
	}
	pool.passed.Add(1)
	return pool.coming.add(now), nil
}

// left is how long a call may wait, at most most, and still end before its deadline. Where it could not, the error is
// context.DeadlineExceeded; where more calls wait before it than have their turn in that time, *OverloadedError.
func (p *pool) left(ctx context.Context, now time.Time, rank priority.Priority, most time.Duration) (time.Duration, error) {
	service := time.Duration(p.service.Load())
	left, patient := most, most
	if deadline, ok := ctx.Deadline(); ok {
		// Half as much again as calls take in the mean: who waits to the last moment must not miss the deadline by a little.
		left = min(left, deadline.Sub(now)-service*3/2)
		// Nor is more than a quarter of the rest for waiting where many are refused: there is always a next one, and each may have waited before it was
		// seen, or wait for those that take longer than the mean.
		if patient = min(patient, left); p.overloaded.Load() {
			patient = min(patient, left/4)
		}
	}
	if rank == priority.Low {
		patient /= 4 // refused while those before it still have room
	}
	running, ahead := p.limiter.Inflight(), p.limiter.Queued()+p.coming.count(now)
	switch {
	case running+ahead < p.least:
		// Where a processor is idle the call is tried: what calls take now is known only from calls.
		return max(left, time.Millisecond), nil
	case left <= 0:
		p.pressed.Add(1)
		return 0, context.DeadlineExceeded
	case service*time.Duration(ahead)/time.Duration(max(1, running)) > patient:
		p.pressed.Add(1)
		return 0, ErrQueue
	}
	return left, nil
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
		return Permit{}, ErrPriority
	}
	began := time.Now()
	wait, err := pool.left(ctx, began, rank, c.o.MaxWait)
	if err != nil {
		return Permit{}, err
	}
	permit, err := pool.limiter.AcquirePermitWithMaxWait(rank.AddTo(ctx), wait)
	if err != nil {
		pool.pressed.Add(1)
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			return Permit{}, err
		}
		return Permit{}, ErrQueue
	}
	now := time.Now()
	waited := now.Sub(began)
	if waited > c.o.MaxWait/4 {
		pool.pressed.Add(1)
	}
	return Permit{pool: pool, permit: permit, began: now, Waited: waited}, nil
}
