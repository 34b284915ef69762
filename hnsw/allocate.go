package hnsw

import (
	"errors"
	"math"
	"slices"
)

const (
	// maxNorm2 is the largest squared norm of a stored vector or a query. By Cauchy-Schwarz no partial sum of a dot product
	// exceeds |a||b|, nor one of a squared distance (|a|+|b|)^2; below this bound both are finite with room for rounding, and
	// no distance is ever infinite or NaN.
	maxNorm2 = math.MaxFloat32 / 8

	// normTolerance bounds |norm^2 - 1| of a normalised vector; halfNormTolerance of one that was rounded to half precision since.
	normTolerance     = 1e-4
	halfNormTolerance = 1e-3
)

// Allocate copies vec, of length Dim, into a free slot and returns it. Under Cosine the copy is normalised. The vector is
// not reachable before Link; a slot that will not be linked is given back by Discard.
//
// Errors: *DimensionError, *VectorError, ErrFull, ErrClosed, that of Memory.Extend. Cost: O(Dim).
func (x *Index) Allocate(vec []float32) (uint32, error) {
	// The searcher keeps Close from unmapping the row that is written here.
	s := x.Acquire()
	defer s.Release()
	if s.closed {
		return 0, ErrClosed
	}
	if err := x.prepare(s.query, vec); err != nil {
		return 0, err
	}
	if x.o.Metric != Cosine && !x.o.Precision.Holds(vec) {
		return 0, &VectorError{Rule: OutOfPrecision, Component: -1}
	}
	slot, err := x.takeSlot()
	if errors.Is(err, ErrFull) {
		x.mu.Lock()
		x.reclaim()
		x.mu.Unlock()
		slot, err = x.takeSlot()
	}
	if err != nil {
		return 0, err
	}
	x.vectors.put(slot, s.query)
	x.setState(slot, stateAllocated)
	return slot, nil
}

// Holds reports whether slot, which holds a vector, holds what Allocate would make of vec. Cost: O(Dim).
func (x *Index) Holds(slot uint32, vec []float32) bool {
	s := x.Acquire()
	defer s.Release()
	return !s.closed && x.prepare(s.query, vec) == nil && x.vectors.has(slot, s.query)
}

// Discard gives back a slot that was allocated and will not be linked. Errors: ErrNotAllocated, ErrClosed.
func (x *Index) Discard(slot uint32) error {
	s := x.Acquire()
	defer s.Release()
	if s.closed {
		return ErrClosed
	}
	if !x.beginLink(slot) {
		return ErrNotAllocated
	}
	x.allocMu.Lock()
	defer x.allocMu.Unlock()
	x.setState(slot, stateFree)
	x.free = append(x.free, slot)
	return nil
}

// Available returns how many slots can be allocated now. Deleted slots that a searcher or an open snapshot still holds are
// not among them.
func (x *Index) Available() int {
	x.allocMu.Lock()
	defer x.allocMu.Unlock()
	n := x.o.MaxSlots - x.Slots()
	if !x.holdFree {
		n += len(x.free)
	}
	return n
}

// takeSlot returns a slot in no state, or ErrFull: a free one, or the next that was never used. While a snapshot is open no slot is
// reused, so that slots below the snapshot's count keep their vectors.
func (x *Index) takeSlot() (uint32, error) {
	x.allocMu.Lock()
	defer x.allocMu.Unlock()
	if n := len(x.free); n > 0 && !x.holdFree {
		slot := x.free[n-1]
		x.free = x.free[:n-1]
		return slot, nil
	}
	slot := x.slots.Load()
	level := x.level(slot)
	if int(slot) >= x.o.MaxSlots || (int(x.upperNext)+level)*x.m > len(x.upper) {
		return 0, ErrFull
	}
	if err := x.extend(slot + 1); err != nil {
		return 0, err
	}
	x.addSlot(slot, level)
	return slot, nil
}

// addSlot makes a slot that was never used: empty rows on each of its levels. The caller holds allocMu.
func (x *Index) addSlot(slot uint32, level int) {
	x.upperAt[slot] = x.upperNext
	x.upperNext += uint32(level)
	for l := 0; l <= level; l++ {
		setRow(x.row(slot, l), nil)
	}
	x.setState(slot, stateFree)
	x.slots.Store(slot + 1)
}

// prepare checks src and copies it to dst, of stride floats, normalised under Cosine.
func (x *Index) prepare(dst, src []float32) error {
	if len(src) != x.o.Dim {
		return &DimensionError{Got: len(src), Want: x.o.Dim}
	}
	norm2 := squaredNorm(src)
	if norm2-norm2 != 0 { // squares of finite float32 do not overflow float64
		return &VectorError{Rule: NotFinite, Component: slices.IndexFunc(src, notFinite)}
	}
	clear(dst[copy(dst, src):])
	if x.o.Metric != Cosine {
		if norm2 > maxNorm2 {
			return &VectorError{Rule: NormTooLarge, Component: -1}
		}
		return nil
	}
	if norm2 == 0 {
		return &VectorError{Rule: ZeroNorm, Component: -1}
	}
	scale := 1 / math.Sqrt(norm2)
	for i, v := range src {
		dst[i] = float32(float64(v) * scale)
	}
	return nil
}

// squaredNorm returns the sum of the squares of vec, NaN or infinite if any component is. Four sums do not wait for each
// other.
func squaredNorm(vec []float32) float64 {
	var s0, s1, s2, s3 float64
	for ; len(vec) >= 4; vec = vec[4:] {
		a, b, c, d := float64(vec[0]), float64(vec[1]), float64(vec[2]), float64(vec[3])
		s0 += a * a
		s1 += b * b
		s2 += c * c
		s3 += d * d
	}
	for _, v := range vec {
		s0 += float64(v) * float64(v)
	}
	return s0 + s1 + s2 + s3
}

func notFinite(v float32) bool { return v-v != 0 }
