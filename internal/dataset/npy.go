package dataset

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
)

// DType is the type of one stored value.
type DType uint8

// The stored types, with NumPy's names.
const (
	Float32 DType = iota + 1 // f4
	Float16                  // f2
	Uint8                    // u1
	Int32                    // i4
)

// Size returns the bytes of one value.
func (t DType) Size() int {
	switch t {
	case Float16:
		return 2
	case Uint8:
		return 1
	}
	return 4
}

// String returns NumPy's name of the type.
func (t DType) String() string {
	switch t {
	case Float32:
		return "f4"
	case Float16:
		return "f2"
	case Uint8:
		return "u1"
	case Int32:
		return "i4"
	}
	return fmt.Sprintf("DType(%d)", uint8(t))
}

// descr returns the type as a .npy header names it.
func (t DType) descr() string {
	if t == Uint8 {
		return "|u1"
	}
	return "<" + t.String()
}

const npyMagic = "\x93NUMPY"

// npyHeader is a .npy header that passed every check: 0 <= rows <= MaxRows, 1 <= dim <= MaxDim.
type npyHeader struct {
	dtype       DType
	columnMajor bool
	rows        int64
	dim         int
	bytes       int64 // length of the header in the file; data follows
}

// readNpyHeader reads the header from r and leaves r at the first value. Errors say the rule that was broken.
func readNpyHeader(r io.Reader) (npyHeader, error) {
	var h npyHeader
	var fixed [8]byte
	if _, err := io.ReadFull(r, fixed[:]); err != nil {
		return h, fmt.Errorf("no .npy header: %w", noEOF(err))
	}
	if string(fixed[:6]) != npyMagic {
		return h, errors.New("not a .npy file: the magic bytes are missing")
	}
	var length int64
	switch fixed[6] {
	case 1:
		var b [2]byte
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return h, fmt.Errorf("header cut short: %w", noEOF(err))
		}
		length, h.bytes = int64(binary.LittleEndian.Uint16(b[:])), 10
	case 2:
		var b [4]byte
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return h, fmt.Errorf("header cut short: %w", noEOF(err))
		}
		length, h.bytes = int64(binary.LittleEndian.Uint32(b[:])), 12
	default:
		return h, fmt.Errorf("header version %d.%d is not read, only 1.0 and 2.0", fixed[6], fixed[7])
	}
	if length > maxHeaderBytes {
		return h, fmt.Errorf("header of %d bytes, at most %d are read", length, maxHeaderBytes)
	}
	text := make([]byte, length)
	if _, err := io.ReadFull(r, text); err != nil {
		return h, fmt.Errorf("header cut short: %w", noEOF(err))
	}
	h.bytes += length
	return h, h.parse(text)
}

// parse reads the header's text, a Python dict with exactly the keys descr, fortran_order and shape.
func (h *npyHeader) parse(text []byte) error {
	p := npyParser{rest: text}
	var seenDescr, seenOrder, seenShape bool
	if !p.take('{') {
		return errors.New("header is not a dict")
	}
	for !p.take('}') {
		key, ok := p.quoted()
		if !ok || !p.take(':') {
			return errors.New("header is not a dict of string keys")
		}
		var err error
		switch {
		case key == "descr" && !seenDescr:
			seenDescr = true
			h.dtype, err = p.descr()
		case key == "fortran_order" && !seenOrder:
			seenOrder = true
			h.columnMajor, err = p.boolean()
		case key == "shape" && !seenShape:
			seenShape = true
			h.rows, h.dim, err = p.shape()
		default:
			err = fmt.Errorf("header key %q unknown or repeated", key)
		}
		if err != nil {
			return err
		}
		if !p.take(',') {
			if !p.take('}') {
				return errors.New("header is not a dict")
			}
			break
		}
	}
	if len(bytes.TrimSpace(p.rest)) != 0 {
		return errors.New("text after the header's dict")
	}
	if !seenDescr || !seenOrder || !seenShape {
		return errors.New("header lacks one of descr, fortran_order, shape")
	}
	return nil
}

// npyParser walks the few Python literals of a header.
type npyParser struct{ rest []byte }

// take consumes blanks and then c, if c is what comes next.
func (p *npyParser) take(c byte) bool {
	p.rest = bytes.TrimLeft(p.rest, " \t\r\n")
	if len(p.rest) == 0 || p.rest[0] != c {
		return false
	}
	p.rest = p.rest[1:]
	return true
}

func (p *npyParser) quoted() (string, bool) {
	quote := byte('\'')
	if !p.take(quote) {
		quote = '"'
		if !p.take(quote) {
			return "", false
		}
	}
	i := bytes.IndexByte(p.rest, quote)
	if i < 0 {
		return "", false
	}
	s := string(p.rest[:i])
	p.rest = p.rest[i+1:]
	return s, true
}

func (p *npyParser) descr() (DType, error) {
	s, ok := p.quoted()
	if !ok {
		return 0, errors.New("structured dtypes are not read, only f2, f4, u1 and i4")
	}
	order, name := byte('='), s
	if len(s) > 0 && strings.IndexByte("<>=|", s[0]) >= 0 {
		order, name = s[0], s[1:]
	}
	for _, t := range [...]DType{Float32, Float16, Uint8, Int32} {
		if name != t.String() {
			continue
		}
		switch {
		case t == Uint8, order == '<', order == '=' && nativeIsLittle():
			return t, nil
		case order == '|':
			return 0, fmt.Errorf("dtype %q names no byte order", s)
		}
		return 0, fmt.Errorf("dtype %q is big endian, only little endian is read", s)
	}
	return 0, fmt.Errorf("dtype %q is not read, only f2, f4, u1 and i4", s)
}

func nativeIsLittle() bool {
	return binary.NativeEndian.Uint16([]byte{1, 0}) == 1
}

func (p *npyParser) boolean() (bool, error) {
	p.take(' ')
	for word, value := range map[string]bool{"True": true, "False": false} {
		if rest, ok := bytes.CutPrefix(p.rest, []byte(word)); ok {
			p.rest = rest
			return value, nil
		}
	}
	return false, errors.New("fortran_order is neither True nor False")
}

func (p *npyParser) shape() (rows int64, dim int, err error) {
	bad := errors.New("shape is not (rows, dim) or (dim,)")
	if !p.take('(') {
		return 0, 0, bad
	}
	var sizes []int64
	for !p.take(')') {
		p.take(' ')
		end := 0
		for end < len(p.rest) && '0' <= p.rest[end] && p.rest[end] <= '9' {
			end++
		}
		n, err := strconv.ParseInt(string(p.rest[:end]), 10, 64)
		if err != nil || len(sizes) == 2 {
			return 0, 0, bad
		}
		p.rest = p.rest[end:]
		sizes = append(sizes, n)
		if !p.take(',') {
			if !p.take(')') {
				return 0, 0, bad
			}
			break
		}
	}
	switch len(sizes) {
	case 1:
		sizes = []int64{1, sizes[0]}
	case 2:
	default:
		return 0, 0, bad
	}
	if sizes[0] > MaxRows {
		return 0, 0, fmt.Errorf("%d rows, at most %d are read", sizes[0], int64(MaxRows))
	}
	if err := checkDim(sizes[1]); err != nil {
		return 0, 0, err
	}
	return sizes[0], int(sizes[1]), nil
}

// checkDim returns an error unless 1 <= dim <= MaxDim.
func checkDim(dim int64) error {
	if dim < 1 || dim > MaxDim {
		return fmt.Errorf("dimension %d is outside 1..%d", dim, MaxDim)
	}
	return nil
}

// appendNpyHeader appends a version 1.0 header, padded so that the data begins at a multiple of 64 bytes as the format
// asks.
func appendNpyHeader(dst []byte, t DType, rows int64, dim int) []byte {
	text := fmt.Sprintf("{'descr': '%s', 'fortran_order': False, 'shape': (%d, %d), }", t.descr(), rows, dim)
	const before = len(npyMagic) + 2 + 2
	padding := (64 - (before+len(text)+1)%64) % 64
	text += strings.Repeat(" ", padding) + "\n"
	if len(text) > math.MaxUint16 {
		panic("dataset: .npy header beyond version 1.0")
	}
	dst = append(dst, npyMagic...)
	dst = append(dst, 1, 0)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(len(text)))
	return append(dst, text...)
}
