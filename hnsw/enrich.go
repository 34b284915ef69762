package hnsw

import "slices"

// enrich gives every node in poor that has fewer than minLinks links on level 0, or fewer than there are other nodes, the
// links it lacks, and empties poor. The caller holds mu.
func (c *committer) enrich() {
	want := min(c.x.minLinks, c.x.Len()-1)
	for _, w := range c.poor {
		if c.x.isLive(w) && degree(c.x.row(w, 0)) < want {
			c.enrichNode(w, want)
		}
	}
	c.poor = c.poor[:0]
}

// enrichNode links w to the nearest nodes around it that have room, or else to nodes that can do without some link, wave
// by wave through the graph, until it has want links.
//
// It always succeeds. Take a node y that is not linked to w. If y is full, it has at least minLinks links that are no tree
// edges, and w is linked to fewer nodes than that; so there is a neighbour z of y by such a link that is not linked to w
// either. If z has room, w can take it. If it is full, it has more than minLinks links, and y may drop z for w.
func (c *committer) enrichNode(w uint32, want int) {
	x := c.x
	c.visited.begin(x.slots.Load())
	c.visited.add(w)
	c.wave = append(c.wave[:0], w)
	for start := 0; start < len(c.wave) && degree(x.row(w, 0)) < want; {
		end := len(c.wave)
		for _, v := range c.wave[start:end] {
			for _, y := range appendLinks(c.ids[:0], x.row(v, 0)) {
				if c.visited.add(y) {
					c.wave = append(c.wave, y)
				}
			}
		}
		if start > 0 { // the first wave out is linked to w already
			c.enrichFrom(w, want, c.wave[end:])
		}
		start = end
	}
}

// enrichFrom links w to nodes of a wave, none of which is linked to it, until it has want links.
func (c *committer) enrichFrom(w uint32, want int, wave []uint32) {
	x := c.x
	if len(c.keys) < len(wave) {
		c.keys = make([]uint32, 2*len(wave))
	}
	c.scorer.bindSlot(w)
	c.scorer.keys(wave, c.keys[:len(wave)])
	ranked := make([]uint64, len(wave))
	for i, y := range wave {
		ranked[i] = packEntry(c.keys[i], y)
	}
	slices.Sort(ranked)
	for _, e := range ranked {
		if y := entrySlot(e); degree(x.row(w, 0)) < want && x.hasRoom(y, 0) {
			x.join(w, y, 0)
		}
	}
	for _, e := range ranked {
		y := entrySlot(e)
		if degree(x.row(w, 0)) >= want {
			return
		}
		if linkIndex(x.row(y, 0), w) >= 0 {
			continue
		}
		if out := c.victims.victim(y, w, 0, true); c.x.mayDrop(y, out, 0) {
			x.drop(y, out, 0)
			x.join(w, y, 0)
		}
	}
}
