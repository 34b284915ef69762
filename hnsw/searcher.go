package hnsw

import (
	"math"
	"math/rand/v2"
	"sync/atomic"
)

// Searcher is the right to read the index, and the memory one search needs. It belongs to one goroutine, from Acquire to
// Release.
type Searcher struct {
	x *Index
	_ [cachePad]byte
	// epoch is the epoch of the index when the searcher was acquired, or 0 while nobody holds it. It has cache lines of its
	// own: every search writes it, and every deletion reads it.
	epoch atomic.Uint64
	_     [cachePad]byte

	closed  bool       // the index was closed before Acquire
	scorer  scorer     // on vectors
	code    codeScorer // on codes, while walking is set
	walking *codes     // what walks read; nil: the vectors
	exact   []uint64   // entries rescored
	pool    pool
	visited visited
	query   []float32 // stride floats
	ids     [scoreBatch]uint32
	keys    [scoreBatch]uint32
	hops    int
	results []Candidate
	plan    linkPlan
}

// Candidate is a slot and its distance to the query.
type Candidate struct {
	Slot     uint32
	Distance float32
}

// SearchStats says what a search cost.
type SearchStats struct {
	// Distances is the number of distances computed.
	Distances int
	// Hops is the number of nodes whose links were read.
	Hops int
	// Exact tells whether an exact scan gave the result, as asked for or because the graph gave too few.
	Exact bool
}

// Acquire returns a searcher that nobody else holds. What is live now stays readable through it until Release, even
// when it is deleted meanwhile: look slots up in tables of your own after Acquire, not before.
//
// A held searcher keeps deleted slots from being reused, so do not hold one for long. Cost: two atomic stores and a few
// loads, unless more searchers are held at once than ever before. Never blocks on a writer and never fails; on a closed
// index the methods of the searcher return ErrClosed.
func (x *Index) Acquire() *Searcher {
	s := x.acquire()
	if x.closed.Load() {
		s.Release()
		return &Searcher{x: x, closed: true}
	}
	return s
}

func (x *Index) acquire() *Searcher {
	all := *x.searchers.Load()
	if n := uint32(len(all)); n > 0 {
		// A random start spreads goroutines over the list without a word that all of them write.
		for i, at := uint32(0), rand.Uint32()%n; i < n; i++ {
			if s := all[at]; s.epoch.Load() == 0 && s.epoch.CompareAndSwap(0, x.epoch.Load()) {
				return s
			}
			if at++; at == n {
				at = 0
			}
		}
	}
	x.growMu.Lock()
	defer x.growMu.Unlock()
	s := &Searcher{x: x, query: make([]float32, x.stride)}
	s.scorer.init(x)
	s.epoch.Store(x.epoch.Load())
	old := *x.searchers.Load()
	grown := append(make([]*Searcher, 0, len(old)+1), old...)
	grown = append(grown, s)
	x.searchers.Store(&grown)
	return s
}

// Release gives the searcher back. Results, vectors and the searcher itself may not be used afterwards.
func (s *Searcher) Release() {
	if s.closed {
		return
	}
	x := s.x
	s.epoch.Store(0)
	if x.closed.Load() {
		x.mu.Lock()
		defer x.mu.Unlock()
		x.unmapIfUnused()
	}
}

// Distance returns the distance from query, of length Dim, to the vector of a slot that was live at some time since
// Acquire, at full precision. It is NaN if query is not one that Search would take, or the index is closed.
func (s *Searcher) Distance(query []float32, slot uint32) float32 {
	if s.closed || s.x.prepare(s.query, query) != nil {
		return float32(math.NaN())
	}
	s.scorer.bind(s.query)
	return keyDistance(s.scorer.key(slot))
}

// Vector returns the stored vector of a slot that was live at some time since Acquire; under Cosine it is normalised. It is
// part of the index: read it, do not write it, and not after Release. Nil if the index is closed.
func (s *Searcher) Vector(slot uint32) []float32 {
	if s.closed {
		return nil
	}
	return s.x.vector(slot)[:s.x.o.Dim:s.x.o.Dim]
}
