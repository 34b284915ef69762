package engine

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
)

// TestListUnderWrites: while items are written, updated, deleted, expire, and releases are published, a walk over all pages gives every
// item that was there throughout exactly once, and all in order; of the others, none twice.
func TestListUnderWrites(t *testing.T) {
	c, clock := clocked(t, 1)
	rng := rand.New(rand.NewPCG(12, 1))
	const n = 400
	id := func(i int) string { return fmt.Sprintf("%05d", i*7919%100_003) }
	items := make([]Item, n)
	for i := range items {
		items[i] = Item{ID: id(i), Vector: []float32{float32(i)}}
	}
	mustUpsert(t, c, items...)
	info := mustImport(t, c, "job", items) // the same items: they are there whatever is published
	var steady []string
	for _, it := range items[:n/2] {
		steady = append(steady, it.ID)
	}
	slices.Sort(steady)
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		published := false
		for i := 0; ; i++ {
			select {
			case <-done:
				return
			default:
			}
			var err error
			switch at := n/2 + i*31%n; i % 5 {
			case 0:
				_, err = c.Upsert(t.Context(), []Item{{ID: id(at), Vector: []float32{float32(i)}, ExpireTime: clock.in(1e9)}})
			case 1:
				_, _, err = c.Delete(t.Context(), []string{id(at)})
			case 2: // the steady ones change, and stay
				_, err = c.Upsert(t.Context(), []Item{{ID: id(i * 17 % (n / 2)), Vector: []float32{float32(i)}}})
			case 3:
				_, _, err = c.UpdateAttributes(t.Context(), []AttributesUpdate{{ID: id(i * 13 % (n / 2)), Set: Attributes{{Name: "i", Value: Value{Type: Int, Int: int64(i)}}}}})
			case 4:
				clock.advance(1e9)
				if i > 60 && !published {
					published = true
					_, err = c.PublishRelease(t.Context(), info.Release, PublishConditions{})
				}
			}
			if err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 30 {
		var got []string
		for after, more := "", true; more; {
			page, m, err := c.List(t.Context(), after, 1+rng.IntN(40))
			if err != nil {
				t.Fatal(err)
			}
			if more = m; more && len(page) == 0 {
				t.Fatal("an empty page that is not the last")
			}
			for _, it := range page {
				got, after = append(got, it.ID), it.ID
			}
		}
		if !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) {
			t.Fatal("out of order, or twice")
		}
		seen := slices.DeleteFunc(got, func(id string) bool { _, ok := slices.BinarySearch(steady, id); return !ok })
		if !slices.Equal(seen, steady) {
			t.Fatalf("%d of %d items that were there throughout", len(seen), len(steady))
		}
	}
	close(done)
	wg.Wait()
}
