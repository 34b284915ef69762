package server

import (
	"context"
	"strings"

	"github.com/segue-ann/segue/engine"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
	"github.com/segue-ann/segue/server/ops"
)

// answered counts an answered search, whatever call it came with, and shows it to those who look at some of them.
func (s *retrievalService) answered(ctx context.Context, c *engine.Collection, req *seguev1.NearestNeighborsRequest, result *engine.SearchResult, info *seguev1.SearchInfo) {
	search := ops.Search{
		Collection: c.Config().Name, Release: result.Info.Release, Plan: s.plans[info.GetPlan()], Completeness: s.completeness[info.GetCompleteness()],
		Ef: int(info.GetEfUsed()), Distances: info.GetDistanceCount(), Hops: info.GetHopCount(), Reduced: info.GetEffortReduced(),
	}
	s.metrics.Searched(search)
	call := callOf(ctx)
	if call.rule.Priority == seguev1.Priority_PRIORITY_QUERY { // the only search of the call
		call.release, call.items = search.Release, c.Len()
	}
	ops.Trace(ctx, &search, call.rule.Priority == seguev1.Priority_PRIORITY_QUERY)
	s.sampleRecall(c, req, result, info)
	s.queries.Offer(req, search.Collection)
}

// labels are the names of an enum as metrics and logs have them: in lower case and without prefix.
func labels[E ~int32](names map[int32]string, prefix string) map[E]string {
	out := make(map[E]string, len(names))
	for number, name := range names {
		out[E(number)] = strings.ToLower(strings.TrimPrefix(name, prefix))
	}
	return out
}
