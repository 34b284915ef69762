package server

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
	"github.com/segue-ann/segue/server/admission"
)

// TestOverload offers many times what the server can do, with deadlines that leave no room for queueing. It holds that what is
// answered is a good part of what is answered at the best rate, that memory stays bounded, that what is refused is refused by
// name, and that afterwards everything is answered again. Calls and deadlines are scaled by what the machine does meanwhile, so
// that a busy machine changes the rates and not the outcome. SEGUE_LONG=1 runs it longer, with a higher bar.
func TestOverload(t *testing.T) {
	window, share := 500*time.Millisecond, 0.5
	if os.Getenv("SEGUE_LONG") != "" {
		window, share = 10*time.Second, 0.8
	} else if testing.Short() {
		t.Skip("needs seconds of load")
	}
	f := start(t, Options{Admission: admission.Options{MaxWait: 20 * time.Millisecond}})
	const dim, n = 64, 4000
	f.create(t, &seguev1.Collection{Name: "tracks", Dimension: dim, Metric: seguev1.Metric_METRIC_L2})
	r := rand.New(rand.NewPCG(1, 2))
	vector := func(r *rand.Rand) []float32 {
		v := make([]float32, dim)
		for i := range v {
			v[i] = r.Float32()
		}
		return v
	}
	for at := 0; at < n; at += 500 {
		items := make([]*seguev1.Item, 500)
		for i := range items {
			items[i] = item(fmt.Sprint(at+i), vector(r)...)
		}
		f.upsert(t, "tracks", items...)
	}
	// An exact scan is the work: its cost does not depend on the effort.
	call := func(ctx context.Context, conn *grpc.ClientConn, r *rand.Rand) error {
		_, err := seguev1.NewRetrievalServiceClient(conn).NearestNeighbors(ctx, &seguev1.NearestNeighborsRequest{
			Collection: "tracks", Query: byVector(vector(r)...), NeighborCount: 10, SearchEffort: exact(),
		})
		return err
	}
	conns := make([]*grpc.ClientConn, 4)
	for i := range conns {
		conns[i] = dial(t, f.addr)
		defer conns[i].Close()
	}
	// run has workers call in a closed loop for a window; each call has the deadline given.
	run := func(workers int, deadline time.Duration) (perSecond float64, ends map[codes.Code]int64) {
		var counts [17]atomic.Int64
		var group sync.WaitGroup
		began := time.Now()
		for w := range workers {
			group.Go(func() {
				r := rand.New(rand.NewPCG(uint64(w), 3))
				for time.Since(began) < window {
					ctx, cancel := context.WithTimeout(t.Context(), deadline)
					err := call(ctx, conns[w%len(conns)], r)
					cancel()
					counts[status.Code(err)].Add(1)
				}
			})
		}
		group.Wait()
		ends = map[codes.Code]int64{}
		for c := range counts {
			if n := counts[c].Load(); n > 0 {
				ends[codes.Code(c)] = n
			}
		}
		return float64(ends[codes.OK]) / time.Since(began).Seconds(), ends
	}
	workers := 2 * runtime.GOMAXPROCS(0)
	run(workers, time.Minute) // warm
	peak, _ := run(workers, time.Minute)
	// Ten times the callers, and deadlines of a few times what a call takes at the peak.
	deadline := max(20*time.Millisecond, time.Duration(4*float64(workers)/peak*float64(time.Second)))
	before := heap()
	goodput, ends := run(10*workers, deadline)
	after := heap()
	// What else the machine does changes: the peak is what it was at its lowest, before and after.
	again, _ := run(workers, time.Minute)
	peak = min(peak, again)
	t.Logf("peak %.0f/s, goodput %.0f/s with deadlines of %v: %v, heap %d -> %d MiB", peak, goodput, deadline, ends, before>>20, after>>20)
	if goodput < share*peak {
		t.Errorf("goodput %.0f/s under overload, less than %.0f %% of the peak of %.0f/s", goodput, 100*share, peak)
	}
	for c := range ends {
		if c != codes.OK && c != codes.Unavailable && c != codes.DeadlineExceeded {
			t.Errorf("calls end with %v", c)
		}
	}
	if after > before+64<<20 {
		t.Errorf("the heap went from %d to %d MiB", before>>20, after>>20)
	}
	// Afterwards one call after the other is answered.
	for range 20 {
		if err := call(t.Context(), f.conn, r); err != nil {
			t.Fatalf("after the overload: %v", err)
		}
	}
	if s := f.server.admission.Stats(); s.QueriesRunning != 0 || s.QueriesQueued != 0 {
		t.Errorf("left behind: %+v", s)
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
