package filter

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/segue-ann/segue/engine/attribute"
)

// catalogue makes the attributes of n tracks: 8 of them, of which titles are nearly all different and artists have a long tail.
func catalogue(n int) [][]byte {
	r := rand.New(rand.NewPCG(7, 8))
	artist := rand.NewZipf(r, 1.1, 20, uint64(max(n/5, 10)))
	everywhere := make([]attribute.Market, 0, 180)
	for m := range attribute.Market(180) {
		everywhere = append(everywhere, m*3)
	}
	items := make([][]byte, n)
	for i := range items {
		markets := everywhere
		if r.IntN(5) == 0 {
			markets = everywhere[r.IntN(20) : 100+r.IntN(20)]
		}
		items[i] = attribute.Append(nil, attribute.Set{
			{Name: "artists", Value: keyword(fmt.Sprint("artist ", artist.Uint64()))},
			{Name: "available", Value: attribute.Value{Type: attribute.Markets, Markets: attribute.NewMarketSet(markets...)}},
			{Name: "duration_ms", Value: attribute.Value{Type: attribute.Int, Int: int64(150_000 + r.IntN(200_000))}},
			{Name: "explicit", Value: attribute.Value{Type: attribute.Bool, Bool: r.IntN(10) == 0}},
			{Name: "kind", Value: keyword([]string{"track", "episode"}[btoi(r.IntN(20) == 0)])},
			{Name: "popularity", Value: attribute.Value{Type: attribute.Int, Int: int64(r.IntN(101))}},
			{Name: "released", Value: attribute.Value{Type: attribute.Timestamp, Time: time.Unix(1.2e9+int64(r.IntN(500))*1e6, 0)}},
			{Name: "title", Value: keyword(fmt.Sprint("title ", r.IntN(2*n)))},
		})
	}
	return items
}

func catalogueIndex(n int) (*Index, [][]byte) {
	x, items := New(nil, false), catalogue(n)
	for i, a := range items {
		x.Insert(uint32(i), a)
		if i%2048 == 2047 {
			x.Publish()
		}
	}
	x.Publish()
	return x, items
}

var catalogueSizes = []int{63_000, 1_000_000}

// BenchmarkEvaluate times expressions over catalogues, without and with what is kept.
func BenchmarkEvaluate(b *testing.B) {
	for _, n := range catalogueSizes {
		x, _ := catalogueIndex(n)
		bytes := x.Stats().Bytes
		b.Run(fmt.Sprintf("items=%d", n), func(b *testing.B) {
			for _, s := range []string{
				`artists : "artist 3"`, `artists : "artist 5000"`, `explicit = false`, `available : AA`, `popularity >= 90`, `popularity >= 50`,
				`duration_ms > 250000`, `kind = track AND available : AA AND explicit = false AND released >= 2020-01-01`,
			} {
				e, err := Parse(s, nil)
				if err != nil {
					b.Fatal(err)
				}
				for _, keep := range []bool{false, true} {
					b.Run(fmt.Sprintf("keep=%v/%s", keep, s), func(b *testing.B) {
						p := Compile(e)
						matching := 0
						for b.Loop() {
							if !keep {
								clear(x.keep.entries)
							}
							r, err := x.Evaluate(b.Context(), p)
							if err != nil {
								b.Fatal(err)
							}
							matching = r.Set.Len()
							r.Release()
						}
						b.ReportMetric(float64(matching), "matching")
						b.ReportMetric(float64(bytes)/float64(n), "B/item")
					})
				}
			}
		})
	}
}

// BenchmarkUpdate times groups of changes of one INT of a catalogue, while a filter on it is evaluated once a group.
func BenchmarkUpdate(b *testing.B) {
	for _, n := range catalogueSizes {
		x, items := catalogueIndex(n)
		for _, size := range []int{1, 100, 2000} {
			b.Run(fmt.Sprintf("items=%d/group=%d", n, size), func(b *testing.B) {
				r := rand.New(rand.NewPCG(9, 10))
				for b.Loop() {
					for range size {
						slot := r.IntN(n)
						s, err := attribute.Decode(items[slot], nil)
						if err != nil {
							b.Fatal(err)
						}
						s[5].Value.Int = int64(r.IntN(101))
						changed := attribute.Append(nil, s)
						x.Update(uint32(slot), items[slot], changed)
						items[slot] = changed
					}
					x.Publish()
				}
				b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "updates/s")
			})
		}
	}
}
