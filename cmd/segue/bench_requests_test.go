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

// BenchmarkRequests asks "more like this" of 200 of the demo's tracks, plainly and with what a music service adds, and reports
// processor time, distances and recall against an exact search of the same request. docs/retrieval.md has the numbers.
func BenchmarkRequests(b *testing.B) {
	c, ids := benchCollection(b)
	tenth, err := c.ParseFilter("playlists = 2")
	if err != nil {
		b.Fatal(err)
	}
	for _, k := range []int{10, 20, 100} {
		for _, variant := range []struct {
			name string
			add  func(r *engine.SearchRequest)
		}{
			{"plain", func(*engine.SearchRequest) {}},
			{"two of an artist", func(r *engine.SearchRequest) { r.Crowding = []engine.CrowdingLimit{{Attribute: "artists", Most: 2}} }},
			{"one of an artist", func(r *engine.SearchRequest) { r.Crowding = []engine.CrowdingLimit{{Attribute: "artists", Most: 1}} }},
			{"20,000 heard", func(r *engine.SearchRequest) { r.Exclusions.Sets = []string{"heard"} }},
			{"filter", func(r *engine.SearchRequest) { r.Filter = tenth }},
			{"mmr", func(r *engine.SearchRequest) { r.Diversity = 0.2 }},
		} {
			b.Run(fmt.Sprintf("k=%d/%s", k, variant.name), func(b *testing.B) {
				request := func(i int) engine.SearchRequest {
					r := engine.SearchRequest{Query: engine.Query{ItemID: ids[i%200]}, K: k}
					variant.add(&r)
					return r
				}
				benchRequests(b, c, request)
			})
		}
	}
}

func benchRequests(b *testing.B, c *engine.Collection, request func(i int) engine.SearchRequest) {
	found, wanted, matching := 0, 0, 0
	for i := range 50 {
		r := request(i)
		got, err := c.Search(b.Context(), r)
		if err != nil {
			b.Fatal(err)
		}
		r.Exact = true
		exact, err := c.Search(b.Context(), r)
		if err != nil {
			b.Fatal(err)
		}
		scores := map[string]bool{}
		for _, n := range got.Neighbors {
			scores[n.ItemID] = true
		}
		for _, n := range exact.Neighbors {
			wanted++
			if scores[n.ItemID] {
				found++
			}
		}
		matching = exact.Info.Matching
	}
	distances, n, began := 0, 0, processorTime(b)
	for b.Loop() {
		res, err := c.Search(b.Context(), request(n))
		if err != nil {
			b.Fatal(err)
		}
		distances += res.Info.Distances
		n++
	}
	b.ReportMetric(float64((processorTime(b)-began).Microseconds())/float64(n), "cpu-us/op")
	b.ReportMetric(float64(distances)/float64(n), "distances/op")
	b.ReportMetric(float64(found)/float64(wanted), "recall")
	b.ReportMetric(float64(matching), "matching")
}

func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// benchCollection loads the demo's tracks and a set of 20,000 heard ones. It returns the ids in a random order.
func benchCollection(b *testing.B) (*engine.Collection, []string) {
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
