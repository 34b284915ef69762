package server

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/segue-ann/segue/engine"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

type adminService struct{ *backend }

func (s *adminService) CreateSnapshot(ctx context.Context, req *seguev1.CreateSnapshotRequest) (*seguev1.CreateSnapshotResponse, error) {
	c, err := s.collection("collection", req.GetCollection())
	if err != nil {
		return nil, err
	}
	info, err := c.CreateSnapshot(ctx)
	if err != nil {
		return nil, err
	}
	return &seguev1.CreateSnapshotResponse{Snapshot: encodeSnapshot(info)}, nil
}

func (s *adminService) ListSnapshots(ctx context.Context, req *seguev1.ListSnapshotsRequest) (*seguev1.ListSnapshotsResponse, error) {
	c, err := s.collection("collection", req.GetCollection())
	if err != nil {
		return nil, err
	}
	infos, err := c.Snapshots(ctx)
	if err != nil {
		return nil, err
	}
	m := &seguev1.ListSnapshotsResponse{}
	for _, info := range infos {
		m.Snapshots = append(m.Snapshots, encodeSnapshot(info))
	}
	return m, nil
}

func (s *adminService) GetIndexStatistics(ctx context.Context, req *seguev1.GetIndexStatisticsRequest) (*seguev1.GetIndexStatisticsResponse, error) {
	c, err := s.collection("collection", req.GetCollection())
	if err != nil {
		return nil, err
	}
	st, err := c.Statistics(ctx)
	if err != nil {
		return nil, err
	}
	return &seguev1.GetIndexStatisticsResponse{Statistics: encodeStatistics(st)}, nil
}

func (s *adminService) CreateBackup(ctx context.Context, _ *seguev1.CreateBackupRequest) (*seguev1.CreateBackupResponse, error) {
	if s.backupTo == "" {
		return nil, errNoBackupTarget
	}
	info, err := s.engine.Backup(ctx, s.backupTo)
	if err != nil {
		return nil, err
	}
	b := &seguev1.Backup{
		Number:     int64(info.Number),
		CreateTime: timestamppb.New(info.CreateTime),
		FileCount:  int32(info.Files),
		SizeBytes:  info.SizeBytes,
		SentBytes:  info.SentBytes,
	}
	for _, p := range info.Positions {
		b.Positions = append(b.Positions, &seguev1.BackupPosition{Collection: p.Collection, Release: int64(p.Release), Revision: int64(p.LSN)})
	}
	return &seguev1.CreateBackupResponse{Backup: b}, nil
}

func encodeStatistics(st engine.Statistics) *seguev1.IndexStatistics {
	return &seguev1.IndexStatistics{
		ItemCount:        int64(st.Items),
		SlotCount:        int64(st.Slots),
		RetiredSlotCount: int64(st.RetiredSlots),
		MaxLevel:         int32(st.MaxLevel),
		MeanDegree:       st.MeanDegree,
		BytesPerVector:   st.BytesPerVector,
		IndexBytes:       st.IndexBytes,
		FileBytes:        st.FileBytes,
		DiskBytes:        st.DiskBytes,
		Revision:         int64(st.Revision),
		SnapshotRevision: int64(st.SnapshotRevision),
		LogTailCount:     int64(st.LogTail),
	}
}
