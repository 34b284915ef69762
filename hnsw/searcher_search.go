package hnsw

import (
	"context"
	"math/bits"
	"sync/atomic"

	"github.com/segue-ann/segue/internal/distance"
)

// contextHops is how many hops a search makes between two looks at its context.
const contextHops = 64

// SearchParams are the parameters of one search.
type SearchParams struct {
	// K is the number of results asked for, at least 1.
	K int
	// Ef is the effort on level 0: more is slower and finds more. It is the width of the beam; but that of a search without a filter has
	// up to twice the room, and ends where nothing near is left (searcher_reach.go). Raised to K.
	Ef int
	// Allowed are the slots that may be returned; nil: all. It must not change during the search. Slots in it that are not live
	// do no harm; build it after Acquire, or a slot in it may have been reused for something else.
	Allowed *SlotSet
	// Exact asks for the exact result: a scan of all allowed slots, on vectors. Ef has no meaning then.
	Exact bool
}

// Search returns the K nearest live slots it finds, of those allowed, ascending by distance and then by slot. Never fewer than
// there are: if the graph gives fewer, the exact scan answers.
//
// What is deleted after s was acquired is found like what is live, what is linked after the search began may be found: see Delete
// for what replaces what. An exact search misses none of those that were live since before it began.
//
// query has length Dim; it is not kept, and under Cosine need not be normalised. The result belongs to s, until Release or
// the next call.
//
// Errors: ErrK, *DimensionError, *VectorError, ErrClosed, ctx.Err(). Cost: O(Ef * M) distances; filtered at most that of
// scanning the allowed slots, and somewhat; allocates nothing once s has served a search of this width. Source: Malkov &
// Yashunin 2018, Algorithms 2 and 5, two expansions at a time; for filters see searcher_filter.go.
func (s *Searcher) Search(ctx context.Context, query []float32, p SearchParams) ([]Candidate, SearchStats, error) {
	if err := s.begin(ctx, query, p); err != nil {
		return nil, SearchStats{}, err
	}
	if p.Allowed != nil || p.Exact || s.more.await.backlog != nil {
		err := s.collect(ctx, p.K)
		return s.results, s.stats(), err
	}
	x := s.x
	entry := x.entry.Load()
	if entry == noEntry {
		return s.results, s.stats(), nil
	}
	s.bindWalk(s.query[:x.o.Dim])
	s.descend(entry, 0)
	if err := s.beam(ctx, 0, x.reach(p.K, x.beamWidth(&p)), 0); err != nil {
		return nil, s.stats(), err
	}
	switch {
	case s.disturbed():
	case s.walking != nil:
		s.rescore(s.pool.sorted(), p.K, nil, true)
		s.give(p.K)
	default:
		s.take(p.K)
	}
	if s.disturbed() { // now or before: what has died may have been left out
		s.results, s.exact, s.missed, s.more.walked = s.results[:0], s.exact[:0], misses{}, true
		s.forgetTaken()
		s.fill(p.K)
		s.give(p.K)
	}
	if len(s.results) < p.K && (len(s.results) < x.Len() || s.disturbed()) {
		s.more.params.Exact = true
		s.exact = s.exact[:0]
		err := s.collect(ctx, p.K)
		return s.results, s.stats(), err
	}
	return s.results, s.stats(), nil
}

// beamWidth is how wide a beam p asks for. More than there can ever be is never needed.
func (x *Index) beamWidth(p *SearchParams) int { return min(max(p.K, p.Ef), x.o.MaxSlots) }

// begin checks and binds a query, and forgets the search before.
func (s *Searcher) begin(ctx context.Context, query []float32, p SearchParams) error {
	b := &s.more
	b.active = false
	if s.closed {
		return ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if p.K < 1 {
		return ErrK
	}
	if err := s.x.prepare(s.query, query); err != nil {
		return err
	}
	s.scorer.bind(s.query)
	s.scorer.count, s.code.count, s.hops = 0, 0, 0
	s.results, s.exact, s.missed = s.results[:0], s.exact[:0], misses{}
	b.params, b.queries, b.plan, b.given, b.spill = p, 1, PlanGraph, 0, b.spill[:0]
	b.keeps, b.started, b.walked, b.scanned, b.settled = false, false, false, false, false
	b.await = await{backlog: s.x.backlog.Load(), entries: b.await.entries[:0]}
	return nil
}

func (s *Searcher) stats() SearchStats {
	st := SearchStats{Distances: s.scorer.count + s.code.count, Hops: s.hops, Plan: s.more.plan}
	if s.more.queries > 1 {
		st.Distances += s.more.many.count
	}
	st.Exact = st.Plan == PlanScan && s.walking == nil
	return st
}

// bindWalk chooses what walks read, and binds the query, of Dim components and bound to the scorer already, to it.
func (s *Searcher) bindWalk(query []float32) {
	if s.walking = s.x.codes.Load(); s.walking != nil {
		s.code.bind(s.walking, s.x.o.Metric, query)
	}
}

// walkKeys sets keys to those of the distances of a walk.
func (s *Searcher) walkKeys(ids, keys []uint32) {
	if s.walking != nil {
		s.code.keys(ids, keys)
	} else {
		s.scorer.keys(ids, keys)
	}
}

func (s *Searcher) walkKey(slot uint32) uint32 {
	s.ids[0] = slot
	s.walkKeys(s.ids[:1], s.keys[:1])
	return s.keys[0]
}

// take moves the k best live entries of the pool to the results. The pool is spent.
func (s *Searcher) take(k int) {
	s.results = s.results[:0]
	for _, e := range s.pool.sorted() {
		if len(s.results) == k {
			return
		}
		if slot := entrySlot(e); s.x.isLive(slot) {
			s.results = append(s.results, Candidate{Slot: slot, Distance: keyDistance(entryKey(e))})
		}
	}
}

// enter begins a walk of a level from starts.
func (s *Searcher) enter(level, ef, maxEqual int) {
	s.visited.begin(s.x.slots.Load())
	s.pool.resetWalk(ef, maxEqual)
	for _, e := range s.starts {
		distance.Prefetch(s.x.row(entrySlot(e), level))
		s.visited.add(entrySlot(e))
		s.pool.offer(e &^ 1)
	}
}

// beam fills the pool with the nearest nodes of a level that the graph leads to from starts: as many as r has width, or as it
// has reach.
//
// Each round expands the two best unexpanded nodes and scores their unvisited neighbours in one kernel call: the first
// cache miss of a batch is exposed, and two hops share it. The second node may be one that the first one's neighbours
// would have displaced; that costs a few distances and never a result.
//
// What a round will read is asked for before: the vectors of the first node's neighbours while the second's are gathered,
// and the links of the next two nodes while vectors are scored, or when a neighbour turns out to be nearer than they are.
func (s *Searcher) beam(ctx context.Context, level int, r reach, maxEqual int) error {
	s.enter(level, r.width, maxEqual)
	done := ctx.Done()
	check := s.hops + contextHops
	for {
		far := s.beyond(&r)
		first, ok := s.nextWithin(far)
		if !ok {
			return nil
		}
		n := s.gather(first, level, 0)
		s.hops++
		if second, ok := s.nextWithin(far); ok {
			s.prefetchVectors(s.ids[:n])
			n = s.gather(second, level, n)
			s.hops++
		}
		soon := s.prefetchNext(&s.pool, level)
		s.walkKeys(s.ids[:n], s.keys[:n])
		s.offerScored(n, level, far, soon)
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

// offerScored offers the beam those of ids[:n], which keys[:n] are scored for, that are below far, and asks for the links of those
// below soon as well.
//
// Whether one is below the limit is a coin toss to the branch predictor. For a beam that merges all are packed, and the next is packed
// over one that is not below.
func (s *Searcher) offerScored(n, level int, far, soon uint64) {
	limit, ids := min(far, s.pool.limit()), s.ids[:n]
	if !s.pool.merges() {
		for i, k := range s.keys[:n] {
			e := packEntry(k, ids[i])
			if e >= limit {
				continue
			}
			if e < soon {
				distance.Prefetch(s.x.row(ids[i], level))
			}
			s.pool.offer(e)
			limit = min(far, s.pool.limit())
		}
		return
	}
	soon = min(soon, limit)
	fresh := 0
	for i, k := range s.keys[:n] {
		e := packEntry(k, ids[i])
		s.fresh[fresh&(scoreBatch-1)] = e
		_, below := bits.Sub64(e, limit, 0)
		fresh += int(below)
		if e < soon {
			distance.Prefetch(s.x.row(ids[i], level))
		}
	}
	s.pool.merge(s.fresh[:fresh])
}

// gather appends the unvisited neighbours of slot to ids[:n] and returns the new n.
func (s *Searcher) gather(slot uint32, level, n int) int {
	row, seen := s.x.row(slot, level), s.visited
	for i := range row {
		v := atomic.LoadUint32(&row[i])
		if v >= oneWay {
			if v == nilSlot {
				break
			}
			if v &^= oneWay; !s.x.isLive(v) {
				continue
			}
		}
		s.ids[n&(scoreBatch-1)] = v
		n += seen.mark(v)
	}
	return n
}

// prefetchNext asks for the links of the two nodes of p that are next unless something nearer comes, and returns what is
// nearer: entries below soon.
func (s *Searcher) prefetchNext(p *pool, level int) (soon uint64) {
	first, second := p.peek()
	if first != noCandidate {
		distance.Prefetch(s.x.row(entrySlot(first), level))
	}
	if second != noCandidate {
		distance.Prefetch(s.x.row(entrySlot(second), level))
	}
	return second
}

// prefetchVectors asks for what walks read of the given slots.
func (s *Searcher) prefetchVectors(slots []uint32) {
	if s.walking != nil {
		distance.PrefetchU7(s.walking.rows, s.walking.stride, slots)
	} else {
		s.x.vectors.prefetch(slots)
	}
}
