package hnsw

import "context"

// The scout. The beam of a filtered search holds allowed slots only, and alone could fail to reach the neighborhood of the
// query because few slots on the way are allowed. So a scout walks first: a narrow beam over slots that need not be allowed.
// Whatever it scores that is allowed is offered to the beam.
//
// The scout also measures. The share of allowed slots near the query says what the walk will cost; the share in the index does
// not. While hardly any is near, the scout's beam is widened, which is how a search leaves an area where nothing is allowed,
// until it is plain that the scan is cheaper. So a filtered search never costs much more than the scan of what is allowed.

const (
	// scoutWidth is how many slots the scout's beam holds at first.
	scoutWidth = 16
	// scoutShare is the share of allowed slots among them that is enough to walk on.
	scoutShare = 1.0 / 24
	// scoutBudget is the share of the scan's cost that the scout may spend before the scan is plainly cheaper.
	scoutBudget = 0.2
)

// scout is the beam that a filtered search has over all slots.
type scout struct {
	pool  pool
	spill []uint64
}

// sendScout walks with the scout from ids[:n], which keys[:n] are scored for. Then all is scanned, or the beam has where to
// roam from.
func (s *Searcher) sendScout(ctx context.Context, n int) error {
	x, b, t := s.x, &s.more, &s.more.scout
	b.plan = PlanFiltered
	b.passed.begin(x.slots.Load())
	t.pool.reset(scoutWidth, 0)
	t.spill = t.spill[:0]
	s.keepForScout(n)
	for {
		if err := s.roamScout(ctx); err != nil {
			return err
		}
		share := t.share(b.params.Allowed)
		if share >= scoutShare || len(t.spill) == 0 {
			if s.prefersScan(s.pool.ef, 1, share) {
				return s.scanInstead(ctx)
			}
			return nil
		}
		// Widening doubles what was spent.
		if x.forced == 0 && 2*s.spent() > scoutBudget*x.scanCost(s.walking, b.matches(x), b.queries) {
			return s.scanInstead(ctx)
		}
		t.spill = t.pool.widen(2*t.pool.ef, t.spill)
	}
}

// share estimates the share of allowed slots near the query. The beam is a small sample; all that the scout scored is a large
// one of what lies farther off, and counts half.
func (t *scout) share(allowed *SlotSet) float64 {
	in, out := countAllowed(t.pool.items, allowed), countAllowed(t.spill, allowed)
	beam, all := len(t.pool.items), len(t.pool.items)+len(t.spill)
	return max(float64(in)/float64(beam), float64(in+out)/float64(2*all))
}

func countAllowed(entries []uint64, allowed *SlotSet) int {
	n := 0
	for _, e := range entries {
		if allowed.Contains(entrySlot(e)) {
			n++
		}
	}
	return n
}

// roamScout lets the scout walk until its beam holds no node that was not expanded.
func (s *Searcher) roamScout(ctx context.Context) error {
	t := &s.more.scout
	done := ctx.Done()
	check := s.hops + contextHops
	for {
		first, ok := t.pool.next()
		if !ok {
			return nil
		}
		s.more.passed.add(first)
		n := s.gather(first, 0, 0)
		s.hops++
		if second, ok := t.pool.next(); ok {
			s.more.passed.add(second)
			s.prefetchVectors(s.ids[:n])
			n = s.gather(second, 0, n)
			s.hops++
		}
		s.scoreForScout(n)
		if done != nil && s.hops >= check {
			check = s.hops + contextHops
			select {
			case <-done:
				return ctx.Err()
			default:
			}
		}
	}
}

// scoreForScout scores ids[:n] and offers them.
func (s *Searcher) scoreForScout(n int) {
	s.walkKeys(s.ids[:n], s.keys[:n])
	s.keepForScout(n)
}

// keepForScout offers the scout ids[:n], which keys[:n] are scored for, and the beam what is allowed of them.
func (s *Searcher) keepForScout(n int) {
	b, t := &s.more, &s.more.scout
	ids, keys := s.ids[:n], s.keys[:n]
	for i, k := range keys {
		e := packEntry(k, ids[i])
		t.spill = t.pool.offerOrSpill(e, t.spill)
		switch {
		case !b.params.Allowed.Contains(ids[i]):
		case b.keeps:
			b.spill = s.pool.offerOrSpill(e, b.spill)
		default:
			s.pool.offer(e)
		}
	}
}
