package engine

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"
)

// countdown is a context whose deadline passes at its n-th look: a clock that only the search itself moves on.
type countdown struct {
	context.Context
	left   atomic.Int64
	passed chan struct{}
}

func newCountdown(t *testing.T, n int64) *countdown {
	c := &countdown{Context: t.Context(), passed: make(chan struct{})}
	c.left.Store(n)
	return c
}

func (c *countdown) Err() error {
	switch n := c.left.Add(-1); {
	case n == 0:
		close(c.passed)
		return context.DeadlineExceeded
	case n < 0:
		return context.DeadlineExceeded
	}
	return nil
}

func (c *countdown) Done() <-chan struct{} { return c.passed }

// TestPartialAnswers: wherever a deadline falls, there is no answer, or one that keeps every rule and says what it is; with more
// time it never gets smaller, and with all of it it is the whole.
func TestPartialAnswers(t *testing.T) {
	c := newTestCollection(t, exactDim, L2)
	rng := rand.New(rand.NewPCG(31, 7))
	items := rankedItems(rng, 1500)
	mustUpsert(t, c, items...)
	req := SearchRequest{
		Query: Query{Vector: exactVector(rng)}, K: 40, AllowPartial: true,
		Crowding: []CrowdingLimit{{Attribute: "artists", Most: 1}}, Diversity: 0.3, Candidates: 60, Ef: 45,
	}
	for _, exact := range []bool{false, true} {
		if req.Exact = exact; exact {
			req.Ef = 0
		}
		whole, err := c.Search(t.Context(), req)
		if err != nil || len(whole.Neighbors) != req.K || whole.Info.Completeness != Complete {
			t.Fatalf("%d neighbors, %+v, %v", len(whole.Neighbors), whole.Info, err)
		}
		partial, most := 0, 0
		for n := int64(1); ; n++ {
			res, err := searchUnder(newCountdown(t, n), c, req)
			if err != nil {
				t.Fatalf("deadline at look %d: %v", n, err)
			}
			if res.Info.Completeness == Complete {
				break
			}
			if res.Info.Completeness != PartialDeadline || (len(res.Neighbors) < req.K) != (res.Info.Shortfall == ShortOfTime) {
				t.Fatalf("deadline at look %d: %d neighbors, %+v", n, len(res.Neighbors), res.Info)
			}
			if (len(res.Neighbors) == 0) != (res.Info.Distances == 0) {
				t.Errorf("deadline at look %d: %d neighbors after %d distances", n, len(res.Neighbors), res.Info.Distances)
			}
			if len(res.Neighbors) < most {
				t.Errorf("exact %v, deadline at look %d: %d neighbors after %d with less time: %+v", exact, n, len(res.Neighbors), most, res.Info)
			}
			most = len(res.Neighbors)
			if most > 0 {
				partial++
			}
			checkLimits(t, items, res.Neighbors)
		}
		if partial == 0 {
			t.Errorf("exact %v: no deadline left a partial answer", exact)
		}
	}
	ctx, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancel()
	if _, err := c.Search(ctx, req); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("after the deadline: %v", err)
	}
}

// searchUnder searches with a deadline of its own inside the caller's, as deadline makes it.
func searchUnder(ctx context.Context, c *Collection, req SearchRequest) (SearchResult, error) {
	r := c.published.Load()
	s := r.index.Acquire()
	defer s.Release()
	a := oneProbe(req.Query.Vector, noSeed)
	result := SearchResult{}
	q := newRanked(r, s, &a, &req, &allowance{}, &result.Info)
	err := q.answer(ctx, context.Background(), &result)
	return result, err
}

func checkLimits(t *testing.T, items []Item, neighbors []Neighbor) {
	t.Helper()
	byID := map[string]Item{}
	for _, it := range items {
		byID[it.ID] = it
	}
	seen := map[string]bool{}
	for _, n := range neighbors {
		for _, a := range keywordsOf(byID[n.ItemID], "artists") {
			if seen[a] {
				t.Errorf("%s comes twice", a)
			}
			seen[a] = true
		}
	}
}
