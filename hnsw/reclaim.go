package hnsw

// Epoch-based reclamation (Fraser 2004, as Vespa and VSAG use it): a deleted slot is reused only when no reader that could
// have met it is left.
//
// A searcher that is held carries the epoch it saw when it was acquired; then, and only then, it loads the entry point. A
// deletion unlinks the slot, stamps it with the current epoch and advances the epoch. The slot is free once every held
// searcher carries a later epoch than the stamp. Go's atomics are sequentially consistent, so a searcher that the scan of
// oldestEpoch missed published its epoch after the slot was unlinked, and cannot reach it.
//
// A row of a slot in limbo is kept as it was, so that a reader who stands on it can leave. Such a row may name slots that
// are deleted later; their stamps are later too, and the readers that could follow the row hold them back as well.

// noEpoch is the oldest epoch where no searcher is held. A searcher that is not held carries 0.
const noEpoch = 1<<64 - 1

type limboSlot struct {
	slot  uint32
	stamp uint64
}

// limbo is a queue of deleted slots, oldest first.
type limbo struct {
	slots []limboSlot
	head  int // slots[:head] are gone
}

func (l *limbo) len() int { return len(l.slots) - l.head }

func (l *limbo) push(s limboSlot) {
	if l.head > len(l.slots)/2 {
		l.slots = l.slots[:copy(l.slots, l.slots[l.head:])]
		l.head = 0
	}
	l.slots = append(l.slots, s)
}

// popBefore returns the oldest slot if its stamp is below epoch.
func (l *limbo) popBefore(epoch uint64) (slot uint32, ok bool) {
	if l.len() == 0 || l.slots[l.head].stamp >= epoch {
		return 0, false
	}
	l.head++
	return l.slots[l.head-1].slot, true
}

// oldestEpoch returns the lowest epoch of the held searchers, or noEpoch.
func (x *Index) oldestEpoch() uint64 {
	oldest := uint64(noEpoch)
	for _, s := range *x.searchers.Load() {
		if e := s.epoch.Load(); e != 0 {
			oldest = min(oldest, e)
		}
	}
	return oldest
}

// retire puts an unlinked slot into limbo. The caller holds mu.
func (x *Index) retire(slot uint32) {
	x.setParent(slot, stateLimbo)
	x.limbo.push(limboSlot{slot: slot, stamp: x.epoch.Load()})
	x.epoch.Add(1)
}

// reclaim frees the slots in limbo that no reader can stand on. While a snapshot is open nothing is freed: it still reads
// the vectors. The caller holds mu.
func (x *Index) reclaim() {
	if x.limbo.len() == 0 && len(x.fit.retired) == 0 {
		return
	}
	oldest := x.oldestEpoch()
	x.dropRetired(oldest)
	if x.snapshot != nil {
		return
	}
	for {
		slot, ok := x.limbo.popBefore(oldest)
		if !ok {
			return
		}
		for level := x.level(slot); level >= 0; level-- {
			setRow(x.row(slot, level), nil)
		}
		x.allocMu.Lock()
		x.setState(slot, stateFree)
		x.free = append(x.free, slot)
		x.allocMu.Unlock()
	}
}
