package hnsw_test

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/segue-ann/segue/hnsw"
)

// life is one vector in a slot, from its Link to its Delete.
type life struct {
	vec  []float32
	died atomic.Int64 // when its Delete had returned; 0 while that did not happen
}

// TestStress runs inserters, deleters, searchers and snapshots at once. Every slot a search returns must have been live at
// some time during the search, at the distance of the vector that was in it then; in the end every rule of the index must
// hold and exactly what was not deleted be there. Meant for -race, where it sees slots that are reused too early.
func TestStress(t *testing.T) {
	for _, metric := range []hnsw.Metric{hnsw.Cosine, hnsw.InnerProduct, hnsw.L2} {
		t.Run(metric.String(), func(t *testing.T) { stress(t, metric) })
	}
}

func stress(t *testing.T, metric hnsw.Metric) {
	const dim, maxSlots, writers, rounds, population = 6, 2000, 3, 400, 60
	x := newIndex(t, hnsw.Options{Dim: dim, Metric: metric, MaxSlots: maxSlots, M: 6, EfConstruction: 16, Seed: 3})
	hnsw.FitAt(x, 64)
	truth := &model{metric: metric}
	var (
		clock atomic.Int64
		// lives is what is, or was last, in a slot. It is set before Link, so it does not change while a searcher holds the
		// slot back from reuse.
		lives [maxSlots]atomic.Pointer[life]
		left  atomic.Int64
		stop  atomic.Bool

		writing, reading sync.WaitGroup
	)
	for w := range writers {
		writing.Go(func() {
			rng := rand.New(rand.NewPCG(41, uint64(w)))
			var mine []uint32
			for range rounds {
				if len(mine) == population || len(mine) > 0 && rng.IntN(3) == 0 {
					i := rng.IntN(len(mine))
					slot := mine[i]
					was := lives[slot].Load()
					mine[i] = mine[len(mine)-1]
					mine = mine[:len(mine)-1]
					if err := x.Delete(slot); err != nil {
						t.Errorf("delete of slot %d: %v", slot, err)
						return
					}
					// Another writer may have the slot by now; this life of it is over.
					was.died.Store(clock.Add(1))
					continue
				}
				vec := gaussian(rng, 1, dim, 1)[0]
				slot, err := x.Allocate(vec)
				if errors.Is(err, hnsw.ErrFull) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				lives[slot].Store(&life{vec: vec})
				if err := x.Link(slot); err != nil {
					t.Error(err)
					return
				}
				mine = append(mine, slot)
			}
			left.Add(int64(len(mine)))
		})
	}
	for r := range 3 {
		reading.Go(func() {
			rng := rand.New(rand.NewPCG(43, uint64(r)))
			for !stop.Load() {
				query := gaussian(rng, 1, dim, 1)[0]
				began := clock.Load()
				s := x.Acquire()
				search := func() ([]hnsw.Candidate, hnsw.SearchStats, error) {
					return s.Search(context.Background(), query, hnsw.SearchParams{K: 8, Ef: 24})
				}
				if r == 0 {
					search = func() ([]hnsw.Candidate, hnsw.SearchStats, error) {
						return s.Search(context.Background(), query, hnsw.SearchParams{K: 8, Exact: true})
					}
				}
				got, _, err := search()
				if err != nil {
					t.Error(err)
				}
				seen := map[uint32]bool{}
				for _, c := range got {
					found := lives[c.Slot].Load()
					if at := found.died.Load(); at != 0 && at <= began {
						t.Errorf("slot %d died at %d, before the search began at %d", c.Slot, at, began)
					}
					if want := truth.distance(query, found.vec); math.Abs(want-float64(c.Distance)) > tolerance(want) {
						t.Errorf("slot %d at %g, its vector lies at %g", c.Slot, c.Distance, want)
					}
					if seen[c.Slot] {
						t.Errorf("slot %d twice", c.Slot)
					}
					seen[c.Slot] = true
				}
				s.Release()
			}
		})
	}
	reading.Go(func() {
		for !stop.Load() {
			snap, err := x.BeginSnapshot()
			if err != nil {
				t.Error(err)
				return
			}
			for _, sec := range snap.Sections() {
				for n := range sec.Slabs {
					if _, err := snap.AppendSlab(nil, sec.Name, n); err != nil {
						t.Error(err)
					}
				}
			}
			snap.Close()
		}
	})
	writing.Wait()
	stop.Store(true)
	reading.Wait()
	if err := x.Check(); err != nil {
		t.Error(err)
	}
	if x.Len() != int(left.Load()) {
		t.Errorf("%d live, want %d", x.Len(), left.Load())
	}
}
