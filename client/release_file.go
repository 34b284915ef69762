package client

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"google.golang.org/protobuf/proto"

	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// A release file holds a release as a server takes it: its rows and the graph over them. docs/formats/release.md has the bytes.
const (
	releaseMagic   = "SegueRel"
	releaseVersion = 1
	// frameHeaderLen: kind, 3 reserved bytes, length u32, crc32c u32.
	frameHeaderLen = 12
	// maxFrameBytes bounds a frame before anything is allocated for it; a server takes no larger message.
	maxFrameBytes = 16 << 20
	endFrameLen   = 4 * 8
)

// Kinds of frames; the numbers are on disk.
const (
	frameHead  = 1
	frameBatch = 2
	frameEnd   = 3
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ReleaseFileError says that bytes are no release file, or a damaged one, or one of a version that this program does not read.
type ReleaseFileError struct {
	// Frame counts from 0, the head; -1 before it.
	Frame   int
	Problem string
	Err     error
}

func (e *ReleaseFileError) Error() string {
	s := "release file: "
	if e.Frame >= 0 {
		s += fmt.Sprintf("frame %d: ", e.Frame)
	}
	s += e.Problem
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *ReleaseFileError) Unwrap() error { return e.Err }

// ReleaseSummary counts what a release file holds.
type ReleaseSummary struct {
	Batches, Items, Profiles, GraphParts int64
}

func (s *ReleaseSummary) add(b *seguev1.WriteImportRequest) {
	s.Batches++
	s.Items += int64(len(b.GetItems()))
	s.Profiles += int64(len(b.GetProfiles()))
	s.GraphParts += int64(len(b.GetGraphParts()))
}

// releaseWriter writes a release file.
type releaseWriter struct {
	w       *bufio.Writer
	frame   int
	buf     []byte
	summary ReleaseSummary
}

func newReleaseWriter(w io.Writer, head *seguev1.ReleaseHead) (*releaseWriter, error) {
	r := &releaseWriter{w: bufio.NewWriterSize(w, 1<<20)}
	if _, err := r.w.Write(binary.LittleEndian.AppendUint32([]byte(releaseMagic), releaseVersion)); err != nil {
		return nil, err
	}
	return r, r.message(frameHead, head)
}

// batch writes the next batch, which must have the number that follows.
func (r *releaseWriter) batch(b *seguev1.WriteImportRequest) error {
	r.summary.add(b)
	if b.GetSequence() != r.summary.Batches {
		return fmt.Errorf("batch %d comes where %d is next", b.GetSequence(), r.summary.Batches)
	}
	return r.message(frameBatch, b)
}

// end writes the counts, without which a file is cut.
func (r *releaseWriter) end() error {
	r.buf = append(r.buf[:0], make([]byte, frameHeaderLen)...)
	for _, n := range []int64{r.summary.Batches, r.summary.Items, r.summary.Profiles, r.summary.GraphParts} {
		r.buf = binary.LittleEndian.AppendUint64(r.buf, uint64(n))
	}
	if err := r.write(frameEnd); err != nil {
		return err
	}
	return r.w.Flush()
}

func (r *releaseWriter) message(kind byte, m proto.Message) (err error) {
	r.buf = append(r.buf[:0], make([]byte, frameHeaderLen)...)
	if r.buf, err = (proto.MarshalOptions{Deterministic: true}).MarshalAppend(r.buf, m); err != nil {
		return err
	}
	if n := len(r.buf) - frameHeaderLen; n > maxFrameBytes {
		return fmt.Errorf("a message of %d bytes does not fit in a release file", n)
	}
	return r.write(kind)
}

// write completes the frame in buf.
func (r *releaseWriter) write(kind byte) error {
	r.buf[0] = kind
	binary.LittleEndian.PutUint32(r.buf[4:], uint32(len(r.buf)-frameHeaderLen))
	binary.LittleEndian.PutUint32(r.buf[8:], frameSum(r.frame, r.buf[:8], r.buf[frameHeaderLen:]))
	r.frame++
	_, err := r.w.Write(r.buf)
	return err
}

// frameSum is the checksum of a frame's number, the beginning of its header, and its payload: a frame that is not at its place
// is as damaged as one with a flipped bit.
func frameSum(frame int, header, payload []byte) uint32 {
	var number [8]byte
	binary.LittleEndian.PutUint64(number[:], uint64(frame))
	sum := crc32.Update(crc32.Checksum(number[:], castagnoli), castagnoli, header)
	return crc32.Update(sum, castagnoli, payload)
}

// ReleaseReader reads a release file, frame by frame; it holds one at a time.
type ReleaseReader struct {
	r       *bufio.Reader
	frame   int
	buf     []byte
	head    *seguev1.ReleaseHead
	summary ReleaseSummary
	err     error // sticky
}

// NewReleaseReader reads the head of a release file. Errors: *ReleaseFileError.
func NewReleaseReader(r io.Reader) (*ReleaseReader, error) {
	x := &ReleaseReader{r: bufio.NewReaderSize(r, 1<<20), head: &seguev1.ReleaseHead{}}
	var begin [len(releaseMagic) + 4]byte
	if _, err := io.ReadFull(x.r, begin[:]); err != nil || string(begin[:len(releaseMagic)]) != releaseMagic {
		return nil, &ReleaseFileError{Frame: -1, Problem: "does not begin like one", Err: noEOF(err)}
	}
	if v := binary.LittleEndian.Uint32(begin[len(releaseMagic):]); v != releaseVersion {
		return nil, &ReleaseFileError{Frame: -1, Problem: fmt.Sprintf("is of version %d, this program reads %d: use the program that wrote it, or build it again", v, releaseVersion)}
	}
	kind, payload, err := x.next()
	if err != nil {
		return nil, err
	}
	if kind != frameHead {
		return nil, x.bad("a frame of kind %d where the head is due", kind)
	}
	if err := proto.Unmarshal(payload, x.head); err != nil {
		return nil, &ReleaseFileError{Frame: 0, Problem: "head does not decode", Err: err}
	}
	return x, nil
}

// noEOF leaves out the end of a file, which the problem says already.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

// Head says what the release is.
func (x *ReleaseReader) Head() *seguev1.ReleaseHead { return x.head }

// Summary counts what was read so far; after io.EOF, what the file holds.
func (x *ReleaseReader) Summary() ReleaseSummary { return x.summary }

// Next returns the next batch, which is the caller's, or io.EOF behind the last one of a whole file. Errors: *ReleaseFileError,
// sticky.
func (x *ReleaseReader) Next() (*seguev1.WriteImportRequest, error) {
	if x.err != nil {
		return nil, x.err
	}
	b, err := x.batch()
	x.err = err
	return b, err
}

func (x *ReleaseReader) batch() (*seguev1.WriteImportRequest, error) {
	kind, payload, err := x.next()
	if err != nil {
		return nil, err
	}
	switch kind {
	case frameBatch:
		b := &seguev1.WriteImportRequest{}
		if err := proto.Unmarshal(payload, b); err != nil {
			return nil, &ReleaseFileError{Frame: x.frame - 1, Problem: "batch does not decode", Err: err}
		}
		if x.summary.add(b); b.GetSequence() != x.summary.Batches {
			return nil, x.bad("batch %d where %d is next", b.GetSequence(), x.summary.Batches)
		}
		return b, nil
	case frameEnd:
		if len(payload) != endFrameLen {
			return nil, x.bad("end of %d bytes", len(payload))
		}
		for i, n := range []int64{x.summary.Batches, x.summary.Items, x.summary.Profiles, x.summary.GraphParts} {
			if got := binary.LittleEndian.Uint64(payload[8*i:]); got != uint64(n) {
				return nil, x.bad("the end counts %d where %d came", got, n)
			}
		}
		if _, err := x.r.ReadByte(); !errors.Is(err, io.EOF) {
			return nil, &ReleaseFileError{Frame: x.frame, Problem: "bytes follow the end", Err: err}
		}
		return nil, io.EOF
	}
	return nil, x.bad("unknown kind %d", kind)
}

func (x *ReleaseReader) bad(format string, args ...any) error {
	return &ReleaseFileError{Frame: x.frame - 1, Problem: fmt.Sprintf(format, args...)}
}

// next reads a frame; the payload is valid until the next one.
func (x *ReleaseReader) next() (kind byte, payload []byte, err error) {
	x.frame++
	var header [frameHeaderLen]byte
	if _, err := io.ReadFull(x.r, header[:]); err != nil {
		return 0, nil, &ReleaseFileError{Frame: x.frame - 1, Problem: "the file is cut here", Err: noEOF(err)}
	}
	n := binary.LittleEndian.Uint32(header[4:])
	if n > maxFrameBytes {
		return 0, nil, x.bad("claims %d bytes, more than %d", n, maxFrameBytes)
	}
	if cap(x.buf) < int(n) {
		x.buf = make([]byte, n)
	}
	x.buf = x.buf[:n]
	if _, err := io.ReadFull(x.r, x.buf); err != nil {
		return 0, nil, &ReleaseFileError{Frame: x.frame - 1, Problem: "the file is cut here", Err: noEOF(err)}
	}
	if frameSum(x.frame-1, header[:8], x.buf) != binary.LittleEndian.Uint32(header[8:]) {
		return 0, nil, x.bad("checksum does not match")
	}
	if header[1]|header[2]|header[3] != 0 {
		return 0, nil, x.bad("unknown flags")
	}
	return header[0], x.buf, nil
}
