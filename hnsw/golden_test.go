package hnsw_test

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/segue-ann/segue/hnsw"
)

// goldens are images that some version wrote. Those of earlier versions were written by the last program of that version and are never
// written again; SEGUE_UPDATE_GOLDEN=1 writes the ones of this version.
var goldens = []struct {
	name    string
	options hnsw.Options
	nibbles bool
	older   bool
}{
	{name: "image-v1", options: hnsw.Options{Dim: 8, Metric: hnsw.Cosine, M: 4}, older: true},
	{name: "image-v2", options: hnsw.Options{Dim: 256, Metric: hnsw.L2, M: 4}, nibbles: true, older: true},
	{name: "image-v3", options: hnsw.Options{Dim: 256, Metric: hnsw.L2, M: 4}, nibbles: true},
	{name: "image-v3-float16", options: hnsw.Options{Dim: 8, Metric: hnsw.InnerProduct, M: 4, Precision: hnsw.Float16}},
}

const goldenLive, goldenDeleted = 28, 4

// goldenVectors are of components that compress well: few of them, of few values.
func goldenVectors(dim int) [][]float32 {
	rng := rand.New(rand.NewPCG(uint64(dim), 17))
	all := make([][]float32, goldenLive+goldenDeleted)
	for i := range all {
		all[i] = make([]float32, dim)
		for range 8 {
			all[i][rng.IntN(dim)] += float32(rng.IntN(16)-8)/4 + 0.125
		}
	}
	return all
}

// goldenImage builds the index that a golden holds: vectors in order, the first few deleted.
func goldenImage(t *testing.T, o hnsw.Options) encoded {
	t.Helper()
	o.MaxSlots, o.Seed = 64, 9
	x := newIndex(t, o)
	hnsw.FitAt(x, 16)
	slots := insertAll(t, x, goldenVectors(o.Dim))
	for _, slot := range slots[:goldenDeleted] {
		if err := x.Delete(slot); err != nil {
			t.Fatal(err)
		}
	}
	if _, ok := hnsw.Codec(x); !ok {
		t.Fatal("walks read vectors, a golden is to have codes")
	}
	return snapshotOf(t, x)
}

// imageText is a line for the header and for each slab: what it is, and its bytes in hex.
func imageText(e encoded) string {
	var b strings.Builder
	fmt.Fprintf(&b, "header 0 %x\n", e.Header)
	for _, s := range e.Sections {
		for n, slab := range e.Slabs[s.Name] {
			fmt.Fprintf(&b, "%s %d %x\n", s.Name, n, slab)
		}
	}
	return b.String()
}

func parseImageText(t *testing.T, text string) (e encoded) {
	t.Helper()
	e.Slabs = map[string][][]byte{}
	for line := range strings.Lines(text) {
		var name, digits string
		var n int
		if _, err := fmt.Sscan(line, &name, &n, &digits); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		b, err := hex.DecodeString(digits)
		if err != nil {
			t.Fatal(err)
		}
		if name == "header" {
			e.Header = b
		} else {
			e.Slabs[name] = append(e.Slabs[name], b)
		}
	}
	return e
}

func readGolden(t *testing.T, name string) string {
	t.Helper()
	f, err := os.Open(filepath.Join("testdata", name+".gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func writeGolden(t *testing.T, name, text string) {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := io.WriteString(z, text); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join("testdata", name+".gz"), b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestGoldenImages: images of every version become indexes that are whole and find what an exact scan of their vectors finds, and
// those of this version are written again byte for byte.
func TestGoldenImages(t *testing.T) {
	for _, g := range goldens {
		if os.Getenv("SEGUE_UPDATE_GOLDEN") != "" && !g.older {
			writeGolden(t, g.name, imageText(goldenImage(t, g.options)))
		}
		text := readGolden(t, g.name)
		e := parseImageText(t, text)
		r, err := hnsw.NewRestorer(e.Header, hnsw.RestoreOptions{MaxSlots: 64})
		if err != nil {
			t.Fatalf("%s: %v", g.name, err)
		}
		e.Sections = r.Sections()
		r.Close()
		x := restore(t, e, 64)
		if err := x.Check(); err != nil {
			t.Errorf("%s: %v", g.name, err)
		}
		if _, ok := hnsw.Codec(x); !ok || hnsw.WalksOnNibbles(x) != g.nibbles || x.Len() != goldenLive || x.Slots() != goldenLive+goldenDeleted {
			t.Errorf("%s: codes %v, nibbles %v, %d live of %d slots", g.name, ok, hnsw.WalksOnNibbles(x), x.Len(), x.Slots())
		}
		for slot, vec := range goldenVectors(g.options.Dim)[goldenDeleted:] {
			if !x.Holds(uint32(goldenDeleted+slot), vec) {
				t.Errorf("%s: slot %d holds another vector", g.name, goldenDeleted+slot)
			}
		}
		for _, q := range gaussian(rand.New(rand.NewPCG(3, 3)), 20, g.options.Dim, 1) {
			s := x.Acquire()
			found, _, err := s.Search(t.Context(), q, hnsw.SearchParams{K: 10, Ef: goldenLive})
			found = slices.Clone(found)
			want, _, exactErr := s.Search(t.Context(), q, hnsw.SearchParams{K: 10, Exact: true})
			if diff := cmp.Diff(want, found); err != nil || exactErr != nil || diff != "" {
				t.Errorf("%s: %v, %v\n%s", g.name, err, exactErr, diff)
			}
			s.Release()
		}
		again := snapshotOf(t, x)
		if g.older {
			if diff := cmp.Diff(e.Slabs, again.Slabs); diff != "" {
				t.Errorf("%s: the slabs become others:\n%s", g.name, diff)
			}
		} else if imageText(again) != text {
			t.Errorf("%s: the format has changed; if that is meant, see docs/formats/index.md", g.name)
		}
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestGoldenCalibration: the bytes of a calibration, and what a reader makes of them.
func TestGoldenCalibration(t *testing.T) {
	x := newIndex(t, hnsw.Options{Dim: 12, Metric: hnsw.L2, MaxSlots: 64})
	const name = "calibration-v1"
	describe := func(b []byte) string {
		c, err := x.ParseCalibration(b)
		if err != nil {
			t.Fatal(err)
		}
		if again := x.AppendCalibration(nil, c); !bytes.Equal(again, b) {
			t.Errorf("%x becomes %x", b, again)
		}
		text := fmt.Sprintf("bytes %x\nsample %d\n", b, c.Sample())
		for _, curve := range c.Curves() {
			text += fmt.Sprintf("%+v\n", curve)
		}
		return text
	}
	if os.Getenv("SEGUE_UPDATE_GOLDEN") != "" {
		y, c := calibrated(t, 300, hnsw.CalibrateOptions{Sample: 10})
		writeGolden(t, name, describe(y.AppendCalibration(nil, c)))
	}
	text := readGolden(t, name)
	digits, _, _ := strings.Cut(strings.TrimPrefix(text, "bytes "), "\n")
	b, err := hex.DecodeString(digits)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(text, describe(b)); diff != "" {
		t.Errorf("the format has changed; if that is meant, see docs/formats/calibration.md:\n%s", diff)
	}
}
