package engine

import (
	"context"
	"math"

	"github.com/segue-ann/segue/hnsw"
)

// gather fills the pool with the candidates of a depth: the items that may be neighbors and score higher than the first one
// beyond that depth. With last even ties with that one are taken, as many as were found, because nothing deeper comes.
func (q *ranked) gather(ctx context.Context, depth int, last bool) error {
	q.pool, q.floors = q.pool[:0], q.floors[:0]
	q.exhausted, q.belowMin, q.nearNegative = true, false, false
	for g := range q.probes {
		first := len(q.pool)
		// One more than the depth, and what will be dropped.
		want := depth + 1 + len(q.aim.seeds) + overFetch
		found, err := q.fetch(ctx, q.probes[g].vec, want)
		if err != nil {
			return err
		}
		q.admit(g, found)
		floor := math.Inf(-1)
		full := len(found) == want
		switch {
		case full && last:
			floor = math.Nextafter(q.scoreOf(found[want-1].Distance), math.Inf(-1))
		case first+depth < len(q.pool) && !last:
			floor = q.pool[first+depth].score
		case full: // so many were stale: what was found last is the bound
			floor = q.scoreOf(found[want-1].Distance)
		}
		q.exhausted = q.exhausted && math.IsInf(floor, -1)
		q.floors = append(q.floors, floor)
	}
	if len(q.probes) > 1 || len(q.aim.negatives) > 0 {
		q.compare()
	}
	q.cut()
	return nil
}

// fetch returns the n nearest slots, as the request wants them found.
func (q *ranked) fetch(ctx context.Context, vec []float32, n int) ([]hnsw.Candidate, error) {
	ef := max(q.req.Ef, n)
	if q.req.Ef == 0 {
		ef = max(DefaultEf(q.req.K), n+n/2)
	}
	// A wide beam computes about scanFactor distances for every place in it, in the order of the graph; a scan computes
	// all, in the order of memory.
	exact := q.req.Exact || scanFactor*ef >= q.r.index.Len()
	found, stats, err := q.s.Search(ctx, vec, hnsw.SearchParams{K: n, Ef: ef, Allowed: q.allowed.set, Exact: exact})
	q.info.Distances += stats.Distances
	q.info.Hops += stats.Hops
	q.info.Plan, q.info.EfUsed = planOf(stats), ef
	if q.info.Plan == PlanExact {
		q.info.EfUsed = 0
	}
	return found, err
}

const scanFactor = 8

// scoreOf is the score of the query for a distance to a probe.
func (q *ranked) scoreOf(distance float32) float64 {
	return q.aim.scale*float64(q.r.score(distance)) + q.aim.offset
}

// admit appends what was found for probe g, but for seeds and stale slots.
func (q *ranked) admit(g int, found []hnsw.Candidate) {
	for _, cand := range found {
		e := q.r.table.entries.at(cand.Slot)
		id := e.id()
		if q.isSeed(cand.Slot, id) || !q.allowed.admits(e) || q.r.superseded(id, cand.Slot, found) {
			continue
		}
		q.pool = append(q.pool, pooled{slot: cand.Slot, id: id, entry: e, distance: cand.Distance, score: q.scoreOf(cand.Distance), group: g})
	}
}

func (q *ranked) isSeed(slot uint32, id string) bool {
	if q.req.IncludeSeeds {
		return false
	}
	if slot == q.aim.seed || q.req.Query.ItemID == id {
		return true
	}
	for _, seed := range q.aim.seeds {
		if seed == id {
			return true
		}
	}
	return false
}

// compare makes the pool a set, scores every candidate for all probes, gives it to the best, and drops what is at least as
// near to a negative.
func (q *ranked) compare() {
	seen := make(map[uint32]struct{}, len(q.pool))
	kept := q.pool[:0]
	for _, p := range q.pool {
		if _, ok := seen[p.slot]; ok {
			continue
		}
		seen[p.slot] = struct{}{}
		if q.best(&p) {
			kept = append(kept, p)
		} else {
			q.nearNegative = true
		}
	}
	q.pool = kept
}

// best finds the probe that a candidate scores best for; of equals the first. It reports whether no negative is as near.
func (q *ranked) best(p *pooled) bool {
	p.score = math.Inf(-1)
	for g := range q.probes {
		d := q.s.Distance(q.probes[g].vec, p.slot)
		if s := q.scoreOf(d); s > p.score {
			p.score, p.distance, p.group = s, d, g
		}
	}
	if q.below(p.score) {
		return true // cut drops it, and for that reason
	}
	for n := range q.aim.negatives {
		if q.scoreOf(q.s.Distance(q.aim.negatives[n].vec, p.slot)) >= p.score {
			return false
		}
	}
	return true
}

// cut drops candidates at or below the floor, where there may be others that were not found, and below the minimum score.
//
// Where probes share the score, an item that was not found scores at most as high as the highest floor; where each has its
// own list, at most as high as the floor of each.
func (q *ranked) cut() {
	highest := math.Inf(-1)
	for _, f := range q.floors {
		highest = max(highest, f)
	}
	kept := q.pool[:0]
	for _, p := range q.pool {
		floor := highest
		if q.aim.each {
			floor = q.floors[p.group]
		}
		switch {
		case q.below(p.score):
			q.belowMin = true
		case p.score > floor:
			kept = append(kept, p)
		}
	}
	q.pool = kept
	if !q.exhausted && q.below(highest) {
		// What lies deeper scores below the minimum too: it is as if there were nothing.
		q.exhausted, q.belowMin = true, true
	}
}

// below says whether a score is less than the request asks for.
func (q *ranked) below(score float64) bool {
	return q.req.HasMinScore && float32(score) < q.req.MinScore
}
