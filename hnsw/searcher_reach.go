package hnsw

// How far the walk of a search goes. A beam of fixed width is walked until all it holds is expanded: as far for a query whose
// neighbours stand apart as for one that has hundreds about as near, and it must be wide enough for the latter. So the beam of a
// search has more room than was asked for, and its walk ends where the next node is farther than the K-th best by a margin, a
// share of the distance that grows with Ef/K. Most queries end by the margin; the hard ones, and all of data where everything is
// about as near, by the room. This is the distance adaptive beam search of Al-Jazzazi et al. 2025, whose margin is all there is.
//
// Distances and rows of links that a query reads at recall@10 of .95 / .99, walked to the end and so:
//
//	500,000 x 128 in 1,000 clusters   573 / 805, 48.9 / 86.1   547 / 638, 45.1 / 55.8
//	tracks                            218 / 397, 32.4 / 73.2   215 / 319, 31.8 / 51.6
//	mnist784                          308 / 435, 28.3 / 40.4   306 / 394, 28.1 / 35.9
//
// Uniform data needs as many either way; at an Ef of 64 it finds more for more: .991 with 2,171 where .965 took 1,394.
//
// Products are no lengths, and their walks gain nothing by a margin: inner products keep a beam of fixed width. So do filters, whose
// beams hold what they come upon. A search of several batches has a reach for each of them (searcher_more.go).

const (
	// The margin is leastMargin where Ef is K, and marginPerK more for each further K of Ef, up to mostMargin.
	leastMargin = 0.02
	marginPerK  = 0.06
	mostMargin  = 0.45

	// mostRoom is that of the widest beam that ends by a margin. Wider ones are walked to the end.
	mostRoom = 256
)

// reach says where the walk of a beam ends.
type reach struct {
	width  int     // of the beam
	k      int     // results it is for; 0: all that the beam holds is expanded
	margin float64 // by which what is expanded may be farther than the k-th best, as a share of the distance
}

// reach returns that of a search for k results, more than ef if so many there cannot be, with a beam of ef.
func (x *Index) reach(k, ef int) reach {
	k = min(k, ef)
	// A beam that can hold everything finds everything that is linked. A heap does not know its k-th best.
	if ef >= x.Len() || ef > mostRoom || x.o.Metric == InnerProduct {
		return reach{width: ef}
	}
	margin := min(leastMargin+marginPerK*(float64(ef)/float64(k)-1), mostMargin)
	return reach{width: min(2*ef-k, mostRoom, x.o.MaxSlots), k: k, margin: margin}
}

// beyond returns the entry that those out of reach are not below, as far as the beam tells now; noCandidate if it does not.
func (s *Searcher) beyond(r *reach) uint64 {
	if r.k == 0 || len(s.pool.items) < r.k {
		return noCandidate
	}
	return s.farFrom(s.pool.items[r.k-1], r.margin)
}

// nextWithin is next of the pool, for nodes within reach: below far.
func (s *Searcher) nextWithin(far uint64) (slot uint32, ok bool) {
	if far != noCandidate {
		if next, _ := s.pool.peek(); next >= far {
			return 0, false
		}
	}
	return s.pool.next()
}
