package loadtest

import (
	"context"
	"fmt"
	"strings"

	"github.com/segue-ann/segue/hnsw"
	"github.com/segue-ann/segue/internal/groundtruth"
)

// Engine is one index under test. Build comes first and once, Prepare before each pass of searches. Search is safe for
// concurrent use, the other methods are not.
type Engine interface {
	// Build indexes every row of b.Base. It stops early when ctx ends, with its error.
	Build(ctx context.Context, b Build) error
	// BytesPerVector returns the memory of the index over its rows.
	BytesPerVector() float64
	// Prepare sets the ef of the searches to come, and whether they count their work.
	Prepare(ef int, count bool)
	// Search appends the rows found for query, at most k, to dst. Order does not matter.
	Search(ctx context.Context, query []float32, k int, dst []uint32) ([]uint32, error)
	// Work returns the work of all counted searches so far.
	Work() Work
	// Close frees the index.
	Close() error
}

// Build is what an index is built from and how.
type Build struct {
	Base           []float32 // rows of Dim values; not written while the engine lives
	Dim            int
	Metric         groundtruth.Metric
	M              int
	EfConstruction int
	Threads        int
	Seed           uint64
}

// Rows returns the number of rows.
func (b Build) Rows() int { return len(b.Base) / b.Dim }

// Work counts what searches did.
type Work struct {
	Distances int64
	Hops      int64 // unknownHops if the engine cannot tell
}

const unknownHops = -1

// EngineNames are the engines [BuildANN] knows.
func EngineNames() []string { return []string{"segue", "segue-f16", "coder", "exact"} }

func newEngine(name string) (Engine, error) {
	switch name {
	case "segue":
		return &segueEngine{precision: hnsw.Float32}, nil
	case "segue-f16":
		return &segueEngine{precision: hnsw.Float16}, nil
	case "coder":
		return &coderEngine{}, nil
	case "exact":
		return &exactEngine{}, nil
	}
	return nil, fmt.Errorf("engine %q is none of %s", name, strings.Join(EngineNames(), ", "))
}
