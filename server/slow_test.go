package server

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
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
	ctx, cancel := context.WithTimeout(t.Context(), hang)
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

// TestUnfinishedHandshakes: who does not finish the handshake in time is cut off, and not before; others are served meanwhile.
func TestUnfinishedHandshakes(t *testing.T) {
	o := Options{patience: patience{handshake: 10 * time.Second, quiet: time.Minute, answer: time.Minute}}
	virtually(t, o, func(t *testing.T, f *fixture, n *pipes) {
		undisturbed(t, f)
		for sent := range len(preface) { // each stops one byte later
			c, err := n.dial()
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			go func() { _, _ = io.WriteString(c, preface[:sent]) }()
		}
		<-time.After(o.patience.handshake - time.Second)
		undisturbed(t, f)
		if open := f.server.connections.Open(); open != int64(len(preface))+1 {
			t.Errorf("%d connections before the time is over", open)
		}
		<-time.After(2 * time.Second)
		synctest.Wait()
		if open := f.server.connections.Open(); open != 1 {
			t.Errorf("%d connections when it is", open)
		}
		undisturbed(t, f)
	})
}

// TestHalfOpenConnections: clients that are not there any more, though nothing says so, are asked, and cut off when they do not answer,
// with their calls. A client that is there stays connected. In virtual time: how fast the machine is makes no difference.
func TestHalfOpenConnections(t *testing.T) {
	o := Options{patience: patience{handshake: time.Minute, quiet: 10 * time.Second, answer: time.Second}}
	virtually(t, o, func(t *testing.T, f *fixture, n *pipes) {
		gone := make(chan struct{})
		for range 10 {
			conn := n.client(t, func(c net.Conn) net.Conn { return &vanishing{Conn: c, gone: gone} })
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
		}
		undisturbed(t, f)
		connected := func(when string, want int64) {
			t.Helper()
			synctest.Wait()
			if open := f.server.connections.Open(); open != want {
				t.Errorf("%s: %d connections, want %d", when, open, want)
			}
		}
		connected("while all are there", 11)
		<-time.After(time.Minute)
		connected("after they were quiet for long", 11)
		close(gone)
		<-time.After(o.patience.quiet / 2)
		connected("before they are asked", 11)
		undisturbed(t, f)
		<-time.After(o.patience.quiet + o.patience.answer)
		connected("after they were asked", 1)
		if calls := f.counter(t, "segue_rpc_in_flight"); calls != 0 {
			t.Errorf("%v calls of clients that are gone", calls)
		}
		undisturbed(t, f)
		<-time.After(time.Minute)
		connected("of the client that answers", 1)
	})
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

// TestSlowReadersOfJSON: who asks over HTTP and does not read the answer is cut off, in the time for reading and not before; the time of the call does
// not count, nor the answers before it on the connection.
func TestSlowReadersOfJSON(t *testing.T) {
	o := Options{patience: patience{handshake: time.Hour, quiet: time.Hour, answer: time.Hour, reading: 10 * time.Second}}
	virtually(t, o, func(t *testing.T, f *fixture, _ *pipes) {
		web := newPipes()
		served := make(chan error, 1)
		go func() { served <- f.server.ServeHTTP(web) }()
		defer func() {
			f.stop(t)
			if err := <-served; err != nil {
				t.Error(err)
			}
		}()
		undisturbed(t, f) // the gRPC client has a connection
		base := f.counter(t, "segue_search_total")
		one := `{"query":{"vector":{"floats":{"values":[1,2,3,4]}}},"neighborCount":1000}`
		body := `{"requests":[` + one + strings.Repeat(","+one, 199) + `]}`
		c, err := web.dial()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "POST /v1/collections/tracks:batchNearestNeighbors HTTP/1.1\r\nHost: segue\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		synctest.Wait() // a pipe holds nothing: the answer waits to be read
		if n := f.counter(t, "segue_search_total") - base; n != 200 {
			t.Errorf("%v queries were answered", n)
		}
		<-time.After(o.patience.reading - time.Second)
		if open := f.server.connections.Open(); open != 2 {
			t.Errorf("%d connections before the time is over", open)
		}
		<-time.After(2 * time.Second)
		synctest.Wait()
		if open := f.server.connections.Open(); open != 1 {
			t.Errorf("%d connections when it is", open)
		}
		// On one connection, longer together than the time for one.
		client := &http.Client{Transport: &http.Transport{
			MaxConnsPerHost: 1,
			DialContext:     func(context.Context, string, string) (net.Conn, error) { return web.dial() },
		}}
		defer client.CloseIdleConnections()
		for range 4 {
			code, b, _ := ask(t, client, http.MethodPost, "http://segue/v1/collections/tracks:nearestNeighbors", one, nil)
			if code != http.StatusOK || len(b) < 1000 {
				t.Fatalf("status %d: %.200s", code, b)
			}
			<-time.After(o.patience.reading / 2)
		}
		if dialed := web.dialed.Load(); dialed != 2 {
			t.Errorf("%d connections were made, want one for each client", dialed)
		}
		undisturbed(t, f)
	})
}
