package client_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/segue-ann/segue/client"
	"github.com/segue-ann/segue/engine"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
	"github.com/segue-ann/segue/server"
)

// running is a real server on a loopback port, in this process.
type running struct {
	engine *engine.Engine
	server *server.Server
	addr   string
	served chan error
}

// start serves the store in dir on addr.
func start(dir, addr string) (*running, error) {
	log := slog.New(slog.DiscardHandler)
	e, err := engine.Open(context.Background(), dir, engine.Options{Logger: log})
	if err != nil {
		return nil, err
	}
	s, err := server.New(e, server.Options{Logger: log})
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	r := &running{engine: e, server: s, addr: listener.Addr().String(), served: make(chan error, 1)}
	go func() { r.served <- s.Serve(listener) }()
	return r, nil
}

func (r *running) stop() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return errors.Join(r.server.Shutdown(ctx), <-r.served, r.engine.Close())
}

// connect starts a server with a collection "c" of two dimensions, and dials it.
func connect(t *testing.T) *client.Client {
	t.Helper()
	r, err := start(t.TempDir(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.Dial(r.addr, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(c.Close(), r.stop()); err != nil {
			t.Error(err)
		}
	})
	create(t, c)
	return c
}

func create(t *testing.T, c *client.Client) {
	t.Helper()
	if _, err := c.Collections.CreateCollection(t.Context(), &seguev1.CreateCollectionRequest{
		Collection: &seguev1.Collection{Name: "c", Dimension: 2, Metric: seguev1.Metric_METRIC_L2},
	}); err != nil {
		t.Fatal(err)
	}
}

func point(i int) []float32 { return []float32{float32(i), float32(i % 7)} }

// points yields n items; the caller may change each before it is sent.
func points(n int, change func(i int, it *seguev1.Item)) iter.Seq2[*seguev1.Item, error] {
	return func(yield func(*seguev1.Item, error) bool) {
		for i := range n {
			it := &seguev1.Item{Id: fmt.Sprintf("p%d", i), Vector: client.Vector(point(i))}
			if change != nil {
				change(i, it)
			}
			if !yield(it, nil) {
				return
			}
		}
	}
}

func TestUpsertItemsAndReadThemBack(t *testing.T) {
	c := connect(t)
	result, err := c.UpsertItems(t.Context(), "c", points(2500, nil), client.UpsertOptions{BatchRows: 100})
	if err != nil || result.Written != 2500 || result.Rejected != 0 || result.Revision != 2500 {
		t.Fatalf("%+v, %v", result, err)
	}
	answer, err := c.Retrieval.NearestNeighbors(t.Context(), &seguev1.NearestNeighborsRequest{
		Collection: "c", Query: &seguev1.Query{Form: &seguev1.Query_Vector{Vector: client.Vector(point(2000))}},
		NeighborCount: 1, IncludeVectors: true, MinRevision: result.Revision,
		SearchEffort: &seguev1.SearchEffort{Effort: &seguev1.SearchEffort_Exact{Exact: true}}, // recall is not the client's affair
	})
	if err != nil {
		t.Fatal(err)
	}
	v, err := client.Values(answer.GetNeighbors()[0].GetVector())
	if err != nil || answer.GetNeighbors()[0].GetItemId() != "p2000" || !slices.Equal(v, point(2000)) {
		t.Errorf("neighbor %v, %v", answer.GetNeighbors(), err)
	}
}

// Rows that the server refuses, by their place in the request's message, come back by their place in the
// sequence; also where there are more in a batch than the server names at once, and where one is too large.
func TestUpsertItemsReportsRejectedRows(t *testing.T) {
	c := connect(t)
	huge := strings.Repeat("x", 17<<20)
	why := func(i int) string {
		switch {
		case i == 777:
			return "TOO_LONG"
		case i%3 == 0:
			return "DIMENSION_MISMATCH"
		case i%100 == 1:
			return "FIELD_REQUIRED"
		}
		return ""
	}
	source := points(1000, func(i int, it *seguev1.Item) {
		switch why(i) {
		case "TOO_LONG":
			it.Attributes = map[string]*seguev1.AttributeValue{"lyrics": {Kind: &seguev1.AttributeValue_Keywords{Keywords: &seguev1.Keywords{Values: []string{huge}}}}}
		case "DIMENSION_MISMATCH":
			it.Vector = client.Vector([]float32{1, 2, 3})
		case "FIELD_REQUIRED":
			it.Id = ""
		}
	})
	rejects := map[int64]client.Reject{}
	result, err := c.UpsertItems(t.Context(), "c", source, client.UpsertOptions{OnReject: func(r client.Reject) { rejects[r.Row] = r }})
	if err != nil {
		t.Fatal(err)
	}
	bad := 0
	for i := range 1000 {
		want := why(i)
		r, rejected := rejects[int64(i)]
		switch {
		case rejected != (want != ""):
			t.Errorf("row %d: rejected %v, should be for %q", i, rejected, want)
		case rejected:
			bad++
			if r.Violations[0].Reason != want || want != "FIELD_REQUIRED" && r.ID != fmt.Sprintf("p%d", i) {
				t.Errorf("row %d: %+v, want %s", i, r, want)
			}
		}
	}
	if result.Rejected != int64(bad) || result.Written != int64(1000-bad) {
		t.Errorf("result %+v, %d bad rows", result, bad)
	}
	got, err := c.Collections.GetCollection(t.Context(), &seguev1.GetCollectionRequest{Name: "c"})
	if err != nil || got.GetCollection().GetItemCount() != result.Written {
		t.Errorf("collection %v, %v; written %d", got, err, result.Written)
	}
}

func TestUpsertProfiles(t *testing.T) {
	c := connect(t)
	profiles := func(yield func(*seguev1.Profile, error) bool) {
		for i := range 300 {
			p := &seguev1.Profile{UserId: fmt.Sprintf("u%d", i), Interests: []*seguev1.Interest{{Vector: client.Vector(point(i))}}}
			if i == 42 {
				p.Interests = nil
			}
			if !yield(p, nil) {
				return
			}
		}
	}
	var rejects []client.Reject
	result, err := c.UpsertProfiles(t.Context(), "c", profiles, client.UpsertOptions{BatchRows: 50, OnReject: func(r client.Reject) { rejects = append(rejects, r) }})
	if err != nil || result.Written != 299 || len(rejects) != 1 || rejects[0].Row != 42 || rejects[0].ID != "u42" {
		t.Fatalf("%+v, %v, rejects %+v", result, err, rejects)
	}
	got, err := c.Profiles.GetProfile(t.Context(), &seguev1.GetProfileRequest{Collection: "c", UserId: "u299"})
	if err != nil {
		t.Fatal(err)
	}
	if v, err := client.Values(got.GetProfile().GetInterests()[0].GetVector()); err != nil || !slices.Equal(v, point(299)) {
		t.Errorf("vector %v, %v", v, err)
	}
}

func TestUpsertIntoNowhere(t *testing.T) {
	c := connect(t)
	_, err := c.UpsertItems(t.Context(), "missing", points(10, nil), client.UpsertOptions{})
	if status.Code(err) != codes.NotFound || client.Reason(err) != "COLLECTION_NOT_FOUND" {
		t.Errorf("error %v", err)
	}
}

// An upload lives through a restart of the server: what is idempotent is sent again.
func TestUploadSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	first, err := start(dir, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.Dial(first.addr, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	create(t, c)
	restart := make(chan struct{})
	restarted := make(chan *running, 1)
	go func() {
		<-restart
		if err := first.stop(); err != nil {
			t.Error(err)
		}
		second, err := start(dir, first.addr)
		if err != nil {
			t.Error(err)
		}
		restarted <- second
	}()
	source := points(3000, func(i int, _ *seguev1.Item) {
		if i == 1000 {
			close(restart)
		}
	})
	result, err := c.UpsertItems(t.Context(), "c", source, client.UpsertOptions{BatchRows: 20})
	if err != nil || result.Written != 3000 {
		t.Errorf("%+v, %v", result, err)
	}
	second := <-restarted
	if second == nil {
		t.Fatal("no second server")
	}
	got, err := c.Collections.GetCollection(t.Context(), &seguev1.GetCollectionRequest{Name: "c"})
	if err != nil || got.GetCollection().GetItemCount() != 3000 {
		t.Errorf("%v, %v", got, err)
	}
	if err := second.stop(); err != nil {
		t.Error(err)
	}
}

// A server that is not there fails a call within seconds, not at its deadline.
func TestCallWithoutServerFails(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	c, err := client.Dial(addr, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	// Not retried, so it fails at once.
	_, err = c.Collections.CreateCollection(t.Context(), &seguev1.CreateCollectionRequest{})
	if status.Code(err) != codes.Unavailable || strings.Contains(err.Error(), "attempts") {
		t.Errorf("create: %v", err)
	}
	_, err = c.Collections.ListCollections(t.Context(), &seguev1.ListCollectionsRequest{})
	if status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "5 attempts") {
		t.Errorf("list: %v", err)
	}
}

// TestPages: the pages of a query are the neighbors of one call; a loop may end early, and an error ends it.
func TestPages(t *testing.T) {
	c := connect(t)
	if _, err := c.UpsertItems(t.Context(), "c", points(40, nil), client.UpsertOptions{}); err != nil {
		t.Fatal(err)
	}
	req := &seguev1.NearestNeighborsRequest{Collection: "c", Query: client.MoreLike([]string{"p3", "p9"}, nil), NeighborCount: 20}
	whole, err := c.Retrieval.NearestNeighbors(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	req.PageSize = 7
	var got []*seguev1.Neighbor
	pages := 0
	for page, err := range c.Pages(t.Context(), req) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, page.GetNeighbors()...)
		pages++
	}
	if pages != 3 || len(got) != 20 || req.GetPageToken() != "" {
		t.Fatalf("%d neighbors on %d pages", len(got), pages)
	}
	for i, n := range got {
		if n.GetItemId() != whole.GetNeighbors()[i].GetItemId() {
			t.Errorf("neighbor %d is %s, in one call %s", i, n.GetItemId(), whole.GetNeighbors()[i].GetItemId())
		}
	}
	for _, err := range c.Pages(t.Context(), req) {
		if err != nil {
			t.Error(err)
		}
		break
	}
	req.Query = client.ByUser("nobody")
	for page, err := range c.Pages(t.Context(), req) {
		if page != nil || client.Reason(err) != "USER_NOT_FOUND" {
			t.Errorf("%v, %v", page, err)
		}
	}
}
