package engine

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
)

// BenchmarkUpdateAttributes changes one attribute of random items, durably: each call is synced. The items have 128 dimensions and
// six attributes, two of which can be filtered by. rows/s counts items.
func BenchmarkUpdateAttributes(b *testing.B) {
	const items, dim = 100_000, 128
	c := openBench(b, items, dim)
	for _, tc := range []struct{ callers, batch int }{{1, 1}, {64, 1}, {256, 1}, {1, 100}, {1, 1000}, {8, 100}, {4, 1000}} {
		b.Run(fmt.Sprintf("callers=%d/batch=%d", tc.callers, tc.batch), func(b *testing.B) {
			var made atomic.Int64
			var wg sync.WaitGroup
			for w := range tc.callers {
				wg.Go(func() {
					rng := rand.New(rand.NewPCG(uint64(b.N), uint64(w)))
					for made.Add(1) <= int64(b.N) {
						updates := make([]AttributesUpdate, tc.batch)
						for i := range updates {
							updates[i] = AttributesUpdate{ID: benchID(rng.IntN(items)), Set: Attributes{{Name: "popularity", Value: Value{Type: Float, Float: rng.Float64()}}}}
						}
						if missing, _, err := c.UpdateAttributes(context.Background(), updates); err != nil || len(missing) > 0 {
							b.Error(missing, err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N*tc.batch)/b.Elapsed().Seconds(), "rows/s")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func benchID(n int) string { return fmt.Sprintf("track:%08d", n) }

// openBench returns a collection of items that an import brought.
func openBench(b *testing.B, items, dim int) *Collection {
	b.Helper()
	e, err := Open(b.Context(), b.TempDir(), Options{SnapshotTail: -1})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := e.Close(); err != nil {
			b.Error(err)
		}
	})
	c, err := e.CreateCollection(b.Context(), CollectionConfig{Name: "tracks", Dim: dim, Metric: L2, M: 8, EfConstruction: 8})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := c.StartImport(b.Context(), ImportOptions{JobID: "bench", ExpectedItems: items}); err != nil {
		b.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	keyword := func(s string) Value { return Value{Type: Keyword, Keywords: []string{s}} }
	for first, sequence := 0, uint64(1); first < items; first, sequence = first+1000, sequence+1 {
		rows := ImportRows{Sequence: sequence}
		for n := first; n < min(first+1000, items); n++ {
			v := make([]float32, dim)
			for i := range v {
				v[i] = rng.Float32()
			}
			rows.Items = append(rows.Items, Item{ID: benchID(n), Vector: v, Attributes: Attributes{
				{Name: "artist", Value: keyword(fmt.Sprintf("artist:%06d", n/12))},
				{Name: "explicit", Value: Value{Type: Bool, Bool: n%9 == 0}},
				{Name: "genres", Value: Value{Type: Keyword, Keywords: []string{"pop", fmt.Sprint("genre:", n%50)}}},
				{Name: "popularity", Value: Value{Type: Float, Float: rng.Float64()}},
				{Name: "release_year", Value: Value{Type: Int, Int: int64(1960 + n%65)}},
				{Name: "title", Value: keyword(fmt.Sprintf("A title of about thirty: %07d", n))},
			}})
		}
		if _, err := c.WriteImport(b.Context(), "bench", rows, first+1000 >= items); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := c.CommitImport(b.Context(), "bench"); err != nil {
		b.Fatal(err)
	}
	info, err := c.WaitImport(b.Context(), "bench")
	if err != nil || info.Err != nil {
		b.Fatal(err, info.Err)
	}
	if _, err := c.PublishRelease(b.Context(), info.Release, PublishConditions{}); err != nil {
		b.Fatal(err)
	}
	return c
}
