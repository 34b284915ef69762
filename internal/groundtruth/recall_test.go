package groundtruth

import (
	"context"
	"math"
	"os"
	"testing"

	"github.com/segue-ann/segue/internal/dataset"
	"pgregory.net/rapid"
)

// TestRecallTable walks through what counts, on a line of points.
func TestRecallTable(t *testing.T) {
	base := []float32{0, 1, 1, 1, 2, 3} // one dimension; rows 1..3 tie
	o := New(L2, base, 1)
	query := []float32{0}
	for _, tt := range []struct {
		k    int
		rows []uint32
		want float64
	}{
		{2, []uint32{0, 1}, 1},
		{2, []uint32{0, 3}, 1},               // a tie counts, whichever row
		{2, []uint32{3, 0}, 1},               // in any order
		{2, []uint32{1, 2}, 1},               // both within the k-th distance: recall by distance does not miss row 0
		{2, []uint32{0, 4}, 0.5},             // beyond it
		{2, []uint32{0, 0}, 0.5},             // twice the same row
		{2, []uint32{0}, 0.5},                // too few
		{2, nil, 0},                          // none
		{2, []uint32{0, 1, 2, 3}, 1},         // too many do not make up for more than k
		{4, []uint32{0, 1, 2, 3}, 1},         //
		{9, []uint32{0, 1, 2, 3, 4}, 5. / 6}, // k beyond the base asks for all of it
		{0, nil, 1},                          // nothing to find
	} {
		truths := o.Truths(query, [][]Neighbor{o.TopK(query, tt.k)})
		if got := o.Recall(query, truths, [][]uint32{tt.rows}); got != tt.want {
			t.Errorf("k %d, rows %v: recall %v, want %v", tt.k, tt.rows, got, tt.want)
		}
	}
}

// TestRecallOfTheTruthIsOne, and each true neighbour replaced by the farthest row costs its share, unless that ties.
func TestRecallProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := rapid.SampledFrom(metrics).Draw(t, "metric")
		dim := rapid.IntRange(1, 8).Draw(t, "dim")
		rows := rapid.IntRange(30, 60).Draw(t, "rows")
		k := rapid.IntRange(1, 10).Draw(t, "k")
		seed := rapid.Uint64().Draw(t, "seed")
		base, queries := dataset.Uniform(seed, rows, dim), dataset.Uniform(seed+1, 3, dim)
		o := New(m, base, dim)
		all, err := o.TopKAll(context.Background(), queries, rows, 1)
		if err != nil {
			t.Fatal(err)
		}
		nearest, results := make([][]Neighbor, len(all)), make([][]uint32, len(all))
		for i := range all {
			nearest[i] = all[i][:k]
			for _, n := range nearest[i] {
				results[i] = append(results[i], n.Row)
			}
		}
		truths := o.Truths(queries, nearest)
		if got := o.Recall(queries, truths, results); got != 1 {
			t.Fatalf("recall of the truth is %v", got)
		}
		lost := 0
		for i := range all {
			far := all[i][rows-1]
			if far.Distance > truths[i].Limit {
				results[i][rapid.IntRange(0, k-1).Draw(t, "lost")] = far.Row
				lost++
			}
		}
		want := 1 - float64(lost)/float64(3*k)
		if got := o.Recall(queries, truths, results); math.Abs(got-want) > 1e-12 {
			t.Fatalf("recall %v after losing %d of %d, want %v", got, lost, 3*k, want)
		}
	})
}

// TestTolerance: an order that float32 cannot tell does not cost recall; one that it can, does.
func TestTolerance(t *testing.T) {
	for _, m := range metrics {
		for _, tt := range []struct {
			off  float64 // relative difference of the second row's distance
			want int
		}{{0.5e-6, 1}, {3e-6, 0}} {
			// Both rows lie on circles such that the distance of the second is off times the scale greater.
			var base []float32
			switch m {
			case L2: // (1+off)^2 = 1 + 2 off
				base = []float32{1000, 0, float32(1000 * (1 + tt.off/2)), 0}
			case InnerProduct:
				base = []float32{1000, 0, float32(1000 * (1 - tt.off)), 0}
			case Cosine: // angles of distance 0.5 and 0.5 + off
				base = []float32{0.5, float32(math.Sqrt(0.75)), float32(0.5 - tt.off), float32(math.Sqrt(1 - (0.5-tt.off)*(0.5-tt.off)))}
			}
			query := []float32{0, 0}
			if m != L2 {
				query = []float32{1, 0}
			}
			o := New(m, base, 2)
			truth := o.Truth(query, o.TopK(query, 1))
			if got := o.Hits(query, truth, []uint32{1}); got != tt.want {
				t.Errorf("%v: a row %g farther counts %d, want %d (limit %v, distance %v)",
					m, tt.off, got, tt.want, truth.Limit, o.Distance(query, 1))
			}
		}
	}
}

// TestMNISTNeighbors recomputes the neighbours the data set came with.
func TestMNISTNeighbors(t *testing.T) {
	if testing.Short() {
		t.Skip("scans 60,000 rows of 784 values")
	}
	fsys := os.DirFS("../../testdata/mnist784")
	base, _, dim, err := dataset.ReadFloat32FS(fsys, "base_u8.npy.gz", 0)
	if err != nil {
		t.Fatal(err)
	}
	const queries = 64
	query, _, _, err := dataset.ReadFloat32FS(fsys, "query_u8.npy.gz", queries)
	if err != nil {
		t.Fatal(err)
	}
	theirs, _, width, err := dataset.ReadInt32FS(fsys, "neighbors_i32.npy.gz", queries)
	if err != nil {
		t.Fatal(err)
	}
	o := New(L2, base, dim)
	nearest, err := o.TopKAll(context.Background(), query, width, 2)
	if err != nil {
		t.Fatal(err)
	}
	for i, ours := range nearest {
		for j, n := range ours {
			// Pixels are whole numbers, so these distances are exact: rows may differ, where they tie.
			their := o.Distance(query[i*dim:(i+1)*dim], uint32(theirs[i*width+j]))
			if n.Distance != their {
				t.Fatalf("query %d, neighbour %d: distance %v, theirs %v", i, j, n.Distance, their)
			}
		}
	}
}
