package peers

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/segue-ann/segue/examples/demo"
	"github.com/segue-ann/segue/internal/dataset"
	"github.com/segue-ann/segue/internal/groundtruth"
	"github.com/segue-ann/segue/loadtest"
)

// k is how many neighbours every search asks for.
const k = 10

// A Set is one data set: what it is called and how its vectors come about.
type Set struct {
	Name   string
	About  string // one line of the report
	Metric groundtruth.Metric

	// CoderRows is the size up to which coder/hnsw is asked to build; beyond, it takes too long for a benchmark.
	CoderRows int

	// make returns base and queries, rows of dim values. A base of limit rows is enough, if that is not 0.
	make func(root string, limit int) (base, queries []float32, dim int, err error)
}

// Sets returns the data sets, in the order of the report.
func Sets() []Set {
	return []Set{
		{
			Name: "mnist784", Metric: groundtruth.L2, CoderRows: 100_000, make: mnist,
			About: "images of handwritten digits, 60,000 x 784, L2; 2,000 other images ask (testdata/mnist784)",
		},
		{
			Name: "tracks", Metric: groundtruth.Cosine, CoderRows: 100_000, make: tracks,
			About: "embeddings of the demo's tracks x 64, cosine; every 63rd track is held out and asks (examples/demo)",
		},
		{
			Name: "clustered", Metric: groundtruth.L2, make: clustered,
			About: "generated, 500,000 x 128, L2: 1,000 unequal clusters that touch, each a cloud thick in 24 directions; 1,000 further rows ask",
		},
		{
			Name: "skewed", Metric: groundtruth.InnerProduct, make: skewed,
			About: "generated, 300,000 x 64, inner product: 300 genres, log-normal norms (sigma 0.5), so that a few rows are hubs; 1,000 further rows ask",
		},
	}
}

func mnist(root string, limit int) (base, queries []float32, dim int, err error) {
	dir := filepath.Join(root, "testdata", "mnist784")
	base, _, dim, err = dataset.ReadFloat32(filepath.Join(dir, "base_u8.npy.gz"), limit)
	if err != nil {
		return nil, nil, 0, err
	}
	queries, _, _, err = dataset.ReadFloat32(filepath.Join(dir, "query_u8.npy.gz"), 0)
	return base, queries, dim, err
}

// heldOut is the stride of the tracks that ask.
const heldOut = 63

func tracks(_ string, _ int) (base, queries []float32, dim int, err error) {
	all, _, dim, err := dataset.ReadFloat32FS(demo.FS, demo.TrackVectors, 0)
	if err != nil {
		return nil, nil, 0, err
	}
	row := 0
	for v := range slices.Chunk(all, dim) {
		if row++; row%heldOut == 0 {
			queries = append(queries, v...)
		} else {
			base = append(base, v...)
		}
	}
	return base, queries, dim, nil
}

const generatedQueries = 1000

func clustered(_ string, limit int) (base, queries []float32, dim int, err error) {
	const rows, dims = 500_000, 128
	base, queries = split(limit, rows, dims, func(n int) []float32 { return dataset.Embedded(1, n, dims, 1000, 24) })
	return base, queries, dims, nil
}

func skewed(_ string, limit int) (base, queries []float32, dim int, err error) {
	const rows, dims = 300_000, 64
	base, queries = split(limit, rows, dims, func(n int) []float32 { return dataset.SkewedNorms(1, n, dims, 300, 0.5) })
	return base, queries, dims, nil
}

// split generates a base of rows, or limit if that is not 0 and lower, and the queries after it.
func split(limit, rows, dim int, generate func(rows int) []float32) (base, queries []float32) {
	if limit > 0 {
		rows = min(rows, limit)
	}
	all := generate(rows + generatedQueries)
	return all[:rows*dim], all[rows*dim:]
}

// Limits shrink a set for a quick run. Zero means all there are.
type Limits struct {
	Rows    int
	Queries int
}

// Names of a prepared set's files in its directory. Vectors are .npy of float32, so that `segue bench ann` reads them too;
// under cosine they have unit length.
const (
	baseFile      = "base.npy"
	queriesFile   = "queries.npy"
	neighborsFile = "neighbors.npy"
)

// prepared is a set on disk and in memory.
type prepared struct {
	Set
	dir  string // absolute
	data *loadtest.ANNData
}

// prepare returns the set, from files below dir if an earlier run left them there. Root is the root of the repository. Cost
// without such files: the exact scan of every query.
func (s Set) prepare(ctx context.Context, root, dir string, l Limits, note func(string, ...any)) (*prepared, error) {
	// What the set is made of stands in its description, so another description means other files.
	tag := fnv.New32a()
	fmt.Fprintf(tag, "%s %+v", s.About, l)
	dir, err := filepath.Abs(filepath.Join(dir, fmt.Sprintf("%s-%08x", s.Name, tag.Sum32())))
	if err != nil {
		return nil, err
	}
	files := loadtest.ANNFiles{
		Base: filepath.Join(dir, baseFile), Queries: filepath.Join(dir, queriesFile), Neighbors: filepath.Join(dir, neighborsFile),
	}
	// The true neighbours are written last: without them the others may be a torn run's.
	if _, err := os.Stat(files.Neighbors); err != nil {
		note("%s: making vectors and true neighbours", s.Name)
		if err := s.write(ctx, root, dir, l); err != nil {
			return nil, fmt.Errorf("preparing %s: %w", s.Name, err)
		}
	}
	data, err := loadtest.LoadANNData(ctx, s.Metric, k, files)
	if err != nil {
		return nil, fmt.Errorf("%w (remove %s to make it anew)", err, dir)
	}
	return &prepared{Set: s, dir: dir, data: data}, nil
}

func (s Set) write(ctx context.Context, root, dir string, l Limits) error {
	base, queries, dim, err := s.make(root, l.Rows)
	if err != nil {
		return err
	}
	base, queries = head(base, l.Rows*dim), head(queries, l.Queries*dim)
	if s.Metric == groundtruth.Cosine {
		normalize(base, dim)
		normalize(queries, dim)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := writeRows(filepath.Join(dir, baseFile), dataset.Float32, base, dim, (*dataset.VectorWriter).Write); err != nil {
		return err
	}
	if err := writeRows(filepath.Join(dir, queriesFile), dataset.Float32, queries, dim, (*dataset.VectorWriter).Write); err != nil {
		return err
	}
	nearest, err := groundtruth.New(s.Metric, base, dim).TopKAll(ctx, queries, k, runtime.GOMAXPROCS(0))
	if err != nil {
		return err
	}
	var rows []int32
	for _, of := range nearest {
		for _, n := range of {
			rows = append(rows, int32(n.Row))
		}
	}
	return writeRows(filepath.Join(dir, neighborsFile), dataset.Int32, rows, len(nearest[0]), (*dataset.VectorWriter).WriteInt32)
}

// head returns the first n values, all if n is 0.
func head(values []float32, n int) []float32 {
	if n > 0 {
		return values[:min(n, len(values))]
	}
	return values
}

func normalize(vectors []float32, dim int) {
	for v := range slices.Chunk(vectors, dim) {
		var sum float64
		for _, x := range v {
			sum += float64(x) * float64(x)
		}
		for i := range v {
			v[i] = float32(float64(v[i]) / math.Sqrt(sum))
		}
	}
}

// writeRows writes values, rows of dim, to a new .npy file.
func writeRows[T any](path string, t dataset.DType, values []T, dim int, write func(*dataset.VectorWriter, []T) error) error {
	w, err := dataset.CreateVectors(path, t, int64(len(values)/dim), dim)
	if err != nil {
		return err
	}
	for row := range slices.Chunk(values, dim) {
		if err := write(w, row); err != nil {
			return errors.Join(err, w.Close())
		}
	}
	return w.Close()
}
