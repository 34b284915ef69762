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
// to the bytes on the connection. gRPC alone allocates 60 of them, for a call that does nothing (segue bench rpc says it anew).
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
	allocations, bytes, err := loadtest.CountAllocations(t.Context(), f.addr, seguev1.RetrievalService_NearestNeighbors_FullMethodName, request, 1000)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%.1f allocations, %.0f bytes a call", allocations, bytes)
	// The rest is what else a process does: timers, the collector's own.
	if allocations > 80 || bytes > 10<<10 {
		t.Errorf("%.1f allocations and %.0f bytes a call, want at most 80 and 10 KiB", allocations, bytes)
	}
}
