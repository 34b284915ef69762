package peers

import (
	"context"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/segue-ann/segue/loadtest"
)

const root = "../.."

// short bounds every run of a test.
func short(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// quick are options of a run of seconds.
func quick(t *testing.T) Options {
	return Options{
		Root: root, Dir: t.TempDir(), Sets: []string{"mnist784", "skewed"}, Limits: Limits{Rows: 1500, Queries: 60},
		Rounds: 1, Shot: 0.001, Note: t.Logf,
	}
}

// TestRun measures every library there is on little data: recalls must be those of working indexes, and the page must show them.
func TestRun(t *testing.T) {
	r, err := Run(short(t), quick(t))
	if missing := (*MissingError)(nil); errors.As(err, &missing) {
		t.Skipf("%v: `make bench-peers` installs it on Debian", missing)
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Sets) != 2 {
		t.Fatalf("%d sets", len(r.Sets))
	}
	for _, s := range r.Sets {
		var names []string
		for _, e := range s.Entries {
			names = append(names, e.Library)
			if e.Library == "coder" && s.Name == "skewed" {
				if !strings.Contains(e.Unsupported, "1500 rows") || len(e.Points) != 0 {
					t.Errorf("%+v", e)
				}
				continue
			}
			checkEntry(t, s, e)
		}
		if !slices.Equal(names, LibraryNames()) {
			t.Errorf("%s: libraries %v", s.Name, names)
		}
		checkSVG(t, s)
	}
	page := r.Markdown("plots")
	for _, part := range []string{"## mnist784", "## skewed", "| hnswlib | ", "1.00 / 1.00 / 1.00", "plots/skewed.svg", "Not measured: coder/hnsw"} {
		if !strings.Contains(page, part) {
			t.Errorf("the page has no %q", part)
		}
	}
}

// checkEntry holds one library on 1,500 rows to what any working one reaches.
func checkEntry(t *testing.T, s SetResult, e Entry) {
	t.Helper()
	value := 4.0 // bytes
	switch e.Library {
	case "faiss-sq8":
		value = 1
	case "segue-f16":
		value = 2
	}
	floor := map[string]float64{"faiss-sq8": 0.9, "coder": 0.05}[e.Library]
	if floor == 0 {
		floor = 0.98
	}
	if e.BuildSeconds <= 0 || e.BytesPerVector < value*float64(s.Dim) || e.BytesPerVector > 40*float64(s.Dim) || e.best() < floor {
		t.Errorf("%s: %s: build %v s, %v bytes, best recall %v", s.Name, e.Library, e.BuildSeconds, e.BytesPerVector, e.best())
	}
	for i, p := range e.Points {
		if p.Ef != efs[i] || p.QPS <= 0 || (p.Distances > 0) == strings.HasPrefix(e.Library, "faiss") || p.Recall < 0 || p.Recall > 1 {
			t.Errorf("%s: %s: %+v", s.Name, e.Library, p)
		}
	}
}

// checkSVG checks that the plot is well-formed and holds no number that is none.
func checkSVG(t *testing.T, s SetResult) {
	t.Helper()
	svg := s.SVG()
	d := xml.NewDecoder(strings.NewReader(svg))
	lines := 0
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "polyline" {
			lines++
		}
	}
	if strings.Contains(svg, "NaN") || strings.Contains(svg, "Inf") || lines < 1 {
		t.Errorf("%s: %d curves in %s", s.Name, lines, svg)
	}
}

// TestRunExtra asks a driver that is a shell script: it sees the commands of the protocol, and its answers are judged. Row 0 is its
// answer to everything, ten times.
func TestRunExtra(t *testing.T) {
	script, err := filepath.Abs("testdata/row0.sh")
	if err != nil {
		t.Fatal(err)
	}
	o := quick(t)
	o.Sets, o.Libraries = []string{"tracks"}, []string{"segue"}
	log := filepath.Join(t.TempDir(), "commands")
	o.Extra = []Extra{{"row0", []string{"sh", script, log}}, {"unable", []string{"sh", "-c", `echo '{}'; read -r line; echo '{"unsupported":true,"error":"cosine"}'`}}}
	r, err := Run(short(t), o)
	if err != nil {
		t.Fatal(err)
	}
	e := r.Sets[0].entry("row0")
	if e.BuildSeconds != 2.5 || e.BytesPerVector != 1e6/1500 || len(e.Points) != flat+1 {
		t.Errorf("%+v", e)
	}
	for _, p := range e.Points {
		// One of ten is right for the few queries near row 0; a row counts once however often it is named.
		if p.Recall < 0 || p.Recall > 0.1 || p.QPS < 59 || p.QPS > 61 {
			t.Errorf("%+v", p)
		}
	}
	if e := r.Sets[0].entry("unable"); e.Unsupported != "sh does not support cosine" {
		t.Errorf("%+v", e)
	}
	segue := r.Sets[0].entry("segue")
	checkEntry(t, r.Sets[0], segue)
	commands, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"build base=base.npy rows=1500 dim=64 metric=cosine m=16 ef_construction=200 threads=2 seed=1\n",
		"search queries=queries.npy rows=60 k=10 ef=10 passes=1 out=results.row0\n",
	} {
		if !strings.Contains(string(commands), want) {
			t.Errorf("%q is not in %q", want, commands)
		}
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	o := quick(t)
	o.Sets, o.Libraries = []string{"mnist784"}, []string{"segue"}
	o.Extra = []Extra{{"mute", []string{"sh", "-c", "while read -r line; do :; done"}}}
	o.Note = func(format string, _ ...any) {
		if strings.Contains(format, "building") {
			cancel()
		}
	}
	if _, err := Run(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestOptions(t *testing.T) {
	o := Options{Sets: []string{"sift"}, Libraries: []string{"annoy"}, Extra: []Extra{{Name: "x"}}, Rounds: 101, Shot: 11, Limits: Limits{Rows: 5}}
	o.EnsureDefaults()
	err := o.Validate()
	for _, field := range []string{"set is sift", "library is annoy", "extra is", "rounds is 101", "shot is 11", "limits is"} {
		if err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%q is not in %v", field, err)
		}
	}
	if option := (*loadtest.OptionError)(nil); !errors.As(err, &option) {
		t.Errorf("got %T", err)
	}
	o = Options{}
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		t.Error(err)
	}
}
