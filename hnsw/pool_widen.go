package hnsw

import "slices"

// widen makes the pool one of ef entries, more than before, and moves the best of spill into the room. It returns what is
// left of spill, in another order.
//
// spill holds every entry that the pool was offered and does not hold, as offerOrSpill leaves them: so none of them is below
// one that the pool holds, if it is full.
func (p *pool) widen(ef int, spill []uint64) []uint64 {
	n := min(ef-len(p.items), len(spill))
	partition(spill, n)
	best := spill[:n]
	slices.Sort(best)
	p.ef = ef
	switch {
	case p.heaped:
		for _, e := range best {
			p.items = append(p.items, e&^1)
			siftUpMax(p.items)
			if e&1 == 0 {
				p.pushFrontier(e)
			}
		}
	case ef <= sortedPool:
		p.cursor = min(p.cursor, len(p.items))
		p.items = append(p.items, best...)
	default:
		p.heaped = true
		p.items = append(p.items, best...)
		for i, e := range p.items {
			if e&1 == 0 {
				p.pushFrontier(e)
			}
			p.items[i] = e &^ 1
		}
		slices.Reverse(p.items) // descending: a max-heap
	}
	return append(spill[:0], spill[n:]...)
}

// offerOrSpill offers an entry and appends to spill the one that the pool has no room for: e itself or the one that it
// displaces. Bit 0 of what it appends says that the pool needs not expand it again.
func (p *pool) offerOrSpill(e uint64, spill []uint64) []uint64 {
	if len(p.items) < p.ef {
		p.offer(e)
		return spill
	}
	if e >= p.limit() {
		return append(spill, e)
	}
	out := p.limit()
	if p.heaped {
		out |= 1 // it was expanded, or is in the frontier
	}
	p.offer(e)
	return append(spill, out)
}

// partition moves the n lowest of a to its front. Hoare's selection; the median of three guards against sorted input.
func partition(a []uint64, n int) {
	lo, hi := 0, len(a)
	for n > lo && n < hi && hi-lo > 1 {
		mid := lo + (hi-lo)/2
		pivot := max(min(a[lo], a[mid]), min(max(a[lo], a[mid]), a[hi-1]))
		i, j := lo, hi-1
		for i <= j {
			for a[i] < pivot {
				i++
			}
			for a[j] > pivot {
				j--
			}
			if i <= j {
				a[i], a[j] = a[j], a[i]
				i++
				j--
			}
		}
		switch { // a[lo..j] <= pivot, a[j+1..i-1] == pivot, a[i..hi) >= pivot
		case n <= j:
			hi = j + 1
		case n >= i:
			lo = i
		default:
			return
		}
	}
}

// pushFrontier adds an unexpanded entry to the frontier of a heaped pool.
func (p *pool) pushFrontier(e uint64) {
	p.frontier = append(p.frontier, e)
	f := p.frontier
	for i := len(f) - 1; i > 0; {
		up := (i - 1) / 4
		if f[up] <= f[i] {
			return
		}
		f[up], f[i] = f[i], f[up]
		i = up
	}
}

// siftUpMax restores a binary max-heap whose last entry is new.
func siftUpMax(h []uint64) {
	for i := len(h) - 1; i > 0; {
		up := (i - 1) / 2
		if h[up] >= h[i] {
			return
		}
		h[up], h[i] = h[i], h[up]
		i = up
	}
}
