package engine

import (
	"context"

	"github.com/segue-ann/segue/internal/background"
)

// Unreachable counts the items that no search of the graph can come to: 0 unless the graph is damaged. Nobody waits for it: with
// Options.IdleThreads it leaves the processors to everybody else, and it ends when the release that it looks at is closed. Cost: reads all links
// once. Errors: ErrClosed, *NotFoundError once the collection is deleted, ctx.Err(), context.Canceled of a release that was closed.
func (c *Collection) Unreachable(ctx context.Context) (n int, err error) {
	r, err := c.acquire()
	if err != nil {
		return 0, err
	}
	defer r.leave()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer cancel()
		select {
		case <-r.closing: // which waits for us
		case <-ctx.Done():
		}
	}()
	count := func() { n, err = r.index.Unreachable(ctx) }
	if c.engine.opts.IdleThreads {
		background.Do(count)
	} else {
		count()
	}
	return n, err
}
