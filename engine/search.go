package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/segue-ann/segue/hnsw"
	"github.com/segue-ann/segue/storage"
)

// Search answers one retrieval: at most K neighbors, best score first, ties by item id, unless the request orders them
// otherwise. Items that the query names are not among them. Fewer than K come back only for a reason that Info names.
// An item that is written while the search runs is answered by one of its states in that time: it is neither missing, nor there
// twice, nor is less than there is told, because its vector changed. One that is deleted or created meanwhile may be answered.
// Errors: *InvalidError, *NotFoundError of the item or user asked with, context errors. Cost: O(ef * M) distances,
// or O(items) where Exact.
func (c *Collection) Search(ctx context.Context, req SearchRequest) (SearchResult, error) {
	if err := c.validateSearch(&req); err != nil {
		return SearchResult{}, err
	}
	r, err := c.acquireAt(ctx, req.MinRevision)
	if err != nil {
		return SearchResult{}, err
	}
	defer r.leave()
	if err := r.model.fits(req.Model); err != nil {
		return SearchResult{}, err
	}
	revision := r.revision()
	// Until Release no slot that this search sees is reused: slots can be translated to items.
	s := r.index.Acquire()
	defer s.Release()
	aim, err := r.resolve(ctx, s, &req)
	if err != nil {
		return SearchResult{}, err
	}
	allowed, err := r.allowed(ctx, req.Filter, &req.Exclusions)
	if err != nil {
		return SearchResult{}, err
	}
	defer allowed.release()
	for attempt := 1; ; attempt++ {
		result := SearchResult{Info: SearchInfo{Release: r.rows.Release(), Revision: revision}}
		if aim.plain(&req) {
			err = r.search(ctx, s, aim.vec, aim.seed, &req, &allowed, &result)
		} else {
			result, err = r.searchRanked(ctx, s, aim, req, allowed, revision)
		}
		if result.Info.Filtered = allowed.asked; allowed.asked {
			result.Info.Matching = allowed.matching
		}
		if err != nil {
			return SearchResult{}, err
		}
		if !req.WithVectors {
			return result, nil
		}
		unchanged, err := r.addVectors(ctx, &result)
		if err != nil {
			return SearchResult{}, err
		}
		if unchanged || attempt == maxVectorAttempts {
			return result, nil
		}
	}
}

// plain says whether the request wants what is nearest, and nothing else.
func (r *SearchRequest) plain() bool {
	return !r.IncludeSeeds && !r.HasMinScore && len(r.Crowding) == 0 && r.Dedupe == "" && !r.reranked() &&
		!r.AllowPartial && r.PageSize == 0
}

// plain says whether the request wants what is nearest to the only query vector, by its score for that: the path of search.
func (a *aim) plain(req *SearchRequest) bool {
	return a.vec != nil && a.scale == 1 && a.offset == 0 && len(a.seeds) == 0 && req.plain()
}

// reranked says whether the order is another than that of the scores.
func (r *SearchRequest) reranked() bool {
	return r.Diversity != 0 || len(r.Boosts) > 0 || r.Temperature != 0
}

// maxVectorAttempts bounds how often a search is repeated because a neighbor was written between being found
// and being read from the store. The last attempt gives what is there: a newer vector, or a neighbor less.
const maxVectorAttempts = 4

// noSeed is the seed slot of a query that has none.
const noSeed = math.MaxUint32

// overFetch is how many candidates beyond K are fetched, for the seed and for items replaced meanwhile.
const overFetch = 4

// maxTieFetch bounds, as a multiple of what was asked, how far a run of equal distances at the end of the
// result is followed so that ids, not slots, decide who is in it.
const maxTieFetch = 16

// search fills result. It asks for more where dropping the seed or stale versions leaves fewer than K, and
// where the last neighbor's distance is shared by candidates that may have been cut off.
func (r *release) search(ctx context.Context, s *hnsw.Searcher, vec []float32, seed uint32, req *SearchRequest, allowed *allowance, result *SearchResult) error {
	how := r.effortFor(req, req.K, DefaultEf(req.K), allowed)
	seedID := ""
	if seed != noSeed {
		seedID = req.Query.ItemID
	}
	info := &result.Info
	first := req.K + overFetch
	for fetch := first; ; fetch *= 2 {
		found, stats, err := s.Search(ctx, vec, hnsw.SearchParams{K: fetch, Ef: max(how.ef, fetch), Allowed: allowed.set, Exact: how.exact})
		if err != nil {
			return err
		}
		info.Distances += stats.Distances
		info.Hops += stats.Hops
		info.Plan, info.EfUsed, info.ExpectedRecall = planOf(stats), max(how.ef, fetch), how.expected
		if stats.Exact {
			info.ExpectedRecall = 1
		}
		if info.Plan == PlanExact {
			info.EfUsed = 0
		}
		result.Neighbors, err = r.translate(found, seed, seedID, req, allowed)
		if err != nil {
			return err
		}
		n := len(result.Neighbors)
		switch {
		case len(found) < fetch:
			info.Completeness, info.Shortfall = Exhausted, ShortOfItems
			if n == req.K {
				info.Completeness, info.Shortfall = Complete, NoShortfall
			}
			return nil
		case n < req.K:
			continue
		case result.Neighbors[n-1].Distance == found[fetch-1].Distance && fetch < maxTieFetch*first:
			continue
		}
		info.Completeness = Complete
		return nil
	}
}

// planOf says in the engine's words how a search was answered.
func planOf(stats hnsw.SearchStats) Plan {
	switch {
	case stats.Exact || stats.Plan == hnsw.PlanScan:
		return PlanExact
	case stats.Plan == hnsw.PlanFiltered:
		return PlanFiltered
	}
	return PlanGraph
}

// translate turns candidates, ascending by distance, into at most K neighbors in API order.
func (r *release) translate(found []hnsw.Candidate, seed uint32, seedID string, req *SearchRequest, allowed *allowance) ([]Neighbor, error) {
	among := func(slot uint32) bool {
		return slices.ContainsFunc(found, func(c hnsw.Candidate) bool { return c.Slot == slot })
	}
	out := make([]Neighbor, 0, min(len(found), req.K))
	var ids strings.Builder      // all ids in one piece of memory: what String returned stays as it is while more is written
	var entries [lookAhead]entry // of found[looked-ahead:looked]
	looked, ahead := 0, 0
	for at := 0; at < len(found) && len(out) < req.K; {
		// A run of equal distance is put in order of id before it is cut.
		run := at
		for ; run < len(found) && found[run].Distance == found[at].Distance; run++ {
		}
		first := len(out)
		for i := at; i < run; i++ {
			if i == looked {
				// Not more than are still wanted, but for what of them is left out.
				ahead = min(lookAhead, max(1, req.K-len(out)), len(found)-i)
				looked += ahead
				r.lookUp(found[i:looked], &entries)
			}
			cand, e := found[i], entries[i-looked+ahead]
			if ids.Cap() == 0 {
				ids.Grow(len(found) * (e.idLen() + 2))
			}
			begin := ids.Len()
			ids.Write(e.idBytes())
			id := ids.String()[begin:]
			if cand.Slot == seed || id == seedID || !allowed.admits(e) || r.table.stale(cand.Slot, among) {
				continue
			}
			n := Neighbor{ItemID: id, Distance: cand.Distance, Score: r.score(cand.Distance), revision: e.lsn()}
			if req.WithAttributes {
				var err error
				if n.Attributes, err = decodeAttributes(e.attributes(), req.AttributeNames); err != nil {
					return nil, fmt.Errorf("item %q: %w", id, err)
				}
			}
			out = append(out, n)
		}
		if len(out)-first > 1 {
			sortByID(out[first:])
		}
		at = run
	}
	out = out[:min(len(out), req.K)]
	if req.Explain {
		for i := range out {
			out[i].Explanation = &Explanation{RankValue: float64(out[i].Score), CandidateRank: i + 1}
		}
	}
	return out, nil
}

// lookUp puts the entries of found, at most lookAhead, into entries. Where they are and what becomes of their items is read of all before any
// entry is: each is a miss of the caches, and misses that do not wait for each other take the time of one.
func (r *release) lookUp(found []hnsw.Candidate, entries *[lookAhead]entry) {
	for i := range found {
		r.table.entries.touch(found[i].Slot)
	}
	for i := range found {
		entries[i] = r.table.entries.at(found[i].Slot)
	}
}

// sortByID orders a run of equal scores. Insertion sort: runs are short, mostly of one.
func sortByID(ns []Neighbor) {
	for i := 1; i < len(ns); i++ {
		for j := i; j > 0 && strings.Compare(ns[j].ItemID, ns[j-1].ItemID) < 0; j-- {
			ns[j], ns[j-1] = ns[j-1], ns[j]
		}
	}
}

// score turns a distance into a score: higher is better.
func (r *release) score(distance float32) float32 {
	if r.cfg.Metric == Cosine {
		return 1 - distance
	}
	return 0 - distance // not -distance: a score is never minus zero
}

// addVectors reads each neighbor's vector from the store, where it is as it was written. It reports whether
// every neighbor is still the version that was found.
func (r *release) addVectors(ctx context.Context, result *SearchResult) (unchanged bool, err error) {
	unchanged = true
	kept := result.Neighbors[:0]
	for _, n := range result.Neighbors {
		it, err := r.get(ctx, n.ItemID)
		if errors.As(err, new(*NotFoundError)) {
			unchanged = false // deleted since
			continue
		}
		if err != nil {
			return false, err
		}
		unchanged = unchanged && it.Revision == n.revision
		n.Vector = it.Vector
		kept = append(kept, n)
	}
	result.Neighbors = kept
	return unchanged, nil
}

// notFound turns the store's not-found into ours; context errors stay as they are.
func notFound(err error, kind, name string) error {
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return &NotFoundError{Kind: kind, Name: clip(name)}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	return fmt.Errorf("read %s %q: %w", kind, clip(name), err)
}
