//go:build unix

package main

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/segue-ann/segue/engine"
	"github.com/segue-ann/segue/examples/demo"
)

// BenchmarkRequests asks "more like this" of 200 of the demo's tracks, plainly and with what a music service adds, and logs
// processor time, distances and recall against an exact search of the same request. A round asks all of it, one kind after the other; the
// time of a kind is that of its fastest round, so that what else the machine did meanwhile counts little, and for all kinds alike.
// docs/retrieval.md has the numbers of -benchtime 40x.
func BenchmarkRequests(b *testing.B) {
	c, ids := benchCollection(b)
	tenth, err := c.ParseFilter("playlists = 2")
	if err != nil {
		b.Fatal(err)
	}
	kinds := []requestKind{
		{"plain", func(*engine.SearchRequest) {}},
		{"two of an artist", func(r *engine.SearchRequest) { r.Crowding = []engine.CrowdingLimit{{Attribute: "artists", Most: 2}} }},
		{"one of an artist", func(r *engine.SearchRequest) { r.Crowding = []engine.CrowdingLimit{{Attribute: "artists", Most: 1}} }},
		{"20,000 heard", func(r *engine.SearchRequest) { r.Exclusions.Sets = []string{"heard"} }},
		{"filter", func(r *engine.SearchRequest) { r.Filter = tenth }},
		{"mmr", func(r *engine.SearchRequest) { r.Diversity = 0.2 }},
	}
	for _, k := range []int{10, 20, 100} {
		b.Run(fmt.Sprint("k=", k), func(b *testing.B) {
			results := make([]requestCost, len(kinds))
			for b.Loop() {
				for i := range kinds {
					results[i].round(b, c, kinds[i].requests(ids, k))
				}
			}
			for i, r := range results {
				b.Logf("%-18s %7.1f us  %.2f  %6d distances  recall %.4f", kinds[i].name, float64(r.fastest.Microseconds())/benchQueries,
					float64(r.fastest)/float64(results[0].fastest), r.distances/benchQueries, benchRecall(b, c, kinds[i].requests(ids, k)))
			}
		})
	}
}

// TestCrowdedWork: what BenchmarkRequests says of limits, in counts, which do not depend on the machine: one track of each artist
// takes no more distances than stated, finds as many as were asked for, each artist once, and nearly all of the exact answer.
func TestCrowdedWork(t *testing.T) {
	if testing.Short() {
		t.Skip("loads the demo's tracks")
	}
	c, ids := benchCollection(t)
	one := requestKind{"one of an artist", func(r *engine.SearchRequest) {
		r.Crowding, r.WithAttributes = []engine.CrowdingLimit{{Attribute: "artists", Most: 1}}, true
	}}
	for _, tc := range []struct {
		k, distances int
		recall       float64
	}{{10, 490, .99}, {100, 1080, .99}} {
		requests := one.requests(ids, tc.k)
		var cost requestCost
		cost.round(t, c, requests)
		if n := cost.distances / benchQueries; n > tc.distances {
			t.Errorf("k %d: %d distances, want at most %d", tc.k, n, tc.distances)
		}
		if recall := benchRecall(t, c, requests); recall < tc.recall {
			t.Errorf("k %d: recall %.4f, want at least %.2f", tc.k, recall, tc.recall)
		}
		for _, r := range requests[:benchQueries/4] {
			res, err := c.Search(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			if len(res.Neighbors) != tc.k {
				t.Errorf("k %d: %d neighbors", tc.k, len(res.Neighbors))
			}
			seen := map[string]bool{}
			for _, n := range res.Neighbors {
				for _, a := range n.Attributes {
					if a.Name != "artists" {
						continue
					}
					for _, artist := range a.Value.Keywords {
						if seen[artist] {
							t.Errorf("k %d: of %s there are two", tc.k, artist)
						}
						seen[artist] = true
					}
				}
			}
		}
	}
}

// benchQueries is how many requests a round has of each kind.
const benchQueries = 200

type requestKind struct {
	name string
	add  func(r *engine.SearchRequest)
}

func (k requestKind) requests(ids []string, count int) []engine.SearchRequest {
	requests := make([]engine.SearchRequest, benchQueries)
	for i := range requests {
		requests[i] = engine.SearchRequest{Query: engine.Query{ItemID: ids[i]}, K: count}
		k.add(&requests[i])
	}
	return requests
}

// requestCost is what the requests of one kind cost.
type requestCost struct {
	fastest   time.Duration // processor time of a round
	distances int           // of a round
}

func (t *requestCost) round(b testing.TB, c *engine.Collection, requests []engine.SearchRequest) {
	distances, began := 0, processorTime(b)
	for _, r := range requests {
		res, err := c.Search(b.Context(), r)
		if err != nil {
			b.Fatal(err)
		}
		distances += res.Info.Distances
	}
	if took := processorTime(b) - began; t.distances == 0 || took < t.fastest {
		t.fastest = took
	}
	t.distances = distances
}

// benchRecall is the share of the exact answers that searches find, of a quarter of the requests.
func benchRecall(b testing.TB, c *engine.Collection, requests []engine.SearchRequest) float64 {
	found, wanted := 0, 0
	for _, r := range requests[:len(requests)/4] {
		got, err := c.Search(b.Context(), r)
		if err != nil {
			b.Fatal(err)
		}
		r.Exact = true
		exact, err := c.Search(b.Context(), r)
		if err != nil {
			b.Fatal(err)
		}
		there := map[string]bool{}
		for _, n := range got.Neighbors {
			there[n.ItemID] = true
		}
		for _, n := range exact.Neighbors {
			wanted++
			if there[n.ItemID] {
				found++
			}
		}
	}
	return float64(found) / float64(wanted)
}

func processorTime(b testing.TB) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// benchCollection loads the demo's tracks and a set of 20,000 heard ones. It returns the ids in a random order.
func benchCollection(b testing.TB) (*engine.Collection, []string) {
	data, err := demoPlaylistData()
	if err != nil {
		b.Fatal(err)
	}
	e, err := engine.Open(b.Context(), b.TempDir(), engine.Options{SnapshotTail: -1})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := e.Close(); err != nil {
			b.Error(err)
		}
	})
	c, err := e.CreateCollection(b.Context(), engine.CollectionConfig{Name: demoCollection, Dim: demo.Dim, Metric: engine.Cosine})
	if err != nil {
		b.Fatal(err)
	}
	for at := 0; at < len(data.Items); at += 2000 {
		if _, err := c.Upsert(b.Context(), data.Items[at:min(at+2000, len(data.Items))]); err != nil {
			b.Fatal(err)
		}
	}
	ids := make([]string, len(data.Items))
	for i, at := range rand.New(rand.NewPCG(1, 2)).Perm(len(ids)) {
		ids[i] = data.Items[at].ID
	}
	for at := 0; at < 20_000; at += 10_000 {
		if err := c.AddExclusions(b.Context(), "heard", ids[1000+at:1000+at+10_000], time.Time{}); err != nil {
			b.Fatal(err)
		}
	}
	return c, ids
}
