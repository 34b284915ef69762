package hnsw

import (
	"fmt"
	"math"

	"github.com/segue-ann/segue/internal/distance"
	"github.com/segue-ann/segue/internal/quantize"
)

// Precision says how many bits stored vectors keep of a component. Whatever it is, queries are float32, and a distance is that
// from the query to the vector as it is stored, summed in float32.
type Precision uint8

const (
	// Float32 keeps vectors as they come.
	Float32 Precision = iota + 1
	// Float16 rounds them to half precision when they are stored, after the normalisation of Cosine: half the bytes, and an error
	// of at most 2^-11 of a component. Under Cosine the distance is half of the squared Euclidean one to the rounded vector, which
	// tells near neighbours apart where 1-cosine would not.
	Float16
)

// String returns the name used in errors and documents: FLOAT32 or FLOAT16.
func (p Precision) String() string {
	switch p {
	case Float32:
		return "FLOAT32"
	case Float16:
		return "FLOAT16"
	}
	return fmt.Sprintf("Precision(%d)", uint8(p))
}

// stride returns the components of a row of vectors: Dim padded to whole cache lines.
func (p Precision) stride(dim int) int {
	if p == Float16 {
		return distance.PadF16(dim)
	}
	return distance.PadF32(dim)
}

// bytes returns the size of a component.
func (p Precision) bytes() int {
	if p == Float16 {
		return 2
	}
	return 4
}

// normTolerance bounds |norm^2 - 1| of a stored vector under Cosine.
func (p Precision) normTolerance() float64 {
	if p == Float16 {
		return halfNormTolerance
	}
	return normTolerance
}

// maxRounding is the share of its norm that a vector may move by when it is stored in half precision. Rounding moves it by half
// of that at most, but for what it is below 2^-14, the normal numbers of half precision.
const maxRounding = 0x1p-10

// Holds reports whether vectors that look like vec can be stored: half precision ends at 65504, and has few digits for what is
// far below 1e-4. Under Cosine every vector can, because it is normalised before. Cost: O(Dim).
func (p Precision) Holds(vec []float32) bool {
	if p != Float16 {
		return true
	}
	var half [64]uint16
	norm2, moved2 := 0.0, 0.0
	for len(vec) > 0 {
		n := min(len(vec), len(half))
		if quantize.EncodeF16(half[:n], vec[:n]) > 0 {
			return false
		}
		for i, v := range vec[:n] {
			moved := float64(v) - float64(distance.FloatOfF16(half[i]))
			norm2, moved2 = norm2+float64(v)*float64(v), moved2+moved*moved
		}
		vec = vec[n:]
	}
	return moved2 <= maxRounding*maxRounding*norm2
}

// vectors are the stored vectors of all slots: the only place that knows their precision. The row of slot s begins at s*stride,
// and never changes while the slot is live or in limbo. What follows Dim is zero.
type vectors struct {
	stride int
	full   []float32 // nil under Float16
	half   []uint16  // nil otherwise
}

// rowBytes returns the bytes of a row.
func (v *vectors) rowBytes() int {
	if v.half != nil {
		return 2 * v.stride
	}
	return 4 * v.stride
}

// row returns the vector of slot, pad included: in place, or widened to buf, of stride floats. nil: to memory of its own.
func (v *vectors) row(slot uint32, buf []float32) []float32 {
	at := int(slot) * v.stride
	if v.half == nil {
		return v.full[at : at+v.stride : at+v.stride]
	}
	if buf == nil {
		buf = make([]float32, v.stride)
	}
	distance.WidenF16(buf, v.half, v.stride, []uint32{slot})
	return buf[:v.stride:v.stride]
}

// buffer returns memory for rows that are not stored as float32; nil where all are.
func (v *vectors) buffer() []float32 {
	if v.half == nil {
		return nil
	}
	return make([]float32, v.stride)
}

// put stores vec, of stride floats.
func (v *vectors) put(slot uint32, vec []float32) {
	at := int(slot) * v.stride
	if v.half != nil {
		quantize.EncodeF16(v.half[at:at+v.stride], vec)
		return
	}
	copy(v.full[at:at+v.stride], vec)
}

// has reports whether the row of slot is what put makes of vec.
func (v *vectors) has(slot uint32, vec []float32) bool {
	at := int(slot) * v.stride
	if v.half != nil {
		for i, h := range v.half[at : at+v.stride] {
			var want [1]uint16
			if quantize.EncodeF16(want[:], vec[i:i+1]); h != want[0] {
				return false
			}
		}
		return true
	}
	for i, x := range v.full[at : at+v.stride] {
		if math.Float32bits(x) != math.Float32bits(vec[i]) {
			return false
		}
	}
	return true
}

// l2 sets out to the squared Euclidean distances of query and the rows of slots; dot to their dot products. The other forms
// do so for four queries.
func (v *vectors) l2(query []float32, slots []uint32, out []float32) {
	if v.half != nil {
		distance.L2F16(query, v.half, v.stride, slots, out)
		return
	}
	distance.L2F32(query, v.full, v.stride, slots, out)
}

func (v *vectors) dot(query []float32, slots []uint32, out []float32) {
	if v.half != nil {
		distance.DotF16(query, v.half, v.stride, slots, out)
		return
	}
	distance.DotF32(query, v.full, v.stride, slots, out)
}

func (v *vectors) l2Quad(queries *[4][]float32, slots []uint32, out [][4]float32) {
	if v.half != nil {
		distance.L2F16Quad(queries, v.half, v.stride, slots, out)
		return
	}
	distance.L2F32Quad(queries, v.full, v.stride, slots, out)
}

func (v *vectors) dotQuad(queries *[4][]float32, slots []uint32, out [][4]float32) {
	if v.half != nil {
		distance.DotF16Quad(queries, v.half, v.stride, slots, out)
		return
	}
	distance.DotF32Quad(queries, v.full, v.stride, slots, out)
}

// prefetch asks for the rows of slots.
func (v *vectors) prefetch(slots []uint32) {
	if v.half != nil {
		distance.PrefetchF16(v.half, v.stride, slots)
		return
	}
	distance.PrefetchF32(v.full, v.stride, slots)
}
