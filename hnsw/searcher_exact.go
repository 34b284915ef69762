package hnsw

import (
	"context"
	"math/bits"
	"sync/atomic"
)

// contextBatches is how many kernel calls of scoreBatch rows an exact scan makes between two looks at its context.
const contextBatches = 16

// Exact returns the k nearest live slots, ascending by distance and then by slot: all live slots if there are fewer. Rules
// and errors are those of Search. Cost: Len() distances, in slot order.
func (s *Searcher) Exact(ctx context.Context, query []float32, k int) ([]Candidate, SearchStats, error) {
	if err := s.begin(ctx, query, k); err != nil {
		return nil, SearchStats{}, err
	}
	if err := s.scan(ctx, k); err != nil {
		return nil, s.stats(), err
	}
	st := s.stats()
	st.Exact = true
	return s.results, st, nil
}

// scan fills the results with the k nearest live slots to the bound query.
func (s *Searcher) scan(ctx context.Context, k int) error {
	x := s.x
	s.pool.reset(min(k, max(1, x.Len())), 0)
	words := (int(x.slots.Load()) + 63) / 64
	n, batches := 0, 0
	for w := range words {
		for live := atomic.LoadUint64(&x.live[w]); live != 0; live &= live - 1 {
			s.ids[n] = uint32(w*64 + bits.TrailingZeros64(live))
			if n++; n < scoreBatch {
				continue
			}
			s.scoreAndOffer(n)
			n = 0
			if batches++; batches%contextBatches == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}
	s.scoreAndOffer(n)
	s.take(k)
	return nil
}

func (s *Searcher) scoreAndOffer(n int) {
	s.scorer.keys(s.ids[:n], s.keys[:n])
	limit := s.pool.limit()
	for i, k := range s.keys[:n] {
		if e := packEntry(k, s.ids[i]); e < limit {
			s.pool.offer(e)
			limit = s.pool.limit()
		}
	}
}
