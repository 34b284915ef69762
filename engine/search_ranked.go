package engine

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/segue-ann/segue/engine/attribute"
	"github.com/segue-ann/segue/engine/rank"
	"github.com/segue-ann/segue/hnsw"
)

// ranked is one search whose neighbors are not simply the nearest items: there are several query vectors, or limits, boosts,
// diversity, chance, a minimum score or pages.
//
// It fetches the best-scored candidates to some depth, lets package rank pick from them, and goes deeper while that gives too
// few. How deep it went shows in the result only where candidates are chosen by more than their score, or interests take turns;
// then the depth is what the request says, and twice that, and so on. The candidates of a depth are exactly the items that score
// higher than the first one beyond it, so that no tie is cut by what only the index knows.
//
// What is known of a candidate beyond its score is looked up when it is asked for. Most of what a limit drives the search to is
// never picked; what is picked is looked at again, because items may have been written since the search began (dropStale).
type ranked struct {
	r    *release
	s    *hnsw.Searcher
	aim  *aim
	req  *SearchRequest
	info *SearchInfo
	// allowed is whose items may be found.
	allowed *allowance

	probes []probe
	seeds  []uint32 // slots that may not be answered
	names  []string // attribute of each limit
	most   []int    // of each limit
	crowd  *rank.Crowd
	now    time.Time
	seed   uint64

	begun bool             // a search was begun, whose results so far are found
	stats hnsw.SearchStats // of the search that was begun
	// kept is the answer of keptPicks picks that a scan is to better, where it may come too late; hurried while that is made.
	kept      *SearchResult
	keptPicks int
	hurried   bool

	gone   []uint32 // slots that dropStale dropped
	listed int      // of found, how many were looked through for list
	picks  []rank.Pick
	*rankedLists
	ids     strings.Builder // of candidates, in one piece of memory: what String returned stays as it is while more is written
	touched byte            // of entries: what is not used is not read
	// What was seen while the pool was filled.
	exhausted, belowMin, nearNegative bool
	// floors[g]: every item of list g that scores higher is in list; -Inf where all are.
	floors []float64
}

// rankedLists are what grows with the depth of a search: searches share the memory, one after the other.
type rankedLists struct {
	found   []hnsw.Candidate // ascending by distance, then slot
	list    []pooled         // what may be a candidate, list after list
	shallow []pooled         // list as it was at the depth before, where there are several
	looks   []look           // of list
	values  []rank.ValueID
	pool    []pooled // the candidates
	cands   []rank.Candidate
	limits  *rank.Crowd
}

// maxKeptLists is for how many candidates memory is kept.
const maxKeptLists = 4096

// takeLists returns empty lists.
func (e *Engine) takeLists() *rankedLists {
	if l, ok := e.lists.Get().(*rankedLists); ok {
		return l
	}
	return new(rankedLists)
}

// giveLists takes back what takeLists returned. Nothing of it may be used afterwards.
func (e *Engine) giveLists(l *rankedLists) {
	if cap(l.looks) > maxKeptLists || cap(l.list) > maxKeptLists || cap(l.values) > 4*maxKeptLists {
		return
	}
	clear(l.looks) // entries are of memory that may be given up
	l.found, l.list, l.shallow, l.looks = l.found[:0], l.list[:0], l.shallow[:0], l.looks[:0]
	l.values, l.pool, l.cands = l.values[:0], l.pool[:0], l.cands[:0]
	e.lists.Put(l)
}

// pooled is a candidate as the engine knows it.
type pooled struct {
	slot     uint32
	distance float32 // to the best probe
	group    int     // index of the best probe
	score    float64
	extra    float64 // what boosts and exploration add to the score
	at       int     // of its look
}

// look is what is looked up of a candidate where that is asked for, and then does not change: attributes may, meanwhile.
type look struct {
	slot    uint32
	entry   entry
	id      string
	limited []rank.ValueID // nil: not asked for
}

// maxCandidates bounds how deep limits may drive a search.
const maxCandidates = 20_000

// searchRanked answers a request that is not plain. It takes values, so that those of a plain search stay on the stack.
func (r *release) searchRanked(ctx context.Context, s *hnsw.Searcher, a aim, req SearchRequest, allowed allowance, revision LSN) (SearchResult, error) {
	result := SearchResult{Info: SearchInfo{Release: r.rows.Release(), Revision: revision}, Unresolved: a.unresolved}
	q := newRanked(r, s, &a, &req, &allowed, &result.Info)
	defer r.engine.giveLists(q.rankedLists)
	search, cancel := q.deadline(ctx)
	defer cancel()
	err := q.answer(search, ctx, &result)
	return result, err
}

// answer fills result under the deadline of search, which falls before that of the caller.
func (q *ranked) answer(search, caller context.Context, result *SearchResult) error {
	err := q.run(search)
	if err == nil {
		q.finish()
		return q.neighbors(result)
	}
	if !q.req.AllowPartial || caller.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	result.Info.Completeness, result.Info.ExpectedRecall = PartialDeadline, 0
	if q.kept == nil {
		if err := q.hasten(caller, result); err != nil {
			return err
		}
	} else {
		result.Neighbors, result.Next = q.kept.Neighbors, q.kept.Next
	}
	if q.keptPicks < q.req.K {
		result.Info.Shortfall = ShortOfTime
	}
	return nil
}

// hasten answers with the best of what was found until now, by every rule but diversity, which takes time.
func (q *ranked) hasten(ctx context.Context, result *SearchResult) error {
	q.floors = append(q.floors[:0], slices.Repeat([]float64{math.Inf(-1)}, len(q.probes))...)
	for again := true; again; again = q.dropStale() {
		if err := q.settle(ctx); err != nil {
			return err
		}
		if err := q.pick(ctx, 0); err != nil {
			return err
		}
	}
	q.keptPicks = len(q.picks)
	return q.neighbors(result)
}

func newRanked(r *release, s *hnsw.Searcher, a *aim, req *SearchRequest, allowed *allowance, info *SearchInfo) *ranked {
	q := &ranked{r: r, s: s, aim: a, req: req, allowed: allowed, info: info, probes: a.all(), seed: req.Seed, now: req.Now,
		rankedLists: r.engine.takeLists()}
	for _, c := range req.Crowding {
		q.names, q.most = append(q.names, c.Attribute), append(q.most, c.Most)
	}
	if req.Dedupe != "" {
		q.names, q.most = append(q.names, req.Dedupe), append(q.most, 1)
	}
	if len(q.names) > 0 {
		if q.limits == nil {
			q.limits = rank.NewCrowd()
		}
		q.crowd = q.limits
		q.crowd.Begin(q.most...)
	}
	if !req.IncludeSeeds {
		for _, id := range a.seeds {
			if slot, ok := r.table.slotOf(id); ok {
				q.seeds = append(q.seeds, slot)
			}
		}
		if a.seed != noSeed {
			q.seeds = append(q.seeds, a.seed)
		}
	}
	if req.Temperature > 0 {
		for q.seed == 0 {
			q.seed = rand.Uint64() //nolint:gosec // chance that the caller asked for, and is told
		}
		info.Seed = q.seed
	}
	if slices.ContainsFunc(req.Boosts, func(b Boost) bool { return b.Transform == TimeDecay && b.Reference.IsZero() }) {
		if q.now.IsZero() {
			q.now = time.Now().UTC().Truncate(time.Microsecond)
		}
		info.Now = q.now
	}
	return q
}

// deadline is the context of the search: with AllowPartial it ends early enough for the answer to arrive.
func (q *ranked) deadline(ctx context.Context) (context.Context, context.CancelFunc) {
	at, ok := ctx.Deadline()
	if !ok || !q.req.AllowPartial {
		return ctx, func() {}
	}
	margin := min(time.Until(at)/10, 20*time.Millisecond)
	return context.WithDeadline(ctx, at.Add(-margin))
}

// depthShows says whether the result depends on how deep the search went.
func (q *ranked) depthShows() bool { return q.req.reranked() || q.aim.each }

// candidateCount is how many candidates a request chooses from, where the depth shows: of each probe that takes turns.
func (q *ranked) candidateCount() int {
	if q.req.Candidates > 0 {
		return q.req.Candidates
	}
	most := q.r.engine.opts.Limits.MaxCandidates
	if q.req.Diversity > 0 {
		most = q.r.engine.opts.Limits.MaxDiverse
	}
	return min(max(200, 4*q.req.K), most)
}

// firstDepth is how many candidates are fetched at first for each probe.
func (q *ranked) firstDepth() int {
	if q.req.reranked() {
		return q.candidateCount()
	}
	// What a beam of the usual width has found anyway, but for its less reliable end.
	first := max(q.req.K, 2*DefaultEf(q.req.K)/3-overFetch-1)
	if q.aim.each {
		first = min(first, q.candidateCount())
	}
	return first
}

// run fetches and picks until K are picked, everything was seen, or the bound is reached. Where a partial answer is allowed to an
// exact search, it begins with one from the K nearest of the graph: half a scan has found nothing that means anything.
func (q *ranked) run(ctx context.Context) error {
	if q.req.AllowPartial && q.effort(q.req.K).exact {
		q.hurried = true
		for again := true; again; again = q.dropStale() {
			if err := q.seek(ctx, q.req.K, true); err != nil {
				return err
			}
		}
		q.kept, q.keptPicks = new(SearchResult), len(q.picks)
		if err := q.neighbors(q.kept); err != nil {
			return err
		}
		q.hurried, q.begun = false, false
	}
	depth := q.firstDepth()
	most := max(depth, maxCandidates/len(q.probes))
	for {
		if err := q.seek(ctx, depth, depth == most); err != nil {
			return err
		}
		if q.exhausted || depth == most || !q.wantsMore(depth) {
			if !q.dropStale() {
				return nil
			}
			continue // others take their places
		}
		depth = min(q.deeper(depth), most)
	}
}

// seek picks from the candidates of a depth.
func (q *ranked) seek(ctx context.Context, depth int, last bool) error {
	if err := q.gather(ctx, depth, last); err != nil {
		return err
	}
	if err := q.settle(ctx); err != nil {
		return err
	}
	return q.pick(ctx, q.req.Diversity)
}

// wantsMore says whether to go deeper: there are too few picks, or a probe had none left for its turns and is due more.
func (q *ranked) wantsMore(depth int) bool {
	if len(q.picks) < q.req.K {
		return true
	}
	if !q.aim.each || depth >= q.candidateCount() {
		return false
	}
	left := make([]int, len(q.probes))
	count := func(index, n int) {
		c := &q.cands[index]
		if q.crowd != nil {
			if _, blocked := q.crowd.Blocked(q.limited(c.Row)); blocked {
				return
			}
		}
		left[c.Group] += n
	}
	for i := range q.cands {
		count(i, 1)
	}
	for _, p := range q.picks {
		count(p.Index, -1)
	}
	for g, n := range left {
		if n == 0 && !math.IsInf(q.floors[g], -1) {
			return true
		}
	}
	return false
}

// deeper returns the depth to look at after depth. Where it does not show, it is about what picks of the second half of the
// candidates make hope to suffice.
func (q *ranked) deeper(depth int) int {
	switch {
	case q.req.reranked() || depth >= q.candidateCount() && q.aim.each:
		return 2 * depth
	case q.aim.each:
		return q.candidateCount()
	}
	half, late := len(q.cands)/2, 0
	for _, p := range q.picks {
		if p.Index >= half {
			late++
		}
	}
	missing := q.req.K - len(q.picks)
	hope := missing * 11 / 10 * (len(q.cands) - half) / max(late, 1)
	return min(max(depth+hope, depth+depth/4), 4*depth)
}

// pick ranks the pool and picks from it.
func (q *ranked) pick(ctx context.Context, diversity float64) error {
	o := rank.Options{K: q.req.K, Crowd: q.crowd, Limited: q.limited, Diversity: diversity}
	if q.aim.each {
		for i := range q.probes {
			o.Weights = append(o.Weights, q.probes[i].weight)
		}
	}
	if q.crowd != nil {
		q.crowd.Reset()
	}
	q.cands = q.cands[:0]
	for i := range q.pool {
		p := &q.pool[i]
		c := rank.Candidate{Value: p.score + p.extra, Row: uint32(i)}
		if q.aim.each {
			c.Group = p.group
		}
		q.cands = append(q.cands, c)
	}
	rank.Sort(q.cands, q.idOf)
	if o.Diversity > 0 {
		o.Vectors = q.matrix()
	}
	picks, err := rank.Select(ctx, q.cands, o)
	if err != nil {
		return err
	}
	q.picks = picks
	return nil
}

// limited returns the values of a row of the pool that limits count.
func (q *ranked) limited(row uint32) []rank.ValueID {
	known := q.look(&q.pool[row])
	if known.limited != nil {
		return known.limited
	}
	from := len(q.values)
	for l, name := range q.names {
		v, ok := attribute.Lookup(known.entry.attributes(), name)
		if !ok {
			continue
		}
		first := len(q.values)
		count := func(value []byte) {
			if id := q.crowd.Value(l, value); !slices.Contains(q.values[first:], id) {
				q.values = append(q.values, id)
			}
		}
		if v.Type != Keyword {
			count([]byte(valueText(v.Value())))
			continue
		}
		for k := range v.Keywords() {
			count(k)
		}
	}
	known.limited = q.values[from:len(q.values):len(q.values)]
	if known.limited == nil {
		known.limited = []rank.ValueID{}
	}
	return known.limited
}

// valueText is the value of an attribute that is no keyword, as text: equal for equal values.
func valueText(v Value) string {
	switch v.Type {
	case Bool:
		return strconv.FormatBool(v.Bool)
	case Int:
		return strconv.FormatInt(v.Int, 10)
	case Float:
		return strconv.FormatFloat(v.Float, 'g', -1, 64)
	case Timestamp:
		return v.Time.Format(time.RFC3339Nano)
	}
	return strings.Join(v.Markets.Codes(), " ")
}

// boost returns what a boost adds to a candidate; ok is false where the candidate has no value for it.
func (q *ranked) boost(p *pooled, b *Boost) (contribution float64, ok bool) {
	v, ok := attribute.Lookup(q.look(p).entry.attributes(), b.Attribute)
	if !ok || (v.Type == Timestamp) != (b.Transform == TimeDecay) {
		return 0, false
	}
	rb := rank.Boost{Transform: b.Transform, Weight: b.Weight, HalfLife: b.HalfLife.Seconds()}
	switch v.Type {
	case Int:
		return rb.Contribution(float64(v.Int())), true
	case Float:
		return rb.Contribution(v.Float()), true
	case Bool:
		if v.Bool() {
			return rb.Contribution(1), true
		}
		return rb.Contribution(0), true
	case Timestamp:
		from := b.Reference
		if from.IsZero() {
			from = q.now
		}
		return rb.Contribution(float64(from.UnixMicro()-v.Micros()) / 1e6), true
	}
	return 0, false
}

func (q *ranked) noise(p *pooled) float64 {
	return q.req.Temperature * rank.Noise(q.seed, q.look(p).entry.id())
}

// matrix copies the pool's vectors, those of inner product normalised: their length says how much they are liked, not what
// they are.
func (q *ranked) matrix() *rank.Matrix {
	m := rank.NewMatrix(len(q.pool), q.r.cfg.Dim, q.r.cfg.Metric == L2)
	for i := range q.pool {
		row := m.Row(uint32(i))[:q.r.cfg.Dim]
		q.s.CopyVector(row, q.pool[i].slot)
		if q.r.cfg.Metric != InnerProduct {
			continue
		}
		norm := 0.0
		for _, x := range row {
			norm += float64(x) * float64(x)
		}
		if norm > 0 {
			inverse := 1 / math.Sqrt(norm)
			for j := range row {
				row[j] = float32(float64(row[j]) * inverse)
			}
		}
	}
	return m
}

// finish says what the search was, and why it gives fewer than K where it does.
func (q *ranked) finish() {
	info := q.info
	switch one := q.aim.vec != nil; {
	case q.req.Exact || one && q.stats.Exact:
		info.ExpectedRecall = 1
	case !one: // beams are measured for one query vector
		info.ExpectedRecall = 0
	}
	if q.depthShows() {
		info.Candidates = len(q.pool)
	}
	switch {
	case len(q.picks) == q.req.K:
		info.Completeness = Complete
	case !q.exhausted:
		info.Completeness, info.Shortfall = PartialBudget, ShortOfBudget
	default:
		info.Completeness, info.Shortfall = Exhausted, ShortOfItems
		switch {
		case len(q.picks) < len(q.cands):
			info.Shortfall = ShortByCrowding
		case q.nearNegative:
			info.Shortfall = ShortByNegatives
		case q.belowMin:
			info.Shortfall = ShortByMinScore
		}
	}
}

// neighbors turns the picks of the page into neighbors.
func (q *ranked) neighbors(result *SearchResult) error {
	from, to := q.page()
	result.Neighbors = make([]Neighbor, 0, to-from)
	for _, pick := range q.picks[from:to] {
		p := &q.pool[q.cands[pick.Index].Row]
		n, err := q.neighbor(p)
		if err != nil {
			return err
		}
		if q.req.Explain {
			n.Explanation = q.explain(pick)
		}
		result.Neighbors = append(result.Neighbors, n)
	}
	if to < len(q.picks) {
		result.Next = &Cursor{Offset: to, ItemID: q.idOf(q.cands[q.picks[to-1].Index].Row)}
	}
	return nil
}

// page returns which of the picks are on the page.
func (q *ranked) page() (from, to int) {
	if q.req.PageSize == 0 {
		return 0, len(q.picks)
	}
	from = min(q.req.After.Offset, len(q.picks))
	if last := q.req.After.ItemID; last != "" {
		if at := slices.IndexFunc(q.picks, func(p rank.Pick) bool { return q.idOf(q.cands[p.Index].Row) == last }); at >= 0 {
			from = at + 1
		}
	}
	return from, min(from+q.req.PageSize, len(q.picks))
}

func (q *ranked) explain(pick rank.Pick) *Explanation {
	c := &q.cands[pick.Index]
	p := &q.pool[c.Row]
	e := &Explanation{RankValue: c.Value, CandidateRank: pick.Index + 1}
	for i := range q.req.Boosts {
		if x, ok := q.boost(p, &q.req.Boosts[i]); ok {
			e.Boosts = append(e.Boosts, BoostContribution{Attribute: q.req.Boosts[i].Attribute, Contribution: x})
		}
	}
	if q.req.Temperature > 0 {
		e.Exploration = q.noise(p)
	}
	if q.req.Diversity > 0 {
		e.Nearness, e.Objective = pick.Nearness, pick.Objective
	}
	return e
}
