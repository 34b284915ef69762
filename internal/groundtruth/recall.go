package groundtruth

import (
	"fmt"
	"math"
)

// Tolerance is what a result may be farther than the k-th true neighbour and still count, as a share of the size of the
// numbers summed; see the package comment. It is 16 roundings of a float32.
const Tolerance = 1e-6

// Truth is what recall of one query needs: the distance within which a result counts, and how many there are to find.
type Truth struct {
	Limit float64 // distance of the k-th true neighbour, tolerance included
	K     int     // neighbours to find: k, or the number of rows if that is lower
}

// Truth returns the truth of query for its k nearest rows, the last of which is farthest; nearest is what [Oracle.TopK]
// returned, or true neighbours from a file.
func (o *Oracle) Truth(query []float32, nearest []Neighbor) Truth {
	if len(nearest) == 0 {
		return Truth{Limit: math.Inf(-1)}
	}
	last := nearest[len(nearest)-1]
	return Truth{Limit: last.Distance + o.slack(query, last), K: len(nearest)}
}

func (o *Oracle) slack(query []float32, n Neighbor) float64 {
	switch o.metric {
	case Cosine:
		return Tolerance
	case InnerProduct:
		return Tolerance * math.Sqrt(dot(query, query)) * o.norms[n.Row]
	}
	return Tolerance * n.Distance
}

// Truths returns the truth of every query in queries (row after row): nearest[i] are the nearest rows of query i.
func (o *Oracle) Truths(queries []float32, nearest [][]Neighbor) []Truth {
	o.check(queries)
	out := make([]Truth, len(nearest))
	for i, n := range nearest {
		out[i] = o.Truth(queries[i*o.dim:(i+1)*o.dim], n)
	}
	return out
}

// Hits returns how many of rows, the result of a search for query, count: see the package comment. A row beyond the base
// is an error in the search and panics.
func (o *Oracle) Hits(query []float32, t Truth, rows []uint32) int {
	hits := 0
	for i, row := range rows {
		if int(row) >= o.Len() {
			panic(fmt.Sprintf("groundtruth: row %d of %d", row, o.Len()))
		}
		if !repeated(rows[:i], row) && o.Distance(query, row) <= t.Limit {
			hits++
		}
	}
	return min(hits, t.K)
}

func repeated(rows []uint32, row uint32) bool {
	for _, r := range rows {
		if r == row {
			return true
		}
	}
	return false
}

// Recall returns the share of the true neighbours of all queries that results found: results[i] are the rows found for
// query i, at most k of them. It is 1 when there was nothing to find.
func (o *Oracle) Recall(queries []float32, truths []Truth, results [][]uint32) float64 {
	o.check(queries)
	if len(truths) != len(results) {
		panic(fmt.Sprintf("groundtruth: %d results for %d queries", len(results), len(truths)))
	}
	found, want := 0, 0
	for i, t := range truths {
		found += o.Hits(queries[i*o.dim:(i+1)*o.dim], t, results[i])
		want += t.K
	}
	if want == 0 {
		return 1
	}
	return float64(found) / float64(want)
}
