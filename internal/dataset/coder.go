package dataset

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
)

// coderRows reads the items of a graph that github.com/coder/hnsw v0.6.1 exported (Graph.Export, SavedGraph.Save): keys and
// vectors of its lowest layer, which has all nodes. The links are not read: they are of another graph.
//
//	file:   version varint = 1 | M varint | Ml float64 | EfSearch varint | name of the distance, string | layers varint | layer ...
//	layer:  nodes varint | node ...
//	node:   key | length of the vector varint | float32 ... | neighbors varint | key ...
//	key:    string: length varint | bytes        int: varint
//
// Integers are little-endian, varints zigzag as those of encoding/binary. Nothing in the file says whether keys are strings or
// ints: it is what the whole file can be read as, strings where both. An int becomes an id in decimal.
type coderRows struct {
	name string
	src  *source
	in   coderStream
	left int64 // nodes of the lowest layer
}

// coderVersion is what Graph.Export of v0.6.1 writes.
const coderVersion = 1

// Limits on what an export may claim; nothing is allocated that the file does not hold.
const (
	maxCoderKey    = 4096
	maxCoderLayers = 1 << 10
	maxCoderLinks  = 1 << 16
)

// newCoderRows reads the file through, so that damage is found before the first row. It does not close src.
func newCoderRows(name string, src *source) (*coderRows, error) {
	seeker, ok := src.Reader.(io.ReadSeeker)
	if !ok {
		return nil, &FormatError{File: name, Row: -1, Rule: "an export of coder/hnsw is read twice: it must be a plain file, not a stream"}
	}
	begin := func(ints bool) (coderStream, error) {
		_, err := seeker.Seek(0, io.SeekStart)
		return coderStream{r: bufio.NewReaderSize(seeker, 64<<10), ints: ints}, err
	}
	var causes []error
	for _, keys := range []string{"string", "int"} {
		s, err := begin(keys == "int")
		if err == nil {
			err = s.all()
		}
		if err != nil {
			causes = append(causes, fmt.Errorf("with %s keys: %w", keys, err))
			continue
		}
		if s, err = begin(keys == "int"); err != nil {
			return nil, &FormatError{File: name, Row: -1, Rule: "cannot be read", Err: err}
		}
		r := &coderRows{name: name, src: src, in: s}
		if r.in.head() > 0 {
			r.left = r.in.count(MaxRows)
		}
		return r, nil
	}
	return nil, &FormatError{File: name, Row: -1, Rule: "is no export of coder/hnsw v0.6.1, or a damaged one", Err: errors.Join(causes...)}
}

func (r *coderRows) close() { r.src.close() }

func (r *coderRows) next() (Record, error) {
	if r.left == 0 {
		return Record{}, io.EOF
	}
	r.left--
	rec := Record{Fields: map[string]any{}}
	rec.ID, rec.Vector = r.in.node(true)
	if r.in.err != nil {
		return Record{}, &FormatError{File: r.name, Row: -1, Rule: "is damaged", Err: r.in.err}
	}
	if rec.ID == "" {
		return rec, reject("key is empty")
	}
	return rec, nil
}

// coderStream reads the values of an export. After an error, which is kept, every value is zero.
type coderStream struct {
	r    *bufio.Reader
	ints bool
	at   int64
	err  error
	buf  []byte
}

func (s *coderStream) fail(format string, args ...any) {
	if s.err == nil {
		s.err = fmt.Errorf("byte %d: "+format, append([]any{s.at}, args...)...)
	}
}

// ReadByte implements io.ByteReader, for varints.
func (s *coderStream) ReadByte() (byte, error) {
	b, err := s.r.ReadByte()
	if err == nil {
		s.at++
	}
	return b, err
}

func (s *coderStream) varint() int64 {
	if s.err != nil {
		return 0
	}
	v, err := binary.ReadVarint(s)
	if err != nil {
		s.fail("number: %w", cutShort(err))
		return 0
	}
	return v
}

// cutShort makes the end of a file in the middle of a value an error that is not the end of rows.
func cutShort(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// count reads a number of things, which must not be more than most.
func (s *coderStream) count(most int64) int64 {
	n := s.varint()
	if n < 0 || n > most {
		s.fail("a count of %d, where 0 to %d are possible", n, most)
		return 0
	}
	return n
}

// bytes reads n bytes, at most some 64 KiB by the callers' limits; they are valid until the next call.
func (s *coderStream) bytes(n int64) []byte {
	if s.err != nil {
		return nil
	}
	if int64(cap(s.buf)) < n {
		s.buf = make([]byte, n)
	}
	s.buf = s.buf[:n]
	m, err := io.ReadFull(s.r, s.buf)
	s.at += int64(m)
	if err != nil {
		s.fail("%w", cutShort(err))
		return nil
	}
	return s.buf
}

func (s *coderStream) text(most int64) string { return string(s.bytes(s.count(most))) }

func (s *coderStream) key() string {
	if s.ints {
		v := s.varint()
		if s.err != nil {
			return ""
		}
		return strconv.FormatInt(v, 10)
	}
	return s.text(maxCoderKey)
}

// skipKey is key for those that nobody reads.
func (s *coderStream) skipKey() {
	if s.ints {
		s.varint()
	} else {
		s.bytes(s.count(maxCoderKey))
	}
}

// head reads up to the first layer, which is the lowest, and returns how many there are.
func (s *coderStream) head() (layers int64) {
	if v := s.varint(); s.err == nil && v != coderVersion {
		s.fail("version %d, only %d is known", v, coderVersion)
	}
	s.varint() // M
	s.bytes(8) // Ml
	s.varint() // EfSearch
	if s.text(maxCoderKey) == "" {
		s.fail("the distance has no name")
	}
	return s.count(maxCoderLayers)
}

// node reads a node; its vector only if that is asked for.
func (s *coderStream) node(wanted bool) (key string, vector []float32) {
	if wanted {
		key = s.key()
	} else {
		s.skipKey()
	}
	b := s.bytes(4 * s.count(MaxDim))
	if wanted && s.err == nil {
		vector = make([]float32, len(b)/4)
		for i := range vector {
			vector[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
		}
	}
	for n := s.count(maxCoderLinks); n > 0 && s.err == nil; n-- {
		s.skipKey()
	}
	return key, vector
}

// all reads the file through to its end.
func (s *coderStream) all() error {
	for layers := s.head(); layers > 0 && s.err == nil; layers-- {
		for nodes := s.count(MaxRows); nodes > 0 && s.err == nil; nodes-- {
			s.node(false)
		}
	}
	if s.err == nil {
		if _, err := s.ReadByte(); !errors.Is(err, io.EOF) {
			s.fail("bytes follow the last layer")
		}
	}
	return s.err
}
