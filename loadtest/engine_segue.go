package loadtest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/segue-ann/segue/hnsw"
	"github.com/segue-ann/segue/internal/groundtruth"
)

// segueEngine is package hnsw, used as package engine uses it: one Acquire and Release a search.
type segueEngine struct {
	precision hnsw.Precision
	index     *hnsw.Index
	rows      []uint32 // by slot; with several build threads slots are not in the order of rows
	ef        int
	count     bool
	distances atomic.Int64
	hops      atomic.Int64
}

func segueMetric(m groundtruth.Metric) hnsw.Metric {
	switch m {
	case groundtruth.Cosine:
		return hnsw.Cosine
	case groundtruth.InnerProduct:
		return hnsw.InnerProduct
	case groundtruth.L2:
		return hnsw.L2
	}
	panic(fmt.Sprintf("loadtest: %v", m))
}

func (e *segueEngine) Build(ctx context.Context, b Build) error {
	index, err := hnsw.New(hnsw.Options{
		Dim: b.Dim, Metric: segueMetric(b.Metric), Precision: e.precision, M: b.M, EfConstruction: b.EfConstruction,
		MaxSlots: b.Rows(), Seed: b.Seed,
	})
	if err != nil {
		return err
	}
	e.index, e.rows = index, make([]uint32, b.Rows())

	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var (
		next    atomic.Int64
		workers sync.WaitGroup
	)
	for range max(1, b.Threads) {
		workers.Go(func() {
			for ctx.Err() == nil {
				row := int(next.Add(1)) - 1
				if row >= b.Rows() {
					return
				}
				slot, err := index.Insert(b.Base[row*b.Dim : (row+1)*b.Dim])
				if err != nil {
					stop(fmt.Errorf("row %d: %w", row, err))
					return
				}
				e.rows[slot] = uint32(row) // no other row has this slot
			}
		})
	}
	workers.Wait()
	if err := context.Cause(ctx); err != nil {
		return errors.Join(err, e.Close())
	}
	return nil
}

func (e *segueEngine) BytesPerVector() float64 { return e.index.Stats().BytesPerVector }

func (e *segueEngine) Prepare(ef int, count bool) { e.ef, e.count = ef, count }

func (e *segueEngine) Search(ctx context.Context, query []float32, k int, dst []uint32) ([]uint32, error) {
	s := e.index.Acquire()
	found, stats, err := s.Search(ctx, query, hnsw.SearchParams{K: k, Ef: e.ef})
	for _, c := range found {
		dst = append(dst, e.rows[c.Slot])
	}
	s.Release()
	if e.count {
		e.distances.Add(int64(stats.Distances))
		e.hops.Add(int64(stats.Hops))
	}
	return dst, err
}

func (e *segueEngine) Work() Work { return Work{Distances: e.distances.Load(), Hops: e.hops.Load()} }

func (e *segueEngine) Close() error {
	if e.index == nil {
		return nil
	}
	index := e.index
	e.index = nil
	return index.Close()
}
