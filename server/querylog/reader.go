package querylog

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/encoding/protodelim"

	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// MaxRecordBytes bounds a record: longer ones are neither written nor read.
const MaxRecordBytes = 64 << 20

// RecordError says which record of a file cannot be read. Records after it cannot be found.
type RecordError struct {
	// Index of the record, from 0, and Offset where it begins.
	Index  int
	Offset int64
	// Truncated says that the file ends in the middle of the record, as that of a killed process does.
	Truncated bool
	Err       error
}

func (e *RecordError) Error() string {
	what := "cannot be read"
	if e.Truncated {
		what = "is cut off"
	}
	return fmt.Sprintf("querylog: record %d at byte %d %s: %v", e.Index, e.Offset, what, e.Err)
}

// Unwrap returns the cause.
func (e *RecordError) Unwrap() error { return e.Err }

// Reader reads the records of a file. It is not safe for concurrent use.
type Reader struct {
	in    *counting
	index int
}

// NewReader reads from r, which it buffers.
func NewReader(r io.Reader) *Reader { return &Reader{in: &counting{r: bufio.NewReaderSize(r, 64<<10)}} }

// Next returns the next query, io.EOF after the last one, or a *RecordError. No record takes more memory than
// MaxRecordBytes allows, whatever its length says.
func (r *Reader) Next() (*seguev1.NearestNeighborsRequest, error) {
	at := r.in.n
	m := &seguev1.NearestNeighborsRequest{}
	err := protodelim.UnmarshalOptions{MaxSize: MaxRecordBytes}.UnmarshalFrom(r.in, m)
	switch {
	case err == nil:
		r.index++
		return m, nil
	case errors.Is(err, io.EOF) && r.in.n == at:
		return nil, io.EOF
	}
	return nil, &RecordError{Index: r.index, Offset: at, Truncated: errors.Is(err, io.ErrUnexpectedEOF), Err: err}
}

// counting counts what is read.
type counting struct {
	r *bufio.Reader
	n int64
}

// Read implements io.Reader.
func (c *counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// ReadByte implements io.ByteReader.
func (c *counting) ReadByte() (byte, error) {
	b, err := c.r.ReadByte()
	if err == nil {
		c.n++
	}
	return b, err
}
