package main

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/rogpeppe/go-internal/testscript"
)

// TestScripts runs testdata/script/*.txtar. Beside the usual commands a script has
//
//	segue ...             the command line, in a process of its own
//	server start DIR ...  serve DIR in the background, with more flags; $ADDR is where
//	server stop           end it gracefully
//	matrix FILE TEXT      make a matrix in the format of FILE's name from TEXT, a row of numbers a line
//	parquet FILE LINES    make a Parquet file from JSON lines of tracks
//	gzip FILE             compress FILE to FILE.gz
//	numbers N DIM         make numbers.jsonl of N items with vectors of DIM numbers
//	$ROARING              the directory of Roaring bitmaps that other libraries wrote
//	damage DIR SUFFIX     flip a bit in the middle of the largest file of DIR with that suffix
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: false,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			bitmaps, err := filepath.Abs("../../engine/filter/testdata/roaring")
			if err != nil {
				return err
			}
			e.Setenv("ROARING", bitmaps)
			e.Values["server"] = &scriptServer{}
			e.Defer(func() { e.Values["server"].(*scriptServer).kill() })
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"server":  cmdServer,
			"matrix":  cmdMatrix,
			"parquet": cmdParquet,
			"gzip":    cmdGzip,
			"numbers": cmdNumbers,
			"damage":  cmdDamage,
		},
	})
}

// scriptServer is the server of one script, if it has one running.
type scriptServer struct{ running *child }

func (s *scriptServer) kill() {
	if s.running != nil {
		s.running.kill()
		s.running = nil
	}
}

func cmdServer(ts *testscript.TestScript, _ bool, args []string) {
	s := ts.Value("server").(*scriptServer)
	switch {
	case len(args) >= 2 && args[0] == "start" && s.running == nil:
		c, err := serveChild(ts.MkAbs(args[1]), args[2:]...)
		ts.Check(err)
		s.running = c
		ts.Setenv("ADDR", c.addr)
	case len(args) == 1 && args[0] == "stop" && s.running != nil:
		c := s.running
		s.running = nil
		if code, err := c.stop(); code != 0 || err != nil {
			ts.Fatalf("server ended with code %d, %v\n%s", code, err, c.stderr)
		}
		if c.stderr.Len() > 0 {
			ts.Logf("server said: %s", c.stderr)
		}
	default:
		ts.Fatalf("usage: server start DIR | server stop")
	}
}

func cmdMatrix(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: matrix FILE TEXT")
	}
	var rows [][]float32
	for line := range strings.Lines(ts.ReadFile(args[1])) {
		var row []float32
		for _, word := range strings.Fields(line) {
			x, err := strconv.ParseFloat(word, 32)
			ts.Check(err)
			row = append(row, float32(x))
		}
		rows = append(rows, row)
	}
	ts.Check(saveMatrix(ts.MkAbs(args[0]), len(rows[0]), rows))
}

// parquetTrack is a row of the files that cmdParquet makes.
type parquetTrack struct {
	ID       string    `parquet:"id"`
	Vector   []float32 `parquet:"vector,list"`
	Title    *string   `parquet:"title,optional"`
	Artists  []string  `parquet:"artists,list"`
	Year     *int32    `parquet:"year,optional"`
	Tempo    *float64  `parquet:"tempo,optional"`
	Explicit *bool     `parquet:"explicit,optional"`
}

func cmdParquet(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: parquet FILE LINES")
	}
	var rows []parquetTrack
	for line := range strings.Lines(ts.ReadFile(args[1])) {
		var row parquetTrack
		ts.Check(json.Unmarshal([]byte(line), &row))
		rows = append(rows, row)
	}
	ts.Check(saveParquet(ts.MkAbs(args[0]), rows))
}

func saveParquet(path string, rows []parquetTrack) error {
	return parquet.WriteFile(path, rows, parquet.Compression(&parquet.Zstd))
}

func cmdGzip(ts *testscript.TestScript, _ bool, args []string) {
	f, err := os.Create(ts.MkAbs(args[0]) + ".gz")
	ts.Check(err)
	z := gzip.NewWriter(f)
	_, err = z.Write([]byte(ts.ReadFile(args[0])))
	ts.Check(err)
	ts.Check(z.Close())
	ts.Check(f.Close())
}

func cmdNumbers(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	dim, err := strconv.Atoi(args[1])
	ts.Check(err)
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"id":"n%d","n":%d,"vector":[%d`, i, i, i+1)
		for j := 1; j < dim; j++ {
			fmt.Fprintf(&b, ",%d", (i*j*j+i*7+j)%101)
		}
		b.WriteString("]}\n")
	}
	ts.Check(os.WriteFile(ts.MkAbs("numbers.jsonl"), []byte(b.String()), 0o644))
}

func cmdDamage(ts *testscript.TestScript, _ bool, args []string) {
	var largest string
	var size int64
	ts.Check(filepath.WalkDir(ts.MkAbs(args[0]), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, args[1]) {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Size() > size {
			largest, size = path, info.Size()
		}
		return err
	}))
	if size == 0 {
		ts.Fatalf("no file *%s in %s", args[1], args[0])
	}
	b, err := os.ReadFile(largest)
	ts.Check(err)
	b[len(b)/2] ^= 0x10
	ts.Check(os.WriteFile(largest, b, 0o644))
	ts.Logf("damaged %s at byte %d of %d", filepath.Base(largest), len(b)/2, len(b))
}
