package hnsw

import (
	"math"

	"github.com/segue-ann/segue/internal/distance"
)

// The descent. HNSW walks greedily through the levels above 0 and begins the beam at the one node it arrives at. Where data
// is in clusters that is a gamble: about the query several clusters are as near as a level can show, and a beam that begins
// in the wrong one must climb out of it, for which it must be wide. So on every level all nodes are expanded whose distance is
// about the least, and the walk below begins at all of them.
//
// How many that are depends on the data, as it should: on 500,000 x 128 in 1,000 clusters a query compares 240 nodes of the
// upper levels, where the greedy walk compares 100; on tracks and mnist784 a dozen more. Distances a query at recall@10 of .90 /
// .95 / .99, greedily and so: clusters 692 / 811 / 1137 and 516 / 605 / 850; mnist784 272 / 293 / 414 and 284 / 300 / 415. A
// beam of fixed width finds the clusters as well, and costs half as much again on mnist784. The margin is that of Al-Jazzazi et
// al. 2025 (distance adaptive beam search), which they prove things about for the beam itself.

const (
	// descentWidth is the most nodes of a level that the walk below begins at.
	descentWidth = 32
	// descentMargin is the share by which the distance of a node that is expanded may exceed the least. At .10 clusters need 5 to
	// 12 % more distances, at .20 mnist784 needs 5 % more.
	descentMargin = 0.12
)

// descend walks from the entry point through the levels above floor, and leaves in starts where the walk of floor begins.
func (s *Searcher) descend(entry uint64, floor int) {
	slot, level := unpackEntryPoint(entry)
	s.starts = append(s.starts[:0], packEntry(s.walkKey(slot), slot))
	for ; level > floor; level-- {
		s.passed = s.passed[:0]
		s.enter(level, descentWidth, 0)
		far := s.farFrom(s.pool.items[0], descentMargin)
		for {
			first, second := s.pool.peek()
			if first >= far {
				break
			}
			n := s.expand(level, 0)
			if second < far {
				s.prefetchVectors(s.ids[:n])
				n = s.expand(level, n)
			}
			keys := s.keys[:n]
			s.walkKeys(s.ids[:n], keys)
			best := s.pool.items[0]
			for i, k := range keys {
				e := packEntry(k, s.ids[i])
				s.passed = append(s.passed, e)
				if e < far {
					distance.Prefetch(s.x.row(s.ids[i], level))
					s.pool.offer(e)
				}
			}
			if nearest := s.pool.items[0]; nearest < best {
				far = s.farFrom(nearest, descentMargin)
			}
		}
		s.starts = append(s.starts[:0], s.pool.items[:search(s.pool.items, far)]...)
	}
}

// expand gathers the unvisited neighbours of the next node of the pool, which has one.
func (s *Searcher) expand(level, n int) int {
	slot, _ := s.pool.next()
	s.hops++
	return s.gather(slot, level, n)
}

// farFrom returns the entry that those whose distance exceeds that of e by more than a share of it are not below.
func (s *Searcher) farFrom(e uint64, margin float64) uint64 {
	key := entryKey(e)
	if s.walking != nil {
		key = s.code.farther(key, margin)
	} else {
		d := keyDistance(key)
		key = distanceKey(d + float32(margin)*float32(math.Abs(float64(d))))
	}
	return packEntry(key, 0) | (1<<32 - 1)
}
