package loadtest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"

	"github.com/segue-ann/segue/engine"
)

func TestRPCOptionsValidate(t *testing.T) {
	var o RPCOptions
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		t.Errorf("defaults: %v", err)
	}
	err := RPCOptions{K: -1, Ef: -1, Callers: -1, Conns: -1, Batch: -1, Rounds: -1, Turn: -1, Recall: 2}.Validate()
	for _, field := range []string{"k", "ef", "callers", "conns", "batch", "rounds", "turn", "recall"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s is not in %v", field, err)
		}
	}
	if _, err := MeasureRPC(t.Context(), RPCOptions{}); err == nil {
		t.Error("measured without queries")
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		v    []float64
		want float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{4, 1}, 2.5}, {[]float64{9, 1, 5}, 5}} {
		if got := median(c.v); got != c.want {
			t.Errorf("median(%v) = %v", c.v, got)
		}
	}
}

// TestConclude: ratios are of turns of the same round, so a round in which the machine was slow counts like any other.
func TestConclude(t *testing.T) {
	r := RPCReport{Results: []RPCResult{
		{Path: PathEmpty, Queries: 100, rates: []float64{1000, 10, 500}, cpu: 100 * time.Microsecond},
		{Path: PathUnary, Of: PathEmpty, Queries: 50, rates: []float64{500, 5, 250}, cpu: 200 * time.Microsecond},
	}}
	for i := range r.Results {
		r.Results[i].conclude(&r)
	}
	if u := r.Result(PathUnary); u.Ratio != 0.5 || u.CPU != 4 || u.CPURatio != 0.25 || u.Rate != 250 {
		t.Errorf("%+v", *u)
	}
	if e := r.Result(PathEmpty); e.Ratio != 0 || e.CPU != 1 {
		t.Errorf("%+v", *e)
	}
	var b strings.Builder
	if err := r.WriteText(&b); err != nil || !strings.Contains(b.String(), "0.500") || !strings.Contains(b.String(), "of empty") {
		t.Errorf("%v\n%s", err, b.String())
	}
	// Rounds in which the other path did nothing count for nothing; without any other there is no ratio, and all is still JSON.
	idle := RPCReport{Results: []RPCResult{
		{Path: PathEngine, Queries: 3, rates: []float64{0, 10, 0}}, {Path: PathBatch, Of: PathEngine, Queries: 4, rates: []float64{7, 5, 9}},
		{Path: PathEmpty, rates: []float64{0, 0, 0}}, {Path: PathUnary, Of: PathEmpty, rates: []float64{0, 1, 1}},
	}}
	for i := range idle.Results {
		idle.Results[i].conclude(&idle)
	}
	if batch, unary := idle.Result(PathBatch).Ratio, idle.Result(PathUnary).Ratio; batch != 0.5 || unary != 0 {
		t.Errorf("ratios %v and %v", batch, unary)
	}
	if _, err := json.Marshal(idle); err != nil {
		t.Error(err)
	}
	if r.Result("other") != nil {
		t.Error("a path that is not there")
	}
}

// TestGenerateCollection: what is generated can be opened again, and its queries are found.
func TestGenerateCollection(t *testing.T) {
	dir := t.TempDir()
	open := func() *engine.Engine {
		e, err := engine.Open(t.Context(), dir, engine.Options{Logger: slog.New(slog.DiscardHandler), SnapshotTail: -1, ReserveBytes: 64 << 20})
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	const rows, dim = 300, 8
	e := open()
	c, err := GenerateCollection(t.Context(), e, "generated", rows, dim)
	if err != nil {
		t.Fatal(err)
	}
	before, err := ProfileVectors(t.Context(), c, GeneratedUsers())
	if err != nil {
		t.Fatal(err)
	}
	if c.Len() != rows || len(before) != generatedQueries || len(before[0]) != dim {
		t.Errorf("%d items, %d queries of %d values", c.Len(), len(before), len(before[0]))
	}
	if _, err := ProfileVectors(t.Context(), c, []string{"nobody"}); !errors.As(err, new(*engine.NotFoundError)) {
		t.Errorf("a user that is not there: %v", err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = open()
	defer e.Close()
	if c, err = e.Collection("generated"); err != nil {
		t.Fatal(err)
	}
	after, err := ProfileVectors(t.Context(), c, GeneratedUsers()[:1])
	if err != nil || after[0][0] != before[0][0] || c.Len() != rows {
		t.Errorf("after a restart: %v, %d items", err, c.Len())
	}
}

// TestWriteAllocations: sites of a unary call, those that an empty call has too beside them.
func TestWriteAllocations(t *testing.T) {
	r := RPCReport{Results: []RPCResult{
		{Path: PathEmpty, Sites: []AllocationSite{{"grpc", "grpc.(*Server).process", 2.25, 100}, {"server", "only", 9, 9}}},
		{Path: PathUnary, Sites: []AllocationSite{{"server", "(*Retrieval).answer", 3.5, 640.4}, {"grpc", "grpc.(*Server).process", 2, 96}}},
	}}
	var b strings.Builder
	if err := r.WriteAllocations(&b); err != nil {
		t.Fatal(err)
	}
	want := `
   UNARY    BYTES    EMPTY  WHERE
    3.50      640     0.00  server.(*Retrieval).answer
    2.00       96     2.25  grpc.(*Server).process
`
	if b.String() != want {
		t.Errorf("got\n%s", b.String())
	}
	a := Allocations{Sites: []AllocationSite{{"grpc", "a", 1, 0}, {"server", "b", 2, 0}, {"grpc", "c", 4, 0}}}
	if a.Of("grpc") != 5 || a.Of("server") != 2 || a.Of("engine") != 0 {
		t.Errorf("%v of grpc, %v of server, %v of engine", a.Of("grpc"), a.Of("server"), a.Of("engine"))
	}
}

// TestSplitFunction: only what is of Segue or of gRPC is a site; the names of neighbours are not mistaken for theirs.
func TestSplitFunction(t *testing.T) {
	for f, want := range map[string][2]string{
		"github.com/segue-ann/segue/server.(*Retrieval).answer":            {"server", "(*Retrieval).answer"},
		"github.com/segue-ann/segue/engine/filter.Parse":                   {"engine/filter", "Parse"},
		"github.com/segue-ann/segue/engine.Open.func1":                     {"engine", "Open.func1"},
		"google.golang.org/grpc.(*Server).serveStreams.func2":              {"grpc", "grpc.(*Server).serveStreams.func2"},
		"google.golang.org/grpc/internal/transport.(*http2Server).operate": {"grpc", "transport.(*http2Server).operate"},
		"google.golang.org/grpcx.New":                                      {},
		"google.golang.org/protobuf/proto.Marshal":                         {},
		"runtime.malg":                         {},
		"main":                                 {},
		"":                                     {},
		"github.com/segue-ann/segue-other/x.F": {},
	} {
		if pkg, name := splitFunction(f); [2]string{pkg, name} != want {
			t.Errorf("%q: %q, %q, want %q", f, pkg, name, want)
		}
	}
}

// TestCountAllocations: a server that keeps some bytes of each call is seen to, whatever else a call allocates.
func TestCountAllocations(t *testing.T) {
	const calls = 300
	count := func(answer int) *Allocations {
		s, err := StartEmptyServer(t.Context(), answer, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}()
		a, err := CountAllocations(t.Context(), s.Addr, EmptyMethod, []byte("request"), calls)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	a := count(100)
	if a.Objects < 5 || a.Objects > 500 || a.Bytes < 8*a.Objects || a.Of("grpc") < 1 || a.Of("grpc") > 2*a.Objects {
		t.Errorf("%v objects of %v bytes a call, %v of gRPC", a.Objects, a.Bytes, a.Of("grpc"))
	}
	for i := range a.Sites {
		if i > 0 && a.Sites[i].Objects > a.Sites[i-1].Objects {
			t.Errorf("site %d has more objects than the one before", i)
		}
	}
	if _, err := CountAllocations(t.Context(), "127.0.0.1:1", EmptyMethod, nil, 1); err == nil {
		t.Error("nobody listens, and allocations are counted")
	}
}

func TestRawCodec(t *testing.T) {
	sent := []byte("some bytes")
	data, err := rawCodec{}.Marshal(&sent)
	if err != nil {
		t.Fatal(err)
	}
	for _, into := range [][]byte{nil, make([]byte, 0, 3), make([]byte, 100)} {
		if err := (rawCodec{}).Unmarshal(data, &into); err != nil || string(into) != string(sent) {
			t.Errorf("%q, %v", into, err)
		}
	}
	if _, err := (rawCodec{}).Marshal("text"); err == nil {
		t.Error("a string was sent")
	}
	if err := (rawCodec{}).Unmarshal(mem.BufferSlice{}, new(string)); err == nil {
		t.Error("a string was received")
	}
}

// wireTo connects a Wire to an empty server with answers of n bytes.
func wireTo(t *testing.T, n int, method string, options ...grpc.ServerOption) *Wire {
	t.Helper()
	s, err := StartEmptyServer(t.Context(), n, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	var d net.Dialer
	conn, err := d.DialContext(t.Context(), "tcp", s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	w, err := NewWire(conn, method, "10S")
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// TestWire: many calls of many sizes, more bytes than any window holds, and nothing allocated by the client.
func TestWire(t *testing.T) {
	for _, answer := range []int{0, 1, 300, 20_000, 60_000} {
		w := wireTo(t, answer, EmptyMethod)
		for i := range 60 {
			got, err := w.Call(make([]byte, i*i))
			if err != nil {
				t.Fatalf("answer of %d bytes, call %d: %v", answer, i, err)
			}
			if len(got) != answer {
				t.Fatalf("%d bytes came, want %d", len(got), answer)
			}
		}
	}
	if _, err := wireTo(t, 1, "/no.Such/Method").Call(nil); err == nil {
		t.Error("a method that is not there answered")
	}
	if _, err := wireTo(t, 1, EmptyMethod).Call(make([]byte, maxFrame)); err == nil {
		t.Error("a request larger than a frame was sent")
	}
}

// TestWireAllocatesNothing: against a server that is canned bytes.
func TestWireAllocatesNothing(t *testing.T) {
	w, err := NewWire(&canned{}, EmptyMethod, "1S")
	if err != nil {
		t.Fatal(err)
	}
	question := []byte("question")
	if n := testing.AllocsPerRun(100, func() {
		if b, err := w.Call(question); err != nil || string(b) != "answer" {
			t.Fatalf("%q, %v", b, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a call", n)
	}
}

// canned answers every call with a ping, the same message and trailers.
type canned struct {
	net.Conn
	calls  uint32
	answer []byte
	read   int // bytes of it
}

func (c *canned) Write(b []byte) (int, error) {
	if len(b) < 30 || string(b[:3]) == "PRI" { // the beginning of the connection, or an acknowledgement
		return len(b), nil
	}
	stream := 2*c.calls + 1
	c.calls++
	c.read = 0
	c.answer = append(appendFrame(c.answer[:0], 8, framePing, 0, 0), 1, 2, 3, 4, 5, 6, 7, 8)
	c.answer = append(appendFrame(c.answer, 1, frameHeaders, flagEndHeaders, stream), 0x88)
	c.answer = append(appendFrame(c.answer, 11, frameData, 0, stream), 0, 0, 0, 0, 6)
	c.answer = append(c.answer, "answer"...)
	c.answer = append(appendFrame(c.answer, 1, frameHeaders, flagEndHeaders|flagEndStream, stream), 0x88)
	return len(b), nil
}

func (c *canned) Read(b []byte) (int, error) {
	if c.read == len(c.answer) {
		return 0, io.EOF
	}
	n := copy(b, c.answer[c.read:])
	c.read += n
	return n, nil
}

// TestEach: every number is handed out once, and an error ends its worker and is returned.
func TestEach(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	seen := make([]bool, 1000)
	n, err := each(ctx, 1, func(_, call int) (int, error) {
		if call == len(seen)-1 {
			cancel()
		}
		if seen[call] {
			t.Errorf("call %d came twice", call)
		}
		seen[call] = true
		return 2, nil
	})
	if n != 2*len(seen) || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	broken := errors.New("broken")
	if _, err := each(t.Context(), 3, func(_, _ int) (int, error) { return 0, broken }); !errors.Is(err, broken) {
		t.Errorf("the error is %v", err)
	}
}
