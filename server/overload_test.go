package server

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/segue-ann/segue/loadtest"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
	"github.com/segue-ann/segue/server/admission"
)

// TestOverload offers ten times what the server can do, at a fixed rate, with deadlines of ten times what a call takes. It holds that
// memory stays bounded, that what is refused is refused by name, and that afterwards half the best
// rate is answered again in time. How much is answered meanwhile it only logs: client and server share processors and a Go scheduler here, in
// which each step of a call waits for a slice of the searches; admission.TestTenTimesTheCapacity holds it in virtual time, and `make overload` measures it
// with a core for each. SEGUE_LONG=1 runs it longer.
func TestOverload(t *testing.T) {
	window := 500 * time.Millisecond
	if os.Getenv("SEGUE_LONG") != "" {
		window = 10 * time.Second
	} else if testing.Short() {
		t.Skip("needs seconds of load")
	}
	o := overload{f: start(t, Options{Admission: admission.Options{MaxWait: 20 * time.Millisecond}})}
	o.fill(t)
	for i := range 4 {
		o.conns = append(o.conns, dial(t, o.f.addr))
		defer o.conns[i].Close()
	}
	o.run(t, window)
	if s := o.f.server.admission.Stats(); s.QueriesRunning != 0 || s.QueriesQueued != 0 {
		t.Errorf("left behind: %+v", s)
	}
}

// overload is a server that is asked for what takes long and does not get cheaper by brown-out: diversity among many candidates.
type overload struct {
	f     *fixture
	conns []*grpc.ClientConn
}

func (o *overload) fill(t *testing.T) {
	const dim, n = 32, 2000
	o.f.create(t, &seguev1.Collection{Name: "tracks", Dimension: dim, Metric: seguev1.Metric_METRIC_L2})
	r := rand.New(rand.NewPCG(1, 2))
	items := make([]*seguev1.Item, n)
	for i := range items {
		v := make([]float32, dim)
		for j := range v {
			v[j] = r.Float32()
		}
		items[i] = item(fmt.Sprint(i), v...)
	}
	o.f.upsert(t, "tracks", items...)
}

// call implements loadtest.Call.
func (o *overload) call(ctx context.Context, n int) error {
	_, err := seguev1.NewRetrievalServiceClient(o.conns[n%len(o.conns)]).NearestNeighbors(ctx, &seguev1.NearestNeighborsRequest{
		Collection: "tracks", Query: byItem(fmt.Sprint(n % 2000)), NeighborCount: 150, CandidateCount: 1000, Diversity: &seguev1.Diversity{Mmr: 0.5},
	})
	return err
}

// peak is how many calls a second are answered to callers who wait for each answer.
func (o *overload) peak(ctx context.Context, window time.Duration) (float64, error) {
	var (
		group sync.WaitGroup
		calls atomic.Int64
		errs  = make([]error, runtime.GOMAXPROCS(0)) // as many as run at once: nobody waits, however busy the machine is
	)
	began := time.Now()
	for w := range errs {
		group.Go(func() {
			for errs[w] == nil && time.Since(began) < window {
				errs[w] = o.call(ctx, int(calls.Add(1)))
			}
		})
	}
	group.Wait()
	return float64(calls.Load()) / time.Since(began).Seconds(), errors.Join(errs...)
}

func (o *overload) run(t *testing.T, window time.Duration) {
	peak, err := o.peak(t.Context(), window)
	if err != nil {
		t.Fatal(err)
	}
	deadline := max(20*time.Millisecond, time.Duration(10*float64(runtime.GOMAXPROCS(0))/peak*float64(time.Second)))
	step := loadtest.Step{Rate: 10 * peak, Duration: window, Workers: 2000, Timeout: deadline, Seed: 1}
	before := heap()
	result, err := step.Run(t.Context(), o.call)
	if err != nil {
		t.Fatal(err)
	}
	// Afterwards half the peak is offered, until all of it is answered in time.
	step.Rate, step.Duration, step.Timeout = peak/2, 200*time.Millisecond, time.Second
	ended := time.Now()
	for {
		calm, err := step.Run(t.Context(), o.call)
		if err != nil {
			t.Fatal(err)
		}
		if calm.OK == calm.Due {
			break
		}
		if time.Since(ended) > hang {
			t.Fatalf("long after the overload not all calls are answered at half the peak: %v", calm.Codes)
		}
	}
	recovered, after := max(0, time.Since(ended)-step.Duration), heap()
	t.Logf("peak %.0f/s; offered %.0f/s with deadlines of %v: goodput %.0f/s, p50 %v, p99 %v, %v; recovered %v after; heap %d -> %d MiB, resident %s",
		peak, result.Step.Rate, deadline, result.Achieved(), result.Quantile(50), result.Quantile(99), result.Codes, recovered, before>>20, after>>20, resident())
	for code := range result.Codes {
		if code != codes.OK.String() && code != codes.Unavailable.String() && code != codes.DeadlineExceeded.String() {
			t.Errorf("calls end with %s", code)
		}
	}
	if after > before+64<<20 {
		t.Errorf("the heap went from %d to %d MiB", before>>20, after>>20)
	}
}

// resident says how much memory the process has now and had at most, where that is known.
func resident() string {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return "unknown"
	}
	var now, most string
	for line := range strings.Lines(string(text)) {
		if v, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			now = strings.TrimSpace(v)
		}
		if v, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			most = strings.TrimSpace(v)
		}
	}
	return now + ", at most " + most
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestQueriesOfOneCallTakeTurns: each query of a batch and of a stream needs a permit of its own, and is refused by name without one.
func TestQueriesOfOneCallTakeTurns(t *testing.T) {
	f := start(t, Options{Admission: admission.Options{MaxConcurrent: 1, MaxWait: 5 * time.Millisecond}})
	f.create(t, &seguev1.Collection{Name: "tracks", Dimension: 2, Metric: seguev1.Metric_METRIC_L2})
	f.upsert(t, "tracks", item("a", 1, 2), item("b", 3, 4))
	query := &seguev1.NearestNeighborsRequest{Collection: "tracks", Query: byItem("a"), NeighborCount: 1}
	const n = 200
	batch := &seguev1.BatchNearestNeighborsRequest{Collection: "tracks"}
	for range n {
		batch.Requests = append(batch.Requests, query)
	}
	answers := func() (all []*seguev1.QueryResult) {
		t.Helper()
		resp, err := f.retrieval.BatchNearestNeighbors(t.Context(), batch)
		if err != nil {
			t.Fatal(err)
		}
		stream, err := f.retrieval.StreamNearestNeighbors(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Send(&seguev1.StreamNearestNeighborsRequest{Request: query}); err != nil {
			t.Fatal(err)
		}
		one, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.CloseSend(); err != nil {
			t.Fatal(err)
		}
		if _, err := stream.Recv(); err == nil {
			t.Error("a second answer")
		}
		return append(resp.GetResults(), one.GetResult())
	}
	permit, err := f.server.admission.Admit(t.Context(), seguev1.Priority_PRIORITY_QUERY)
	if err != nil {
		t.Fatal(err)
	}
	shed := answers()
	permit.Done(nil)
	if len(shed) != n+1 {
		t.Errorf("%d answers", len(shed))
	}
	for i, r := range shed {
		if e := r.GetError(); codes.Code(e.GetCode()) != codes.Unavailable || e.GetReason() != "OVERLOADED" {
			t.Fatalf("query %d while another runs: %v", i, r)
		}
	}
	waits := admitted(t, f)
	for i, r := range answers() {
		if len(r.GetResponse().GetNeighbors()) != 1 {
			t.Fatalf("query %d: %v", i, r)
		}
	}
	if got := admitted(t, f) - waits; got != n+1 {
		t.Errorf("%d permits for %d queries", got, n+1)
	}
	if s := f.server.admission.Stats(); s.QueriesRunning != 0 || s.QueriesQueued != 0 {
		t.Errorf("left behind: %+v", s)
	}
}

// admitted is how many permits were given, by the metrics.
func admitted(t *testing.T, f *fixture) uint64 {
	t.Helper()
	families, err := f.server.metrics.Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == "segue_rpc_queue_wait_seconds" {
			return family.GetMetric()[0].GetHistogram().GetSampleCount()
		}
	}
	t.Fatal("no such metric")
	return 0
}
