package hnsw

import (
	"context"
	"math/bits"
	"slices"
	"sync/atomic"
)

// unreachableStep is how many nodes Unreachable looks at between two looks at its context.
const unreachableStep = 1024

// Unreachable counts live nodes that no way over level 0 leads to from the entry point. By the tree of links there are none: a
// number above 0 is a fault of this package or of memory, and Check names it. Nodes that are linked meanwhile are left out.
//
// Nobody waits for it: rows are read as searches read them. Who seems not to be reached, because it was being linked or a link
// moved at that moment, is looked at again between two commits. The searcher's epoch keeps deleted slots from being reused meanwhile. Cost: reads the links of all nodes
// once, and 4 bytes a node of memory. Errors: ErrClosed, ctx.Err().
func (x *Index) Unreachable(ctx context.Context) (int, error) {
	s := x.Acquire()
	defer s.Release()
	if s.closed {
		return 0, ErrClosed
	}
	slots := x.slots.Load()
	var seen visited
	seen.begin(slots)
	var queue []uint32
	if entry := x.entry.Load(); entry != noEntry {
		if slot, _ := unpackEntryPoint(entry); seen.add(slot) {
			queue = append(make([]uint32, 0, x.Len()), slot)
		}
	}
	if err := x.flood(ctx, &seen, queue); err != nil {
		return 0, err
	}
	var missed []uint32
	for w := range (slots + 63) / 64 {
		for live := atomic.LoadUint64(&x.live[w]); live != 0; live &= live - 1 {
			if slot := w*64 + uint32(bits.TrailingZeros64(live)); slot < slots && !seen.has(slot) {
				missed = append(missed, slot)
			}
		}
	}
	// Links have two ends: who is next to a node that was reached, and is in its row, is reached.
	for found := true; found && len(missed) > 0; {
		found = false
		for _, v := range missed {
			if !seen.has(v) && x.besideSeen(&seen, slots, v) {
				found = true
				seen.add(v)
				if err := x.flood(ctx, &seen, append(queue[:0], v)); err != nil {
					return 0, err
				}
			}
		}
		missed = slices.DeleteFunc(missed, func(v uint32) bool { return seen.has(v) || !x.isLive(v) })
	}
	return len(missed), nil
}

// flood adds to seen what two-way links lead to from the nodes in queue, which it may overwrite.
func (x *Index) flood(ctx context.Context, seen *visited, queue []uint32) error {
	for i := 0; i < len(queue); i++ {
		if i%unreachableStep == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		row := x.row(queue[i], 0)
		for j := range row {
			w := atomic.LoadUint32(&row[j])
			if w == nilSlot {
				break
			}
			if w < oneWay && seen.add(w) {
				queue = append(queue, w)
			}
		}
	}
	return nil
}

// besideSeen reports whether a live node in seen, or one beyond slots, links to v and is linked by it. It holds mu, so that v is
// not being linked, or a link of it moved, at that moment.
func (x *Index) besideSeen(seen *visited, slots, v uint32) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	var ids [2 * maxM]uint32
	for _, w := range appendLinks(ids[:0], x.row(v, 0)) {
		if (w >= slots || seen.has(w)) && x.isLive(w) && linkIndex(x.row(w, 0), v) >= 0 {
			return true
		}
	}
	return false
}
