package hnsw

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestPoolWidens: a pool that is widened step by step holds, and gives to expand, what one of the last width would that was
// offered everything: across the change from array to heaps, with expansions between the steps.
func TestPoolWidens(t *testing.T) {
	rng := rand.New(rand.NewPCG(59, 59))
	for round := range 200 {
		var p pool
		var spill []uint64
		ef := 1 + rng.IntN(40)
		if round%4 == 0 {
			ef += sortedPool - 20
		}
		p.reset(ef, 0)
		var all []uint64
		expanded := map[uint32]bool{}
		slot := uint32(0)
		for range 4 {
			for range rng.IntN(4 * ef) {
				e := packEntry(rng.Uint32()>>rng.IntN(32), slot)
				slot++
				all = append(all, e)
				spill = p.offerOrSpill(e, spill)
				if rng.IntN(4) > 0 {
					continue
				}
				if got, ok := p.next(); ok {
					if expanded[got] {
						t.Fatalf("slot %d is given to expand twice", got)
					}
					expanded[got] = true
				}
			}
			ef += 1 + rng.IntN(2*ef)
			spill = p.widen(ef, spill)
			if len(spill)+len(p.items) != len(all) {
				t.Fatalf("%d in the pool and %d spilled of %d offered", len(p.items), len(spill), len(all))
			}
			slices.Sort(all)
			want := all[:min(ef, len(all))]
			got := make([]uint64, 0, ef)
			for _, e := range p.items {
				got = append(got, e&^1)
			}
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Fatalf("ef %d: the pool holds %x, want %x", ef, got, want)
			}
		}
		for _, e := range all[:min(ef, len(all))] {
			if expanded[entrySlot(e)] {
				continue
			}
			if got, ok := p.next(); !ok || got != entrySlot(e) {
				t.Fatalf("ef %d: next gives %d, %t, want %d", ef, got, ok, entrySlot(e))
			}
		}
		if got, ok := p.next(); ok {
			t.Fatalf("ef %d: next gives %d, and all is expanded", ef, got)
		}
	}
}

// TestPartition against sorting, with many equal values and with sorted input.
func TestPartition(t *testing.T) {
	rng := rand.New(rand.NewPCG(61, 61))
	for round := range 500 {
		a := make([]uint64, rng.IntN(200))
		for i := range a {
			a[i] = rng.Uint64N(1 + rng.Uint64N(300))
		}
		want := slices.Sorted(slices.Values(a))
		if round%5 == 0 {
			copy(a, want)
		}
		n := rng.IntN(len(a) + 1)
		partition(a, n)
		slices.Sort(a[:n])
		slices.Sort(a[n:])
		if !slices.Equal(a, want) {
			t.Fatalf("the %d lowest of %v: %v", n, want, a)
		}
	}
}
