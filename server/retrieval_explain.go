package server

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/segue-ann/segue/engine"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// scorePath turns the engine's fields into those of ScoreItemsRequest.
func scorePath(field string) string { return renames{{"ids", "item_ids"}}.path(searchPath(field)) }

// ScoreItems scores given items, without a search.
func (s *retrievalService) ScoreItems(ctx context.Context, req *seguev1.ScoreItemsRequest) (*seguev1.ScoreItemsResponse, error) {
	c, err := s.collection("collection", req.GetCollection())
	if err != nil {
		return nil, err
	}
	d := s.decoder(c)
	d.batch("item_ids", len(req.GetItemIds()))
	score := engine.ScoreRequest{
		Query:       d.query(req.GetQuery()),
		ItemIDs:     req.GetItemIds(),
		MinRevision: d.revision("min_revision", req.GetMinRevision()),
	}
	score.WithAttributes, score.AttributeNames = d.readMask("read_mask", req.GetReadMask(), c.Config().Attributes)
	if err := d.err(); err != nil {
		return nil, err
	}
	result, err := c.ScoreItems(ctx, score)
	if err != nil {
		return nil, renamed(err, scorePath)
	}
	return &seguev1.ScoreItemsResponse{
		Items: encodeNeighbors(result.Items), UnresolvedIds: result.Unresolved, Revision: int64(result.Revision),
	}, nil
}

// explainPath turns the engine's fields of a search into those of the request within an explanation's.
func explainPath(field string) string {
	if field == "item_id" {
		return field
	}
	return "request." + searchPath(field)
}

// toExplain decodes the query that an explanation is asked for.
func (s *retrievalService) toExplain(req *seguev1.NearestNeighborsRequest) (*engine.Collection, engine.SearchRequest, error) {
	if req == nil {
		return nil, engine.SearchRequest{}, invalid(engine.ReasonRequired, "request", "must be set")
	}
	c, err := s.collection("request.collection", req.GetCollection())
	if err != nil {
		return nil, engine.SearchRequest{}, err
	}
	if req.GetPageToken() != "" || req.GetPageSize() != 0 {
		return nil, engine.SearchRequest{}, invalid(engine.ReasonInvalidFormat, "request.page_size", "pages cannot be explained: page_size and page_token must not be set")
	}
	search, err := s.decodeSearch(req, c)
	return c, search, renamed(err, func(field string) string { return "request." + field })
}

// ExplainNeighbors answers as asked and exactly, and compares.
func (s *retrievalService) ExplainNeighbors(ctx context.Context, req *seguev1.ExplainNeighborsRequest) (*seguev1.ExplainNeighborsResponse, error) {
	c, search, err := s.toExplain(req.GetRequest())
	if err != nil {
		return nil, err
	}
	e, err := c.ExplainNeighbors(ctx, search)
	if err != nil {
		return nil, renamed(err, explainPath)
	}
	m := &seguev1.ExplainNeighborsResponse{Response: encodeSearchResult(&e.Result), Missed: encodeNeighbors(e.Missed), Recall: e.Recall}
	for _, r := range e.ExactRanks {
		m.ExactRanks = append(m.ExactRanks, int32(r))
	}
	return m, nil
}

// ExplainAbsence says why an item is not in an answer.
func (s *retrievalService) ExplainAbsence(ctx context.Context, req *seguev1.ExplainAbsenceRequest) (*seguev1.ExplainAbsenceResponse, error) {
	c, search, err := s.toExplain(req.GetRequest())
	if err != nil {
		return nil, err
	}
	a, err := c.ExplainAbsence(ctx, search, req.GetItemId())
	if err != nil {
		return nil, renamed(err, explainPath)
	}
	m := &seguev1.ExplainAbsenceResponse{
		Reason: encodeAbsenceReason(a.Reason), Rank: int32(a.Rank), Detail: a.Detail, Attribute: a.Attribute, Value: a.Value, CrowdedBy: a.CrowdedBy, Clause: a.Clause,
	}
	if a.HasScore {
		m.Score = proto.Float32(a.Score)
	}
	return m, nil
}

func encodeAbsenceReason(r engine.AbsenceReason) seguev1.AbsenceReason {
	switch r {
	case engine.Present:
		return seguev1.AbsenceReason_ABSENCE_REASON_PRESENT
	case engine.NotIndexed:
		return seguev1.AbsenceReason_ABSENCE_REASON_NOT_INDEXED
	case engine.IsSeed:
		return seguev1.AbsenceReason_ABSENCE_REASON_SEED
	case engine.FilteredOut:
		return seguev1.AbsenceReason_ABSENCE_REASON_FILTERED
	case engine.Excluded:
		return seguev1.AbsenceReason_ABSENCE_REASON_EXCLUDED
	case engine.BelowMinScore:
		return seguev1.AbsenceReason_ABSENCE_REASON_BELOW_MIN_SCORE
	case engine.NearNegative:
		return seguev1.AbsenceReason_ABSENCE_REASON_NEAR_NEGATIVE
	case engine.MissedBySearch:
		return seguev1.AbsenceReason_ABSENCE_REASON_ANN_MISS
	case engine.CrowdedOut:
		return seguev1.AbsenceReason_ABSENCE_REASON_CROWDED_OUT
	case engine.Outranked:
		return seguev1.AbsenceReason_ABSENCE_REASON_OUTRANKED
	case engine.BeyondK:
		return seguev1.AbsenceReason_ABSENCE_REASON_BEYOND_K
	}
	return seguev1.AbsenceReason_ABSENCE_REASON_UNSPECIFIED
}
