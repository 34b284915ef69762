package server

import (
	"testing"

	"github.com/segue-ann/segue/engine"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// TestMeasuringOverTheWire: defaults, counts, and every field that can be wrong.
func TestMeasuringOverTheWire(t *testing.T) {
	f, items := listening(t)
	r, err := f.admin.MeasureRecall(t.Context(), &seguev1.MeasureRecallRequest{Collection: "tracks", Efs: []int32{16, 400}})
	if err != nil || r.GetQueryCount() != 100 || len(r.GetPoints()) != 2 || r.GetPoints()[1].GetRecall() != 1 || r.GetPoints()[1].GetEf() != 400 || r.GetPoints()[0].GetMeanDistanceCount() == 0 {
		t.Errorf("%v, %v", r, err)
	}
	h, err := f.admin.ListHubs(t.Context(), &seguev1.ListHubsRequest{Collection: "tracks", ListSize: 5})
	if err != nil || len(h.GetHubs()) != 5 || h.GetQueryCount() != int32(len(items)) || h.GetItemCount() != int32(len(items)) || h.GetHubs()[0].GetCount() < 10 {
		t.Errorf("%v, %v", h, err)
	}
	recall := func(change func(*seguev1.MeasureRecallRequest)) *seguev1.MeasureRecallRequest {
		req := &seguev1.MeasureRecallRequest{Collection: "tracks"}
		change(req)
		return req
	}
	hubs := func(change func(*seguev1.ListHubsRequest)) *seguev1.ListHubsRequest {
		req := &seguev1.ListHubsRequest{Collection: "tracks"}
		change(req)
		return req
	}
	var rows []row
	for field, req := range map[string]*seguev1.MeasureRecallRequest{
		"neighbor_count": recall(func(r *seguev1.MeasureRecallRequest) { r.NeighborCount = 1001 }),
		"query_count":    recall(func(r *seguev1.MeasureRecallRequest) { r.QueryCount = -1 }),
		"efs":            recall(func(r *seguev1.MeasureRecallRequest) { r.Efs = make([]int32, 17) }),
	} {
		rows = append(rows, row{"recall " + field, on(f.admin.MeasureRecall, req), req, bad(engine.ReasonOutOfRange, field)})
	}
	for field, req := range map[string]*seguev1.ListHubsRequest{
		"neighbor_count": hubs(func(r *seguev1.ListHubsRequest) { r.NeighborCount = -1 }),
		"query_count":    hubs(func(r *seguev1.ListHubsRequest) { r.QueryCount = 100_001 }),
		"list_size":      hubs(func(r *seguev1.ListHubsRequest) { r.ListSize = 10_001 }),
	} {
		rows = append(rows, row{"hubs " + field, on(f.admin.ListHubs, req), req, bad(engine.ReasonOutOfRange, field)})
	}
	run(t, rows)
}
