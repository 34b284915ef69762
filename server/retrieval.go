package server

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/segue-ann/segue/engine"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

type retrievalService struct{ *backend }

// searchPath turns the engine's fields of a search into those of NearestNeighborsRequest.
func searchPath(field string) string {
	return renames{{"k", "neighbor_count"}, {"ef", "search_effort.ef"}, {"query.interests", "query.interests.interests"}}.path(field)
}

func (s *retrievalService) NearestNeighbors(ctx context.Context, req *seguev1.NearestNeighborsRequest) (*seguev1.NearestNeighborsResponse, error) {
	c, err := s.collection("collection", req.GetCollection())
	if err != nil {
		return nil, err
	}
	return s.nearestNeighbors(ctx, c, req)
}

// nearestNeighbors answers one query, whatever call it came with.
func (s *retrievalService) nearestNeighbors(ctx context.Context, c *engine.Collection, req *seguev1.NearestNeighborsRequest) (*seguev1.NearestNeighborsResponse, error) {
	search, err := s.decodeSearch(req, c)
	if err != nil {
		return nil, err
	}
	reduced := reduceEffort(&search, s.effort())
	result, err := c.Search(ctx, search)
	if err != nil {
		return nil, renamed(err, searchPath)
	}
	m := encodeSearchResult(&result)
	m.SearchInfo.EffortReduced = reduced
	s.answered(ctx, c, req, &result, m.GetSearchInfo())
	if result.Next != nil {
		m.NextPageToken = encodeSearchCursor(req, *result.Next, result.Info)
	}
	return m, nil
}

func (s *retrievalService) decodeSearch(req *seguev1.NearestNeighborsRequest, c *engine.Collection) (engine.SearchRequest, error) {
	cfg := c.Config()
	d := &decoder{dim: cfg.Dim, limits: s.limits}
	search := engine.SearchRequest{
		Query:        d.query(req.GetQuery()),
		K:            int(req.GetNeighborCount()),
		WithVectors:  req.GetIncludeVectors(),
		MinRevision:  d.revision("min_revision", req.GetMinRevision()),
		Model:        decodeModel(req.GetEmbeddingModel()),
		IncludeSeeds: req.GetIncludeSeeds(),
		MinScore:     req.GetMinScore(),
		HasMinScore:  req.MinScore != nil,
		Candidates:   int(req.GetCandidateCount()),
		AllowPartial: req.GetAllowPartial(),
		PageSize:     int(req.GetPageSize()),
		Explain:      req.GetExplain(),
	}
	if search.K < 1 || search.K > s.limits.MaxK {
		d.add(engine.ReasonOutOfRange, "neighbor_count", "must be between 1 and %d, is %d", s.limits.MaxK, search.K)
	}
	d.effort("search_effort", req.GetSearchEffort(), &search)
	search.WithAttributes, search.AttributeNames = d.readMask("read_mask", req.GetReadMask(), cfg.Attributes)
	d.filtering(req, c, &search)
	d.ranking(req, &search)
	d.searchCursor(req, &search)
	if err := d.err(); err != nil {
		return engine.SearchRequest{}, err
	}
	if search.WithVectors {
		if err := s.roomForVectors(min(search.K, c.Len()), cfg.Dim); err != nil {
			return engine.SearchRequest{}, err
		}
	}
	return search, nil
}

// query decodes the field "query". Exactly one field of the result is set unless a violation was added.
func (d *decoder) query(m *seguev1.Query) engine.Query {
	switch f := m.GetForm().(type) {
	case *seguev1.Query_Vector:
		return engine.Query{Vector: d.vector("query.vector", f.Vector)}
	case *seguev1.Query_ItemId:
		if f.ItemId == "" {
			d.add(engine.ReasonRequired, "query.item_id", "must not be empty")
		}
		return engine.Query{ItemID: f.ItemId}
	case *seguev1.Query_UserId:
		if f.UserId == "" {
			d.add(engine.ReasonRequired, "query.user_id", "must not be empty")
		}
		return engine.Query{UserID: f.UserId}
	case *seguev1.Query_Examples:
		return engine.Query{Examples: d.examples("query.examples", f.Examples)}
	case *seguev1.Query_Interests:
		return engine.Query{Interests: d.interests("query.interests.interests", f.Interests.GetInterests())}
	}
	d.add(engine.ReasonRequired, "query", "must be set, in one of the forms vector, item_id, user_id, examples and interests")
	return engine.Query{}
}

// effort decodes how much work a search may do.
func (d *decoder) effort(field string, m *seguev1.SearchEffort, search *engine.SearchRequest) {
	switch e := m.GetEffort().(type) {
	case *seguev1.SearchEffort_Ef:
		search.Ef = int(e.Ef)
		if search.Ef < 1 || search.Ef > d.limits.MaxEf {
			d.add(engine.ReasonOutOfRange, field+".ef", "must be between 1 and %d, is %d", d.limits.MaxEf, search.Ef)
		}
	case *seguev1.SearchEffort_TargetRecall:
		search.TargetRecall = e.TargetRecall
		if !(e.TargetRecall > 0 && e.TargetRecall <= 1) { // also NaN
			d.add(engine.ReasonOutOfRange, field+".target_recall", "must be above 0 and at most 1, is %v", e.TargetRecall)
		}
	case *seguev1.SearchEffort_Exact:
		search.Exact = e.Exact
	}
}

func (d *decoder) revision(field string, v int64) engine.LSN {
	if v < 0 {
		d.add(engine.ReasonOutOfRange, field, "must not be negative, is %d", v)
		return 0
	}
	return engine.LSN(v)
}

// answer is what every answer consists of, in one piece of memory.
type answer struct {
	response seguev1.NearestNeighborsResponse
	info     seguev1.SearchInfo
	expected float64
	matching int64
}

func encodeSearchResult(r *engine.SearchResult) *seguev1.NearestNeighborsResponse {
	a := &answer{}
	a.encodeInfo(&r.Info)
	a.response.Neighbors, a.response.UnresolvedIds, a.response.SearchInfo = encodeNeighbors(r.Neighbors), r.Unresolved, &a.info
	return &a.response
}

func encodeNeighbors(ns []engine.Neighbor) []*seguev1.Neighbor {
	all := make([]seguev1.Neighbor, len(ns)) // one allocation, not one a neighbor
	out := make([]*seguev1.Neighbor, len(ns))
	for i := range ns {
		n, m := &ns[i], &all[i]
		m.ItemId, m.Score, m.Distance = n.ItemID, n.Score, n.Distance
		m.Attributes = encodeAttributes(n.Attributes)
		m.Vector = encodeVector(n.Vector)
		m.Explanation = encodeExplanation(n.Explanation)
		if n.Match > 0 {
			m.MatchedExample = proto.Int32(int32(n.Match - 1))
		}
		out[i] = m
	}
	return out
}

func (a *answer) encodeInfo(i *engine.SearchInfo) {
	m := &a.info
	m.Revision, m.EfUsed, m.DistanceCount, m.HopCount = int64(i.Revision), int32(i.EfUsed), int64(i.Distances), int64(i.Hops)
	// The names of the two enums agree, and so do their numbers.
	m.ShortfallReason, m.Seed, m.CandidateCount = seguev1.ShortfallReason(i.Shortfall), i.Seed, int32(i.Candidates)
	if a.expected = i.ExpectedRecall; a.expected > 0 {
		m.ExpectedRecall = &a.expected
	}
	switch i.Plan {
	case engine.PlanGraph:
		m.Plan = seguev1.Plan_PLAN_GRAPH
	case engine.PlanExact:
		m.Plan = seguev1.Plan_PLAN_EXACT
	case engine.PlanFiltered:
		m.Plan = seguev1.Plan_PLAN_GRAPH_FILTERED
	}
	if i.Filtered {
		a.matching = int64(i.Matching)
		m.MatchingCount = &a.matching
	}
	switch i.Completeness {
	case engine.Complete:
		m.Completeness = seguev1.Completeness_COMPLETENESS_COMPLETE
	case engine.Exhausted:
		m.Completeness = seguev1.Completeness_COMPLETENESS_EXHAUSTED
	case engine.PartialDeadline:
		m.Completeness = seguev1.Completeness_COMPLETENESS_PARTIAL_DEADLINE
	case engine.PartialBudget:
		m.Completeness = seguev1.Completeness_COMPLETENESS_PARTIAL_BUDGET
	}
}
