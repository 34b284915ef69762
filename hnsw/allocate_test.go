package hnsw_test

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/segue-ann/segue/hnsw"
)

// TestAvailable: it tells exactly how many allocations succeed, also while a snapshot holds deleted slots back.
func TestAvailable(t *testing.T) {
	const slots = 64
	rng := rand.New(rand.NewPCG(1, 1))
	x := newIndex(t, hnsw.Options{Dim: 4, Metric: hnsw.L2, MaxSlots: slots, Seed: 1})
	for want := slots; want > 0; want-- {
		if got := x.Available(); got != want {
			t.Fatalf("%d available, want %d", got, want)
		}
		if _, err := x.Insert(gaussian(rng, 1, 4, 1)[0]); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := x.Insert(make([]float32, 4)); !errors.Is(err, hnsw.ErrFull) || x.Available() != 0 {
		t.Fatalf("%d available, insert into a full index: %v", x.Available(), err)
	}
	snap, err := x.BeginSnapshot()
	if err != nil {
		t.Fatal(err)
	}
	for slot := range uint32(10) {
		if err := x.Delete(slot); err != nil {
			t.Fatal(err)
		}
	}
	if got := x.Available(); got != 0 {
		t.Errorf("%d available while a snapshot is open", got)
	}
	snap.Close()
	if got := x.Available(); got != 10 {
		t.Errorf("%d available of 10 deleted", got)
	}
}

// TestHolds: a slot holds what was put into it, to the last bit, in whatever length under Cosine.
func TestHolds(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 1))
	for _, metric := range []hnsw.Metric{hnsw.Cosine, hnsw.InnerProduct, hnsw.L2} {
		x := newIndex(t, hnsw.Options{Dim: 5, Metric: metric, MaxSlots: 64, Seed: 1})
		for _, v := range gaussian(rng, 20, 5, 1) {
			slot, err := x.Insert(v)
			if err != nil {
				t.Fatal(err)
			}
			other := append([]float32(nil), v...)
			other[3] = -other[3]
			twice := append([]float32(nil), v...)
			for i := range twice {
				twice[i] *= 2 // exact
			}
			if !x.Holds(slot, v) || x.Holds(slot, other) || x.Holds(slot, v[:4]) || x.Holds(slot, twice) != (metric == hnsw.Cosine) {
				t.Errorf("%v: slot %d of %v holds it %v, %v %v, its double %v", metric, slot, v, x.Holds(slot, v), other, x.Holds(slot, other), x.Holds(slot, twice))
			}
		}
	}
}
