package server

import (
	"context"

	"github.com/segue-ann/segue/engine"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

type retrievalService struct{ *backend }

// searchPath turns the engine's fields of a search into those of NearestNeighborsRequest.
func searchPath(field string) string {
	return renames{{"k", "neighbor_count"}, {"ef", "search_effort.ef"}}.path(field)
}

func (s *retrievalService) NearestNeighbors(ctx context.Context, req *seguev1.NearestNeighborsRequest) (*seguev1.NearestNeighborsResponse, error) {
	c, err := s.collection("collection", req.GetCollection())
	if err != nil {
		return nil, err
	}
	search, err := s.decodeSearch(req, c)
	if err != nil {
		return nil, err
	}
	result, err := c.Search(ctx, search)
	if err != nil {
		return nil, renamed(err, searchPath)
	}
	return encodeSearchResult(result), nil
}

func (s *retrievalService) decodeSearch(req *seguev1.NearestNeighborsRequest, c *engine.Collection) (engine.SearchRequest, error) {
	cfg := c.Config()
	d := &decoder{dim: cfg.Dim, limits: s.limits}
	search := engine.SearchRequest{
		Query:       d.query("query", req.GetQuery()),
		K:           int(req.GetNeighborCount()),
		WithVectors: req.GetIncludeVectors(),
		MinRevision: d.revision("min_revision", req.GetMinRevision()),
	}
	if search.K < 1 || search.K > s.limits.MaxK {
		d.add(engine.ReasonOutOfRange, "neighbor_count", "must be between 1 and %d, is %d", s.limits.MaxK, search.K)
	}
	search.Ef, search.Exact = d.effort("search_effort", req.GetSearchEffort())
	search.WithAttributes, search.AttributeNames = d.readMask("read_mask", req.GetReadMask(), cfg.Attributes)
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

// query decodes a query. Exactly one field of the result is set unless a violation was added.
func (d *decoder) query(field string, m *seguev1.Query) engine.Query {
	switch f := m.GetForm().(type) {
	case *seguev1.Query_Vector:
		return engine.Query{Vector: d.vector(field+".vector", f.Vector)}
	case *seguev1.Query_ItemId:
		if f.ItemId == "" {
			d.add(engine.ReasonRequired, field+".item_id", "must not be empty")
		}
		return engine.Query{ItemID: f.ItemId}
	case *seguev1.Query_UserId:
		if f.UserId == "" {
			d.add(engine.ReasonRequired, field+".user_id", "must not be empty")
		}
		return engine.Query{UserID: f.UserId}
	}
	d.add(engine.ReasonRequired, field, "must be set, in one of the forms vector, item_id and user_id")
	return engine.Query{}
}

// effort decodes how much work a search may do; ef 0 means the engine's default.
func (d *decoder) effort(field string, m *seguev1.SearchEffort) (ef int, exact bool) {
	switch e := m.GetEffort().(type) {
	case *seguev1.SearchEffort_Ef:
		ef = int(e.Ef)
		if ef < 1 || ef > d.limits.MaxEf {
			d.add(engine.ReasonOutOfRange, field+".ef", "must be between 1 and %d, is %d", d.limits.MaxEf, ef)
		}
	case *seguev1.SearchEffort_Exact:
		exact = e.Exact
	}
	return ef, exact
}

func (d *decoder) revision(field string, v int64) engine.LSN {
	if v < 0 {
		d.add(engine.ReasonOutOfRange, field, "must not be negative, is %d", v)
		return 0
	}
	return engine.LSN(v)
}

func encodeSearchResult(r engine.SearchResult) *seguev1.NearestNeighborsResponse {
	m := &seguev1.NearestNeighborsResponse{
		Neighbors:  make([]*seguev1.Neighbor, len(r.Neighbors)),
		SearchInfo: encodeSearchInfo(r.Info),
	}
	for i, n := range r.Neighbors {
		m.Neighbors[i] = &seguev1.Neighbor{
			ItemId:     n.ItemID,
			Score:      n.Score,
			Distance:   n.Distance,
			Attributes: encodeAttributes(n.Attributes),
			Vector:     encodeVector(n.Vector),
		}
	}
	return m
}

func encodeSearchInfo(i engine.SearchInfo) *seguev1.SearchInfo {
	m := &seguev1.SearchInfo{
		Revision:      int64(i.Revision),
		EfUsed:        int32(i.EfUsed),
		DistanceCount: int64(i.Distances),
		HopCount:      int64(i.Hops),
	}
	switch i.Plan {
	case engine.PlanGraph:
		m.Plan = seguev1.Plan_PLAN_GRAPH
	case engine.PlanExact:
		m.Plan = seguev1.Plan_PLAN_EXACT
	}
	switch i.Completeness {
	case engine.Complete:
		m.Completeness = seguev1.Completeness_COMPLETENESS_COMPLETE
	case engine.Exhausted:
		m.Completeness = seguev1.Completeness_COMPLETENESS_EXHAUSTED
	}
	return m
}
