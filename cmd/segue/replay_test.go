package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/segue-ann/segue/client"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
	"github.com/segue-ann/segue/server/querylog"
)

// loggedServer serves 300 items and logs every query into dir.
func loggedServer(t *testing.T, dir string) (*child, *client.Client) {
	t.Helper()
	s, err := startChild("serve", "--data", t.TempDir(), "--listen", "127.0.0.1:0", "--ops-listen", "",
		"--query-log", dir, "--query-log-share", "1", "--query-log-file-bytes", "1024", "--query-log-total-bytes", "1000000")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.kill)
	c, err := client.Dial(s.addr, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if _, err := c.Collections.CreateCollection(t.Context(), &seguev1.CreateCollectionRequest{
		Collection: &seguev1.Collection{Name: "tracks", Dimension: 2, Metric: seguev1.Metric_METRIC_L2},
	}); err != nil {
		t.Fatal(err)
	}
	var items []*seguev1.Item
	for i := range 300 {
		items = append(items, &seguev1.Item{Id: fmt.Sprint(i), Vector: client.Vector([]float32{float32(i), float32(i % 7)})})
	}
	if _, err := c.Items.BatchUpsertItems(t.Context(), &seguev1.BatchUpsertItemsRequest{Collection: "tracks", Items: items}); err != nil {
		t.Fatal(err)
	}
	return s, c
}

type replayed struct {
	Queries   int
	Compared  int
	Identical int
	Overlap   float64
	Worst     []difference
	Sides     []replaySide
}

func replayJSON(t *testing.T, args ...string) replayed {
	t.Helper()
	r := runSegue(t.Context(), append([]string{"replay", "-o", "json"}, args...)...)
	var out replayed
	if err := json.Unmarshal([]byte(r.stdout), &out); err != nil || r.code != exitOK {
		t.Fatalf("%v: code %d, %v\n%s%s", args, r.code, err, r.stdout, r.stderr)
	}
	return out
}

// TestReplay: what a server logs is asked again, of it and of another one; answers that changed are found, saved answers serve as
// the other server.
func TestReplay(t *testing.T) {
	logs := t.TempDir()
	s, c := loggedServer(t, logs)
	other, oc := loggedServer(t, t.TempDir())
	const single, batched = 120, 30
	var batch []*seguev1.NearestNeighborsRequest
	for i := range single + batched {
		req := &seguev1.NearestNeighborsRequest{Collection: "tracks", Query: client.ByItem(fmt.Sprint(i)), NeighborCount: 5}
		if i >= single {
			req.Collection = ""
			batch = append(batch, req)
			continue
		}
		if _, err := c.Retrieval.NearestNeighbors(t.Context(), req); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Retrieval.BatchNearestNeighbors(t.Context(), &seguev1.BatchNearestNeighborsRequest{Collection: "tracks", Requests: batch}); err != nil {
		t.Fatal(err)
	}
	// What failed is not logged.
	if _, err := c.Retrieval.NearestNeighbors(t.Context(), &seguev1.NearestNeighborsRequest{Collection: "tracks", Query: client.ByItem("none"), NeighborCount: 5}); err == nil {
		t.Fatal("a query for nothing was answered")
	}
	if code, err := s.stop(); code != exitOK || err != nil { // writes what is queued
		t.Fatalf("code %d, %v", code, err)
	}
	files, err := querylog.Files(logs)
	if err != nil || len(files) < 2 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	// A copy of the log: the first server is gone, and its log stays as it is.
	third, _ := loggedServer(t, t.TempDir())
	got := replayJSON(t, "--log", logs, "--addr", other.addr, "--versus", third.addr, "--deadline", "30s")
	if got.Queries != single+batched || got.Compared != got.Queries || got.Identical != got.Queries || got.Overlap != 1 || len(got.Worst) != 0 {
		t.Errorf("two equal servers: %+v", got)
	}
	saved := filepath.Join(t.TempDir(), "answers")
	if got = replayJSON(t, "--log", logs, "--addr", other.addr, "--save", saved, "--deadline", "30s"); got.Queries != single+batched || len(got.Sides) != 1 || got.Sides[0].Codes["OK"] != got.Queries {
		t.Errorf("saving: %+v", got)
	}
	// Item 50 was a neighbor of those around it; asking for it fails now.
	if _, err := oc.Items.DeleteItem(t.Context(), &seguev1.DeleteItemRequest{Collection: "tracks", ItemId: "50"}); err != nil {
		t.Fatal(err)
	}
	got = replayJSON(t, "--log", logs, "--addr", other.addr, "--against", saved, "--deadline", "30s")
	if got.Compared != single+batched-1 || got.Sides[0].Codes["NotFound"] != 1 || got.Overlap >= 1 || got.Overlap < 0.9 || len(got.Worst) == 0 || !strings.Contains(got.Worst[0].Request, "itemId") {
		t.Errorf("after a deletion: %+v", got)
	}
	// Bounds, one file, the table, a file that ends in the middle.
	if got = replayJSON(t, "--log", files[0], "--addr", other.addr, "--count", "3", "--rate", "1000", "--deadline", "30s"); got.Queries != 3 {
		t.Errorf("count: %+v", got)
	}
	whole, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	cut := filepath.Join(t.TempDir(), "cut")
	writeText(t, cut, string(whole[:len(whole)-1]))
	r := runSegue(t.Context(), "replay", "--log", cut, "--addr", other.addr, "--versus", third.addr, "--deadline", "30s")
	if r.code != exitOK || !strings.Contains(r.stdout, "overlap@k") || !strings.Contains(r.stderr, "is cut off") {
		t.Errorf("code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	damaged := filepath.Join(t.TempDir(), "damaged")
	writeText(t, damaged, "\x03\xff\xff\xff")
	for want, args := range map[string][]string{
		"--log is required": {},
		"no such file":      {"--log", "/nothing/here"},
		"holds no files":    {"--log", t.TempDir()},
		"cannot be read":    {"--log", damaged},
		"exclude":           {"--log", cut, "--versus", "x", "--against", "y"},
		"Workers":           {"--log", cut, "--workers", "-1"},
		"--against":         {"--log", cut, "--against", damaged},
	} {
		if r := runSegue(t.Context(), append([]string{"replay", "--addr", other.addr}, args...)...); r.code == exitOK || !strings.Contains(r.stderr, want) {
			t.Errorf("%v: code %d\n%s", args, r.code, r.stderr)
		}
	}
	if _, err := startChild("serve", "--data", t.TempDir(), "--listen", "127.0.0.1:0", "--query-log", damaged); err == nil {
		t.Error("a query log in a file was accepted")
	}
}
