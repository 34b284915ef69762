package server

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectionpb "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/segue-ann/segue/engine"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
	"github.com/segue-ann/segue/server/admission"
	"github.com/segue-ann/segue/server/auth"
	"github.com/segue-ann/segue/server/ops"
)

// guarded is a server that asks for tokens, with the collections tracks and users.
type guarded struct {
	*fixture
	tokens  map[string]string // by name: reader (of tracks), writer (of tracks), admin
	metrics *ops.Metrics
}

func startGuarded(t *testing.T, o Options) *guarded {
	t.Helper()
	g := &guarded{tokens: map[string]string{}, metrics: ops.NewMetrics()}
	lines := ""
	for name, grants := range map[string]string{"reader": "read:tracks", "writer": "write:tracks", "admin": "admin:*"} {
		token, credential := auth.NewToken()
		g.tokens[name] = token
		lines += name + " " + grants + " " + credential + "\n"
	}
	path := filepath.Join(t.TempDir(), "access")
	if err := os.WriteFile(path, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := auth.OpenAccessFile(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	o.Authenticator, o.Metrics = auth.Chain{file}, g.metrics
	g.fixture = start(t, o)
	for _, name := range []string{"tracks", "users"} {
		if _, err := g.collections.CreateCollection(g.as(t.Context(), "admin"), &seguev1.CreateCollectionRequest{
			Collection: &seguev1.Collection{Name: name, Dimension: 2, Metric: seguev1.Metric_METRIC_L2},
		}); err != nil {
			t.Fatal(err)
		}
	}
	return g
}

// as is a context of a named caller; "" sends nothing, other names send themselves.
func (g *guarded) as(ctx context.Context, who string) context.Context {
	if who == "" {
		return ctx
	}
	token, ok := g.tokens[who]
	if !ok {
		token = who
	}
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
}

// TestWaysIn: each of these must be refused, with its code and reason, and each of the good ones let in.
func TestWaysIn(t *testing.T) {
	g := startGuarded(t, Options{})
	search := func(collection string) func(context.Context) (proto.Message, error) {
		return func(ctx context.Context) (proto.Message, error) {
			req := &seguev1.NearestNeighborsRequest{Collection: collection, Query: byVector(1, 2), NeighborCount: 1}
			_, err := g.retrieval.NearestNeighbors(ctx, req)
			return req, err
		}
	}
	upsert := func(collection string) func(context.Context) (proto.Message, error) {
		return func(ctx context.Context) (proto.Message, error) {
			req := &seguev1.UpsertItemRequest{Collection: collection, Item: item("a", 1, 2)}
			_, err := g.items.UpsertItem(ctx, req)
			return req, err
		}
	}
	drop := func(ctx context.Context) (proto.Message, error) {
		req := &seguev1.DeleteCollectionRequest{Name: "nothing"}
		_, err := g.collections.DeleteCollection(ctx, req)
		return req, err
	}
	list := func(ctx context.Context) (proto.Message, error) {
		req := &seguev1.ListCollectionsRequest{}
		_, err := g.collections.ListCollections(ctx, req)
		return req, err
	}
	nobody := refusal{codes.Unauthenticated, "UNAUTHENTICATED", ""}
	denied := refusal{codes.PermissionDenied, "PERMISSION_DENIED", ""}
	for name, c := range map[string]struct {
		who  string
		call func(context.Context) (proto.Message, error)
		want refusal // zero: it is let in
	}{
		"reader reads":                 {"reader", search("tracks"), refusal{}},
		"writer writes":                {"writer", upsert("tracks"), refusal{}},
		"writer reads":                 {"writer", search("tracks"), refusal{}},
		"admin lists":                  {"admin", list, refusal{}},
		"no token":                     {"", search("tracks"), nobody},
		"no token, a write":            {"", upsert("tracks"), nobody},
		"unknown token":                {"segue_unknown", search("tracks"), nobody},
		"a hash instead of the token":  {strings.Repeat("0a", 32), search("tracks"), nobody},
		"reader writes":                {"reader", upsert("tracks"), denied},
		"reader of another collection": {"reader", search("users"), denied},
		"reader of none that exists":   {"reader", search("nothing"), denied},
		"reader of no name":            {"reader", search(""), denied},
		"reader lists all":             {"reader", list, denied},
		"writer of another collection": {"writer", upsert("users"), denied},
		"writer deletes a collection":  {"writer", drop, denied},
		"admin deletes what is absent": {"admin", drop, refusal{codes.NotFound, "COLLECTION_NOT_FOUND", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			req, err := c.call(g.as(t.Context(), c.who))
			if c.want.code == codes.OK {
				if err != nil {
					t.Error(err)
				}
				return
			}
			c.want.check(t, req, err)
		})
	}
	// Basic authentication and two tokens are no way in either.
	for _, header := range []metadata.MD{metadata.Pairs("authorization", "Basic YTpi"), metadata.Pairs("authorization", "Bearer "+g.tokens["admin"], "authorization", "Bearer x")} {
		req := &seguev1.ListCollectionsRequest{}
		_, err := g.collections.ListCollections(metadata.NewOutgoingContext(t.Context(), header), req)
		nobody.check(t, req, err)
	}
	// Health is for everybody, reflection for whoever may read something.
	if _, err := healthpb.NewHealthClient(g.conn).Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil {
		t.Errorf("health: %v", err)
	}
	for who, want := range map[string]codes.Code{"": codes.Unauthenticated, "reader": codes.OK} {
		if got := reflects(g.as(t.Context(), who), t, g.conn); got != want {
			t.Errorf("reflection of %q: %v", who, got)
		}
	}
	page := httptest.NewRecorder()
	ops.Handler(g.metrics, func() error { return nil }).ServeHTTP(page, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, want := range []string{
		`segue_rpc_shed_total{reason="denied"} 7`, `segue_rpc_calls_total{code="Unauthenticated",collection="",method="/segue.v1.ItemService/UpsertItem"} 1`,
		`segue_rpc_calls_total{code="OK",collection="tracks",method="/segue.v1.RetrievalService/NearestNeighbors"} 2`,
		`segue_collection_item_count{collection="tracks"} 1`, `segue_search_total{collection="tracks"`,
	} {
		if !strings.Contains(page.Body.String(), want) {
			t.Errorf("%s is not among the metrics", want)
		}
	}
}

// reflects asks for the services and returns the code of the answer.
func reflects(ctx context.Context, t *testing.T, conn *grpc.ClientConn) codes.Code {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := reflectionpb.NewServerReflectionClient(conn).ServerReflectionInfo(ctx)
	if err != nil {
		t.Fatal(err)
	}
	ask := &reflectionpb.ServerReflectionRequest{MessageRequest: &reflectionpb.ServerReflectionRequest_ListServices{}}
	if err := stream.Send(ask); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	_, err = stream.Recv()
	return status.Code(err)
}

// TestAnUnauthenticatedMessageIsNotRead: the refusal comes while the message is still being sent.
func TestAnUnauthenticatedMessageIsNotRead(t *testing.T) {
	g := startGuarded(t, Options{})
	stream, err := g.conn.NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true}, seguev1.ItemService_BatchUpsertItems_FullMethodName)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.RecvMsg(&seguev1.BatchUpsertItemsResponse{}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("before any byte of the message: %v", err)
	}
}

func TestOversizedMessage(t *testing.T) {
	g := startGuarded(t, Options{MaxRecvBytes: 8 << 10})
	_, err := g.items.UpsertItem(g.as(t.Context(), "admin"), &seguev1.UpsertItemRequest{Collection: "tracks", Item: item(strings.Repeat("x", 9<<10), 1, 2)})
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("9 KiB of 8 KiB: %v", err)
	}
}

func TestTooManyConnections(t *testing.T) {
	metrics := ops.NewMetrics()
	f := start(t, Options{MaxConnections: 2, Metrics: metrics})
	check := func(conn *grpc.ClientConn) error {
		ctx, cancel := context.WithTimeout(t.Context(), hang)
		defer cancel()
		_, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{})
		return err
	}
	second := dial(t, f.addr)
	for _, conn := range []*grpc.ClientConn{f.conn, second} {
		if err := check(conn); err != nil {
			t.Fatal(err)
		}
	}
	third, err := net.Dial("tcp", f.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer third.Close()
	if err := third.SetDeadline(time.Now().Add(hang)); err != nil {
		t.Fatal(err)
	}
	var timeout net.Error
	if n, err := third.Read(make([]byte, 1)); err == nil || n != 0 || errors.As(err, &timeout) && timeout.Timeout() {
		t.Errorf("the third connection is open: %v", err)
	}
	if err := check(f.conn); err != nil {
		t.Errorf("the first: %v", err)
	}
	// One that ends makes room.
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	for f.server.connections.Open() > 1 {
		if err := check(f.conn); err != nil {
			t.Fatal(err)
		}
	}
	fourth := dial(t, f.addr)
	defer fourth.Close()
	if err := check(fourth); err != nil {
		t.Errorf("the fourth: %v", err)
	}
}

func TestCallerRateLimit(t *testing.T) {
	g := startGuarded(t, Options{Admission: admission.Options{CallerRate: 0.01, CallerBurst: 3}})
	req := &seguev1.NearestNeighborsRequest{Collection: "tracks", Query: byVector(1, 2), NeighborCount: 1}
	for i := range 4 {
		_, err := g.retrieval.NearestNeighbors(g.as(t.Context(), "reader"), req)
		if i < 3 && err != nil {
			t.Fatal(err)
		}
		if i == 3 {
			refusal{codes.ResourceExhausted, "RATE_LIMITED", ""}.check(t, req, err)
		}
	}
	if _, err := g.retrieval.NearestNeighbors(g.as(t.Context(), "writer"), req); err != nil {
		t.Errorf("another caller: %v", err)
	}
}

// selfSigned is a certificate for 127.0.0.1 that is its own authority.
func selfSigned(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

func TestPlaintextDoesNotReachATLSListener(t *testing.T) {
	cert, pool := selfSigned(t)
	f := start(t, Options{TLS: &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13}})
	for name, c := range map[string]struct {
		creds credentials.TransportCredentials
		ok    bool
	}{
		"TLS":               {credentials.NewTLS(&tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}), true},
		"plaintext":         {insecure.NewCredentials(), false},
		"another authority": {credentials.NewTLS(&tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS13}), false},
	} {
		conn, err := grpc.NewClient("passthrough:///"+f.addr, grpc.WithTransportCredentials(c.creds))
		if err != nil {
			t.Fatal(err)
		}
		_, err = seguev1.NewCollectionServiceClient(conn).ListCollections(t.Context(), &seguev1.ListCollectionsRequest{})
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
		conn.Close()
	}
}

// TestSlowCallsAreLogged with what they did.
func TestSlowCallsAreLogged(t *testing.T) {
	var b syncBuffer
	f := start(t, Options{SlowCall: time.Nanosecond, Logger: slog.New(slog.NewJSONHandler(&b, nil))})
	f.create(t, &seguev1.Collection{Name: "tracks", Dimension: 2, Metric: seguev1.Metric_METRIC_L2})
	f.upsert(t, "tracks", item("a", 1, 2))
	if strings.Contains(b.String(), `"slow":true`) {
		t.Errorf("a batch is slow by nature: %s", b.String())
	}
	f.search(t, &seguev1.NearestNeighborsRequest{Collection: "tracks", Query: byVector(1, 2), NeighborCount: 1})
	if strings.Contains(b.String(), `"selectivity"`) {
		t.Errorf("a search without a filter has a selectivity: %s", b.String())
	}
	f.upsert(t, "tracks", item("b", 1, 3), item("c", 1, 4), item("d", 1, 5))
	f.search(t, &seguev1.NearestNeighborsRequest{Collection: "tracks", Query: byVector(1, 2), NeighborCount: 1, Exclusions: &seguev1.Exclusions{ItemIds: []string{"a"}}})
	for _, want := range []string{`"slow":true`, `"collection":"tracks"`, `"caller":"anonymous"`, `"release":1,`, `"k":1,`, `"ef_used":`, `"effort_reduced":false`, `"selectivity":0.75`, `"distance_count":`, `"completeness":"complete"`, `"queue_wait":`, `"level":"WARN"`} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%s is not in %s", want, b.String())
		}
	}
}

// syncBuffer is a bytes.Buffer for several goroutines.
type syncBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestReduceEffort(t *testing.T) {
	for name, c := range map[string]struct {
		asked  engine.SearchRequest
		effort float64
		want   int // 0: as it was
	}{
		"good times":   {engine.SearchRequest{K: 10, Ef: 100}, 1, 0},
		"half":         {engine.SearchRequest{K: 10, Ef: 100}, 0.5, 50},
		"the default":  {engine.SearchRequest{K: 10}, 0.5, 32},
		"not below k":  {engine.SearchRequest{K: 90, Ef: 100}, 0.5, 90},
		"ef below k":   {engine.SearchRequest{K: 90, Ef: 10}, 0.5, 0},
		"exact":        {engine.SearchRequest{K: 10, Exact: true}, 0.5, 0},
		"a target":     {engine.SearchRequest{K: 10, TargetRecall: 0.9}, 0.5, 0},
		"floor of one": {engine.SearchRequest{K: 1, Ef: 2}, 0.01, 1},
	} {
		got := c.asked
		if reduced := reduceEffort(&got, c.effort); reduced != (c.want > 0) {
			t.Errorf("%s: reduced %v", name, reduced)
		}
		if c.want == 0 && got.Ef != c.asked.Ef || c.want > 0 && got.Ef != c.want {
			t.Errorf("%s: ef %d", name, got.Ef)
		}
	}
}
