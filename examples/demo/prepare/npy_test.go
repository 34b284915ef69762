package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// encodeMatrix is a file of rows*dim values, row by row or column by column.
func encodeMatrix(rows, dim int, values []float32, fortran bool) []byte {
	b := appendHeader(nil, "<f4", rows, dim)
	if fortran {
		b = bytes.Replace(b, []byte("'fortran_order': False,"), []byte("'fortran_order': True, "), 1)
		b = bytes.Replace(b, []byte("True,  'shape'"), []byte("True, 'shape'"), 1)
		// One blank less in front is one more behind.
		b = append(b[:len(b)-1], ' ', '\n')
	}
	for i := range values {
		at := i
		if fortran {
			at = i%rows*dim + i/rows
		}
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(values[at]))
	}
	return b
}

// Property: a matrix is read as it was written, bit by bit, in either order; and no part of its file is one.
func TestMatrixRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for range 60 {
		rows, dim := 1+rng.IntN(9), 1+rng.IntN(9)
		values := make([]float32, rows*dim)
		for i := range values {
			values[i] = math.Float32frombits(rng.Uint32() &^ (1 << 30)) // finite, of any size below 2
		}
		for _, fortran := range []bool{false, true} {
			file := encodeMatrix(rows, dim, values, fortran)
			if head := len(file) - 4*len(values); head%64 != 0 {
				t.Fatalf("the header of (%d, %d) takes %d bytes", rows, dim, head)
			}
			m, err := decodeMatrix(iotest.OneByteReader(bytes.NewReader(file)))
			if err != nil || m.rows != rows || m.dim != dim || !slices.Equal(m.data, values) {
				t.Fatalf("(%d, %d), Fortran %v: %+v, %v", rows, dim, fortran, m, err)
			}
			cut := rng.IntN(len(file))
			if m, err := decodeMatrix(bytes.NewReader(file[:cut])); err == nil {
				t.Fatalf("%d of %d bytes are %+v", cut, len(file), m)
			}
			if m, err := decodeMatrix(bytes.NewReader(append(file, 0))); err == nil {
				t.Fatalf("a byte too many is %+v", m)
			}
			if _, err := decodeMatrix(iotest.TimeoutReader(iotest.HalfReader(bytes.NewReader(file)))); !errors.Is(err, iotest.ErrTimeout) {
				t.Fatalf("an error of the file: %v", err)
			}
		}
	}
}

// Headers of what is no matrix of float32, or of more than fits, are refused before anything is allocated in their measure.
func TestBadHeaders(t *testing.T) {
	file := func(header string) []byte {
		b := append([]byte("\x93NUMPY\x01\x00"), 0, 0)
		binary.LittleEndian.PutUint16(b[8:], uint16(len(header)))
		return append(b, header...)
	}
	shape := func(s string) []byte { return file("{'descr': '<f4', 'fortran_order': False, 'shape': " + s + ", }\n") }
	for want, b := range map[string][]byte{
		"preamble":              nil,
		"not a version 1.0":     []byte("\x93NUMPY\x02\x00\x00\x00rest"),
		"npy header: ":          file("{}")[:11],
		"not a matrix":          file("{}"),
		"matrix of '<f4'":       file("{'descr': '<f8', 'fortran_order': False, 'shape': (1, 1), }\n"),
		"(0, 4) is out":         shape("(0, 4)"),
		"(4, 0) is out":         shape("(4, 0)"),
		"not a matrix of":       shape("(4,)"),
		"is not a matrix":       shape("(-1, 4)"),
		"(67108865, 1) is out":  shape("(67108865, 1)"),
		"(8388609, 8) is out":   shape("(8388609, 8)"),
		"npy data is not the 8": shape("(1, 2)"),
		"is out of bounds":      shape(fmt.Sprintf("(%s, 1)", strings.Repeat("9", 40))),
	} {
		if m, err := decodeMatrix(bytes.NewReader(b)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %+v, %v; want an error with %q", b, m, err, want)
		}
	}
}
