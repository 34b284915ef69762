package hnsw

import (
	"math"
	"slices"
)

// Rescoring. A walk on codes leaves a beam in the order of estimated distances. The true distances of the best of it are
// computed until no other can be expected among the k best.
//
// How far that is depends on the data: on some the codes are all but exact, on others near neighbours lie closer together
// than a step of the codec. Instead of a fixed multiple of k, the error of the estimate is measured on the entries rescored
// so far (its mean, since codes are biased, and its deviation), and the walk down the beam ends where the next estimate,
// less the mean error and rescoreSigmas deviations, is beyond the k-th best true distance.

const (
	rescoreSigmas = 2.5
	// rescoreChunk is how many more are rescored at a time.
	rescoreChunk = 16
)

// rescore replaces the beam's keys by those of true distances and moves the k best live entries to the results. entries
// ascend by estimate.
func (s *Searcher) rescore(entries []uint64, k int) {
	s.results = s.results[:0]
	s.exact = s.exact[:0]
	var n, sum, sum2 float64
	for at, chunk := 0, k+k/2; at < len(entries); chunk = rescoreChunk {
		if live := len(s.exact); live >= k && n > 1 {
			mean := sum / n
			deviation := math.Sqrt(max(0, sum2/n-mean*mean))
			next := s.code.estimate(entryKey(entries[at])) - mean - rescoreSigmas*deviation
			if next > float64(keyDistance(entryKey(s.exact[k-1]))) {
				break
			}
		}
		ids := s.ids[:0]
		first := at
		for ; at < len(entries) && len(ids) < min(chunk, scoreBatch); at++ {
			ids = append(ids, entrySlot(entries[at]))
		}
		keys := s.keys[:len(ids)]
		s.scorer.keys(ids, keys)
		for i, slot := range ids {
			e := s.code.estimate(entryKey(entries[first+i])) - float64(keyDistance(keys[i]))
			n, sum, sum2 = n+1, sum+e, sum2+e*e
			if s.x.isLive(slot) {
				s.exact = append(s.exact, packEntry(keys[i], slot))
			}
		}
		slices.Sort(s.exact)
	}
	for _, e := range s.exact[:min(k, len(s.exact))] {
		s.results = append(s.results, Candidate{Slot: entrySlot(e), Distance: keyDistance(entryKey(e))})
	}
}
