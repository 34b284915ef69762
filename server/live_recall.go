package server

import (
	"context"
	"errors"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/segue-ann/segue/engine"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
	"github.com/segue-ann/segue/server/liverecall"
	"github.com/segue-ann/segue/server/ops"
)

// remeasure is one served search that is to be run again exactly.
type remeasure struct {
	collection *engine.Collection
	request    *seguev1.NearestNeighborsRequest
	served     []liverecall.Found
	info       engine.SearchInfo
	plan       string
	reduced    bool
}

// sampleRecall offers an answered search to the sampler. What it takes is copied: a request and an answer belong to their call.
// Only approximate searches are taken.
func (s *retrievalService) sampleRecall(c *engine.Collection, req *seguev1.NearestNeighborsRequest, result *engine.SearchResult, info *seguev1.SearchInfo) {
	if !s.recall.Wants() || result.Info.Plan == engine.PlanExact {
		return
	}
	m := &remeasure{
		collection: c, request: proto.CloneOf(req), served: foundOf(result.Neighbors), info: result.Info,
		plan: s.plans[info.GetPlan()], reduced: info.GetEffortReduced(),
	}
	s.recall.Offer(func(ctx context.Context) { s.remeasure(ctx, m) })
}

func foundOf(ns []engine.Neighbor) []liverecall.Found {
	out := make([]liverecall.Found, len(ns))
	for i := range ns {
		out[i] = liverecall.Found{ID: strings.Clone(ns[i].ItemID), Score: ns[i].Score}
	}
	return out
}

func (s *retrievalService) remeasure(ctx context.Context, m *remeasure) {
	began := time.Now()
	defer func() { s.metrics.RecallTook(time.Since(began)) }()
	recall, err := s.recallOf(ctx, m)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		s.metrics.RecallSkipped(ops.RecallTimeout)
	case errors.Is(err, context.Canceled): // the server stops
	case errors.Is(err, errReplaced):
		s.metrics.RecallSkipped(ops.RecallReplaced)
	case err != nil: // the item asked with was deleted, say
		s.metrics.RecallSkipped(ops.RecallFailed)
	default:
		s.metrics.Recalled(recall)
	}
}

// errReplaced says that the data a search saw is not there any more.
var errReplaced = errors.New("server: another release is published")

// recallOf runs a search again exactly: with the same query, filter, exclusions, limits and order, on the same release.
// Neighbors that were written after the search are left out: it could not serve them.
func (s *retrievalService) recallOf(ctx context.Context, m *remeasure) (ops.Recall, error) {
	search, err := s.decodeSearch(m.request, m.collection)
	if err != nil {
		return ops.Recall{}, err
	}
	r := ops.Recall{Collection: m.collection.Config().Name, Plan: m.plan, Effort: effortOf(&search, m.reduced), Order: "score"}
	search.Ef, search.TargetRecall, search.Exact = 0, 0, true
	search.Seed, search.Now = m.info.Seed, m.info.Now
	search.MinRevision, search.AllowPartial, search.Explain, search.WithAttributes, search.WithVectors = 0, false, false, false, false
	k := search.K
	if search.PageSize > 0 {
		k = min(k, search.PageSize)
	}
	result, err := m.collection.Search(ctx, search)
	if err != nil {
		return ops.Recall{}, err
	}
	exact := foundOf(result.Neighbors)
	kept := exact[:0]
	for i := range result.Neighbors {
		if result.Neighbors[i].Revision() <= m.info.Revision {
			kept = append(kept, exact[i])
		}
	}
	if result.Info.Release != m.info.Release || len(kept) == 0 && len(exact) > 0 {
		return ops.Recall{}, errReplaced
	}
	ranked := isRanked(&search, result.Neighbors)
	if ranked {
		r.Order = "ranked"
	}
	r.Share = liverecall.Recall(m.served, k, ranked, kept)
	return r, nil
}

// isRanked says whether the neighbors of a search come in another order than that of their scores.
func isRanked(search *engine.SearchRequest, ns []engine.Neighbor) bool {
	if search.Diversity > 0 || len(search.Boosts) > 0 || search.Temperature > 0 {
		return true
	}
	// Several vectors take turns, but those of examples only where the request says so.
	several := len(ns) > 0 && ns[0].Match > 0
	return several && (search.Query.Examples == nil || search.Query.Examples.Strategy == engine.Each)
}

// effortOf says where the beam width of a search came from.
func effortOf(search *engine.SearchRequest, reduced bool) string {
	switch {
	case reduced:
		return "reduced"
	case search.TargetRecall > 0:
		return "target"
	case search.Ef > 0:
		return "ef"
	}
	return "default"
}
