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
	// missesSampled is how many estimates of a scan are checked; see sampleMisses.
	missesSampled = 32
)

// misses are the errors of the estimates seen in one search.
type misses struct {
	n, sum, sum2 float64
	sampled      bool // they are of slots taken at random; others are not added
}

func (m *misses) add(e float64) { m.n, m.sum, m.sum2 = m.n+1, m.sum+e, m.sum2+e*e }

// likely returns how much more than the true distance an estimate is at most, by all likelihood; ok is false before there
// were any.
func (m *misses) likely() (most float64, ok bool) {
	if m.n <= 1 {
		return 0, false
	}
	mean := m.sum / m.n
	return mean + rescoreSigmas*math.Sqrt(max(0, m.sum2/m.n-mean*mean)), true
}

// rescore makes s.exact hold, ascending, the k nearest slots by true distance of what it holds and of entries, which ascend
// by estimate; or all, if there are fewer. It reports whether it stopped before their end, because no other can be expected
// among the k best. Slots in taken, where there is one, are passed over, and those rescored put into it; where check is
// set, slots that are not live now are left out.
func (s *Searcher) rescore(entries []uint64, k int, taken *visited, check bool) (sure bool) {
	for at, chunk := 0, k+k/2; at < len(entries); chunk = rescoreChunk {
		if s.cannotEnter(entryKey(entries[at]), k) {
			return true
		}
		chunk := entries[at:min(at+min(chunk, scoreBatch), len(entries))]
		at += len(chunk)
		s.rescoreAll(chunk, taken, check)
	}
	return false
}

// rescoreAll is rescore of at most scoreBatch entries, all of them.
func (s *Searcher) rescoreAll(entries []uint64, taken *visited, check bool) {
	n := 0
	var estimates [scoreBatch]uint32
	for _, e := range entries {
		if slot := entrySlot(e); (!check || s.x.isLive(slot)) && (taken == nil || taken.add(slot)) {
			s.ids[n], estimates[n] = slot, entryKey(e)
			n++
		}
	}
	keys := s.keys[:n]
	s.trueKeys(s.ids[:n], keys)
	for i, slot := range s.ids[:n] {
		if !s.missed.sampled {
			s.missed.add(s.estimate(estimates[i]) - float64(keyDistance(keys[i])))
		}
		s.exact = append(s.exact, packEntry(keys[i], slot))
	}
	slices.Sort(s.exact)
}

// sampleMisses rescores a few of entries at even distances, to see the errors of estimates that were not chosen for being low.
// The lowest estimates are low by luck, and what they say of their errors is too good where many are nearly as near: of what a
// filter leaves far from the query, or of an outlier's neighbors.
func (s *Searcher) sampleMisses(entries []uint64) {
	var sample [missesSampled]uint64
	n := 0
	for step := max(1, len(entries)/missesSampled); n < missesSampled && n*step < len(entries); n++ {
		sample[n] = entries[n*step]
	}
	s.rescoreAll(sample[:n], &s.more.taken, s.more.walked)
	s.missed.sampled = n > 1
}

// cannotEnter reports that a slot with the given key of a walk, or a higher one, can not be expected among the k best.
func (s *Searcher) cannotEnter(key uint32, k int) bool {
	most, ok := s.missed.likely()
	return ok && len(s.exact) >= k && s.estimate(key)-most > float64(keyDistance(entryKey(s.exact[k-1])))
}
