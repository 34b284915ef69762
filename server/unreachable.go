package server

import (
	"context"
	"time"

	"github.com/segue-ann/segue/engine"
	"github.com/segue-ann/segue/server/liverecall"
)

const (
	// graphLook is how often the graph of a collection is looked at. Collections take turns.
	graphLook = time.Minute
	// graphTimeout bounds one look, which gets only what is left of the processors.
	graphTimeout = time.Hour
)

// watchGraphs counts, in the background and within the budget of looks, what no search can come to, until the server drains. Where looks is nil, it
// does not.
func (s *Server) watchGraphs(collections func() []*engine.Collection, looks *liverecall.Sampler) {
	if looks == nil {
		return
	}
	s.watching.Go(func() {
		defer looks.Close()
		tick := time.NewTicker(graphLook)
		defer tick.Stop()
		for turn := 0; ; turn++ {
			select {
			case <-s.draining:
				return
			case <-tick.C:
				if all := collections(); len(all) > 0 {
					looks.Offer(func(ctx context.Context) { s.lookAtGraph(ctx, all[turn%len(all)]) })
				}
			}
		}
	})
}

// lookAtGraph counts for the metric. It fails for a collection that was deleted meanwhile, and when the server stops: nobody is to be told.
func (s *Server) lookAtGraph(ctx context.Context, c *engine.Collection) {
	if n, err := c.Unreachable(ctx); err == nil {
		s.metrics.Unreachable(c, n)
	}
}
