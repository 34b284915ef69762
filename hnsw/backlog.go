package hnsw

import (
	"context"
	"math/bits"
	"slices"
	"sync/atomic"
)

// The backlog: what searches answer by already, and the graph will be brought in line with later.
//
// After a restart the vectors that were written since the last image are known long before they can be linked. Await lets
// every search look at such a slot, by comparing it with the query; Hide keeps every search from returning a slot that was
// deleted. Link and Delete then work the backlog off, in any order and at any pace, and answers do not change but by what a
// walk may miss.
//
// A search looks the backlog up once, when it begins, before it enters the graph. A slot that is linked meanwhile was waiting
// then, so it is compared; one that is linked before is found by the walk. Either way it is rescored once: slots that wait or
// are hidden count as taken from the start (begun.taken).

// backlog is not changed once it is published, but for the words of hidden.
type backlog struct {
	// waiting are slots in the order in which they came: allocated, or linked just now (catchUp.late).
	waiting []uint32
	// hidden has the bits of live slots that searches do not return. They change one by one, atomically.
	hidden []uint64
}

// catchUp is what the committer knows about the backlog. Index.mu guards it.
type catchUp struct {
	hides int      // bits of hidden
	late  []uint32 // linked slots that still stand among those that wait, behind some that do
}

// Await lets searches that begin from now on find slots that are allocated and not linked: they compare each with the
// query, and return it where it is among the best. Link ends that; Delete, and not Discard,
// gives a waiting slot back.
//
// Errors: ErrNotAllocated, after which nothing has changed; ErrClosed. Cost: O(len(slots)), and for every search one distance
// for each slot that waits.
func (x *Index) Await(slots ...uint32) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed.Load() {
		return ErrClosed
	}
	for _, slot := range slots {
		if slot >= x.slots.Load() || x.loadParent(slot) != stateAllocated {
			return ErrNotAllocated
		}
	}
	b := x.heldBacklog()
	// Who holds the slice as it was does not look behind its end.
	x.publishBacklog(append(b.waiting, slots...), b.hidden)
	return nil
}

// Hide keeps searches that begin from now on from returning a live slot, which stays in the graph until Delete. A slot that
// waits is deleted at once. Errors: ErrNotLive, ErrClosed. Cost: O(1), or as Delete of a waiting slot.
func (x *Index) Hide(slot uint32) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed.Load() {
		return ErrClosed
	}
	if x.dropWaiting(slot) {
		return nil
	}
	if slot >= x.slots.Load() || !x.isLive(slot) {
		return ErrNotLive
	}
	b := x.heldBacklog()
	waiting, hidden := x.withoutLate(b.waiting, slot), b.hidden
	if int(slot>>6) >= len(hidden) {
		hidden = make([]uint64, (x.slots.Load()+63)/64)
		copy(hidden, b.hidden)
	}
	if bit := uint64(1) << (slot & 63); hidden[slot>>6]&bit == 0 {
		atomic.OrUint64(&hidden[slot>>6], bit)
		x.catchUp.hides++
	}
	x.publishBacklog(waiting, hidden)
	return nil
}

// Backlog returns how many slots wait for Link, and how many are hidden and wait for Delete.
func (x *Index) Backlog() (waiting, hidden int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.heldBacklog().waiting) - len(x.catchUp.late), x.catchUp.hides
}

// NextWaiting appends to dst the n slots that wait longest, or all if they are fewer.
func (x *Index) NextWaiting(dst []uint32, n int) []uint32 {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, slot := range x.heldBacklog().waiting {
		if n <= 0 {
			break
		}
		if !slices.Contains(x.catchUp.late, slot) {
			dst = append(dst, slot)
			n--
		}
	}
	return dst
}

// NextHidden appends to dst the n lowest slots that are hidden, or all if they are fewer.
func (x *Index) NextHidden(dst []uint32, n int) []uint32 {
	hidden := x.heldBacklog().hidden
	for at := range hidden {
		for w := atomic.LoadUint64(&hidden[at]); w != 0 && n > 0; w &= w - 1 {
			dst = append(dst, uint32(at*64+bits.TrailingZeros64(w)))
			n--
		}
	}
	return dst
}

// heldBacklog returns the backlog, an empty one where there is none.
func (x *Index) heldBacklog() backlog {
	if b := x.backlog.Load(); b != nil {
		return *b
	}
	return backlog{}
}

// publishBacklog replaces the backlog, and takes off it those first in line that do not wait any more. The caller holds mu.
func (x *Index) publishBacklog(waiting []uint32, hidden []uint64) {
	for len(waiting) > 0 {
		i := slices.Index(x.catchUp.late, waiting[0])
		if i < 0 {
			break
		}
		x.catchUp.late = slices.Delete(x.catchUp.late, i, i+1)
		waiting = waiting[1:]
	}
	if len(waiting) == 0 && x.catchUp.hides == 0 {
		x.backlog.Store(nil)
		return
	}
	x.backlog.Store(&backlog{waiting: waiting, hidden: hidden})
}

// linked takes a slot that was linked just now off the backlog. The caller holds mu.
func (x *Index) linked(slot uint32) {
	b := x.backlog.Load()
	if b == nil || len(b.waiting) == 0 {
		return
	}
	// Goroutines that link side by side overtake each other by a few; most of what is linked else did not wait at all.
	if b.waiting[0] == slot || slices.Contains(b.waiting, slot) {
		x.catchUp.late = append(x.catchUp.late, slot)
		x.publishBacklog(b.waiting, b.hidden)
	}
}

// unlisted takes a slot that is being deleted off the backlog. The caller holds mu, and has not retired the slot: whoever
// has seen the backlog as it was holds a searcher that keeps the slot from being reused.
func (x *Index) unlisted(slot uint32) {
	b := x.backlog.Load()
	if b == nil {
		return
	}
	waiting := x.withoutLate(b.waiting, slot)
	if x.isHidden(slot) {
		atomic.AndUint64(&b.hidden[slot>>6], ^(uint64(1) << (slot & 63)))
		x.catchUp.hides--
	}
	x.publishBacklog(waiting, b.hidden)
}

// dropWaiting deletes a slot that waits, and reports whether it does. The caller holds mu.
func (x *Index) dropWaiting(slot uint32) bool {
	b := x.backlog.Load()
	if b == nil || slot >= x.slots.Load() || x.loadParent(slot) != stateAllocated || !slices.Contains(b.waiting, slot) {
		return false
	}
	if !x.beginLink(slot) { // a Link has come first
		return false
	}
	x.noteDeath(slot)
	x.publishBacklog(without(b.waiting, slot), b.hidden)
	x.retire(slot)
	x.reclaim()
	return true
}

// isHidden reports whether a slot is hidden. The caller holds mu.
func (x *Index) isHidden(slot uint32) bool {
	b := x.backlog.Load()
	return b != nil && int(slot>>6) < len(b.hidden) && b.hidden[slot>>6]>>(slot&63)&1 != 0
}

// withoutLate returns waiting without slot, where it is a late one. The caller holds mu.
func (x *Index) withoutLate(waiting []uint32, slot uint32) []uint32 {
	c := &x.catchUp
	i := slices.Index(c.late, slot)
	if i < 0 {
		return waiting
	}
	c.late = slices.Delete(c.late, i, i+1)
	return without(waiting, slot)
}

// without returns a copy of slots that lacks slot.
func without(slots []uint32, slot uint32) []uint32 {
	i := slices.Index(slots, slot)
	return append(slices.Clone(slots[:i]), slots[i+1:]...)
}

// await is the part of a search that deals with the backlog.
type await struct {
	backlog *backlog // as it was when the search began
	scored  bool
	entries []uint64 // of the waiting slots that are allowed, with the keys of true distances
	merged  int      // entries[:merged] went to Searcher.exact, and none behind is below one of them
}

// forgetTaken empties begun.taken, but for what the search may not take from the graph.
func (s *Searcher) forgetTaken() {
	taken := &s.more.taken
	taken.begin(s.x.slots.Load())
	s.more.merged = nil
	b := s.more.await.backlog
	if b == nil {
		return
	}
	for _, slot := range b.waiting {
		taken.add(slot)
	}
	for at := range b.hidden {
		for w := atomic.LoadUint64(&b.hidden[at]); w != 0; w &= w - 1 {
			taken.add(uint32(at*64 + bits.TrailingZeros64(w)))
		}
	}
}

// mergeWaiting makes s.exact hold whatever of the waiting slots may be among the next n results.
func (s *Searcher) mergeWaiting(ctx context.Context, n int) error {
	a := &s.more.await
	if a.backlog == nil {
		return nil
	}
	if !a.scored {
		if err := s.scoreWaiting(ctx); err != nil {
			return err
		}
	}
	most := min(s.more.given+n, len(a.entries))
	if most <= a.merged {
		return nil
	}
	rest := a.entries[a.merged:]
	partition(rest, most-a.merged)
	s.exact = append(s.exact, rest[:most-a.merged]...)
	slices.Sort(s.exact)
	a.merged = most
	return nil
}

// scoreWaiting compares the waiting slots that are allowed with the query.
func (s *Searcher) scoreWaiting(ctx context.Context) error {
	a, allowed := &s.more.await, s.more.params.Allowed
	a.scored = true
	n, batches := 0, 0
	score := func() {
		s.trueKeys(s.ids[:n], s.keys[:n])
		for i, slot := range s.ids[:n] {
			a.entries = append(a.entries, packEntry(s.keys[i], slot))
		}
		n = 0
	}
	for _, slot := range a.backlog.waiting {
		if allowed != nil && !allowed.Contains(slot) {
			continue
		}
		s.ids[n] = slot
		if n++; n < scoreBatch {
			continue
		}
		score()
		if batches++; batches%contextBatches == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
	}
	score()
	return nil
}
