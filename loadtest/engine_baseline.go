package loadtest

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"

	"github.com/segue-ann/segue/internal/groundtruth"
	"github.com/segue-ann/segue/loadtest/baseline"
)

func baselineDistance(m groundtruth.Metric) baseline.Distance {
	switch m {
	case groundtruth.Cosine:
		return baseline.Cosine
	case groundtruth.InnerProduct:
		return baseline.InnerProduct
	case groundtruth.L2:
		return baseline.L2
	}
	panic(fmt.Sprintf("loadtest: %v", m))
}

// exactEngine scans the base where it is: it has no index, and its memory is the vectors.
type exactEngine struct {
	scan      *baseline.Exact
	dim       int
	count     bool
	distances atomic.Int64
}

func (e *exactEngine) Build(_ context.Context, b Build) error {
	e.scan, e.dim = baseline.NewExact(baselineDistance(b.Metric), b.Base, b.Dim), b.Dim
	return nil
}

func (e *exactEngine) BytesPerVector() float64 { return float64(4 * e.dim) }

func (e *exactEngine) Prepare(_ int, count bool) { e.count = count }

func (e *exactEngine) Search(ctx context.Context, query []float32, k int, dst []uint32) ([]uint32, error) {
	if e.count {
		e.distances.Add(int64(e.scan.Len()))
	}
	return e.scan.Search(query, k, dst), ctx.Err()
}

func (e *exactEngine) Work() Work { return Work{Distances: e.distances.Load()} }

func (e *exactEngine) Close() error { return nil }

// coderEngine builds on one goroutine whatever Threads says: the library's Add is not safe for concurrent use.
type coderEngine struct {
	graph *baseline.Coder
	bytes float64
}

func (e *coderEngine) Build(ctx context.Context, b Build) error {
	before := heapInUse()
	e.graph = baseline.NewCoder(baselineDistance(b.Metric), b.M, b.Seed)
	if err := e.graph.Build(ctx, b.Base, b.Dim, b.EfConstruction); err != nil {
		return err
	}
	e.bytes = float64(heapInUse()-before) / float64(b.Rows())
	return nil
}

// heapInUse returns the bytes of live heap objects. It collects garbage, twice for what finalizers held.
func heapInUse() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// BytesPerVector is the growth of the heap over the build, as exact as everything else in the process is still.
func (e *coderEngine) BytesPerVector() float64 { return e.bytes }

func (e *coderEngine) Prepare(ef int, count bool) { e.graph.SetSearch(ef, count) }

func (e *coderEngine) Search(ctx context.Context, query []float32, k int, dst []uint32) ([]uint32, error) {
	return e.graph.Search(query, k, dst), ctx.Err()
}

func (e *coderEngine) Work() Work { return Work{Distances: e.graph.Distances(), Hops: unknownHops} }

func (e *coderEngine) Close() error { return nil }
