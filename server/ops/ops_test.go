package ops

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"

	"github.com/segue-ann/segue/engine"
	"github.com/segue-ann/segue/server/admission"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scrape reads /metrics.
func scrape(t *testing.T, m *Metrics) string {
	t.Helper()
	return get(t, Handler(m, func() error { return nil }), "/metrics", "127.0.0.1:1", http.StatusOK)
}

func get(t *testing.T, h http.Handler, path, from string, want int) string {
	t.Helper()
	w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path, nil)
	r.RemoteAddr = from
	h.ServeHTTP(w, r)
	if w.Code != want {
		t.Errorf("%s from %s: status %d, want %d: %s", path, from, w.Code, want, w.Body)
	}
	return w.Body.String()
}

func has(t *testing.T, page string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains("\n"+page, "\n"+line) {
			t.Errorf("%q is not on the page", line)
		}
	}
}

func TestCalls(t *testing.T) {
	m := NewMetrics()
	m.Begin()
	m.Begin()
	m.End("/s/M", "tracks", codes.OK, 3*time.Millisecond)
	m.Refused("/s/M", codes.Unauthenticated)
	m.Shed(ShedQueue)
	m.Waited(time.Millisecond)
	m.Slow("/s/M")
	m.Searched(Search{Collection: "tracks", Plan: "graph", Completeness: "complete", Ef: 64, Distances: 300, Hops: 40, Reduced: true})
	m.Searched(Search{Collection: "tracks", Plan: "exact", Completeness: "exhausted", Distances: 1000})
	m.Recalled(Recall{Collection: "tracks", Plan: "graph", Effort: "ef", Order: "score", Share: 1})
	m.Recalled(Recall{Collection: "tracks", Plan: "graph", Effort: "ef", Order: "score", Share: 0.5})
	m.RecallSkipped(RecallTimeout)
	m.QueryLogged("written", 1)
	m.RecallTook(1500 * time.Millisecond)
	has(t, scrape(t, m),
		`segue_rpc_in_flight 1`,
		`segue_rpc_calls_total{code="OK",collection="tracks",method="/s/M"} 1`,
		`segue_rpc_calls_total{code="Unauthenticated",collection="",method="/s/M"} 1`,
		`segue_rpc_duration_seconds_bucket{collection="tracks",method="/s/M",le="0.0025"} 0`,
		`segue_rpc_duration_seconds_bucket{collection="tracks",method="/s/M",le="0.005"} 1`,
		`segue_rpc_shed_total{reason="queue"} 1`,
		`segue_rpc_shed_total{reason="connections"} 0`,
		`segue_rpc_queue_wait_seconds_count 1`,
		`segue_rpc_slow_total{method="/s/M"} 1`,
		`segue_search_total{collection="tracks",completeness="complete",plan="graph"} 1`,
		`segue_search_distance_count_sum{collection="tracks"} 1300`,
		`segue_search_ef_used_count{collection="tracks"} 1`,
		`segue_search_hop_count_sum{collection="tracks"} 40`,
		`segue_search_effort_reduced_total{collection="tracks"} 1`,
		`segue_live_recall_ratio_sum{collection="tracks",effort="ef",order="score",plan="graph"} 1.5`,
		`segue_live_recall_ratio_bucket{collection="tracks",effort="ef",order="score",plan="graph",le="0.99"} 1`,
		`segue_live_recall_squares_total{collection="tracks",effort="ef",order="score",plan="graph"} 1.25`,
		`segue_live_recall_skipped_total{reason="timeout"} 1`,
		`segue_live_recall_skipped_total{reason="failed"} 0`,
		`segue_live_recall_seconds_total 1.5`,
		`segue_query_log_total{outcome="written"} 1`,
		`go_goroutines `,
	)
}

func TestCountingAllocatesNothing(t *testing.T) {
	m := NewMetrics()
	if n := testing.AllocsPerRun(100, func() {
		m.Begin()
		m.End("/s/M", "tracks", codes.OK, time.Millisecond)
		m.Waited(time.Microsecond)
		m.Searched(Search{Collection: "tracks", Plan: "graph", Completeness: "complete", Ef: 64, Distances: 300, Hops: 40})
	}); n > 0 {
		t.Errorf("%v allocations a call", n)
	}
}

func TestState(t *testing.T) {
	e, err := engine.Open(t.Context(), t.TempDir(), engine.Options{Logger: slog.New(slog.DiscardHandler), ReserveBytes: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	c, err := e.CreateCollection(t.Context(), engine.CollectionConfig{Name: "tracks", Dim: 2, Metric: engine.L2})
	if err != nil {
		t.Fatal(err)
	}
	control, err := admission.New(admission.Options{MaxConcurrent: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer control.Close()
	m := NewMetrics()
	state := &engineState{engine: e, now: time.Now, known: map[string]remembered{}}
	m.registry.MustRegister(state)
	m.WatchAdmission(control, &admission.Connections{})
	loading := new(engine.Loading)
	m.WatchLoading(loading)
	has(t, scrape(t, m), "segue_load_ratio 0", `segue_collection_backlog_count{collection="tracks"} 0`)
	again, err := engine.Open(t.Context(), t.TempDir(), engine.Options{Logger: slog.New(slog.DiscardHandler), Loading: loading})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	has(t, scrape(t, m), "segue_load_ratio 1", `segue_collection_item_count{collection="tracks"} 0`, `segue_admission_effort 1`, `segue_admission_running{class="write"} 0`,
		`segue_admission_limit{class="query"} `, `segue_connections_open 0`)
	if _, err := c.Upsert(t.Context(), []engine.Item{{ID: "a", Vector: []float32{1, 2}}, {ID: "b", Vector: []float32{3, 4}}}); err != nil {
		t.Fatal(err)
	}
	// What is a load is fresh, the rest is remembered for a while.
	has(t, scrape(t, m), `segue_collection_item_count{collection="tracks"} 2`, `segue_collection_slot_count{collection="tracks"} 0`)
	state.now = func() time.Time { return time.Now().Add(statisticsAge) }
	page := scrape(t, m)
	has(t, page, `segue_collection_slot_count{collection="tracks"} 2`, `segue_store_disk_bytes `, `segue_store_corruptions_total 0`,
		`segue_store_fsync_duration_seconds_bucket{le="+Inf"} `, `segue_store_fsync_duration_seconds_count `)
	if strings.Contains(page, "segue_store_disk_bytes 0\n") {
		t.Error("a store of no bytes")
	}
	if err := e.DeleteCollection(t.Context(), "tracks"); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(scrape(t, m), `collection="tracks"`) {
		t.Error("a deleted collection is still reported")
	}
	problems, err := testutil.GatherAndLint(m.Gatherer())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		// Names of stats are those of the API, and its counts are no counters.
		if strings.HasPrefix(p.Metric, "segue_") && !strings.Contains(p.Text, "non-histogram and non-summary") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

func TestHandler(t *testing.T) {
	m, why := NewMetrics(), errors.New("loading")
	h := Handler(m, func() error { return why })
	get(t, h, "/healthz", "10.0.0.1:1", http.StatusOK)
	if got := get(t, h, "/readyz", "10.0.0.1:1", http.StatusServiceUnavailable); got != "loading\n" {
		t.Errorf("readyz says %q", got)
	}
	why = nil
	get(t, h, "/readyz", "10.0.0.1:1", http.StatusOK)
	get(t, h, "/debug/pprof/", "127.0.0.1:1", http.StatusOK)
	get(t, h, "/debug/pprof/cmdline", "[::1]:1", http.StatusOK)
	for _, path := range []string{"", "cmdline", "profile?seconds=1", "symbol", "trace", "heap"} {
		get(t, h, "/debug/pprof/"+path, "10.0.0.1:1", http.StatusForbidden)
	}
	get(t, h, "/", "127.0.0.1:1", http.StatusNotFound)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/metrics", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", w.Code)
	}
}

func TestServe(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := Serve(lis, Handler(NewMetrics(), func() error { return nil }), slog.New(slog.DiscardHandler))
	resp, err := http.Get("http://" + s.Addr() + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil || string(body) != "ok\n" {
		t.Errorf("%q, %v", body, err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Fatal(err)
	}
	http.DefaultClient.CloseIdleConnections()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := net.Dial("tcp", s.Addr()); err == nil {
		t.Error("it still listens")
	}
}

func TestTracingIsOffUnlessAskedFor(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "")
	t.Setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "")
	if tr, err := NewTracing(t.Context()); tr != nil || err != nil {
		t.Errorf("%v, %v", tr, err)
	}
	var off *Tracing
	if off.Handler() != nil || off.Close(t.Context()) != nil {
		t.Error("nil is not off")
	}
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
	tr, err := NewTracing(t.Context())
	if err != nil || tr.Handler() == nil {
		t.Fatalf("%v, %v", tr, err)
	}
	if err := tr.Close(t.Context()); err != nil { // nothing listens there, and nothing was traced
		t.Error(err)
	}
	t.Setenv("OTEL_SDK_DISABLED", "true")
	if tr, err := NewTracing(t.Context()); tr != nil || err != nil {
		t.Errorf("disabled: %v, %v", tr, err)
	}
}

// TestSpans: a span names the service, and reaches the exporter at the latest on Close.
func TestSpans(t *testing.T) {
	exporter := tracetest.NewInMemoryExporter()
	tr := newTracing(keeping{exporter}, "radio")
	_, span := tr.provider.Tracer("t").Start(t.Context(), "call")
	span.End()
	if err := tr.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	spans := exporter.GetSpans()
	if len(spans) != 1 || spans[0].Name != "call" || !strings.Contains(spans[0].Resource.String(), "service.name=radio") {
		t.Errorf("spans %v", spans)
	}
}

// TestSearchesInSpans: the span of a call says what its search did, that of a batch has an event for each.
func TestSearchesInSpans(t *testing.T) {
	exporter := tracetest.NewInMemoryExporter()
	tr := newTracing(keeping{exporter}, "radio")
	s := Search{Collection: "tracks", Release: 3, Plan: "graph", Completeness: "complete", Ef: 64, Distances: 409, Hops: 74}
	for name, whole := range map[string]bool{"one": true, "batch": false} {
		ctx, span := tr.provider.Tracer("t").Start(t.Context(), name)
		Trace(ctx, &s, whole)
		Trace(ctx, &s, whole)
		span.End()
	}
	if err := tr.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, span := range exporter.GetSpans() {
		got := fmt.Sprint(span.Attributes)
		if span.Name == "batch" {
			if len(span.Attributes) != 0 || len(span.Events) != 2 {
				t.Fatalf("a batch of two: %v, %v", span.Attributes, span.Events)
			}
			got = fmt.Sprint(span.Events[1].Attributes)
		}
		for _, want := range []string{`{"segue.collection":"tracks"}`, `{"segue.release":3}`, `{"segue.plan":"graph"}`, `{"segue.ef_used":64}`, `{"segue.distance_count":409}`} {
			if !strings.Contains(got, want) {
				t.Errorf("span %s has %s, not %s", span.Name, got, want)
			}
		}
	}
	if n := testing.AllocsPerRun(100, func() { Trace(context.Background(), &s, true) }); n > 0 {
		t.Errorf("%v allocations without a span", n)
	}
}

// keeping is an exporter that forgets nothing when it is shut down.
type keeping struct{ *tracetest.InMemoryExporter }

func (keeping) Shutdown(context.Context) error { return nil }
