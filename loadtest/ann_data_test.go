package loadtest

import (
	"context"
	"errors"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/segue-ann/segue/internal/dataset"
	"github.com/segue-ann/segue/internal/groundtruth"
)

// writeVectors writes rows of dim values to a file in dir and returns its path.
func writeVectors(t *testing.T, dir, name string, dtype dataset.DType, dim int, data []float32) string {
	t.Helper()
	path := filepath.Join(dir, name)
	w, err := dataset.CreateVectors(path, dtype, int64(len(data)/dim), dim)
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

// writeNeighbors writes the exact k nearest rows of every query.
func writeNeighbors(t *testing.T, dir string, m groundtruth.Metric, base, queries []float32, dim, k int) string {
	t.Helper()
	all, err := groundtruth.New(m, base, dim).TopKAll(context.Background(), queries, k, 1)
	if err != nil {
		t.Fatal(err)
	}
	var rows []float32
	for _, nearest := range all {
		for _, n := range nearest {
			rows = append(rows, float32(n.Row))
		}
	}
	return writeVectors(t, dir, "neighbors.npy.gz", dataset.Int32, k, rows)
}

// TestLoadANNData: the truth is the same whether it comes from a file or is computed, and a limit makes a file useless.
func TestLoadANNData(t *testing.T) {
	const rows, queries, dim, k = 300, 20, 6, 5
	for _, m := range []groundtruth.Metric{groundtruth.Cosine, groundtruth.InnerProduct, groundtruth.L2} {
		all := dataset.SkewedNorms(1, rows+queries, dim, 5, 0.8)
		base, query := all[:rows*dim], all[rows*dim:]
		dir := t.TempDir()
		files := ANNFiles{
			Base:    writeVectors(t, dir, "base.npy", dataset.Float32, dim, base),
			Queries: writeVectors(t, dir, "queries.npy.zst", dataset.Float32, dim, query),
		}
		neighbors := writeNeighbors(t, dir, m, base, query, dim, 2*k)
		for _, tt := range []struct {
			limit    int
			given    bool
			rows     int
			computed bool
		}{
			{0, false, rows, true},
			{0, true, rows, false},
			{rows, true, rows, false},
			{rows + 5, true, rows, false},
			{rows - 1, true, rows - 1, true},
			{40, true, 40, true},
			{3, false, 3, true}, // fewer rows than k
		} {
			files.Limit, files.Neighbors = tt.limit, ""
			if tt.given {
				files.Neighbors = neighbors
			}
			d, err := LoadANNData(context.Background(), m, k, files)
			if err != nil {
				t.Fatal(err)
			}
			if d.Rows() != tt.rows || d.NumQueries() != queries || d.Dim != dim || d.TruthComputed != tt.computed {
				t.Errorf("%v, %+v: %d rows, %d queries, computed %v", m, tt, d.Rows(), d.NumQueries(), d.TruthComputed)
			}
			o := groundtruth.New(m, base[:tt.rows*dim], dim)
			for i, truth := range d.truths {
				if want := o.Truth(d.query(i), o.TopK(d.query(i), k)); truth != want {
					t.Errorf("%v, %+v, query %d: truth %+v, want %+v", m, tt, i, truth, want)
				}
			}
		}
	}
}

// TestDataErrors gives every kind of data that cannot be measured with.
func TestDataErrors(t *testing.T) {
	base := []float32{1, 0, 2, 0, 3, 0, 4, 0}
	query := []float32{0, 0.5}
	nan, inf := float32(math.NaN()), float32(math.Inf(-1))
	for _, tt := range []struct {
		metric    groundtruth.Metric
		k         int
		base      []float32
		queries   []float32
		neighbors [][]uint32
		want      string // "" if it is fine
	}{
		{groundtruth.L2, 2, base, query, [][]uint32{{0, 1}}, ""},
		{groundtruth.L2, 2, base, query, [][]uint32{{0, 1, 99}}, ""}, // only the first k matter
		{groundtruth.L2, 9, base, query, [][]uint32{{0, 1, 2, 3}}, ""},
		{groundtruth.L2, 0, base, query, nil, "k is 0"},
		{groundtruth.L2, 1, nil, query, nil, "base: no rows"},
		{groundtruth.L2, 1, base, nil, nil, "queries: no rows"},
		{groundtruth.L2, 1, []float32{1, 2, 3, nan}, query, nil, "base: row 1: value 1 is NaN"},
		{groundtruth.L2, 1, base, []float32{inf, 0}, nil, "queries: row 0: value 0 is -Inf"},
		{groundtruth.L2, 1, []float32{0, 0}, query, nil, ""},
		{groundtruth.Cosine, 1, []float32{1, 1, 0, 0}, query, nil, "base: row 1: a zero vector"},
		{groundtruth.Cosine, 1, base, []float32{0, 0}, nil, "queries: row 0: a zero vector"},
		{groundtruth.L2, 2, base, query, [][]uint32{}, "neighbors: 0 rows for 1 queries"},
		{groundtruth.L2, 2, base, query, [][]uint32{{0}}, "neighbors: row 0: 1 neighbours, 2 are needed"},
		{groundtruth.L2, 2, base, query, [][]uint32{{0, 4}}, "row 4 is repeated or not in the base"},
		{groundtruth.L2, 2, base, query, [][]uint32{{0, math.MaxUint32}}, "row -1 is repeated or not in the base"},
		{groundtruth.L2, 2, base, query, [][]uint32{{0, 0}}, "row 0 is repeated"},
		{groundtruth.L2, 2, base, query, [][]uint32{{1, 0}}, "neighbour 1 is nearer by l2"},
		{groundtruth.L2, 2, base, query, [][]uint32{{0, 2}}, "nearer rows by l2 are in the base"},
		{groundtruth.InnerProduct, 2, base, []float32{1, 0}, [][]uint32{{0, 1}}, "neighbour 1 is nearer by ip"}, // those of L2
	} {
		_, err := NewANNData(context.Background(), tt.metric, tt.k, tt.base, tt.queries, 2, tt.neighbors)
		if tt.want == "" {
			if err != nil {
				t.Errorf("%v: %v", tt, err)
			}
			continue
		}
		var fault *DataError
		if !errors.As(err, &fault) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v: got %v, want %q", tt, err, tt.want)
		}
	}
}

func TestLoadErrors(t *testing.T) {
	dir := t.TempDir()
	two := writeVectors(t, dir, "two.npy", dataset.Float32, 2, []float32{1, 2, 3, 4})
	three := writeVectors(t, dir, "three.npy", dataset.Float32, 3, []float32{1, 2, 3})
	ints := writeVectors(t, dir, "ints.npy", dataset.Int32, 1, []float32{0})
	for _, tt := range []struct {
		files ANNFiles
		want  string
	}{
		{ANNFiles{Base: filepath.Join(dir, "none.npy"), Queries: two}, "no such file"},
		{ANNFiles{Base: two, Queries: filepath.Join(dir, "none.npy")}, "no such file"},
		{ANNFiles{Base: two, Queries: two, Neighbors: filepath.Join(dir, "none.npy")}, "no such file"},
		{ANNFiles{Base: two, Queries: three}, "dimension 3, the base has 2"},
		{ANNFiles{Base: two, Queries: two, Neighbors: two}, "integers are wanted"},
		{ANNFiles{Base: two, Queries: two, Neighbors: ints}, "1 rows for 2 queries"},
	} {
		_, err := LoadANNData(context.Background(), groundtruth.L2, 1, tt.files)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: got %v, want %q", tt.files, err, tt.want)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := LoadANNData(ctx, groundtruth.L2, 1, ANNFiles{Base: two, Queries: two}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

// TestHoldOut: every row is in one of the two, in order, and some ask whatever the number of rows.
func TestHoldOut(t *testing.T) {
	const dim = 2
	for _, rows := range []int{0, 1, 2, 50, 51, 99, 100, 101, 1000, 100_000, 123_457} {
		base := make([]float32, rows*dim)
		for i := range base {
			base[i] = float32(i)
		}
		rest, queries := holdOut(base, dim)
		n := len(queries) / dim
		if len(rest)+len(queries) != len(base) || n > 1000 || n > max(1, (rows+99)/100) || rows > 0 && n == 0 {
			t.Errorf("%d rows: %d ask, %d are left", rows, n, len(rest)/dim)
		}
		if !slices.IsSorted(rest) || !slices.IsSorted(queries) {
			t.Errorf("%d rows: out of order", rows)
		}
		all := slices.Sorted(slices.Values(slices.Concat(rest, queries)))
		if !slices.Equal(all, base) {
			t.Errorf("%d rows: not the rows of the base", rows)
		}
	}
}
