package engine

import (
	"cmp"
	"context"
	"math"
	"slices"

	"github.com/segue-ann/segue/hnsw"
)

// gather fills list with the candidates of a depth: what was found that may be a neighbor. Every other item scores at most the
// floor of its list. With last the floor is below what was found last, ties and all, because nothing deeper comes.
//
// Where probes share the score there is one list of candidates, by the best of them; where each has its own turns, each has its
// own list. Where ctx ends, list has what was found until then.
func (q *ranked) gather(ctx context.Context, depth int, last bool) error {
	q.floors = q.floors[:0]
	if q.aim.each {
		q.list, q.shallow = q.shallow[:0], q.list
	}
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
		err := q.fetch(ctx, probes, want)
		first := 0 // where the list of g begins: one list grows with the depth
		if q.aim.each {
			first = len(q.list)
		}
		q.admit(g)
		if err != nil {
			if q.aim.each { // the probes that were not come to have what they had
				q.list = append(q.list, q.shallow...)
			}
			return err
		}
		floor := math.Inf(-1)
		full := len(q.found) >= want
		switch {
		case full && last:
			floor = math.Nextafter(q.scoreOf(q.farthest()), math.Inf(-1))
		case q.depthShows() && first+depth < len(q.list) && !last:
			floor = q.list[first+depth].score
		case full:
			floor = q.scoreOf(q.farthest())
		}
		q.floors = append(q.floors, floor)
	}
	return nil
}

// fetch makes found the n nearest slots to any of the probes, as the request wants them found, ascending. With one list of
// candidates it goes on where it stopped. Where ctx ends, found has what was found until then.
func (q *ranked) fetch(ctx context.Context, probes []probe, n int) error {
	if q.aim.each || !q.begun {
		how := q.effort(n)
		ef := max(how.ef, n)
		exact := how.exact && !q.hurried || hnsw.PrefersScan(q.r.index.Len(), ef)
		vecs := make([][]float32, len(probes))
		for i := range probes {
			vecs[i] = probes[i].vec
		}
		q.found, q.stats, q.listed = q.found[:0], hnsw.SearchStats{}, 0
		if !q.aim.each {
			q.list, q.looks = q.list[:0], q.looks[:0]
		}
		if err := q.s.Begin(ctx, hnsw.SearchParams{K: n, Ef: ef, Allowed: q.allowed.set, Exact: exact}, vecs...); err != nil {
			return err
		}
		q.begun = true
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
	sorted := len(q.found) == 0 || len(more) == 0 || more[0].Distance > q.farthest()
	if q.found = append(q.found, more...); !sorted { // a wider beam finds what is nearer than what a narrow one gave
		slices.SortFunc(q.found, func(a, b hnsw.Candidate) int {
			return cmp.Or(cmp.Compare(a.Distance, b.Distance), cmp.Compare(a.Slot, b.Slot))
		})
		q.list, q.looks, q.listed = q.list[:0], q.looks[:0], 0
	}
	return err
}

// effort is how much work finding the n nearest may be.
func (q *ranked) effort(n int) effort {
	return q.r.effortFor(q.req, n, max(DefaultEf(q.req.K), n+n/2), q.allowed)
}

// farthest is the largest distance that was found.
func (q *ranked) farthest() float32 { return q.found[len(q.found)-1].Distance }

// scoreOf is the score of the query for a distance to a probe.
func (q *ranked) scoreOf(distance float32) float64 {
	return q.aim.scale*float64(q.r.score(distance)) + q.aim.offset
}

// admit adds what was found and is not there yet to the list, but for the query's own items. group is the list's, where there are
// several.
func (q *ranked) admit(group int) {
	for _, cand := range q.found[q.listed:] {
		if slices.Contains(q.seeds, cand.Slot) {
			continue
		}
		if !q.aim.each {
			group = int(cand.Query)
		}
		p := q.candidate(cand.Slot)
		p.distance, p.score, p.group = cand.Distance, q.scoreOf(cand.Distance), group
		q.list = append(q.list, p)
	}
	q.listed = len(q.found)
}

// candidate returns a candidate of which nothing is known yet.
func (q *ranked) candidate(slot uint32) pooled {
	q.looks = append(q.looks, look{slot: slot})
	return pooled{slot: slot, at: len(q.looks) - 1}
}

// settle fills the pool with those of the list that belong there: of each slot one, of the list of its best probe, not too near to
// a negative, and not where items that were not found may come before it.
func (q *ranked) settle(ctx context.Context) error {
	q.pool = append(q.pool[:0], q.list...)
	if len(q.gone) > 0 {
		q.pool = slices.DeleteFunc(q.pool, func(p pooled) bool { return slices.Contains(q.gone, p.slot) })
	}
	q.belowMin, q.nearNegative = false, false
	if q.aim.each || len(q.aim.negatives) > 0 {
		if err := q.compare(ctx); err != nil {
			return err
		}
	}
	q.cut()
	for i := range q.pool {
		q.raise(&q.pool[i])
	}
	return nil
}

// raise adds up what boosts and exploration make of a candidate.
func (q *ranked) raise(p *pooled) {
	for b := range q.req.Boosts {
		x, _ := q.boost(p, &q.req.Boosts[b])
		p.extra += x
	}
	if q.req.Temperature > 0 {
		p.extra += q.noise(p)
	}
}

// lookAhead is how many candidates are looked up together: their cache misses overlap.
const lookAhead = 32

// look returns what is known of a candidate, with its entry.
func (q *ranked) look(p *pooled) *look {
	if q.looks[p.at].entry == nil {
		ahead := q.looks[p.at:min(p.at+lookAhead, len(q.looks))]
		for i := range ahead {
			q.r.table.entries.touch(ahead[i].slot)
		}
		for i := range ahead {
			if l := &ahead[i]; l.entry == nil {
				l.entry = q.r.table.entries.at(l.slot)
			}
		}
		for i := range ahead {
			q.touched |= ahead[i].entry.touch()
		}
	}
	return &q.looks[p.at]
}

// id returns the item id of a candidate.
func (q *ranked) id(p *pooled) string {
	l := q.look(p)
	if l.id == "" {
		if q.ids.Cap() == 0 {
			q.ids.Grow(q.req.K * (l.entry.idLen() + 2))
		}
		begin := q.ids.Len()
		q.ids.Write(l.entry.idBytes())
		l.id = q.ids.String()[begin:]
	}
	return l.id
}

// idOf returns that of row of the pool.
func (q *ranked) idOf(row uint32) string { return q.id(&q.pool[row]) }

// isSeed says whether the query names an item, and does not want it.
func (q *ranked) isSeed(id string) bool {
	return !q.req.IncludeSeeds && (id == q.req.Query.ItemID || slices.Contains(q.aim.seeds, id))
}

// dropStale notes the picks that are not what was searched for any more, so that the next settle leaves them out: items that were
// deleted or written anew since, unless an old version stands for the new one because that was not found. Where there are too few
// picks it looks at the rest as well, which has to say why. It reports whether there were any.
func (q *ranked) dropStale() bool {
	before := len(q.gone)
	among := func(slot uint32) bool {
		return slices.ContainsFunc(q.pool, func(p pooled) bool { return p.slot == slot })
	}
	for _, pick := range q.picks {
		row := q.cands[pick.Index].Row
		p := &q.pool[row]
		if q.r.table.stale(p.slot, among) || q.isSeed(q.idOf(row)) || !q.allowed.admits(q.r.table.entries.at(p.slot)) {
			q.gone = append(q.gone, p.slot)
		}
	}
	if len(q.picks) == q.req.K {
		return len(q.gone) > before
	}
	for i := range q.pool {
		if slot := q.pool[i].slot; q.r.table.stale(slot, among) && !slices.Contains(q.gone[before:], slot) {
			q.gone = append(q.gone, slot)
		}
	}
	return len(q.gone) > before
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
	highest := slices.Max(q.floors)
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
	q.exhausted = math.IsInf(highest, -1)
	if !q.exhausted && q.below(highest) {
		// What lies deeper scores below the minimum too: it is as if there were nothing.
		q.exhausted, q.belowMin = true, true
	}
}

// below says whether a score is less than the request asks for.
func (q *ranked) below(score float64) bool {
	return q.req.HasMinScore && float32(score) < q.req.MinScore
}
