package replay

import (
	"cmp"
	"slices"
	"time"

	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// worst is how many of the queries that differ most a report names.
const worst = 10

// Report is what a run saw.
type Report struct {
	Queries int
	Elapsed time.Duration
	A       *Side
	// B, and what follows, only where there are two targets.
	B *Side
	// Compared is how many queries both answered, Identical on how many they gave the same items in the same order.
	Compared, Identical int
	// Overlap is the mean of overlap@k: the share of the items of the longer answer that both have, 1 where both are empty.
	Overlap float64
	// Common is how many items both gave to a query, all queries together; MeanScoreDifference and MaxScoreDifference are of
	// their scores.
	Common                                  int
	MeanScoreDifference, MaxScoreDifference float64
	// Worst are the queries with the least overlap, below 1, least first.
	Worst []Difference
}

// Difference is a query that two targets answer differently.
type Difference struct {
	// Query counts from 0.
	Query   int
	Overlap float64
	Request *seguev1.NearestNeighborsRequest
}

// compare takes an answer of both in. The sums become means in finish.
func (r *Report) compare(q query, a, b *seguev1.NearestNeighborsResponse) {
	as, bs := a.GetNeighbors(), b.GetNeighbors()
	scores := make(map[string]float64, len(as))
	for _, n := range as {
		scores[n.GetItemId()] = float64(n.GetScore())
	}
	common := 0
	for _, n := range bs {
		score, ok := scores[n.GetItemId()]
		if !ok {
			continue
		}
		common++
		d := score - float64(n.GetScore())
		d = max(d, -d)
		r.MeanScoreDifference += d
		r.MaxScoreDifference = max(r.MaxScoreDifference, d)
	}
	overlap := 1.0
	if longer := max(len(as), len(bs)); longer > 0 {
		overlap = float64(common) / float64(longer)
	}
	r.Compared++
	r.Common += common
	r.Overlap += overlap
	if slices.EqualFunc(as, bs, func(x, y *seguev1.Neighbor) bool { return x.GetItemId() == y.GetItemId() }) {
		r.Identical++
	}
	if overlap == 1 || len(r.Worst) == worst && overlap > r.Worst[worst-1].Overlap {
		return
	}
	r.Worst = append(r.Worst, Difference{Query: q.n, Overlap: overlap, Request: q.req})
	slices.SortFunc(r.Worst, func(x, y Difference) int {
		return cmp.Or(cmp.Compare(x.Overlap, y.Overlap), cmp.Compare(x.Query, y.Query))
	})
	r.Worst = r.Worst[:min(worst, len(r.Worst))]
}

func (r *Report) finish() {
	if r.Compared > 0 {
		r.Overlap /= float64(r.Compared)
	}
	if r.Common > 0 {
		r.MeanScoreDifference /= float64(r.Common)
	}
}
