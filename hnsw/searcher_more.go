package hnsw

import (
	"context"
	"slices"
)

// A search that Begin began keeps all that it has scored: the beam, and in spill what the beam had no room for. More takes
// results off the beam, and where that has too few widens it from spill and walks on; the walk never starts again, and no
// slot is scored twice. When the walk has come to its end, the scan scores what it never met.
//
// Without a filter each batch ends where its reach does (searcher_reach.go), for as many results as are given by then. The next one
// reaches farther, and walks on from what the beam holds and was not expanded; so it finds what a Search for them all would. On tracks
// ten of an Ef of 16 / 38 / 64 are found so with 235 / 318 / 392 distances at a recall of .970 / .991 / .995, where expanding all of the
// beam takes 239 / 337 / 430 for .965 / .987 / .992.
//
// A filtered Search is such a search too, of which one batch is taken and nothing is kept for another. Its beam is of Ef and all of it
// is expanded.

// begun is the state of a search from Begin to the last More.
type begun struct {
	params  SearchParams
	queries int  // how many; more than one are in many
	active  bool // More may be called
	started bool // something was offered to the beam
	keeps   bool // what the beam has no room for goes to spill
	walked  bool // the beam may hold slots that died before the search began
	scanned bool // every slot that may be returned was scored
	plan    Plan
	width   int      // of the beam at first
	given   int      // results given
	taken   visited  // slots that were rescored or given
	spill   []uint64 // see pool.widen
	many    *queries

	scout  scout   // see searcher_scout.go
	passed visited // slots that are not allowed and whose links were read

	ef      int      // the effort, more than was asked for where more results were
	reach   reach    // of the walk under way: of a batch, or of one of several queries
	apart   bool     // several queries are walked for one after the other; see searcher_apart.go
	settled bool     // the beam is what walks ended with: roaming is for a wider one
	starts  []uint32 // what the walks found
	await   await    // see backlog.go
	merged  *death   // the last that mergeDead looked at; nil: none yet

	links     [2 * maxM]uint32   // allowed ones of a row
	ways      [2][maxWays]uint32 // see waysOn
	rows, met int                // rows of links that the walk read, and the allowed slots in them
}

// Begin begins a search for the slots nearest to any of the queries, which More gives. p.K is how many the first More will
// ask for.
//
// The search ends with the next Begin or Search, and with Release; until then p.Allowed must not change. Queries are
// copied. Errors: ErrK, ErrQueries, *DimensionError, *VectorError, ErrClosed, ctx.Err().
func (s *Searcher) Begin(ctx context.Context, p SearchParams, vecs ...[]float32) error {
	b := &s.more
	b.active = false
	n := len(vecs)
	if n < 1 || n > MaxQueries {
		return ErrQueries
	}
	if err := s.begin(ctx, vecs[0], p); err != nil {
		return err
	}
	if n > 1 {
		if b.many == nil {
			b.many = new(queries)
		}
		b.many.reset(s.x, n)
		for i, v := range vecs {
			if err := s.x.prepare(b.many.vec(i), v); err != nil {
				return err
			}
		}
	}
	b.queries, b.active, b.keeps = n, true, true
	return nil
}

// More returns the next n results, ascending by distance and then by slot, none of them given before. They are fewer than n
// only when every live slot that is allowed was given. A later batch can hold a slot that is nearer than the last of the
// batch before: a wider beam finds what a narrow one missed.
//
// The result belongs to s until its next call; the stats are those of the search since Begin. Errors: ErrK, ErrNotBegun,
// ErrClosed, ctx.Err(), which ends the search: with it comes the best of what the search holds. Cost: about that of one search
// of the width reached, however many batches it took, and a pass over what was scored for each widening.
func (s *Searcher) More(ctx context.Context, n int) ([]Candidate, SearchStats, error) {
	switch {
	case s.closed:
		return nil, SearchStats{}, ErrClosed
	case !s.more.active:
		return nil, SearchStats{}, ErrNotBegun
	case n < 1:
		return nil, SearchStats{}, ErrK
	}
	err := s.collect(ctx, n)
	if err != nil {
		s.more.active = false
		if s.more.started {
			s.fill(n)
			s.give(n)
		}
	}
	return s.results, s.stats(), err
}

// collect moves the next n results to s.results.
func (s *Searcher) collect(ctx context.Context, n int) error {
	b := &s.more
	s.results = s.results[:0]
	if err := ctx.Err(); err != nil {
		return err
	}
	if !b.started {
		if err := s.start(ctx); err != nil {
			return err
		}
	}
	n = min(n, s.x.o.MaxSlots)
	if err := s.reachOn(ctx, b.given+n); err != nil {
		return err
	}
	for width := b.given + n; ; {
		if width > s.pool.ef {
			if err := s.widen(ctx, width+width/widerShare); err != nil {
				return err
			}
		}
		if !b.scanned && !b.settled {
			if err := s.roam(ctx); err != nil {
				return err
			}
		}
		if err := s.mergeWaiting(ctx, n); err != nil {
			return err
		}
		sure := s.fill(n)
		if len(s.exact) >= n && (sure || !b.scanned || len(b.spill) == 0) {
			break
		}
		if b.scanned && len(s.exact) >= n && b.given == 0 && s.pool.ef >= doubtWidth*b.width {
			s.walking = nil
			s.bindBeam()
			s.restart()
			if err := s.scan(ctx); err != nil {
				return err
			}
			continue
		}
		if b.reach.k > 0 && !b.scanned { // what is within reach has died
			b.reach = reach{}
			continue
		}
		if len(b.spill) > 0 || b.settled {
			width = 2 * s.pool.ef
			continue
		}
		if b.scanned {
			break
		}
		if !b.keeps { // what the beam turned away is lost
			s.restart()
		}
		if err := s.scan(ctx); err != nil {
			return err
		}
	}
	s.give(n)
	return nil
}

// widerShare: a beam that is widened for more results gets room for one in so many beyond them. Who asks for more asks for more than
// will be needed: one of each artist, a hundred, of tracks, takes 218 of 262 that are fetched with a beam of 301. At three in eight it walked
// a tenth farther, for .0004 of recall.
const widerShare = 8

// reachOn makes the reach of a walk that has one that of k results. The effort grows with them as the beam does that has none.
func (s *Searcher) reachOn(ctx context.Context, k int) error {
	b := &s.more
	if b.reach.k == 0 {
		return nil
	}
	if k > b.ef {
		b.ef = min(k+k/widerShare, s.x.o.MaxSlots)
	}
	if b.reach = s.x.reach(k, b.ef); b.reach.width > s.pool.ef {
		return s.widen(ctx, b.reach.width)
	}
	return nil
}

// doubtWidth is how many times as wide as at first the beam of a scan on codes gets before the vectors are scanned: rescoring
// on and on, one row here and one there, would cost more: 3.3 ms on clusters of 50,000 x 64 of which the nearest third was not
// allowed, where a random third costs .6 ms.
const doubtWidth = 4

// restart forgets all that was scored.
func (s *Searcher) restart() {
	s.visited.begin(s.x.slots.Load())
	s.forgetTaken()
	s.more.await.merged = 0
	s.pool.reset(s.more.width, 0)
	s.exact, s.more.walked, s.more.spill = s.exact[:0], false, s.more.spill[:0]
}

// widen makes the beam one of ef. Where scanning what the walk has not met costs less than walking on, it scans.
func (s *Searcher) widen(ctx context.Context, ef int) error {
	x, b := s.x, &s.more
	if !b.scanned && x.scanCost(s.walking, b.matches(x), b.queries) < x.walkCost(s.walking, ef-s.pool.ef, b.queries, 1) {
		if err := s.scan(ctx); err != nil {
			return err
		}
	}
	b.spill = s.pool.widen(ef, b.spill)
	b.settled = false
	return nil
}

// fill makes s.exact hold, ascending and with true distances, the n nearest slots that were scored or died meanwhile, and were not
// given; or all that the beam has, if it has fewer. It is sure if nothing that was scored, in the beam or not, can be nearer.
//
// A walk is never sure of what it did not meet, so it leaves the doubt. A scan met everything; but where the nearest of what is
// allowed are far away, hundreds lie closer together than codes can tell, and the beam alone does not hold the best.
func (s *Searcher) fill(n int) (sure bool) {
	b := &s.more
	entries := s.pool.sorted()
	if s.walking != nil {
		sure = s.rescore(entries, n, &b.taken, b.walked)
	} else {
		sure = true
		worst := uint64(0) // of those that are left from the batch before
		if left := len(s.exact); left > 0 {
			worst = s.exact[left-1]
		}
		for _, e := range entries {
			e &^= 1
			if len(s.exact) >= n && e > worst {
				break
			}
			if slot := entrySlot(e); (!b.walked || s.x.isLive(slot)) && b.taken.add(slot) {
				s.exact = append(s.exact, e)
			}
		}
		slices.Sort(s.exact)
	}
	if s.pool.heaped {
		slices.Reverse(entries) // descending: the heap it was
	}
	s.mergeDead()
	return sure
}

// give moves the first n of s.exact to the results.
func (s *Searcher) give(n int) {
	n = min(n, len(s.exact))
	for _, e := range s.exact[:n] {
		s.results = append(s.results, Candidate{Slot: entrySlot(e), Distance: keyDistance(entryKey(e))})
	}
	s.exact = s.exact[:copy(s.exact, s.exact[n:])]
	s.more.given += n
	if s.more.queries > 1 {
		s.tag()
	}
}

// tag sets the query that each result is nearest to.
func (s *Searcher) tag() {
	many := s.more.many
	for results := s.results; len(results) > 0; {
		n := min(len(results), scoreBatch)
		for i, c := range results[:n] {
			s.ids[i] = c.Slot
		}
		many.keys(s.ids[:n], s.keys[:n])
		for i := range results[:n] {
			results[i].Query = int32(many.nearest[i])
		}
		results = results[n:]
	}
}

// matches bounds the number of slots that the search may return.
func (b *begun) matches(x *Index) int {
	if b.params.Allowed == nil {
		return x.Len()
	}
	return min(b.params.Allowed.Len(), x.Len())
}

// walkKeys sets keys to those that the beam orders slots by: of the distances, as walks see them, to the nearest query.
func (s *Searcher) beamKeys(ids, keys []uint32) {
	if s.more.queries > 1 {
		s.more.many.walkKeys(ids, keys)
	} else {
		s.walkKeys(ids, keys)
	}
}

// trueKeys sets keys to those of the true distances to the nearest query.
func (s *Searcher) trueKeys(ids, keys []uint32) {
	if s.more.queries > 1 {
		s.more.many.keys(ids, keys)
	} else {
		s.scorer.keys(ids, keys)
	}
}

// estimate returns the distance that a key of the beam, in a walk on codes, stands for.
func (s *Searcher) estimate(key uint32) float64 {
	if s.more.queries > 1 {
		return float64(keyDistance(key))
	}
	return s.code.estimate(key)
}

// bindBeam binds what beamKeys reads.
func (s *Searcher) bindBeam() {
	if s.more.queries > 1 {
		s.more.many.bindWalk(s.walking)
	} else {
		s.bindCodes()
	}
}

// bindCodes binds codes, if walks read them, to the query that the scorer is bound to.
func (s *Searcher) bindCodes() {
	if s.walking != nil {
		s.code.bind(s.walking, s.x.o.Metric, s.scorer.query[:s.x.o.Dim])
	}
}
