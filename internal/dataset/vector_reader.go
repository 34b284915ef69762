package dataset

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"

	"github.com/x448/float16"
)

// VectorReader streams the rows of a matrix. It holds one row and a read buffer, whatever the file's size; of an array in
// column-major (Fortran) order, whose rows are spread over the file, it holds the values.
type VectorReader struct {
	name   string
	src    *source
	in     *bufio.Reader
	header npyHeader // dtype and dim always; rows = -1 for the *vecs formats
	perRow bool      // *vecs: every row begins with its dimension
	ready  bool      // the first row's dimension has been consumed (perRow only)
	row    int64     // rows returned so far
	buf    []byte    // one row as stored
	err    error     // sticky, io.EOF included
}

// OpenVectors opens the matrix at path. The file's name tells its format; see the package comment. A header that does
// not fit the file is a [*FormatError] here, not at the first row. The caller closes the reader.
func OpenVectors(path string) (*VectorReader, error) { return openVectors(nil, path) }

// OpenVectorsFS is [OpenVectors] within a file system, such as an embedded one.
func OpenVectorsFS(fsys fs.FS, name string) (*VectorReader, error) { return openVectors(fsys, name) }

// NewVectorReader reads a matrix from r, which holds the bytes of a file called name. Closing the reader does not close
// r; bytes after the matrix are an error.
func NewVectorReader(name string, r io.Reader) (*VectorReader, error) {
	src, err := newSource(name, r, -1)
	if err != nil {
		return nil, err
	}
	return newVectorReader(name, src)
}

func openVectors(fsys fs.FS, name string) (*VectorReader, error) {
	if ext, _ := splitName(name); !isVectorExt(ext) {
		return nil, unknownVectorExt(name)
	}
	src, err := openFile(fsys, name)
	if err != nil {
		return nil, err
	}
	return newVectorReader(name, src)
}

func isVectorExt(ext string) bool {
	switch ext {
	case ".npy", ".fvecs", ".bvecs", ".ivecs":
		return true
	}
	return false
}

func unknownVectorExt(name string) error {
	return &FormatError{File: name, Row: -1, Rule: "name does not end in .npy, .fvecs, .bvecs or .ivecs (then .gz or .zst)"}
}

// newVectorReader takes src over: it is closed on error.
func newVectorReader(name string, src *source) (*VectorReader, error) {
	r := &VectorReader{name: name, src: src, in: bufio.NewReaderSize(src, 256<<10)}
	if err := r.begin(); err != nil {
		src.close()
		return nil, err
	}
	r.buf = make([]byte, r.header.dim*r.header.dtype.Size())
	if r.header.columnMajor {
		if err := r.transpose(); err != nil {
			src.close()
			return nil, err
		}
	}
	return r, nil
}

// transpose reads a column-major array to its end and puts its rows, as stored, in the place of the file. Memory grows with
// what is read, not with what the header says.
func (r *VectorReader) transpose() error {
	rows, dim, size := int(r.header.rows), r.header.dim, r.header.dtype.Size()
	need := int64(rows) * int64(dim) * int64(size)
	columns, err := io.ReadAll(io.LimitReader(r.in, need))
	if err == nil && int64(len(columns)) < need {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return r.fault(-1, "column cut short", err)
	}
	if err := expectEnd(r.in); err != nil {
		return r.fault(-1, "end of file", err)
	}
	data := make([]byte, len(columns))
	for c := range dim {
		for i := range rows {
			copy(data[(i*dim+c)*size:][:size], columns[(c*rows+i)*size:])
		}
	}
	r.in.Reset(bytes.NewReader(data))
	return nil
}

// begin reads what comes before the first value and checks it against the file's size where that is known.
func (r *VectorReader) begin() error {
	ext, _ := splitName(r.name)
	switch ext {
	case ".npy":
		h, err := readNpyHeader(r.in)
		if err != nil {
			return r.fault(-1, "header", err)
		}
		r.header = h
		// rows and dim are bounded to 2^32 and 2^16, so the product with 4 fits an int64.
		if need := h.bytes + h.rows*int64(h.dim)*int64(h.dtype.Size()); r.src.size >= 0 && need != r.src.size {
			return r.fault(-1, fmt.Sprintf("file holds %d bytes, its header asks for %d", r.src.size, need), nil)
		}
		return nil
	case ".fvecs":
		r.header.dtype = Float32
	case ".bvecs":
		r.header.dtype = Uint8
	case ".ivecs":
		r.header.dtype = Int32
	default:
		return unknownVectorExt(r.name)
	}
	r.perRow, r.header.rows = true, -1
	dim, err := r.readDim()
	if errors.Is(err, io.EOF) {
		return r.fault(-1, "file is empty", nil)
	}
	if err != nil {
		return r.fault(0, "dimension", err)
	}
	if err := checkDim(dim); err != nil {
		return r.fault(0, err.Error(), nil)
	}
	r.header.dim, r.ready = int(dim), true
	if stored := 4 + dim*int64(r.header.dtype.Size()); r.src.size >= 0 {
		if r.src.size%stored != 0 {
			return r.fault(-1, fmt.Sprintf("file holds %d bytes, not a multiple of the %d of one row", r.src.size, stored), nil)
		}
		r.header.rows = r.src.size / stored
	}
	return nil
}

// Rows returns how many rows the file has by its header or size, -1 if neither tells (a compressed .*vecs file).
func (r *VectorReader) Rows() int64 { return r.header.rows }

// Dim returns the length of every row.
func (r *VectorReader) Dim() int { return r.header.dim }

// DType returns the stored type.
func (r *VectorReader) DType() DType { return r.header.dtype }

// Next reads the next row into dst, whose length must be Dim, converting it to float32: exact for f2, f4 and u1,
// rounded to nearest beyond 2^24 for i4. It returns io.EOF after the last row and a [*FormatError] when the file breaks
// its format; both are sticky.
func (r *VectorReader) Next(dst []float32) error {
	if len(dst) != r.header.dim {
		panic(fmt.Sprintf("dataset: row of %d values read into %d", r.header.dim, len(dst)))
	}
	if err := r.next(); err != nil {
		return err
	}
	decodeFloat32(dst, r.buf, r.header.dtype)
	return nil
}

func (r *VectorReader) wantInteger() error {
	if t := r.header.dtype; t != Int32 && t != Uint8 {
		return r.fault(-1, fmt.Sprintf("dtype %v where integers are wanted", t), nil)
	}
	return nil
}

// Close releases the file. The reader is not usable afterwards.
func (r *VectorReader) Close() error {
	r.src.close()
	if r.err == nil {
		r.err = fs.ErrClosed
	}
	return nil
}

// next reads the next row, as stored, into buf.
func (r *VectorReader) next() error {
	if r.err == nil {
		if r.err = r.readRow(); r.err == nil {
			r.row++
		}
	}
	return r.err
}

func (r *VectorReader) readRow() error {
	if !r.perRow && r.row == r.header.rows {
		if err := expectEnd(r.in); err != nil {
			return r.fault(-1, "end of file", err)
		}
		return io.EOF
	}
	if r.perRow && !r.ready {
		dim, err := r.readDim()
		if errors.Is(err, io.EOF) {
			return io.EOF
		}
		if err != nil {
			return r.fault(r.row, "dimension", err)
		}
		if dim != int64(r.header.dim) {
			return r.fault(r.row, fmt.Sprintf("dimension %d, the rows before have %d", dim, r.header.dim), nil)
		}
	}
	r.ready = false
	if _, err := io.ReadFull(r.in, r.buf); err != nil {
		return r.fault(r.row, "row cut short", noEOF(err))
	}
	return nil
}

// readDim reads the dimension before a row of a *vecs file: io.EOF if the file ends before it.
func (r *VectorReader) readDim() (int64, error) {
	var b [4]byte
	if _, err := io.ReadFull(r.in, b[:]); err != nil {
		return 0, err
	}
	return int64(int32(binary.LittleEndian.Uint32(b[:]))), nil
}

func (r *VectorReader) fault(row int64, rule string, err error) error {
	return &FormatError{File: r.name, Row: row, Rule: rule, Err: err}
}

// noEOF turns io.EOF, which callers take for a good end, into io.ErrUnexpectedEOF.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func decodeFloat32(dst []float32, src []byte, t DType) {
	switch t {
	case Float32:
		for i := range dst {
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
		}
	case Float16:
		for i := range dst {
			dst[i] = float16.Frombits(binary.LittleEndian.Uint16(src[2*i:])).Float32()
		}
	case Uint8:
		for i := range dst {
			dst[i] = float32(src[i])
		}
	case Int32:
		for i := range dst {
			dst[i] = float32(int32(binary.LittleEndian.Uint32(src[4*i:])))
		}
	}
}

func decodeInt32(dst []int32, src []byte, t DType) {
	if t == Uint8 {
		for i := range dst {
			dst[i] = int32(src[i])
		}
		return
	}
	for i := range dst {
		dst[i] = int32(binary.LittleEndian.Uint32(src[4*i:]))
	}
}
