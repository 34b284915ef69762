package hnsw

import "context"

// Several queries. Each walks apart, as Search does; then what their beams hold is scored against all queries, four at a time, and
// offered to the one beam, as wide as was asked for, that results are taken from. A scan compares every row with all queries
// while it is in the cache.
//
// One walk for all queries, over a beam ordered by the distance to the nearest of them, was built and measured against this.
// It compares every row with every query, most of which are nowhere near, and a query whose neighborhood is tight and far from
// the others is missed unless it has a beam of its own all the same. Three queries at once on tracks, ef 64: recall@10 of .9988
// either way, 2,347 distances in one walk, 1,714 apart.

// walkApart walks for each query, and offers what was found to the beam; where ctx ends, what was found until then.
func (s *Searcher) walkApart(ctx context.Context, entry uint64) (err error) {
	b, n, keeps, ef := &s.more, s.more.queries, s.more.keeps, s.pool.ef
	b.starts = b.starts[:0]
	b.queries, b.keeps, b.apart = 1, false, true
	width := b.width
	if b.params.Allowed == nil {
		b.reach = s.x.reach(b.params.K, ef)
		b.width = b.reach.width
	}
	defer func() { b.queries, b.keeps, b.apart, b.width, b.reach = n, keeps, false, width, reach{} }()
	for i := 0; i < n && err == nil; i++ {
		s.scorer.bind(b.many.vec(i))
		if err = s.startWalk(ctx, entry); err == nil && b.plan == PlanScan {
			// One query's neighborhood is filtered out; the scan serves all.
			b.queries, b.apart, b.width = n, false, width
			return s.scanInstead(ctx)
		}
		if err == nil {
			err = s.roam(ctx)
		}
		for _, e := range s.pool.items[:min(len(s.pool.items), ef)] {
			b.starts = append(b.starts, entrySlot(e))
		}
	}
	b.queries, b.keeps = n, keeps
	s.visited.begin(s.x.slots.Load())
	s.pool.reset(ef, 0)
	s.bindBeam()
	for starts := b.starts; len(starts) > 0; {
		n := 0
		for ; len(starts) > 0 && n < scoreBatch; starts = starts[1:] {
			if s.visited.add(starts[0]) {
				s.ids[n] = starts[0]
				n++
			}
		}
		s.scoreAndKeep(n)
	}
	b.settled = true
	return err
}
