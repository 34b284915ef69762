package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// preface is what a client of HTTP/2 begins with (RFC 9113, 3.4), and an empty SETTINGS frame.
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"

// slowFixture serves enough items for answers that fill windows.
func slowFixture(t *testing.T, o Options) *fixture {
	t.Helper()
	f := start(t, o)
	f.create(t, &seguev1.Collection{Name: "tracks", Dimension: 4, Metric: seguev1.Metric_METRIC_COSINE})
	f.upsert(t, "tracks", randomItems(1000, 4)...)
	return f
}

// large is a query whose answer has about 40 KB.
func large() *seguev1.NearestNeighborsRequest {
	return &seguev1.NearestNeighborsRequest{Collection: "tracks", Query: byVector(1, 2, 3, 4), NeighborCount: 1000, SearchEffort: exact()}
}

// undisturbed holds that the calls of other clients are answered.
func undisturbed(t *testing.T, f *fixture) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for range 30 {
		if _, err := f.retrieval.NearestNeighbors(ctx, large()); err != nil {
			t.Fatalf("a call of another client: %v", err)
		}
	}
}

// TestClientsThatDoNotRead send queries on streams and read the first answer only. The server stops reading from them: it answers
// what windows hold, not all, keeps no turn while it waits for them, and its memory does not grow with what they ask. When they
// hang up all of it is over.
func TestClientsThatDoNotRead(t *testing.T) {
	const clients, streams, queries = 4, 8, 400
	f := slowFixture(t, Options{})
	before := heap()
	answered := func() float64 { return f.counter(t, "segue_search_total") }
	base := answered()
	ctx, hangUp := context.WithCancel(t.Context())
	defer hangUp()
	for range clients {
		conn, err := grpc.NewClient("passthrough:///"+f.addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithStaticStreamWindowSize(64<<10), grpc.WithStaticConnWindowSize(64<<10*streams))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for range streams {
			stream, err := seguev1.NewRetrievalServiceClient(conn).StreamNearestNeighbors(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for range queries {
				if err := stream.Send(&seguev1.StreamNearestNeighborsRequest{Request: large()}); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := stream.Recv(); err != nil {
				t.Fatal(err)
			}
		}
	}
	undisturbed(t, f)
	until(t, "no turn is held for clients that do not read", func() bool { return f.server.admission.Stats().QueriesRunning == 0 })
	n, grown := answered()-base-30, int64(heap())-int64(before)
	t.Logf("%d streams with %d queries each: %.0f answered, %d bytes", clients*streams, queries, n, grown)
	if n > clients*streams*queries/4 {
		t.Errorf("%.0f of %d queries were answered to clients that do not read", n, clients*streams*queries)
	}
	if each := grown / (clients * streams); each > 2<<20 {
		t.Errorf("a client that does not read takes %d bytes", each)
	}
	hangUp()
	until(t, "calls of clients that hung up are over", func() bool { return f.counter(t, "segue_rpc_in_flight") == 0 })
	undisturbed(t, f)
}

// counter is the sum of a metric's values over its labels.
func (f *fixture) counter(t *testing.T, name string) (sum float64) {
	t.Helper()
	families, err := f.server.metrics.Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			for _, m := range family.GetMetric() {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// trickle is a connection on which every byte travels alone.
type trickle struct{ net.Conn }

func (c trickle) Write(b []byte) (n int, err error) {
	for i := range b {
		if _, err := c.Conn.Write(b[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(b), nil
}

func (c trickle) Read(b []byte) (int, error) { return c.Conn.Read(b[:min(len(b), 1)]) }

// TestByteByByte: calls of a client that sends and reads a byte at a time are answered like others, beside them.
func TestByteByByte(t *testing.T) {
	f := slowFixture(t, Options{})
	conn, err := grpc.NewClient("passthrough:///"+f.addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
			return trickle{c}, err
		}))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var group sync.WaitGroup
	defer group.Wait()
	for range 3 {
		group.Go(func() {
			resp, err := seguev1.NewRetrievalServiceClient(conn).NearestNeighbors(t.Context(), large())
			if err != nil || len(resp.GetNeighbors()) != 1000 {
				t.Errorf("%d neighbors, %v", len(resp.GetNeighbors()), err)
			}
		})
	}
	undisturbed(t, f)
}

// TestUnfinishedHandshakes: who does not finish the handshake in time is cut off; others are served meanwhile.
func TestUnfinishedHandshakes(t *testing.T) {
	f := slowFixture(t, Options{patience: patience{handshake: 200 * time.Millisecond, quiet: time.Minute, answer: time.Minute}})
	var conns []net.Conn
	for n := range len(preface) { // each stops one byte later
		c, err := net.Dial("tcp", f.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, preface[:n]); err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	undisturbed(t, f)
	for n, c := range conns {
		if err := c.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("after %d bytes of a handshake the connection stays open", n)
		}
	}
	until(t, "their connections are gone", func() bool { return f.server.connections.Open() == 1 })
}

// TestHalfOpenConnections: clients that are not there any more, though nothing says so, are asked, and cut off when they do not answer,
// with their calls. A client that is there stays connected.
func TestHalfOpenConnections(t *testing.T) {
	// One second is the least that the library takes.
	f := slowFixture(t, Options{patience: patience{handshake: time.Minute, quiet: time.Second, answer: 200 * time.Millisecond}})
	var streams []grpc.ClientStream
	for range 10 {
		gone := make(chan struct{})
		conn, err := grpc.NewClient("passthrough:///"+f.addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
				c, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
				return &vanishing{Conn: c, gone: gone}, err
			}))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		stream, err := seguev1.NewRetrievalServiceClient(conn).StreamNearestNeighbors(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(&seguev1.StreamNearestNeighborsRequest{Request: large()}); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); err != nil {
			t.Fatal(err)
		}
		streams = append(streams, stream)
		close(gone)
	}
	if open := f.server.connections.Open(); open != 11 {
		t.Errorf("%d connections", open)
	}
	undisturbed(t, f)
	until(t, "half-open connections are closed", func() bool { return f.server.connections.Open() == 1 })
	until(t, "their calls are over", func() bool { return f.counter(t, "segue_rpc_in_flight") == 0 })
	undisturbed(t, f)
	if open := f.server.connections.Open(); open != 1 || len(streams) != 10 {
		t.Errorf("%d connections of a client that answers", open)
	}
}

// vanishing is a connection of a client whose machine lost its power: what it sends goes nowhere, and what comes is not read, once gone
// is closed.
type vanishing struct {
	net.Conn
	gone chan struct{}
}

func (c *vanishing) Write(b []byte) (int, error) {
	select {
	case <-c.gone:
		return len(b), nil
	default:
		return c.Conn.Write(b)
	}
}

// TestCallsWhoseRequestNeverComes hold no turn: others are served as if they were not there. They end with their clients.
func TestCallsWhoseRequestNeverComes(t *testing.T) {
	const n = 500 // more than the transport has workers, and twice what one connection may have
	f := slowFixture(t, Options{})
	ctx, hangUp := context.WithCancel(t.Context())
	defer hangUp()
	for range 2 {
		conn := dial(t, f.addr)
		defer conn.Close()
		for range n / 2 {
			if _, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true}, seguev1.RetrievalService_NearestNeighbors_FullMethodName); err != nil {
				t.Fatal(err)
			}
		}
	}
	undisturbed(t, f)
	if s := f.server.admission.Stats(); s.QueriesRunning != 0 || s.QueriesQueued != 0 {
		t.Errorf("calls without a request hold turns: %+v", s)
	}
	hangUp()
	undisturbed(t, f)
}

// TestMoreCallsThanAConnectionMayHave wait at the client, and are answered when it has room.
func TestMoreCallsThanAConnectionMayHave(t *testing.T) {
	f := slowFixture(t, Options{MaxStreams: 4})
	ctx, hangUp := context.WithCancel(t.Context())
	defer hangUp()
	stuck := dial(t, f.addr)
	defer stuck.Close()
	var cancels []context.CancelFunc
	for range 4 {
		ctx, cancel := context.WithCancel(ctx)
		cancels = append(cancels, cancel)
		if _, err := stuck.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true}, seguev1.RetrievalService_NearestNeighbors_FullMethodName); err != nil {
			t.Fatal(err)
		}
	}
	// The client knows the limit from the server's settings once a call was answered over this connection.
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := seguev1.NewRetrievalServiceClient(stuck).NearestNeighbors(short, large())
	if code := status.Code(err); code != codes.DeadlineExceeded && code != codes.Unavailable {
		t.Errorf("the fifth call of a connection: %v", err)
	}
	undisturbed(t, f)
	cancels[0]()
	if _, err := seguev1.NewRetrievalServiceClient(stuck).NearestNeighbors(t.Context(), large()); err != nil {
		t.Errorf("when there is room: %v", err)
	}
}

// TestSlowReadersOfJSON: who asks over HTTP and does not read the answer is cut off; the time of the call does not count, nor the
// answers before it on the connection.
func TestSlowReadersOfJSON(t *testing.T) {
	f := slowFixture(t, Options{patience: patience{handshake: time.Minute, quiet: time.Minute, answer: time.Minute, reading: 200 * time.Millisecond}})
	base := jsonServer(t, f)
	// Many queries: an answer of megabytes does not fit the buffers of a loopback connection.
	one := `{"query":{"vector":{"floats":{"values":[1,2,3,4]}}},"neighborCount":1000}`
	body := `{"requests":[` + one + strings.Repeat(","+one, 199) + `]}`
	c, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "POST /v1/collections/tracks:batchNearestNeighbors HTTP/1.1\r\nHost: segue\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	until(t, "the call is answered", func() bool { return f.counter(t, "segue_search_total") >= 200 })
	until(t, "the connection of who does not read is closed", func() bool {
		// The gRPC client of the fixture stays.
		return f.server.connections.Open() == 1
	})
	// On one connection, longer together than the time for one.
	for began := time.Now(); time.Since(began) < 500*time.Millisecond; {
		code, b, _ := ask(t, http.DefaultClient, http.MethodPost, base+"/v1/collections/tracks:nearestNeighbors", one, nil)
		if code != http.StatusOK || len(b) < 1000 {
			t.Fatalf("status %d: %.200s", code, b)
		}
	}
	undisturbed(t, f)
}
