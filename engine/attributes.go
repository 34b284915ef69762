package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// Encoded attributes, as stored in item rows and held in memory:
//
//	format u8 = 1 | count uvarint | { name length uvarint | name | type u8 | value } ...
//
// in ascending order of name. Values: KEYWORD count uvarint then length uvarint + bytes each; BOOL u8;
// INT varint (zigzag); FLOAT 8 bytes little-endian; TIMESTAMP varint, microseconds since 1970 UTC.
// No attributes at all is the empty string.
const attributesFormat = 1

var errAttributes = errors.New("malformed attributes")

// appendAttributes encodes a, which is sorted and valid.
func appendAttributes(dst []byte, a Attributes) []byte {
	if len(a) == 0 {
		return dst
	}
	dst = append(dst, attributesFormat)
	dst = binary.AppendUvarint(dst, uint64(len(a)))
	for _, at := range a {
		dst = appendString(dst, at.Name)
		dst = append(dst, byte(at.Value.Type))
		switch v := at.Value; v.Type {
		case Keyword:
			dst = binary.AppendUvarint(dst, uint64(len(v.Keywords)))
			for _, k := range v.Keywords {
				dst = appendString(dst, k)
			}
		case Bool:
			if v.Bool {
				dst = append(dst, 1)
			} else {
				dst = append(dst, 0)
			}
		case Int:
			dst = binary.AppendVarint(dst, v.Int)
		case Float:
			dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(v.Float))
		case Timestamp:
			dst = binary.AppendVarint(dst, v.Time.UnixMicro())
		}
	}
	return dst
}

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// decodeAttributes decodes what appendAttributes wrote, keeping only the named attributes where names is
// not empty. It never allocates more than a small multiple of len(src).
func decodeAttributes(src []byte, names []string) (Attributes, error) {
	if len(src) == 0 {
		return nil, nil
	}
	if src[0] != attributesFormat {
		return nil, fmt.Errorf("%w: format %d", errAttributes, src[0])
	}
	d := attributeDecoder{src: src[1:]}
	n := d.count(3) // the shortest attribute: empty name, type, one byte
	var out Attributes
	if len(names) == 0 {
		out = make(Attributes, 0, n)
	}
	for range n {
		name := d.bytes()
		keep := len(names) == 0 || slices.Contains(names, string(name))
		v := d.value(keep)
		if d.bad {
			break
		}
		if keep {
			out = append(out, Attribute{Name: string(name), Value: v})
		}
	}
	if d.bad || len(d.src) != 0 {
		return nil, errAttributes
	}
	return out, nil
}

// attributeDecoder consumes src; after the first malformed field bad is set and everything reads as zero.
type attributeDecoder struct {
	src []byte
	bad bool
}

func (d *attributeDecoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.src)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.src = d.src[n:]
	return v
}

func (d *attributeDecoder) varint() int64 {
	v, n := binary.Varint(d.src)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.src = d.src[n:]
	return v
}

// count reads a number of things of at least size bytes each, bounded by what is left.
func (d *attributeDecoder) count(size int) int {
	n := d.uvarint()
	if n > uint64(len(d.src)/size) {
		d.fail()
		return 0
	}
	return int(n)
}

func (d *attributeDecoder) take(n int) []byte {
	if n > len(d.src) {
		d.fail()
		return nil
	}
	b := d.src[:n]
	d.src = d.src[n:]
	return b
}

func (d *attributeDecoder) bytes() []byte { return d.take(d.count(1)) }

func (d *attributeDecoder) fail() { d.bad, d.src = true, nil }

func (d *attributeDecoder) value(keep bool) Value {
	t := d.take(1)
	if t == nil {
		return Value{}
	}
	v := Value{Type: AttributeType(t[0])}
	switch v.Type {
	case Keyword:
		n := d.count(1)
		if keep {
			v.Keywords = make([]string, 0, n)
		}
		for range n {
			if b := d.bytes(); keep {
				v.Keywords = append(v.Keywords, string(b))
			}
		}
	case Bool:
		if b := d.take(1); b != nil {
			v.Bool = b[0] != 0
		}
	case Int:
		v.Int = d.varint()
	case Float:
		if b := d.take(8); b != nil {
			v.Float = math.Float64frombits(binary.LittleEndian.Uint64(b))
		}
	case Timestamp:
		v.Time = time.UnixMicro(d.varint()).UTC()
	default:
		d.fail()
	}
	return v
}

// sorted returns a in ascending order of name, copying only where it is not.
func (a Attributes) sorted() Attributes {
	byName := func(x, y Attribute) int { return strings.Compare(x.Name, y.Name) }
	if slices.IsSortedFunc(a, byName) {
		return a
	}
	a = slices.Clone(a)
	slices.SortStableFunc(a, byName)
	return a
}

// String names the type as the API does.
func (t AttributeType) String() string {
	switch t {
	case Keyword:
		return "KEYWORD"
	case Bool:
		return "BOOL"
	case Int:
		return "INT"
	case Float:
		return "FLOAT"
	case Timestamp:
		return "TIMESTAMP"
	}
	return fmt.Sprintf("AttributeType(%d)", uint8(t))
}
