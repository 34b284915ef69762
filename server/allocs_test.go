package server

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/segue-ann/segue/internal/invariants"
	"github.com/segue-ann/segue/loadtest"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// TestAllocationsOfACall holds what the server allocates to answer a unary query with a deadline, from the bytes on the connection
// to the bytes on the connection: by layer what is Segue's, and for gRPC that a query costs it no more than a call that does nothing.
// -v lists the places; segue bench rpc --allocations does it for a server of any size.
func TestAllocationsOfACall(t *testing.T) {
	if invariants.Race {
		t.Skip("the race detector allocates too")
	}
	f := start(t, Options{})
	const dim = 128
	f.create(t, &seguev1.Collection{Name: "tracks", Dimension: dim, Metric: seguev1.Metric_METRIC_L2})
	var items []*seguev1.Item
	for i := range 500 {
		v := make([]float32, dim)
		v[i%dim], v[i*i%dim] = 1, float32(i)
		items = append(items, item(fmt.Sprintf("4uLU6hMCjMI75M1A2tK%03d", i), v...))
	}
	f.upsert(t, "tracks", items...)
	vector := &seguev1.Vector{Encoding: &seguev1.Vector_Float32Le{Float32Le: make([]byte, 4*dim)}}
	request, err := proto.Marshal(&seguev1.NearestNeighborsRequest{
		Collection: "tracks", NeighborCount: 10, Query: &seguev1.Query{Form: &seguev1.Query_Vector{Vector: vector}},
	})
	if err != nil {
		t.Fatal(err)
	}
	const calls = 1000
	got, err := loadtest.CountAllocations(t.Context(), f.addr, seguev1.RetrievalService_NearestNeighbors_FullMethodName, request, calls)
	if err != nil {
		t.Fatal(err)
	}
	hollow, err := loadtest.StartEmptyServer(t.Context(), 400, TransportOptions())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := hollow.Close(); err != nil {
			t.Error(err)
		}
	}()
	empty, err := loadtest.CountAllocations(t.Context(), hollow.Addr, loadtest.EmptyMethod, request, calls)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%.1f allocations, %.0f bytes a call; a call that does nothing: %.1f, %.0f bytes", got.Objects, got.Bytes, empty.Objects, empty.Bytes)
	for _, s := range got.Sites {
		t.Logf("%6.2f %6.0f  %s %s", s.Objects, s.Bytes, s.Package, s.Function)
	}
	// A fraction is what else a process does: timers, the collector's own. Sites lack the few objects that share 16 bytes with others.
	const slack = 0.5
	for _, layer := range []struct {
		name string
		most float64
	}{
		{"proto/segue/v1", 3}, // by the generated handler: the request, its closure
		{"server", 12},        // 6 of them the parts of the request
		{"server/admission", 2},
		{"server/auth", 0},
		{"server/ops", 0},
		{"engine", 2},
		{"hnsw", 0},
	} {
		if n := got.Of(layer.name); n > layer.most+slack {
			t.Errorf("%s: %.1f allocations, want at most %v", layer.name, n, layer.most)
		}
	}
	if n := got.Of("grpc") - empty.Of("grpc"); n > 2+slack {
		t.Errorf("gRPC allocates %.1f times more in a query than in a call that does nothing", n)
	}
	if got.Of("grpc") < 40 || got.Of("server") == 0 {
		t.Error("the sites are not those of the calls")
	}
	if got.Objects > 78 || got.Bytes > 10<<10 {
		t.Errorf("%.1f allocations and %.0f bytes a call, want at most 78 and 10 KiB", got.Objects, got.Bytes)
	}
}
