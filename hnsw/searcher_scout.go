package hnsw

import (
	"context"
	"slices"
)

// Scouts. The beam holds allowed slots only, and one beam serves all queries. Alone it could miss the neighborhood of a
// query: because few slots on the way are allowed, or because another query's neighborhood fills it. So each query has a
// scout that walks first: a narrow beam of its own, over slots that need not be allowed. Whatever it scores that is allowed
// is offered to the beam.
//
// A scout also measures. The share of allowed slots near the query says what the walk will cost; the share in the index does
// not. While hardly any is near, the scout's beam is widened, which is how a search leaves an area where nothing is allowed,
// until it is plain that the scan is cheaper. So a filtered search never costs much more than the scan of what is allowed.

const (
	// scoutWidth is how many slots a scout's beam holds at first.
	scoutWidth = 16
	// scoutShare is the share of allowed slots among them that is enough to walk on.
	scoutShare = 1.0 / 24
	// scoutBudget is the share of the scan's cost that scouts may spend before the scan is plainly cheaper.
	scoutBudget = 0.2
)

// scout is the beam of one query over all slots.
type scout struct {
	pool  pool
	spill []uint64
	share float64 // of its beam that is allowed
}

// sendScouts walks with a scout for each query from the entry point. Then all is scanned, or the beam has where to roam from.
func (s *Searcher) sendScouts(ctx context.Context, entry uint64, ef int) error {
	x, b := s.x, &s.more
	var starts [MaxQueries]uint32
	for i := range b.queries {
		starts[i] = s.land(i, entry)
	}
	s.bindBeam()
	b.passed.begin(x.slots.Load())
	b.walked = true
	b.scouts = slices.Grow(b.scouts[:0], b.queries)[:b.queries]
	for i := range b.scouts {
		b.scouts[i].pool.reset(scoutWidth, 0)
		b.scouts[i].spill = b.scouts[i].spill[:0]
	}
	for _, slot := range starts[:b.queries] {
		if s.visited.add(slot) {
			s.ids[0] = slot
			s.scoreForScouts(1)
		}
	}
	if b.params.Allowed == nil {
		return s.roamScouts(ctx)
	}
	b.plan = PlanFiltered
	for {
		if err := s.roamScouts(ctx); err != nil {
			return err
		}
		share, wider := s.look()
		if !wider {
			if s.prefersScan(ef, 1, share) {
				break
			}
			return nil
		}
		// Widening doubles what was spent.
		if x.forced == 0 && 2*s.spent() > scoutBudget*x.scanCost(s.walking, b.matches(x), b.queries) {
			break
		}
		for i := range b.scouts {
			if t := &b.scouts[i]; t.share < scoutShare {
				t.spill = t.pool.widen(2*t.pool.ef, t.spill)
			}
		}
	}
	b.plan = PlanScan
	return s.scan(ctx)
}

// look measures the share of allowed slots near each query. It returns the lowest, and whether a beam that has too few can be
// widened.
//
// A beam of 16 is a small sample, and all that the scout scored a large one of what lies farther off, which counts half.
func (s *Searcher) look() (share float64, wider bool) {
	b := &s.more
	share = 1
	for i := range b.scouts {
		t := &b.scouts[i]
		inBeam, beyond := countAllowed(t.pool.items, b.params.Allowed), countAllowed(t.spill, b.params.Allowed)
		beam, all := len(t.pool.items), len(t.pool.items)+len(t.spill)
		t.share = max(float64(inBeam)/float64(max(1, beam)), float64(inBeam+beyond)/float64(max(1, 2*all)))
		share = min(share, t.share)
		wider = wider || t.share < scoutShare && len(t.spill) > 0
	}
	return share, wider
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

// roamScouts lets the scouts walk in turn until none has a node left to expand.
func (s *Searcher) roamScouts(ctx context.Context) error {
	done := ctx.Done()
	check := s.hops + contextHops
	for {
		first, ok := s.nextOfScouts()
		if !ok {
			return nil
		}
		n := s.gather(first, 0, 0)
		s.hops++
		if second, ok := s.nextOfScouts(); ok {
			s.prefetchVectors(s.ids[:n])
			n = s.gather(second, 0, n)
			s.hops++
		}
		s.scoreForScouts(n)
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

// nextOfScouts returns the next node of the scout whose turn it is, or of the next that has one.
func (s *Searcher) nextOfScouts() (slot uint32, ok bool) {
	b := &s.more
	for range b.scouts {
		if b.turn++; b.turn >= len(b.scouts) {
			b.turn = 0
		}
		if slot, ok = b.scouts[b.turn].pool.next(); ok {
			b.passed.add(slot)
			return slot, true
		}
	}
	return 0, false
}

// scoreForScouts scores ids[:n] and offers each to the scout of the query it is nearest to, and to the beam if it is allowed.
func (s *Searcher) scoreForScouts(n int) {
	b := &s.more
	ids, keys := s.ids[:n], s.keys[:n]
	s.beamKeys(ids, keys)
	allowed := b.params.Allowed
	for i, k := range keys {
		e := packEntry(k, ids[i])
		t := &b.scouts[0]
		if b.queries > 1 {
			t = &b.scouts[b.many.nearest[i]]
		}
		t.spill = t.pool.offerOrSpill(e, t.spill)
		switch {
		case allowed != nil && !allowed.Contains(ids[i]):
		case b.keeps:
			b.spill = s.pool.offerOrSpill(e, b.spill)
		default:
			s.pool.offer(e)
		}
	}
}
