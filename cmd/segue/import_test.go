package main

import (
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/segue-ann/segue/client"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// modelRow is a line of a generated file, and what becomes of it.
type modelRow struct {
	line   string
	vector []float32
	id     string
	plays  int64
	reason string // of its rejection; empty where it is written
}

// modelRows draws lines of every kind. Where the vectors are in a matrix the lines have none, and the
// faults that a matrix cannot have do not occur.
func modelRows(t *rapid.T, matrix bool) []modelRow {
	kinds := []string{"good", "good", "good", "zero", "garbage", "anonymous", "object", "long id"}
	if !matrix {
		kinds = append(kinds, "wide", "no vector", "bad vector")
	}
	n := rapid.IntRange(0, 150).Draw(t, "rows")
	rows := make([]modelRow, n)
	for i := range rows {
		r := &rows[i]
		r.id = fmt.Sprintf("id-%d", rapid.IntRange(0, 2*n).Draw(t, "id"))
		r.plays = int64(i)
		r.vector = []float32{float32(i + 1), float32(rapid.IntRange(-9, 9).Draw(t, "y"))}
		fields := map[string]any{"id": r.id, "plays": r.plays}
		kind := rapid.SampledFrom(kinds).Draw(t, "kind")
		if !matrix && kind != "no vector" {
			fields["vector"] = r.vector
		}
		switch kind {
		case "zero":
			r.vector, r.reason = []float32{0, 0}, "ZERO_VECTOR"
			if !matrix {
				fields["vector"] = r.vector
			}
		case "anonymous":
			r.id, r.reason = "", "INVALID_FORMAT"
			delete(fields, "id")
		case "object":
			r.reason = "INVALID_FORMAT"
			fields["genre"] = map[string]string{"main": "jazz"}
		case "long id":
			r.id, r.reason = strings.Repeat("i", 257), "TOO_LONG"
			fields["id"] = r.id
		case "wide":
			r.reason = "DIMENSION_MISMATCH"
			fields["vector"] = []float32{1, 2, 3}
		case "no vector":
			r.reason = "FIELD_REQUIRED"
		case "bad vector":
			r.id, r.reason = "", "INVALID_FORMAT"
			fields["vector"] = []any{1, "two"}
		}
		line, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		r.line = string(line)
		if kind == "garbage" {
			r.id, r.reason, r.line = "", "INVALID_FORMAT", rapid.SampledFrom([]string{"", "{", "7", "null", `{"id":"x"} {}`, "\xff"}).Draw(t, "garbage")
		}
	}
	return rows
}

// Property: an import writes exactly the good rows, the later one where an id comes twice, names every bad
// row with its number and the right reason, and its exit code says whether there were too many; whatever
// the form of the files, the size of batches and how many are under way.
func TestImportWritesGoodRowsAndNamesBadOnes(t *testing.T) {
	s, err := serveChild(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.kill)
	c := singleTryClient(t, s.addr)
	defer c.Close()
	dir, runs := t.TempDir(), 0
	rapid.Check(t, func(rt *rapid.T) {
		runs++
		matrix := rapid.Bool().Draw(rt, "matrix")
		rows := modelRows(rt, matrix)
		name := fmt.Sprintf("c%d", runs)
		args := []string{"import", "--addr", s.addr, "--collection", name, "--create", "--metric", "cosine", "--dim", "2", "-o", "json"}

		var lines strings.Builder
		var vectors [][]float32
		want := map[string]modelRow{}
		var rejects []string
		for i, r := range rows {
			lines.WriteString(r.line + "\n")
			vectors = append(vectors, r.vector)
			if r.reason == "" {
				want[r.id] = r
			} else {
				rejects = append(rejects, fmt.Sprintf("%d %s %s", i, r.id, r.reason))
			}
		}
		file := filepath.Join(dir, name+".jsonl")
		writeText(t, file, lines.String())
		args = append(args, "--items", file)
		if matrix {
			if err := saveMatrix(file+".npy", 2, vectors); err != nil {
				rt.Fatal(err)
			}
			args = append(args, "--vectors", file+".npy")
		}
		allowed := rapid.SampledFrom([]int{0, len(rejects) - 1, len(rejects)}).Draw(rt, "allowed")
		allowed = max(allowed, 0)
		args = append(args, "--max-rejects", fmt.Sprint(allowed),
			"--batch", fmt.Sprint(rapid.IntRange(1, 60).Draw(rt, "batch")), "--in-flight", fmt.Sprint(rapid.IntRange(1, 5).Draw(rt, "inFlight")))

		r := runSegue(t.Context(), args...)
		wantCode := exitOK
		if len(rejects) > allowed {
			wantCode = exitBadData
		}
		var result importResult
		if err := json.Unmarshal([]byte(r.stdout), &result); err != nil || r.code != wantCode || result.Items == nil {
			rt.Fatalf("code %d, want %d: %v\n%s%s", r.code, wantCode, err, r.stdout, r.stderr)
		}
		if got := *result.Items; got.Rows != int64(len(rows)) || got.Rejected != int64(len(rejects)) || got.Written != int64(len(rows)-len(rejects)) {
			rt.Fatalf("%d rows, %d bad; report %+v", len(rows), len(rejects), got)
		}
		var named []string
		for _, reject := range result.Items.Rejects {
			named = append(named, fmt.Sprintf("%d %s %s", reject.Row, reject.ID, reject.Reason))
			if reject.Message == "" || reject.Field == "" {
				rt.Fatalf("reject without a rule: %+v", reject)
			}
		}
		if !slices.Equal(named, rejects) {
			rt.Fatalf("rejects\n%s\nwant\n%s", strings.Join(named, "\n"), strings.Join(rejects, "\n"))
		}
		compareItems(rt, c, name, want)
		if r := runSegue(t.Context(), "collection", "delete", name, "--yes", "--addr", s.addr); r.code != exitOK {
			rt.Fatal(r.stderr) // a server holds a limited number of them
		}
	})
}

// compareItems compares a collection with the rows that should be in it.
func compareItems(t *rapid.T, c *client.Client, collection string, want map[string]modelRow) {
	found := 0
	for token := ""; ; {
		page, err := c.Items.ListItems(t.Context(), &seguev1.ListItemsRequest{Collection: collection, IncludeVectors: true, PageToken: token})
		if err != nil {
			t.Fatal(err)
		}
		for _, item := range page.GetItems() {
			found++
			v, err := client.Values(item.GetVector())
			w, ok := want[item.GetId()]
			if err != nil || !ok || !slices.Equal(v, w.vector) || item.GetAttributes()["plays"].GetIntValue() != w.plays {
				t.Fatalf("item %v, %v; want %+v", item, err, w)
			}
		}
		if token = page.GetNextPageToken(); token == "" {
			break
		}
	}
	if found != len(want) {
		t.Fatalf("%d items, want %d", found, len(want))
	}
}

// brokenPipe is a writer whose reader has gone.
type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// Results that cannot be written are a failure, not silence.
func TestResultsThatCannotBeWritten(t *testing.T) {
	s, err := serveChild(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.kill)
	file := filepath.Join(t.TempDir(), "a.jsonl")
	writeText(t, file, "{\"id\":\"a\",\"vector\":[1]}\n")
	for _, line := range []string{
		"import --collection a --create --metric l2 --items " + file,
		"import --collection a -o json --items " + file,
		"collection create b --dim 1 --metric l2",
		"collection list",
		"collection list -o json",
		"collection describe a",
		"neighbors --collection a --item a",
		"neighbors --collection a --item a -o json",
		"snapshot create a",
		"snapshot list a",
		"collection delete b --yes",
	} {
		var stderr strings.Builder
		env := &environment{stdin: strings.NewReader(""), stdout: brokenPipe{}, stderr: &stderr}
		if code := run(t.Context(), append(strings.Fields(line), "--addr", s.addr), env); code != exitFailure || !strings.Contains(stderr.String(), io.ErrClosedPipe.Error()) {
			t.Errorf("segue %s: code %d, %s", line, code, stderr.String())
		}
	}
}

// A collection that is there is taken if it fits, and refused by name and shape if it does not.
func TestEnsureCollection(t *testing.T) {
	s, err := serveChild(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.kill)
	c := singleTryClient(t, s.addr)
	defer c.Close()
	want := &seguev1.Collection{Name: "c", Dimension: 4, Metric: seguev1.Metric_METRIC_L2}
	for range 2 {
		got, err := ensureCollection(t.Context(), c, want)
		if err != nil || got.GetDimension() != 4 || got.GetIndexConfig().GetM() == 0 {
			t.Errorf("%v, %v", got, err)
		}
	}
	for _, other := range []*seguev1.Collection{
		{Name: "c", Dimension: 5, Metric: seguev1.Metric_METRIC_L2},
		{Name: "c", Dimension: 4, Metric: seguev1.Metric_METRIC_COSINE},
	} {
		if _, err := ensureCollection(t.Context(), c, other); err == nil || !strings.Contains(err.Error(), "exists already, with dimension 4 and metric l2") {
			t.Errorf("%v: %v", other, err)
		}
	}
	if _, err := ensureCollection(t.Context(), c, &seguev1.Collection{Name: "d"}); client.Reason(err) == "" {
		t.Errorf("a collection of no dimension: %v", err)
	}
}
