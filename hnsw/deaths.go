package hnsw

import (
	"slices"
	"sync/atomic"
)

// What dies while a search runs. A slot that is deleted leaves the graph at once, and a search that has not met it will not; a
// scan that has not come to it passes it over. Where the slot was only replaced, by another with a new vector of the same thing,
// the search may have passed the place of that one before it was there, and would miss both.
//
// So a search also looks at every slot that died since its searcher was acquired: it compares them with the query, as it does
// with those that wait (backlog.go). Then whatever was live when the searcher was acquired is as good as live until its release:
// a result may have the replaced slot, its replacement or both, and never neither.
//
// Deaths are a list that nobody owns: the index holds its end, a searcher the end as it was when it was acquired. What no
// searcher can reach any more is the garbage collector's.

// death is the end of a slot, and says that of those that died before it nothing more comes.
type death struct {
	slot  uint32
	stamp uint64 // epoch in which it died; see reclaim.go
	next  atomic.Pointer[death]
}

// noteDeath lets searches under way know that slot dies, before it does: the caller holds mu, and advances the epoch when the
// slot is gone.
func (x *Index) noteDeath(slot uint32) {
	d := &death{slot: slot, stamp: x.epoch.Load()}
	x.deaths.Load().next.Store(d)
	x.deaths.Store(d)
}

// watch makes deaths from now on known to the searcher, which has published its epoch. A slot whose death was noted and is not
// over yet counts: it may be live still.
func (s *Searcher) watch() {
	s.since = s.x.epoch.Load() // later than what was published: no slot that died in since or later can be reused
	s.deaths = s.x.deaths.Load()
}

// disturbed reports whether a slot died since the searcher was acquired.
func (s *Searcher) disturbed() bool { return s.deaths.stamp >= s.since || s.deaths.next.Load() != nil }

// mergeDead adds to s.exact the slots that died since the searcher was acquired, if they are allowed and were not taken. It comes
// after whatever left out a slot because it was dead.
func (s *Searcher) mergeDead() {
	b, n, before := &s.more, 0, len(s.exact)
	score := func() {
		s.trueKeys(s.ids[:n], s.keys[:n])
		for i, k := range s.keys[:n] {
			s.exact = append(s.exact, packEntry(k, s.ids[i]))
		}
		n = 0
	}
	d := s.deaths
	if b.merged != nil {
		d = b.merged.next.Load()
	}
	for ; d != nil; d = d.next.Load() {
		b.merged = d
		if d.stamp < s.since || b.params.Allowed != nil && !b.params.Allowed.Contains(d.slot) || !b.taken.add(d.slot) {
			continue
		}
		s.ids[n] = d.slot
		if n++; n == scoreBatch {
			score()
		}
	}
	if n > 0 {
		score()
	}
	if len(s.exact) > before {
		slices.Sort(s.exact)
	}
}
