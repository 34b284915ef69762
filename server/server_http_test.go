package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/segue-ann/segue/engine"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
	"github.com/segue-ann/segue/server/gateway"
)

// jsonServer serves HTTP with JSON until the test ends, and returns its URL.
func jsonServer(t *testing.T, f *fixture) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	scheme := "http"
	if f.server.json.http.TLSConfig != nil { // to serve makes one where there is none
		scheme = "https"
	}
	served := make(chan error, 1)
	go func() { served <- f.server.ServeHTTP(lis) }()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		f.stop(t)
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return scheme + "://" + lis.Addr().String()
}

// ask sends a request and returns the status and the body.
func ask(t *testing.T, c *http.Client, verb, url, body string, header http.Header) (int, []byte, http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), verb, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for name, values := range header {
		req.Header[name] = values
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", verb, url, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, b, resp.Header
}

// fill sets the fields that a path names.
func fill(t *testing.T, m protoreflect.Message, path, collection string) {
	t.Helper()
	for _, part := range strings.Split(path, "{")[1:] {
		name, _, _ := strings.Cut(part, "}")
		at := m
		for outer, rest, nested := strings.Cut(name, "."); nested; outer, rest, nested = strings.Cut(rest, ".") {
			at, name = at.Mutable(at.Descriptor().Fields().ByName(protoreflect.Name(outer))).Message(), rest
		}
		field := at.Descriptor().Fields().ByName(protoreflect.Name(name))
		switch {
		case field.Kind() == protoreflect.Uint32Kind:
			at.Set(field, protoreflect.ValueOfUint32(1))
		case name == "collection" || name == "name":
			at.Set(field, protoreflect.ValueOfString(collection))
		default:
			at.Set(field, protoreflect.ValueOfString("a/b")) // ids may have a slash
		}
	}
}

// urlOf is where a request goes.
func urlOf(m protoreflect.Message, path string) string {
	var out strings.Builder
	for {
		before, rest, ok := strings.Cut(path, "{")
		out.WriteString(before)
		if !ok {
			return out.String()
		}
		name, after, _ := strings.Cut(rest, "}")
		at := m
		for outer, inner, nested := strings.Cut(name, "."); nested; outer, inner, nested = strings.Cut(inner, ".") {
			at, name = at.Get(at.Descriptor().Fields().ByName(protoreflect.Name(outer))).Message(), inner
		}
		out.WriteString(url.PathEscape(at.Get(at.Descriptor().Fields().ByName(protoreflect.Name(name))).String()))
		path = after
	}
}

// sameStatus compares what statuses say: the bytes of a detail with a map differ from time to time.
func sameStatus(t *testing.T, a, b *statuspb.Status) bool {
	t.Helper()
	same := a.GetCode() == b.GetCode() && a.GetMessage() == b.GetMessage() && len(a.GetDetails()) == len(b.GetDetails())
	for i := 0; same && i < len(a.GetDetails()); i++ {
		x, errX := a.GetDetails()[i].UnmarshalNew()
		y, errY := b.GetDetails()[i].UnmarshalNew()
		same = errX == nil && errY == nil && proto.Equal(x, y)
	}
	return same
}

// TestEveryUnaryMethodOverHTTP: each has a path, and gives there what it gives over gRPC: the same answer, or the same status with
// the same details.
func TestEveryUnaryMethodOverHTTP(t *testing.T) {
	f, _ := listening(t)
	base := jsonServer(t, f)
	routes := map[string]gateway.Route{}
	for _, r := range gateway.Routes() {
		if routes[r.Method] != (gateway.Route{}) {
			t.Errorf("%s has two routes", r.Method)
		}
		routes[r.Method] = r
	}
	answered := 0
	for _, service := range services() {
		for i := range service.Methods().Len() {
			method := service.Methods().Get(i)
			if method.IsStreamingClient() || method.IsStreamingServer() {
				continue
			}
			name := string(method.FullName())
			route, ok := routes[name]
			delete(routes, name)
			if !ok {
				t.Errorf("%s has no route", name)
				continue
			}
			collections := []string{"none"}
			if readOnlyMethods()["/"+string(service.FullName())+"/"+string(method.Name())] {
				collections = append(collections, "tracks")
			}
			for _, collection := range collections {
				input, err := protoregistry.GlobalTypes.FindMessageByName(method.Input().FullName())
				if err != nil {
					t.Fatal(err)
				}
				output, err := protoregistry.GlobalTypes.FindMessageByName(method.Output().FullName())
				if err != nil {
					t.Fatal(err)
				}
				req := input.New()
				fill(t, req, route.Path, collection)
				want := output.New().Interface()
				wantErr := f.conn.Invoke(t.Context(), "/"+string(service.FullName())+"/"+string(method.Name()), req.Interface(), want)
				body := ""
				if route.Body {
					b, err := protojson.Marshal(req.Interface())
					if err != nil {
						t.Fatal(err)
					}
					body = string(b)
				}
				code, b, header := ask(t, http.DefaultClient, route.Verb, base+urlOf(req, route.Path), body, nil)
				if got := header.Get("Content-Type"); got != "application/json" {
					t.Errorf("%s: content type %q: %s", name, got, b)
				}
				if wantErr != nil {
					got := &statuspb.Status{}
					if err := protojson.Unmarshal(b, got); err != nil || !sameStatus(t, got, status.Convert(wantErr).Proto()) || code < 400 {
						t.Errorf("%s of %s: status %d, %v\n%s\nover gRPC %v", name, collection, code, err, b, wantErr)
					}
					continue
				}
				answered++
				got := output.New().Interface()
				if err := protojson.Unmarshal(b, got); err != nil || code != http.StatusOK || !proto.Equal(got, want) {
					t.Errorf("%s of %s: status %d, %v\n%.300s\nover gRPC %.300s", name, collection, code, err, b, fmt.Sprint(want))
				}
			}
		}
	}
	for name := range routes {
		t.Errorf("there is no unary method %s", name)
	}
	if answered < 8 {
		t.Errorf("only %d methods answered", answered)
	}
}

// TestAPersonsDay over HTTP: make a collection, write, ask, read, delete.
func TestAPersonsDay(t *testing.T) {
	base := jsonServer(t, start(t, Options{}))
	for _, c := range []struct{ verb, path, body, want string }{
		{"POST", "/v1/collections", `{"collection":{"name":"tracks","dimension":2,"metric":"METRIC_L2"}}`, `"dimension":2`},
		{"POST", "/v1/collections/tracks/items", `{"item":{"id":"a/b c","vector":{"floats":{"values":[1,2]}}}}`, `"revision":"`},
		{"POST", "/v1/collections/tracks/items:batchUpsert", `{"items":[{"id":"d","vector":{"float32Le":"AACAPwAAAEA="}},{"id":"e","vector":{"floats":{"values":[9,9]}}}]}`, `"revision":"`},
		{"POST", "/v1/collections/tracks:nearestNeighbors", `{"query":{"itemId":"a/b c"},"neighborCount":1}`, `"itemId":"d"`},
		{"GET", "/v1/collections/tracks/items/a%2Fb%20c?include_vectors=true", "", `"values":[1,2]`},
		{"GET", "/v1/collections/tracks/items?page_size=1", "", `"nextPageToken":"`},
		{"GET", "/v1/collections/tracks/statistics", "", `"itemCount":"3"`},
		{"DELETE", "/v1/collections/tracks/items/e", "", `"revision":"`},
		{"GET", "/v1/collections/tracks/items/e", "", `"reason":"ITEM_NOT_FOUND"`},
		{"DELETE", "/v1/collections/tracks", "", `{}`},
		{"GET", "/v1/collections", "", `{}`},
	} {
		_, b, _ := ask(t, http.DefaultClient, c.verb, base+c.path, c.body, nil)
		var compact bytes.Buffer
		if err := json.Compact(&compact, b); err != nil || !strings.Contains(compact.String(), c.want) {
			t.Errorf("%s %s: %v\n%s\nwant %s", c.verb, c.path, err, b, c.want)
		}
	}
}

// TestBadInputOverHTTP: each has the status of its code, a google.rpc.Status, and what a handler refuses has its ErrorInfo.
func TestBadInputOverHTTP(t *testing.T) {
	f := badInput(t)
	base := jsonServer(t, f)
	const search = "/v1/collections/cosine:nearestNeighbors"
	for name, c := range map[string]struct {
		verb, path, body string
		header           http.Header
		code             int
		want             string
	}{
		"no JSON":           {"POST", search, "{", nil, 400, ""},
		"not an object":     {"POST", search, "[]", nil, 400, ""},
		"an unknown field":  {"POST", search, `{"k":3}`, nil, 400, "unknown field"},
		"a wrong type":      {"POST", search, `{"neighborCount":"many"}`, nil, 400, ""},
		"NaN":               {"POST", search, `{"query":{"vector":{"floats":{"values":["NaN",1,2]}}},"neighborCount":1}`, nil, 400, `"VECTOR_NOT_FINITE"`},
		"too large a float": {"POST", search, `{"query":{"vector":{"floats":{"values":[1e99,1,2]}}},"neighborCount":1}`, nil, 400, ""},
		"a wrong dimension": {"POST", search, `{"query":{"vector":{"floats":{"values":[1]}}},"neighborCount":1}`, nil, 400, `"DIMENSION_MISMATCH"`},
		"k":                 {"POST", search, `{"query":{"itemId":"a"},"neighborCount":1000000000}`, nil, 400, `"neighbor_count"`},
		"no body":           {"POST", search, "", nil, 400, ""},
		"an unknown item":   {"POST", search, `{"query":{"itemId":"nobody"},"neighborCount":1}`, nil, 404, `"ITEM_NOT_FOUND"`},
		"a form":            {"POST", search, `neighborCount=1`, http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, 400, "application/json"},
		"no such path":      {"GET", "/v2/collections", "", nil, 404, "nothing"},
		"a wrong verb":      {"DELETE", "/v1/collections", "", nil, 405, "DELETE"},
		"an unknown query":  {"GET", "/v1/collections/cosine/items/a?nonsense=1", "", nil, 400, "nonsense"},
		"a number in words": {"GET", "/v1/collections/cosine/releases/one", "", nil, 400, ""},
		"too large":         {"POST", search, `{"filterExpression":"` + strings.Repeat("x", defaultMaxRecvBytes) + `"}`, nil, 429, ""},
		"no time":           {"POST", search, `{"query":{"itemId":"a"},"neighborCount":1}`, http.Header{"Grpc-Timeout": {"1n"}}, 504, ""},
		"a timeout of junk": {"POST", search, `{"query":{"itemId":"a"},"neighborCount":1}`, http.Header{"Grpc-Timeout": {"soon"}}, 400, ""},
		"invalid UTF-8":     {"POST", search, "{\"query\":{\"itemId\":\"\xff\"},\"neighborCount\":1}", nil, 400, ""},
		"deep nesting":      {"POST", search, strings.Repeat(`{"filter":`, 20_000), nil, 400, ""},
	} {
		code, b, _ := ask(t, http.DefaultClient, c.verb, base+c.path, c.body, c.header)
		if code != c.code || !strings.Contains(string(b), c.want) {
			t.Errorf("%s: status %d, want %d: %.300s", name, code, c.code, b)
		}
		st := &statuspb.Status{}
		if err := protojson.Unmarshal(b, st); err != nil || st.GetCode() == 0 || st.GetMessage() == "" {
			t.Errorf("%s: not a status: %v, %.300s", name, err, b)
		}
		if strings.HasPrefix(c.want, `"`) && strings.ToUpper(c.want) == c.want {
			info := &errdetails.ErrorInfo{}
			if len(st.GetDetails()) == 0 || st.GetDetails()[0].UnmarshalTo(info) != nil || info.GetDomain() != "segue.v1" {
				t.Errorf("%s: details %v", name, st.GetDetails())
			}
		}
	}
}

// TestWhoMayCallOverHTTP: nobody without a token, with a wrong one, or without the grant; and reads do not write.
func TestWhoMayCallOverHTTP(t *testing.T) {
	g := startGuarded(t, Options{})
	g.upsertAs(t, "admin", "tracks")
	base := jsonServer(t, g.fixture)
	const search = `{"query":{"itemId":"a"},"neighborCount":1}`
	write := `{"item":{"id":"x","vector":{"floats":{"values":[1,2]}}}}`
	for _, c := range []struct {
		who, verb, path, body string
		code                  int
	}{
		{"", "POST", "/v1/collections/tracks:nearestNeighbors", search, 401},
		{"Bearer nonsense", "POST", "/v1/collections/tracks:nearestNeighbors", search, 401},
		{"Basic YTpi", "POST", "/v1/collections/tracks:nearestNeighbors", search, 401},
		{"reader", "POST", "/v1/collections/tracks:nearestNeighbors", search, 200},
		{"reader", "POST", "/v1/collections/users:nearestNeighbors", search, 403},
		{"reader", "POST", "/v1/collections/tracks/items", write, 403},
		{"writer", "POST", "/v1/collections/tracks/items", write, 200},
		{"writer", "DELETE", "/v1/collections/tracks", "", 403},
		{"", "GET", "/v1/collections", "", 401},
	} {
		header := http.Header{}
		if token, ok := g.tokens[c.who]; ok {
			header.Set("Authorization", "Bearer "+token)
		} else if c.who != "" {
			header.Set("Authorization", c.who)
		}
		if code, b, _ := ask(t, http.DefaultClient, c.verb, base+c.path, c.body, header); code != c.code {
			t.Errorf("%q %s %s: status %d, want %d: %s", c.who, c.verb, c.path, code, c.code, b)
		}
	}
}

// upsertAs writes item a.
func (g *guarded) upsertAs(t *testing.T, who, collection string) {
	t.Helper()
	if _, err := g.items.UpsertItem(g.as(t.Context(), who), &seguev1.UpsertItemRequest{Collection: collection, Item: item("a", 1, 2)}); err != nil {
		t.Fatal(err)
	}
}

// TestOtherOrigins: pages of other origins are kept out unless they are named.
func TestOtherOrigins(t *testing.T) {
	const good, evil = "https://tools.example", "https://evil.example"
	for _, named := range []bool{false, true} {
		o := Options{}
		if named {
			o.HTTPOrigins = []string{good}
		}
		f := start(t, o)
		base := jsonServer(t, f)
		for _, origin := range []string{good, evil, ""} {
			allowed := named && origin == good
			header := http.Header{}
			if origin != "" {
				header = http.Header{"Origin": {origin}, "Sec-Fetch-Site": {"cross-site"}}
			}
			code, b, got := ask(t, http.DefaultClient, http.MethodPost, base+"/v1/collections/none:nearestNeighbors", `{}`, header)
			if want := map[bool]int{true: 404, false: 403}[allowed || origin == ""]; code != want {
				t.Errorf("named %v, origin %q: status %d, want %d: %s", named, origin, code, want, b)
			}
			if (got.Get("Access-Control-Allow-Origin") == origin && origin != "") != allowed {
				t.Errorf("named %v, origin %q: %v", named, origin, got)
			}
			if origin == "" {
				continue
			}
			header.Set("Access-Control-Request-Method", http.MethodPost)
			code, _, got = ask(t, http.DefaultClient, http.MethodOptions, base+"/v1/collections", "", header)
			if (code == http.StatusNoContent && strings.Contains(got.Get("Access-Control-Allow-Methods"), "POST")) != allowed {
				t.Errorf("named %v, preflight of %q: status %d, %v", named, origin, code, got)
			}
		}
	}
	e, err := engine.Open(t.Context(), t.TempDir(), engine.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if _, err := New(e, Options{Logger: slog.New(slog.DiscardHandler), HTTPOrigins: []string{"no origin"}}); err == nil || !strings.Contains(err.Error(), "no origin") {
		t.Errorf("an origin that is none: %v", err)
	}
}

// TestHTTPUnderTLS: HTTP/1.1 and HTTP/2 are spoken, plaintext is not, although the gateway itself calls without TLS.
func TestHTTPUnderTLS(t *testing.T) {
	cert, pool := selfSigned(t)
	inner := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}}
	f := start(t, Options{TLS: &tls.Config{MinVersion: tls.VersionTLS13, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return inner, nil }}})
	base := jsonServer(t, f)
	for _, two := range []bool{false, true} {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}, Protocols: new(http.Protocols)}
		transport.Protocols.SetHTTP1(!two)
		transport.Protocols.SetHTTP2(two)
		if code, b, _ := ask(t, &http.Client{Transport: transport}, http.MethodGet, base+"/v1/collections", "", nil); code != http.StatusOK {
			t.Errorf("HTTP/2 %v: status %d: %s", two, code, b)
		}
		transport.CloseIdleConnections()
	}
	code, _, _ := ask(t, http.DefaultClient, http.MethodGet, strings.Replace(base, "https", "http", 1)+"/v1/collections", "", nil)
	if code != http.StatusBadRequest {
		t.Errorf("plaintext: status %d", code)
	}
}

// TestHTTPConnectionsCount: they are bounded together with those of gRPC.
func TestHTTPConnectionsCount(t *testing.T) {
	f := start(t, Options{MaxConnections: 1})
	base := jsonServer(t, f)
	if _, err := f.collections.ListCollections(t.Context(), &seguev1.ListCollectionsRequest{}); err != nil { // takes the one
		t.Fatal(err)
	}
	client := &http.Client{Timeout: 10 * time.Second}
	if resp, err := client.Get(base + "/v1/collections"); err == nil {
		resp.Body.Close()
		t.Errorf("a second connection was served: %d", resp.StatusCode)
	}
}

// FuzzJSON: whatever comes in, the answer is JSON with a status that fits, and nothing panics.
func FuzzJSON(f *testing.F) {
	e, err := engine.Open(context.Background(), f.TempDir(), engine.Options{Logger: slog.New(slog.DiscardHandler), ReserveBytes: 64 << 20})
	if err != nil {
		f.Fatal(err)
	}
	s, err := New(e, Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		f.Fatal(err)
	}
	s.json.start()
	f.Cleanup(func() {
		if err := errors.Join(s.Shutdown(context.Background()), e.Close()); err != nil {
			f.Error(err)
		}
	})
	c, err := e.CreateCollection(context.Background(), engine.CollectionConfig{Name: "tracks", Dim: 2, Metric: engine.L2})
	if err != nil {
		f.Fatal(err)
	}
	if _, err := c.Upsert(context.Background(), []engine.Item{{ID: "a", Vector: []float32{1, 2}}, {ID: "b", Vector: []float32{3, 4}}}); err != nil {
		f.Fatal(err)
	}
	f.Add("POST", "/v1/collections/tracks:nearestNeighbors", `{"query":{"itemId":"a"},"neighborCount":1,"readMask":"attributes.title"}`)
	f.Add("POST", "/v1/collections/tracks:nearestNeighbors", `{"query":{"vector":{"float32Le":"AACAPwAAAEA="}},"neighborCount":1}`)
	f.Add("GET", "/v1/collections/tracks/items/a%2fb?include_vectors=true", "")
	f.Add("POST", "/v1/collections/tracks/items:batchGet", `{"itemIds":["a","c"]}`)
	f.Add("GET", "/v1/collections/tracks/hubs?neighbor_count=1&query_count=2", "")
	f.Add("POST", "/segue.v1.RetrievalService/NearestNeighbors", `{}`)
	f.Fuzz(func(t *testing.T, verb, path, body string) {
		u, err := url.ParseRequestURI("http://segue/" + strings.TrimPrefix(path, "/"))
		if err != nil || strings.ContainsAny(verb, " \r\n\t") || verb == "" {
			return // net/http refuses it
		}
		req := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		req.Method, req.URL, req.RequestURI = verb, u, u.RequestURI()
		req.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		s.json.gateway.ServeHTTP(w, req)
		switch {
		case w.Code == http.StatusOK:
			if strings.HasPrefix(path, "/v1/") && !json.Valid(w.Body.Bytes()) {
				t.Errorf("an answer that is no JSON: %q", w.Body)
			}
		case w.Code < 400 || w.Code > 504:
			t.Errorf("status %d: %q", w.Code, w.Body)
		case w.Code == http.StatusInternalServerError:
			t.Errorf("the server's fault: %q", w.Body)
		}
	})
}

// TestHTTPErrorsAreNotTheServers: codes that say that the server is broken do not come of what a caller sends.
func TestHTTPErrorsAreNotTheServers(t *testing.T) {
	f := badInput(t)
	base := jsonServer(t, f)
	for _, body := range []string{"", "null", "0", `""`, "{}", `{"query":null}`, `{"query":{}}`, `{"query":{"itemId":"a","userId":"u"}}`} {
		code, b, _ := ask(t, http.DefaultClient, http.MethodPost, base+"/v1/collections/cosine:nearestNeighbors", body, nil)
		st := &statuspb.Status{}
		if err := protojson.Unmarshal(b, st); err != nil || code != http.StatusBadRequest || codes.Code(st.GetCode()) != codes.InvalidArgument {
			t.Errorf("%q: status %d, %v: %s", body, code, err, b)
		}
	}
}
