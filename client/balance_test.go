package client_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"

	"github.com/segue-ann/segue/client"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// replica stands for a server of which only its health, and how many calls it had, matter here.
type replica struct {
	seguev1.UnimplementedRetrievalServiceServer
	grpc   *grpc.Server
	health *health.Server
	addr   string
	served chan error
	calls  atomic.Int64
	broken atomic.Bool // answers UNAVAILABLE
}

func (r *replica) NearestNeighbors(context.Context, *seguev1.NearestNeighborsRequest) (*seguev1.NearestNeighborsResponse, error) {
	r.calls.Add(1)
	if r.broken.Load() {
		return nil, status.Error(codes.Unavailable, "broken")
	}
	return &seguev1.NearestNeighborsResponse{}, nil
}

func (r *replica) says(s healthpb.HealthCheckResponse_ServingStatus) {
	r.health.SetServingStatus(seguev1.RetrievalService_ServiceDesc.ServiceName, s)
}

// replicas starts n of them, all serving, and dials a name that has all their addresses.
func replicas(t *testing.T, n int, o client.Options) ([]*replica, *client.Client) {
	t.Helper()
	name := manual.NewBuilderWithScheme("replicas")
	var state resolver.State
	all := make([]*replica, n)
	for i := range all {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		r := &replica{grpc: grpc.NewServer(), health: health.NewServer(), addr: listener.Addr().String(), served: make(chan error, 1)}
		seguev1.RegisterRetrievalServiceServer(r.grpc, r)
		healthpb.RegisterHealthServer(r.grpc, r.health)
		r.says(healthpb.HealthCheckResponse_SERVING)
		go func() { r.served <- r.grpc.Serve(listener) }()
		all[i] = r
		state.Addresses = append(state.Addresses, resolver.Address{Addr: r.addr})
	}
	name.InitialState(state)
	o.AllowPlaintext = true
	o.DialOptions = append(o.DialOptions, grpc.WithResolvers(name))
	c, err := client.Dial("replicas:///segue", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := c.Close()
		for _, r := range all {
			r.grpc.Stop()
			err = errors.Join(err, <-r.served)
		}
		if err != nil {
			t.Error(err)
		}
	})
	return all, c
}

func ask(t *testing.T, c *client.Client) {
	t.Helper()
	if _, err := c.Retrieval.NearestNeighbors(t.Context(), &seguev1.NearestNeighborsRequest{}); err != nil {
		t.Fatal(err)
	}
}

// until asks until done says so: connections and health come when they come. The test's deadline ends it otherwise.
func until(t *testing.T, c *client.Client, done func() bool) {
	t.Helper()
	for !done() {
		ask(t, c)
	}
}

// TestRoundRobin: calls take turns over the replicas that serve. One that says it does not is left out, without a call failing, and
// comes back; one that is gone costs no call either.
func TestRoundRobin(t *testing.T) {
	all, c := replicas(t, 3, client.Options{RoundRobin: true})
	until(t, c, func() bool { return all[0].calls.Load() > 0 && all[1].calls.Load() > 0 && all[2].calls.Load() > 0 })
	turns := func(n int) []int64 {
		counts := make([]int64, len(all))
		for i, r := range all {
			counts[i] = -r.calls.Load()
		}
		for range n {
			ask(t, c)
		}
		for i, r := range all {
			counts[i] += r.calls.Load()
		}
		return counts
	}
	// A change of what is connected begins the turns anew, so that counts may differ.
	if got := turns(30); slices.Min(got) < 8 {
		t.Errorf("30 calls of 3 replicas: %v", got)
	}

	all[1].says(healthpb.HealthCheckResponse_NOT_SERVING)
	until(t, c, func() bool { return turns(4)[1] == 0 })
	if got := turns(30); got[1] != 0 || min(got[0], got[2]) < 10 {
		t.Errorf("30 calls when one does not serve: %v", got)
	}
	all[1].says(healthpb.HealthCheckResponse_SERVING)
	until(t, c, func() bool { return turns(3)[1] > 0 })

	all[2].grpc.Stop()
	until(t, c, func() bool { return turns(4)[2] == 0 })
	if got := turns(30); got[2] != 0 || min(got[0], got[1]) < 10 {
		t.Errorf("30 calls when one is gone: %v", got)
	}
}

// TestWithoutRoundRobin: calls go to one server, whatever its health: it may be the one that a revision is of.
func TestWithoutRoundRobin(t *testing.T) {
	all, c := replicas(t, 2, client.Options{})
	all[0].says(healthpb.HealthCheckResponse_NOT_SERVING)
	for range 20 {
		ask(t, c)
	}
	if all[0].calls.Load() != 20 || all[1].calls.Load() != 0 {
		t.Errorf("%d and %d calls", all[0].calls.Load(), all[1].calls.Load())
	}
}

// TestRetriesEnd: a call is made five times at most, and when nothing but failures come calls are not repeated any more.
func TestRetriesEnd(t *testing.T) {
	// The policy of the client, but that it does not take seconds.
	config := strings.NewReplacer(`"0.1s"`, `"0.001s"`, `"2s"`, `"0.001s"`).Replace(client.ServiceConfig(false))
	all, c := replicas(t, 1, client.Options{DialOptions: []grpc.DialOption{grpc.WithDefaultServiceConfig(config)}})
	all[0].broken.Store(true)
	call := func() int64 {
		before := all[0].calls.Load()
		if _, err := c.Retrieval.NearestNeighbors(t.Context(), &seguev1.NearestNeighborsRequest{}); status.Code(err) != codes.Unavailable {
			t.Fatalf("error %v", err)
		}
		return all[0].calls.Load() - before
	}
	if got := call(); got != 5 {
		t.Errorf("the first call was made %d times", got)
	}
	for range 120 {
		call()
	}
	if got := call(); got != 1 {
		t.Errorf("after 600 failures a call was made %d times", got)
	}
}
