package server

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// TestSnapshots: each holds what had been written, the newest comes first, two are kept, and a restart uses one.
func TestSnapshots(t *testing.T) {
	ctx := t.Context()
	f := open(t, t.TempDir(), Options{})
	f.create(t, &seguev1.Collection{Name: "tracks", Dimension: 4, Metric: seguev1.Metric_METRIC_COSINE})
	list := func() []*seguev1.Snapshot {
		t.Helper()
		resp, err := f.admin.ListSnapshots(ctx, &seguev1.ListSnapshotsRequest{Collection: "tracks"})
		if err != nil {
			t.Fatal(err)
		}
		return resp.GetSnapshots()
	}
	if got := list(); len(got) != 0 {
		t.Errorf("a new collection has %v", got)
	}
	items := randomItems(90, 4)
	var last *seguev1.Snapshot
	for i := range 3 {
		rev := f.upsert(t, "tracks", items[30*i:30*i+30]...)
		resp, err := f.admin.CreateSnapshot(ctx, &seguev1.CreateSnapshotRequest{Collection: "tracks"})
		if err != nil {
			t.Fatal(err)
		}
		s := resp.GetSnapshot()
		if s.GetRevision() != rev || s.GetItemCount() != int64(30*i+30) || s.GetSizeBytes() <= 0 || s.GetCreateTime() == nil || s.GetGeneration() <= last.GetGeneration() {
			t.Errorf("snapshot %v after revision %d", s, rev)
		}
		got := list()
		want := []*seguev1.Snapshot{s, last}[:min(i+1, 2)]
		// What was written and what it takes in the store differ by compression.
		if diff := cmp.Diff(want, got, protocmp.Transform(), protocmp.IgnoreFields(s, "size_bytes")); diff != "" || got[0].GetSizeBytes() <= 0 {
			t.Error(diff)
		}
		last = s
	}
	f.upsert(t, "tracks", item("tail", 1, 2, 3, 4))
	before := f.search(t, &seguev1.NearestNeighborsRequest{Collection: "tracks", Query: byItem("tail"), NeighborCount: 20, SearchEffort: exact()})
	f.stop(t)
	f = open(t, f.dir, Options{})
	defer f.stop(t)
	after := f.search(t, &seguev1.NearestNeighborsRequest{Collection: "tracks", Query: byItem("tail"), NeighborCount: 20, SearchEffort: exact()})
	for i, n := range before.GetNeighbors() {
		if !proto.Equal(n, after.GetNeighbors()[i]) {
			t.Errorf("rank %d after a restart: %v, was %v", i, after.GetNeighbors()[i], n)
		}
	}
}

func TestIndexStatistics(t *testing.T) {
	ctx := t.Context()
	f := start(t, Options{})
	f.create(t, &seguev1.Collection{Name: "tracks", Dimension: 4, Metric: seguev1.Metric_METRIC_COSINE})
	get := func() *seguev1.IndexStatistics {
		t.Helper()
		resp, err := f.admin.GetIndexStatistics(ctx, &seguev1.GetIndexStatisticsRequest{Collection: "tracks"})
		if err != nil {
			t.Fatal(err)
		}
		return resp.GetStatistics()
	}
	if s := get(); s.GetItemCount() != 0 || s.GetRevision() != 0 || s.GetBytesPerVector() != 0 || s.GetDiskBytes() <= 0 {
		t.Errorf("empty: %v", s)
	}
	f.upsert(t, "tracks", randomItems(50, 4)...)
	if _, err := f.admin.CreateSnapshot(ctx, &seguev1.CreateSnapshotRequest{Collection: "tracks"}); err != nil {
		t.Fatal(err)
	}
	f.upsert(t, "tracks", randomItems(10, 4)...) // ten replaced
	s := get()
	if s.GetItemCount() != 50 || s.GetSlotCount() < 50 || s.GetRevision() != 60 || s.GetSnapshotRevision() != 50 || s.GetLogTailCount() != 10 {
		t.Errorf("counts: %v", s)
	}
	if s.GetMeanDegree() <= 1 || s.GetIndexBytes() < 50*4*4 || s.GetBytesPerVector() != float64(s.GetIndexBytes())/50 {
		t.Errorf("sizes: %v", s)
	}
}
