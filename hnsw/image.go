package hnsw

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/segue-ann/segue/internal/quantize"
)

// The image of an index is a header and five sections of slabs. All integers are little-endian.
//
//	+-------+---------+-----+--------+---+----------------+------+-------+-------+------+--------+-------+----+------+------+-----------+--------+
//	| magic | version | dim | metric | M | efConstruction | seed | slots | upper | live | fitted | entry | lo | step | bits | precision | crc32c |
//	|   8   |    4    |  4  |   4    | 4 |       4        |  8   |   4   |   4   |  4   |   4    |   8   | 4  |  4   |  4   |     4     |   4    |
//	+-------+---------+-----+--------+---+----------------+------+-------+-------+------+--------+-------+----+------+------+-----------+--------+
//
// slots is the number of slots, upper the number of upper rows, live the number of live slots. entry is level<<32 | slot, or
// all ones in an empty index. lo and step are the codec of the codes that walks read, as float32, fitted the number of live
// vectors when it was fitted, and bits what a code has: 7, or 4 for nibbles; all zero where there is none. The codes follow
// from the vectors. precision is 1 where vectors are float32, 2 where they are half floats. The checksum is of the bytes before it.
// Version 2 has no precision: float32. Version 1 has no bits either: codes have 7.
//
//	vectors   a row a slot: Dim float32 or half floats (stored form: normalised under COSINE); zeros where the slot is not live
//	links0    a row a slot: 2M uint32, neighbours and then 0xFFFFFFFF to the end; none where the slot is not live
//	upper     a row a slot and level above 0, by slot, then level: M uint32, likewise
//	parents   a row a slot: uint32, its parent in the tree of links; 0xFFFFFFFF where the slot is not live
//	live      a row 64 slots: uint64, bit i of row r for slot 64r+i
//
// Levels are not stored: they follow from seed, M and slot. A slab is a run of whole rows, as many as fit its section's slab
// size and one at least; the last one is shorter.
const (
	imageMagic   = "SegueANN"
	imageVersion = 3
	headerSize   = 76
	headerSizeV2 = 72
	headerSizeV1 = 68

	vectorSlabBytes = 512 << 10
	linkSlabBytes   = 256 << 10
)

// sectionID numbers the sections. Sections that commits write come first; a snapshot puts their slabs aside.
type sectionID int

const (
	sectionLinks sectionID = iota
	sectionUpper
	sectionParents
	sectionVectors
	sectionLive
	sectionCount

	writtenSections = sectionVectors
)

// Section describes one section of an image.
type Section struct {
	Name  string
	Slabs int
	// Compress tells whether compressing the slabs is worth the time: links are, vectors are noise.
	Compress bool
}

// FormatError means that bytes are no image of an index, or not the image the header describes.
type FormatError struct {
	Section string // empty: the header, or the image as a whole
	Slab    int
	Problem string
}

func (e *FormatError) Error() string {
	if e.Section == "" {
		return "hnsw: damaged image: " + e.Problem
	}
	return fmt.Sprintf("hnsw: damaged image: section %s, slab %d: %s", e.Section, e.Slab, e.Problem)
}

// image is what the header says.
type image struct {
	dim, m, efConstruction int
	metric                 Metric
	precision              Precision
	seed                   uint64
	slots, upper, live     uint32
	entry                  uint64
	codec                  quantize.U7 // the zero value: none
	nibbles                bool        // codes have 4 bits
	fitted                 uint32
}

// appendHeader appends the encoded header.
func (g *image) appendHeader(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, imageMagic...)
	le := binary.LittleEndian
	dst = le.AppendUint32(dst, imageVersion)
	dst = le.AppendUint32(dst, uint32(g.dim))
	dst = le.AppendUint32(dst, uint32(g.metric))
	dst = le.AppendUint32(dst, uint32(g.m))
	dst = le.AppendUint32(dst, uint32(g.efConstruction))
	dst = le.AppendUint64(dst, g.seed)
	dst = le.AppendUint32(dst, g.slots)
	dst = le.AppendUint32(dst, g.upper)
	dst = le.AppendUint32(dst, g.live)
	dst = le.AppendUint32(dst, g.fitted)
	dst = le.AppendUint64(dst, g.entry)
	dst = le.AppendUint32(dst, math.Float32bits(g.codec.Lo))
	dst = le.AppendUint32(dst, math.Float32bits(g.codec.Step))
	bits := uint32(0)
	switch {
	case g.nibbles:
		bits = 4
	case g.codec.Step != 0:
		bits = 7
	}
	dst = le.AppendUint32(dst, bits)
	dst = le.AppendUint32(dst, uint32(g.precision))
	return le.AppendUint32(dst, crc32.Checksum(dst[start:], crc32.MakeTable(crc32.Castagnoli)))
}

// parseHeader decodes a header and checks that its fields are possible. It allocates nothing that depends on them.
func parseHeader(b []byte) (image, error) {
	bad := func(format string, args ...any) (image, error) {
		return image{}, &FormatError{Problem: fmt.Sprintf(format, args...)}
	}
	le := binary.LittleEndian
	switch {
	case len(b) < len(imageMagic)+4 || string(b[:len(imageMagic)]) != imageMagic:
		return bad("no header")
	case le.Uint32(b[8:]) < 1 || le.Uint32(b[8:]) > imageVersion:
		return bad("version %d, this program reads 1 to %d", le.Uint32(b[8:]), imageVersion)
	}
	size := [...]int{1: headerSizeV1, 2: headerSizeV2, 3: headerSize}[le.Uint32(b[8:])]
	switch {
	case len(b) != size+4:
		return bad("a header of %d bytes, not %d", len(b), size+4)
	case crc32.Checksum(b[:size], crc32.MakeTable(crc32.Castagnoli)) != le.Uint32(b[size:]):
		return bad("the checksum of the header does not match")
	}
	dim, metric, m, ef := le.Uint32(b[12:]), le.Uint32(b[16:]), le.Uint32(b[20:]), le.Uint32(b[24:])
	g := image{
		dim: int(dim), metric: Metric(metric), m: int(m), efConstruction: int(ef), seed: le.Uint64(b[28:]),
		slots: le.Uint32(b[36:]), upper: le.Uint32(b[40:]), live: le.Uint32(b[44:]), entry: le.Uint64(b[52:]),
	}
	precision := uint32(Float32)
	if size == headerSize {
		precision = le.Uint32(b[72:])
	}
	g.precision = Precision(precision)
	o := g.options(1)
	if err := o.Validate(); err != nil || metric > uint32(L2) || precision > uint32(Float16) {
		return bad("impossible options: dim %d, metric %d, M %d, efConstruction %d, precision %d", dim, metric, m, ef, precision)
	}
	if g.slots > maxSlots || g.live > g.slots || uint64(g.upper) > uint64(g.slots)*maxLevel {
		return bad("%d live of %d slots, %d upper rows", g.live, g.slots, g.upper)
	}
	if lo, step := math.Float32frombits(le.Uint32(b[60:])), math.Float32frombits(le.Uint32(b[64:])); step != 0 {
		g.codec, g.fitted = quantize.U7{Dim: g.dim, Lo: lo, Step: step}, le.Uint32(b[48:])
		if err := g.codec.Validate(); err != nil {
			return bad("%v", err)
		}
		if size > headerSizeV1 {
			bits := le.Uint32(b[68:])
			if bits != 4 && bits != 7 {
				return bad("codes of %d bits", bits)
			}
			g.nibbles = bits == 4
		}
	}
	slot, level := unpackEntryPoint(g.entry)
	if (g.entry == noEntry) != (g.live == 0) || g.entry != noEntry && (slot >= g.slots || level > maxLevel) {
		return bad("entry point %#x of %d live of %d slots", g.entry, g.live, g.slots)
	}
	return g, nil
}

// options returns the options of the index, for the given number of slots.
func (g *image) options(slots int) Options {
	return Options{Dim: g.dim, Metric: g.metric, Precision: g.precision, M: g.m, EfConstruction: g.efConstruction, Seed: g.seed, MaxSlots: slots}
}

// shape is the division of a section into rows and slabs.
type shape struct {
	name     string
	rows     int
	rowBytes int
	slabRows int
	compress bool
}

func (g *image) shape(id sectionID) shape {
	var h shape
	switch id {
	case sectionVectors:
		h = shape{name: "vectors", rows: int(g.slots), rowBytes: g.precision.bytes() * g.dim, slabRows: vectorSlabBytes}
	case sectionLinks:
		h = shape{name: "links0", rows: int(g.slots), rowBytes: 4 * 2 * g.m, slabRows: linkSlabBytes, compress: true}
	case sectionUpper:
		h = shape{name: "upper", rows: int(g.upper), rowBytes: 4 * g.m, slabRows: linkSlabBytes, compress: true}
	case sectionParents:
		h = shape{name: "parents", rows: int(g.slots), rowBytes: 4, slabRows: linkSlabBytes, compress: true}
	default:
		h = shape{name: "live", rows: (int(g.slots) + 63) / 64, rowBytes: 8, slabRows: linkSlabBytes, compress: true}
	}
	h.slabRows = max(1, h.slabRows/h.rowBytes)
	return h
}

func (h *shape) slabs() int { return (h.rows + h.slabRows - 1) / h.slabRows }

// slab returns the rows of slab n.
func (h *shape) slab(n int) (from, to int) { return n * h.slabRows, min((n+1)*h.slabRows, h.rows) }

// sections describes all sections.
func (g *image) sections() []Section {
	all := make([]Section, sectionCount)
	for id := range sectionCount {
		h := g.shape(id)
		all[id] = Section{Name: h.name, Slabs: h.slabs(), Compress: h.compress}
	}
	return all
}

// find returns the section called name, if it has a slab n.
func (g *image) find(name string, n int) (sectionID, shape, error) {
	for id := range sectionCount {
		if h := g.shape(id); h.name == name {
			if n < 0 || n >= h.slabs() {
				return 0, shape{}, &FormatError{Section: name, Slab: n, Problem: fmt.Sprintf("no such slab of %d", h.slabs())}
			}
			return id, h, nil
		}
	}
	return 0, shape{}, &FormatError{Section: name, Slab: n, Problem: "no such section"}
}
