package hnsw

import (
	"errors"
	"fmt"
)

var (
	// ErrFull means that every one of MaxSlots slots is in use, or may still be seen by a searcher or an open snapshot.
	ErrFull = errors.New("hnsw: the index is full")
	// ErrNotLive means that the slot holds no linked vector: it was never linked, or it was deleted.
	ErrNotLive = errors.New("hnsw: the slot is not live")
	// ErrNotAllocated means that the slot holds no vector that waits to be linked.
	ErrNotAllocated = errors.New("hnsw: the slot is not allocated")
	// ErrClosed means that the index was closed.
	ErrClosed = errors.New("hnsw: the index is closed")
	// ErrSnapshotOpen means that another snapshot of the index is open.
	ErrSnapshotOpen = errors.New("hnsw: a snapshot is open")
	// ErrBacklog means that slots wait to be linked or deleted.
	ErrBacklog = errors.New("hnsw: slots wait to be linked or deleted")
	// ErrReservation means that the machine refused even the smallest address space for the index.
	ErrReservation = errors.New("hnsw: no address space for the index")
	// ErrK means that fewer than one result was asked for.
	ErrK = errors.New("hnsw: k must be at least 1")
	// ErrQueries means that a search was begun with no query, or with more than MaxQueries.
	ErrQueries = errors.New("hnsw: a search has 1 to 64 queries")
	// ErrNotBegun means that there is no search to go on with: none was begun, or it has ended.
	ErrNotBegun = errors.New("hnsw: no search was begun")
)

// OptionError says which option is out of its range.
type OptionError struct {
	Field     string
	Value     int
	Low, High int // both allowed
}

func (e *OptionError) Error() string {
	return fmt.Sprintf("hnsw: option %s is %d, not in [%d, %d]", e.Field, e.Value, e.Low, e.High)
}

// DimensionError means that a vector does not have the dimension of the index.
type DimensionError struct {
	Got, Want int
}

func (e *DimensionError) Error() string {
	return fmt.Sprintf("hnsw: a vector of dimension %d in an index of dimension %d", e.Got, e.Want)
}

// VectorRule names what is wrong with a vector.
type VectorRule uint8

const (
	// NotFinite means that a component is NaN or infinite.
	NotFinite VectorRule = iota + 1
	// ZeroNorm means that the vector has no direction; Cosine needs one.
	ZeroNorm
	// NormTooLarge means that distances to the vector could overflow a float32.
	NormTooLarge
	// OutOfPrecision means that half precision cannot hold the vector; see Precision.Holds.
	OutOfPrecision
)

// VectorError means that a vector cannot be stored or asked for.
type VectorError struct {
	Rule VectorRule
	// Component is the index of the first component at fault, for NotFinite; otherwise -1.
	Component int
}

func (e *VectorError) Error() string {
	switch e.Rule {
	case NotFinite:
		return fmt.Sprintf("hnsw: component %d of the vector is not finite", e.Component)
	case ZeroNorm:
		return "hnsw: a zero vector has no cosine"
	case OutOfPrecision:
		return "hnsw: a component of the vector is beyond half precision, or all are too small for it"
	default:
		return "hnsw: the norm of the vector is too large for float32 distances"
	}
}
