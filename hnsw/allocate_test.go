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
