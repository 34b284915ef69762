package hnsw

// visited is the set of slots one search has seen: a bitset whose words carry the search that last wrote them, so that
// starting a search clears nothing.
//
// A word is epoch<<32 | bits of 32 slots. VSAG keeps 64 bits and a 16-bit epoch in two arrays; one word instead of two is
// one load and one store a test, for 8 bytes per 32 slots instead of 5.
type visited struct {
	words []uint64
	epoch uint64 // in the upper half
}

// begin empties the set and makes room for slots below n. Allocates only when the index has grown since the last search.
func (v *visited) begin(n uint32) {
	if need := 2 * (int(n)/64 + 1); need > len(v.words) {
		v.words = make([]uint64, need+need/4)
		v.epoch = 0
	}
	v.epoch += 1 << 32
	if v.epoch == 0 { // 2^32 searches later the epochs repeat
		clear(v.words)
		v.epoch = 1 << 32
	}
}

// add puts slot into the set and reports whether it was new. A slot that did not exist when the search began is never
// new: it is left to the next search.
func (v *visited) add(slot uint32) bool { return v.mark(slot) != 0 }

// mark is add for the hot loop: 1 for a new slot, else 0. Whether a neighbour is new is a coin toss to the branch
// predictor, so no branch here depends on it, and the caller need not have one either.
func (v *visited) mark(slot uint32) int {
	at := int(slot >> 5)
	if at >= len(v.words) {
		return 0
	}
	w := v.words[at]
	if (w^v.epoch)>>32 != 0 {
		w = v.epoch
	}
	v.words[at] = w | 1<<(slot&31)
	return int(^w >> (slot & 31) & 1)
}

// has reports whether slot is in the set.
func (v *visited) has(slot uint32) bool {
	at := int(slot >> 5)
	return at < len(v.words) && (v.words[at]^v.epoch)>>32 == 0 && v.words[at]>>(slot&31)&1 != 0
}

// room64 is how many words of 64 slots the set has room for: those of all slots that existed when the search began.
func (v *visited) room64() int { return len(v.words) / 2 }

// in64 returns the bits of those of the slots 64*at to 64*at+63 that are in the set; at is below room64.
func (v *visited) in64(at int) (in uint64) {
	two := v.words[2*at : 2*at+2]
	if (two[0]^v.epoch)>>32 == 0 {
		in = two[0] & (1<<32 - 1)
	}
	if (two[1]^v.epoch)>>32 == 0 {
		in |= two[1] << 32
	}
	return in
}
