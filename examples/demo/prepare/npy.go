package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"os"
	"regexp"
	"strconv"
)

// maxElements bounds what a header can make us allocate: 64 Mi float32, 256 MiB.
const maxElements = 64 << 20

var npyHeader = regexp.MustCompile(
	`^\{'descr': '<f4', 'fortran_order': (True|False), 'shape': \((\d+), (\d+)\), \}\s*$`)

// matrix holds rows*dim float32 in C order: row i is data[i*dim : (i+1)*dim].
type matrix struct {
	data      []float32
	rows, dim int
}

// readMatrix reads a two-dimensional .npy file of little-endian float32, in C or Fortran order.
func readMatrix(path string) (matrix, error) {
	f, err := os.Open(path)
	if err != nil {
		return matrix{}, err
	}
	defer f.Close()
	m, err := decodeMatrix(f)
	if err != nil {
		return matrix{}, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}

func decodeMatrix(r io.Reader) (matrix, error) {
	var preamble [10]byte // magic (6), version (2), length of the header (2)
	if _, err := io.ReadFull(r, preamble[:]); err != nil {
		return matrix{}, fmt.Errorf("npy preamble: %w", err)
	}
	if string(preamble[:8]) != "\x93NUMPY\x01\x00" {
		return matrix{}, fmt.Errorf("not a version 1.0 npy file: %q", preamble[:8])
	}
	header := make([]byte, binary.LittleEndian.Uint16(preamble[8:]))
	if _, err := io.ReadFull(r, header); err != nil {
		return matrix{}, fmt.Errorf("npy header: %w", err)
	}
	match := npyHeader.FindSubmatch(header)
	if match == nil {
		return matrix{}, fmt.Errorf("npy header is not a matrix of '<f4': %q", header)
	}
	rows, errRows := strconv.Atoi(string(match[2]))
	dim, errDim := strconv.Atoi(string(match[3]))
	if errRows != nil || errDim != nil || rows < 1 || dim < 1 || rows > maxElements/dim {
		return matrix{}, fmt.Errorf("npy shape (%s, %s) is out of bounds", match[2], match[3])
	}
	raw, err := io.ReadAll(io.LimitReader(r, int64(4*rows*dim)+1))
	if err != nil {
		return matrix{}, fmt.Errorf("npy data: %w", err)
	}
	if len(raw) != 4*rows*dim {
		return matrix{}, fmt.Errorf("npy data is not the %d bytes of (%d, %d)", 4*rows*dim, rows, dim)
	}
	m := matrix{data: make([]float32, rows*dim), rows: rows, dim: dim}
	fortran := string(match[1]) == "True"
	for i := range m.data {
		at := i
		if fortran { // element i of the file is row i%rows of column i/rows
			at = i%rows*dim + i/rows
		}
		m.data[at] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return m, nil
}

// appendHeader appends the version 1.0 header of a C-order matrix, padded to a multiple of 64 bytes as
// the format asks.
func appendHeader(dst []byte, descr string, rows, dim int) []byte {
	header := fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': (%d, %d), }", descr, rows, dim)
	const preamble = 10
	length := (preamble + len(header) + 1 + 63) / 64 * 64
	dst = append(dst, "\x93NUMPY\x01\x00"...)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(length-preamble))
	dst = append(dst, header...)
	for len(header)+preamble+1 < length {
		dst = append(dst, ' ')
		length--
	}
	return append(dst, '\n')
}
