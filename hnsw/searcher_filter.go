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
	// maxWays is how many neighbors that are not allowed an expansion passes through at most.
	maxWays = 12
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
	ef := min(p.K, x.o.MaxSlots)
	s.walking = nil
	if !p.Exact {
		ef = x.beamWidth(p)
		s.walking = x.codes.Load()
	}
	s.pool.reset(ef, 0)
	b.width, b.ef, b.reach = ef, ef, reach{}
	entry := x.entry.Load()
	switch {
	case p.Exact || p.Allowed != nil && s.prefersScan(ef, scanFirst, 1):
		return s.scanInstead(ctx)
	case entry == noEntry:
		b.scanned = true
		return nil
	case b.queries > 1:
		return s.walkApart(ctx, entry)
	case p.Allowed == nil:
		b.reach = x.reach(p.K, ef)
		b.width = b.reach.width
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
	s.keep(n, 0)
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

// roam walks on level 0 until the beam holds no slot within reach that was not expanded. As in beam, a round expands two.
func (s *Searcher) roam(ctx context.Context) error {
	done := ctx.Done()
	check := s.hops + contextHops
	for {
		far := s.beyond(&s.more.reach)
		first, ok := s.nextWithin(far)
		if !ok {
			return nil
		}
		n := 0
		if second, two := s.nextWithin(far); s.more.params.Allowed != nil {
			n = s.gatherNear(first, second, two)
		} else {
			s.hops++
			n = s.gather(first, 0, n)
			if two {
				s.hops++
				s.prefetchVectors(s.ids[:n])
				n = s.gather(second, 0, n)
			}
		}
		soon := s.prefetchNext(&s.pool, 0)
		s.beamKeys(s.ids[:n], s.keys[:n])
		s.keep(n, soon)
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

// gatherNear makes ids[:n] the unvisited slots near first, and second if there are two, that may be returned, and returns n.
// What is read of both beyond their own links is asked for before it is read of either.
func (s *Searcher) gatherNear(first, second uint32, two bool) (n int) {
	b := &s.more
	n, near, length := s.gatherAllowed(first, 0)
	ways := s.waysOn(b.ways[0][:0], first, near, length)
	if !two {
		return s.gatherThrough(ways, n, near)
	}
	s.prefetchVectors(s.ids[:n])
	n, also, length := s.gatherAllowed(second, n)
	others := s.waysOn(b.ways[1][:0], second, also, length)
	return s.gatherThrough(others, s.gatherThrough(ways, n, near), also)
}

// gatherAllowed appends to ids[:n] the unvisited allowed slots that slot has links to. It returns the new n, how many are allowed,
// and how many links there are.
//
// Whether a link leads to an allowed slot is a coin toss that no processor predicts, so nothing here branches on it.
func (s *Searcher) gatherAllowed(slot uint32, n int) (end, allowed, length int) {
	x, b := s.x, &s.more
	words, to := b.params.Allowed.words, &b.links
	s.hops++
	row := x.row(slot, 0)
	length = len(row)
	for i := range row {
		v := atomic.LoadUint32(&row[i])
		if v >= oneWay {
			if v == nilSlot {
				length = i
				break
			}
			if v &^= oneWay; !x.isLive(v) {
				continue
			}
		}
		to[allowed&(len(to)-1)] = v
		if w := int(v >> 6); w < len(words) {
			allowed += int(words[w] >> (v & 63) & 1)
		}
	}
	seen := s.visited
	for _, v := range to[:allowed] {
		s.ids[n&(scoreBatch-1)] = v
		n += seen.mark(v)
	}
	b.rows++
	b.met += allowed
	return n, allowed, length
}

// waysOn appends to ways those neighbors of slot to pass through, and asks for their links: some that are not allowed and were
// not passed, or none where near, of its neighbors that are allowed, are enough. As many as are likely to lead to enough, by
// what rows of this search had. There were length links when they were counted; a deletion can have taken some off since.
func (s *Searcher) waysOn(ways []uint32, slot uint32, near, length int) []uint32 {
	x, b := s.x, &s.more
	if near*enoughShare >= length {
		return ways
	}
	row := x.row(slot, 0)
	most := min(cap(ways), 1+(x.m0/2-near)*b.rows/max(1, b.met))
	for i := range row[:length] {
		v := atomic.LoadUint32(&row[i])
		if v == nilSlot {
			break
		}
		if v &^= oneWay; b.params.Allowed.Contains(v) || b.passed.has(v) || !x.isLive(v) {
			continue
		}
		distance.Prefetch(x.row(v, 0))
		if ways = append(ways, v); len(ways) >= most {
			break
		}
	}
	return ways
}

// gatherThrough appends to ids[:n] the unvisited allowed slots that ways have links to, until enough are near.
func (s *Searcher) gatherThrough(ways []uint32, n, near int) int {
	for _, v := range ways {
		if near >= s.x.m0/2 || n+s.x.m0 > len(s.ids) {
			break
		}
		if s.more.passed.add(v) {
			var more int
			n, more, _ = s.gatherAllowed(v, n)
			near += more
		}
	}
	return n
}

// scoreAndKeep scores ids[:n] and offers them to the beam.
func (s *Searcher) scoreAndKeep(n int) {
	s.beamKeys(s.ids[:n], s.keys[:n])
	s.keep(n, 0)
}

// keep offers the beam ids[:n], which keys[:n] are scored for, and asks for the links of those below soon.
func (s *Searcher) keep(n int, soon uint64) {
	if !s.more.keeps {
		s.offerScored(n, 0, noCandidate, soon)
		return
	}
	for i, k := range s.keys[:n] {
		e := packEntry(k, s.ids[i])
		if e < soon && e < s.pool.limit() {
			distance.Prefetch(s.x.row(s.ids[i], 0))
		}
		s.more.spill = s.pool.offerOrSpill(e, s.more.spill)
	}
}

// offer offers the beam an entry that is below its limit.
func (s *Searcher) offer(e uint64) {
	if s.more.keeps {
		s.more.spill = s.pool.offerOrSpill(e, s.more.spill)
	} else {
		s.pool.offer(e)
	}
}

// scan scores every live slot that is allowed and was not visited, in slot order. It ends the walk: what it scores is not marked.
func (s *Searcher) scan(ctx context.Context) error {
	x, b := s.x, &s.more
	b.scanned = true
	words := min((int(x.slots.Load())+63)/64, s.visited.room64())
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
		w &^= s.visited.in64(at)
		for ; w != 0; w &= w - 1 {
			s.ids[n] = uint32(at*64 + bits.TrailingZeros64(w))
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
