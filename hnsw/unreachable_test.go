package hnsw_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/segue-ann/segue/hnsw"
)

// TestUnreachable counts what was cut off, alone and in groups, as Check finds it; and nothing of a sound graph.
func TestUnreachable(t *testing.T) {
	rng := rand.New(rand.NewPCG(41, 41))
	for _, metric := range []hnsw.Metric{hnsw.L2, hnsw.InnerProduct} {
		x := newIndex(t, hnsw.Options{Dim: 8, Metric: metric, MaxSlots: 2000, Seed: 1})
		count := func(want int) {
			t.Helper()
			if got, err := x.Unreachable(context.Background()); err != nil || got != want {
				t.Fatalf("%v: %d unreachable, want %d: %v", metric, got, want, err)
			}
		}
		count(0)
		var slots []uint32
		for i, v := range gaussian(rng, 1000, 8, 1) {
			slots = append(slots, mustInsert(t, x, v))
			if i%3 == 2 {
				at := rng.IntN(len(slots))
				mustDelete(t, x, slots[at])
				slots = slices.Delete(slots, at, at+1)
			}
		}
		count(0)
		s := x.Acquire()
		group, _, err := s.Search(context.Background(), make([]float32, 8), hnsw.SearchParams{K: 20, Ef: 64})
		if err != nil {
			t.Fatal(err)
		}
		entry := hnsw.EntrySlot(x)
		var cut []uint32
		for _, c := range group {
			if c.Slot != entry {
				cut = append(cut, c.Slot)
			}
		}
		s.Release()
		hnsw.CutOff(x, cut)
		count(len(cut))
		var other uint32
		for _, slot := range slots {
			if slot != entry && !slices.Contains(cut, slot) {
				other = slot
			}
		}
		hnsw.CutOff(x, []uint32{other})
		named := map[uint32]bool{}
		for _, err := range x.Check().(interface{ Unwrap() []error }).Unwrap() {
			if fault := new(hnsw.CheckError); errors.As(err, &fault) && fault.Rule == hnsw.RuleReachable {
				named[fault.Slot] = true
			}
		}
		count(len(named)) // what hung on other may be cut off as well
		if !named[other] || len(named) <= len(cut) {
			t.Errorf("%v: %d named", metric, len(named))
		}
	}
}

// TestUnreachableMeanwhile: while nodes come and go, none ever counts, and statistics agree with what is there.
func TestUnreachableMeanwhile(t *testing.T) {
	const n, dim = 600, 8
	rng := rand.New(rand.NewPCG(43, 43))
	x := newIndex(t, hnsw.Options{Dim: dim, Metric: hnsw.Cosine, MaxSlots: 4 * n, Seed: 1})
	var slots []uint32
	for _, v := range gaussian(rng, n, dim, 1) {
		slots = append(slots, mustInsert(t, x, v))
	}
	var writers sync.WaitGroup
	done := make(chan struct{})
	writers.Go(func() {
		defer close(done)
		for i, v := range gaussian(rng, 3*n, dim, 1) {
			if err := x.Delete(slots[i%n]); err != nil {
				t.Error(err)
				return
			}
			slot, err := x.Insert(v)
			if err != nil {
				t.Error(err)
				return
			}
			slots[i%n] = slot
		}
	})
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		if got, err := x.Unreachable(context.Background()); err != nil || got != 0 {
			t.Fatalf("%d unreachable: %v", got, err)
		}
		if st := x.Stats(); st.Live < n-1 || st.Live > n || st.MeanDegree0 < 4 || st.MeanDegree0 > 32 {
			t.Fatalf("%+v", st)
		}
	}
	writers.Wait()
	if err := x.Check(); err != nil { // of the count of links, too
		t.Fatal(err)
	}
	y := restored(t, x)
	if got, want := y.Stats().MeanDegree0, x.Stats().MeanDegree0; got != want {
		t.Errorf("mean degree %v after a restart, %v before", got, want)
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := x.Unreachable(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that has ended: %v", err)
	}
	closed, err := hnsw.New(hnsw.Options{Dim: 2, Metric: hnsw.L2, MaxSlots: 10})
	if err != nil {
		t.Fatal(err)
	}
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := closed.Unreachable(context.Background()); !errors.Is(err, hnsw.ErrClosed) {
		t.Errorf("a closed index: %v", err)
	}
}
