package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/segue-ann/segue/internal/dataset"
	"github.com/segue-ann/segue/internal/invariants"
	"github.com/segue-ann/segue/loadtest"
)

// runBench runs `segue bench` with args and returns what it printed.
func runBench(args ...string) (stdout, stderr string, err error) {
	var out, errOut bytes.Buffer
	c := newBenchCommand(&environment{stdout: &out, stderr: &errOut})
	c.SilenceErrors, c.SilenceUsage = true, true
	c.SetArgs(args)
	c.SetOut(&out)
	c.SetErr(&errOut)
	err = c.ExecuteContext(context.Background())
	return out.String(), errOut.String(), err
}

// benchFiles writes a small base and its queries.
func benchFiles(t *testing.T) (base, queries string) {
	t.Helper()
	const rows, asked, dim = 1000, 20, 16
	all := dataset.Clustered(1, rows+asked, dim, 10, 0.5)
	write := func(name string, data []float32) string {
		path := filepath.Join(t.TempDir(), name)
		w, err := dataset.CreateVectors(path, dataset.Float32, int64(len(data)/dim), dim)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(data); i += dim {
			if err := w.Write(data[i : i+dim]); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return write("base.npy.zst", all[:rows*dim]), write("queries.npy", all[rows*dim:])
}

func TestBenchANN(t *testing.T) {
	base, queries := benchFiles(t)
	for _, engine := range loadtest.EngineNames() {
		for _, metric := range []string{"l2", "ip", "cosine"} {
			out, notes, err := runBench("ann", "--base", base, "--queries", queries, "--metric", metric, "--k", "5",
				"--ef", "8,64", "--m", "8", "--ef-construction", "40", "--build-threads", "1", "--limit", "900",
				"--engine", engine, "-o", "json")
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(notes, "900 vectors of 16 values, 20 queries, true neighbors computed") {
				t.Errorf("notes: %s", notes)
			}
			lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
			if len(lines) != 2 {
				t.Fatalf("%s %s: printed %q", engine, metric, out)
			}
			for i, line := range lines {
				var r loadtest.ANNResult
				if err := json.Unmarshal([]byte(line), &r); err != nil {
					t.Fatal(err)
				}
				if r.Engine != engine || r.Metric != metric || r.N != 900 || r.Dim != 16 || r.K != 5 || r.Ef != []int{8, 64}[i] {
					t.Errorf("%s", line)
				}
				if engine != "exact" && (r.M != 8 || r.EfConstruction != 40) {
					t.Errorf("%s", line)
				}
				if floor := map[string]float64{"segue": 0.5, "segue-f16": 0.5, "exact": 1, "coder": 0}[engine]; r.Recall < floor {
					t.Errorf("%s: recall %v, want %v", engine, r.Recall, floor)
				}
			}
		}
	}
	out, _, err := runBench("ann", "--base", base, "--queries", queries, "--metric", "l2", "--engine", "exact", "--ef", "10")
	if lines := strings.Split(out, "\n"); err != nil || len(lines) != 6 || !strings.HasPrefix(lines[0], "exact: 1,000 vectors of 16 values, l2") {
		t.Errorf("table: %q, %v", out, err)
	}
}

// TestBenchANNHoldsOut: without queries, rows of the base ask, and are not in the index.
func TestBenchANNHoldsOut(t *testing.T) {
	base, _ := benchFiles(t)
	out, notes, err := runBench("ann", "--base", base, "--metric", "l2", "--engine", "exact", "--ef", "1", "-o", "json")
	if err != nil || !strings.Contains(notes, "990 vectors of 16 values, 10 queries") || !strings.Contains(out, `"recall":1,`) {
		t.Errorf("%s%s%v", notes, out, err)
	}
	if _, _, err := runBench("ann", "--base", base, "--neighbors", base, "--metric", "l2"); err == nil || !strings.Contains(err.Error(), "not the queries") {
		t.Errorf("neighbours without queries: %v", err)
	}
}

// TestBenchANNUsage: mistakes in the flags are usage errors, all of them at once, before any file is read.
func TestBenchANNUsage(t *testing.T) {
	_, _, err := runBench("ann", "--base", "none.npy", "--queries", "none.npy", "--metric", "euclid", "--k", "0", "--ef", "0",
		"--m", "0", "--threads", "-1", "--limit", "-1", "--engine", "faiss", "-o", "csv")
	var usage *usageError
	if !errors.As(err, &usage) {
		t.Fatalf("got %v", err)
	}
	for _, part := range []string{`metric "euclid"`, "k is 0", "ef is [0]", "m is 0", "threads is -1", "limit is -1", "engine is faiss", "output is csv"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in %q", part, err)
		}
	}
	for _, args := range [][]string{{"ann"}, {"ann", "--base", "a.npy", "--queries", "b.npy"}, {"ann", "--metric", "l2"}, {"ann", "--ef", "x"}, {"ann", "extra"}, {}} {
		if _, _, err := runBench(args...); err == nil {
			t.Errorf("%v taken", args)
		}
	}
}

func TestBenchANNMissingFile(t *testing.T) {
	_, queries := benchFiles(t)
	_, _, err := runBench("ann", "--base", filepath.Join(t.TempDir(), "none.npy"), "--queries", queries, "--metric", "l2")
	var usage *usageError
	if !errors.Is(err, os.ErrNotExist) || errors.As(err, &usage) {
		t.Errorf("got %v", err)
	}
}

// TestBenchRPC: all paths answer, over the real server; and what a call allocates beyond what gRPC does for an empty one has a
// ceiling.
func TestBenchRPC(t *testing.T) {
	dir := t.TempDir()
	args := []string{"rpc", "--data", dir, "--rows", "500", "--dim", "128", "--callers", "4", "--batch", "10", "--rounds", "2", "--turn", "20ms"}
	stdout, stderr, err := runBench(append(args, "-o", "json")...)
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr)
	}
	var r loadtest.RPCReport
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		t.Fatal(err)
	}
	if r.Items != 500 || r.Dim != 128 || r.Recall < 0.95 || r.RequestBytes < 512 || r.AnswerBytes < 100 || len(r.Results) != 5 {
		t.Errorf("%+v", r)
	}
	for _, p := range r.Results {
		if p.Queries == 0 || p.Rate <= 0 || p.Of != "" && p.Ratio <= 0 {
			t.Errorf("%+v", p)
		}
	}
	own := r.Result(loadtest.PathUnary).Allocations - r.Result(loadtest.PathEmpty).Allocations
	if !invariants.Race && (own < 1 || own > 20) {
		t.Errorf("a call allocates %.1f times more than an empty one, want at most 20", own)
	}
	// A second run finds the collection; and so does one that names users.
	users := filepath.Join(dir, "users")
	writeText(t, users, strings.Join(loadtest.GeneratedUsers()[:20], "\n"))
	stdout, stderr, err = runBench(append(args, "--collection", "generated", "--users", users)...)
	if err != nil || strings.Contains(stderr, "generating") || !strings.Contains(stdout, "unary") {
		t.Errorf("%v\n%s%s", err, stdout, stderr)
	}
	for name, args := range map[string][]string{
		"neither table nor json": {"-o", "xml"},
		"--rows":                 {"--rows", "1"},
		"callers":                {"--callers", "0"},
		"--users needs --data":   {"--users", users},
		"not found":              {"--users", users, "--data", t.TempDir()},
	} {
		if _, _, err := runBench(append([]string{"rpc"}, args...)...); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v: %v", args, err)
		}
	}
}
