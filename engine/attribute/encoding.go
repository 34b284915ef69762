package attribute

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"time"
)

// Encoded sets:
//
//	format u8 = 1 | count uvarint | { name length uvarint | name | type u8 | value } ...
//
// in ascending order of name. Values: KEYWORD count uvarint then length uvarint + bytes each; BOOL u8;
// INT varint (zigzag); FLOAT 8 bytes little-endian; TIMESTAMP varint, microseconds since 1970 UTC;
// MARKETS length uvarint + the bytes of a MarketSet. No attributes at all is the empty string.
//
// Where what they are of expires, the time, in microseconds since 1970 UTC and above 0, comes first:
//
//	format u8 = 2 | expiry uvarint | count uvarint | ...
const (
	format         = 1
	formatExpiring = 2
)

// ErrMalformed is wrapped by the errors of Decode.
var ErrMalformed = errors.New("malformed attributes")

// Append encodes s, which is sorted and valid.
func Append(dst []byte, s Set) []byte { return AppendExpiring(dst, s, 0) }

// AppendExpiring is Append of the attributes of something that expires at a time in microseconds since 1970 UTC; 0 is never.
func AppendExpiring(dst []byte, s Set, expiry int64) []byte {
	dst = appendHeader(dst, len(s), expiry)
	for _, a := range s {
		dst = appendAttribute(dst, a)
	}
	return dst
}

// appendHeader appends what comes before the attributes.
func appendHeader(dst []byte, count int, expiry int64) []byte {
	switch {
	case expiry > 0:
		dst = append(dst, formatExpiring)
		dst = binary.AppendUvarint(dst, uint64(expiry))
	case count == 0:
		return dst
	default:
		dst = append(dst, format)
	}
	return binary.AppendUvarint(dst, uint64(count))
}

func appendAttribute(dst []byte, a Attribute) []byte {
	dst = appendString(dst, a.Name)
	dst = append(dst, byte(a.Value.Type))
	return appendValue(dst, a.Value)
}

func appendValue(dst []byte, v Value) []byte {
	switch v.Type {
	case Keyword:
		dst = binary.AppendUvarint(dst, uint64(len(v.Keywords)))
		for _, k := range v.Keywords {
			dst = appendString(dst, k)
		}
	case Bool:
		if v.Bool {
			return append(dst, 1)
		}
		return append(dst, 0)
	case Int:
		dst = binary.AppendVarint(dst, v.Int)
	case Float:
		dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(v.Float))
	case Timestamp:
		dst = binary.AppendVarint(dst, v.Time.UnixMicro())
	case Markets:
		dst = appendString(dst, string(v.Markets))
	}
	return dst
}

func appendString(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// Decode decodes what Append wrote, keeping only the named attributes where names is not empty. It never allocates
// more than a small multiple of len(src).
func Decode(src []byte, names []string) (Set, error) {
	if len(src) == 0 {
		return nil, nil
	}
	if src[0] != format && src[0] != formatExpiring {
		return nil, fmt.Errorf("%w: format %d", ErrMalformed, src[0])
	}
	d := open(src)
	n := d.count(minAttribute)
	var out Set
	if len(names) == 0 {
		out = make(Set, 0, n)
	}
	for range n {
		name := d.bytes()
		keep := len(names) == 0 || slices.Contains(names, string(name))
		raw := d.raw()
		if d.bad {
			break
		}
		if keep {
			out = append(out, Attribute{Name: string(name), Value: raw.Value()})
		}
	}
	if d.bad || len(d.src) != 0 {
		return nil, ErrMalformed
	}
	return out, nil
}

// minAttribute is the length of the shortest attribute: empty name, type, one byte.
const minAttribute = 3

// Raw is one attribute's value as it is encoded.
type Raw struct {
	Type  Type
	bytes []byte // well-formed; aliases the encoded set
}

// Reader reads the attributes of an encoded set in ascending order of name. Names and values alias the set. It ends early
// where the set is malformed, which one that was read through Decode or the store's checksums is not.
type Reader struct {
	d    decoder
	left int
}

// Read returns a reader of an encoded set.
func Read(src []byte) Reader {
	r := Reader{d: open(src)}
	r.left = r.d.count(minAttribute)
	return r
}

// Next returns the next attribute; false after the last.
func (r *Reader) Next() (name []byte, value Raw, ok bool) {
	if r.left == 0 {
		return nil, Raw{}, false
	}
	r.left--
	name = r.d.bytes()
	value = r.d.raw()
	if r.d.bad {
		r.left = 0
		return nil, Raw{}, false
	}
	return name, value, true
}

// Expiry returns when what an encoded set is of expires, in microseconds since 1970 UTC; 0 is never. Cost: a few bytes.
func Expiry(src []byte) int64 {
	if len(src) == 0 || src[0] != formatExpiring {
		return 0
	}
	d := decoder{src: src[1:]}
	return d.expiry()
}

// All yields what a Reader reads.
func All(src []byte) iter.Seq2[[]byte, Raw] {
	return func(yield func([]byte, Raw) bool) {
		r := Read(src)
		for name, value, ok := r.Next(); ok && yield(name, value); name, value, ok = r.Next() {
		}
	}
}

// Lookup returns one attribute of an encoded set. Cost: one pass; it allocates nothing.
func Lookup(src []byte, name string) (Raw, bool) {
	d := open(src)
	for range d.count(minAttribute) {
		switch n := d.bytes(); {
		case string(n) == name:
			value := d.raw()
			return value, !d.bad
		case string(n) > name:
			return Raw{}, false
		}
		d.raw()
	}
	return Raw{}, false
}

// Value decodes the value.
func (r Raw) Value() Value {
	v := Value{Type: r.Type}
	switch r.Type {
	case Keyword:
		n, _ := binary.Uvarint(r.bytes)
		v.Keywords = make([]string, 0, n)
		for k := range r.Keywords() {
			v.Keywords = append(v.Keywords, string(k))
		}
	case Bool:
		v.Bool = r.Bool()
	case Int:
		v.Int = r.Int()
	case Float:
		v.Float = r.Float()
	case Timestamp:
		v.Time = time.UnixMicro(r.Micros()).UTC()
	case Markets:
		v.Markets = MarketSet(r.MarketBytes())
	}
	return v
}

// Keywords yields the strings of a KEYWORD as bytes that alias the encoded set.
func (r Raw) Keywords() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		d := decoder{src: r.bytes}
		for range d.length() {
			if !yield(d.bytes()) {
				return
			}
		}
	}
}

// Bool returns the value of a BOOL.
func (r Raw) Bool() bool { return r.bytes[0] != 0 }

// Int returns the value of an INT.
func (r Raw) Int() int64 { v, _ := binary.Varint(r.bytes); return v }

// Float returns the value of a FLOAT.
func (r Raw) Float() float64 { return math.Float64frombits(binary.LittleEndian.Uint64(r.bytes)) }

// Micros returns the value of a TIMESTAMP in microseconds since 1970 UTC.
func (r Raw) Micros() int64 { v, _ := binary.Varint(r.bytes); return v }

// MarketBytes returns the bytes of a MARKETS, which are those of a MarketSet and alias the encoded set.
func (r Raw) MarketBytes() []byte {
	_, n := binary.Uvarint(r.bytes)
	return r.bytes[n:]
}

// Equal reports whether both are encoded alike.
func (r Raw) Equal(o Raw) bool { return r.Type == o.Type && string(r.bytes) == string(o.bytes) }

// decoder consumes src; after the first malformed field bad is set and everything reads as zero.
type decoder struct {
	src []byte
	bad bool
}

// open returns a decoder of what comes after format and expiry; a bad one where the set is empty or malformed.
func open(src []byte) decoder {
	switch {
	case len(src) > 0 && src[0] == format:
		return decoder{src: src[1:]}
	case len(src) > 0 && src[0] == formatExpiring:
		d := decoder{src: src[1:]}
		d.expiry()
		return d
	}
	return decoder{bad: true}
}

func (d *decoder) uvarint() uint64 {
	if len(d.src) > 0 && d.src[0] < 0x80 { // nearly always
		v := d.src[0]
		d.src = d.src[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(d.src)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.src = d.src[n:]
	return v
}

// expiry reads a time above 0.
func (d *decoder) expiry() int64 {
	v := d.uvarint()
	if v == 0 || v > math.MaxInt64 {
		d.fail()
		return 0
	}
	return int64(v)
}

// count reads a number of things of at least size bytes each, bounded by what is left.
func (d *decoder) count(size int) int {
	n := d.uvarint()
	if n > uint64(len(d.src)/size) {
		d.fail()
		return 0
	}
	return int(n)
}

func (d *decoder) take(n int) []byte {
	if n > len(d.src) {
		d.fail()
		return nil
	}
	b := d.src[:n:n]
	d.src = d.src[n:]
	return b
}

// length reads a number of bytes, or of things of at least one byte each, bounded by what is left.
func (d *decoder) length() int {
	n := d.uvarint()
	if n > uint64(len(d.src)) {
		d.fail()
		return 0
	}
	return int(n)
}

func (d *decoder) bytes() []byte { return d.take(d.length()) }

func (d *decoder) fail() { d.bad, d.src = true, nil }

// raw reads type and value, checks the value, and returns its bytes.
func (d *decoder) raw() Raw {
	t := d.take(1)
	if t == nil {
		return Raw{}
	}
	from := d.src
	switch Type(t[0]) {
	case Keyword:
		for range d.length() {
			d.bytes()
		}
	case Bool:
		d.take(1)
	case Int, Timestamp:
		d.uvarint() // as long as the varint that it is
	case Float:
		d.take(8)
	case Markets:
		if !validMarkets(d.bytes()) {
			d.fail()
		}
	default:
		d.fail()
	}
	if d.bad {
		return Raw{}
	}
	return Raw{Type: Type(t[0]), bytes: from[: len(from)-len(d.src) : len(from)-len(d.src)]}
}
