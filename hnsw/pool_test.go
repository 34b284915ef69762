package hnsw

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestPoolKeepsTheBest: after any offers, with expansions between them, the pool holds the ef least entries, next gives
// the least that was not given yet, and peek foretells it. Narrow, sorted and heaped pools do the same.
func TestPoolKeepsTheBest(t *testing.T) {
	rng := rand.New(rand.NewPCG(43, 43))
	for range 300 {
		ef := 1 + rng.IntN(40)
		ef += []int{0, 0, shiftedPool - 20, sortedPool}[rng.IntN(4)]
		var p pool
		p.reset(ef, 0)
		var all []uint64 // the model: everything offered, ascending
		expanded := map[uint32]bool{}
		for slot := range uint32(rng.IntN(3 * ef)) {
			e := packEntry(rng.Uint32()>>rng.IntN(32), slot)
			if len(all) >= ef && (e < p.limit()) != (e < all[ef-1]) {
				t.Fatalf("limit %x where the last of the best is %x", p.limit(), all[ef-1])
			}
			p.offer(e)
			at, _ := slices.BinarySearch(all, e)
			all = slices.Insert(all, at, e)
			if rng.IntN(3) > 0 {
				continue
			}
			var want []uint64
			for _, e := range all[:min(ef, len(all))] {
				if !expanded[entrySlot(e)] {
					want = append(want, e)
				}
			}
			first, second := p.peek()
			for i, got := range []uint64{first, second} {
				if i < len(want) && got != want[i] || i >= len(want) && got != noCandidate {
					t.Fatalf("ef %d: peek %d gives %x, want %x", ef, i, got, want)
				}
			}
			got, ok := p.next()
			if ok != (len(want) > 0) || ok && got != entrySlot(want[0]) {
				t.Fatalf("next gives %d, %v; want of %x", got, ok, want)
			}
			if ok {
				expanded[got] = true
			}
		}
		var got []uint64
		for _, e := range p.sorted() {
			got = append(got, e&^1)
		}
		if !slices.Equal(got, all[:min(ef, len(all))]) {
			t.Fatalf("ef %d: pool %x, want %x", ef, got, all[:min(ef, len(all))])
		}
	}
}

// TestPoolShiftsAsItSearches: a narrow pool, which shifts what it is offered into place, and one that searches for the place, which a cap
// that nothing reaches makes it do, hold the same and give the same after every offer; entries that were expanded among them.
func TestPoolShiftsAsItSearches(t *testing.T) {
	rng := rand.New(rand.NewPCG(44, 44))
	for range 300 {
		ef := 1 + rng.IntN(shiftedPool)
		var shifts, searches pool
		shifts.reset(ef, 0)
		searches.reset(ef, 1<<30)
		keys := 1 + rng.Uint32N(400) // few: many are equal
		for slot := range uint32(3 * ef) {
			e := packEntry(rng.Uint32N(keys), slot^5)
			shifts.offer(e)
			searches.offer(e)
			if rng.IntN(3) == 0 {
				got, some := shifts.next()
				want, more := searches.next()
				if got != want || some != more {
					t.Fatalf("ef %d: next gives %d, %v; want %d, %v", ef, got, some, want, more)
				}
			}
			if !slices.Equal(shifts.items, searches.items) || shifts.cursor != searches.cursor {
				t.Fatalf("ef %d, after %x: %x, cursor %d; want %x, cursor %d", ef, e, shifts.items, shifts.cursor, searches.items, searches.cursor)
			}
		}
	}
}

// TestPoolTakesRounds: a pool that merges rounds of any size, each below the limit before it, holds and gives what one does that is
// offered their entries one by one.
func TestPoolTakesRounds(t *testing.T) {
	rng := rand.New(rand.NewPCG(45, 45))
	for range 300 {
		ef := 1 + rng.IntN(shiftedPool)
		ef += []int{0, 0, shiftedPool, sortedPool, sortedWalk - shiftedPool}[rng.IntN(5)]
		var rounds, single pool
		rounds.resetWalk(ef, 0)
		single.resetWalk(ef, 0)
		if rounds.merges() != (ef >= mergedPool) {
			t.Fatalf("ef %d merges: %v", ef, rounds.merges())
		}
		keys := 1 + rng.Uint32()>>(1+rng.IntN(31)) // few: many are equal
		for slot := uint32(0); slot < uint32(3*ef); {
			var fresh []uint64
			limit := rounds.limit()
			for range rng.IntN(1 + rng.IntN(scoreBatch)) {
				if e := packEntry(rng.Uint32N(keys), slot^5); e < limit {
					fresh = append(fresh, e)
				}
				slot++
			}
			for _, e := range fresh {
				single.offer(e)
			}
			rounds.merge(fresh)
			if !slices.Equal(rounds.items, single.items) || rounds.cursor != single.cursor {
				t.Fatalf("ef %d: %x, cursor %d; want %x, cursor %d", ef, rounds.items, rounds.cursor, single.items, single.cursor)
			}
			for range rng.IntN(3) {
				got, some := rounds.next()
				want, more := single.next()
				if got != want || some != more {
					t.Fatalf("ef %d: next gives %d, %v; want %d, %v", ef, got, some, want, more)
				}
			}
			slot++
		}
	}
}

// TestPoolWalksSorted: beams up to sortedWalk are arrays for a walk, wider ones heaps; others are heaps from sortedPool on.
func TestPoolWalksSorted(t *testing.T) {
	for _, ef := range []int{1, sortedPool, sortedPool + 1, sortedWalk, sortedWalk + 1} {
		var p pool
		if p.resetWalk(ef, 0); p.heaped != (ef > sortedWalk) {
			t.Errorf("a walk of %d has heaps: %v", ef, p.heaped)
		}
		if p.reset(ef, 0); p.heaped != (ef > sortedPool) {
			t.Errorf("%d has heaps: %v", ef, p.heaped)
		}
	}
}

func TestPoolCapsEqualKeys(t *testing.T) {
	var p pool
	p.reset(20, 3)
	for slot := range uint32(50) {
		p.offer(packEntry(slot%4, slot))
	}
	if n := len(p.sorted()); n != 4*3 {
		t.Errorf("%d entries of 4 keys, at most 3 each", n)
	}
}

func TestSearchCountsSmaller(t *testing.T) {
	rng := rand.New(rand.NewPCG(47, 47))
	for n := range 70 {
		items := make([]uint64, n)
		for i := range items {
			items[i] = rng.Uint64() >> rng.IntN(60)
		}
		slices.Sort(items)
		for _, e := range append(slices.Clone(items), 0, 1<<63, 1<<64-1, rng.Uint64()) {
			if want, _ := slices.BinarySearch(items, e); search(items, e) != want {
				t.Fatalf("%d of %x are below %x, want %d", search(items, e), items, e, want)
			}
		}
	}
}

// TestVisitedIsASet, also where epochs begin anew and where the index has grown since the search began.
func TestVisitedIsASet(t *testing.T) {
	rng := rand.New(rand.NewPCG(53, 53))
	var v visited
	for round := range 100 {
		if round == 50 {
			v.epoch = 1<<64 - 1<<32
		}
		n := uint32(1 + rng.IntN(200))
		v.begin(n)
		seen := map[uint32]bool{}
		for range 100 {
			slot := rng.Uint32N(n)
			if v.add(slot) == seen[slot] {
				t.Fatalf("round %d: slot %d was seen: %v", round, slot, seen[slot])
			}
			seen[slot] = true
		}
		if v.add(uint32(32*len(v.words)) + rng.Uint32N(100)) {
			t.Fatal("a slot beyond the set is new")
		}
	}
}
