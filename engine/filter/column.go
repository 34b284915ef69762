package filter

import "github.com/segue-ann/segue/hnsw"

// column is a stack of runs, oldest first. It never changes once made. The empty column has no pairs.
type column struct {
	runs []*run
}

// baseShare says when the base is rewritten: when the run above it weighs 1/baseShare of it.
const baseShare = 8

// push returns the column with r on top. Runs of similar weight are merged, so that a column of n pairs has O(log n) runs and
// each pair was rewritten O(log n) times.
func (c *column) push(r *run) *column {
	runs := make([]*run, len(c.runs), len(c.runs)+1)
	copy(runs, c.runs)
	runs = append(runs, r)
	for len(runs) > 1 {
		below, top := runs[len(runs)-2], runs[len(runs)-1]
		if below.base && baseShare*top.weight() < below.weight() || !below.base && 2*top.weight() < below.weight() {
			break
		}
		runs = append(runs[:len(runs)-2], merge(below, top))
	}
	return &column{runs: runs}
}

// under returns the column with base, which speaks of every slot, below all runs.
func (c *column) under(base *run) *column {
	runs := make([]*run, 0, len(c.runs)+1)
	return &column{runs: append(append(runs, base), c.runs...)}
}

// flat returns all of the column in one base run.
func (c *column) flat() *run {
	if len(c.runs) == 0 {
		return &run{base: true}
	}
	r := c.runs[len(c.runs)-1]
	for i := len(c.runs) - 2; i >= 0; i-- {
		r = merge(c.runs[i], r)
	}
	flat := *r
	flat.base, flat.touched = true, nil
	return &flat
}

// part is what a condition reads of one column: the keys of the values in bitmap where that is set, in a column of INTs; else those
// that want, indexed by key, says yes to; else those in spans, which in all cases hold every key that is read.
type part struct {
	column *column
	spans  []span
	want   []bool
	bitmap *Bitmap
}

// addTo puts the slots of the part's keys into dst, which is empty. Cost: linear in the slots found and in those the runs above the
// base speak of; with want in the keys too, and with a bitmap that of skipping through the shorter of it and the keys.
func (p part) addTo(dst *hnsw.SlotSet) {
	for _, r := range p.column.runs {
		for _, s := range r.touched {
			dst.Remove(s)
		}
		switch {
		case p.bitmap != nil:
			for i := range p.bitmap.positions(r.keys) {
				r.addTo(dst, i, i+1)
			}
		case p.want != nil:
			for i, k := range r.keys {
				if k < uint64(len(p.want)) && p.want[k] {
					r.addTo(dst, i, i+1)
				}
			}
		default:
			for _, s := range p.spans {
				from, to := r.keysIn(s)
				r.addTo(dst, from, to)
			}
		}
	}
}

// count bounds from above how many pairs have keys in the spans.
func (c *column) count(spans []span) int {
	n := 0
	for _, r := range c.runs {
		for _, s := range spans {
			n += r.count(r.keysIn(s))
		}
	}
	return n
}

// touched returns how many slots the runs above the base speak of.
func (c *column) touched() int {
	n := 0
	for _, r := range c.runs {
		n += len(r.touched)
	}
	return n
}

func (c *column) bytes() int64 {
	b := int64(0)
	for _, r := range c.runs {
		b += r.bytes()
	}
	return b
}
