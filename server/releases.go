package server

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/segue-ann/segue/engine"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

type releaseService struct{ *backend }

// conditionPath turns fields of the engine's conditions, and of its report, into those of the requests.
func conditionPath(field string) string {
	return renames{{"conditions.min_items_ratio", "conditions.min_item_ratio"}, {"conditions.min_items", "conditions.min_item_count"}, {"sample", "sample_count"}}.path(field)
}

func (s *releaseService) ListReleases(ctx context.Context, req *seguev1.ListReleasesRequest) (*seguev1.ListReleasesResponse, error) {
	c, err := s.collection("collection", req.GetCollection())
	if err != nil {
		return nil, err
	}
	infos, err := c.Releases(ctx)
	if err != nil {
		return nil, err
	}
	m := &seguev1.ListReleasesResponse{}
	for _, info := range infos {
		m.Releases = append(m.Releases, encodeRelease(info))
	}
	return m, nil
}

func (s *releaseService) GetRelease(ctx context.Context, req *seguev1.GetReleaseRequest) (*seguev1.GetReleaseResponse, error) {
	c, err := s.collection("collection", req.GetCollection())
	if err != nil {
		return nil, err
	}
	info, err := c.Release(ctx, req.GetRelease())
	if err != nil {
		return nil, err
	}
	return &seguev1.GetReleaseResponse{Release: encodeRelease(info)}, nil
}

func (s *releaseService) GetReleaseReport(ctx context.Context, req *seguev1.GetReleaseReportRequest) (*seguev1.GetReleaseReportResponse, error) {
	c, err := s.collection("collection", req.GetCollection())
	if err != nil {
		return nil, err
	}
	r, err := c.ReleaseReport(ctx, req.GetRelease(), int(req.GetSampleCount()))
	if err != nil {
		return nil, renamed(err, conditionPath)
	}
	m := &seguev1.GetReleaseReportResponse{
		Release: encodeRelease(r.Release), SampleCount: int32(r.Sample), K: int32(r.K), DefaultEf: int32(r.DefaultEf), Overlap: r.Overlap,
		OverlapSampleCount: int32(r.OverlapSample), GraphFaultCount: int32(r.GraphFaults), Coverage: r.Coverage,
		Norms: &seguev1.NormStatistics{Min: r.Norms.Min, Mean: r.Norms.Mean, Max: r.Norms.Max, StandardDeviation: r.Norms.StdDev},
	}
	for _, p := range r.Recall {
		m.Recall = append(m.Recall, &seguev1.RecallPoint{Ef: int32(p.Ef), Recall: p.Recall, MeanDistanceCount: p.Distances})
	}
	for _, h := range r.Hubs {
		m.Hubs = append(m.Hubs, &seguev1.ReleaseHub{ItemId: h.ItemID, ListCount: int32(h.Lists)})
	}
	return m, nil
}

func (s *releaseService) PublishRelease(ctx context.Context, req *seguev1.PublishReleaseRequest) (*seguev1.PublishReleaseResponse, error) {
	c, err := s.collection("collection", req.GetCollection())
	if err != nil {
		return nil, err
	}
	if req.GetRelease() == 0 {
		return nil, invalid(engine.ReasonRequired, "release", "must be set")
	}
	cond := req.GetConditions()
	info, err := c.PublishRelease(ctx, req.GetRelease(), engine.PublishConditions{
		MinItems: int(cond.GetMinItemCount()), MinItemsRatio: cond.GetMinItemRatio(), MinRecall: cond.GetMinRecall(),
		MinOverlap: cond.GetMinOverlap(), MaxRejectRatio: cond.GetMaxRejectRatio(),
	})
	if err != nil {
		return nil, renamed(err, conditionPath)
	}
	return &seguev1.PublishReleaseResponse{Release: encodeRelease(info)}, nil
}

func (s *releaseService) RollbackCollection(ctx context.Context, req *seguev1.RollbackCollectionRequest) (*seguev1.RollbackCollectionResponse, error) {
	c, err := s.collection("collection", req.GetCollection())
	if err != nil {
		return nil, err
	}
	info, err := c.RollbackCollection(ctx)
	if err != nil {
		return nil, err
	}
	return &seguev1.RollbackCollectionResponse{Release: encodeRelease(info)}, nil
}

func (s *releaseService) ExportRelease(req *seguev1.ExportReleaseRequest, stream seguev1.ReleaseService_ExportReleaseServer) error {
	c, err := s.collection("collection", req.GetCollection())
	if err != nil {
		return err
	}
	begin := func(x engine.ReleaseExport) error {
		return stream.Send(&seguev1.ExportReleaseResponse{Part: &seguev1.ExportReleaseResponse_Head{Head: &seguev1.ReleaseHead{
			Collection: encodeConfig(x.Config), EmbeddingModel: encodeModel(x.Model), ItemCount: int64(x.Items),
			Graph: &seguev1.ImportGraph{Build: x.Graph.Build, Index: x.Graph.Index, PartCount: int32(x.Graph.Parts)},
		}}})
	}
	return c.ExportRelease(stream.Context(), req.GetRelease(), begin, func(b engine.ImportRows) error {
		m := &seguev1.WriteImportRequest{Sequence: int64(b.Sequence), Items: encodeItems(b.Items, true)}
		for _, p := range b.Profiles {
			m.Profiles = append(m.Profiles, encodeProfile(p))
		}
		for _, p := range b.Parts {
			m.GraphParts = append(m.GraphParts, &seguev1.GraphPart{Section: p.Section, Slab: int32(p.Slab), Data: p.Data})
		}
		return stream.Send(&seguev1.ExportReleaseResponse{Part: &seguev1.ExportReleaseResponse_Batch{Batch: m}})
	})
}

func (s *releaseService) DeleteRelease(ctx context.Context, req *seguev1.DeleteReleaseRequest) (*seguev1.DeleteReleaseResponse, error) {
	c, err := s.collection("collection", req.GetCollection())
	if err != nil {
		return nil, err
	}
	if req.GetRelease() == 0 {
		return nil, invalid(engine.ReasonRequired, "release", "must be set")
	}
	if err := c.DeleteRelease(ctx, req.GetRelease()); err != nil {
		return nil, err
	}
	return &seguev1.DeleteReleaseResponse{}, nil
}

func encodeRelease(r engine.ReleaseInfo) *seguev1.Release {
	return &seguev1.Release{
		Id: r.ID, State: encodeReleaseState(r.State), JobId: r.JobID, Cancelled: r.Cancelled, EmbeddingModel: encodeModel(r.Model),
		Previous: r.Previous, AcceptedCount: int64(r.Accepted), RejectedCount: int64(r.Rejected), DuplicateCount: int64(r.Duplicates),
		Loaded: r.Loaded, ItemCount: int64(r.Items), DiskBytes: r.DiskBytes, CreateTime: timestamppb.New(r.CreateTime),
		ReadyTime: encodeTime(r.ReadyTime), PublishTime: encodeTime(r.PublishTime),
	}
}
