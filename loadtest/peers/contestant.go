package peers

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"github.com/segue-ann/segue/loadtest"
)

// A contestant is a library with its parameters, on one set. It belongs to one goroutine.
type contestant interface {
	// build makes the index.
	build(ctx context.Context, s *prepared) (built, error)
	// search asks every query passes times at ef, on one thread, and fills results[i] with the rows of query i.
	search(ctx context.Context, ef, passes int, results [][]uint32) (shot, error)
	// work returns distances per query at ef, and whether the library tells.
	work(ctx context.Context, ef int) (float64, bool, error)
	close() error
}

// built is what a build took.
type built struct {
	Seconds float64 // wall time
	Bytes   float64 // per vector, vectors included
}

// shot is what one search command took.
type shot struct {
	Queries int
	Seconds float64 // of the processor, on the searching thread
}

// Parameters of the contest. Those of Segue and hnswlib are their usual ones; Faiss counts links as hnswlib does, M above
// and 2 M at level 0, and is measured at the M its users choose.
const (
	buildThreads = 2

	segueM, segueEfConstruction     = 16, 100
	coderM, coderEfConstruction     = 16, 100
	hnswlibM, hnswlibEfConstruction = 16, 200
	faissM, faissEfConstruction     = 32, 100
)

// A Library is how a contestant is called and made.
type Library struct {
	Name  string
	About string
	make  func(s *prepared) (contestant, error)
}

// inProcess is an engine of package loadtest.
type inProcess struct {
	options loadtest.ANNOptions
	bench   *loadtest.ANNBench
}

func newInProcess(o loadtest.ANNOptions) func(*prepared) (contestant, error) {
	return func(s *prepared) (contestant, error) {
		if o.Engine == "coder" && s.data.Rows() > s.CoderRows {
			return nil, &UnsupportedError{"coder/hnsw", fmt.Sprintf("%d rows in the time a benchmark has", s.data.Rows())}
		}
		return &inProcess{options: o}, nil
	}
}

func (c *inProcess) build(ctx context.Context, s *prepared) (built, error) {
	bench, err := loadtest.BuildANN(ctx, s.data, c.options)
	if err != nil {
		return built{}, err
	}
	c.bench = bench
	return built{Seconds: bench.BuildTime().Seconds(), Bytes: bench.BytesPerVector()}, nil
}

func (c *inProcess) search(ctx context.Context, ef, passes int, results [][]uint32) (shot, error) {
	runtime.LockOSThread() // the clock is that of the thread
	defer runtime.UnlockOSThread()
	started := threadSeconds()
	for range passes {
		if err := c.bench.SearchAll(ctx, ef, results); err != nil {
			return shot{}, err
		}
	}
	return shot{Queries: passes * len(results), Seconds: threadSeconds() - started}, nil
}

func (c *inProcess) work(ctx context.Context, ef int) (float64, bool, error) {
	r, err := c.bench.Measure(ctx, ef)
	return r.DistancesPerQuery, true, err
}

func (c *inProcess) close() error {
	if c.bench == nil {
		return nil
	}
	return c.bench.Close()
}

// foreign is a library behind a driver.
type foreign struct {
	program         string
	args            []string
	m               int
	efConstruction  int
	process         *process
	set             *prepared
	out             string // file of results, in the set's directory
	distances       float64
	tellsOfDistance bool
}

func (c *foreign) build(ctx context.Context, s *prepared) (built, error) {
	p, greeting, err := start(ctx, filepath.Base(c.program), s.dir, c.program, c.args...)
	if err != nil {
		return built{}, err
	}
	c.process, c.set, c.out = p, s, "results."+greeting.Engine
	r, err := p.ask(ctx, buildTime, fmt.Sprintf("build base=%s rows=%d dim=%d metric=%v m=%d ef_construction=%d threads=%d seed=1",
		baseFile, s.data.Rows(), s.data.Dim, s.Metric, c.m, c.efConstruction, buildThreads))
	if err != nil {
		return built{}, err
	}
	return built{Seconds: r.WallSeconds, Bytes: r.Bytes / float64(s.data.Rows())}, nil
}

func (c *foreign) search(ctx context.Context, ef, passes int, results [][]uint32) (shot, error) {
	r, err := c.process.ask(ctx, searchTime, fmt.Sprintf("search queries=%s rows=%d k=%d ef=%d passes=%d out=%s",
		queriesFile, len(results), k, ef, passes, c.out))
	if err != nil {
		return shot{}, err
	}
	if r.Queries != passes*len(results) || r.CPUSeconds <= 0 {
		return shot{}, fmt.Errorf("driver %s: %d queries in %v s, asked for %d", c.process.name, r.Queries, r.CPUSeconds, passes*len(results))
	}
	c.distances, c.tellsOfDistance = r.Distances, r.Distances > 0
	file, err := os.ReadFile(filepath.Join(c.set.dir, c.out))
	if err != nil {
		return shot{}, err
	}
	if len(file) != 4*k*len(results) {
		return shot{}, fmt.Errorf("driver %s: results of %d bytes for %d queries", c.process.name, len(file), len(results))
	}
	for i := range results {
		results[i] = results[i][:0]
		for j := range k {
			row := binary.LittleEndian.Uint32(file[4*(i*k+j):])
			if row != missing && int64(row) >= int64(c.set.data.Rows()) {
				return shot{}, fmt.Errorf("driver %s: query %d: row %d of %d", c.process.name, i, row, c.set.data.Rows())
			}
			if row != missing {
				results[i] = append(results[i], row)
			}
		}
	}
	return shot{Queries: r.Queries, Seconds: r.CPUSeconds}, nil
}

// missing marks the places of a result that the search left empty.
const missing = ^uint32(0)

// work is that of the last search.
func (c *foreign) work(context.Context, int) (float64, bool, error) {
	return c.distances, c.tellsOfDistance, nil
}

func (c *foreign) close() error {
	if c.process == nil {
		return nil
	}
	err := c.process.close()
	if removed := os.Remove(filepath.Join(c.set.dir, c.out)); !errors.Is(removed, os.ErrNotExist) {
		err = errors.Join(err, removed)
	}
	return err
}
