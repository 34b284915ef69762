package main

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/segue-ann/segue/examples/demo"
)

// TestRankingGoldens shows what each rule of ranking does to real tracks: a twentieth of the demo's, asked through the command line and
// a server, by exact search so that the answers are a matter of rules and not of luck. A file is a rule, and is there to be read: does a
// listener want this? `go test ./cmd/segue -run TestRankingGoldens -rewrite` writes the answers anew; read the difference.
//
//	segue          arguments of `segue neighbors` or `segue explain`, but for --addr, --collection and --exact, on one line or
//	               several; '...' keeps blanks. What it writes to stdout and stderr is the answer
//	setup          other arguments of segue, but for --addr, a line each: what the answers after it are about
//	matrix NAME    the ids of tracks: $DIR/NAME.npy then holds their vectors
func TestRankingGoldens(t *testing.T) {
	data := sampleOf(t, 20, 40)
	server, err := serveChild(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer server.kill()
	create := []string{"collection", "create", "tracks", "--addr", server.addr, "--dim", fmt.Sprint(demo.Dim), "--metric", "cosine", "--attribute", "markets:markets"}
	for _, spec := range demoSchema() {
		create = append(create, "--attribute", attributeSpec(spec))
	}
	if r := runSegue(t.Context(), create...); r.code != 0 {
		t.Fatalf("create: %+v", r)
	}
	if r := runSegue(t.Context(), "import", "--addr", server.addr, "--collection", "tracks", "--items", data.tracks.lines, "--vectors", data.tracks.vectors,
		"--profiles", data.playlists.lines, "--profile-vectors", data.playlists.vectors); r.code != 0 {
		t.Fatalf("import: %+v", r)
	}
	dir := t.TempDir()
	datadriven.Walk(t, "testdata/ranking", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "segue":
				args := words(strings.ReplaceAll(d.Input, "$DIR", dir))
				args = append(args, "--addr", server.addr, "--collection", "tracks", "--exact")
				r := runSegue(t.Context(), args...)
				return r.stdout + r.stderr
			case "setup":
				for line := range strings.Lines(d.Input) {
					if r := runSegue(t.Context(), append(words(line), "--addr", server.addr)...); r.code != 0 {
						t.Fatalf("%s: %s: %+v", d.Pos, line, r)
					}
				}
				return ""
			case "matrix":
				var rows [][]float32
				for _, id := range strings.Fields(d.Input) {
					rows = append(rows, bundledVector(t, id))
				}
				if err := saveMatrix(filepath.Join(dir, d.CmdArgs[0].Key+".npy"), len(rows[0]), rows); err != nil {
					t.Fatal(err)
				}
				return ""
			}
			t.Fatalf("%s: unknown command %s", d.Pos, d.Cmd)
			return ""
		})
	})
}

// words splits a command line at blanks outside of single quotes.
func words(line string) []string {
	var out []string
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			out = append(out, part)
		} else {
			out = append(out, strings.Fields(part)...)
		}
	}
	return out
}

// bundledVector returns the vector of a track of the demo.
func bundledVector(t *testing.T, id string) []float32 {
	t.Helper()
	tracks, err := bundledTracks()
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(tracks, func(r bundledRow) bool { return r.id == id })
	if at < 0 {
		t.Fatalf("no track %s", id)
	}
	return tracks[at].vector
}
