package hnsw

// arenas are the memory of an index: pointer-free rows, addressed by slot, that never move.
//
// Each arena is reserved once for MaxSlots and becomes resident where it is touched, so growing is no event: there is no
// chunk table, no copy, and no lock on any read path. What backs them is decided in arena_mmap.go and arena_heap.go;
// the rest of the package sees slices.
type arenas struct {
	vectors arena[float32] // stride floats a slot, under Float32
	halves  arena[uint16]  // stride half floats a slot, under Float16
	links0  arena[uint32]  // m0 link words a slot
	upper   arena[uint32]  // m link words a row; level(slot) rows a slot
	upperAt arena[uint32]  // first upper row of a slot
	parents arena[uint32]  // parent in the tree of links, or the state of the slot
	live    arena[uint64]  // one bit a slot
}

// minReservedSlots is the fewest slots a reservation is halved down to.
const minReservedSlots = 1 << 10

// upperRows returns how many upper rows are reserved for n slots. A slot has 1/(m-1) of them on average; the levels come
// from a hash, so half as many again and a constant is dozens of standard deviations away at every n.
func upperRows(n, m int) int { return n/(m-1) + n/(2*(m-1)) + 1<<10 }

// reserveArenas reserves for o.MaxSlots slots, or for as many halvings fewer as are granted, and sets o.MaxSlots.
func reserveArenas(o *Options) (*arenas, error) {
	for {
		a, ok := tryReserve(o)
		if ok {
			return a, nil
		}
		if o.MaxSlots <= minReservedSlots {
			return nil, ErrReservation
		}
		o.MaxSlots = max(o.MaxSlots/2, minReservedSlots)
	}
}

func tryReserve(o *Options) (*arenas, bool) {
	n, m, m0 := uint64(o.MaxSlots), uint64(o.M), uint64(2*o.M)
	upper := uint64(upperRows(o.MaxSlots, o.M))
	words := (n + 63) / 64
	own := uint64(o.VectorBytes())
	if o.Vectors != nil {
		own = 0
	}
	if own+4*(n*m0+upper*m+2*n)+8*words > maxReservation() {
		return nil, false
	}
	a := &arenas{}
	ok := a.takeVectors(o) && a.links0.reserve(n*m0) && a.upper.reserve(upper*m) &&
		a.upperAt.reserve(n) && a.parents.reserve(n) && a.live.reserve(words)
	if !ok {
		a.release()
		return nil, false
	}
	return a, true
}

// takeVectors takes the one arena that vectors of the precision lie in.
func (a *arenas) takeVectors(o *Options) bool {
	n := uint64(o.MaxSlots) * uint64(o.Precision.stride(o.Dim))
	if o.Precision == Float16 {
		return a.halves.take(o.Vectors, n)
	}
	return a.vectors.take(o.Vectors, n)
}

// take uses the memory that the caller gives, or else reserves n elements.
func (a *arena[T]) take(given *Memory, n uint64) bool {
	if given == nil {
		return a.reserve(n)
	}
	a.adopt(given.Bytes, n)
	return true
}

// release gives the memory back. Nobody may touch it afterwards.
func (a *arenas) release() {
	a.vectors.release()
	a.halves.release()
	a.links0.release()
	a.upper.release()
	a.upperAt.release()
	a.parents.release()
	a.live.release()
}
