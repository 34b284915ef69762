package hnsw_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/segue-ann/segue/hnsw"
)

// countdown is a context that ends at its n-th look: a clock that only the search itself moves on.
type countdown struct {
	context.Context
	left atomic.Int64
	done chan struct{}
}

func newCountdown(n int64) *countdown {
	c := &countdown{Context: context.Background(), done: make(chan struct{})}
	c.left.Store(n)
	return c
}

func (c *countdown) look() bool {
	n := c.left.Add(-1)
	if n == 0 {
		close(c.done)
	}
	return n <= 0
}

func (c *countdown) Err() error {
	if c.look() {
		return context.DeadlineExceeded
	}
	return nil
}

// Done counts too: a search takes the channel once.
func (c *countdown) Done() <-chan struct{} { c.look(); return c.done }

// TestInterruptedMore: wherever a context ends, More gives with the error what the search holds: allowed slots, each once, with
// true distances, ascending; and with time enough it gives all.
func TestInterruptedMore(t *testing.T) {
	const dim, k = 4, 40
	const n = 9000
	x := newIndex(t, hnsw.Options{Dim: dim, Metric: hnsw.L2, M: 8, EfConstruction: 20, MaxSlots: n, Seed: 3})
	half := hnsw.NewSlotSet(n)
	for i, v := range randomVectors(7, n, dim) {
		slot, err := x.Insert(v)
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			half.Add(slot)
		}
	}
	for name, tc := range map[string]struct {
		params  hnsw.SearchParams
		queries int
	}{
		"graph":           {hnsw.SearchParams{K: k, Ef: 200}, 1},
		"filtered":        {hnsw.SearchParams{K: k, Ef: 200, Allowed: half}, 1},
		"scan":            {hnsw.SearchParams{K: k, Exact: true}, 1},
		"several queries": {hnsw.SearchParams{K: k, Ef: 300}, 3},
	} {
		t.Run(name, func(t *testing.T) {
			s := x.Acquire()
			defer s.Release()
			queries := randomVectors(8, tc.queries, dim)
			partial := 0
			for n := int64(2); ; n++ {
				ctx := newCountdown(n)
				if err := s.Begin(ctx, tc.params, queries...); err != nil {
					continue
				}
				got, _, err := s.More(ctx, k)
				if err != nil && !errors.Is(err, context.DeadlineExceeded) {
					t.Fatal(err)
				}
				if wrong := wrongBatch(s, got, queries, tc.params.Allowed); wrong != "" {
					t.Fatalf("end at look %d: %s", n, wrong)
				}
				if err == nil {
					if len(got) != k {
						t.Fatalf("%d results", len(got))
					}
					break
				}
				if len(got) > 0 {
					partial++
				}
				if _, _, err := s.More(context.Background(), 1); !errors.Is(err, hnsw.ErrNotBegun) {
					t.Fatalf("goes on after the end: %v", err)
				}
			}
			if partial == 0 {
				t.Error("nothing was ever given with an error")
			}
		})
	}
}

func wrongBatch(s *hnsw.Searcher, got []hnsw.Candidate, queries [][]float32, allowed *hnsw.SlotSet) string {
	got = append([]hnsw.Candidate(nil), got...)
	seen := map[uint32]bool{}
	for i, c := range got {
		nearest := s.Distance(queries[0], c.Slot)
		for _, q := range queries[1:] {
			nearest = min(nearest, s.Distance(q, c.Slot))
		}
		switch {
		case seen[c.Slot]:
			return fmt.Sprintf("slot %d comes twice", c.Slot)
		case allowed != nil && !allowed.Contains(c.Slot):
			return fmt.Sprintf("slot %d is not allowed", c.Slot)
		case i > 0 && c.Distance < got[i-1].Distance:
			return fmt.Sprintf("result %d is nearer than the one before", i)
		case c.Distance != nearest:
			return fmt.Sprintf("slot %d is at %v, not at %v", c.Slot, nearest, c.Distance)
		}
		seen[c.Slot] = true
	}
	return ""
}
