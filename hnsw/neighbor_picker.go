package hnsw

import "slices"

// neighborPicker chooses a new node's links among the candidates its search found: Algorithm 4 of Malkov & Yashunin 2018
// (without extendCandidates), then keepPrunedConnections.
type neighborPicker struct {
	scorer linkScorer
	cands  []uint64
	ids    []uint32 // slots that are still open
	at     []int32  // cands[at[i]] is ids[i]
	keys   []uint32
	picked []bool // by index in cands
}

// maxEqualLinks is the most candidates at one distance that a node links to. Thousands of copies of one vector would
// otherwise be each other's only neighbours. No less than minLinks, so that the cap leaves enough.
const maxEqualLinks = minLinks

// pick appends to dst the slots chosen among cands, which are entries ascending by distance from one node: at most
// diverse of them by the heuristic (a candidate is pruned if it is closer to a picked one than to the node), then the
// nearest of the pruned up to most in all. The result ascends by distance.
//
// Instead of comparing each candidate with every pick before it, each pick is scored against all candidates that are still
// open: the same picks by the same comparisons, in one kernel call a pick.
func (t *neighborPicker) pick(dst []uint32, cands []uint64, diverse, most int) []uint32 {
	t.cands = capEqual(t.cands[:0], cands)
	n := len(t.cands)
	t.picked = slices.Grow(t.picked[:0], n)[:n]
	t.keys = slices.Grow(t.keys[:0], n)[:n]
	t.ids, t.at = t.ids[:0], t.at[:0]
	for i, e := range t.cands {
		t.picked[i] = false
		t.ids = append(t.ids, entrySlot(e))
		t.at = append(t.at, int32(i))
	}
	count := 0
	for ids, at := t.ids, t.at; len(ids) > 0 && count < diverse; count++ {
		t.picked[at[0]] = true
		t.scorer.bindSlot(ids[0])
		ids, at = ids[1:], at[1:]
		keys := t.keys[:len(ids)]
		t.scorer.keys(ids, keys)
		open := 0
		for i, k := range keys {
			if k >= entryKey(t.cands[at[i]]) {
				ids[open], at[open] = ids[i], at[i]
				open++
			}
		}
		ids, at = ids[:open], at[:open]
	}
	for i, e := range t.cands {
		if !t.picked[i] {
			if count >= most {
				continue
			}
			count++
		}
		dst = append(dst, entrySlot(e))
	}
	return dst
}

// capEqual appends entries to dst, at most maxEqualLinks of each key. The entries ascend.
func capEqual(dst, entries []uint64) []uint64 {
	run := 0
	for i, e := range entries {
		if run++; i > 0 && entryKey(e) != entryKey(entries[i-1]) {
			run = 1
		}
		if run <= maxEqualLinks {
			dst = append(dst, e)
		}
	}
	return dst
}
