package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/segue-ann/segue/client"
	"github.com/segue-ann/segue/engine"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

const crashReleaseItems = 6000

// TestKillDuringImportOfARelease: a server is killed (SIGKILL) again and again while a release file streams in, while its graph is
// taken, and while it is published. After every restart what was acknowledged is there: batches, and live writes, which win over
// the file. In the end the release holds every row of the file, and answers rightly.
func TestKillDuringImportOfARelease(t *testing.T) {
	file := crashReleaseFile(t)
	dir := t.TempDir()
	r := &crashRelease{file: file, live: map[string]int64{}, random: rand.New(rand.NewPCG(11, 3))}
	rounds := crashRounds(t)
	for round := range rounds {
		s := mustServe(t, dir)
		c := singleTryClient(t, s.addr)
		if round == 0 {
			createCrashCollection(t, c)
			head, _, err := client.CheckRelease(bytes.NewReader(file))
			if err != nil {
				t.Fatal(err)
			}
			// Live writes win over the file from here on.
			if _, err := c.Imports.StartImport(t.Context(), &seguev1.StartImportRequest{Collection: "crash", JobId: "night", Graph: head.GetGraph()}); err != nil {
				t.Fatal(err)
			}
		}
		r.verify(t, c)
		ctx, cancel := context.WithCancel(t.Context())
		done, committed := make(chan struct{}), make(chan struct{})
		// The last rounds send all of the file, and the kill falls after that.
		if r.whole, r.committed = round >= rounds/2, sync.OnceFunc(func() { close(committed) }); !r.whole {
			r.committed()
		}
		linger := time.Duration(r.random.IntN(100)) * time.Millisecond
		go func() {
			defer close(done)
			for r.step(ctx, c) == nil {
			}
		}()
		select {
		case <-committed:
			<-time.After(linger)
		case <-done:
			t.Error("the server took no more before it was killed")
		}
		s.kill()
		cancel()
		<-done
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s := mustServe(t, dir)
	c := singleTryClient(t, s.addr)
	r.verify(t, c)
	var im *seguev1.Import
	for im.GetState() != seguev1.ReleaseState_RELEASE_STATE_PUBLISHED {
		if err := r.step(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		got, err := c.Imports.GetImport(t.Context(), &seguev1.GetImportRequest{Collection: "crash", JobId: "night"})
		if err != nil {
			t.Fatal(err)
		}
		im = got.GetImport()
	}
	// A graph whose rows a live write has changed before a kill, and before the graph was taken, is built anew: nothing else is refused.
	if changed := strings.Contains(im.GetGraphRefused(), "was written since"); im.GetGraphTaken() == changed || im.GetAcceptedCount() != crashReleaseItems {
		t.Errorf("%d rows, graph taken %v, refused %q", im.GetAcceptedCount(), im.GetGraphTaken(), im.GetGraphRefused())
	}
	r.verify(t, c)
	for i := range crashReleaseItems {
		id := fmt.Sprintf("row %d", i)
		if _, ok := r.live[id]; ok || id == r.pending {
			continue
		}
		got, err := c.Items.GetItem(t.Context(), &seguev1.GetItemRequest{Collection: "crash", ItemId: id, IncludeVectors: true})
		if err != nil || !slices.Equal(got.GetItem().GetVector().GetFloats().GetValues(), crashVector(id, 1)) {
			t.Fatalf("%s: %v, %v", id, got, err)
		}
		if i%40 != 0 {
			continue
		}
		found, err := c.Retrieval.NearestNeighbors(t.Context(), &seguev1.NearestNeighborsRequest{Collection: "crash", NeighborCount: 1,
			Query: &seguev1.Query{Form: &seguev1.Query_Vector{Vector: client.Vector(crashVector(id, 1))}}})
		if n := found.GetNeighbors(); err != nil || len(n) != 1 || n[0].GetItemId() != id {
			t.Errorf("the nearest of %s is %v, %v", id, n, err)
		}
	}
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
	t.Logf("%d kills; %d of them while rows or graph came, %d while the release was made of them; %d live writes acknowledged, none lost; graph taken %v",
		rounds, r.killed[seguev1.ReleaseState_RELEASE_STATE_IMPORTING], r.killed[seguev1.ReleaseState_RELEASE_STATE_BUILDING], r.next, im.GetGraphTaken())
}

// crashReleaseFile is a release of a server that is not killed.
func crashReleaseFile(t *testing.T) []byte {
	t.Helper()
	s := mustServe(t, t.TempDir())
	c := singleTryClient(t, s.addr)
	createCrashCollection(t, c)
	for from := 0; from < crashReleaseItems; from += 1000 {
		req := &seguev1.BatchUpsertItemsRequest{Collection: "crash"}
		for i := range 1000 {
			req.Items = append(req.Items, crashImportItem(fmt.Sprintf("row %d", from+i)))
		}
		if _, err := c.Items.BatchUpsertItems(t.Context(), req); err != nil {
			t.Fatal(err)
		}
	}
	var file bytes.Buffer
	if _, err := c.ExportRelease(t.Context(), "crash", 0, &file); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	s.kill()
	return file.Bytes()
}

// crashRelease is what was acknowledged.
type crashRelease struct {
	file    []byte
	random  *rand.Rand
	acked   int64            // batches
	live    map[string]int64 // the version that a live write gave an item
	next    int64            // number of the next live write
	pending string           // id of the live write that was under way
	state   seguev1.ReleaseState
	whole   bool // send all of the file at once
	// committed is called once the import is.
	committed func()
	killed    map[seguev1.ReleaseState]int // by the state before
}

// step makes one live write and brings the import a little further: a few batches of the file, all of it, or its next state.
func (r *crashRelease) step(ctx context.Context, c *client.Client) error {
	id := fmt.Sprintf("row %d", r.next%100*37)
	r.pending = id
	item := &seguev1.Item{Id: id, Vector: client.Vector(crashVector(id, r.next+2))}
	if _, err := c.Items.UpsertItem(ctx, &seguev1.UpsertItemRequest{Collection: "crash", Item: item}); err != nil {
		return err
	}
	r.live[id], r.pending, r.next = r.next+2, "", r.next+1
	got, err := c.Imports.GetImport(ctx, &seguev1.GetImportRequest{Collection: "crash", JobId: "night"})
	if err != nil {
		return err
	}
	im := got.GetImport()
	switch r.state = im.GetState(); r.state {
	case seguev1.ReleaseState_RELEASE_STATE_IMPORTING:
		if !r.whole {
			more, err := r.send(ctx, c, im.GetSequence())
			if more || err != nil {
				return err
			}
		} else if _, err := c.ImportRelease(ctx, "crash", "night", bytes.NewReader(r.file), client.ImportReleaseOptions{Retries: 1}); err != nil {
			return err
		}
		if _, err = c.Imports.CommitImport(ctx, &seguev1.CommitImportRequest{Collection: "crash", JobId: "night"}); err == nil {
			r.state = seguev1.ReleaseState_RELEASE_STATE_BUILDING
			r.committed()
		}
		return err
	case seguev1.ReleaseState_RELEASE_STATE_READY:
		r.committed()
		_, err = c.Releases.PublishRelease(ctx, &seguev1.PublishReleaseRequest{Collection: "crash", Release: im.GetRelease()})
		return err
	case seguev1.ReleaseState_RELEASE_STATE_BUILDING, seguev1.ReleaseState_RELEASE_STATE_PUBLISHED:
		r.committed()
		return nil
	}
	return fmt.Errorf("the import is %s", r.state)
}

// send sends the next two batches after one, which are durable when it returns, and says whether there are any.
func (r *crashRelease) send(ctx context.Context, c *client.Client, after int64) (more bool, err error) {
	x, err := client.NewReleaseReader(bytes.NewReader(r.file))
	if err != nil {
		return false, err
	}
	stream, err := c.Imports.WriteImport(ctx)
	if err != nil {
		return false, err
	}
	for sent := 0; sent < 2; {
		b, err := x.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return false, err
		}
		if b.GetSequence() <= after {
			continue
		}
		b.Collection, b.JobId = "crash", "night"
		if stream.Send(b) != nil {
			break // Recv says why
		}
		sent, more = sent+1, true
	}
	if err := stream.CloseSend(); err != nil {
		return more, err
	}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return more, nil
		}
		if err != nil {
			return more, err
		}
		r.acked = max(r.acked, m.GetSequence())
	}
}

// verify says that what was acknowledged is there, and counts where the kill fell.
func (r *crashRelease) verify(t *testing.T, c *client.Client) {
	t.Helper()
	if r.killed == nil {
		r.killed = map[seguev1.ReleaseState]int{}
	} else {
		r.killed[r.state]++
	}
	for id, version := range r.live {
		if id == r.pending {
			continue // the write under way may have happened
		}
		got, err := c.Items.GetItem(t.Context(), &seguev1.GetItemRequest{Collection: "crash", ItemId: id, IncludeVectors: true})
		if err != nil || !slices.Equal(got.GetItem().GetVector().GetFloats().GetValues(), crashVector(id, version)) {
			t.Errorf("%s of version %d: %v, %v", id, version, got, err)
		}
	}
	got, err := c.Imports.GetImport(t.Context(), &seguev1.GetImportRequest{Collection: "crash", JobId: "night"})
	if status.Code(err) == codes.NotFound {
		t.Fatalf("the import is gone: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if im := got.GetImport(); im.GetState() == seguev1.ReleaseState_RELEASE_STATE_IMPORTING && im.GetSequence() < r.acked {
		t.Errorf("batch %d was acknowledged, the import is at %d", r.acked, im.GetSequence())
	}
}
