package server

import (
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
	"github.com/segue-ann/segue/storage/backup"
)

// A server makes backups where it was told to, and nowhere if it was not; one that is restored answers as the server did.
func TestCreateBackup(t *testing.T) {
	ctx := t.Context()
	to := t.TempDir()
	f := start(t, Options{BackupTo: to})
	f.create(t, &seguev1.Collection{Name: "tracks", Dimension: 4, Metric: seguev1.Metric_METRIC_COSINE})
	revision := f.upsert(t, "tracks", randomItems(60, 4)...)
	first := &seguev1.NearestNeighborsRequest{Collection: "tracks", Query: byVector(1, 2, 3, 4), NeighborCount: 20, SearchEffort: exact()}
	want := f.search(t, first)
	resp, err := f.admin.CreateBackup(ctx, &seguev1.CreateBackupRequest{})
	if err != nil {
		t.Fatal(err)
	}
	b := resp.GetBackup()
	if b.GetNumber() != 1 || b.GetCreateTime() == nil || b.GetFileCount() == 0 || b.GetSizeBytes() == 0 || b.GetSentBytes() != b.GetSizeBytes() ||
		len(b.GetPositions()) != 1 || b.GetPositions()[0].GetRevision() != revision || b.GetPositions()[0].GetCollection() != "tracks" {
		t.Errorf("%v", b)
	}
	f.upsert(t, "tracks", item("later", 1, 2, 3, 4))

	target, err := backup.Open(ctx, to, nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if _, err := target.Restore(ctx, 1, nil, dir); err != nil {
		t.Fatal(err)
	}
	back := open(t, dir, Options{})
	defer back.stop(t)
	got := back.search(t, first)
	if len(got.GetNeighbors()) != len(want.GetNeighbors()) {
		t.Fatalf("%d neighbors, were %d", len(got.GetNeighbors()), len(want.GetNeighbors()))
	}
	for i, n := range want.GetNeighbors() {
		if !proto.Equal(n, got.GetNeighbors()[i]) {
			t.Errorf("rank %d: %v, was %v", i, got.GetNeighbors()[i], n)
		}
	}
	req := &seguev1.CreateBackupRequest{}
	run(t, []row{{"no target", on(back.admin.CreateBackup, req), req, refusal{codes.FailedPrecondition, "NO_BACKUP_TARGET", ""}}})
}
