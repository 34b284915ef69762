package hnsw

import (
	"errors"
	"fmt"
	"math"
)

// Metric says what a distance is. Lower is closer in every metric.
type Metric uint8

const (
	// Cosine is 1 - cosine, in [0, 2]. Vectors are normalised when they are inserted, queries when they are bound.
	Cosine Metric = iota + 1
	// InnerProduct is minus the inner product; distances may be negative. It is no metric: a vector's nearest neighbour
	// need not be itself.
	InnerProduct
	// L2 is the squared Euclidean distance.
	L2
)

// String returns the name used in errors and documents: COSINE, INNER_PRODUCT or L2.
func (m Metric) String() string {
	switch m {
	case Cosine:
		return "COSINE"
	case InnerProduct:
		return "INNER_PRODUCT"
	case L2:
		return "L2"
	}
	return fmt.Sprintf("Metric(%d)", uint8(m))
}

const (
	// MaxDim is the largest dimension an index takes.
	MaxDim = 1 << 16

	defaultM              = 16
	defaultEfConstruction = 100
	defaultMaxSlots       = 1 << 24

	minM, maxM                           = 4, 64
	minEfConstruction, maxEfConstruction = 8, 4096
	// maxSlots leaves bit 0 of a packed pool entry free for the expanded flag; see pool.
	maxSlots = math.MaxInt32
)

// Options describes an index. Dim and Metric must be set; every other zero field means its default.
type Options struct {
	// Dim is the number of components of every vector, 1..MaxDim.
	Dim int
	// Metric says what a distance is.
	Metric Metric
	// M is the most links a node has on a level above 0; on level 0 it is 2M. 4..64, default 16.
	M int
	// EfConstruction is the width of the beam that looks for a new node's neighbours. 8..4096, default 100.
	EfConstruction int
	// MaxSlots is the most nodes the index can hold, counting deleted ones that some reader can still see. Address space
	// for all of them is reserved at once and used as they come. Default 16,777,216; where the reservation is refused it
	// is halved until it is granted, and Index.Options tells the number that was.
	MaxSlots int
	// Seed chooses the levels of the nodes: they are a function of Seed and slot alone.
	Seed uint64
	// Precision is that of the stored vectors, default Float32.
	Precision Precision
	// Vectors is memory for the vectors; nil: the index has its own, as for everything else.
	Vectors *Memory
}

// Memory is memory that a caller gives to an index: a shared mapping of a file, say, which the system may write out and read
// again, so that vectors need not stay resident. Walks on codes do not touch vectors; only inserts and the rescoring of the
// best of a beam do. Where codes do not tell neighbours apart, walks read vectors, and the memory had better be resident.
type Memory struct {
	// Bytes has the length of Options.VectorBytes or more, is aligned to 64 bytes, all zero, and nobody else's.
	Bytes []byte
	// Extend, if not nil, is called before bytes beyond what it was called for are written to, with how many from the first on will
	// be; never twice at once. Where it fails, Allocate and NewRestorer do, with its error.
	Extend func(n int64) error
	// Release, if not nil, is called once, when the index will not touch Bytes any more: in Close, in the Release of the last
	// searcher, or in the Close of the open snapshot, whichever comes last.
	Release func()
}

// VectorBytes returns how many bytes the vectors of MaxSlots slots take. Dim and MaxSlots must be set.
func (o *Options) VectorBytes() int {
	return o.Precision.bytes() * o.Precision.stride(o.Dim) * o.MaxSlots
}

// Reserve makes sure that the next n Allocates do not fail for want of memory that the caller gave. It does nothing where the
// index has its own. Errors: that of Memory.Extend. Safe for concurrent use.
func (x *Index) Reserve(n int) error {
	x.allocMu.Lock()
	defer x.allocMu.Unlock()
	return x.extend(uint32(min(x.Slots()+n, x.o.MaxSlots)))
}

// extend makes room for the vectors of slots in memory that the caller gave. The caller holds allocMu, or nobody else has x.
func (x *Index) extend(slots uint32) error {
	given := x.o.Vectors
	if given == nil || given.Extend == nil || slots <= x.extended {
		return nil
	}
	if err := given.Extend(int64(x.vectors.rowBytes()) * int64(slots)); err != nil {
		return fmt.Errorf("hnsw: memory for the vectors of %d slots: %w", slots, err)
	}
	x.extended = slots
	return nil
}

// vectorAlign is a cache line, which no row of vectors shares with another.
const vectorAlign = 64

// EnsureDefaults replaces zero fields by their defaults.
func (o *Options) EnsureDefaults() {
	if o.M == 0 {
		o.M = defaultM
	}
	if o.EfConstruction == 0 {
		o.EfConstruction = defaultEfConstruction
	}
	if o.Precision == 0 {
		o.Precision = Float32
	}
	if o.MaxSlots == 0 {
		o.MaxSlots = defaultMaxSlots
	}
}

// Validate returns an *OptionError for each field that is out of its range, joined; call EnsureDefaults first.
func (o *Options) Validate() error {
	var errs []error
	check := func(field string, value, low, high int) {
		if value < low || value > high {
			errs = append(errs, &OptionError{Field: field, Value: value, Low: low, High: high})
		}
	}
	check("Dim", o.Dim, 1, MaxDim)
	check("Metric", int(o.Metric), int(Cosine), int(L2))
	check("Precision", int(o.Precision), int(Float32), int(Float16))
	check("M", o.M, minM, maxM)
	check("EfConstruction", o.EfConstruction, minEfConstruction, maxEfConstruction)
	check("MaxSlots", o.MaxSlots, 1, maxSlots)
	if o.Vectors != nil && errs == nil {
		check("Vectors", len(o.Vectors.Bytes), o.VectorBytes(), math.MaxInt)
		check("alignment of Vectors", misaligned(o.Vectors.Bytes), 0, 0)
	}
	return errors.Join(errs...)
}
