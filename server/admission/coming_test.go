package admission

import (
	"context"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// TestComing: a call is coming until it arrives, for 5 ms at least, for less than 10 ms at most.
func TestComing(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		type call struct {
			Coming
			at      time.Time
			arrived bool
		}
		var (
			c     coming
			calls []*call
			now   = time.Unix(1, 0).Add(time.Duration(rapid.IntRange(0, int(2*patience)).Draw(r, "start")))
		)
		for range rapid.IntRange(1, 100).Draw(r, "steps") {
			switch rapid.IntRange(0, 2).Draw(r, "what") {
			case 0:
				now = now.Add(time.Duration(rapid.IntRange(0, int(3*patience)).Draw(r, "pause")))
			case 1:
				calls = append(calls, &call{Coming: c.add(now), at: now})
			case 2:
				if len(calls) > 0 {
					c := calls[rapid.IntRange(0, len(calls)-1).Draw(r, "call")]
					c.Arrived() // perhaps for the second time
					c.arrived = true
				}
			}
			least, most := 0, 0
			for _, c := range calls {
				if age := now.Sub(c.at); !c.arrived && age < 2*patience {
					most++
					if age < patience {
						least++
					}
				}
			}
			if n := c.count(now); n < least || n > most {
				r.Fatalf("%d are coming, want %d to %d", n, least, most)
			}
		}
	})
}

func TestComingAtOnce(t *testing.T) {
	var (
		c     coming
		group sync.WaitGroup
	)
	now := time.Now()
	for range 8 {
		group.Go(func() {
			for range 1000 {
				one := c.add(now)
				one.Arrived()
			}
		})
	}
	group.Wait()
	if n := c.count(now); n != 0 {
		t.Errorf("%d are coming, and all arrived", n)
	}
}

// TestBursts: of calls whose headers come all at once, ahead of their messages, no more have room than can be answered in time; and all that had room
// are. Calls whose messages never come take nobody's place for longer than 10 ms.
func TestBursts(t *testing.T) {
	const work, deadline = 4 * time.Millisecond, 40 * time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		c := open(t, Options{})
		processors := runtime.GOMAXPROCS(0)
		m := &machine{control: c, processors: make(chan struct{}, processors), work: work}
		if due, good, _ := m.offer(100, time.Second, deadline); good != due { // what calls take is learned
			t.Errorf("%d of %d", good, due)
		}
		ctx, cancel := context.WithTimeout(t.Context(), deadline)
		defer cancel()
		var passed []Coming
		for range 10_000 {
			if one, err := c.Room(ctx, query); err == nil {
				passed = append(passed, one)
			}
		}
		if n, most := len(passed), int(deadline/work)*processors; n < processors || n > most {
			t.Errorf("%d of 10,000 calls have room, want %d to %d", n, processors, most)
		}
		var group sync.WaitGroup
		for _, one := range passed {
			group.Go(func() {
				one.Arrived()
				permit, err := c.Admit(ctx, query)
				if err != nil {
					t.Errorf("had room: %v", err)
					return
				}
				m.processors <- struct{}{}
				<-time.After(work)
				<-m.processors
				permit.Done(ctx.Err())
				if ctx.Err() != nil {
					t.Errorf("had room, and was late: %v", ctx.Err())
				}
			})
		}
		group.Wait()
		<-time.After(time.Second)
		for range 10_000 {
			_, _ = c.Room(t.Context(), query) // never arrive
		}
		<-time.After(2 * patience)
		if !m.call(query, deadline) {
			t.Error("no room after calls whose messages never came")
		}
	})
}
