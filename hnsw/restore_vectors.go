package hnsw

import (
	"fmt"
	"sync/atomic"
)

// The image of a graph without its vectors: whoever has those elsewhere, in rows that are the truth, sends the graph alone and
// puts the vectors into their slots from there.

// ImageOptions returns the options of the index that a header describes, and how many slots and live vectors it has. MaxSlots
// is not among them. Errors: *FormatError.
func ImageOptions(header []byte) (o Options, slots, live int, err error) {
	g, err := parseHeader(header)
	if err != nil {
		return o, 0, 0, err
	}
	return g.options(0), int(g.slots), int(g.live), nil
}

// SectionVectors is the name of the section that an image without vectors lacks.
const SectionVectors = "vectors"

// apart is set where vectors come with PutVector.
type apart struct {
	put []atomic.Uint64 // bit i of word r: slot 64r+i
}

// PutVector places the vector of a live slot, of length Dim; under Cosine it is normalised as Allocate does it. It is for
// RestoreOptions.VectorsApart. Slots come in any order, each once, and different ones concurrently. Errors: *FormatError,
// *DimensionError, *VectorError, after which the restorer is good for nothing but Close; ErrClosed.
func (r *Restorer) PutVector(slot uint32, vec []float32) error {
	switch {
	case r.x == nil:
		return ErrClosed
	case r.apart == nil:
		return &FormatError{Section: SectionVectors, Problem: "come in slabs"}
	case slot >= r.image.slots:
		return &FormatError{Section: SectionVectors, Problem: fmt.Sprintf("slot %d of %d", slot, r.image.slots)}
	}
	bit := uint64(1) << (slot & 63)
	if r.apart.put[slot>>6].Or(bit)&bit != 0 {
		return &FormatError{Section: SectionVectors, Problem: fmt.Sprintf("slot %d is given twice", slot)}
	}
	x := r.x
	if x.vectors.half == nil {
		return x.prepare(x.vectors.row(slot, nil), vec)
	}
	row := make([]float32, x.stride)
	if err := x.prepare(row, vec); err != nil {
		return err
	}
	if x.o.Metric != Cosine && !x.o.Precision.Holds(vec) {
		return &VectorError{Rule: OutOfPrecision, Component: -1}
	}
	x.vectors.put(slot, row)
	return nil
}

// complete reports whether exactly the live slots have vectors.
func (a *apart) complete(live []uint64) (problem string) {
	for i := range a.put {
		if have, want := a.put[i].Load(), live[i]; have != want {
			return fmt.Sprintf("slots %d..%d: vectors of %064b, live are %064b", 64*i, 64*i+63, have, want)
		}
	}
	return ""
}
