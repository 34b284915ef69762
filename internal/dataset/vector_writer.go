package dataset

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/x448/float16"
)

// VectorWriter writes a .npy array row by row, in C order.
type VectorWriter struct {
	out     *bufio.Writer
	dtype   DType
	dim     int
	left    int64 // rows still to come
	row     int64
	buf     []byte
	closers []func() error // run last to first
}

// NewVectorWriter writes the header of rows x dim values of type t to w. The caller writes that many rows and closes.
func NewVectorWriter(w io.Writer, t DType, rows int64, dim int) (*VectorWriter, error) {
	if t < Float32 || t > Int32 {
		return nil, fmt.Errorf("unknown type %v", t)
	}
	if err := checkDim(int64(dim)); err != nil {
		return nil, err
	}
	if rows < 0 || rows > MaxRows {
		return nil, fmt.Errorf("%d rows are outside 0..%d", rows, int64(MaxRows))
	}
	v := &VectorWriter{out: bufio.NewWriterSize(w, 256<<10), dtype: t, dim: dim, left: rows}
	_, err := v.out.Write(appendNpyHeader(nil, t, rows, dim))
	return v, err
}

// CreateVectors creates the file path, which ends in .npy and possibly .gz or .zst, at the strongest usual compression.
func CreateVectors(path string, t DType, rows int64, dim int) (*VectorWriter, error) {
	ext, c := splitName(path)
	if ext != ".npy" {
		return nil, &FormatError{File: path, Row: -1, Rule: "name does not end in .npy (then .gz or .zst)"}
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	closers := []func() error{f.Close}
	var w io.Writer = f
	switch c {
	case gzipped:
		z, _ := gzip.NewWriterLevel(f, gzip.BestCompression) // fails only on an unknown level
		w, closers = z, append(closers, z.Close)
	case zstded:
		z, err := zstd.NewWriter(f, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1))
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		w, closers = z, append(closers, z.Close)
	}
	v, err := NewVectorWriter(w, t, rows, dim)
	if err != nil {
		for i := len(closers) - 1; i >= 0; i-- {
			err = errors.Join(err, closers[i]())
		}
		return nil, err
	}
	v.closers = closers
	return v, nil
}

// Write appends one row of the stated dimension. A value the type cannot hold is an error: one that is no whole number
// for u1 and i4, or one out of range. f2 rounds to nearest even.
func (v *VectorWriter) Write(row []float32) error {
	if err := v.begin(len(row)); err != nil {
		return err
	}
	for i, x := range row {
		switch v.dtype {
		case Float32:
			v.buf = binary.LittleEndian.AppendUint32(v.buf, math.Float32bits(x))
		case Float16:
			h := float16.Fromfloat32(x)
			if h.IsInf(0) && !math.IsInf(float64(x), 0) {
				return v.unfit(i, x)
			}
			v.buf = binary.LittleEndian.AppendUint16(v.buf, h.Bits())
		case Uint8:
			if !(x >= 0 && x <= math.MaxUint8 && x == float32(uint8(x))) {
				return v.unfit(i, x)
			}
			v.buf = append(v.buf, uint8(x))
		case Int32:
			// float32(1<<31) is the first float beyond the range.
			if !(x >= math.MinInt32 && x < 1<<31 && x == float32(int32(x))) {
				return v.unfit(i, x)
			}
			v.buf = binary.LittleEndian.AppendUint32(v.buf, uint32(int32(x)))
		}
	}
	return v.end()
}

// WriteInt32 appends one row to an i4 array, unconverted.
func (v *VectorWriter) WriteInt32(row []int32) error {
	if v.dtype != Int32 {
		return fmt.Errorf("row of i4 for an array of %v", v.dtype)
	}
	if err := v.begin(len(row)); err != nil {
		return err
	}
	for _, x := range row {
		v.buf = binary.LittleEndian.AppendUint32(v.buf, uint32(x))
	}
	return v.end()
}

func (v *VectorWriter) begin(n int) error {
	if n != v.dim {
		return fmt.Errorf("row %d has %d values, the array %d", v.row, n, v.dim)
	}
	if v.left == 0 {
		return fmt.Errorf("row %d is beyond the header's count", v.row)
	}
	v.buf = v.buf[:0]
	return nil
}

func (v *VectorWriter) end() error {
	v.left--
	v.row++
	_, err := v.out.Write(v.buf)
	return err
}

func (v *VectorWriter) unfit(i int, x float32) error {
	return fmt.Errorf("row %d: value %d is %v, which %v cannot hold", v.row, i, x, v.dtype)
}

// Close writes what is buffered and closes the file of [CreateVectors]. It is an error to close before all rows are
// written.
func (v *VectorWriter) Close() error {
	err := v.out.Flush()
	for i := len(v.closers) - 1; i >= 0; i-- {
		err = errors.Join(err, v.closers[i]())
	}
	v.closers = nil
	if v.left > 0 {
		err = errors.Join(err, fmt.Errorf("closed with %d rows of the header's count unwritten", v.left))
	}
	return err
}
