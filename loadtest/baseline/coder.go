package baseline

import (
	"context"
	"math/rand"
	"slices"
	"sync/atomic"

	"github.com/coder/hnsw"
)

// Coder is coder/hnsw behind rows and counters. The package comment says what to expect of it.
//
// Build and SetSearch need the Coder to themselves; Search is safe for concurrent use.
type Coder struct {
	graph     *hnsw.Graph[uint32]
	distance  Distance
	distances atomic.Int64
}

// NewCoder returns an empty graph with m links a node on every level and the library's own level factor, 0.25. Its levels
// follow from seed.
func NewCoder(distance Distance, m int, seed uint64) *Coder {
	g := hnsw.NewGraph[uint32]()
	g.M = m
	g.Distance = hnsw.DistanceFunc(distance)
	g.Rng = rand.New(rand.NewSource(int64(seed)))
	return &Coder{graph: g, distance: distance}
}

// Build adds the rows of base, dim values each, in order. The library looks for a new node's neighbours with EfSearch, so
// efConstruction is its EfSearch here. Every vector is copied, each into memory of its own, as a program would that adds
// vectors as they come. The error is the context's, and the graph then lacks rows.
func (c *Coder) Build(ctx context.Context, base []float32, dim, efConstruction int) error {
	c.graph.EfSearch = efConstruction
	row := uint32(c.graph.Len())
	for v := range slices.Chunk(base, dim) {
		if err := ctx.Err(); err != nil {
			return err
		}
		c.graph.Add(hnsw.MakeNode(row, slices.Clone(v)))
		row++
	}
	return nil
}

// Len returns the number of rows.
func (c *Coder) Len() int { return c.graph.Len() }

// SetSearch sets EfSearch and whether distances are counted. Counting costs one atomic addition a distance.
func (c *Coder) SetSearch(ef int, count bool) {
	c.graph.EfSearch = ef
	c.graph.Distance = hnsw.DistanceFunc(c.distance)
	if count {
		c.graph.Distance = func(a, b []float32) float32 {
			c.distances.Add(1)
			return c.distance(a, b)
		}
	}
}

// Distances returns how many distances were computed while they were counted.
func (c *Coder) Distances() int64 { return c.distances.Load() }

// Search appends to dst the rows found for query, at most k, in no particular order.
func (c *Coder) Search(query []float32, k int, dst []uint32) []uint32 {
	for _, n := range c.graph.Search(query, k) {
		dst = append(dst, n.Key)
	}
	return dst
}
