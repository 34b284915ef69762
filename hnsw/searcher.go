package hnsw

import (
	"context"
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
	since   uint64     // the epoch from which on it sees what dies
	deaths  *death     // the last one when it was acquired; see deaths.go
	scorer  scorer     // on vectors
	code    codeScorer // on codes, while walking is set
	walking *codes     // what walks read; nil: the vectors
	exact   []uint64   // entries rescored, ascending
	missed  misses     // of the estimates rescored
	pool    pool
	visited visited
	query   []float32 // stride floats
	aside   []float32 // the query of Distances
	ids     [scoreBatch]uint32
	keys    [scoreBatch]uint32
	fresh   [scoreBatch]uint64 // entries of a round that the beam is offered
	hops    int
	starts  []uint64 // entries that the walk of a level begins at; see searcher_descend.go
	passed  []uint64 // entries that descend scored on the last level it walked, in no order
	results []Candidate
	plan    linkPlan
	more    begun // the search under way
}

// Candidate is a slot and its distance to the query.
type Candidate struct {
	Slot     uint32
	Distance float32
	// Query is the number of the query it is nearest to, where there are several.
	Query int32
}

// SearchStats says what a search cost.
type SearchStats struct {
	// Distances is the number of distances computed.
	Distances int
	// Hops is the number of nodes whose links were read.
	Hops int
	// Plan says how the search was answered.
	Plan Plan
	// Exact tells that the result is exact: a scan on vectors gave it, as asked for, because it was the cheapest plan, or
	// because the graph gave too few.
	Exact bool
}

// Plan is a way of answering a search.
type Plan uint8

const (
	// PlanGraph walks the graph.
	PlanGraph Plan = iota + 1
	// PlanFiltered walks the graph from one allowed slot to the next, through others where allowed ones are few.
	PlanFiltered
	// PlanScan looks at every allowed slot: on codes, where walks read them, and rescores the best.
	PlanScan
)

// Acquire returns a searcher that nobody else holds. What is live now stays readable and is found through it until Release, even
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
				s.watch()
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
	s.watch()
	return s
}

// Release gives the searcher back. Results, vectors and the searcher itself may not be used afterwards.
func (s *Searcher) Release() {
	if s.closed {
		return
	}
	x := s.x
	s.more.active = false
	s.deaths, s.more.merged = nil, nil
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
	var to [1]float32
	if _, err := s.Distances(context.Background(), query, []uint32{slot}, to[:0]); err != nil {
		return float32(math.NaN())
	}
	return to[0]
}

// Distances appends to dst the distances from query, of length Dim, to the vectors of slots, at full precision and in their
// order; each was live at some time since Acquire. A search that was begun can be gone on with afterwards.
//
// Errors: *DimensionError, *VectorError, ErrNotLive for a slot that was never allocated, ErrClosed, ctx.Err(). Cost: one
// distance a slot; allocates nothing once s was asked and where dst has room.
func (s *Searcher) Distances(ctx context.Context, query []float32, slots []uint32, dst []float32) ([]float32, error) {
	if s.closed {
		return dst, ErrClosed
	}
	if s.aside == nil {
		s.aside = make([]float32, s.x.stride)
	}
	if err := s.x.prepare(s.aside, query); err != nil {
		return dst, err
	}
	most := s.x.slots.Load()
	for _, slot := range slots {
		if slot >= most {
			return dst, ErrNotLive
		}
	}
	bound, count := s.scorer.query, s.scorer.count
	s.scorer.bind(s.aside)
	defer func() { s.scorer.bind(bound); s.scorer.count = count }()
	for len(slots) > 0 {
		if err := ctx.Err(); err != nil {
			return dst, err
		}
		n := min(len(slots), contextBatches*scoreBatch)
		for batch := slots[:n]; len(batch) > 0; {
			keys := s.keys[:min(len(batch), scoreBatch)]
			s.scorer.keys(batch[:len(keys)], keys)
			for _, k := range keys {
				dst = append(dst, keyDistance(k))
			}
			batch = batch[len(keys):]
		}
		slots = slots[n:]
	}
	return dst, nil
}

// Vector returns the stored vector of a slot that was live at some time since Acquire; under Cosine it is normalised. It is
// part of the index, or under Float16 a copy: read it, do not write it, and not after Release. Nil if the index is closed.
func (s *Searcher) Vector(slot uint32) []float32 {
	if s.closed {
		return nil
	}
	return s.x.vectors.row(slot, nil)[:s.x.o.Dim:s.x.o.Dim]
}

// CopyVector copies what Vector returns to dst, of length Dim, or does nothing if the index is closed.
func (s *Searcher) CopyVector(dst []float32, slot uint32) {
	if !s.closed {
		copy(dst, s.x.vectors.row(slot, s.scorer.own)[:s.x.o.Dim])
	}
}
