package hnsw

import "sync/atomic"

// The tree of links. Every live node but one, the root, has a parent among its neighbours on level 0, and these edges are
// never dropped to make room; so level 0 is connected, whatever the heuristic thinks of a link, and whatever is deleted. A
// graph that is only pruned and topped up is connected nearly always: clusters that are tight and far apart, and hubs of the
// inner product, are the exceptions.
//
// A node has at most maxTreeLinks edges of the tree, so that a hub keeps most of its row for navigation; and always at least
// minLinks other places, which is what enrich needs. A tree has leaves, so a node with room is always found below any node.

// maxTreeLinks returns the most tree edges at one node: a quarter of a row.
func (x *Index) maxTreeLinks() int { return max(x.m0/4, 3) }

// treeLinks returns the number of tree edges at a live node. The caller holds mu.
func (x *Index) treeLinks(v uint32) int {
	n := 0
	if x.loadParent(v) != v {
		n++
	}
	row := x.row(v, 0)
	for i := range row {
		w := atomic.LoadUint32(&row[i])
		if w == nilSlot {
			break
		}
		if w < oneWay && x.loadParent(w) == v {
			n++
		}
	}
	return n
}

// adopter returns the node that a new one hangs below: the first of its neighbours, which ascend by distance, that has room
// for another tree edge, or else a node below the first.
func (c *committer) adopter(links []uint32) uint32 {
	for _, v := range links {
		if c.x.treeLinks(v) < c.x.maxTreeLinks() {
			return v
		}
	}
	return c.below(links[0])
}

// below returns a node with room for another tree edge, v itself or one below it: the way down ends in a leaf, which has
// one edge. The bound on the way is for graphs restored from damaged snapshots, whose tree may be none.
func (c *committer) below(v uint32) uint32 {
	x := c.x
	for range x.Len() {
		if x.treeLinks(v) < x.maxTreeLinks() {
			return v
		}
		next := v
		row := x.row(v, 0)
		for i := range row {
			w := atomic.LoadUint32(&row[i])
			if w == nilSlot {
				break
			}
			if w < oneWay && x.loadParent(w) == v {
				next = w
			}
		}
		if next == v {
			return v
		}
		v = next
	}
	return v
}
