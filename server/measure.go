package server

import (
	"context"

	"github.com/segue-ann/segue/engine"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// orDefault returns v, or standard where v is 0.
func orDefault(v int32, standard int) int {
	if v == 0 {
		return standard
	}
	return int(v)
}

// measurePath turns the engine's fields of a measurement into those of the requests.
func measurePath(field string) string {
	return renames{{"k", "neighbor_count"}, {"queries", "query_count"}, {"most", "list_size"}}.path(field)
}

func (s *adminService) MeasureRecall(ctx context.Context, req *seguev1.MeasureRecallRequest) (*seguev1.MeasureRecallResponse, error) {
	c, err := s.collection("collection", req.GetCollection())
	if err != nil {
		return nil, err
	}
	measure := engine.RecallRequest{K: orDefault(req.GetNeighborCount(), 10), Queries: orDefault(req.GetQueryCount(), 100), Seed: req.GetSeed()}
	for _, ef := range req.GetEfs() {
		measure.Efs = append(measure.Efs, int(ef))
	}
	points, asked, err := c.MeasureRecall(ctx, measure)
	if err != nil {
		return nil, renamed(err, measurePath)
	}
	m := &seguev1.MeasureRecallResponse{QueryCount: int32(asked)}
	for _, p := range points {
		m.Points = append(m.Points, &seguev1.RecallPoint{Ef: int32(p.Ef), Recall: p.Recall, StandardError: p.Error, MeanDistanceCount: p.Distances})
	}
	return m, nil
}

func (s *adminService) ListHubs(ctx context.Context, req *seguev1.ListHubsRequest) (*seguev1.ListHubsResponse, error) {
	c, err := s.collection("collection", req.GetCollection())
	if err != nil {
		return nil, err
	}
	h, err := c.ListHubs(ctx, engine.HubsRequest{
		K: orDefault(req.GetNeighborCount(), 10), Queries: orDefault(req.GetQueryCount(), 1000), Seed: req.GetSeed(), Most: orDefault(req.GetListSize(), 20),
	})
	if err != nil {
		return nil, renamed(err, measurePath)
	}
	m := &seguev1.ListHubsResponse{
		OrphanIds: h.Orphans, OrphanCount: int32(h.OrphanCount), QueryCount: int32(h.Queries), ItemCount: int32(h.Items),
	}
	for _, hub := range h.Hubs {
		m.Hubs = append(m.Hubs, &seguev1.Hub{ItemId: hub.ItemID, Count: int32(hub.Lists)})
	}
	return m, nil
}
