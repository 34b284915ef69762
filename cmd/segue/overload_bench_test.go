package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/segue-ann/segue/client"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// TestOverloadBenchmark offers a server that has one core for itself ten times what it can do, in real time, from a process that has
// another core: peak, goodput under overload as a share of it, latency of what is answered, memory, time to recover. It is for `make overload`, on
// Linux with two cores: SEGUE_BENCH_OVERLOAD is how many seconds each step takes, and this process is to be kept off core 0.
func TestOverloadBenchmark(t *testing.T) {
	seconds, err := strconv.ParseFloat(os.Getenv("SEGUE_BENCH_OVERLOAD"), 64)
	if err != nil {
		t.Skip("SEGUE_BENCH_OVERLOAD is not set")
	}
	const n, dim = 20_000, 64
	dir := t.TempDir()
	fillOverload(t, dir, n, dim)
	// The server has GOMAXPROCS=1: the runtime counts the cores that it may use.
	cmd := exec.Command("taskset", "-c", "0", "segue", "serve", "--data", dir, "--listen", "127.0.0.1:0", "--ops-listen", "", "--log-level", "error", "--live-recall", "0")
	s := runServer(t, cmd)
	query := func(o func(*seguev1.NearestNeighborsRequest)) []byte {
		req := &seguev1.NearestNeighborsRequest{Collection: "tracks", Query: client.ByItem("7"), NeighborCount: 10}
		o(req)
		b, err := proto.Marshal(req)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	step := time.Duration(seconds * float64(time.Second))
	for _, c := range []struct {
		name    string
		message []byte
	}{
		{"10 of 1000 candidates, diverse", query(func(r *seguev1.NearestNeighborsRequest) {
			r.CandidateCount, r.Diversity = 1000, &seguev1.Diversity{Mmr: 0.5}
		})},
		{"1000 neighbors", query(func(r *seguev1.NearestNeighborsRequest) { r.NeighborCount = 1000 })},
		{"100 neighbors", query(func(r *seguev1.NearestNeighborsRequest) { r.NeighborCount = 100 })},
		{"10 neighbors", query(func(*seguev1.NearestNeighborsRequest) {})},
	} {
		l := overloader{t: t, addr: s.addr, pid: cmd.Process.Pid, message: c.message}
		l.dial(4)
		l.closed(step/4, 8) // what calls take is learned
		peak := l.closed(step/2, 8)
		each := time.Duration(float64(time.Second) / peak)
		deadline := max(10*each, 5*time.Millisecond)
		over := l.open(step, 10*peak, deadline)
		recovered := l.recover(peak/2, deadline)
		t.Logf("%s: peak %.0f/s (%v each); offered %.0f/s with deadlines of %v: goodput %.0f/s, %.2f of peak; in time p50 %v, p99 %v; %d refused, %d late, %d not sent; server %v busy; all answered at half the peak %v after; %s",
			c.name, peak, each.Round(time.Microsecond), over.offered, deadline, over.good, over.good/peak, over.p50.Round(time.Microsecond), over.p99.Round(time.Microsecond),
			over.refused, over.late, over.unsent, over.busy.Round(time.Millisecond), recovered.Round(time.Millisecond), residentOf(l.pid))
		l.close()
	}
}

// runServer starts a command that ends with serving.
func runServer(t *testing.T, cmd *exec.Cmd) *child {
	t.Helper()
	s, err := startCommand(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.kill)
	return s
}

// fillOverload makes a store of random items.
func fillOverload(t *testing.T, dir string, n, dim int) {
	t.Helper()
	s, err := serveChild(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.kill()
	c := singleTryClient(t, s.addr)
	if _, err := c.Collections.CreateCollection(t.Context(), &seguev1.CreateCollectionRequest{Collection: &seguev1.Collection{Name: "tracks", Dimension: int32(dim), Metric: seguev1.Metric_METRIC_COSINE}}); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for at := 0; at < n; at += 1000 {
		req := &seguev1.BatchUpsertItemsRequest{Collection: "tracks"}
		for i := range 1000 {
			v := make([]float32, dim)
			for j := range v {
				v[j] = float32(rng.NormFloat64())
			}
			req.Items = append(req.Items, &seguev1.Item{Id: fmt.Sprint(at + i), Vector: client.Vector(v)})
		}
		if _, err := c.Items.BatchUpsertItems(t.Context(), req); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Admin.CreateSnapshot(t.Context(), &seguev1.CreateSnapshotRequest{Collection: "tracks"}); err != nil {
		t.Fatal(err)
	}
}

// overloader loads one server with one kind of call.
type overloader struct {
	t       *testing.T
	addr    string
	pid     int
	message []byte
	conns   []*rawConn
	back    []finished
}

func (l *overloader) dial(n int) {
	for range n {
		c, err := dialRaw(l.addr)
		if err != nil {
			l.t.Fatal(err)
		}
		l.conns = append(l.conns, c)
	}
}

func (l *overloader) close() {
	for _, c := range l.conns {
		if err := c.close(); err != nil {
			l.t.Error(err)
		}
	}
}

// flush sends what was begun and returns what came back, and how many calls are under way.
func (l *overloader) flush() (back []finished, inside int) {
	l.back = l.back[:0]
	for _, c := range l.conns {
		if err := c.flush(); err != nil {
			l.t.Fatal(err)
		}
		var n int
		l.back, n = c.take(l.back)
		inside += n
	}
	return l.back, inside
}

// pause gives the readers of answers the core.
func pause() { <-time.After(100 * time.Microsecond) }

const okStatus = "0"

// closed is how many calls a second are answered to callers who wait for each answer.
func (l *overloader) closed(d time.Duration, callers int) float64 {
	call := newRawCall(seguev1.RetrievalService_NearestNeighbors_FullMethodName, time.Minute, l.message)
	begun, answered, refused := 0, 0, 0
	start := time.Now()
	for time.Since(start) < d || begun > answered+refused {
		for ; begun-answered-refused < callers && time.Since(start) < d; begun++ {
			if !l.conns[begun%len(l.conns)].begin(call, time.Now()) {
				break
			}
		}
		back, _ := l.flush()
		for _, f := range back {
			if f.status == okStatus {
				answered++
			} else {
				refused++
			}
		}
		pause()
	}
	if refused > answered/100 {
		l.t.Errorf("of callers who wait for each answer %d were answered and %d refused", answered, refused)
	}
	return float64(answered) / time.Since(start).Seconds()
}

// overloaded is what came of an offer.
type overloaded struct {
	offered, good         float64 // a second
	p50, p99              time.Duration
	refused, late, unsent int
	busy                  time.Duration // of the server's processor
}

// open makes calls at a rate, whatever becomes of them. A call is good when its answer is there within the deadline from when it was due; one
// for which the connections have no room until then is not sent.
func (l *overloader) open(d time.Duration, rate float64, deadline time.Duration) (o overloaded) {
	call := newRawCall(seguev1.RetrievalService_NearestNeighbors_FullMethodName, deadline, l.message)
	rng := rand.New(rand.NewPCG(3, 4))
	busy := cpuOf(l.t, l.pid)
	var (
		due     []time.Time // calls that wait for room
		latency []time.Duration
		offered int
	)
	start := time.Now()
	next := start
	for inside := 0; time.Since(start) < d || inside > 0; {
		now := time.Now()
		for ; now.After(next) && next.Sub(start) < d; offered++ {
			due = append(due, next)
			next = next.Add(time.Duration(rng.ExpFloat64() / rate * float64(time.Second)))
		}
		for len(due) > 0 {
			if now.Sub(due[0]) >= deadline {
				o.unsent++
			} else if !l.begin(call, due[0]) {
				break
			}
			due = due[1:]
		}
		for _, c := range l.conns {
			c.expire(now.Add(-deadline))
		}
		var back []finished
		back, inside = l.flush()
		for _, f := range back {
			took := f.at.Sub(f.due)
			switch {
			case f.status == okStatus && took <= deadline:
				latency = append(latency, took)
			case f.status == okStatus || f.status == "expired":
				o.late++
			default:
				o.refused++
			}
		}
		pause()
	}
	o.offered, o.good, o.busy = float64(offered)/d.Seconds(), float64(len(latency))/d.Seconds(), cpuOf(l.t, l.pid)-busy
	slices.Sort(latency)
	if n := len(latency); n > 0 {
		o.p50, o.p99 = latency[n/2], latency[n*99/100]
	}
	return o
}

// begin begins a call on any connection that has room.
func (l *overloader) begin(call rawCall, due time.Time) bool {
	slices.Reverse(l.conns)
	return slices.ContainsFunc(l.conns, func(c *rawConn) bool { return c.begin(call, due) })
}

// recover is how long it takes until all calls of 200 ms at a rate are answered in time.
func (l *overloader) recover(rate float64, deadline time.Duration) time.Duration {
	const window = 200 * time.Millisecond
	for began := time.Now(); ; {
		o := l.open(window, rate, max(deadline, 50*time.Millisecond))
		if o.refused+o.late+o.unsent == 0 {
			return max(0, time.Since(began)-window)
		}
		if time.Since(began) > time.Minute {
			l.t.Errorf("a minute after the overload: %+v", o)
			return time.Minute
		}
	}
}

// cpuOf is the processor time of a process.
func cpuOf(t *testing.T, pid int) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	ticks := 0
	for _, f := range fields[11:13] { // utime, stime
		n, err := strconv.Atoi(f)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// residentOf says how much memory a process has and had at most.
func residentOf(pid int) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return err.Error()
	}
	found := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok {
			found[name] = strings.Join(strings.Fields(value), " ")
		}
	}
	return "resident " + found["VmRSS"] + ", at most " + found["VmHWM"]
}
