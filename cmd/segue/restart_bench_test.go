package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/segue-ann/segue/client"
	"github.com/segue-ann/segue/engine"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// restartPlan is what TestRestartBenchmark measures.
type restartPlan struct {
	dir              string
	items, dim, tail int
	rounds           int
}

func restartPlanFromEnv(t *testing.T) restartPlan {
	t.Helper()
	dir := os.Getenv("SEGUE_BENCH_RESTART")
	if dir == "" {
		t.Skip("a benchmark: make bench-restart")
	}
	number := func(name string, standard int) int {
		text := os.Getenv("SEGUE_BENCH_" + name)
		if text == "" {
			return standard
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			t.Fatalf("SEGUE_BENCH_%s=%q: must be a number", name, text)
		}
		return n
	}
	p := restartPlan{items: number("ITEMS", 1_000_000), dim: number("DIM", 128), tail: number("TAIL", 20_000), rounds: number("ROUNDS", 5)}
	p.dir = filepath.Join(dir, fmt.Sprintf("%dx%d-%d", p.items, p.dim, p.tail))
	return p
}

// TestRestartBenchmark kills a server of a large store (SIGKILL) and times how long the next one takes to its first correct
// answers: for an item of the snapshot, for one of the log after it, and for one that the log deletes. The store is built once
// and kept in SEGUE_BENCH_RESTART; each row is one start, with what the server says of its phases.
func TestRestartBenchmark(t *testing.T) {
	p := restartPlanFromEnv(t)
	if _, err := os.Stat(filepath.Join(p.dir, "built")); err != nil {
		p.build(t)
	}
	store := filepath.Join(p.dir, "store")
	for round := range p.rounds + 1 {
		began := time.Now()
		s, err := startChild("serve", "--data", store, "--listen", "127.0.0.1:0", "--ops-listen", "")
		if err != nil {
			t.Fatal(err)
		}
		listening := time.Since(began)
		c := singleTryClient(t, s.addr)
		p.verify(t, c)
		answered := time.Since(began)
		cpu := cpuSeconds(s.cmd.Process.Pid)
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		s.kill()
		if round == 0 { // the store was closed in order, and the page cache may have been cold
			continue
		}
		t.Logf("round %d: listening after %.3f s, three correct answers after %.3f s, %.2f s of CPU time by then; %s",
			round, listening.Seconds(), answered.Seconds(), cpu, phasesOf(s.stderr.String()))
	}
}

// cpuSeconds is what a process has computed so far, 0 where that is not told: the noise-free companion of a wall time.
func cpuSeconds(pid int) float64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, ok := strings.Cut(string(b), ") ")
	fields := strings.Fields(rest)
	if err != nil || !ok || len(fields) < 13 {
		return 0
	}
	const ticks = 100 // USER_HZ
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / ticks
}

// phasesOf returns what the server logged of the recovery.
func phasesOf(log string) string {
	var out []string
	for line := range strings.Lines(log) {
		var m map[string]any
		if json.Unmarshal([]byte(line), &m) != nil || m["msg"] != "release recovered" && m["msg"] != "serving" {
			continue
		}
		for _, name := range []string{"time", "level", "msg", "collection", "release", "data", "listen", "tls", "identity", "collections"} {
			delete(m, name)
		}
		b, err := json.Marshal(m)
		if err == nil {
			out = append(out, string(b))
		}
	}
	return strings.Join(out, " ")
}

func (p *restartPlan) id(n int) string { return fmt.Sprintf("track:%09d", n) }

// vector is that of version v of item n: 1,000 clusters.
func (p *restartPlan) vector(n, v int) []float32 {
	center := rand.New(rand.NewPCG(uint64(n%1000), 1))
	own := rand.New(rand.NewPCG(uint64(n), uint64(v)+2))
	out := make([]float32, p.dim)
	for i := range out {
		out[i] = float32(center.Float64()-0.5) + 0.5*float32(own.Float64()-0.5)
	}
	return out
}

func (p *restartPlan) item(n, v int) engine.Item {
	return engine.Item{ID: p.id(n), Vector: p.vector(n, v), Attributes: engine.Attributes{
		{Name: "artist", Value: engine.Value{Type: engine.Keyword, Keywords: []string{fmt.Sprintf("artist:%06d", n/12)}}},
		{Name: "title", Value: engine.Value{Type: engine.Keyword, Keywords: []string{fmt.Sprintf("A title of about thirty: %07d", n)}}},
	}}
}

// build fills the store by an import, and leaves a log tail of which nine in ten records are upserts and one a delete.
func (p *restartPlan) build(t *testing.T) {
	t.Helper()
	if err := os.RemoveAll(p.dir); err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	e, err := engine.Open(ctx, filepath.Join(p.dir, "store"), engine.Options{SnapshotTail: -1, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(err)
	// A narrow beam builds fast; a restart reads the same bytes whatever the graph is worth.
	c, err := e.CreateCollection(ctx, engine.CollectionConfig{Name: "tracks", Dim: p.dim, Metric: engine.L2, EfConstruction: 24})
	must(err)
	began := time.Now()
	const job = "restart"
	_, err = c.StartImport(ctx, engine.ImportOptions{JobID: job, ExpectedItems: p.items})
	must(err)
	const batch = 1000
	for first, sequence := 0, uint64(1); first < p.items; first, sequence = first+batch, sequence+1 {
		rows := engine.ImportRows{Sequence: sequence}
		for n := first; n < min(first+batch, p.items); n++ {
			rows.Items = append(rows.Items, p.item(n, 0))
		}
		_, err := c.WriteImport(ctx, job, rows, first+batch >= p.items)
		must(err)
	}
	_, err = c.CommitImport(ctx, job)
	must(err)
	info, err := c.WaitImport(ctx, job)
	must(err)
	must(info.Err)
	_, err = c.PublishRelease(ctx, info.Release, engine.PublishConditions{})
	must(err)
	for first := 0; first < p.tail; first += batch {
		var items []engine.Item
		var gone []string
		for n := first; n < min(first+batch, p.tail); n++ {
			if n%10 == 9 {
				gone = append(gone, p.id(n))
			} else {
				items = append(items, p.item(n, 1))
			}
		}
		_, err := c.Upsert(ctx, items)
		must(err)
		_, _, err = c.Delete(ctx, gone)
		must(err)
	}
	must(e.Close())
	t.Logf("%d items of dimension %d and %d log records built in %v", p.items, p.dim, p.tail, time.Since(began).Round(time.Second))
	must(os.WriteFile(filepath.Join(p.dir, "built"), nil, 0o600))
}

// verify asks for what is the newest at its own vector.
func (p *restartPlan) verify(t *testing.T, c *client.Client) {
	t.Helper()
	ask := func(vec []float32) (string, float32) {
		answer, err := c.Retrieval.NearestNeighbors(t.Context(), &seguev1.NearestNeighborsRequest{
			Collection: "tracks", NeighborCount: 1,
			Query:        &seguev1.Query{Form: &seguev1.Query_Vector{Vector: client.Vector(vec)}},
			SearchEffort: &seguev1.SearchEffort{Effort: &seguev1.SearchEffort_Ef{Ef: 400}},
		})
		if err != nil || len(answer.GetNeighbors()) != 1 {
			t.Fatalf("%v, %v", answer, err)
		}
		return answer.GetNeighbors()[0].GetItemId(), answer.GetNeighbors()[0].GetDistance()
	}
	in, updated, deleted := p.items-1, 0, 9
	if id, d := ask(p.vector(in, 0)); id != p.id(in) || d > 1e-6 {
		t.Fatalf("an item of the snapshot: %s at %g", id, d)
	}
	if p.tail <= deleted {
		return
	}
	if id, d := ask(p.vector(updated, 1)); id != p.id(updated) || d > 1e-6 {
		t.Fatalf("an item of the log: %s at %g", id, d)
	}
	for _, old := range []int{updated, deleted} {
		if id, d := ask(p.vector(old, 0)); d < 1e-6 {
			t.Fatalf("what the log took back is found: %s at %g", id, d)
		}
	}
}
