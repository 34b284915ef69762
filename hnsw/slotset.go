package hnsw

import (
	"iter"
	"math/bits"
	"slices"
)

// SlotSet is a set of slots: a dense bitmap that knows how many slots it holds. It is how a filter reaches a search, and how
// attribute indexes keep theirs.
//
// The zero value is the empty set. A set takes one bit for every slot up to the highest it was ever made room for, whatever
// it holds: 125 KB for a million slots. Sets of different sizes combine; a slot beyond the end is not in the set.
//
// Any number of goroutines may read a set that nobody changes. A set that changes needs a lock of its owner, or a Clone.
type SlotSet struct {
	words []uint64 // bit s&63 of word s>>6 is slot s
	count int      // Invariant: count = the sum of the bits of words
}

// NewSlotSet returns an empty set with room for the slots below slots: adding those allocates nothing.
func NewSlotSet(slots int) *SlotSet {
	return &SlotSet{words: make([]uint64, (slots+63)/64)}
}

// Len returns the number of slots in the set. Cost: O(1).
func (t *SlotSet) Len() int { return t.count }

// Contains reports whether slot is in the set. Cost: O(1).
func (t *SlotSet) Contains(slot uint32) bool {
	at := int(slot >> 6)
	return at < len(t.words) && t.words[at]>>(slot&63)&1 != 0
}

// Add puts slot into the set and reports whether it was new. Cost: O(1); the room grows as append does.
func (t *SlotSet) Add(slot uint32) bool {
	at := int(slot >> 6)
	t.grow(at + 1)
	bit := uint64(1) << (slot & 63)
	if t.words[at]&bit != 0 {
		return false
	}
	t.words[at] |= bit
	t.count++
	return true
}

// AddRange puts the slots from, from+1, ... to-1 into the set. Cost: O((to-from)/64).
func (t *SlotSet) AddRange(from, to uint32) {
	if from >= to {
		return
	}
	first, last := int(from>>6), int((to-1)>>6)
	t.grow(last + 1)
	for at := first; at <= last; at++ {
		mask := ^uint64(0)
		if at == first {
			mask <<= from & 63
		}
		if at == last {
			mask &= ^uint64(0) >> (63 - (to-1)&63)
		}
		t.count += bits.OnesCount64(mask &^ t.words[at])
		t.words[at] |= mask
	}
}

// Remove takes slot out of the set and reports whether it was there. Cost: O(1).
func (t *SlotSet) Remove(slot uint32) bool {
	if !t.Contains(slot) {
		return false
	}
	t.words[slot>>6] &^= 1 << (slot & 63)
	t.count--
	return true
}

// And leaves the slots that are in o too. Cost: that of reading both bitmaps, 1-5 ns a word of 64 slots; it
// allocates nothing.
func (t *SlotSet) And(o *SlotSet) {
	n := min(len(t.words), len(o.words))
	clear(t.words[n:])
	count, words, other := 0, t.words[:n], o.words[:n]
	for i, w := range words {
		w &= other[i]
		words[i] = w
		count += bits.OnesCount64(w)
	}
	t.count = count // not in the loop, where each step would wait for the store of the one before
}

// Or adds the slots of o. Cost: that of And; it allocates where o has more room.
func (t *SlotSet) Or(o *SlotSet) {
	t.grow(len(o.words))
	more, words := 0, t.words[:len(o.words)]
	for i, w := range o.words {
		more += bits.OnesCount64(w &^ words[i])
		words[i] |= w
	}
	t.count += more
}

// AndNot takes the slots of o out. Cost: that of And; it allocates nothing.
func (t *SlotSet) AndNot(o *SlotSet) {
	n := min(len(t.words), len(o.words))
	less, words, other := 0, t.words[:n], o.words[:n]
	for i, w := range words {
		less += bits.OnesCount64(w & other[i])
		words[i] = w &^ other[i]
	}
	t.count -= less
}

// AndLen returns how many slots are in both sets, and makes none. Cost: that of And.
func (t *SlotSet) AndLen(o *SlotSet) int {
	n, count := min(len(t.words), len(o.words)), 0
	other := o.words[:n]
	for i, w := range t.words[:n] {
		count += bits.OnesCount64(w & other[i])
	}
	return count
}

// Equal reports whether both hold the same slots. Cost: that of And.
func (t *SlotSet) Equal(o *SlotSet) bool { return t.count == o.count && t.AndLen(o) == t.count }

// Clone returns a set of the same slots that shares nothing with t.
func (t *SlotSet) Clone() *SlotSet {
	return &SlotSet{words: slices.Clone(t.words), count: t.count}
}

// CopyFrom makes t a copy of o. It allocates only where o has more room than t ever had.
func (t *SlotSet) CopyFrom(o *SlotSet) {
	t.words = append(t.words[:0], o.words...)
	t.count = o.count
}

// Reset empties the set and keeps its room. Cost: that of clearing the bitmap.
func (t *SlotSet) Reset() {
	clear(t.words)
	t.count = 0
}

// All yields the slots, ascending. The set must not change meanwhile. Cost: one step a slot and one a word.
func (t *SlotSet) All() iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		for at, w := range t.words {
			for ; w != 0; w &= w - 1 {
				if !yield(uint32(at<<6 + bits.TrailingZeros64(w))) {
					return
				}
			}
		}
	}
}

// Bytes returns the memory of the bitmap.
func (t *SlotSet) Bytes() int { return 8 * cap(t.words) }

// grow makes room for n words, with zeros.
func (t *SlotSet) grow(n int) {
	if n <= len(t.words) {
		return
	}
	old := len(t.words)
	t.words = slices.Grow(t.words, n-old)[:n]
	clear(t.words[old:]) // CopyFrom leaves what was there behind the end
}
