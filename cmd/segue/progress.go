package main

import (
	"context"
	"fmt"
	"io"
	"math"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
)

// progress shows how far a long piece of work is. Its methods may be called from one goroutine at a time.
type progress interface {
	// set says how many rows are done in all, rejected ones included, and how many were rejected.
	set(done, rejected int64)
	// finish leaves the last state on the screen. Nothing may be called afterwards.
	finish()
}

// newProgress draws a bar where a person watches, and writes a line now and then where a file or a pipe
// does. total is the number of rows, -1 where unknown.
func newProgress(ctx context.Context, env *environment, label string, total int64) progress {
	if env.stderrTTY {
		return newBar(ctx, env.stderr, label, total)
	}
	return newLines(env.stderr, label, total, time.Now, 2*time.Second)
}

// bar is a progress bar that redraws itself.
type bar struct {
	pool     *mpb.Progress
	bar      *mpb.Bar
	total    int64 // -1 where unknown
	done     int64
	rejected atomic.Int64
	start    time.Time
}

func newBar(ctx context.Context, w io.Writer, label string, total int64) *bar {
	b := &bar{pool: mpb.NewWithContext(ctx, mpb.WithOutput(w), mpb.WithAutoRefresh()), total: total, start: time.Now()}
	rejects := decor.Any(func(decor.Statistics) string {
		if n := b.rejected.Load(); n > 0 {
			return fmt.Sprintf("  %s rejected", thousands(n))
		}
		return ""
	})
	rate := decor.Any(func(s decor.Statistics) string {
		return fmt.Sprintf("  %s/s", thousands(perSecond(s.Current, time.Since(b.start))))
	})
	left := decor.Any(func(s decor.Statistics) string {
		if d := timeLeft(s.Current, total, time.Since(b.start)); d > 0 {
			return fmt.Sprintf("  %s left", d)
		}
		return ""
	})
	count := decor.Any(func(s decor.Statistics) string {
		if total < 0 {
			return thousands(s.Current) + " "
		}
		return fmt.Sprintf("%s of %s ", thousands(s.Current), thousands(total))
	})
	b.bar = b.pool.AddBar(0, // not the total, which would end the bar by itself
		mpb.PrependDecorators(decor.Name(label+"  "), count),
		mpb.AppendDecorators(decor.Percentage(), rate, left, rejects))
	b.bar.SetTotal(max(total, 0), false)
	return b
}

func (b *bar) set(done, rejected int64) {
	b.rejected.Store(rejected)
	b.done = done
	b.bar.SetCurrent(done)
}

func (b *bar) finish() {
	if b.done < b.total {
		b.bar.Abort(false) // stays on the screen as it is
	} else {
		b.bar.SetTotal(-1, true) // complete at what is done
	}
	b.pool.Wait()
}

// lines writes the state at most once per interval, and at the end.
type lines struct {
	w              io.Writer
	label          string
	total          int64
	now            func() time.Time
	every          time.Duration
	start, last    time.Time
	done, rejected int64
}

func newLines(w io.Writer, label string, total int64, now func() time.Time, every time.Duration) *lines {
	t := now()
	return &lines{w: w, label: label, total: total, now: now, every: every, start: t, last: t}
}

func (l *lines) set(done, rejected int64) {
	l.done, l.rejected = done, rejected
	if t := l.now(); t.Sub(l.last) >= l.every {
		l.last = t
		l.write(t)
	}
}

func (l *lines) finish() { l.write(l.now()) }

func (l *lines) write(t time.Time) {
	fmt.Fprintf(l.w, "%s: %s", l.label, thousands(l.done))
	if l.total >= 0 {
		fmt.Fprintf(l.w, " of %s", thousands(l.total))
		if l.total > 0 {
			fmt.Fprintf(l.w, " (%d%%)", 100*l.done/l.total)
		}
	}
	fmt.Fprintf(l.w, ", %s/s", thousands(perSecond(l.done, t.Sub(l.start))))
	if left := timeLeft(l.done, l.total, t.Sub(l.start)); left > 0 {
		fmt.Fprintf(l.w, ", %s left", left)
	}
	if l.rejected > 0 {
		fmt.Fprintf(l.w, ", %s rejected", thousands(l.rejected))
	}
	fmt.Fprintln(l.w)
}

// perSecond is a rate rounded to whole numbers; 0 before any time has passed.
func perSecond(n int64, d time.Duration) int64 {
	if d <= 0 {
		return 0
	}
	return int64(float64(n) / d.Seconds())
}

// timeLeft is how long the rest takes at the rate so far, in whole seconds; 0 where that is not known, nothing is left, or it is beyond
// all measure.
func timeLeft(done, total int64, since time.Duration) time.Duration {
	if done <= 0 || total <= done {
		return 0
	}
	left := float64(since) * float64(total-done) / float64(done)
	if left > math.MaxInt64/2 {
		return 0
	}
	return time.Duration(left).Round(time.Second)
}
