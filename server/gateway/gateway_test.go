package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"
	"pgregory.net/rapid"

	_ "github.com/segue-ann/segue/proto/segue/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// behind is a gRPC server that takes any call: it keeps the last one, and answers with what it was given.
type behind struct {
	mu     sync.Mutex // guards all below
	method string
	header metadata.MD
	req    []byte
	answer []byte
	err    error
	until  time.Duration // of the deadline; 0 for none
}

func (b *behind) handle(_ any, stream grpc.ServerStream) error {
	var req raw
	if err := stream.RecvMsg(&req); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.method, _ = grpc.Method(stream.Context())
	b.header, _ = metadata.FromIncomingContext(stream.Context())
	b.req, b.until = req.b, 0
	if deadline, ok := stream.Context().Deadline(); ok {
		b.until = time.Until(deadline)
	}
	if b.err != nil {
		return b.err
	}
	return stream.SendMsg(&raw{b.answer})
}

// raw is a message as bytes.
type raw struct{ b []byte }

type rawCodec struct{}

func (rawCodec) Name() string                    { return "proto" }
func (rawCodec) Marshal(v any) ([]byte, error)   { return v.(*raw).b, nil }
func (rawCodec) Unmarshal(b []byte, v any) error { v.(*raw).b = append([]byte(nil), b...); return nil }

// start serves a gateway before b.
func start(t *testing.T, b *behind, o Options) *httptest.Server {
	t.Helper()
	lis := bufconn.Listen(64 << 10)
	s := grpc.NewServer(grpc.UnknownServiceHandler(b.handle), grpc.ForceServerCodec(rawCodec{}))
	go func() { _ = s.Serve(lis) }()
	o.Dial = lis.DialContext
	o.MaxRecvBytes, o.MaxSendBytes, o.ReadingTime = 64<<10, 1<<20, time.Minute
	g, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewServer(g)
	t.Cleanup(func() {
		front.Close()
		if err := g.Close(); err != nil {
			t.Error(err)
		}
		s.Stop()
	})
	return front
}

// fill sets fields of a message to values that are drawn: scalars, lists of scalars, and messages as far as depth allows.
func fill(r *rapid.T, m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if f.IsMap() || f.Message() != nil && (depth == 0 || f.Message().ParentFile().Package() != "segue.v1") || !rapid.Bool().Draw(r, "set "+string(f.Name())) {
			continue
		}
		if f.IsList() {
			list := m.Mutable(f).List()
			for range rapid.IntRange(1, 3).Draw(r, "length") {
				list.Append(value(r, list.NewElement(), f, depth))
			}
			continue
		}
		m.Set(f, value(r, m.NewField(f), f, depth))
	}
}

func value(r *rapid.T, empty protoreflect.Value, f protoreflect.FieldDescriptor, depth int) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.MessageKind:
		fill(r, empty.Message(), depth-1)
		return empty
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(rapid.StringOfN(rapid.RuneFrom([]rune("ab/ %?&=#:+é世\"{}.*")), 1, 12, -1).Draw(r, "text"))
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes(rapid.SliceOfN(rapid.Byte(), 1, 9).Draw(r, "bytes"))
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.EnumKind:
		values := f.Enum().Values()
		return protoreflect.ValueOfEnum(values.Get(rapid.IntRange(0, values.Len()-1).Draw(r, "enum")).Number())
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(rapid.Int32().Draw(r, "int32"))
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(rapid.Int64().Draw(r, "int64"))
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(rapid.Uint64().Draw(r, "uint64"))
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(rapid.Uint32().Draw(r, "uint32"))
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32(float32(rapid.IntRange(-1000, 1000).Draw(r, "float")) / 8)
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(float64(rapid.IntRange(-1000, 1000).Draw(r, "double")) / 8)
	default:
		r.Fatalf("no values of kind %v", f.Kind())
		return empty
	}
}

// request makes the HTTP request that is meant by a message, by the route and without the gateway's code: names of the path are taken out of
// the message and escaped, the rest is the body or the query.
func request(r *rapid.T, base string, route Route, m *dynamicpb.Message) *http.Request {
	rest := proto.Clone(m)
	path := route.Path
	for {
		before, after, ok := strings.Cut(path, "{")
		if !ok {
			break
		}
		name, after, _ := strings.Cut(after, "}")
		at := rest.ProtoReflect()
		parts := strings.Split(name, ".")
		for _, p := range parts[:len(parts)-1] {
			at = at.Mutable(at.Descriptor().Fields().ByName(protoreflect.Name(p))).Message()
		}
		f := at.Descriptor().Fields().ByName(protoreflect.Name(parts[len(parts)-1]))
		path = before + url.PathEscape(fmt.Sprint(at.Get(f).Interface())) + after
		at.Clear(f)
	}
	body := ""
	if route.Body {
		b, err := protojson.Marshal(rest)
		if err != nil {
			r.Fatal(err)
		}
		body = string(b)
	} else {
		query := url.Values{}
		rest.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
			if f.IsList() {
				for i := range v.List().Len() {
					query.Add(string(f.Name()), fmt.Sprint(v.List().Get(i).Interface()))
				}
				return true
			}
			query.Set(string(f.Name()), fmt.Sprint(v.Interface()))
			return true
		})
		if len(query) > 0 {
			path += "?" + query.Encode()
		}
	}
	req, err := http.NewRequestWithContext(context.Background(), route.Verb, base+path, strings.NewReader(body))
	if err != nil {
		r.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	return req
}

// TestEveryRouteCarriesItsRequest: over every route, whatever its request says comes to the gRPC server as it was, names with slashes and
// all; and the answer comes back.
func TestEveryRouteCarriesItsRequest(t *testing.T) {
	b := &behind{}
	front := start(t, b, Options{})
	routes := Routes()
	if len(routes) < 40 {
		t.Fatalf("%d routes", len(routes))
	}
	for _, route := range routes {
		d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(route.Method))
		if err != nil {
			t.Fatal(err)
		}
		method := d.(protoreflect.MethodDescriptor)
		t.Run(string(method.Name()), func(t *testing.T) {
			rapid.Check(t, func(r *rapid.T) {
				m := dynamicpb.NewMessage(method.Input())
				fill(r, m, 2)
				require(r, route, m)
				answer := dynamicpb.NewMessage(method.Output())
				fill(r, answer, 1)
				var err error
				if b.answer, err = proto.Marshal(answer); err != nil {
					r.Fatal(err)
				}
				resp, err := http.DefaultClient.Do(request(r, front.URL, route, m))
				if err != nil {
					r.Fatal(err)
				}
				defer resp.Body.Close()
				text, err := io.ReadAll(resp.Body)
				if err != nil || resp.StatusCode != http.StatusOK {
					r.Fatalf("%s %s: %s, %v: %s", route.Verb, route.Path, resp.Status, err, text)
				}
				got := dynamicpb.NewMessage(method.Input())
				if err := proto.Unmarshal(b.req, got); err != nil || !proto.Equal(m, got) {
					r.Fatalf("%v\nwant %v, %v", got, m, err)
				}
				if want := fmt.Sprintf("/%s/%s", method.Parent().FullName(), method.Name()); b.method != want {
					r.Fatalf("called %s, want %s", b.method, want)
				}
				back := dynamicpb.NewMessage(method.Output())
				if err := protojson.Unmarshal(text, back); err != nil || !proto.Equal(answer, back) {
					r.Fatalf("answered %v\nwant %v, %v", back, answer, err)
				}
			})
		})
	}
}

// require sets the fields that the path names, which cannot be empty there.
func require(r *rapid.T, route Route, m *dynamicpb.Message) {
	for _, part := range strings.Split(route.Path, "{")[1:] {
		name, _, _ := strings.Cut(part, "}")
		var at protoreflect.Message = m
		parts := strings.Split(name, ".")
		for _, p := range parts[:len(parts)-1] {
			at = at.Mutable(at.Descriptor().Fields().ByName(protoreflect.Name(p))).Message()
		}
		f := at.Descriptor().Fields().ByName(protoreflect.Name(parts[len(parts)-1]))
		if !at.Has(f) {
			at.Set(f, value(r, at.NewField(f), f, 0))
		}
		if v := at.Get(f).String(); v == "." || v == ".." {
			at.Set(f, protoreflect.ValueOfString("x")) // net/http cleans such paths away
		}
	}
}

// TestErrorsTravel: every code becomes its HTTP status, with the google.rpc.Status in the body.
func TestErrorsTravel(t *testing.T) {
	b := &behind{}
	front := start(t, b, Options{})
	for code := codes.Canceled; code <= codes.Unauthenticated; code++ {
		b.err = status.Error(code, "why \xff")
		resp, err := http.Get(front.URL + "/v1/collections/tracks")
		if err != nil {
			t.Fatal(err)
		}
		var body struct {
			Code    int
			Message string
		}
		if err := json.NewDecoder(resp.Body).Decode(&body); err != nil || body.Code != int(code) || !strings.HasPrefix(body.Message, "why ") || resp.StatusCode < 400 {
			t.Errorf("%v: %s, %+v, %v", code, resp.Status, body, err)
		}
		if err := resp.Body.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestHeadersThatPass: the token, the deadline and the trace go with the call, nothing else does.
func TestHeadersThatPass(t *testing.T) {
	b := &behind{}
	front := start(t, b, Options{})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, front.URL+"/v1/collections/tracks", nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]string{"Authorization": "Bearer t", "Grpc-Timeout": "700m", "Traceparent": "00-a", "Cookie": "secret=1", "X-Forwarded-User": "root", "Grpc-Metadata-Role": "admin"} {
		req.Header.Set(name, v)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status, err)
	}
	if b.header.Get("authorization")[0] != "Bearer t" || b.header.Get("traceparent")[0] != "00-a" || b.until <= 0 || b.until > 700*time.Millisecond {
		t.Errorf("header %v, deadline in %v", b.header, b.until)
	}
	for _, name := range []string{"cookie", "x-forwarded-user", "role", "grpc-metadata-role"} {
		if v := b.header.Get(name); len(v) > 0 {
			t.Errorf("%s went along: %v", name, v)
		}
	}
}

// TestBodiesAreBounded, before they are decoded.
func TestBodiesAreBounded(t *testing.T) {
	front := start(t, &behind{}, Options{})
	resp, err := http.Post(front.URL+"/v1/collections", "application/json", strings.NewReader(strings.Repeat(" ", 64<<10+1)))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusTooManyRequests || !strings.Contains(string(text), "at most 65536 bytes") {
		t.Errorf("%s, %v: %s", resp.Status, err, text)
	}
}

// TestNothingBehind: a gRPC server that is gone is UNAVAILABLE, at once.
func TestNothingBehind(t *testing.T) {
	g, err := New(Options{Dial: func(context.Context) (net.Conn, error) { return nil, io.ErrClosedPipe }, MaxRecvBytes: 1 << 10, MaxSendBytes: 1 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	w := httptest.NewRecorder()
	g.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v1/collections/tracks", nil))
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("status %d: %s", w.Code, w.Body)
	}
}
