package hnsw

import (
	"context"

	"github.com/segue-ann/segue/internal/distance"
)

// The scout. The beam of a filtered search holds allowed slots only, and alone could fail to reach the neighborhood of the
// query because few slots on the way are allowed. So a scout walks first: a narrow beam over slots that need not be allowed.
// Whatever it scores that is allowed is offered to the beam.
//
// The scout also measures. The share of allowed slots near the query says what the walk will cost; the share in the index does
// not. While hardly any is near, the scout's beam is widened, which is how a search leaves an area where nothing is allowed,
// until it is plain that the scan is cheaper. So a filtered search never costs much more than the scan of what is allowed.

const (
	// scoutWidth is how many slots the scout's beam holds at first. At 16 tracks and mnist784 need 40 to 60 distances more for the
	// same recall@10 of random filters.
	scoutWidth = 8
	// scoutShare is the share of allowed slots near the query that is enough to walk on; usualShare, where the filter allows
	// fewer, the share of its share.
	scoutShare = 1.0 / 24
	usualShare = 0.25
	// scoutBudget is the share of the scan's cost that the scout may spend before the scan is plainly cheaper.
	scoutBudget = 0.2
)

// scout is the beam that a filtered search has over all slots.
type scout struct {
	pool    pool
	spill   []uint64
	scored  int                // slots that were offered
	allowed int                // of those
	entries [scoreBatch]uint64 // those of a batch that are allowed
}

// sendScout walks with the scout from ids[:n], which keys[:n] are scored for. Then all is scanned, or the beam has where to
// roam from.
func (s *Searcher) sendScout(ctx context.Context, n int) error {
	x, b, t := s.x, &s.more, &s.more.scout
	b.plan, b.rows, b.met = PlanFiltered, 0, 0
	b.passed.begin(x.slots.Load())
	t.pool.reset(scoutWidth, 0)
	t.spill, t.scored, t.allowed = t.spill[:0], 0, 0
	s.keepForScout(n, 0)
	for {
		if err := s.roamScout(ctx); err != nil {
			return err
		}
		share, enough := t.share(b.params.Allowed, float64(b.matches(x))/float64(max(1, x.Len())))
		if enough || len(t.spill) == 0 {
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

// share estimates the share of allowed slots near the query, usual being that in the index, and tells whether it is enough to
// walk on. All that the scout scored is the sample, if it is not much poorer than usual: then the filter has nothing to do with
// the query. Else what counts is the beam, or half of what there is farther off.
func (t *scout) share(allowed *SlotSet, usual float64) (share float64, enough bool) {
	all := float64(t.allowed) / float64(t.scored)
	if all >= usualShare*usual && t.allowed > 1 {
		return all, true
	}
	in := 0
	for _, e := range t.pool.items {
		if allowed.Contains(entrySlot(e)) {
			in++
		}
	}
	share = max(float64(in)/float64(len(t.pool.items)), all/2)
	return share, share >= scoutShare
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
		soon := s.prefetchNext(&t.pool, 0)
		s.walkKeys(s.ids[:n], s.keys[:n])
		s.keepForScout(n, soon)
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

// keepForScout offers the scout ids[:n], which keys[:n] are scored for, and the beam what is allowed of them; it asks for the links
// of those below soon.
func (s *Searcher) keepForScout(n int, soon uint64) {
	b, t := &s.more, &s.more.scout
	limit, ids, words, allowed := t.pool.limit(), s.ids[:n], b.params.Allowed.words, 0
	for i, k := range s.keys[:n] {
		e := packEntry(k, ids[i])
		t.entries[allowed&(scoreBatch-1)] = e // kept if it is allowed, which is a coin toss
		if w := int(ids[i] >> 6); w < len(words) {
			allowed += int(words[w] >> (ids[i] & 63) & 1)
		}
		if e >= limit {
			t.spill = append(t.spill, e)
			continue
		}
		if e < soon {
			distance.Prefetch(s.x.row(ids[i], 0))
		}
		t.spill = t.pool.offerOrSpill(e, t.spill)
		limit = t.pool.limit()
	}
	t.scored, t.allowed = t.scored+n, t.allowed+allowed
	for _, e := range t.entries[:allowed] {
		if b.keeps || e < s.pool.limit() {
			s.offer(e)
		}
	}
}
