package hnsw

import (
	"math/bits"
	"slices"

	"github.com/segue-ann/segue/internal/distance"
)

// sortedPool is the widest beam kept as a sorted array. Offering to a sorted array costs 4/7/14/25 ns at ef 32/64/128/256
// (measured; see doc.go), and most offers to a full beam are turned away by one comparison; wider than this, two heaps win. Of the
// whole search, on tracks, the array saves 5 % at ef 300, 12 % at 450, and 10 % where a beam is widened from 150 to 330.
const sortedPool = 512

// sortedWalk is the widest beam kept as a sorted array where it takes whole rounds, as wide as can be merged into. Of the whole search on
// tracks two heaps take, with AVX-512 (and with the Go twin), 1.5 (1.3) times as long at ef 550, 1.5 (1.2) at 1000, 1.5 (1.1) at 1900.
const sortedWalk = distance.MaxMerged - distance.MaxMerge

// shiftedPool is the widest beam into which a single entry is moved from the end, past all that are farther, one by one: most beams are
// narrow, and there a search and a copy cost more, in steps that wait for each other and in a call. Of the whole search on tracks that
// saves 9 % at ef 10 and 6 % at 38, on 300,000 x 64 by inner product 4 % at 64, and at 160 nothing.
const shiftedPool = 128

// mergedPool is the narrowest beam into which the entries of a round are merged at once. Of the whole search on tracks that saves, with
// AVX-512 and (by the Go twin): at ef 12, a beam of 14, 2 % (-4 %), at 20 6 % (1 %), at 38 9 % (3 %), at 64 12 % (5 %).
const mergedPool = 16

// firstRoom is how many entries a pool has room for from the start; more than are in the index may be asked for.
const firstRoom = 1024

// pool is the beam of a search: the ef best entries so far, each expanded or not.
//
// Up to sortedPool entries, items is sorted ascending and cursor is the index of the first entry that may be unexpanded.
// Above, items is a max-heap of the ef best entries, and frontier a min-heap of entries that were not expanded yet; the
// expanded flag is not used.
type pool struct {
	ef     int
	heaped bool
	// maxEqual, where it is positive, is the most entries of one key the sorted pool takes: thousands of copies of one
	// vector would otherwise fill the beam of an insert and hide everything beyond them.
	maxEqual int
	items    []uint64
	cursor   int
	frontier []uint64
}

// reset empties the pool for a beam of ef entries.
func (p *pool) reset(ef, maxEqual int) {
	p.ef, p.maxEqual, p.cursor = ef, maxEqual, 0
	p.heaped = ef > sortedPool && maxEqual == 0
	p.items = slices.Grow(p.items[:0], min(ef, firstRoom)+distance.MaxMerge+distance.MergeRoom)
	p.frontier = p.frontier[:0]
}

// resetWalk is reset for a beam of which nothing is spilled, and which is not widened: it is offered rounds.
func (p *pool) resetWalk(ef, maxEqual int) {
	p.reset(ef, maxEqual)
	p.heaped = p.heaped && ef > sortedWalk
}

// limit returns the entry a new one must be below: anything at all while the pool has room.
func (p *pool) limit() uint64 {
	if len(p.items) < p.ef {
		return 1<<64 - 1
	}
	if p.heaped {
		return p.items[0]
	}
	return p.items[len(p.items)-1]
}

// offer adds an unexpanded entry if it is among the ef best.
func (p *pool) offer(e uint64) {
	if e >= p.limit() {
		return
	}
	if p.heaped {
		p.offerHeap(e)
		return
	}
	if p.maxEqual == 0 && p.ef <= shiftedPool {
		p.shiftIn(e)
		return
	}
	lo := search(p.items, e)
	if p.maxEqual > 0 && p.equals(lo, entryKey(e)) >= p.maxEqual {
		return
	}
	if len(p.items) < p.ef {
		p.items = append(p.items, 0)
	}
	copy(p.items[lo+1:], p.items[lo:len(p.items)-1])
	p.items[lo] = e
	p.cursor = min(p.cursor, lo)
}

// shiftIn adds an entry that is among the ef best to a sorted pool.
func (p *pool) shiftIn(e uint64) {
	if len(p.items) < p.ef {
		p.items = append(p.items, 0)
	}
	items := p.items
	at := len(items) - 1
	for ; at > 0 && items[at-1] >= e; at-- {
		items[at] = items[at-1]
	}
	items[at] = e
	p.cursor = min(p.cursor, at)
}

// merges reports whether the pool takes rounds as a whole, by merge.
func (p *pool) merges() bool { return p.ef >= mergedPool && !p.heaped && p.maxEqual == 0 }

// merge offers a sorted pool without a cap the entries of a round, no two of one slot: as offer would one after the other, but each of
// those moves what the next moves again.
func (p *pool) merge(fresh []uint64) {
	for len(fresh) > 0 {
		some := fresh[:min(len(fresh), distance.MaxMerge)]
		items := slices.Grow(p.items, len(some)+distance.MergeRoom)
		first := distance.Merge(items[:cap(items)], len(items), some)
		p.items = items[:min(len(items)+len(some), p.ef)]
		p.cursor = min(p.cursor, first)
		fresh = fresh[len(some):]
	}
}

// search returns how many of the ascending items are below e. Every comparison is a coin toss to the branch predictor, so
// the borrow of a subtraction takes the place of a branch.
func search(items []uint64, e uint64) int {
	lo := 0
	for n := len(items); n > 0; {
		half := int(uint(n+1) / 2)
		_, below := bits.Sub64(items[lo+half-1], e, 0)
		lo += half & -int(below)
		n -= half
	}
	return lo
}

// equals counts the entries with the given key around index at, up to maxEqual on each side.
func (p *pool) equals(at int, key uint32) int {
	n := 0
	for i := at - 1; i >= 0 && n < p.maxEqual && entryKey(p.items[i]) == key; i-- {
		n++
	}
	for i := at; i < len(p.items) && n < p.maxEqual && entryKey(p.items[i]) == key; i++ {
		n++
	}
	return n
}

// next returns the best entry that was not expanded and marks it so; ok is false when the search is over: every entry of
// the beam is expanded.
func (p *pool) next() (slot uint32, ok bool) {
	if p.heaped {
		return p.nextHeap()
	}
	for i := p.cursor; i < len(p.items); i++ {
		if e := p.items[i]; e&1 == 0 {
			p.items[i] = e | 1
			p.cursor = i + 1
			return entrySlot(e), true
		}
	}
	p.cursor = len(p.items)
	return 0, false
}

// noCandidate is above every entry.
const noCandidate = 1<<64 - 1

// peek returns the two entries that next would give, noCandidate where there are fewer.
func (p *pool) peek() (first, second uint64) {
	first, second = noCandidate, noCandidate
	if p.heaped {
		return p.peekHeap()
	}
	for _, e := range p.items[p.cursor:] {
		if e&1 != 0 {
			continue
		}
		if first != noCandidate {
			return first, e
		}
		first = e
	}
	return first, second
}

// sorted returns the entries ascending. The pool is spent afterwards; it must be reset before the next offer.
func (p *pool) sorted() []uint64 {
	if p.heaped {
		slices.Sort(p.items)
	}
	return p.items
}

func (p *pool) offerHeap(e uint64) {
	if len(p.items) < p.ef {
		p.items = append(p.items, e)
		siftUpMax(p.items)
	} else {
		p.items[0] = e
		siftMax(p.items)
	}
	p.pushFrontier(e)
}

func (p *pool) nextHeap() (slot uint32, ok bool) {
	f := p.frontier
	if len(f) == 0 {
		return 0, false
	}
	e := f[0]
	if len(p.items) == p.ef && e > p.items[0] {
		return 0, false
	}
	last := len(f) - 1
	f[0] = f[last]
	p.frontier = f[:last]
	siftMin4(p.frontier)
	return entrySlot(e), true
}

// peekHeap is peek of a heap, whose second entry is one of the children of the first.
func (p *pool) peekHeap() (first, second uint64) {
	first, second = noCandidate, noCandidate
	if len(p.frontier) == 0 {
		return first, second
	}
	first = p.frontier[0]
	for _, e := range p.frontier[1:min(5, len(p.frontier))] {
		second = min(second, e)
	}
	if len(p.items) < p.ef {
		return first, second
	}
	if worst := p.items[0]; first > worst {
		return noCandidate, noCandidate
	} else if second > worst {
		second = noCandidate
	}
	return first, second
}

// siftMax restores a binary max-heap whose root was replaced.
func siftMax(h []uint64) {
	for i := 0; ; {
		c := 2*i + 1
		if c >= len(h) {
			return
		}
		if c+1 < len(h) && h[c+1] > h[c] {
			c++
		}
		if h[i] >= h[c] {
			return
		}
		h[i], h[c] = h[c], h[i]
		i = c
	}
}

// siftMin4 restores a 4-ary min-heap whose root was replaced.
func siftMin4(h []uint64) {
	for i := 0; ; {
		first := 4*i + 1
		if first >= len(h) {
			return
		}
		c := first
		for j := first + 1; j < min(first+4, len(h)); j++ {
			if h[j] < h[c] {
				c = j
			}
		}
		if h[i] <= h[c] {
			return
		}
		h[i], h[c] = h[c], h[i]
		i = c
	}
}
