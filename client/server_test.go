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

	"google.golang.org/grpc"
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

// TestRepeatedCallsAreMadeOnce: where an answer is lost and the call made again below the client, as gRPC's retries do it, the caller
// sees one call: a delete that found its item, and a condition that held.
func TestRepeatedCallsAreMadeOnce(t *testing.T) {
	r, err := start(t.TempDir(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	twice := func(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, o ...grpc.CallOption) error {
		if !strings.Contains(method, "CreateCollection") {
			if err := invoke(ctx, method, req, reply, conn, o...); err != nil {
				return err // of which the caller would learn nothing
			}
		}
		return invoke(ctx, method, req, reply, conn, o...)
	}
	c, err := client.Dial(r.addr, client.Options{DialOptions: []grpc.DialOption{grpc.WithChainUnaryInterceptor(twice)}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(c.Close(), r.stop()); err != nil {
			t.Error(err)
		}
	}()
	create(t, c)
	none := int64(0)
	it := &seguev1.Item{Id: "a", Vector: client.Vector(point(1)), IfRevision: &none}
	up, err := c.Items.UpsertItem(t.Context(), &seguev1.UpsertItemRequest{Collection: "c", Item: it})
	if err != nil || up.GetRevision() != 1 {
		t.Fatalf("%v, %v", up, err)
	}
	again, err := c.Items.UpsertItem(t.Context(), &seguev1.UpsertItemRequest{Collection: "c", Item: it})
	if client.Reason(err) != "REVISION_MISMATCH" {
		t.Errorf("a second call: %v, %v", again, err)
	}
	del, err := c.Items.DeleteItem(t.Context(), &seguev1.DeleteItemRequest{Collection: "c", ItemId: "a"})
	if err != nil || del.GetRevision() != 2 {
		t.Errorf("%v, %v", del, err)
	}
	del, err = c.Items.DeleteItem(t.Context(), &seguev1.DeleteItemRequest{Collection: "c", ItemId: "a"})
	if client.Reason(err) != "ITEM_NOT_FOUND" {
		t.Errorf("a second call: %v, %v", del, err)
	}
}

// TestUpdateItemAttributes: updates travel in batches, in order where an id comes twice; those of no item are told, bad ones rejected.
func TestUpdateItemAttributes(t *testing.T) {
	c := connect(t)
	const n = 500
	if _, err := c.UpsertItems(t.Context(), "c", points(n, nil), client.UpsertOptions{}); err != nil {
		t.Fatal(err)
	}
	plays := func(id string, v int64) *seguev1.AttributesUpdate {
		return &seguev1.AttributesUpdate{ItemId: id, Attributes: map[string]*seguev1.AttributeValue{
			"plays": {Kind: &seguev1.AttributeValue_IntValue{IntValue: v}}}}
	}
	updates := func(yield func(*seguev1.AttributesUpdate, error) bool) {
		for round := range int64(3) {
			for i := range n {
				if !yield(plays(fmt.Sprintf("p%d", i), round), nil) {
					return
				}
			}
		}
		_ = yield(plays("nobody", 1), nil) && yield(plays("", 1), nil)
	}
	var missing []string
	var rejects []client.Reject
	result, err := c.UpdateItemAttributes(t.Context(), "c", updates, client.UpsertOptions{
		BatchRows: 64, OnMissing: func(id string) { missing = append(missing, id) }, OnReject: func(r client.Reject) { rejects = append(rejects, r) }})
	if err != nil || result.Written != 3*n || result.Missing != 1 || result.Rejected != 1 || result.Revision != 4*n {
		t.Fatalf("%+v, %v", result, err)
	}
	if !slices.Equal(missing, []string{"nobody"}) || len(rejects) != 1 || rejects[0].Violations[0].Field != "item_id" {
		t.Errorf("missing %v, rejected %+v", missing, rejects)
	}
	got, err := c.Items.ListItems(t.Context(), &seguev1.ListItemsRequest{Collection: "c", PageSize: n})
	if err != nil || len(got.GetItems()) != n {
		t.Fatal(err)
	}
	for _, it := range got.GetItems() {
		if v := it.GetAttributes()["plays"].GetIntValue(); v != 2 {
			t.Fatalf("%s has %d plays", it.GetId(), v)
		}
	}
}
