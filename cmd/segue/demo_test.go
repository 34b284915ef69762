package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/segue-ann/segue/client"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// bundledRow is one row of the bundled data: reading all of them takes a second or two, so it is done once.
type bundledRow struct {
	id     string
	line   string
	vector []float32
	name   string // as demoTracks and demoPlaylists write it
}

func bundledRows(from rowFiles) ([]bundledRow, error) {
	var rows []bundledRow
	err := from.each(func(r row) (bool, error) {
		r.record.Fields["id"] = r.record.ID
		line, err := json.Marshal(r.record.Fields)
		name := fmt.Sprintf("%q", r.record.Fields["name"])
		if artists, ok := r.record.Fields["artists"].([]any); ok {
			name = fmt.Sprintf("%q by %s", r.record.Fields["title"], artists[0])
		}
		rows = append(rows, bundledRow{r.record.ID, string(line), slices.Clone(r.vector), name})
		return true, err
	})
	return rows, err
}

var (
	bundledTracks    = sync.OnceValues(func() ([]bundledRow, error) { return bundledRows(bundledData().tracks) })
	bundledPlaylists = sync.OnceValues(func() ([]bundledRow, error) { return bundledRows(bundledData().playlists) })
)

// sampleOf makes files of every step-th row of the bundled tracks, of those the demo asks about, and of the
// first playlists and those it asks about: the demo in little.
func sampleOf(t *testing.T, step, playlists int) demoData {
	t.Helper()
	dir := t.TempDir()
	tracks, err := bundledTracks()
	if err != nil {
		t.Fatal(err)
	}
	users, err := bundledPlaylists()
	if err != nil {
		t.Fatal(err)
	}
	var d demoData
	d.tracks, d.trackCount = sampleRows(t, dir, "tracks", tracks, slices.Concat(demoTracks(), demoLiked()), func(i int) bool { return i%step == 0 })
	d.playlists, d.playlistCount = sampleRows(t, dir, "playlists", users, demoPlaylists(), func(i int) bool { return i < playlists })
	return d
}

func sampleRows(t *testing.T, dir, name string, all []bundledRow, always []known, also func(int) bool) (rowFiles, int64) {
	t.Helper()
	to := rowFiles{lines: filepath.Join(dir, name+".jsonl"), vectors: filepath.Join(dir, name+".npy")}
	var lines strings.Builder
	var vectors [][]float32
	for i, r := range all {
		if also(i) || slices.ContainsFunc(always, func(k known) bool { return k.id == r.id }) {
			lines.WriteString(r.line + "\n")
			vectors = append(vectors, r.vector)
		}
	}
	if err := saveMatrix(to.vectors, len(vectors[0]), vectors); err != nil {
		t.Fatal(err)
	}
	writeText(t, to.lines, lines.String())
	return to, int64(len(vectors))
}

// demoRun runs the demo once and returns what it wrote.
func demoRun(t *testing.T, data demoData, dir string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errOut bytes.Buffer
	env := &environment{stdout: &out, stderr: &errOut}
	err = runDemo(t.Context(), env, demoOptions(env, dir), data, false, true)
	return out.String(), errOut.String(), err
}

func demoOptions(env *environment, dir string) serveOptions {
	return serveOptions{data: dir, listen: "127.0.0.1:0", shutdownTimeout: time.Minute, log: newLogger(env, 4)}
}

// tables keeps what must not differ between two runs on one store.
func tables(stdout string) string {
	_, after, _ := strings.Cut(stdout, "\nMore like")
	before, _, _ := strings.Cut(after, "\nAsk it yourself")
	return regexp.MustCompile(`(?m)^\(.*$`).ReplaceAllString(before, "")
}

func TestDemoImportsOnce(t *testing.T) {
	data, dir := sampleOf(t, 40, 20), t.TempDir()
	first, stderr, err := demoRun(t, data, dir)
	if err != nil {
		t.Fatalf("%v\n%s%s", err, first, stderr)
	}
	for _, want := range []string{
		fmt.Sprintf("imported %s tracks", thousands(data.trackCount)),
		fmt.Sprintf("imported %d playlists", data.playlistCount),
		fmt.Sprintf("%s tracks ready", thousands(data.trackCount)),
		`More like "Blinding Lights" by The Weeknd`,
		"For whoever made the playlist",
		"one of each artist and title", "not there? CROWDED_OUT: ", "added since April 2021", "2021-0",
		"which they heard this month", "not there? EXCLUDED: it is in exclusion set \"demo-listener\"", " may be answered)", "not like \"SICKO MODE\"",
		"grpcurl -plaintext -d '{", "ghz --insecure --call segue.v1.RetrievalService.NearestNeighbors -d '{",
		" neighbors --addr 127.0.0.1:",
	} {
		if !strings.Contains(first, want) {
			t.Errorf("first run does not say %q:\n%s", want, first)
		}
	}
	if n := strings.Count(first, "\n   8  "); n != len(demoTracks())+len(demoPlaylists())+4 {
		t.Errorf("%d tables of 8 neighbors:\n%s", n, first)
	}

	second, stderr, err := demoRun(t, data, dir)
	if err != nil {
		t.Fatalf("%v\n%s%s", err, second, stderr)
	}
	if strings.Contains(second, "import") || stderr != "" {
		t.Errorf("second run imported or complained:\n%s%s", second, stderr)
	}
	if tables(first) != tables(second) || tables(first) == "" {
		t.Errorf("tables differ:\n%s\n%s", tables(first), tables(second))
	}
	if r := runSegue(t.Context(), "check", dir); r.code != exitOK {
		t.Errorf("check: %d\n%s%s", r.code, r.stdout, r.stderr)
	}
}

// An import may end among the tracks, or between tracks and playlists: the next start finishes it.
func TestDemoFinishesAnInterruptedImport(t *testing.T) {
	dir := t.TempDir()
	part := sampleOf(t, 400, 20)
	if out, stderr, err := demoRun(t, part, dir); err != nil {
		t.Fatalf("%v\n%s%s", err, out, stderr)
	}
	whole := sampleOf(t, 100, 20)
	out, stderr, err := demoRun(t, whole, dir)
	if err != nil || !strings.Contains(out, fmt.Sprintf("did not finish last time (%s of %s tracks)", thousands(part.trackCount), thousands(whole.trackCount))) {
		t.Errorf("%v\n%s%s", err, out, stderr)
	}

	dir = t.TempDir()
	without := whole
	without.playlists.lines = filepath.Join(t.TempDir(), "absent.jsonl")
	if out, _, err := demoRun(t, without, dir); err == nil {
		t.Errorf("the demo ran without playlists:\n%s", out)
	}
	if out, stderr, err := demoRun(t, whole, dir); err != nil || !strings.Contains(out, "importing again") {
		t.Errorf("%v\n%s%s", err, out, stderr)
	}
	if out, stderr, err := demoRun(t, whole, dir); err != nil || strings.Contains(out, "import") {
		t.Errorf("%v\n%s%s", err, out, stderr)
	}
}

// A collection of the demo's name that is something else is left alone.
func TestDemoRefusesAnotherCollection(t *testing.T) {
	dir := t.TempDir()
	s, err := serveChild(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.kill)
	if r := runSegue(t.Context(), "collection", "create", demoCollection, "--dim", "3", "--metric", "l2", "--addr", s.addr); r.code != exitOK {
		t.Fatal(r.stderr)
	}
	if code, err := s.stop(); code != 0 || err != nil {
		t.Fatal(code, err)
	}
	if _, _, err := demoRun(t, sampleOf(t, 1000, 1), dir); err == nil || !strings.Contains(err.Error(), "exists already") {
		t.Errorf("error %v", err)
	}
}

// A store of a demo with other attributes is left alone: its `added` was once a KEYWORD.
func TestDemoRefusesAnotherSchema(t *testing.T) {
	dir := t.TempDir()
	s, err := serveChild(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.kill)
	if r := runSegue(t.Context(), "collection", "create", demoCollection, "--dim", "64", "--metric", "cosine", "--attribute", "added:keyword",
		"--addr", s.addr); r.code != exitOK {
		t.Fatal(r.stderr)
	}
	if code, err := s.stop(); code != 0 || err != nil {
		t.Fatal(code, err)
	}
	if _, _, err := demoRun(t, sampleOf(t, 1000, 1), dir); err == nil || !strings.Contains(err.Error(), "another demo's attributes") {
		t.Errorf("error %v", err)
	}
}

// watcher is a writer that calls a function once when its text contains a line.
type watcher struct {
	mu   sync.Mutex
	text bytes.Buffer
	line string
	then func()
}

func (w *watcher) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text.Write(p)
	if w.then != nil && strings.Contains(w.text.String(), w.line) {
		w.then()
		w.then = nil
	}
	return len(p), nil
}

func TestDemoServesUntilToldToEnd(t *testing.T) {
	data, dir := sampleOf(t, 1000, 2), t.TempDir()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var errOut bytes.Buffer
	out := &watcher{line: "until Ctrl-C.\n"}
	out.then = func() {
		served := regexp.MustCompile(`Serving on (\S+) until`).FindStringSubmatch(out.text.String())
		c, err := client.Dial(served[1], client.Options{})
		if err != nil {
			t.Error(err)
			return
		}
		got, err := c.Collections.GetCollection(ctx, &seguev1.GetCollectionRequest{Name: demoCollection})
		if err != nil || got.GetCollection().GetItemCount() != data.trackCount {
			t.Errorf("while it serves: %v, %v", got, err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		cancel()
	}
	env := &environment{stdout: out, stderr: &errOut}
	o := demoOptions(env, dir)
	o.listen = taken.Addr().String() // as if another demo were running: any free port will do
	if err := runDemo(ctx, env, o, data, true, false); err != nil {
		t.Errorf("%v\n%s", err, errOut.String())
	}
	if out.then != nil {
		t.Errorf("it never served:\n%s", out.text.String())
	}
	if err := runDemo(t.Context(), env, o, data, false, true); err == nil {
		t.Error("a port that was asked for by name and is taken was no error")
	}
}

func TestDemoIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	env := &environment{stdout: &watcher{line: "Store in", then: cancel}, stderr: new(bytes.Buffer)}
	dir := t.TempDir()
	if err := runDemo(ctx, env, demoOptions(env, dir), sampleOf(t, 1000, 2), false, true); !isCanceled(err) {
		t.Errorf("error %v", err)
	}
	// The store was closed: it can be opened again, and the import is finished.
	if _, stderr, err := demoRun(t, sampleOf(t, 1000, 2), dir); err != nil {
		t.Errorf("%v\n%s", err, stderr)
	}
}

// What the demo says of the data is what the data says.
func TestDemoKnowsItsData(t *testing.T) {
	tracks, err := bundledTracks()
	if err != nil {
		t.Fatal(err)
	}
	playlists, err := bundledPlaylists()
	if err != nil {
		t.Fatal(err)
	}
	d := bundledData()
	if int64(len(tracks)) != d.trackCount || int64(len(playlists)) != d.playlistCount {
		t.Errorf("%d tracks, %d playlists", len(tracks), len(playlists))
	}
	names := map[string]string{}
	for _, r := range slices.Concat(tracks, playlists) {
		names[r.id] = r.name
	}
	for _, k := range slices.Concat(demoTracks(), demoLiked(), demoPlaylists()) {
		if names[k.id] != k.name {
			t.Errorf("%s is %s, the demo says %s", k.id, names[k.id], k.name)
		}
	}
}

// The whole demo, with its promises about time: SEGUE_LONG=1 runs it (about half a minute).
func TestWholeDemo(t *testing.T) {
	if os.Getenv("SEGUE_LONG") == "" {
		t.Skip("set SEGUE_LONG=1 to import all tracks")
	}
	dir := t.TempDir()
	for i, most := range []time.Duration{time.Minute, 5 * time.Second} {
		began := time.Now()
		r := runSegue(t.Context(), "demo", "--data", dir, "--listen", "127.0.0.1:0", "--once")
		took := time.Since(began)
		if r.code != exitOK || took > most || strings.Contains(r.stdout, "imported") != (i == 0) {
			t.Errorf("run %d: code %d after %v\n%s%s", i+1, r.code, took, r.stdout, r.stderr)
		}
		t.Logf("run %d took %v", i+1, took)
	}
}

// The requests of examples/ghz are requests of the API, about tracks of the demo.
func TestGhzFileFitsTheDemo(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "examples", "ghz", "neighbors.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Call string
		Data []json.RawMessage
	}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	if want := strings.ReplaceAll(seguev1.RetrievalService_NearestNeighbors_FullMethodName[1:], "/", "."); file.Call != want || len(file.Data) == 0 {
		t.Errorf("%d requests of %s, want %s", len(file.Data), file.Call, want)
	}
	tracks, err := bundledTracks()
	if err != nil {
		t.Fatal(err)
	}
	for _, raw := range file.Data {
		var r seguev1.NearestNeighborsRequest
		if err := protojson.Unmarshal(raw, &r); err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		if r.GetCollection() != demoCollection || !slices.ContainsFunc(tracks, func(b bundledRow) bool { return b.id == r.GetQuery().GetItemId() }) {
			t.Errorf("%s asks about nothing in the demo", raw)
		}
	}
}
