package dataset

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// codec is the compression a file name ends with.
type codec uint8

const (
	plain codec = iota
	gzipped
	zstded
)

// splitName returns the format's extension in lower case ("" if none) and the compression.
func splitName(name string) (ext string, c codec) {
	name = strings.ToLower(name)
	switch path.Ext(name) {
	case ".gz":
		name, c = strings.TrimSuffix(name, ".gz"), gzipped
	case ".zst":
		name, c = strings.TrimSuffix(name, ".zst"), zstded
	}
	return path.Ext(name), c
}

// source is the decompressed bytes of one file.
type source struct {
	io.Reader
	size    int64    // decompressed bytes, -1 if unknown
	closers []func() // run last to first
}

func (s *source) close() {
	for i := len(s.closers) - 1; i >= 0; i-- {
		s.closers[i]()
	}
	s.closers = nil
}

// length is the size, which what can seek also tells, by moving to its end.
func (s *source) length() (int64, error) {
	if seeker, ok := s.Reader.(io.Seeker); ok && s.size < 0 {
		return seeker.Seek(0, io.SeekEnd)
	}
	if s.size < 0 {
		return 0, errors.New("its size is unknown")
	}
	return s.size, nil
}

// newSource decompresses r as its name says. size is the length of r, -1 if unknown. The error is a [*FormatError].
func newSource(name string, r io.Reader, size int64) (*source, error) {
	fault := func(err error) error {
		return &FormatError{File: name, Row: -1, Rule: "compressed stream does not begin well", Err: noEOF(err)}
	}
	switch _, c := splitName(name); c {
	case gzipped:
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, fault(err)
		}
		return &source{Reader: z, size: -1, closers: []func(){func() { z.Close() }}}, nil
	case zstded:
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(maxWindowBytes))
		if err != nil {
			return nil, fault(err)
		}
		return &source{Reader: z, size: -1, closers: []func(){z.Close}}, nil
	}
	return &source{Reader: r, size: size}, nil
}

// openFile opens name in fsys, or on the operating system's file system if fsys is nil.
func openFile(fsys fs.FS, name string) (*source, error) {
	var (
		f   fs.File
		err error
	)
	if fsys == nil {
		f, err = os.Open(name)
	} else {
		f, err = fsys.Open(name)
	}
	if err != nil {
		return nil, err
	}
	size := int64(-1)
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
		size = info.Size()
	}
	s, err := newSource(name, f, size)
	if err != nil {
		f.Close()
		return nil, err
	}
	s.closers = append([]func(){func() { f.Close() }}, s.closers...)
	return s, nil
}

// expectEnd returns an error unless r is at its end. Reading to the end is also what verifies a stream's checksum.
func expectEnd(r io.Reader) error {
	var b [1]byte
	switch n, err := io.ReadFull(r, b[:]); {
	case n > 0:
		return errors.New("bytes left over after the last row")
	case errors.Is(err, io.EOF):
		return nil
	default:
		return err
	}
}
