package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// sendRaw sends bytes as they are.
type sendRaw struct{ rawCodec }

func (sendRaw) Marshal(v any) (mem.BufferSlice, error) {
	b, ok := v.([]byte)
	if !ok {
		return nil, fmt.Errorf("raw request from %T", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(b)}, nil
}

func TestOptions(t *testing.T) {
	var o Options
	o.EnsureDefaults()
	if err := o.Validate(); err != nil || o.MaxRecvBytes != 16<<20 || o.MaxSendBytes != 32<<20 || o.Logger == nil {
		t.Errorf("defaults %+v: %v", o, err)
	}
	_, err := New(nil, Options{MaxRecvBytes: -1, MaxSendBytes: 5, MaxHeaderBytes: 1 << 30, MaxStreams: -7})
	for _, want := range []string{"MaxRecvBytes", "MaxSendBytes", "MaxHeaderBytes", "MaxStreams", "is -7"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
}

func TestHealth(t *testing.T) {
	f := start(t, Options{})
	c := grpc_health_v1.NewHealthClient(f.conn)
	names := []string{""}
	for _, s := range services() {
		names = append(names, string(s.FullName()))
	}
	// Every service of the API is served.
	for _, name := range names[1:] {
		if _, ok := f.server.grpc.GetServiceInfo()[name]; !ok {
			t.Errorf("%s is not registered", name)
		}
	}
	for _, name := range names {
		resp, err := c.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: name})
		if err != nil || resp.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
			t.Errorf("%q: %v, %v", name, resp, err)
		}
	}
	if _, err := c.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: "segue.v1.Nobody"}); status.Code(err) != codes.NotFound {
		t.Errorf("unknown service: %v", err)
	}
}

// TestReflection: tools find every service, and the file that describes it.
func TestReflection(t *testing.T) {
	f := start(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := reflectionpb.NewServerReflectionClient(f.conn).ServerReflectionInfo(ctx)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(req *reflectionpb.ServerReflectionRequest) *reflectionpb.ServerReflectionResponse {
		t.Helper()
		if err := stream.Send(req); err != nil {
			t.Fatal(err)
		}
		resp, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	listed := map[string]bool{}
	for _, s := range ask(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}}).GetListServicesResponse().GetService() {
		listed[s.GetName()] = true
	}
	for _, s := range services() {
		if !listed[string(s.FullName())] {
			t.Errorf("%s is not listed", s.FullName())
		}
		resp := ask(&reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: string(s.FullName())}})
		if len(resp.GetFileDescriptorResponse().GetFileDescriptorProto()) == 0 {
			t.Errorf("%s has no file: %v", s.FullName(), resp)
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("the stream ends with %v", err)
	}
}

func TestUnknownMethod(t *testing.T) {
	f := start(t, Options{})
	err := f.conn.Invoke(t.Context(), "/segue.v1.RetrievalService/Nothing", &seguev1.GetItemRequest{}, &seguev1.GetItemResponse{})
	if status.Code(err) != codes.Unimplemented {
		t.Errorf("%v", err)
	}
}

func TestHeadersAreBounded(t *testing.T) {
	f := start(t, Options{})
	ctx := metadata.AppendToOutgoingContext(t.Context(), "x", strings.Repeat("x", 64<<10))
	if _, err := f.collections.ListCollections(ctx, &seguev1.ListCollectionsRequest{}); err == nil {
		t.Error("64 KiB of headers are taken")
	}
	if _, err := f.collections.ListCollections(t.Context(), &seguev1.ListCollectionsRequest{}); err != nil {
		t.Errorf("the next call: %v", err)
	}
}

// halfCall is a unary call whose request has not been sent yet: the server has its headers and waits.
type halfCall struct{ grpc.ClientStream }

func (f *fixture) beginCall(ctx context.Context, t *testing.T) halfCall {
	t.Helper()
	s, err := f.conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true}, seguev1.CollectionService_CreateCollection_FullMethodName)
	if err != nil {
		t.Fatal(err)
	}
	// A call on the same connection, answered, shows that the server has read the headers before it.
	if _, err := f.collections.ListCollections(ctx, &seguev1.ListCollectionsRequest{}); err != nil {
		t.Fatal(err)
	}
	return halfCall{s}
}

// finish sends the request and returns the call's error.
func (h halfCall) finish(req, resp proto.Message) error {
	if err := h.SendMsg(req); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if err := h.CloseSend(); err != nil {
		return err
	}
	if err := h.RecvMsg(resp); err != nil {
		return err
	}
	if err := h.RecvMsg(resp); !errors.Is(err, io.EOF) {
		return fmt.Errorf("after the answer: %w", err)
	}
	return nil
}

// refused calls until the server refuses, as it must once it drains.
func (f *fixture) refused(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	for {
		_, err := f.collections.ListCollections(ctx, &seguev1.ListCollectionsRequest{})
		switch status.Code(err) {
		case codes.OK:
		case codes.Unavailable:
			return
		default:
			t.Fatalf("a draining server answers %v", err)
		}
	}
}

// TestShutdownLetsCallsFinish: a call in flight ends with OK, new ones are refused, watchers do not hold it up.
func TestShutdownLetsCallsFinish(t *testing.T) {
	f := open(t, t.TempDir(), Options{})
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	watch, err := grpc_health_v1.NewHealthClient(f.conn).Watch(ctx, &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := watch.Recv(); err != nil || resp.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Fatalf("%v, %v", resp, err)
	}
	reflection, err := reflectionpb.NewServerReflectionClient(f.conn).ServerReflectionInfo(ctx)
	if err != nil {
		t.Fatal(err)
	}
	call := f.beginCall(ctx, t)

	var wg sync.WaitGroup
	wg.Go(func() {
		if err := f.server.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	f.refused(t)
	req := &seguev1.CreateCollectionRequest{Collection: &seguev1.Collection{Name: "late", Dimension: 2, Metric: seguev1.Metric_METRIC_L2}}
	resp := &seguev1.CreateCollectionResponse{}
	if err := call.finish(req, resp); err != nil || resp.GetCollection().GetName() != "late" {
		t.Errorf("the call in flight: %v, %v", resp, err)
	}
	wg.Wait()
	for {
		_, err := watch.Recv() // NOT_SERVING may or may not come first
		if err == nil {
			continue
		}
		refusal{codes.Unavailable, "NOT_SERVING", ""}.check(t, req, err)
		break
	}
	if _, err := reflection.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("reflection ends with %v", err)
	}
	if _, err := f.engine.Collection("late"); err != nil {
		t.Errorf("what was answered is not there: %v", err)
	}
	f.stop(t)
}

// TestShutdownCancelsAtItsDeadline: a call that never ends does not hold it up for ever.
func TestShutdownCancelsAtItsDeadline(t *testing.T) {
	f := open(t, t.TempDir(), Options{})
	call := f.beginCall(t.Context(), t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.server.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown: %v", err)
	}
	if err := call.RecvMsg(&seguev1.CreateCollectionResponse{}); status.Code(err) != codes.Unavailable {
		t.Errorf("the call in flight: %v", err)
	}
	f.stop(t)
}

// TestServeAfterShutdown neither serves nor fails.
func TestServeAfterShutdown(t *testing.T) {
	f := open(t, t.TempDir(), Options{})
	f.stop(t)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.server.Serve(lis); err != nil {
		t.Error(err)
	}
	if err := lis.Close(); err == nil {
		t.Error("the listener was left open")
	}
}

// TestEngineClosedUnderTheServer is a mistake of the caller, answered as what it is.
func TestEngineClosedUnderTheServer(t *testing.T) {
	f := start(t, Options{})
	if err := f.engine.Close(); err != nil {
		t.Fatal(err)
	}
	req := &seguev1.GetCollectionRequest{Name: "x"}
	_, err := f.collections.GetCollection(t.Context(), req)
	refusal{codes.Unavailable, "NOT_SERVING", ""}.check(t, req, err)
}

// TestCallersDeadline reaches the engine: a call that comes too late is not carried out.
func TestCallersDeadline(t *testing.T) {
	f := start(t, Options{})
	f.create(t, &seguev1.Collection{Name: "tracks", Dimension: 2, Metric: seguev1.Metric_METRIC_L2})
	b := &backend{engine: f.engine, limits: f.engine.Limits(), maxSendBytes: 1 << 20}
	req := &seguev1.BatchGetItemsRequest{Collection: "tracks", ItemIds: []string{"a"}}
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancel := context.WithDeadline(t.Context(), time.Unix(0, 0))
	defer cancel()
	for want, ctx := range map[refusal]context.Context{
		{codes.Canceled, "CANCELLED", ""}:                 cancelled,
		{codes.DeadlineExceeded, "DEADLINE_EXCEEDED", ""}: late,
	} {
		_, err := (&itemService{b}).BatchGetItems(ctx, req)
		want.check(t, req, toStatus(err).Err())
	}
}

// TestManyCallsAtOnce: writers, readers and searchers together, with nothing lost and no goroutine left over.
func TestManyCallsAtOnce(t *testing.T) {
	ctx := t.Context()
	f := start(t, Options{})
	f.create(t, &seguev1.Collection{Name: "tracks", Dimension: 4, Metric: seguev1.Metric_METRIC_COSINE})
	const writers, each = 4, 25
	items := randomItems(writers*each, 4)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				it := items[w*each+i]
				up, err := f.items.UpsertItem(ctx, &seguev1.UpsertItemRequest{Collection: "tracks", Item: it})
				if err != nil {
					t.Error(err)
					return
				}
				resp, err := f.retrieval.NearestNeighbors(ctx, &seguev1.NearestNeighborsRequest{
					Collection: "tracks", Query: &seguev1.Query{Form: &seguev1.Query_Vector{Vector: it.GetVector()}}, NeighborCount: 1, MinRevision: up.GetRevision(),
				})
				if err != nil || ids(resp.GetNeighbors())[0] != it.GetId() {
					t.Errorf("after writing %s: %v, %v", it.GetId(), resp, err)
				}
			}
		})
	}
	wg.Wait()
	if all, _ := f.list(t, "tracks", 33); len(all) != len(items) {
		t.Errorf("%d items", len(all))
	}
}

// TestCodecName: a client that names no content subtype gets protobuf.
func TestCodecName(t *testing.T) {
	if got := (codec{}).Name(); got != "proto" {
		t.Error(got)
	}
}
