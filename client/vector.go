package client

import (
	"encoding/binary"
	"fmt"
	"math"

	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// Vector encodes v in the form that is cheapest for the server to decode (float32_le). v is copied.
func Vector(v []float32) *seguev1.Vector {
	b := make([]byte, 0, 4*len(v))
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return &seguev1.Vector{Encoding: &seguev1.Vector_Float32Le{Float32Le: b}}
}

// Values decodes a vector of a response, which is nil where none was asked for. The result may alias v.
// Responses use two of the three encodings; float16_le, which only requests use, is an error.
func Values(v *seguev1.Vector) ([]float32, error) {
	switch e := v.GetEncoding().(type) {
	case nil:
		return nil, nil
	case *seguev1.Vector_Floats:
		return e.Floats.GetValues(), nil
	case *seguev1.Vector_Float32Le:
		if len(e.Float32Le)%4 != 0 {
			return nil, fmt.Errorf("vector has %d bytes, not a multiple of 4", len(e.Float32Le))
		}
		out := make([]float32, len(e.Float32Le)/4)
		for i := range out {
			out[i] = math.Float32frombits(binary.LittleEndian.Uint32(e.Float32Le[4*i:]))
		}
		return out, nil
	default:
		return nil, fmt.Errorf("vector has encoding %T, which responses do not use", e)
	}
}
