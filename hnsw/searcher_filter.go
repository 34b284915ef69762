package hnsw

import (
	"context"
	"math/bits"
	"sync/atomic"

	"github.com/segue-ann/segue/internal/distance"
)

// Filtered search. The beam holds allowed slots only; a slot that is not allowed is never compared with the query, except by
// the scout that begins (searcher_scout.go). From one allowed slot to the next the walk goes as ACORN (Patel et al. 2024) and
// NaviX (Sehgal & Salihoglu 2025) do: by their links where these lead to enough allowed slots, and else through neighbors
// that are not allowed to theirs. Such a neighbor is passed through once a search.
//
// How many are enough, and how many an expansion looks for, was measured on tracks, mnist784 and clusters at shares of .5 to
// .1: a quarter of the links read, and half a row. Half and a whole row, as in those papers, cost up to half as much again
// and gain .01 of recall at .1, nothing at .2.
//
// Where few slots are allowed the scan is the plan: it is faster, and finds all (cost.go).
const (
	enoughShare = 4 // one in four links read
	// rowsAhead is how many rows of links are asked for before they are read.
	rowsAhead = 8
	// scanFirst: where the scan costs less than so many unfiltered walks, the scout is not even sent.
	scanFirst = 2
)

// contextBatches is how many batches of scoreBatch rows a scan makes between two looks at its context.
const contextBatches = 16

// start makes the first offers to the beam: all there is, or where the walk begins.
func (s *Searcher) start(ctx context.Context) error {
	x, b, p := s.x, &s.more, &s.more.params
	b.started = true
	s.visited.begin(x.slots.Load())
	s.forgetTaken()
	ef := p.K
	s.walking = nil
	if !p.Exact {
		ef = max(p.K, p.Ef)
		s.walking = x.codes.Load()
	}
	ef = min(ef, max(1, x.Len()))
	s.pool.reset(ef, 0)
	b.width = ef
	entry := x.entry.Load()
	switch {
	case p.Exact || p.Allowed != nil && s.prefersScan(ef, scanFirst, 1):
		return s.scanInstead(ctx)
	case entry == noEntry:
		b.scanned = true
		return nil
	case b.queries > 1:
		return s.walkApart(ctx, entry)
	}
	return s.startWalk(ctx, entry)
}

// startWalk offers the beam of one query where to roam from; or all there is, if scouting shows that the scan is cheaper.
func (s *Searcher) startWalk(ctx context.Context, entry uint64) error {
	b := &s.more
	b.walked = true
	s.bindCodes()
	s.descend(entry, 0)
	s.visited.begin(s.x.slots.Load())
	s.pool.reset(b.width, 0)
	n := 0
	for _, e := range s.starts {
		if slot := entrySlot(e); s.visited.add(slot) {
			s.ids[n], s.keys[n] = slot, entryKey(e)
			n++
		}
	}
	if b.params.Allowed != nil {
		return s.sendScout(ctx, n)
	}
	s.keep(n)
	return nil
}

// scanInstead scans, and forgets what the beam held.
func (s *Searcher) scanInstead(ctx context.Context) error {
	b := &s.more
	if b.plan = PlanScan; b.apart {
		return nil // one scan will serve all queries
	}
	b.keeps = b.keeps || s.walking != nil // see fill
	s.restart()
	s.bindBeam()
	return s.scan(ctx)
}

// prefersScan reports whether the scan costs less than times walks of a beam of ef, where share of the slots are allowed.
func (s *Searcher) prefersScan(ef int, times, share float64) bool {
	x, b := s.x, &s.more
	if x.forced != 0 {
		return x.forced == PlanScan
	}
	return x.scanCost(s.walking, b.matches(x), b.queries) < times*x.walkCost(s.walking, ef, b.queries, share)
}

// roam walks on level 0 until the beam holds no slot that was not expanded. As in beam, a round expands two.
func (s *Searcher) roam(ctx context.Context) error {
	done := ctx.Done()
	check := s.hops + contextHops
	for {
		first, ok := s.pool.next()
		if !ok {
			return nil
		}
		n := s.gatherNear(first, 0)
		if n <= len(s.ids)/2 {
			if second, ok := s.pool.next(); ok {
				s.prefetchVectors(s.ids[:n])
				n = s.gatherNear(second, n)
			}
		}
		s.prefetchNext(0)
		s.scoreAndKeep(n)
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

// gatherNear appends to ids[:n] the unvisited slots near slot that may be returned, and returns the new n. There is room for
// two rows.
func (s *Searcher) gatherNear(slot uint32, n int) int {
	if s.more.params.Allowed == nil {
		s.hops++
		return s.gather(slot, 0, n)
	}
	x, b := s.x, &s.more
	near, failing := 0, 0
	n, near, failing = s.gatherAllowed(slot, n, failing)
	if near*enoughShare >= near+failing {
		return n
	}
	for i, f := range b.failing[:failing] {
		if near >= x.m0/2 || n+x.m0 > len(s.ids) {
			break
		}
		if i%rowsAhead == 0 {
			for _, v := range b.failing[i:min(i+rowsAhead, failing)] {
				distance.Prefetch(x.row(v, 0))
			}
		}
		if b.passed.add(f) {
			var more int
			n, more, _ = s.gatherAllowed(f, n, failing)
			near += more
		}
	}
	return n
}

// gatherAllowed appends to ids[:n] the unvisited allowed slots that slot has links to, and to failing the others, from at on.
// It returns the new n, how many are allowed, and how many are not.
//
// Whether a link leads to an allowed slot is a coin toss that no processor predicts, so nothing here branches on it.
func (s *Searcher) gatherAllowed(slot uint32, n, at int) (end, allowed, failing int) {
	x, b := s.x, &s.more
	words, seen := b.params.Allowed.words, s.visited
	s.hops++
	row := x.row(slot, 0)
	for i := range row {
		v := atomic.LoadUint32(&row[i])
		if v >= oneWay {
			if v == nilSlot {
				break
			}
			if v &^= oneWay; !x.isLive(v) {
				continue
			}
		}
		is := 0
		if w := int(v >> 6); w < len(words) {
			is = int(words[w] >> (v & 63) & 1)
		}
		b.failing[(at+failing)%len(b.failing)] = v
		failing += 1 - is
		allowed += is
		s.ids[n%len(s.ids)] = v
		n += seen.markIf(v, is)
	}
	return n, allowed, failing
}

// scoreAndKeep scores ids[:n] and offers them to the beam.
func (s *Searcher) scoreAndKeep(n int) {
	s.beamKeys(s.ids[:n], s.keys[:n])
	s.keep(n)
}

// keep offers the beam ids[:n], which keys[:n] are scored for.
func (s *Searcher) keep(n int) {
	ids, keys := s.ids[:n], s.keys[:n]
	if s.more.keeps {
		for i, k := range keys {
			s.more.spill = s.pool.offerOrSpill(packEntry(k, ids[i]), s.more.spill)
		}
		return
	}
	limit := s.pool.limit()
	for i, k := range keys {
		if e := packEntry(k, ids[i]); e < limit {
			s.pool.offer(e)
			limit = s.pool.limit()
		}
	}
}

// scan scores every live slot that is allowed and was not scored before, in slot order.
func (s *Searcher) scan(ctx context.Context) error {
	x, b := s.x, &s.more
	b.scanned = true
	words := (int(x.slots.Load()) + 63) / 64
	var allowed, hidden []uint64
	if set := b.params.Allowed; set != nil {
		allowed = set.words
		words = min(words, len(allowed))
	}
	if b.await.backlog != nil {
		hidden = b.await.backlog.hidden
	}
	n, batches := 0, 0
	for at := range words {
		w := atomic.LoadUint64(&x.live[at])
		if allowed != nil {
			w &= allowed[at]
		}
		if at < len(hidden) {
			w &^= atomic.LoadUint64(&hidden[at])
		}
		for ; w != 0; w &= w - 1 {
			slot := uint32(at*64 + bits.TrailingZeros64(w))
			if !s.visited.add(slot) {
				continue
			}
			s.ids[n] = slot
			if n++; n < scoreBatch {
				continue
			}
			s.scoreAndKeep(n)
			n = 0
			if batches++; batches%contextBatches == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}
	s.scoreAndKeep(n)
	if s.walking != nil && b.keeps {
		s.sampleMisses(b.spill)
	}
	return nil
}
