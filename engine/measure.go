package engine

import (
	"cmp"
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/segue-ann/segue/hnsw"
)

// Bounds of what one call may measure.
const (
	maxMeasureQueries = 100_000
	maxMeasureK       = 1_000
	maxMeasureEfs     = 16
	maxListed         = 10_000
)

// RecallRequest says what to measure: "more like this" of random items.
type RecallRequest struct {
	// K is how many neighbors are asked for, 1..1,000.
	K int
	// Queries is how many items are drawn, 1..100,000; all where there are fewer.
	Queries int
	// Efs are the beam widths to measure at, at most 16; none means the default one.
	Efs []int
	// Seed draws the items.
	Seed uint64
}

// MeasureRecall compares the graph's answers with exact ones. It returns a point for each ef, and how many items were asked.
// Errors: *InvalidError, context errors. Cost: Queries exact scans; one goroutine, so that queries go on being served.
func (c *Collection) MeasureRecall(ctx context.Context, req RecallRequest) ([]RecallPoint, int, error) {
	l := c.engine.opts.Limits
	var p problems
	p.inRange("k", req.K, 1, maxMeasureK)
	p.inRange("queries", req.Queries, 1, maxMeasureQueries)
	if len(req.Efs) > maxMeasureEfs {
		p.add(ReasonOutOfRange, "efs", "must be at most %d, are %d", maxMeasureEfs, len(req.Efs))
	}
	for _, ef := range req.Efs[:min(len(req.Efs), maxMeasureEfs)] {
		p.inRange("efs", ef, 1, l.MaxEf)
	}
	if err := p.err(); err != nil {
		return nil, 0, err
	}
	r, err := c.acquire()
	if err != nil {
		return nil, 0, err
	}
	defer r.leave()
	efs := req.Efs
	if len(efs) == 0 {
		efs = []int{DefaultEf(req.K)}
	}
	points := make([]RecallPoint, len(efs))
	squares := make([]float64, len(efs))
	asked := 0
	for _, id := range r.sample(req.Queries, req.Seed) {
		ok, err := r.measure(ctx, id, req.K, efs, func(i int, recall float64, distances int) {
			points[i].Recall += recall
			squares[i] += recall * recall
			points[i].Distances += float64(distances)
		})
		if err != nil {
			return nil, 0, err
		}
		if ok {
			asked++
		}
	}
	n := float64(max(1, asked))
	for i := range points {
		pt := &points[i]
		pt.Ef, pt.Recall, pt.Distances = efs[i], pt.Recall/n, pt.Distances/n
		pt.Error = math.Sqrt(max(0, squares[i]/n-pt.Recall*pt.Recall) / n)
	}
	return points, asked, nil
}

// measure asks for the neighbors of one item, exactly and with each ef; ok is false where the item is gone. Its searcher is held
// for this one query only, so that slots are reused meanwhile.
func (r *release) measure(ctx context.Context, id string, k int, efs []int, add func(i int, recall float64, distances int)) (ok bool, err error) {
	s := r.index.Acquire()
	defer s.Release()
	slot, ok := r.table.slotOf(id)
	if !ok {
		return false, nil
	}
	vec := s.Vector(slot)[:r.cfg.Dim]
	exact, _, err := r.neighborsOf(ctx, s, id, vec, k, hnsw.SearchParams{Exact: true})
	if err != nil {
		return false, err
	}
	for i, ef := range efs {
		found, distances, err := r.neighborsOf(ctx, s, id, vec, k, hnsw.SearchParams{Ef: ef})
		if err != nil {
			return false, err
		}
		hits := 0
		for _, c := range found {
			if len(exact) > 0 && c.Distance <= exact[len(exact)-1].Distance {
				hits++
			}
		}
		recall := 1.0
		if len(exact) > 0 {
			recall = float64(min(hits, len(exact))) / float64(len(exact))
		}
		add(i, recall, distances)
	}
	return true, nil
}

// neighborsOf searches for the k nearest items to vec but for id, ascending: of the slots of an item that moves meanwhile the last
// stands (ADR 16). p says how; K, and an Ef below that, follow k.
func (r *release) neighborsOf(ctx context.Context, s *hnsw.Searcher, id string, vec []float32, k int, p hnsw.SearchParams) (nearest []hnsw.Candidate, distances int, err error) {
	ef := p.Ef
	for p.K = k + 1; ; p.K *= 2 {
		if !p.Exact {
			p.Ef = max(ef, p.K)
		}
		found, stats, err := s.Search(ctx, vec, p)
		if err != nil {
			return nil, 0, err
		}
		distances += stats.Distances
		among := func(slot uint32) bool {
			return slices.ContainsFunc(found, func(c hnsw.Candidate) bool { return c.Slot == slot })
		}
		nearest = nearest[:0]
		for _, c := range found {
			if len(nearest) < k && !r.table.entries.at(c.Slot).hasID(id) && !r.table.stale(c.Slot, among) {
				nearest = append(nearest, c)
			}
		}
		if len(nearest) == k || len(found) < p.K {
			return nearest, distances, nil
		}
	}
}

// sample draws the ids of up to n items, in random order.
func (r *release) sample(n int, seed uint64) []string {
	ids := make([]string, 0, r.table.len())
	r.table.each(func(slot uint32) { ids = append(ids, r.table.entries.at(slot).id()) })
	slices.Sort(ids)                      // the table's order is not the same on every run
	rng := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // a draw that can be repeated
	n = min(n, len(ids))
	for i := range n {
		j := i + rng.IntN(len(ids)-i)
		ids[i], ids[j] = ids[j], ids[i]
	}
	return ids[:n]
}

// HubsRequest says how to look for hubs.
type HubsRequest struct {
	// K, Queries and Seed are those of RecallRequest.
	K, Queries int
	Seed       uint64
	// Most bounds how many hubs, and how many items that are never recommended, are listed: 1..10,000.
	Most int
}

// Hubs says how neighbors are distributed.
type Hubs struct {
	// Hubs are the items that are neighbors of most, most first, ties by id.
	Hubs []Hub
	// Orphans are items that are a neighbor of none, by id; OrphanCount counts all of them. They say something about the
	// collection only where every item, or nearly, was asked.
	Orphans     []string
	OrphanCount int
	// Queries is how many items were asked, Items how many there are.
	Queries, Items int
}

// ListHubs asks for the neighbors of random items and counts who comes how often: an item that is a neighbor of everybody
// crowds out others, one that is a neighbor of nobody is never recommended. Errors: *InvalidError, context errors. Cost:
// Queries searches with the default beam, on one goroutine.
func (c *Collection) ListHubs(ctx context.Context, req HubsRequest) (Hubs, error) {
	var p problems
	p.inRange("k", req.K, 1, maxMeasureK)
	p.inRange("queries", req.Queries, 1, maxMeasureQueries)
	p.inRange("most", req.Most, 1, maxListed)
	if err := p.err(); err != nil {
		return Hubs{}, err
	}
	r, err := c.acquire()
	if err != nil {
		return Hubs{}, err
	}
	defer r.leave()
	counts := map[string]int{}
	var h Hubs
	for _, id := range r.sample(req.Queries, req.Seed) {
		ok, err := r.countNeighbors(ctx, id, req.K, counts)
		if err != nil {
			return Hubs{}, err
		}
		if ok {
			h.Queries++
		}
	}
	for id, n := range counts {
		h.Hubs = append(h.Hubs, Hub{ItemID: id, Lists: n})
	}
	slices.SortFunc(h.Hubs, func(a, b Hub) int {
		return cmp.Or(cmp.Compare(b.Lists, a.Lists), strings.Compare(a.ItemID, b.ItemID))
	})
	h.Hubs = h.Hubs[:min(req.Most, len(h.Hubs))]
	r.table.each(func(slot uint32) {
		h.Items++
		if id := r.table.entries.at(slot).id(); counts[id] == 0 {
			h.Orphans = append(h.Orphans, id)
		}
	})
	h.OrphanCount = len(h.Orphans)
	slices.Sort(h.Orphans)
	h.Orphans = h.Orphans[:min(req.Most, len(h.Orphans))]
	return h, nil
}

// countNeighbors counts the neighbors of one item; ok is false where it is gone.
func (r *release) countNeighbors(ctx context.Context, id string, k int, counts map[string]int) (ok bool, err error) {
	s := r.index.Acquire()
	defer s.Release()
	slot, ok := r.table.slotOf(id)
	if !ok {
		return false, nil
	}
	found, _, err := r.neighborsOf(ctx, s, id, s.Vector(slot)[:r.cfg.Dim], k, hnsw.SearchParams{Ef: DefaultEf(k)})
	if err != nil {
		return false, err
	}
	for _, c := range found {
		counts[r.table.entries.at(c.Slot).id()]++
	}
	return true, nil
}
