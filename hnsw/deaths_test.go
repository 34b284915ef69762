package hnsw_test

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/segue-ann/segue/hnsw"
)

// stepping is a context that runs fn at each look that a search takes at it: writes fall where the test wants them.
type stepping struct {
	context.Context
	look int
	fn   func(look int)
}

func (c *stepping) step() { c.look++; c.fn(c.look) }

func (c *stepping) Err() error            { c.step(); return nil }
func (c *stepping) Done() <-chan struct{} { c.step(); return nil }

// herd is an index of things that move: every move links a vector in a new slot and deletes the old one.
type herd struct {
	t      *testing.T
	x      *hnsw.Index
	rng    *rand.Rand
	dim    int
	slotOf []uint32          // of each thing
	vecs   map[uint32]vector // of what was linked last in each slot
	born   int
}

type vector struct {
	v    []float32
	born int // number of the birth
}

func newHerd(t *testing.T, n, dim, fitAt int) *herd {
	h := &herd{t: t, rng: rand.New(rand.NewPCG(uint64(n), uint64(fitAt))), dim: dim, vecs: map[uint32]vector{}}
	h.x = newIndex(t, hnsw.Options{Dim: dim, Metric: hnsw.L2, M: 6, EfConstruction: 20, MaxSlots: 16 * n, Seed: 3})
	hnsw.FitAt(h.x, fitAt)
	for range n {
		h.slotOf = append(h.slotOf, h.link())
	}
	return h
}

func (h *herd) link() uint32 {
	h.t.Helper()
	v := gaussian(h.rng, 1, h.dim, 1)[0]
	slot, err := h.x.Insert(v)
	if err != nil {
		h.t.Fatal(err)
	}
	h.born++
	h.vecs[slot] = vector{v, h.born}
	return slot
}

// move moves n things, some of them twice.
func (h *herd) move(n int) {
	h.t.Helper()
	for range n {
		thing := h.rng.IntN(len(h.slotOf))
		was := h.slotOf[thing]
		h.slotOf[thing] = h.link()
		if err := h.x.Delete(was); err != nil {
			h.t.Fatal(err)
		}
	}
}

// TestDeathsDuringSearch: at whatever look at its context things move under a search, it finds all that was live when its searcher
// was acquired and belongs to the result, if it is exact or gives fewer than asked for; and a walk too finds what died meanwhile. No
// slot comes twice, none that died before, and every distance is true.
func TestDeathsDuringSearch(t *testing.T) {
	const things, dim, moved = 1500, 4, 40
	for _, codes := range []bool{false, true} {
		fitAt := 1 << 30
		if codes {
			fitAt = 64
		}
		h := newHerd(t, things, dim, fitAt)
		for name, mode := range map[string]struct {
			exact, filtered, begun bool
			force                  hnsw.Plan
			queries, k             int
		}{
			"graph, few":         {k: 10},
			"graph, all":         {k: 2 * things},
			"exact, few":         {k: 10, exact: true},
			"exact, all":         {k: 2 * things, exact: true},
			"filtered walk":      {k: 10, filtered: true, force: hnsw.PlanFiltered},
			"filtered walk, all": {k: 2 * things, filtered: true, force: hnsw.PlanFiltered},
			"filtered scan":      {k: 10, filtered: true, force: hnsw.PlanScan},
			"filtered scan, all": {k: 2 * things, filtered: true, force: hnsw.PlanScan},
			"filtered, exact":    {k: 300, filtered: true, exact: true},
			"begun":              {k: 200, begun: true},
			"begun, exact":       {k: 300, begun: true, exact: true},
			"begun, filtered":    {k: 150, begun: true, filtered: true},
			"three queries":      {k: 200, begun: true, queries: 3},
		} {
			t.Run(fmt.Sprintf("%s, codes %t", name, codes), func(t *testing.T) {
				h.t = t
				hnsw.Force(h.x, mode.force)
				defer hnsw.Force(h.x, 0)
				for at := 1; ; at++ {
					before := h.born
					s := h.x.Acquire()
					var allowed *hnsw.SlotSet
					if mode.filtered {
						allowed = hnsw.NewSlotSet(h.x.Slots())
						for thing := 0; thing < things; thing += 3 {
							allowed.Add(h.slotOf[thing])
						}
					}
					wasLive := slices.Clone(h.slotOf)
					h.move(moved) // before the search, and after Acquire
					queries := gaussian(h.rng, max(1, mode.queries), dim, 1)
					ctx := &stepping{t.Context(), 0, func(look int) {
						if look >= at && look < at+2 {
							h.move(moved)
						}
					}}
					p := hnsw.SearchParams{K: mode.k, Ef: 2 * mode.k, Allowed: allowed, Exact: mode.exact}
					var got []hnsw.Candidate
					var short bool
					for more := true; more; {
						var batch []hnsw.Candidate
						var err error
						switch {
						case !mode.begun:
							batch, _, err = s.Search(ctx, queries[0], p)
						case len(got) == 0:
							if err = s.Begin(ctx, p, queries...); err == nil {
								batch, _, err = s.More(ctx, mode.k)
							}
						default:
							batch, _, err = s.More(ctx, mode.k)
						}
						if err != nil {
							t.Fatal(err)
						}
						got = append(got, batch...)
						short = len(batch) < mode.k
						more = mode.begun && !short
					}
					h.verify(t, queries, got, short, mode.exact, wasLive, before, allowed)
					s.Release()
					if ctx.look < at || t.Failed() {
						break
					}
				}
				if err := h.x.Check(); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// verify checks a result of a search whose searcher was acquired when wasLive was live and before slots had been born.
func (h *herd) verify(t *testing.T, queries [][]float32, got []hnsw.Candidate, short, exact bool, wasLive []uint32, before int, allowed *hnsw.SlotSet) {
	t.Helper()
	truth := &model{metric: hnsw.L2}
	distance := func(slot uint32) float64 {
		d := truth.distance(queries[0], h.vecs[slot].v)
		for _, q := range queries[1:] {
			d = min(d, truth.distance(q, h.vecs[slot].v))
		}
		return d
	}
	slices.SortFunc(got, func(a, b hnsw.Candidate) int { return cmp.Compare(a.Distance, b.Distance) })
	found := map[uint32]bool{}
	for _, c := range got {
		if found[c.Slot] {
			t.Errorf("slot %d twice", c.Slot)
		}
		found[c.Slot] = true
		if allowed != nil && !allowed.Contains(c.Slot) {
			t.Errorf("slot %d is not allowed", c.Slot)
		}
		if h.vecs[c.Slot].born <= before && !slices.Contains(wasLive, c.Slot) {
			t.Errorf("slot %d died before the searcher was acquired", c.Slot)
		}
		if want := distance(c.Slot); want-float64(c.Distance) > tolerance(want) || float64(c.Distance)-want > tolerance(want) {
			t.Errorf("slot %d at %g, truly at %g", c.Slot, c.Distance, want)
		}
	}
	isLive := map[uint32]bool{}
	for _, slot := range h.slotOf {
		isLive[slot] = true
	}
	missed := 0
	for _, slot := range wasLive {
		if found[slot] || allowed != nil && !allowed.Contains(slot) {
			continue
		}
		nearer := short || distance(slot) < float64(got[len(got)-1].Distance)-tolerance(1)
		if nearer && (short || exact || !isLive[slot]) {
			missed++
		}
	}
	if missed > 0 {
		t.Errorf("%d slots that were live when the searcher was acquired are missing among %d", missed, len(got))
	}
}

// TestDeathsOfBacklog: what waits, and is deleted after a searcher was acquired, is found by it; what was hidden before is not, whether
// or not it is deleted meanwhile.
func TestDeathsOfBacklog(t *testing.T) {
	const n, dim = 400, 4
	h := newHerd(t, n, dim, 1<<30)
	x := h.x
	var waiting []uint32
	for range 50 {
		v := gaussian(h.rng, 1, dim, 1)[0]
		slot, err := x.Allocate(v)
		if err != nil {
			t.Fatal(err)
		}
		waiting = append(waiting, slot)
	}
	if err := x.Await(waiting...); err != nil {
		t.Fatal(err)
	}
	hidden := h.slotOf[:50]
	for _, slot := range hidden {
		if err := x.Hide(slot); err != nil {
			t.Fatal(err)
		}
	}
	s := x.Acquire()
	defer s.Release()
	for _, p := range []hnsw.SearchParams{{K: 3 * n}, {K: 3 * n, Exact: true}} {
		ctx := &stepping{t.Context(), 0, func(int) {
			if len(waiting) == 0 {
				return
			}
			// A waiting one goes, one is linked and goes, a hidden one goes.
			for i, slot := range []uint32{waiting[0], waiting[1], hidden[0]} {
				if i == 1 {
					if err := x.Link(slot); err != nil {
						t.Fatal(err)
					}
				}
				if err := x.Delete(slot); err != nil {
					t.Fatal(err)
				}
			}
			waiting, hidden = waiting[2:], hidden[1:]
		}}
		for ctx.look < 12 {
			got, _, err := s.Search(ctx, make([]float32, dim), p)
			if err != nil {
				t.Fatal(err)
			}
			found := map[uint32]bool{}
			for _, c := range got {
				found[c.Slot] = true
			}
			if len(found) != len(got) || len(got) != n {
				t.Fatalf("%d results, %d slots, want %d", len(got), len(found), n)
			}
			for _, slot := range h.slotOf[:50] {
				if found[slot] {
					t.Errorf("slot %d is found, which was hidden", slot)
				}
			}
		}
	}
}

// TestSearchWhileThingsMove has things move without end while searches of every kind run: what a search that asks for everything does
// not give was not live all the while.
func TestSearchWhileThingsMove(t *testing.T) {
	const things, dim = 300, 4
	rounds := 3000
	if testing.Short() {
		rounds = 1000
	}
	h := newHerd(t, things, dim, 64)
	var stop atomic.Bool
	var reading sync.WaitGroup
	// current[i] is the slot of thing i, looked up as a table would be: after Acquire.
	var current [things]atomic.Uint32
	for i, slot := range h.slotOf {
		current[i].Store(slot)
	}
	for r := range 4 {
		reading.Go(func() {
			rng := rand.New(rand.NewPCG(51, uint64(r)))
			for !stop.Load() {
				s := h.x.Acquire()
				var want []uint32
				// As many as there are slots in all: a reader that rests for long finds all that died meanwhile.
				p := hnsw.SearchParams{K: things + rounds, Ef: 16, Exact: r&1 == 1}
				if r&2 == 2 {
					p.Allowed = hnsw.NewSlotSet(h.x.Slots())
				}
				for i := range current {
					slot := current[i].Load()
					want = append(want, slot)
					if r&2 == 2 {
						p.Allowed.Add(slot)
					}
				}
				got, _, err := s.Search(t.Context(), gaussian(rng, 1, dim, 1)[0], p)
				if err != nil {
					t.Error(err)
				}
				found := map[uint32]bool{}
				for _, c := range got {
					if found[c.Slot] {
						t.Errorf("slot %d twice", c.Slot)
					}
					found[c.Slot] = true
				}
				for _, slot := range want {
					if !found[slot] {
						t.Errorf("reader %d: slot %d is missing among %d", r, slot, len(got))
					}
				}
				s.Release()
				if t.Failed() {
					return
				}
			}
		})
	}
	defer reading.Wait() // also where link ends the test
	defer stop.Store(true)
	for range rounds {
		thing := h.rng.IntN(things)
		was := h.slotOf[thing]
		h.slotOf[thing] = h.link() // the index has room for all of them, should a reader rest for long
		current[thing].Store(h.slotOf[thing])
		if err := h.x.Delete(was); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			break
		}
	}
	stop.Store(true)
	reading.Wait()
	if err := h.x.Check(); err != nil {
		t.Error(err)
	}
}
