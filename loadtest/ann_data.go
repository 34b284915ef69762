package loadtest

import (
	"context"
	"fmt"
	"math"
	"runtime"

	"github.com/segue-ann/segue/internal/dataset"
	"github.com/segue-ann/segue/internal/groundtruth"
)

// ANNFiles names the files of one data set; see package dataset for their formats.
type ANNFiles struct {
	Base      string
	Queries   string // "" to hold rows of the base out: every hundredth, or fewer so that they are no more than 1,000
	Neighbors string // rows of base by ascending distance, one line a query; "" to compute them
	Limit     int    // use the first Limit rows of base, all if 0; Neighbors of a limited base are computed again
}

// ANNData is vectors, queries and the truth about them for one metric and k.
type ANNData struct {
	Metric  groundtruth.Metric
	K       int
	Dim     int
	Base    []float32 // rows of Dim values
	Queries []float32 // rows of Dim values

	// TruthComputed says that the truth was not taken from a file.
	TruthComputed bool

	oracle *groundtruth.Oracle
	truths []groundtruth.Truth // by query
}

// Rows returns the number of base rows.
func (d *ANNData) Rows() int { return len(d.Base) / d.Dim }

// NumQueries returns the number of queries.
func (d *ANNData) NumQueries() int { return len(d.Queries) / d.Dim }

// Recall returns the share of the true neighbours that results found: results[i] are the rows found for query i, at most K of
// them. A row that is not in the base panics.
func (d *ANNData) Recall(results [][]uint32) float64 {
	return d.oracle.Recall(d.Queries, d.truths, results)
}

func (d *ANNData) query(i int) []float32 { return d.Queries[i*d.Dim : (i+1)*d.Dim] }

// DataError says what is wrong with a data set.
type DataError struct {
	Part string // base, queries or neighbors
	Row  int    // counted from 0; -1 when it is about all
	Rule string
}

func (e *DataError) Error() string {
	if e.Row < 0 {
		return fmt.Sprintf("%s: %s", e.Part, e.Rule)
	}
	return fmt.Sprintf("%s: row %d: %s", e.Part, e.Row, e.Rule)
}

// LoadANNData reads files and prepares them as [NewANNData] does.
func LoadANNData(ctx context.Context, m groundtruth.Metric, k int, files ANNFiles) (*ANNData, error) {
	limit := 0
	if files.Limit > 0 {
		limit = files.Limit + 1 // one more, to see whether the limit cuts anything off
	}
	base, rows, dim, err := dataset.ReadFloat32(files.Base, limit)
	if err != nil {
		return nil, err
	}
	limited := files.Limit > 0 && rows > files.Limit
	if limited {
		base = base[:files.Limit*dim]
	}
	if files.Queries == "" {
		if files.Neighbors != "" {
			return nil, &DataError{"neighbors", -1, "neighbours are given, but not the queries they are of"}
		}
		base, queries := holdOut(base, dim)
		return NewANNData(ctx, m, k, base, queries, dim, nil)
	}
	queries, n, queryDim, err := dataset.ReadFloat32(files.Queries, 0)
	if err != nil {
		return nil, err
	}
	if queryDim != dim {
		return nil, &DataError{"queries", -1, fmt.Sprintf("dimension %d, the base has %d", queryDim, dim)}
	}
	var neighbors [][]uint32
	if files.Neighbors != "" && !limited {
		rows, lines, width, err := dataset.ReadInt32(files.Neighbors, 0)
		if err != nil {
			return nil, err
		}
		if lines != n {
			return nil, &DataError{"neighbors", -1, fmt.Sprintf("%d rows for %d queries", lines, n)}
		}
		neighbors = make([][]uint32, n)
		for i := range neighbors {
			for _, row := range rows[i*width : (i+1)*width] {
				neighbors[i] = append(neighbors[i], uint32(row)) // a negative row is beyond every base
			}
		}
	}
	return NewANNData(ctx, m, k, base, queries, dim, neighbors)
}

// holdOut takes rows that are evenly spread out of base.
func holdOut(base []float32, dim int) (rest, queries []float32) {
	const most = 1000
	rows := len(base) / dim
	stride := max(100, (rows+most-1)/most)
	for row := range rows {
		v := base[row*dim : (row+1)*dim]
		if row%stride == stride/2 || rows <= stride/2 && row == rows-1 {
			queries = append(queries, v...)
		} else {
			rest = append(rest, v...)
		}
	}
	return rest, queries
}

// NewANNData checks base and queries, rows of dim values, and works out the truth on all processors, or takes it from
// neighbors if that is not nil: neighbors[i] are the nearest rows of query i, nearest first, at least k or all there are.
// Values must be finite, and no vector zero for Cosine. Errors are [*DataError] or the context's.
// Cost: rows x queries distances in float64, unless neighbors are given.
func NewANNData(
	ctx context.Context, m groundtruth.Metric, k int, base, queries []float32, dim int, neighbors [][]uint32,
) (*ANNData, error) {
	if k < 1 {
		return nil, &DataError{"queries", -1, fmt.Sprintf("k is %d, at least 1 is needed", k)}
	}
	d := &ANNData{Metric: m, K: k, Dim: dim, Base: base, Queries: queries}
	if err := checkVectors("base", m, base, dim); err != nil {
		return nil, err
	}
	if err := checkVectors("queries", m, queries, dim); err != nil {
		return nil, err
	}
	d.oracle = groundtruth.New(m, base, dim)
	var (
		nearest [][]groundtruth.Neighbor
		err     error
	)
	if neighbors != nil {
		nearest, err = d.checkNeighbors(ctx, neighbors)
	} else {
		d.TruthComputed = true
		nearest, err = d.oracle.TopKAll(ctx, queries, k, runtime.GOMAXPROCS(0))
	}
	if err != nil {
		return nil, err
	}
	d.truths = d.oracle.Truths(queries, nearest)
	return d, nil
}

func checkVectors(part string, m groundtruth.Metric, vectors []float32, dim int) error {
	if len(vectors) == 0 {
		return &DataError{part, -1, "no rows"}
	}
	for row := range len(vectors) / dim {
		zero := true
		for i, v := range vectors[row*dim : (row+1)*dim] {
			if f := float64(v); math.IsNaN(f) || math.IsInf(f, 0) {
				return &DataError{part, row, fmt.Sprintf("value %d is %v", i, v)}
			}
			zero = zero && v == 0
		}
		if zero && m == groundtruth.Cosine {
			return &DataError{part, row, "a zero vector has no cosine"}
		}
	}
	return nil
}

// neighborSample is how many queries of given neighbours are compared with the scan.
const neighborSample = 8

// checkNeighbors returns the first k of given neighbours with their distances. It refuses what cannot be the truth:
// neighbours of another base or metric would make every engine look bad in a believable way.
func (d *ANNData) checkNeighbors(ctx context.Context, neighbors [][]uint32) ([][]groundtruth.Neighbor, error) {
	if len(neighbors) != d.NumQueries() {
		return nil, &DataError{"neighbors", -1, fmt.Sprintf("%d rows for %d queries", len(neighbors), d.NumQueries())}
	}
	want := min(d.K, d.Rows())
	nearest := make([][]groundtruth.Neighbor, len(neighbors))
	for i, rows := range neighbors {
		if len(rows) < want {
			return nil, &DataError{"neighbors", i, fmt.Sprintf("%d neighbours, %d are needed", len(rows), want)}
		}
		seen := make(map[uint32]bool, want)
		for j, row := range rows[:want] {
			if int64(row) >= int64(d.Rows()) || seen[row] {
				return nil, &DataError{"neighbors", i, fmt.Sprintf("row %d is repeated or not in the base", int32(row))}
			}
			seen[row] = true
			n := groundtruth.Neighbor{Row: row, Distance: d.oracle.Distance(d.query(i), row)}
			if j > 0 && d.oracle.Truth(d.query(i), []groundtruth.Neighbor{n}).Limit < nearest[i][j-1].Distance {
				return nil, &DataError{"neighbors", i, fmt.Sprintf("neighbour %d is nearer by %v than the one before it: not of this base and metric", j, d.Metric)}
			}
			nearest[i] = append(nearest[i], n)
		}
	}
	for i := 0; i < len(nearest); i += max(1, len(nearest)/neighborSample) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		scanned := d.oracle.TopK(d.query(i), want)
		if truth := d.oracle.Truth(d.query(i), scanned); nearest[i][want-1].Distance > truth.Limit {
			return nil, &DataError{"neighbors", i, fmt.Sprintf("nearer rows by %v are in the base: not of this base and metric", d.Metric)}
		}
	}
	return nearest, nil
}
