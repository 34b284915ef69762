package engine

import (
	"context"
	"fmt"
	"slices"

	"github.com/segue-ann/segue/engine/rank"
	"github.com/segue-ann/segue/hnsw"
)

// Explained is an answer beside the exact one.
type Explained struct {
	Result SearchResult
	// ExactRanks[i] is the position, from 1, of neighbor i in the exact answer; 0 where it is not in it.
	ExactRanks []int
	// Missed are the neighbors of the exact answer that are not in the result.
	Missed []Neighbor
	// Recall is the share of the exact answer that was found; 1 where that is empty.
	Recall float64
}

// ExplainNeighbors answers a request as Search does, with explanations, and compares with an exact search. Errors are those of
// Search. Cost: that of an exact search more.
func (c *Collection) ExplainNeighbors(ctx context.Context, req SearchRequest) (Explained, error) {
	req.Explain = true
	asked, err := c.Search(ctx, req)
	if err != nil {
		return Explained{}, err
	}
	exactly := req
	exactly.Ef, exactly.TargetRecall, exactly.Exact, exactly.AllowPartial = 0, 0, true, false
	exactly.Seed, exactly.Now = asked.Info.Seed, asked.Info.Now
	exact, err := c.Search(ctx, exactly)
	if err != nil {
		return Explained{}, err
	}
	e := Explained{Result: asked, ExactRanks: make([]int, len(asked.Neighbors)), Recall: 1}
	for i, n := range exact.Neighbors {
		at := slices.IndexFunc(asked.Neighbors, func(a Neighbor) bool { return a.ItemID == n.ItemID })
		if at < 0 {
			e.Missed = append(e.Missed, n)
			continue
		}
		e.ExactRanks[at] = i + 1
	}
	if n := len(exact.Neighbors); n > 0 {
		e.Recall = float64(n-len(e.Missed)) / float64(n)
	}
	return e, nil
}

// AbsenceReason says why an item is not in an answer.
type AbsenceReason uint8

// The reasons, in the order in which they are looked for.
const (
	Present AbsenceReason = iota + 1
	NotIndexed
	IsSeed
	FilteredOut
	Excluded
	BelowMinScore
	NearNegative
	MissedBySearch
	CrowdedOut
	Outranked
	BeyondK
)

// Absence says where an item is, or why it is not there.
type Absence struct {
	Reason AbsenceReason
	// Rank is, from 1, the position in the answer (Present), in the exact answer (MissedBySearch), or among all items that may
	// be returned by score (CrowdedOut, Outranked, BeyondK).
	Rank int
	// Score is the item's, where HasScore is set.
	Score    float32
	HasScore bool
	// Detail is the reason in words.
	Detail string
	// Clause is the condition of the filter or of excluded attributes, as a filter string, the name of the exclusion set, or the id.
	Clause string
	// Attribute, Value and CrowdedBy say which limit crowded it out: the value without room, and who took the room.
	Attribute, Value string
	CrowdedBy        []string
}

// maxCrowdedBy bounds how many items an Absence names.
const maxCrowdedBy = 10

// ExplainAbsence says why an item is not in the answer to a request, or that it is. Errors are those of Search; an item that
// does not exist is no error. Cost: that of the search, of an exact one, and of one distance for every item and query vector.
func (c *Collection) ExplainAbsence(ctx context.Context, req SearchRequest, id string) (Absence, error) {
	req.PageSize, req.After, req.AllowPartial = 0, Cursor{}, false
	if err := c.validateSearch(&req); err != nil {
		return Absence{}, err
	}
	var problems problems
	problems.id("item_id", id, c.engine.opts.Limits)
	if err := problems.err(); err != nil {
		return Absence{}, err
	}
	r, err := c.acquireAt(ctx, req.MinRevision)
	if err != nil {
		return Absence{}, err
	}
	defer r.leave()
	s := r.index.Acquire()
	defer s.Release()
	a, err := r.resolve(ctx, s, &req)
	if err != nil {
		return Absence{}, err
	}
	slot, ok := r.find(id)
	if !ok {
		return Absence{Reason: NotIndexed, Detail: "there is no item of this id, or it has expired"}, nil
	}
	allowed, err := r.allowed(ctx, req.Filter, &req.Exclusions)
	if err != nil {
		return Absence{}, err
	}
	defer allowed.release()
	q := newRanked(r, s, &a, &req, &allowed, new(SearchInfo))
	p := q.candidate(slot)
	near := !q.best(&p)
	absence := Absence{Score: float32(p.score), HasScore: true}
	switch {
	case q.isSeed(id):
		absence.Reason, absence.Detail = IsSeed, "the query names it"
		return absence, nil
	case !allowed.admits(q.look(&p).entry):
		return absence, r.whyDenied(ctx, &absence, q.look(&p).entry, &req)
	case q.below(p.score):
		absence.Reason, absence.Detail = BelowMinScore, fmt.Sprintf("its score %g is below min_score %g", absence.Score, req.MinScore)
		return absence, nil
	case near:
		absence.Reason, absence.Detail = NearNegative, "it is at least as near to a negative example as to every positive one"
		return absence, nil
	}
	at, ef, err := q.positionOf(ctx, id)
	if err != nil {
		return Absence{}, err
	}
	if at >= 0 {
		absence.Reason, absence.Rank, absence.Detail = Present, at+1, fmt.Sprintf("it is neighbor %d", at+1)
		return absence, nil
	}
	exactly := req
	exactly.Ef, exactly.TargetRecall, exactly.Exact = 0, 0, true
	exactly.Seed, exactly.Now = q.seed, q.now
	exact := newRanked(r, s, &a, &exactly, &allowed, new(SearchInfo))
	if err := exact.run(ctx); err != nil {
		return Absence{}, err
	}
	if at := exact.pickOf(id); at >= 0 {
		absence.Reason, absence.Rank = MissedBySearch, at+1
		absence.Detail = fmt.Sprintf("an exact search returns it as neighbor %d; the approximate one, with ef %d, missed it", at+1, ef)
		return absence, nil
	}
	if absence.Rank, err = newRanked(r, s, &a, &exactly, &allowed, new(SearchInfo)).rankByScore(ctx, &p, id); err != nil {
		return Absence{}, err
	}
	exact.whyNotPicked(&absence, id)
	return absence, nil
}

// positionOf answers the request as Search does, and returns the position of an item in the answer, or -1; and the beam's width.
func (q *ranked) positionOf(ctx context.Context, id string) (at, ef int, err error) {
	if !q.aim.plain(q.req) {
		err := q.run(ctx)
		return q.pickOf(id), q.info.EfUsed, err
	}
	var served SearchResult
	err = q.r.search(ctx, q.s, q.aim.vec, q.aim.seed, q.req, q.allowed, &served)
	at = slices.IndexFunc(served.Neighbors, func(n Neighbor) bool { return n.ItemID == id })
	return at, served.Info.EfUsed, err
}

// pickOf returns the position of an item among the picks, or -1.
func (q *ranked) pickOf(id string) int {
	return slices.IndexFunc(q.picks, func(p rank.Pick) bool { return q.idOf(q.cands[p.Index].Row) == id })
}

// whyNotPicked tells what kept an item, which an exact search did not return, from being picked.
func (q *ranked) whyNotPicked(a *Absence, id string) {
	a.Reason, a.Detail = BeyondK, fmt.Sprintf("%d items score higher, and only %d are asked for", a.Rank-1, q.req.K)
	at := slices.IndexFunc(q.cands, func(c rank.Candidate) bool { return q.idOf(c.Row) == id })
	if at < 0 {
		return
	}
	c := &q.cands[at]
	// In rank order a candidate that stands before a pick of its group was passed over for a limit and nothing else.
	passed := q.req.Diversity > 0 || len(q.picks) < q.req.K || slices.ContainsFunc(q.picks, func(p rank.Pick) bool {
		return p.Index > at && q.cands[p.Index].Group == c.Group
	})
	if q.crowd != nil && passed {
		if v, blocked := q.crowd.Blocked(q.limited(c.Row)); blocked {
			limit, value := q.crowd.Describe(v)
			a.Reason, a.Attribute, a.Value = CrowdedOut, q.names[limit], value
			for _, p := range q.picks {
				if row := q.cands[p.Index].Row; slices.Contains(q.limited(row), v) && len(a.CrowdedBy) < maxCrowdedBy {
					a.CrowdedBy = append(a.CrowdedBy, q.idOf(row))
				}
			}
			a.Detail = fmt.Sprintf("it is number %d by score, and neighbors with %s %q took the room for %d before it", a.Rank, a.Attribute, clip(value), q.most[limit])
			return
		}
	}
	if q.req.reranked() || q.aim.each {
		a.Reason = Outranked
		a.Detail = fmt.Sprintf("it is number %d by score and number %d of the %d candidates with boosts and exploration; others were put before it",
			a.Rank, at+1, len(q.cands))
	}
}

// rankByScore returns the position, from 1, of an item among all that may be returned, by score and id. Every other item counts
// once, by the last of its slots that were found (ADR 16).
func (q *ranked) rankByScore(ctx context.Context, p *pooled, id string) (int, error) {
	for k := q.r.index.Slots() + 1; ; k *= 2 { // more slots than there were at first may be found
		found, _, err := q.s.Search(ctx, q.probes[0].vec, hnsw.SearchParams{K: k, Allowed: q.allowed.set, Exact: true})
		if err != nil {
			return 0, err
		}
		if q.found = found; len(found) < k {
			break
		}
	}
	q.admit(0)
	var slots map[uint32]struct{} // of found; made for the first item that moved
	among := func(slot uint32) bool {
		if slots == nil {
			slots = make(map[uint32]struct{}, len(q.found))
			for _, c := range q.found {
				slots[c.Slot] = struct{}{}
			}
		}
		_, ok := slots[slot]
		return ok
	}
	q.pool = slices.DeleteFunc(q.list, func(x pooled) bool {
		e := q.look(&x).entry
		return e.hasID(id) || q.r.table.stale(x.slot, among) || !q.allowed.admits(e) || len(q.seeds) > 0 && q.isSeed(e.id())
	})
	if err := q.compare(ctx); err != nil {
		return 0, err
	}
	position := 1
	for i := range q.pool {
		x := &q.pool[i]
		if !q.below(x.score) && (x.score > p.score || x.score == p.score && q.idOf(uint32(i)) < id) {
			position++
		}
	}
	return position, nil
}
