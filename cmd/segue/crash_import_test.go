package main

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/segue-ann/segue/client"
	"github.com/segue-ann/segue/engine"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// The crash test of imports: a server in a process of its own is killed (SIGKILL) while rows stream into a release, while the
// release is built, and while it is published, and live writes and deletes go on. After every restart what was published
// serves, the import knows every batch that it acknowledged, and no acknowledged live write is lost. In the end the release
// holds every row of the import but those that were deleted or written live, which are as they were left.
const (
	crashImportBatches = 40
	crashImportRows    = 60 // of each batch
)

// crashImport is what was acknowledged.
type crashImport struct {
	acked   int64           // batches
	live    map[string]bool // ids written live; false: deleted
	next    int             // number of the next live operation
	pending string          // id of the live operation that was under way
}

func TestKillDuringImport(t *testing.T) {
	dir := t.TempDir()
	state := &crashImport{live: map[string]bool{}}
	random := rand.New(rand.NewPCG(7, 7))
	rounds := crashRounds(t)
	for round := range rounds {
		s := mustServe(t, dir)
		c := singleTryClient(t, s.addr)
		if round == 0 {
			createCrashCollection(t, c)
			// What is written before an import begins is not in its release unless the import brings it: begin it first.
			if _, err := c.Imports.StartImport(t.Context(), &seguev1.StartImportRequest{Collection: "crash", JobId: "night"}); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Items.UpsertItem(t.Context(), &seguev1.UpsertItemRequest{Collection: "crash", Item: crashImportItem("live base")}); err != nil {
				t.Fatal(err)
			}
			state.live["live base"] = true
		}
		state.verify(t, c)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			state.work(ctx, c)
		}()
		<-time.After(time.Duration(random.IntN(150)) * time.Millisecond)
		s.kill()
		cancel()
		<-done
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s := mustServe(t, dir)
	c := singleTryClient(t, s.addr)
	state.verify(t, c)
	for state.step(t.Context(), c, true) == nil {
		got, err := c.Releases.GetRelease(t.Context(), &seguev1.GetReleaseRequest{Collection: "crash"})
		if err != nil {
			t.Fatal(err)
		}
		if got.GetRelease().GetJobId() != "" {
			break
		}
	}
	state.verify(t, c)
	state.verifyRelease(t, c)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if code, err := s.stop(); code != 0 || err != nil {
		t.Fatalf("graceful stop: code %d, %v\n%s", code, err, s.stderr)
	}
	if err := engine.Check(t.Context(), dir, engine.Options{Logger: slog.New(slog.DiscardHandler)}, func(f engine.Finding) {
		t.Errorf("check: %s: %s", f.Where, f.Problem)
	}); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d kills, %d live operations and %d batches acknowledged, none lost", rounds, state.next, state.acked)
}

func crashImportItem(id string) *seguev1.Item {
	return &seguev1.Item{Id: id, Vector: client.Vector(crashVector(id, 1))}
}

// work goes on with the import and with live writes until the server is gone.
func (s *crashImport) work(ctx context.Context, c *client.Client) {
	for s.step(ctx, c, false) == nil {
	}
}

// step does a little of everything, and publishes once the release is built.
func (s *crashImport) step(ctx context.Context, c *client.Client, wait bool) error {
	if err := s.write(ctx, c); err != nil {
		return err
	}
	started, err := c.Imports.StartImport(ctx, &seguev1.StartImportRequest{Collection: "crash", JobId: "night"})
	if err != nil {
		return err
	}
	switch im := started.GetImport(); im.GetState() {
	case seguev1.ReleaseState_RELEASE_STATE_IMPORTING:
		if im.GetSequence() == crashImportBatches {
			_, err := c.Imports.CommitImport(ctx, &seguev1.CommitImportRequest{Collection: "crash", JobId: "night"})
			return err
		}
		return s.send(ctx, c, im.GetSequence()+1)
	case seguev1.ReleaseState_RELEASE_STATE_READY:
		_, err := c.Releases.PublishRelease(ctx, &seguev1.PublishReleaseRequest{Collection: "crash", Release: im.GetRelease()})
		return err
	case seguev1.ReleaseState_RELEASE_STATE_PUBLISHED, seguev1.ReleaseState_RELEASE_STATE_RETIRED:
		// There and back again, for as long as the server lives.
		if !wait {
			other := 3 - im.GetRelease() // releases 1 and 2
			if im.GetState() == seguev1.ReleaseState_RELEASE_STATE_RETIRED {
				other = im.GetRelease()
			}
			_, err := c.Releases.PublishRelease(ctx, &seguev1.PublishReleaseRequest{Collection: "crash", Release: other})
			return err
		}
		_, err := c.Releases.PublishRelease(ctx, &seguev1.PublishReleaseRequest{Collection: "crash", Release: im.GetRelease()})
		return err
	}
	return nil
}

// write upserts an item, or deletes one of the import or one that was written.
func (s *crashImport) write(ctx context.Context, c *client.Client) error {
	n := s.next
	id := fmt.Sprintf("live %d", n%30)
	if n%3 == 1 {
		id = fmt.Sprintf("row %d", n*17%(crashImportBatches*crashImportRows))
	}
	s.pending = id
	var err error
	if n%3 == 0 || n%3 == 2 && n%2 == 0 {
		_, err = c.Items.UpsertItem(ctx, &seguev1.UpsertItemRequest{Collection: "crash", Item: crashImportItem(id)})
		if err == nil {
			s.live[id] = true
		}
	} else {
		_, err = c.Items.BatchDeleteItems(ctx, &seguev1.BatchDeleteItemsRequest{Collection: "crash", ItemIds: []string{id}})
		if err == nil {
			s.live[id] = false
		}
	}
	if err == nil {
		s.next, s.pending = n+1, ""
	}
	return err
}

// send streams up to four batches and waits for their acknowledgement.
func (s *crashImport) send(ctx context.Context, c *client.Client, from int64) error {
	stream, err := c.Imports.WriteImport(ctx)
	if err != nil {
		return err
	}
	for seq := from; seq < from+4 && seq <= crashImportBatches; seq++ {
		req := &seguev1.WriteImportRequest{Collection: "crash", JobId: "night", Sequence: seq}
		for i := range crashImportRows {
			req.Items = append(req.Items, crashImportItem(fmt.Sprintf("row %d", (int(seq)-1)*crashImportRows+i)))
		}
		if err := stream.Send(req); err != nil {
			break // Recv says why
		}
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	for {
		m, err := stream.Recv()
		if err != nil {
			if status.Code(err) == codes.OK || err.Error() == "EOF" {
				return nil
			}
			return err
		}
		s.acked = max(s.acked, m.GetSequence())
	}
}

// verify says that what was acknowledged is there.
func (s *crashImport) verify(t *testing.T, c *client.Client) {
	t.Helper()
	for id, there := range s.live {
		if id == s.pending {
			continue // the last operation may have happened
		}
		_, err := c.Items.GetItem(t.Context(), &seguev1.GetItemRequest{Collection: "crash", ItemId: id})
		if there && err != nil || !there && status.Code(err) != codes.NotFound {
			t.Errorf("item %q, written %v: %v", id, there, err)
		}
	}
	got, err := c.Imports.GetImport(t.Context(), &seguev1.GetImportRequest{Collection: "crash", JobId: "night"})
	if err != nil {
		if s.acked > 0 {
			t.Errorf("the import is gone: %v", err)
		}
		return
	}
	if im := got.GetImport(); im.GetState() == seguev1.ReleaseState_RELEASE_STATE_IMPORTING && im.GetSequence() < s.acked {
		t.Errorf("batch %d was acknowledged, the import is at %d", s.acked, im.GetSequence())
	}
}

// verifyRelease says that the published release holds all rows but those that were deleted.
func (s *crashImport) verifyRelease(t *testing.T, c *client.Client) {
	t.Helper()
	var ids []string
	for token := ""; ; {
		page, err := c.Items.ListItems(t.Context(), &seguev1.ListItemsRequest{Collection: "crash", PageSize: 1000, PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		for _, it := range page.GetItems() {
			ids = append(ids, it.GetId())
		}
		if token = page.GetNextPageToken(); token == "" {
			break
		}
	}
	for i := range crashImportBatches * crashImportRows {
		id := fmt.Sprintf("row %d", i)
		written, touched := s.live[id]
		if _, found := slices.BinarySearch(ids, id); !touched && !found && id != s.pending || touched && found != written && id != s.pending {
			t.Errorf("%s: in the release %v; touched %v, written %v", id, found, touched, written)
		}
	}
}
