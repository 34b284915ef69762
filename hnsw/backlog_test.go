package hnsw_test

import (
	"cmp"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/segue-ann/segue/hnsw"
)

// backlogWorld is a world in which some slots wait and some are hidden. live holds what searches must find: linked slots that
// are not hidden, and waiting ones.
type backlogWorld struct {
	*world
	waiting, hidden []uint32
}

func (w *backlogWorld) take(t *rapid.T, from *[]uint32) (slot uint32, ok bool) {
	if len(*from) == 0 {
		return 0, false
	}
	i := rapid.IntRange(0, len(*from)-1).Draw(t, "which")
	slot = (*from)[i]
	*from = slices.Delete(*from, i, i+1)
	return slot, true
}

// linked are the slots that a search finds and that do not wait.
func (w *backlogWorld) linked() []uint32 {
	var all []uint32
	for slot := range w.live {
		if !slices.Contains(w.waiting, slot) {
			all = append(all, slot)
		}
	}
	slices.Sort(all)
	return all
}

func must(t *rapid.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// step changes the index in one of the ways in which a backlog grows and shrinks.
func (w *backlogWorld) step(t *rapid.T) {
	x := w.x
	switch rapid.IntRange(0, 7).Draw(t, "step") {
	case 0, 1: // a few come and wait
		var slots []uint32
		for range rapid.IntRange(1, 8).Draw(t, "come") {
			v := drawVector(t, w.dim, w.metric)
			slot, err := x.Allocate(v)
			if errors.Is(err, hnsw.ErrFull) {
				break
			}
			must(t, err)
			if w.live[slot] != nil || slices.Contains(w.hidden, slot) {
				t.Fatalf("slot %d is given out while it is in use", slot)
			}
			w.live[slot] = v
			slots = append(slots, slot)
		}
		must(t, x.Await(slots...))
		w.waiting = append(w.waiting, slots...)
	case 2: // one is linked, and not in the order in which they came
		if slot, ok := w.take(t, &w.waiting); ok {
			must(t, x.Link(slot))
		}
	case 3: // the first few are linked
		for _, slot := range x.NextWaiting(nil, rapid.IntRange(1, 5).Draw(t, "first")) {
			must(t, x.Link(slot))
			w.waiting = slices.DeleteFunc(w.waiting, func(s uint32) bool { return s == slot })
		}
	case 4: // one that waits is deleted
		if slot, ok := w.take(t, &w.waiting); ok {
			del := x.Delete
			if rapid.Bool().Draw(t, "hide") {
				del = x.Hide
			}
			must(t, del(slot))
			delete(w.live, slot)
		}
	case 5: // a linked one is hidden
		all := w.linked()
		if slot, ok := w.take(t, &all); ok {
			must(t, x.Hide(slot))
			delete(w.live, slot)
			w.hidden = append(w.hidden, slot)
		}
	case 6: // a hidden one is deleted
		for _, slot := range x.NextHidden(nil, 1) {
			must(t, x.Delete(slot))
			w.hidden = slices.DeleteFunc(w.hidden, func(s uint32) bool { return s == slot })
		}
	case 7: // a linked one is deleted as ever, or one comes
		all := w.linked()
		if slot, ok := w.take(t, &all); ok && rapid.Bool().Draw(t, "delete") {
			must(t, x.Delete(slot))
			delete(w.live, slot)
			return
		}
		v := drawVector(t, w.dim, w.metric)
		slot, err := x.Insert(v)
		if !errors.Is(err, hnsw.ErrFull) {
			must(t, err)
			w.live[slot] = v
		}
	}
	waiting, hidden := x.Backlog()
	if waiting != len(w.waiting) || hidden != len(w.hidden) {
		t.Fatalf("backlog of %d and %d, want %d and %d", waiting, hidden, len(w.waiting), len(w.hidden))
	}
	switch s, err := x.BeginSnapshot(); {
	case waiting+hidden > 0 && !errors.Is(err, hnsw.ErrBacklog):
		t.Fatalf("an image with a backlog: %v", err)
	case waiting+hidden == 0:
		must(t, err)
		s.Close()
	}
}

// search compares every kind of search, with a beam as wide as the index, with brute force.
func (w *backlogWorld) search(t *rapid.T) {
	s := w.x.Acquire()
	defer s.Release()
	q := drawVector(t, w.dim, w.metric)
	k := rapid.IntRange(1, 30).Draw(t, "k")
	set, truth := w.drawFilter(t)
	if set == nil {
		truth = &w.model
	}
	p := hnsw.SearchParams{K: k, Ef: 600, Allowed: set, Exact: rapid.Bool().Draw(t, "exact")}
	found, stats, err := s.Search(context.Background(), q, p)
	must(t, err)
	truth.verify(t, "search", q, k, found)
	if stats.Distances < min(k, len(truth.live)) {
		t.Fatalf("%d distances for %d results", stats.Distances, len(found))
	}
	must(t, s.Begin(context.Background(), p, q))
	var all []hnsw.Candidate
	for {
		more, _, err := s.More(context.Background(), k)
		must(t, err)
		all = append(all, more...)
		if len(more) < k {
			break
		}
	}
	// A later batch can hold what is nearer than the last of the batch before.
	slices.SortFunc(all, func(a, b hnsw.Candidate) int {
		return cmp.Or(cmp.Compare(a.Distance, b.Distance), cmp.Compare(a.Slot, b.Slot))
	})
	truth.verify(t, "begun search", q, len(truth.live)+1, all)
	// To the nearer of two queries.
	must(t, s.Begin(context.Background(), p, q, drawVector(t, w.dim, w.metric)))
	more, _, err := s.More(context.Background(), len(truth.live)+1)
	must(t, err)
	seen := map[uint32]bool{}
	for _, c := range more {
		if truth.live[c.Slot] == nil || seen[c.Slot] {
			t.Fatalf("slot %d, live %t, again %t", c.Slot, truth.live[c.Slot] != nil, seen[c.Slot])
		}
		seen[c.Slot] = true
	}
	if len(seen) != len(truth.live) {
		t.Fatalf("two queries find %d of %d", len(seen), len(truth.live))
	}
}

// TestBacklogModel: whatever waits and whatever is hidden, in whatever order it is worked off, every search answers as if it
// had been linked and deleted at once.
func TestBacklogModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &backlogWorld{world: drawWorld(t)}
		defer func() { w.x.Close() }()
		for range rapid.IntRange(1, 25).Draw(t, "steps") {
			w.step(t)
			if rapid.IntRange(0, 2).Draw(t, "look") == 0 {
				w.search(t)
			}
		}
		must(t, w.x.Check())
		for _, slot := range w.x.NextWaiting(nil, 1<<20) {
			must(t, w.x.Link(slot))
		}
		for _, slot := range w.x.NextHidden(nil, 1<<20) {
			must(t, w.x.Delete(slot))
		}
		if waiting, hidden := w.x.Backlog(); waiting+hidden > 0 {
			t.Fatalf("%d wait and %d are hidden in the end", waiting, hidden)
		}
		w.waiting, w.hidden = nil, nil
		w.search(t)
		must(t, w.x.Check())
		if w.x.Len() != len(w.live) {
			t.Fatalf("%d live, want %d", w.x.Len(), len(w.live))
		}
	})
}

func TestBacklogRefuses(t *testing.T) {
	x := newIndex(t, hnsw.Options{Dim: 2, Metric: hnsw.L2, MaxSlots: 8})
	live, err := x.Insert([]float32{1, 2})
	if err != nil {
		t.Fatal(err)
	}
	slot, err := x.Allocate([]float32{3, 4})
	if err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"await what is live":                x.Await(live),
		"await what was never allocated":    x.Await(7),
		"await one that is and one that is": x.Await(slot, live),
	} {
		if !errors.Is(err, hnsw.ErrNotAllocated) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if waiting, _ := x.Backlog(); waiting != 0 {
		t.Errorf("%d wait after refusals", waiting)
	}
	for what, err := range map[string]error{"allocated": x.Hide(slot), "never allocated": x.Hide(7)} {
		if !errors.Is(err, hnsw.ErrNotLive) {
			t.Errorf("hide what is %s: %v", what, err)
		}
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{"await": x.Await(slot), "hide": x.Hide(live)} {
		if !errors.Is(err, hnsw.ErrClosed) {
			t.Errorf("%s on a closed index: %v", what, err)
		}
	}
}

// TestBacklogWhileSearched links and deletes a backlog from several goroutines while others search: at every moment each
// waiting slot is found at its own vector, and no hidden one ever is.
func TestBacklogWhileSearched(t *testing.T) {
	const dim, base, more = 8, 400, 200
	rng := rand.New(rand.NewPCG(3, 9))
	x := newIndex(t, hnsw.Options{Dim: dim, Metric: hnsw.L2, MaxSlots: 4096})
	hnsw.FitAt(x, 100)
	vecs := gaussian(rng, base+more, dim, 1)
	hidden := map[uint32]bool{}
	for i, v := range vecs[:base] {
		slot := mustInsert(t, x, v)
		if i%4 == 0 {
			hidden[slot] = true
		}
	}
	for slot := range hidden {
		if err := x.Hide(slot); err != nil {
			t.Fatal(err)
		}
	}
	waiting := make([]uint32, more)
	for i, v := range vecs[base:] {
		slot, err := x.Allocate(v)
		if err != nil {
			t.Fatal(err)
		}
		waiting[i] = slot
	}
	if err := x.Await(waiting...); err != nil {
		t.Fatal(err)
	}
	var next atomic.Int64
	var workers, searchers sync.WaitGroup
	for range 3 {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < more; i = int(next.Add(1)) - 1 {
				if err := x.Link(waiting[i]); err != nil {
					t.Error(err)
				}
			}
		})
	}
	workers.Go(func() {
		for slots := x.NextHidden(nil, 8); len(slots) > 0; slots = x.NextHidden(slots[:0], 8) {
			for _, slot := range slots {
				if err := x.Delete(slot); err != nil {
					t.Error(err)
				}
			}
		}
	})
	done := make(chan struct{})
	for g := range 2 {
		searchers.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(g), 4))
			for last := false; !last; {
				select {
				case <-done:
					last = true // once more, on the settled index
				default:
				}
				i := rng.IntN(more)
				s := x.Acquire()
				found, _, err := s.Search(context.Background(), vecs[base+i], hnsw.SearchParams{K: 10, Ef: 200, Exact: i%3 == 0})
				if err != nil || len(found) != 10 || found[0].Slot != waiting[i] || found[0].Distance != 0 {
					t.Errorf("item %d in slot %d: found %v, %v", i, waiting[i], found, err)
					last = true
				}
				for _, c := range found {
					if hidden[c.Slot] {
						t.Errorf("hidden slot %d is found", c.Slot)
						last = true
					}
				}
				s.Release()
			}
		})
	}
	workers.Wait()
	close(done)
	searchers.Wait()
	if w, h := x.Backlog(); w != 0 || h != 0 {
		t.Errorf("a backlog of %d and %d is left", w, h)
	}
	if err := x.Check(); err != nil {
		t.Error(err)
	}
}
