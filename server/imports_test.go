package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/segue-ann/segue/client"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// built polls an import until its release is ready.
func built(t *testing.T, c *client.Client, job string) *seguev1.Import {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		got, err := c.Imports.GetImport(ctx, &seguev1.GetImportRequest{Collection: "tracks", JobId: job})
		if err != nil {
			t.Fatal(err)
		}
		if im := got.GetImport(); im.GetState() != seguev1.ReleaseState_RELEASE_STATE_BUILDING {
			return im
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("the build takes too long")
		}
	}
}

func importRow(i int, v ...float32) client.ImportRow {
	return client.ImportRow{Item: &seguev1.Item{Id: fmt.Sprintf("track %d", i), Vector: client.Vector(v)}}
}

// A release comes in over the wire in batches, with rows that are refused, is looked at, refused publication, published and
// rolled back.
func TestImportOverTheWire(t *testing.T) {
	f := start(t, Options{})
	c := client.New(f.conn)
	f.create(t, &seguev1.Collection{Name: "tracks", Dimension: 2, Metric: seguev1.Metric_METRIC_L2, EmbeddingModel: &seguev1.EmbeddingModel{Name: "m", Version: "1"}})
	began, err := c.Imports.StartImport(t.Context(), &seguev1.StartImportRequest{Collection: "tracks", JobId: "day",
		EmbeddingModel: &seguev1.EmbeddingModel{Name: "m", Version: "2"}, ExpectedItemCount: 95})
	if err != nil || began.GetImport().GetState() != seguev1.ReleaseState_RELEASE_STATE_IMPORTING {
		t.Fatal(began, err)
	}
	_, err = c.Imports.StartImport(t.Context(), &seguev1.StartImportRequest{Collection: "tracks", JobId: "another"})
	wantStatus(t, err, codes.Aborted, "ALREADY_RUNNING")
	rows := func(yield func(client.ImportRow, error) bool) {
		for i := range 100 {
			r := importRow(i, float32(i), 1)
			switch {
			case i%20 == 7:
				r.Item.Vector = &seguev1.Vector{Encoding: &seguev1.Vector_Float32Le{Float32Le: []byte{1, 2, 3}}}
			case i == 50:
				r = client.ImportRow{Profile: &seguev1.Profile{UserId: "u", Interests: []*seguev1.Interest{{Vector: client.Vector([]float32{1, 2})}}}}
			}
			if !yield(r, nil) {
				return
			}
		}
	}
	if err := c.WriteImport(t.Context(), "tracks", "day", rows, client.WriteImportOptions{BatchRows: 9}); err != nil {
		t.Fatal(err)
	}
	rejects, err := c.Imports.ListImportRejects(t.Context(), &seguev1.ListImportRejectsRequest{Collection: "tracks", JobId: "day", PageSize: 3})
	if err != nil || len(rejects.GetRejects()) != 3 || rejects.GetNextPageToken() == "" {
		t.Fatal(rejects, err)
	}
	if r := rejects.GetRejects()[1]; r.GetId() != "track 27" || r.GetReason() != "INVALID_FORMAT" || r.GetField() != "item.vector.float32_le" {
		t.Error(r)
	}
	rejects, err = c.Imports.ListImportRejects(t.Context(), &seguev1.ListImportRejectsRequest{Collection: "tracks", JobId: "day", PageToken: rejects.GetNextPageToken()})
	if err != nil || len(rejects.GetRejects()) != 2 || rejects.GetNextPageToken() != "" {
		t.Error(rejects, err)
	}
	if _, err := c.Imports.CommitImport(t.Context(), &seguev1.CommitImportRequest{Collection: "tracks", JobId: "day"}); err != nil {
		t.Fatal(err)
	}
	im := built(t, c, "day")
	if im.GetState() != seguev1.ReleaseState_RELEASE_STATE_READY || im.GetAcceptedCount() != 95 || im.GetRejectedCount() != 5 {
		t.Fatal(im)
	}
	report, err := c.Releases.GetReleaseReport(t.Context(), &seguev1.GetReleaseReportRequest{Collection: "tracks", Release: im.GetRelease(), SampleCount: 20})
	if err != nil || report.GetSampleCount() != 20 || report.GetRecall()[0].GetRecall() < 0.9 || report.GetRelease().GetItemCount() != 94 {
		t.Error(report, err)
	}
	_, err = c.Releases.PublishRelease(t.Context(), &seguev1.PublishReleaseRequest{Collection: "tracks", Release: im.GetRelease(),
		Conditions: &seguev1.PublishConditions{MinItemCount: 95, MaxRejectRatio: 0.01}})
	wantStatus(t, err, codes.FailedPrecondition, "CONDITION_NOT_MET")
	if _, err := c.Releases.PublishRelease(t.Context(), &seguev1.PublishReleaseRequest{Collection: "tracks", Release: im.GetRelease()}); err != nil {
		t.Fatal(err)
	}
	got, err := c.Collections.GetCollection(t.Context(), &seguev1.GetCollectionRequest{Name: "tracks"})
	if err != nil || got.GetCollection().GetItemCount() != 94 || got.GetCollection().GetEmbeddingModel().GetVersion() != "2" {
		t.Error(got, err)
	}
	other := &seguev1.EmbeddingModel{Name: "m", Version: "1"}
	_, err = f.retrieval.NearestNeighbors(t.Context(), &seguev1.NearestNeighborsRequest{Collection: "tracks", Query: byVector(1, 1), NeighborCount: 1, EmbeddingModel: other})
	wantStatus(t, err, codes.FailedPrecondition, "EMBEDDING_MODEL_MISMATCH")
	_, err = f.items.UpsertItem(t.Context(), &seguev1.UpsertItemRequest{Collection: "tracks", Item: importRow(1, 1, 1).Item, EmbeddingModel: other})
	wantStatus(t, err, codes.FailedPrecondition, "EMBEDDING_MODEL_MISMATCH")
	back, err := c.Releases.RollbackCollection(t.Context(), &seguev1.RollbackCollectionRequest{Collection: "tracks"})
	if err != nil || back.GetRelease().GetId() != 1 {
		t.Error(back, err)
	}
	_, err = c.Releases.RollbackCollection(t.Context(), &seguev1.RollbackCollectionRequest{Collection: "tracks"})
	wantStatus(t, err, codes.FailedPrecondition, "WRONG_STATE")
	if _, err := c.Releases.DeleteRelease(t.Context(), &seguev1.DeleteReleaseRequest{Collection: "tracks", Release: im.GetRelease()}); err != nil {
		t.Error(err)
	}
	list, err := c.Releases.ListReleases(t.Context(), &seguev1.ListReleasesRequest{Collection: "tracks"})
	if err != nil || len(list.GetReleases()) != 1 {
		t.Error(list, err)
	}
}

// A broken stream says how far it got, and another one goes on behind that; a gap is refused.
func TestImportStreamResumes(t *testing.T) {
	f := start(t, Options{})
	c := client.New(f.conn)
	f.create(t, &seguev1.Collection{Name: "tracks", Dimension: 1, Metric: seguev1.Metric_METRIC_L2})
	if _, err := c.Imports.StartImport(t.Context(), &seguev1.StartImportRequest{Collection: "tracks", JobId: "day"}); err != nil {
		t.Fatal(err)
	}
	source := errors.New("the source broke")
	rows := func(n int, end error) func(yield func(client.ImportRow, error) bool) {
		return func(yield func(client.ImportRow, error) bool) {
			for i := range n {
				if !yield(importRow(i, float32(i)), nil) {
					return
				}
			}
			if end != nil {
				yield(client.ImportRow{}, end)
			}
		}
	}
	o := client.WriteImportOptions{BatchRows: 2}
	if err := c.WriteImport(t.Context(), "tracks", "day", rows(7, source), o); !errors.Is(err, source) {
		t.Fatal(err)
	}
	if err := c.WriteImport(t.Context(), "tracks", "day", rows(11, nil), o); err != nil {
		t.Fatal(err)
	}
	got, err := c.Imports.GetImport(t.Context(), &seguev1.GetImportRequest{Collection: "tracks", JobId: "day"})
	if err != nil || got.GetImport().GetSequence() != 6 || got.GetImport().GetAcceptedCount() != 11 {
		t.Error(got, err)
	}
	for _, bad := range []struct {
		req    *seguev1.WriteImportRequest
		code   codes.Code
		reason string
	}{
		{&seguev1.WriteImportRequest{Collection: "tracks", JobId: "day", Sequence: 9}, codes.FailedPrecondition, "OUT_OF_SEQUENCE"},
		{&seguev1.WriteImportRequest{Collection: "tracks", JobId: "day"}, codes.InvalidArgument, "OUT_OF_RANGE"},
		{&seguev1.WriteImportRequest{Collection: "tracks", JobId: "unknown", Sequence: 1}, codes.NotFound, "IMPORT_NOT_FOUND"},
		{&seguev1.WriteImportRequest{Collection: "unknown", JobId: "day", Sequence: 1}, codes.NotFound, "COLLECTION_NOT_FOUND"},
	} {
		stream, err := c.Imports.WriteImport(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(bad.req); err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		_, err = stream.Recv()
		wantStatus(t, err, bad.code, bad.reason)
	}
	// Rows are made durable also while the client says nothing more.
	stream, err := c.Imports.WriteImport(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&seguev1.WriteImportRequest{Collection: "tracks", JobId: "day", Sequence: 7, Items: []*seguev1.Item{importRow(99, 1).Item}}); err != nil {
		t.Fatal(err)
	}
	for acked := int64(0); acked != 7; {
		m, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		acked = m.GetSequence()
	}
	if _, err := c.Imports.CancelImport(t.Context(), &seguev1.CancelImportRequest{Collection: "tracks", JobId: "day"}); err != nil {
		t.Error(err)
	}
	if err := stream.CloseSend(); err != nil {
		t.Error(err)
	}
}

// wantStatus compares code and reason of an error.
func wantStatus(t *testing.T, err error, code codes.Code, reason string) {
	t.Helper()
	st := status.Convert(err)
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && st.Code() == code && info.GetReason() == reason {
			return
		}
	}
	t.Errorf("%v %v, want %v with reason %s", st, st.Details(), code, reason)
}
