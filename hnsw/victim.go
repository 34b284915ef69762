package hnsw

import (
	"slices"
	"sync/atomic"
)

const (
	// shortDetour ends the search for a victim: a link whose other end is so much nearer to a neighbour, as a share of squared
	// distances, can be done without. On 500,000 vectors in 1,000 clusters, ef 32: recall .72 where any link with a share of
	// up to .83 goes and the farthest of all if none of the 8 farthest has one, .91 where the link with the least share of all
	// goes; 24 to 47 % more distances an insert for that, 12 to 24 % if one of up to .7 is taken at once, for the same recall.
	shortDetour = 0.7

	// ipTries is how many links of a full row, farthest first, are looked at under InnerProduct.
	ipTries = 8
)

// victims chooses which link a full row gives up. The committer has one, and each plan of a Link, which looks for the victims
// that it expects before it waits for the committer. It belongs to one goroutine, and reads links as searches do.
type victims struct {
	x      *Index
	scorer linkScorer
	ids    []uint32 // a row and the link that wants to enter it
	ranked []uint64 // their entries
	keys   []uint32
}

func (t *victims) init(x *Index) {
	t.x = x
	t.scorer.init(x)
	t.ids = make([]uint32, 0, x.m0+1)
	t.ranked = make([]uint64, 0, x.m0+1)
	t.keys = make([]uint32, x.m0+1)
}

// victim returns the neighbour v can best do without if u comes to its full row: u, unless keep is set, or one of the row.
//
// A link v-w is dominated if some nearer neighbour x of v is closer to w than v is: the search can go by x. The closer, the
// shorter the detour. The farthest link with a short detour goes; if there is none, the one with the shortest; if none is
// dominated, the farthest. So of a cluster's many short links some go before the one to another cluster, to which half of the
// mates are closer by a little. Never dropped are edges of the tree of
// links and, unless nothing else is left, links whose other end has too few; above level 0 that holds for the new node as
// well, or the first node of a new cluster would be turned away by everybody. Equal distances to u beyond maxEqualLinks
// are not taken up at all.
func (t *victims) victim(v, u uint32, level int, keep bool) uint32 {
	x := t.x
	t.ids = append(appendLinks(t.ids[:0], x.row(v, level)), u)
	ids := t.ids
	keys := t.keys[:len(ids)]
	t.scorer.bindSlot(v)
	t.scorer.keys(ids, keys)
	keep = keep || level == 0 && x.isTreeLink(v, u)
	t.ranked = t.ranked[:0]
	equal := 0
	uKey := keys[len(keys)-1]
	for i, id := range ids {
		t.ranked = append(t.ranked, packEntry(keys[i], id))
		if keys[i] == uKey {
			equal++
		}
	}
	if !keep && equal > maxEqualLinks {
		return u
	}
	fallback, most, shortest := uint32(nilSlot), uint32(nilSlot), float32(1)
	tries := len(ids)
	if x.o.Metric == InnerProduct {
		tries = ipTries
	}
	for i := len(ids) - 1; i >= 0 && tries > 0; i-- {
		t.toEnd(i)
		w := ids[i]
		if w == u && keep || (w != u || level > 0) && !x.mayDrop(v, w, level) {
			continue
		}
		if fallback == nilSlot {
			fallback = w
		}
		tries--
		if i == 0 {
			continue
		}
		share := t.detour(w, entryKey(t.ranked[i]), ids[:i])
		if share <= shortDetour {
			return w
		}
		if share < shortest {
			most, shortest = w, share
		}
	}
	if most != nilSlot {
		return most
	}
	if fallback == nilSlot {
		// Every other end is at its minimum. A tree degree below m0 leaves some link that is no tree edge.
		slices.Sort(t.ranked)
		for i := len(t.ranked) - 1; fallback == nilSlot && i >= 0; i-- {
			if w := entrySlot(t.ranked[i]); w != u && !x.isTreeLink(v, w) {
				fallback = w
			}
		}
	}
	return fallback
}

// toEnd moves the farthest of the first i+1 to place i. Most searches for a victim end after a few, so the rest is not sorted.
func (t *victims) toEnd(i int) {
	ranked := t.ranked[:i+1]
	at := 0
	for j, e := range ranked {
		if e > ranked[at] {
			at = j
		}
	}
	ranked[at], ranked[i] = ranked[i], ranked[at]
	t.ids[at], t.ids[i] = t.ids[i], t.ids[at]
}

// mayDrop reports whether v may drop its link to w: it is no tree edge, and w keeps minLinks.
func (x *Index) mayDrop(v, w uint32, level int) bool {
	return (level > 0 || !x.isTreeLink(v, w)) && degreeAbove(x.row(w, level), x.minLinks)
}

// degreeAbove reports whether row has more than n two-way links.
func degreeAbove(row []uint32, n int) bool {
	for i := range row {
		v := atomic.LoadUint32(&row[i])
		if v == nilSlot {
			break
		}
		if v < oneWay {
			if n--; n < 0 {
				return true
			}
		}
	}
	return false
}

// detour returns the least distance of the nearer ids to w as a share of key's, the distance of w to the node of the row;
// below 1, w is dominated. Where distances are no lengths it is 0 for a dominated w, and 1 for others. Distance 0 is not
// dominated.
func (t *victims) detour(w, key uint32, nearer []uint32) float32 {
	t.scorer.bindSlot(w)
	keys := t.keys[:len(nearer)]
	t.scorer.keys(nearer, keys)
	nearest := slices.Min(keys)
	switch {
	case nearest >= key:
		return 1
	case t.x.o.Metric == InnerProduct:
		return 0
	}
	return t.scorer.share(nearest, key)
}
