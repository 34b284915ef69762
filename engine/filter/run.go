package filter

import (
	"cmp"
	"iter"
	"slices"

	"github.com/segue-ann/segue/hnsw"
)

// pair says that slot has the value of key.
type pair struct {
	key  uint64
	slot uint32
}

// run is the whole column of the slots it speaks of. It never changes once made.
//
//	slots of keys[i] = slots[ends[i-1]:ends[i]], ascending, and those of dense[i]
//
// Invariant: a key has its slots in one of the two places; keys ascend, each once, each with a slot.
type run struct {
	base    bool     // speaks of every slot
	touched []uint32 // else of these, ascending
	keys    []uint64
	ends    []uint32
	slots   []uint32
	dense   map[int]*hnsw.SlotSet // by position in keys; nil where there is none
	pairs   int
}

// A key is dense where a bitmap takes less than a list of its slots: 1 bit for every slot up to the highest, against 32
// for each.
const (
	denseSlots = 2048
	denseShare = 32
)

// weight is what merging a run costs.
func (r *run) weight() int { return r.pairs + len(r.touched) }

func (r *run) bytes() int64 {
	b := 4*len(r.touched) + 8*len(r.keys) + 4*len(r.ends) + 4*len(r.slots)
	for _, d := range r.dense {
		b += d.Bytes()
	}
	return int64(b)
}

// at returns the slots of key i, as a list or as a bitmap.
func (r *run) at(i int) ([]uint32, *hnsw.SlotSet) {
	if d := r.dense[i]; d != nil {
		return nil, d
	}
	from := uint32(0)
	if i > 0 {
		from = r.ends[i-1]
	}
	return r.slots[from:r.ends[i]], nil
}

// keysIn returns the positions of the keys in s, half open.
func (r *run) keysIn(s span) (from, to int) {
	from, _ = slices.BinarySearch(r.keys, s.lo)
	to, found := slices.BinarySearch(r.keys[from:], s.hi)
	to += from
	if found {
		to++
	}
	return from, to
}

// count returns the number of pairs of keys from..to.
func (r *run) count(from, to int) int {
	if from >= to {
		return 0
	}
	n := int(r.ends[to-1])
	if from > 0 {
		n -= int(r.ends[from-1])
	}
	for d := range r.denseIn(from, to) {
		n += d.Len()
	}
	return n
}

// denseIn yields the bitmaps of keys from..to, in any order.
func (r *run) denseIn(from, to int) iter.Seq[*hnsw.SlotSet] {
	return func(yield func(*hnsw.SlotSet) bool) {
		if to-from > len(r.dense) {
			for i, d := range r.dense {
				if i >= from && i < to && !yield(d) {
					return
				}
			}
			return
		}
		for i := from; i < to; i++ {
			if d := r.dense[i]; d != nil && !yield(d) {
				return
			}
		}
	}
}

// addTo puts the slots of keys from..to into dst.
func (r *run) addTo(dst *hnsw.SlotSet, from, to int) {
	if from >= to {
		return
	}
	first := uint32(0)
	if from > 0 {
		first = r.ends[from-1]
	}
	for _, s := range r.slots[first:r.ends[to-1]] { // the lists of neighbouring keys are neighbours
		dst.Add(s)
	}
	for d := range r.denseIn(from, to) {
		dst.Or(d)
	}
}

// newRun makes a run of pairs, which it sorts, and of the slots it speaks of in any order, each once. A pair may come twice.
func newRun(pairs []pair, touched []uint32, base bool) *run {
	slices.SortFunc(pairs, func(a, b pair) int {
		if c := cmp.Compare(a.key, b.key); c != 0 {
			return c
		}
		return cmp.Compare(a.slot, b.slot)
	})
	pairs = slices.Compact(pairs)
	b := runBuilder{run: run{base: base}}
	if !base {
		slices.Sort(touched)
		b.run.touched = touched
	}
	for from := 0; from < len(pairs); {
		to := from + 1
		for to < len(pairs) && pairs[to].key == pairs[from].key {
			to++
		}
		b.begin()
		for _, p := range pairs[from:to] {
			b.add(p.slot)
		}
		b.end(pairs[from].key)
		from = to
	}
	return b.finish()
}

// runBuilder makes a run key by key.
type runBuilder struct {
	run  run
	from int
}

func (b *runBuilder) begin() { b.from = len(b.run.slots) }

// add appends a slot of the key begun; slots ascend.
func (b *runBuilder) add(slot uint32) { b.run.slots = append(b.run.slots, slot) }

// end closes the key begun, which has no slots of its own where nothing was added.
func (b *runBuilder) end(key uint64) {
	list := b.run.slots[b.from:]
	if len(list) == 0 {
		return
	}
	b.run.pairs += len(list)
	if len(list) >= denseSlots && len(list) >= int(list[len(list)-1])/denseShare {
		set := hnsw.NewSlotSet(int(list[len(list)-1]) + 1)
		for _, s := range list {
			set.Add(s)
		}
		b.run.slots = b.run.slots[:b.from]
		b.setDense(set)
	}
	b.run.keys = append(b.run.keys, key)
	b.run.ends = append(b.run.ends, uint32(len(b.run.slots)))
}

// endDense closes a key whose slots are set, which it keeps.
func (b *runBuilder) endDense(key uint64, set *hnsw.SlotSet, highest uint32) {
	if set.Len() < denseSlots || set.Len() < int(highest)/denseShare {
		b.begin()
		for s := range set.All() {
			b.add(s)
		}
		b.end(key)
		return
	}
	b.run.pairs += set.Len()
	b.setDense(set)
	b.run.keys = append(b.run.keys, key)
	b.run.ends = append(b.run.ends, uint32(len(b.run.slots)))
}

func (b *runBuilder) setDense(set *hnsw.SlotSet) {
	if b.run.dense == nil {
		b.run.dense = make(map[int]*hnsw.SlotSet)
	}
	b.run.dense[len(b.run.keys)] = set
}

// finish returns the run, in slices of about its length.
func (b *runBuilder) finish() *run {
	r := b.run
	r.keys, r.ends, r.slots = fit(r.keys), fit(r.ends), fit(r.slots)
	return &r
}

// fit copies s where it wastes room.
func fit[T any](s []T) []T {
	if cap(s)-len(s) <= len(s)/8 {
		return s
	}
	return append(make([]T, 0, len(s)), s...)
}

// merge returns one run that says what newer over older says. Cost: linear in both, and in the bitmaps of their dense keys.
func merge(older, newer *run) *run {
	var gone hnsw.SlotSet // slots of which newer speaks
	for _, s := range newer.touched {
		gone.Add(s)
	}
	b := runBuilder{run: run{base: older.base}}
	if !older.base {
		b.run.touched = mergeSorted(older.touched, newer.touched)
	}
	n := older.pairs + newer.pairs
	b.run.keys = make([]uint64, 0, max(len(older.keys), len(newer.keys)))
	b.run.ends = make([]uint32, 0, cap(b.run.keys))
	b.run.slots = make([]uint32, 0, min(n, len(older.slots)+len(newer.slots)))
	for i, j := 0, 0; i < len(older.keys) || j < len(newer.keys); {
		switch {
		case j == len(newer.keys) || i < len(older.keys) && older.keys[i] < newer.keys[j]:
			b.mergeKey(older.keys[i], older, i, newer, -1, &gone)
			i++
		case i == len(older.keys) || newer.keys[j] < older.keys[i]:
			b.mergeKey(newer.keys[j], older, -1, newer, j, &gone)
			j++
		default:
			b.mergeKey(older.keys[i], older, i, newer, j, &gone)
			i++
			j++
		}
	}
	return b.finish()
}

// mergeKey adds the slots of one key: those of older that are not gone, and those of newer. A position of -1 means that a run
// does not have the key.
func (b *runBuilder) mergeKey(key uint64, older *run, i int, newer *run, j int, gone *hnsw.SlotSet) {
	var (
		was, is       []uint32
		wasSet, isSet *hnsw.SlotSet
	)
	if i >= 0 {
		was, wasSet = older.at(i)
	}
	if j >= 0 {
		is, isSet = newer.at(j)
	}
	if wasSet == nil && isSet == nil {
		b.begin()
		for len(was) > 0 || len(is) > 0 {
			switch {
			case len(is) == 0 || len(was) > 0 && was[0] < is[0]:
				if !gone.Contains(was[0]) {
					b.add(was[0])
				}
				was = was[1:]
			case len(was) > 0 && was[0] == is[0]: // then gone has it
				was = was[1:]
			default:
				b.add(is[0])
				is = is[1:]
			}
		}
		b.end(key)
		return
	}
	set := new(hnsw.SlotSet)
	if wasSet != nil {
		set = wasSet.Clone()
	}
	for _, s := range was {
		set.Add(s)
	}
	set.AndNot(gone)
	if isSet != nil {
		set.Or(isSet)
	}
	for _, s := range is {
		set.Add(s)
	}
	b.endDense(key, set, uint32(8*set.Bytes()))
}

// mergeSorted returns the union of two ascending lists.
func mergeSorted(a, b []uint32) []uint32 {
	out := make([]uint32, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0] < b[0]:
			out, a = append(out, a[0]), a[1:]
		case a[0] > b[0]:
			out, b = append(out, b[0]), b[1:]
		default:
			out, a, b = append(out, a[0]), a[1:], b[1:]
		}
	}
	return append(append(out, a...), b...)
}
