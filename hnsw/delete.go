package hnsw

import (
	"math/bits"
	"slices"
	"sync/atomic"
)

// Delete takes a live slot, or one that waits (Await), out of the index: searchers that are acquired after Delete returns do not
// find it, and those that were acquired before still do, unless it was hidden (Hide). The slot is reused once no searcher that was
// acquired before can stand on it, and no snapshot needs it.
//
// To replace a slot by another, link the other first: every search finds one of them or both.
//
// Errors: ErrNotLive, ErrClosed. Cost: O(M^2) distances. Source: the top-up of IP-DiskANN (arXiv 2502.13826) with one link
// a neighbour, on symmetric links, which tell the in-neighbours without a search. Pruning the neighbours anew, as
// FreshDiskANN does, was measured to lose recall under churn, where topping up keeps it. What the deleted node connected
// stays connected; see connect.
func (x *Index) Delete(slot uint32) error {
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
	c := &x.c
	before := c.computed()
	if !x.isHidden(slot) {
		x.noteDeath(slot)
	}
	x.setLive(slot, false)
	x.links.Add(-int64(rowLength(x.row(slot, 0))))
	x.unlisted(slot)
	if at, top := unpackEntryPoint(x.entry.Load()); at == slot {
		x.entry.Store(x.nextEntry(slot, top))
	}
	for level := x.level(slot); level >= 0; level-- {
		c.unlink(slot, level)
	}
	c.enrich()
	x.retire(slot)
	x.reclaim()
	x.distances.Add(uint64(c.computed() - before))
	return nil
}

// nextEntry returns the entry point after slot, which is it now, is gone: a neighbour on its level, or a live node of the
// highest level there is. The lowest slot decides.
func (x *Index) nextEntry(slot uint32, top int) uint64 {
	if ids := appendLinks(x.c.ids[:0], x.row(slot, top)); top > 0 && len(ids) > 0 {
		return packEntryPoint(slices.Min(ids), top)
	}
	best := uint64(noEntry)
	for _, v := range x.appendLive(x.c.ids[:0]) {
		if e := packEntryPoint(v, x.level(v)); best == noEntry || e>>32 > best>>32 {
			best = e
		}
	}
	return best
}

// appendLive appends the live slots, ascending. O(Slots()/64).
func (x *Index) appendLive(dst []uint32) []uint32 {
	for w := range (int(x.slots.Load()) + 63) / 64 {
		for live := atomic.LoadUint64(&x.live[w]); live != 0; live &= live - 1 {
			dst = append(dst, uint32(w*64+bits.TrailingZeros64(live)))
		}
	}
	return dst
}

// unlink takes p, which is not live any more, out of the rows of its neighbours on a level, and closes the gap. The row of
// p stays.
func (c *committer) unlink(p uint32, level int) {
	x := c.x
	c.ids = appendLinks(c.ids[:0], x.row(p, level))
	ids := c.ids
	for i, z := range ids {
		c.had[i] = degree(x.row(z, level))
		x.removeLink(z, p, level)
	}
	c.scoreAll(ids)
	if level == 0 {
		c.rehang(p, ids)
	}
	for i, z := range ids {
		c.topUp(z, c.had[i], ids, c.matrix[i*len(ids):], level)
	}
	c.connect(ids, level)
	if level == 0 {
		c.poor = append(c.poor, ids...)
	}
}

// scoreAll fills the matrix with the keys between all ids: row i, column j at i*len(ids)+j.
func (c *committer) scoreAll(ids []uint32) {
	n := len(ids)
	for i, z := range ids {
		c.scorer.bindSlot(z)
		c.scorer.keys(ids[i+1:], c.matrix[i*n+i+1:(i+1)*n])
		for j := i + 1; j < n; j++ {
			c.matrix[j*n+i] = c.matrix[i*n+j]
		}
	}
}

// topUp links z, which lost a neighbour and had so many, to the nearest of the lost one's neighbours that it is not linked
// to, if both have room. A node that is not poor and has been given a link by another already takes none of its own, or
// rows would fill up: every link of a top-up is one for two nodes, and the lost one's links were, too.
func (c *committer) topUp(z uint32, had int, ids, keys []uint32, level int) {
	x := c.x
	row := x.row(z, level)
	if !x.hasRoom(z, level) || degree(row) >= max(had, len(row)*3/8) {
		return
	}
	best := uint64(1<<64 - 1)
	for j, y := range ids {
		if e := packEntry(keys[j], y); y != z && e < best && x.hasRoom(y, level) && linkIndex(row, y) < 0 {
			best = e
		}
	}
	if best != 1<<64-1 {
		x.join(z, entrySlot(best), level)
	}
}

// connect links the neighbours of a deleted node, shortest links first (Kruskal), until each leads to each by links among
// them. Topping up alone forgets how clusters hang together: two neighbours in the same cluster, which the lost node linked
// to another one, are nearest to each other. Above level 0 only rows with room take part.
func (c *committer) connect(ids []uint32, level int) {
	x, n := c.x, len(ids)
	parts := c.parts[:n]
	for i := range parts {
		parts[i] = i
	}
	merge := func(i, j int) {
		from, to := parts[i], parts[j]
		for k, part := range parts {
			if part == from {
				parts[k] = to
			}
		}
	}
	for i, z := range ids {
		row := x.row(z, level)
		for j := i + 1; j < n; j++ {
			if parts[i] != parts[j] && linkIndex(row, ids[j]) >= 0 {
				merge(i, j)
			}
		}
	}
	for {
		shortest, from, to := uint64(1<<64-1), 0, 0
		for i := range n {
			for j := i + 1; j < n; j++ {
				if e := packEntry(c.matrix[i*n+j], ids[j]); parts[i] != parts[j] && e < shortest {
					shortest, from, to = e, i, j
				}
			}
		}
		if shortest == 1<<64-1 {
			return
		}
		merge(from, to)
		u, v := ids[from], ids[to]
		if level == 0 {
			c.makeRoom(u, v)
			c.makeRoom(v, u)
		}
		if x.hasRoom(u, level) && x.hasRoom(v, level) {
			x.join(u, v, level)
		}
	}
}

// rehang hangs the children of p, which is gone, under its parent or under each other, shortest edges first (Prim). ids are
// the neighbours of p, and the matrix their keys.
func (c *committer) rehang(p uint32, ids []uint32) {
	x := c.x
	var hung, kids []int // indexes in ids
	parent := x.loadParent(p)
	for i, z := range ids {
		switch {
		case x.loadParent(z) == p:
			kids = append(kids, i)
		case z == parent:
			hung = append(hung, i)
		}
	}
	if len(hung) == 0 && len(kids) > 0 { // p was the root
		hung, kids = append(hung, kids[0]), kids[1:]
		x.setParent(ids[hung[0]], ids[hung[0]])
	}
	for len(kids) > 0 {
		best, at, under := uint64(1<<64-1), 0, uint32(nilSlot)
		for _, a := range hung {
			if x.treeLinks(ids[a]) >= x.maxTreeLinks() {
				continue
			}
			for k, i := range kids {
				if e := packEntry(c.matrix[a*len(ids)+i], ids[i]); e < best {
					best, at, under = e, k, ids[a]
				}
			}
		}
		if under == nilSlot {
			under = c.below(ids[hung[0]])
		}
		c.hang(ids[kids[at]], under)
		hung = append(hung, kids[at])
		kids = slices.Delete(kids, at, at+1)
	}
}

// hang makes under the parent of z, and links them if they are not linked.
func (c *committer) hang(z, under uint32) {
	x := c.x
	x.setParent(z, under)
	if linkIndex(x.row(z, 0), under) >= 0 {
		return
	}
	c.makeRoom(z, under)
	c.makeRoom(under, z)
	x.join(z, under, 0)
}

// makeRoom drops a link of v on level 0 if it has no room for u.
func (c *committer) makeRoom(v, u uint32) {
	x := c.x
	if x.hasRoom(v, 0) {
		return
	}
	out := c.victims.victim(v, u, 0, true)
	x.drop(v, out, 0)
	c.poor = append(c.poor, out)
}
