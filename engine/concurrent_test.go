package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestConcurrentReadersAndWriters has writers that own disjoint ids upsert and delete them while searchers
// and snapshots run. It checks read-your-writes, that no deleted id is returned after its delete was
// acknowledged, that no result holds an id twice, and that the end state is exactly what was acknowledged.
func TestConcurrentReadersAndWriters(t *testing.T) {
	const dim, writers, idsPerWriter = 8, 4, 40
	rounds := 120
	if testing.Short() {
		rounds = 40
	}
	fs := vfs.NewMem()
	e := open(t, "store", testOptions(fs))
	c, err := e.CreateCollection(t.Context(), CollectionConfig{Name: "tracks", Dim: dim, Metric: L2})
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	// epoch[w][i] is odd while id i of writer w is certainly deleted, even while it may exist.
	var epoch [writers][idsPerWriter]atomic.Int64
	for w := range epoch {
		for i := range epoch[w] {
			epoch[w][i].Store(1)
		}
	}
	var final [writers]map[string]Item
	var writing, reading sync.WaitGroup
	for w := range writers {
		final[w] = map[string]Item{}
		writing.Go(func() {
			rng := rand.New(rand.NewPCG(7, uint64(w)))
			for range rounds {
				i := rng.IntN(idsPerWriter)
				id := fmt.Sprintf("w%d-%d", w, i)
				if _, exists := final[w][id]; exists && rng.IntN(3) == 0 {
					missing, _, err := c.Delete(ctx, []string{id})
					if err != nil || len(missing) > 0 {
						t.Errorf("delete %s: missing %v, %v", id, missing, err)
						return
					}
					delete(final[w], id)
					epoch[w][i].Add(1) // now odd
					continue
				}
				it := Item{ID: id, Vector: randomVector(rng, dim)}
				if epoch[w][i].Load()%2 == 1 {
					epoch[w][i].Add(1) // even from before the write
				}
				lsn, err := c.Upsert(ctx, []Item{it})
				if err != nil {
					t.Error(err)
					return
				}
				final[w][id] = it
				got, err := c.Search(ctx, SearchRequest{Query: Query{Vector: it.Vector}, K: 1, MinRevision: lsn})
				if err != nil || len(got.Neighbors) != 1 || got.Neighbors[0].ItemID != id || got.Neighbors[0].Distance > 1e-6 {
					t.Errorf("own write %s not read back: %+v, %v", id, got.Neighbors, err)
					return
				}
			}
		})
	}
	var stop atomic.Bool
	for r := range 3 {
		reading.Go(func() {
			rng := rand.New(rand.NewPCG(9, uint64(r)))
			for !stop.Load() {
				var before [writers][idsPerWriter]int64
				for w := range before {
					for i := range before[w] {
						before[w][i] = epoch[w][i].Load()
					}
				}
				res, err := c.Search(ctx, SearchRequest{Query: Query{Vector: randomVector(rng, dim)}, K: 20, Exact: r == 0})
				if err != nil {
					t.Error(err)
					return
				}
				seen := map[string]bool{}
				for _, n := range res.Neighbors {
					var w, i int
					if _, err := fmt.Sscanf(n.ItemID, "w%d-%d", &w, &i); err != nil || seen[n.ItemID] {
						t.Errorf("result holds %q (twice: %v)", n.ItemID, seen[n.ItemID])
						return
					}
					seen[n.ItemID] = true
					if b := before[w][i]; b%2 == 1 && epoch[w][i].Load() == b {
						t.Errorf("%s was returned though it was deleted all the while", n.ItemID)
						return
					}
				}
			}
		})
	}
	reading.Go(func() {
		for !stop.Load() {
			if _, err := c.CreateSnapshot(ctx); err != nil {
				t.Error(err)
				return
			}
		}
	})
	writing.Wait()
	stop.Store(true)
	reading.Wait()

	if err := c.published.Load().index.Check(); err != nil {
		t.Error(err)
	}
	want := 0
	for w := range final {
		want += len(final[w])
		for id, it := range final[w] {
			if got, err := c.Get(ctx, id); err != nil || !sameVector(got.Vector, it.Vector) {
				t.Errorf("%s: %v, %v", id, got.Vector, err)
			}
		}
	}
	if c.Len() != want {
		t.Errorf("%d items, want %d", c.Len(), want)
	}
}

func sameVector(a, b []float32) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// TestCloseDuringCalls closes and deletes under load: every call either succeeds or says that the
// collection is gone; nothing hangs.
func TestCloseDuringCalls(t *testing.T) {
	for _, end := range []string{"close", "delete"} {
		t.Run(end, func(t *testing.T) {
			e := open(t, "store", testOptions(vfs.NewMem()))
			c, err := e.CreateCollection(t.Context(), CollectionConfig{Name: "tracks", Dim: 4, Metric: Cosine})
			if err != nil {
				t.Fatal(err)
			}
			mustUpsert(t, c, randomItems(rand.New(rand.NewPCG(1, 1)), 50, 4)...)
			var wg sync.WaitGroup
			started := make(chan struct{}, 4)
			for w := range 4 {
				wg.Go(func() {
					rng := rand.New(rand.NewPCG(3, uint64(w)))
					for n := 0; ; n++ {
						var err error
						if w%2 == 0 {
							_, err = c.Upsert(context.Background(), randomItems(rng, 3, 4))
						} else {
							_, err = c.Search(context.Background(), SearchRequest{Query: Query{Vector: randomVector(rng, 4)}, K: 3})
						}
						if errors.As(err, new(*NotFoundError)) && end == "delete" || errors.Is(err, ErrClosed) && end == "close" {
							return
						}
						if err != nil {
							t.Error(err)
							return
						}
						if n == 0 {
							started <- struct{}{}
						}
					}
				})
			}
			for range 4 {
				<-started
			}
			if end == "close" {
				err = e.Close()
			} else {
				err = e.DeleteCollection(t.Context(), "tracks")
			}
			if err != nil {
				t.Error(err)
			}
			wg.Wait()
		})
	}
}
