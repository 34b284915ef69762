package hnsw

// IndexStats describes an index at one instant.
type IndexStats struct {
	// Live is the number of live vectors.
	Live int
	// Limbo is the number of deleted slots that are not free yet: a searcher may stand on them, or a snapshot is open.
	Limbo int
	// Free is the number of slots that wait to be reused.
	Free int
	// Slots is one more than the highest slot ever allocated; MaxSlots is the most there can be.
	Slots, MaxSlots int
	// MaxLevel is the level of the entry point, or -1 in an empty index.
	MaxLevel int
	// MeanDegree0 is the mean number of links of a live node on level 0.
	MeanDegree0 float64
	// BytesPerVector is the memory of one slot in the arenas: vector, links, codes and state; not what lies in Options.Vectors.
	BytesPerVector float64
	// Bytes is the memory of all slots: Slots * BytesPerVector.
	Bytes int64
	// GivenBytes is the part of Options.Vectors that slots take.
	GivenBytes int64
	// LinkDistances is the number of distances that Link and Delete have computed since the index was made.
	LinkDistances uint64
	// Searchers is the most searchers that were ever held at once.
	Searchers int
}

// Stats describes the index. Cost: O(1). It waits for the commit under way, and no commit waits for it longer than that takes.
func (x *Index) Stats() IndexStats {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.allocMu.Lock()
	defer x.allocMu.Unlock()
	st := IndexStats{
		Live: x.Len(), Limbo: x.limbo.len(), Free: len(x.free), Slots: x.Slots(), MaxSlots: x.o.MaxSlots, MaxLevel: -1,
		LinkDistances: x.distances.Load(), Searchers: len(*x.searchers.Load()),
	}
	if x.mem == nil {
		return st
	}
	if entry := x.entry.Load(); entry != noEntry {
		_, st.MaxLevel = unpackEntryPoint(entry)
	}
	if st.Live > 0 {
		st.MeanDegree0 = float64(x.links.Load()) / float64(st.Live)
	}
	if st.Slots > 0 {
		st.Bytes = int64(st.Slots*(x.vectors.rowBytes()+4*x.m0+8) + 4*int(x.upperNext)*x.m + (st.Slots+7)/8)
		if c := x.codes.Load(); c != nil {
			st.Bytes += int64(st.Slots * c.stride)
		}
		if x.o.Vectors != nil {
			st.GivenBytes = int64(st.Slots * x.vectors.rowBytes())
			st.Bytes -= st.GivenBytes
		}
		st.BytesPerVector = float64(st.Bytes) / float64(st.Slots)
	}
	return st
}
