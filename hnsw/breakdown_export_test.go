package hnsw

import (
	"context"
	"time"

	"github.com/segue-ann/segue/internal/distance"
)

// A Part is a part of a search: what it read, and how long that took.
type Part struct {
	LinkRows  int // nodes whose links were read
	Distances int
	Time      time.Duration
}

// Parts are those of a search of the graph, one after the other.
type Parts struct {
	Descent, Level0, Rescoring Part
}

// Distances is how many all parts compute.
func (p *Parts) Distances() int {
	return p.Descent.Distances + p.Level0.Distances + p.Rescoring.Distances
}

// TakeApart is Search without a filter, one part at a time. Results are those of Search.
func TakeApart(ctx context.Context, s *Searcher, query []float32, p SearchParams) ([]Candidate, Parts, error) {
	return takeApart(ctx, s, query, p, s.x.reach(p.K, s.x.beamWidth(&p)))
}

// TakeApartToTheEnd is TakeApart with a beam of Ef, all of which is expanded.
func TakeApartToTheEnd(ctx context.Context, s *Searcher, query []float32, p SearchParams) ([]Candidate, Parts, error) {
	return takeApart(ctx, s, query, p, reach{width: s.x.beamWidth(&p)})
}

func takeApart(ctx context.Context, s *Searcher, query []float32, p SearchParams, r reach) ([]Candidate, Parts, error) {
	if err := s.begin(ctx, query, p); err != nil {
		return nil, Parts{}, err
	}
	var parts Parts
	part := func(of *Part, work func() error) error {
		hops, distances, begin := s.hops, s.scorer.count+s.code.count, time.Now()
		err := work()
		of.Time = time.Since(begin)
		of.LinkRows, of.Distances = s.hops-hops, s.scorer.count+s.code.count-distances
		return err
	}
	_ = part(&parts.Descent, func() error {
		s.bindWalk(s.query[:s.x.o.Dim])
		s.descend(s.x.entry.Load(), 0)
		return nil
	})
	err := part(&parts.Level0, func() error { return s.beam(ctx, 0, r, 0) })
	_ = part(&parts.Rescoring, func() error {
		if s.walking == nil {
			s.take(p.K)
			return nil
		}
		s.rescore(s.pool.sorted(), p.K, nil, true)
		s.give(p.K)
		return nil
	})
	return s.results, parts, err
}

// A Walk is what a walk of level 0 read, so that the kinds of its work can be done again, each without the others.
type Walk struct {
	starts []uint64
	width  int // of the beam
	rounds []round
}

type round struct {
	nodes []uint32 // one or two that were expanded
	ids   []uint32 // their unvisited neighbours
	first int      // of ids, those of the first node
	keys  []uint32
	far   uint64 // what is not below is out of reach
}

// Record walks as beam does, after a descent, and notes what is read. The searcher stays bound to the query.
func Record(s *Searcher, query []float32, p SearchParams) *Walk {
	_ = s.begin(context.Background(), query, p)
	s.bindWalk(s.query[:s.x.o.Dim])
	s.descend(s.x.entry.Load(), 0)
	w := &Walk{starts: append([]uint64(nil), s.starts...)}
	of := s.x.reach(p.K, s.x.beamWidth(&p))
	w.width = of.width
	s.enter(0, w.width, 0)
	for {
		far := s.beyond(&of)
		first, ok := s.nextWithin(far)
		if !ok {
			return w
		}
		r := round{nodes: []uint32{first}, far: far}
		n := s.gather(first, 0, 0)
		r.first = n
		if second, ok := s.nextWithin(far); ok {
			r.nodes = append(r.nodes, second)
			n = s.gather(second, 0, n)
		}
		s.walkKeys(s.ids[:n], s.keys[:n])
		r.ids, r.keys = append(r.ids, s.ids[:n]...), append(r.keys, s.keys[:n]...)
		for i, k := range r.keys {
			if e := packEntry(k, r.ids[i]); e < far {
				s.pool.offer(e)
			}
		}
		w.rounds = append(w.rounds, r)
	}
}

// Expanded and Scored return how many rows of links, and of what walks read, the walk read.
func (w *Walk) Expanded() (n int) {
	for i := range w.rounds {
		n += len(w.rounds[i].nodes)
	}
	return n
}

// Scored is the number of rows that were compared with the query.
func (w *Walk) Scored() (n int) {
	for i := range w.rounds {
		n += len(w.rounds[i].ids)
	}
	return n
}

// Links reads the links again, and what of them was visited. It reports whether that gives the same slots.
func (w *Walk) Links(s *Searcher) (same bool) {
	same = true
	s.visited.begin(s.x.slots.Load())
	for _, e := range w.starts {
		distance.Prefetch(s.x.row(entrySlot(e), 0))
		s.visited.add(entrySlot(e))
	}
	for i := range w.rounds {
		n := 0
		for _, slot := range w.rounds[i].nodes {
			n = s.gather(slot, 0, n)
		}
		if i+1 < len(w.rounds) {
			for _, slot := range w.rounds[i+1].nodes {
				distance.Prefetch(s.x.row(slot, 0))
			}
		}
		same = same && n == len(w.rounds[i].ids)
	}
	return same
}

// Rows compares the same rows with the query again, to which the searcher must be bound still.
func (w *Walk) Rows(s *Searcher) {
	for i := range w.rounds {
		r := &w.rounds[i]
		s.prefetchVectors(r.ids[:r.first])
		s.walkKeys(r.ids, s.keys[:len(r.ids)])
	}
}

// Pool makes the same offers to the pool again. It reports whether the same nodes come next.
func (w *Walk) Pool(s *Searcher) (same bool) {
	same = true
	s.pool.resetWalk(w.width, 0)
	for _, e := range w.starts {
		s.pool.offer(e &^ 1)
	}
	for i := range w.rounds {
		r := &w.rounds[i]
		for _, slot := range r.nodes {
			next, _ := s.pool.next()
			same = same && next == slot
		}
		s.pool.peek()
		copy(s.ids[:], r.ids)
		copy(s.keys[:], r.keys)
		s.offerScored(len(r.ids), 0, r.far, 0)
	}
	return same
}
