package engine

import (
	"context"
	"fmt"
	"sync/atomic"
)

// The start-up buffer. A restart reads the snapshot and the log after it, and is ready: items of the log wait beside the graph,
// where every search compares them with its query, and what the log deleted or replaced is hidden (hnsw.Index.Await, Hide).
// The applier links and deletes them between the groups of writes, and takes no snapshot before it is through.

// maxBacklogBytes bounds the vectors that wait, since each search reads them all: about 10 ms on one core. A longer log is
// linked in part before the release is ready.
const maxBacklogBytes = 64 << 20

// backlogChunk is how many items the applier links, and how many it deletes, before it looks for writes again.
const backlogChunk = 64

// backlog is how far a recovered release has come with the log.
type backlog struct {
	total atomic.Int64 // records that changed the graph, when the release was ready
	left  atomic.Int64
	done  chan struct{} // closed once none is left, or the applier has given up
	slots []uint32      // the applier's
}

func (b *backlog) init() { b.done = make(chan struct{}) }

// ready is a channel that can be received from at once.
var ready = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// pending can be received from while there is a backlog. The applier calls it.
func (b *backlog) pending() <-chan struct{} {
	if b.left.Load() > 0 {
		return ready
	}
	return nil
}

// settled reports whether the graph has caught up.
func (b *backlog) settled() bool {
	select {
	case <-b.done:
		return true
	default:
		return false
	}
}

// noteBacklog takes over what replay has left, before the applier starts.
func (r *release) noteBacklog() {
	waiting, hidden := r.index.Backlog()
	r.backlog.total.Store(int64(waiting + hidden))
	r.backlog.left.Store(int64(waiting + hidden))
	if waiting+hidden == 0 {
		close(r.backlog.done)
	}
}

// workOff links and deletes a few slots of the backlog. While reads come it leaves them some of the cores.
func (r *release) workOff() error {
	slots := r.index.NextWaiting(r.backlog.slots[:0], backlogChunk)
	r.backlog.slots = slots
	if err := parallel(len(slots), r.yield, func(_, i int) error { return r.index.Link(slots[i]) }); err != nil {
		return fmt.Errorf("link the backlog: %w", err)
	}
	slots = r.index.NextHidden(slots[:0], backlogChunk)
	for _, slot := range slots {
		if err := r.index.Delete(slot); err != nil {
			return fmt.Errorf("delete the backlog: %w", err)
		}
	}
	waiting, hidden := r.index.Backlog()
	r.backlog.left.Store(int64(waiting + hidden))
	return nil
}

// catchUpStep is the applier's: one step of the backlog, and what is due when it was the last.
func (r *release) catchUpStep() {
	if err := r.workOff(); err != nil {
		r.fail(err)
		r.backlog.left.Store(0)
		close(r.backlog.done) // a snapshot fails with hnsw.ErrBacklog
		return
	}
	if r.backlog.left.Load() > 0 {
		return
	}
	close(r.backlog.done)
	r.engine.opts.Logger.Info("log is in the graph", "collection", r.cfg.Name, "release", r.rows.Release(), "changes", r.backlog.total.Load())
	r.snapshotIfDue()
}

// shorten works the backlog off down to the given number of waiting slots, before the applier starts.
func (r *release) shorten(ctx context.Context, most int) error {
	for {
		waiting, hidden := r.index.Backlog()
		if waiting <= most && (most > 0 || hidden == 0) {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := r.workOff(); err != nil {
			return err
		}
	}
}

// maxWaiting is how many items may wait.
func (r *release) maxWaiting() int { return max(1, maxBacklogBytes/(4*r.cfg.Dim)) }

// settle waits until the graph has caught up with the log.
func (r *release) settle(ctx context.Context) error {
	if r.backlog.settled() {
		return nil // also of a release that is closing: its calls in flight are finished
	}
	select {
	case <-r.backlog.done:
		return nil
	case <-r.closing:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}
