package engine

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/segue-ann/segue/storage"
)

// dtypeF32Weighted is dtypeF32 with as many float32 more, after all vectors, as there are vectors: their weights. Rows of
// profiles whose weights are all 1 have dtypeF32.
const dtypeF32Weighted = 2

// interests checks the interests of one profile.
func (p *problems) interests(field string, is []Interest, c *CollectionConfig, l Limits) {
	switch {
	case len(is) == 0:
		p.add(ReasonRequired, field, "must have at least one interest")
		return
	case len(is) > l.MaxInterests:
		p.add(ReasonOutOfRange, field, "must be at most %d, are %d", l.MaxInterests, len(is))
		return
	}
	for i := range is {
		at := fmt.Sprintf("%s[%d]", field, i)
		p.vector(at+".vector", is[i].Vector, c)
		p.weight(at+".weight", is[i].Weight)
	}
}

// weight checks the weight of an example or interest; 0 stands for 1.
func (p *problems) weight(field string, w float32) {
	if !(w >= 0 && w <= MaxWeight) { // not NaN
		p.add(ReasonOutOfRange, field, "must be above 0 and at most %d (0 means 1), is %v", MaxWeight, w)
	}
}

// weightOf returns a weight with its default filled in.
func weightOf(w float32) float32 {
	if w == 0 {
		return 1
	}
	return w
}

// encodeInterests returns the vectors of a profile row and their type.
func encodeInterests(is []Interest) (dtype uint8, vectors []byte) {
	dtype = dtypeF32
	for i := range is {
		vectors = append(vectors, encodeVector(is[i].Vector)...)
		if weightOf(is[i].Weight) != 1 {
			dtype = dtypeF32Weighted
		}
	}
	if dtype == dtypeF32Weighted {
		for i := range is {
			vectors = binary.LittleEndian.AppendUint32(vectors, math.Float32bits(weightOf(is[i].Weight)))
		}
	}
	return dtype, vectors
}

// decodeInterests is the inverse of encodeInterests. A weight of 1 is read as 1, not 0.
func (r *release) decodeInterests(row *storage.ProfileRow) ([]Interest, error) {
	size := 4 * r.cfg.Dim
	perVector := size
	if row.DType == dtypeF32Weighted {
		perVector += 4
	}
	n := int(row.Count)
	if row.DType != dtypeF32 && row.DType != dtypeF32Weighted || int(row.Dim) != r.cfg.Dim || n < 1 ||
		len(row.Vectors)/perVector != n || len(row.Vectors)%perVector != 0 {
		return nil, fmt.Errorf("%w: type %d, dimension %d, %d vectors in %d bytes", errVectorShape, row.DType, row.Dim, n, len(row.Vectors))
	}
	is := make([]Interest, n)
	for i := range is {
		v, err := r.decodeVector(nil, dtypeF32, row.Dim, row.Vectors[i*size:(i+1)*size])
		if err != nil {
			return nil, err
		}
		is[i] = Interest{Vector: v, Weight: 1}
		if row.DType == dtypeF32Weighted {
			is[i].Weight = math.Float32frombits(binary.LittleEndian.Uint32(row.Vectors[n*size+4*i:]))
		}
	}
	return is, nil
}
