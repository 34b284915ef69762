package distance

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// checkMerge merges in one tier, items and fresh between guard pages, and compares with sorting.
func checkMerge(t *testing.T, p *pen, tr tier, old, added []uint64) {
	t.Helper()
	n, m := len(old), len(added)
	items, fresh := penned[uint64](p, "items", n+m+MergeRoom), penned[uint64](p, "fresh", m)
	copy(items, old)
	copy(fresh, added)
	want := slices.Sorted(slices.Values(slices.Concat(old, added)))
	first := merge(tr, items, n, fresh)
	if !slices.Equal(items[:n+m], want) {
		t.Fatalf("%s: %x and %x: got %x", tr, old, added, items[:n+m])
	}
	wantFirst := n
	if m > 0 {
		wantFirst, _ = slices.BinarySearch(want, slices.Min(added))
	}
	if first != wantFirst {
		t.Fatalf("%s: the least of %x is at %d of %x, not at %d", tr, added, wantFirst, want, first)
	}
	slices.Sort(fresh)
	if added = slices.Sorted(slices.Values(added)); !slices.Equal(fresh, added) {
		t.Fatalf("%s: %x became %x", tr, added, fresh)
	}
}

// parted returns n+m different numbers, n of them ascending. Their upper halves are of so many kinds only, as are those of entries
// at the same distance.
func parted(rnd *rand.Rand, n, m int, kinds uint32) (old, added []uint64) {
	all := make([]uint64, n+m)
	for i := range all {
		all[i] = uint64(rnd.Uint32N(kinds)*(1<<32-1)/max(1, kinds-1))<<32 | uint64(i)<<1
	}
	rnd.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	slices.Sort(all[:n])
	return all[:n:n], all[n:]
}

func TestMerge(t *testing.T) {
	eachTier(t, func(t *testing.T, tr tier) {
		rnd, p := rand.New(rand.NewPCG(71, 71)), newPen(t)
		for n := range 601 {
			for _, m := range []int{0, 1, 2, 1 + rnd.IntN(8), 1 + rnd.IntN(MaxMerge), MaxMerge} {
				old, added := parted(rnd, n, m, 1<<rnd.IntN(20))
				checkMerge(t, p, tr, old, added)
			}
		}
		for m := range MaxMerge + 1 {
			for _, n := range []int{0, 1, 7, 8, 9, 64, 511, 512, MaxMerged - m} {
				old, added := parted(rnd, n, m, 1<<31)
				checkMerge(t, p, tr, old, added)
				all := slices.Sorted(slices.Values(slices.Concat(old, added)))
				checkMerge(t, p, tr, all[m:], all[:m]) // all of fresh is less than all items
				checkMerge(t, p, tr, all[:n], all[n:]) // and greater
				slices.Reverse(all[n:])
				checkMerge(t, p, tr, all[:n], all[n:])
			}
		}
	})
}

// TestMergeStaysInside: entries that occur twice, which must not be, make no tier touch what is outside.
func TestMergeStaysInside(t *testing.T) {
	eachTier(t, func(t *testing.T, tr tier) {
		rnd, p := rand.New(rand.NewPCG(73, 73)), newPen(t)
		for range 3000 {
			n, m := rnd.IntN(100), 1+rnd.IntN(MaxMerge)
			items, fresh := penned[uint64](p, "items", n+m+MergeRoom), penned[uint64](p, "fresh", m)
			kinds := 1 + rnd.Uint64N(50)
			for i := range n {
				items[i] = rnd.Uint64N(kinds)
			}
			slices.Sort(items[:n])
			for i := range fresh {
				fresh[i] = rnd.Uint64N(kinds)
			}
			if first := merge(tr, items, n, fresh); first < 0 || first > n {
				t.Fatalf("the least is at %d, of %d before", first, n)
			}
		}
	})
}

func TestMergePanics(t *testing.T) {
	for _, c := range []struct{ room, n, m int }{
		{200, 10, MaxMerge + 1}, {2000, MaxMerged, 1}, {10 + 5 + MergeRoom - 1, 10, 5}, {100, -1, 5}, {MergeRoom - 1, 0, 0},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%d into %d with room for %d: no panic", c.m, c.n, c.room)
				}
			}()
			Merge(make([]uint64, c.room), c.n, make([]uint64, c.m))
		}()
	}
}

func FuzzMerge(f *testing.F) {
	f.Add([]byte("some bytes to make entries of"), uint16(3))
	f.Add([]byte{255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0, 1}, uint16(1))
	f.Fuzz(func(t *testing.T, data []byte, size uint16) {
		next, p := cycle(data), newPen(t)
		rnd, n := fuzzRand(data), int(size)%601
		m := rnd.IntN(MaxMerge + 1)
		all := make([]uint64, n+m)
		for i := range all {
			var b [8]byte
			for j := range b {
				b[j] = next()
			}
			all[i] = binary.LittleEndian.Uint64(b[:])
		}
		slices.Sort(all)
		all = slices.Compact(all) // different
		m = min(m, len(all))
		rnd.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		old, added := all[m:], all[:m]
		slices.Sort(old)
		for _, tr := range machineTiers() {
			checkMerge(t, p, tr, old, added)
		}
	})
}

func BenchmarkMerge(b *testing.B) {
	for _, tr := range machineTiers() {
		for _, n := range []int{16, 64, 160, 512} {
			for _, m := range []int{1, 4, 8, 16} {
				b.Run(fmt.Sprintf("%s/%d/%d", tr, n, m), func(b *testing.B) {
					rnd := rand.New(rand.NewPCG(79, 79))
					const sets = 64
					var olds, adds [sets][]uint64
					for i := range sets {
						olds[i], adds[i] = parted(rnd, n, m, 1<<31)
					}
					items, i := make([]uint64, n+m+MergeRoom), 0
					for b.Loop() {
						copy(items, olds[i%sets])
						merge(tr, items, n, adds[i%sets])
						i++
					}
				})
			}
		}
	}
}
