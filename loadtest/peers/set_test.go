package peers

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/segue-ann/segue/internal/dataset"
)

// TestSets: every set of the report is what it says, cut to a few rows.
func TestSets(t *testing.T) {
	dims := map[string]int{"mnist784": 784, "tracks": 64, "clustered": 128, "skewed": 64}
	for _, s := range Sets() {
		p, err := s.prepare(t.Context(), root, t.TempDir(), Limits{Rows: 200, Queries: 7}, t.Logf)
		if err != nil {
			t.Fatal(err)
		}
		if p.data.Rows() != 200 || p.data.NumQueries() != 7 || p.data.Dim != dims[s.Name] || p.data.Metric != s.Metric {
			t.Errorf("%s: %d rows, %d queries, %d values", s.Name, p.data.Rows(), p.data.NumQueries(), p.data.Dim)
		}
		for query := range slices.Chunk(p.data.Queries, p.data.Dim) {
			for row := range slices.Chunk(p.data.Base, p.data.Dim) {
				if slices.Equal(query, row) {
					t.Errorf("%s: a query is a row of the base", s.Name)
				}
			}
		}
		if s.Name == "tracks" {
			var sum float64
			for _, v := range p.data.Base[:64] {
				sum += float64(v) * float64(v)
			}
			if math.Abs(sum-1) > 1e-6 {
				t.Errorf("tracks: squared norm %v", sum)
			}
		}
	}
}

// TestPrepareAgain: a second run takes the files of the first, notices what is wrong with them, and does not take those of another
// size.
func TestPrepareAgain(t *testing.T) {
	s, dir := Sets()[3], t.TempDir()
	prepare := func(rows int) (*prepared, error) {
		return s.prepare(t.Context(), root, dir, Limits{Rows: rows, Queries: 5}, t.Logf)
	}
	first, err := prepare(100)
	if err != nil {
		t.Fatal(err)
	}
	base := filepath.Join(first.dir, baseFile)
	old := time.Unix(1e9, 0)
	if err := os.Chtimes(base, old, old); err != nil {
		t.Fatal(err)
	}
	again, err := prepare(100)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(base); err != nil || !info.ModTime().Equal(old) {
		t.Errorf("written again: %v", err)
	}
	if !slices.Equal(first.data.Base, again.data.Base) || again.dir != first.dir {
		t.Error("another base")
	}
	if other, err := prepare(50); err != nil || other.dir == first.dir || other.data.Rows() != 50 {
		t.Errorf("other size: %v", err)
	}

	// Neighbours of other vectors are refused, with the way out.
	wrong := make([]int32, 5*k)
	for i := range wrong {
		wrong[i] = int32(i % k)
	}
	if err := writeRows(filepath.Join(first.dir, neighborsFile), dataset.Int32, wrong, k, (*dataset.VectorWriter).WriteInt32); err != nil {
		t.Fatal(err)
	}
	if _, err := prepare(100); err == nil || !strings.Contains(err.Error(), "remove "+first.dir) {
		t.Errorf("got %v", err)
	}
}
