package rank

import "github.com/segue-ann/segue/internal/distance"

// Matrix holds the vectors of candidates, one row each, for diversity.
type Matrix struct {
	stride int
	rows   []float32
	l2     bool
}

// NewMatrix returns a matrix of n rows of zeros for vectors of dim components. With l2 two rows are as far from each other as
// their squared Euclidean distance says; else as 1 - dot product says, and rows must have norm 1 (or 0, which is at distance
// 1 from all).
func NewMatrix(n, dim int, l2 bool) *Matrix {
	stride := distance.PadF32(dim)
	return &Matrix{stride: stride, rows: make([]float32, n*stride), l2: l2}
}

// Row returns row i, for the caller to fill; its length is the dimension rounded up, and what is beyond stays zero.
func (m *Matrix) Row(i uint32) []float32 {
	at := int(i) * m.stride
	return m.rows[at : at+m.stride : at+m.stride]
}

// distances sets out[j] to the distance of row of and row rows[j].
func (m *Matrix) distances(of uint32, rows []uint32, out []float32) {
	if m.l2 {
		distance.L2F32(m.Row(of), m.rows, m.stride, rows, out)
		return
	}
	distance.DotF32(m.Row(of), m.rows, m.stride, rows, out)
	for j := range rows {
		out[j] = 1 - out[j]
	}
}
