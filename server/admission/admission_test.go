package admission

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	query  = seguev1.Priority_PRIORITY_QUERY
	batch  = seguev1.Priority_PRIORITY_BATCH_QUERY
	upsert = seguev1.Priority_PRIORITY_WRITE
	load   = seguev1.Priority_PRIORITY_IMPORT
)

func open(t *testing.T, o Options) *Controller {
	t.Helper()
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestOptions(t *testing.T) {
	var o Options
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		t.Error(err)
	}
	_, err := New(Options{MaxConcurrent: -1, MaxWait: time.Hour, CallerRate: math.NaN(), CallerBurst: -2, EffortFloor: 1.5})
	for _, want := range []string{"MaxConcurrent", "MaxWait", "CallerRate", "CallerBurst", "EffortFloor"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not in %v", want, err)
		}
	}
}

// TestRunningIsBounded: whatever calls, never more than MaxConcurrent run, and everyone is admitted or told why not.
func TestRunningIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Options{MaxConcurrent: 4, MaxWait: 30 * time.Millisecond})
		var mu sync.Mutex
		running, most, done, shed := 0, 0, 0, 0
		var all sync.WaitGroup
		for range 1000 {
			all.Go(func() {
				p, err := c.Admit(t.Context(), query)
				if err != nil {
					if !errors.As(err, new(*OverloadedError)) {
						t.Errorf("refused with %v", err)
					}
					mu.Lock()
					shed++
					mu.Unlock()
					return
				}
				mu.Lock()
				running++
				most = max(most, running)
				mu.Unlock()
				time.Sleep(10 * time.Millisecond)
				mu.Lock()
				running--
				done++
				mu.Unlock()
				p.Done(nil)
			})
		}
		all.Wait()
		if most != 4 || done+shed != 1000 || done < 4 || shed == 0 {
			t.Errorf("at most %d at once, %d done, %d shed", most, done, shed)
		}
		if s := c.Stats(); s.QueriesRunning != 0 || s.QueriesQueued != 0 {
			t.Errorf("left behind: %+v", s)
		}
	})
}

// fill takes every permit of a controller's queries.
func fill(t *testing.T, c *Controller) (release func()) {
	t.Helper()
	var held []Permit
	for c.Stats().QueriesRunning < c.Stats().QueryLimit {
		p, err := c.Admit(t.Context(), query)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, p)
	}
	return func() {
		for _, p := range held {
			p.Done(context.Canceled)
		}
		held = nil
	}
}

func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Options{MaxConcurrent: 4 * runtime.GOMAXPROCS(0)})
		for range 100 { // calls take 20 ms
			p, err := c.Admit(t.Context(), query)
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(20 * time.Millisecond)
			p.Done(nil)
		}
		// What has less than half as much again left is not begun while processors are busy, even with room.
		var held []Permit
		for range runtime.GOMAXPROCS(0) {
			p, err := c.Admit(t.Context(), query)
			if err != nil {
				t.Fatal(err)
			}
			held = append(held, p)
		}
		short, cancel := context.WithTimeout(t.Context(), 29*time.Millisecond)
		defer cancel()
		if _, err := c.Admit(short, query); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("29 ms for 20 ms of work: %v", err)
		}
		enough, cancel := context.WithTimeout(t.Context(), 31*time.Millisecond)
		defer cancel()
		p, err := c.Admit(enough, query)
		if err != nil {
			t.Errorf("31 ms for 20 ms of work: %v", err)
		}
		time.Sleep(20 * time.Millisecond)
		for _, p := range append(held, p) {
			p.Done(nil)
		}
		// And it waits no longer than leaves the time to do it.
		release := fill(t, c)
		began := time.Now()
		waiting, cancel := context.WithTimeout(t.Context(), 40*time.Millisecond)
		defer cancel()
		if _, err := c.Admit(waiting, query); !errors.As(err, new(*OverloadedError)) || time.Since(began) > 15*time.Millisecond {
			t.Errorf("waited %v for %v", time.Since(began), err)
		}
		cancelled, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := c.Admit(cancelled, query); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
		release()
	})
}

func TestBrownout(t *testing.T) {
	c := open(t, Options{MaxConcurrent: 2, EffortFloor: 0.4})
	c.Close() // ticks are ours
	if c.Effort() != 1 {
		t.Errorf("effort %v at the start", c.Effort())
	}
	last := 1.0
	for range 10 {
		c.queries.pressed.Add(1)
		c.tick()
		if e := c.Effort(); e > last || e < 0.4 || e == last && e != 0.4 {
			t.Errorf("effort %v after %v", e, last)
		}
		last = c.Effort()
		if _, err := c.Room(context.Background(), load); errors.As(err, new(*OverloadedError)) != (last < 0.9) {
			t.Errorf("imports at effort %v: %v", last, err)
		}
		p, err := c.Admit(t.Context(), upsert)
		if errors.As(err, new(*OverloadedError)) != (last == 0.4) {
			t.Errorf("writes at effort %v: %v", last, err)
		}
		p.Done(nil)
	}
	ticks := 0
	for ; c.Effort() < 1; ticks++ {
		c.tick()
	}
	if ticks < 10 || time.Duration(ticks)*tick > 5*time.Second {
		t.Errorf("recovered after %d ticks", ticks)
	}
	if _, err := c.Room(context.Background(), load); err != nil {
		t.Errorf("imports after recovery: %v", err)
	}
}

// TestLowerPrioritiesGoFirst: in a queue that stays full, batch queries are shed so that queries go on.
func TestLowerPrioritiesGoFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Options{MaxConcurrent: 4})
		done := map[seguev1.Priority]int{}
		var mu sync.Mutex
		var all sync.WaitGroup
		for range 100 {
			for _, p := range []seguev1.Priority{query, batch} {
				for range 4 { // twice what 4 at once can do
					all.Go(func() {
						permit, err := c.Admit(t.Context(), p)
						if err != nil {
							return
						}
						time.Sleep(20 * time.Millisecond)
						permit.Done(nil)
						mu.Lock()
						done[p]++
						mu.Unlock()
					})
				}
			}
			time.Sleep(20 * time.Millisecond)
		}
		all.Wait()
		if done[query] < 300 || done[batch] >= done[query]/2 {
			t.Errorf("done: %d queries, %d batch queries", done[query], done[batch])
		}
	})
}

func TestOperatorsPassBy(t *testing.T) {
	c := open(t, Options{MaxConcurrent: 1})
	release := fill(t, c)
	defer release()
	for _, p := range []seguev1.Priority{seguev1.Priority_PRIORITY_OPERATOR, seguev1.Priority_PRIORITY_UNSPECIFIED} {
		permit, err := c.Admit(t.Context(), p)
		if _, room := c.Room(context.Background(), p); err != nil || room != nil {
			t.Errorf("%v: %v, %v", p, err, room)
		}
		permit.Done(nil)
	}
}

// TestCallerRate: over any time a caller begins at most burst + rate * time calls, is told when the next is taken, and
// is taken then; another caller is not held up.
func TestCallerRate(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		now := time.Unix(1, 0)
		perSecond := float64(rapid.IntRange(1, 50).Draw(r, "rate"))
		burst := rapid.IntRange(1, 20).Draw(r, "burst")
		c, err := New(Options{CallerRate: perSecond, CallerBurst: burst, now: func() time.Time { return now }})
		if err != nil {
			r.Fatal(err)
		}
		defer c.Close()
		start, taken := now, 0
		for range rapid.IntRange(1, 200).Draw(r, "calls") {
			now = now.Add(time.Duration(rapid.IntRange(0, 100).Draw(r, "ms")) * time.Millisecond)
			err := c.Allow("a")
			if err == nil {
				taken++
			}
			if most := float64(burst) + perSecond*now.Sub(start).Seconds() + 1e-6; float64(taken) > most {
				r.Fatalf("%d calls after %v", taken, now.Sub(start))
			}
			if limited := (*RateLimitedError)(nil); errors.As(err, &limited) {
				now = now.Add(limited.Wait)
				if err := c.Allow("a"); err != nil {
					r.Fatalf("after waiting %v: %v", limited.Wait, err)
				}
				taken++
			} else if err != nil {
				r.Fatal(err)
			}
		}
		if err := c.Allow("b"); err != nil {
			r.Fatalf("another caller: %v", err)
		}
	})
}

func TestCallersAreBounded(t *testing.T) {
	now := time.Unix(1, 0)
	c := open(t, Options{CallerRate: 1, now: func() time.Time { return now }})
	for i := range 3 * maxCallers {
		if i == 2*maxCallers {
			now = now.Add(time.Minute) // all buckets are full again
		}
		if err := c.Allow(fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
		if len(c.callers.bucket) > maxCallers {
			t.Fatalf("%d buckets", len(c.callers.bucket))
		}
	}
	if err := open(t, Options{}).Allow("x"); err != nil {
		t.Errorf("no limit: %v", err)
	}
}

func TestListener(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all Connections
	refusals := make(chan struct{}, 10)
	l := all.Listen(inner, 2, func() { refusals <- struct{}{} })
	defer l.Close()
	accepted := make(chan net.Conn, 10)
	go func() {
		defer close(accepted)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	dial := func() net.Conn {
		t.Helper()
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	dial()
	dial()
	first, second := <-accepted, <-accepted
	if _, err := dial().Read(make([]byte, 1)); err == nil || len(refusals) != 1 || all.Open() != 2 {
		t.Errorf("the third: %v, %d refused, %d open", err, len(refusals), all.Open())
	}
	for range 2 { // closing twice counts once
		first.Close()
	}
	dial()
	third := <-accepted
	if all.Open() != 2 {
		t.Errorf("%d open", all.Open())
	}
	second.Close()
	third.Close()
	if all.Open() != 0 {
		t.Errorf("%d open at the end", all.Open())
	}
}
