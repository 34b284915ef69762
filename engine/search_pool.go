package engine

import (
	"cmp"
	"context"
	"math"
	"slices"

	"github.com/segue-ann/segue/hnsw"
)

// gather fills the pool with the candidates of a depth: the items that may be neighbors and score higher than the first one
// beyond that depth. With last even ties with that one are taken, as many as were found, because nothing deeper comes.
//
// Where probes share the score there is one list of candidates, by the best of them; where each has its own turns, each has
// its own list.
func (q *ranked) gather(ctx context.Context, depth int, last bool) error {
	q.pool, q.floors = q.pool[:0], q.floors[:0]
	q.exhausted, q.belowMin, q.nearNegative = true, false, false
	// One more than the depth, and what will be dropped.
	want := depth + 1 + len(q.aim.seeds) + overFetch
	lists := 1
	if q.aim.each {
		lists = len(q.probes)
	}
	for g := range lists {
		probes := q.probes
		if q.aim.each {
			probes = q.probes[g : g+1]
		}
		if err := q.fetch(ctx, probes, want); err != nil {
			return err
		}
		first := len(q.pool)
		q.admit(g)
		floor := math.Inf(-1)
		full := len(q.found) >= want
		switch {
		case full && last:
			floor = math.Nextafter(q.scoreOf(q.farthest()), math.Inf(-1))
		case first+depth < len(q.pool) && !last:
			floor = q.pool[first+depth].score
		case full: // so many were stale: what was found last is the bound
			floor = q.scoreOf(q.farthest())
		}
		q.exhausted = q.exhausted && math.IsInf(floor, -1)
		q.floors = append(q.floors, floor)
	}
	if q.aim.each || len(q.aim.negatives) > 0 {
		if err := q.compare(ctx); err != nil {
			return err
		}
	}
	q.cut()
	return nil
}

// fetch makes found the n nearest slots to any of the probes, as the request wants them found, and more where more were found
// on the way. With one list of candidates it goes on where it stopped, and what a wider beam finds late can be nearer than what
// came before.
func (q *ranked) fetch(ctx context.Context, probes []probe, n int) error {
	if q.aim.each || !q.begun {
		how := q.r.effortFor(q.req, n, max(DefaultEf(q.req.K), n+n/2), q.allowed)
		ef := max(how.ef, n)
		// A wide beam computes about scanFactor distances for every place in it, in the order of the graph; a scan computes
		// all, in the order of memory.
		exact := how.exact && !q.hurried || scanFactor*ef >= q.r.index.Len()
		vecs := make([][]float32, len(probes))
		for i := range probes {
			vecs[i] = probes[i].vec
		}
		if err := q.s.Begin(ctx, hnsw.SearchParams{K: n, Ef: ef, Allowed: q.allowed.set, Exact: exact}, vecs...); err != nil {
			return err
		}
		q.begun, q.found, q.stats = true, q.found[:0], hnsw.SearchStats{}
		q.admitted, q.looked, q.stale = q.admitted[:0], 0, false
		q.info.EfUsed, q.info.ExpectedRecall = ef, how.expected
	} else if n > len(q.found) {
		q.info.ExpectedRecall = 0 // deeper than the beam was made for
	}
	if n <= len(q.found) {
		return nil
	}
	more, stats, err := q.s.More(ctx, n-len(q.found))
	q.info.Distances += stats.Distances - q.stats.Distances
	q.info.Hops += stats.Hops - q.stats.Hops
	q.stats = stats
	if q.info.Plan = planOf(stats); q.info.Plan == PlanExact {
		q.info.EfUsed = 0
	}
	if err != nil {
		return err
	}
	q.found = append(q.found, more...)
	return nil
}

// farthest is the largest distance that was found.
func (q *ranked) farthest() float32 {
	return slices.MaxFunc(q.found, func(a, b hnsw.Candidate) int { return cmp.Compare(a.Distance, b.Distance) }).Distance
}

const scanFactor = 8

// scoreOf is the score of the query for a distance to a probe.
func (q *ranked) scoreOf(distance float32) float64 {
	return q.aim.scale*float64(q.r.score(distance)) + q.aim.offset
}

// admit fills admitted with what was found, but for seeds and stale slots. What was admitted before stays, so that going deeper
// costs what is new; unless something in it was stale, which what is new may replace. group is the list's, where there are several.
func (q *ranked) admit(group int) {
	if q.aim.each || q.stale {
		q.admitted, q.looked, q.stale = q.admitted[:0], 0, false
	}
	first := len(q.admitted)
	for _, cand := range q.found[q.looked:] {
		e := q.r.table.entries.at(cand.Slot)
		id := e.id()
		if q.isSeed(cand.Slot, id) || !q.allowed.admits(e) || q.r.superseded(id, cand.Slot, q.found) {
			continue
		}
		if now, ok := q.r.table.slotOf(id); !ok || now != cand.Slot {
			q.stale = true
		}
		if !q.aim.each {
			group = int(cand.Query)
		}
		p := pooled{slot: cand.Slot, id: id, entry: e, distance: cand.Distance, score: q.scoreOf(cand.Distance), group: group}
		q.weigh(&p)
		q.admitted = append(q.admitted, p)
	}
	q.looked = len(q.found)
	if n := len(q.admitted); first > 0 && first < n && q.admitted[first].distance <= q.admitted[first-1].distance {
		// A wider beam found what is nearer than what a narrow one gave.
		slices.SortFunc(q.admitted, func(a, b pooled) int {
			return cmp.Or(cmp.Compare(a.distance, b.distance), cmp.Compare(a.slot, b.slot))
		})
	}
	q.pool = append(q.pool, q.admitted...)
}

// weigh fills in what limits, boosts and exploration make of a candidate.
func (q *ranked) weigh(p *pooled) {
	for b := range q.req.Boosts {
		x, _ := q.boost(p, &q.req.Boosts[b])
		p.extra += x
	}
	if q.req.Temperature > 0 {
		p.extra += q.noise(p)
	}
	if q.crowd != nil {
		p.limited = q.limited(p)
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
// near to a negative. Cost: one distance for every candidate and query vector.
func (q *ranked) compare(ctx context.Context) error {
	seen := make(map[uint32]struct{}, len(q.pool))
	set, slots := q.pool[:0], make([]uint32, 0, len(q.pool))
	for _, p := range q.pool {
		if _, ok := seen[p.slot]; ok {
			continue
		}
		seen[p.slot] = struct{}{}
		set, slots = append(set, p), append(slots, p.slot)
	}
	if err := q.score(ctx, set, slots); err != nil {
		return err
	}
	near := make([]float64, len(set)) // score for the nearest negative
	for i := range near {
		near[i] = math.Inf(-1)
	}
	var distances []float32
	var err error
	for n := range q.aim.negatives {
		if distances, err = q.s.Distances(ctx, q.aim.negatives[n].vec, slots, distances[:0]); err != nil {
			return err
		}
		for i, d := range distances {
			near[i] = max(near[i], q.scoreOf(d))
		}
	}
	q.pool = set[:0]
	for i, p := range set {
		// What scores too low is dropped by cut, and for that reason.
		if near[i] >= p.score && !q.below(p.score) {
			q.nearNegative = true
			continue
		}
		q.pool = append(q.pool, p)
	}
	return nil
}

// score finds the probe that each of ps, whose slots are given, scores best for; of equals the first.
func (q *ranked) score(ctx context.Context, ps []pooled, slots []uint32) error {
	var distances []float32
	var err error
	for g := range q.probes {
		if distances, err = q.s.Distances(ctx, q.probes[g].vec, slots, distances[:0]); err != nil {
			return err
		}
		for i, d := range distances {
			if s := q.scoreOf(d); g == 0 || s > ps[i].score {
				ps[i].score, ps[i].distance, ps[i].group = s, d, g
			}
		}
	}
	return nil
}

// best is compare for one candidate: it reports whether no negative is as near.
func (q *ranked) best(p *pooled) bool {
	p.score = math.Inf(-1)
	for g := range q.probes {
		d := q.s.Distance(q.probes[g].vec, p.slot)
		if s := q.scoreOf(d); s > p.score {
			p.score, p.distance, p.group = s, d, g
		}
	}
	if q.below(p.score) {
		return true
	}
	for n := range q.aim.negatives {
		if q.scoreOf(q.s.Distance(q.aim.negatives[n].vec, p.slot)) >= p.score {
			return false
		}
	}
	return true
}

// cut drops candidates at or below the floor of their list, where there may be others that were not found, and below the
// minimum score.
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
