package engine

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"testing"
)

// TestMeasureRecall: 1 where the beam is as wide as the collection, less where it is narrow, and the draw decides only who is
// asked.
func TestMeasureRecall(t *testing.T) {
	notUnderRace(t)
	const n, dim, k = 3000, 48, 10
	c := newTestCollection(t, dim, L2)
	mustUpsert(t, c, randomItems(rand.New(rand.NewPCG(8, 15)), n, dim)...)
	points, asked, err := c.MeasureRecall(t.Context(), RecallRequest{K: k, Queries: 60, Efs: []int{k, 40, n}, Seed: 1})
	if err != nil || asked != 60 || len(points) != 3 {
		t.Fatalf("%d asked, %v", asked, err)
	}
	if p := points[2]; p.Recall != 1 || p.Error != 0 {
		t.Errorf("the widest beam has recall %v", p)
	}
	if p := points[0]; p.Recall >= points[1].Recall || p.Recall < 0.2 || p.Error <= 0 || p.Error > 0.1 || p.Distances >= points[1].Distances {
		t.Errorf("narrow beam %+v, wider %+v", p, points[1])
	}
	all, asked, err := c.MeasureRecall(t.Context(), RecallRequest{K: k, Queries: 2 * n, Efs: []int{k}, Seed: 2})
	if err != nil || asked != n || math.Abs(all[0].Recall-points[0].Recall) > 5*points[0].Error {
		t.Errorf("all %d have recall %v, a sample %v, %v", asked, all[0], points[0], err)
	}
	if _, _, err := c.MeasureRecall(t.Context(), RecallRequest{K: k, Queries: 0}); !errors.As(err, new(*InvalidError)) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := c.MeasureRecall(ctx, RecallRequest{K: k, Queries: 1}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestListHubs counts against an exact search of everything, on a star: the center is everybody's neighbor, the rays are not
// each other's.
func TestListHubs(t *testing.T) {
	const n, dim = 60, 64
	c := newTestCollection(t, dim, L2)
	rng := rand.New(rand.NewPCG(4, 4))
	items := randomItems(rng, n, dim)
	for i := range items { // rays of about one length
		norm := 0.0
		for _, x := range items[i].Vector {
			norm += float64(x) * float64(x)
		}
		for d := range items[i].Vector {
			items[i].Vector[d] *= float32((1 + 0.001*float64(i)) / math.Sqrt(norm))
		}
	}
	clear(items[0].Vector)
	for i := range items[1].Vector {
		items[1].Vector[i] = 100
	}
	mustUpsert(t, c, items...)
	truth := oracleOf(L2, items)
	counts := map[string]int{}
	for _, it := range items {
		for _, s := range truth.nearest(it.Vector, 3, it.ID) {
			counts[s.id]++
		}
	}
	h, err := c.ListHubs(t.Context(), HubsRequest{K: 3, Queries: 1000, Most: n})
	if err != nil || h.Queries != n || h.Items != n || len(h.Hubs) != len(counts) || h.OrphanCount != n-len(counts) {
		t.Fatalf("%+v, %v; %d items are neighbors", h, err, len(counts))
	}
	for i, hub := range h.Hubs {
		if hub.Lists != counts[hub.ItemID] || i > 0 && hub.Lists > h.Hubs[i-1].Lists {
			t.Errorf("hub %d %s has %d, is neighbor of %d", i, hub.ItemID, hub.Lists, counts[hub.ItemID])
		}
	}
	if h.Hubs[0].ItemID != items[0].ID {
		t.Errorf("the center is not the first hub: %+v", h.Hubs[0])
	}
	far := false
	for _, id := range h.Orphans {
		if counts[id] > 0 {
			t.Errorf("orphan %s is a neighbor of %d", id, counts[id])
		}
		far = far || id == items[1].ID
	}
	if !far {
		t.Error("the item far from all is no orphan")
	}
	if _, err := c.ListHubs(t.Context(), HubsRequest{K: 0, Queries: 1, Most: 1}); !errors.As(err, new(*InvalidError)) {
		t.Error(err)
	}
}
