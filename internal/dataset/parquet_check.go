package dataset

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// Limits on what a Parquet file may ask for. The decoder allocates by what footers and page headers say, so they are
// judged first.
const (
	maxParquetFooter  = 32 << 20  // bytes
	maxParquetSchema  = 4096      // elements of the schema
	maxParquetPage    = 256 << 20 // bytes of a page, compressed or not
	maxParquetValues  = 64 << 20  // values of a page, nulls included
	maxParquetPageTop = 1 << 20   // bytes of a page's header, which may hold a least and a greatest value
)

// checkParquetFooter judges the footer: its size, the sizes within it, and where it says that the data lies.
func checkParquetFooter(name string, src io.ReaderAt, size int64) error {
	fail := func(rule string, err error) error {
		return &FormatError{File: name, Row: -1, Rule: rule, Err: noEOF(err)}
	}
	const ends = 12 // "PAR1" at the start; length and "PAR1" at the end
	if size < ends {
		return fail(fmt.Sprintf("has %d bytes, too few for a Parquet file", size), nil)
	}
	var tail [8]byte
	if err := readFullAt(src, tail[:], size-8); err != nil {
		return fail("cannot be read", err)
	}
	if string(tail[4:]) != "PAR1" {
		return fail("does not end like a Parquet file: it is cut, encrypted or something else", nil)
	}
	length := int64(binary.LittleEndian.Uint32(tail[:]))
	if length > min(maxParquetFooter, size-ends) {
		return fail(fmt.Sprintf("footer of %d bytes is more than the file holds or than %d", length, maxParquetFooter), nil)
	}
	footer := make([]byte, length)
	if err := readFullAt(src, footer, size-8-length); err != nil {
		return fail("cannot be read", err)
	}
	if n, err := skimThrift(footer); err != nil || n != len(footer) {
		return fail("footer is damaged", err)
	}
	var meta format.FileMetaData
	if err := thrift.Unmarshal(new(thrift.CompactProtocol), footer, &meta); err != nil {
		return fail("footer is damaged", err)
	}
	if len(meta.Schema) > maxParquetSchema {
		return fail(fmt.Sprintf("schema has %d elements, more than %d", len(meta.Schema), maxParquetSchema), nil)
	}
	for _, e := range meta.Schema {
		if e.TypeLength.Valid && (e.TypeLength.V < 0 || e.TypeLength.V > 4*MaxDim) {
			return &FormatError{File: name, Row: -1, Column: e.Name, Rule: fmt.Sprintf("values of %d bytes, more than %d", e.TypeLength.V, 4*MaxDim)}
		}
	}
	return checkParquetGroups(name, size, &meta)
}

// checkParquetGroups judges row counts, and that each column's bytes lie in the file.
func checkParquetGroups(name string, size int64, meta *format.FileMetaData) error {
	rows := int64(0)
	for g := range meta.RowGroups {
		group := &meta.RowGroups[g]
		if group.NumRows < 0 || group.NumRows > MaxRows-rows {
			return &FormatError{File: name, Row: -1, Rule: fmt.Sprintf("row group %d has %d rows: a file has at most %d", g, group.NumRows, int64(MaxRows))}
		}
		rows += group.NumRows
		for i := range group.Columns {
			switch codec := group.Columns[i].MetaData.Codec; codec {
			case format.Uncompressed, format.Snappy, format.Gzip, format.Zstd, format.Brotli:
			default: // of damaged LZ4 the decoder doubles its buffer until memory ends
				return &FormatError{File: name, Row: -1, Column: chunkName(&group.Columns[i]),
					Rule: fmt.Sprintf("is compressed with %s: must be uncompressed, SNAPPY, GZIP, ZSTD or BROTLI", codec)}
			}
			start, length := chunkPlace(&group.Columns[i].MetaData)
			if start < 4 || length < 0 || start > size || length > size-start {
				return &FormatError{File: name, Row: -1, Column: chunkName(&group.Columns[i]),
					Rule: fmt.Sprintf("row group %d: %d bytes at %d are not within the file's %d", g, length, start, size)}
			}
		}
	}
	if rows != meta.NumRows {
		return &FormatError{File: name, Row: -1, Rule: fmt.Sprintf("footer says %d rows but its row groups have %d", meta.NumRows, rows)}
	}
	return nil
}

func chunkName(c *format.ColumnChunk) string {
	if len(c.MetaData.PathInSchema) == 0 {
		return ""
	}
	return c.MetaData.PathInSchema[0]
}

// chunkPlace is where the pages of a column begin and how many bytes they have.
func chunkPlace(m *format.ColumnMetaData) (start, length int64) {
	start = m.DataPageOffset
	if m.DictionaryPageOffset != 0 {
		start = m.DictionaryPageOffset
	}
	return start, m.TotalCompressedSize
}

// checkParquetPages judges every page header of a row group, before a page of it is decoded. It reads the headers only.
func checkParquetPages(name string, src io.ReaderAt, file *parquet.File, group int) error {
	columns := file.Metadata().RowGroups[group].Columns
	for i := range columns {
		m := &columns[i].MetaData
		at, length := chunkPlace(m)
		for end := at + length; at < end; {
			size, err := checkParquetPage(src, m.Codec, at, end)
			if err != nil {
				return &FormatError{File: name, Row: -1, Column: chunkName(&columns[i]), Rule: fmt.Sprintf("row group %d: page at byte %d", group, at), Err: noEOF(err)}
			}
			at += size
		}
	}
	return nil
}

// checkParquetPage judges the page at byte at of a column that ends at byte end, and returns its size.
func checkParquetPage(src io.ReaderAt, codec format.CompressionCodec, at, end int64) (size int64, err error) {
	var head []byte
	n := 0
	for window := int64(256); ; window *= 8 {
		head = make([]byte, min(window, end-at))
		if err := readFullAt(src, head, at); err != nil {
			return 0, err
		}
		if n, err = skimThrift(head); err == nil {
			break
		}
		if !errors.Is(err, errThriftShort) || window > maxParquetPageTop || int64(len(head)) == end-at {
			return 0, err
		}
	}
	var h format.PageHeader
	if err := thrift.Unmarshal(new(thrift.CompactProtocol), head[:n], &h); err != nil {
		return 0, err
	}
	left := end - at - int64(n)
	values := max(h.DataPageHeader.V.NumValues, h.DataPageHeaderV2.V.NumValues, h.DictionaryPageHeader.V.NumValues)
	switch {
	case h.CompressedPageSize < 0 || int64(h.CompressedPageSize) > min(left, maxParquetPage):
		return 0, fmt.Errorf("has %d bytes, where %d are left and %d are allowed", h.CompressedPageSize, left, maxParquetPage)
	case h.UncompressedPageSize < 0 || h.UncompressedPageSize > maxParquetPage:
		return 0, fmt.Errorf("has %d bytes when decompressed, where %d are allowed", h.UncompressedPageSize, maxParquetPage)
	case values > maxParquetValues:
		return 0, fmt.Errorf("has %d values, where %d are allowed", values, maxParquetValues)
	}
	if err := checkPageStream(src, codec, at+int64(n), &h); err != nil {
		return 0, err
	}
	return int64(n) + int64(h.CompressedPageSize), nil
}

// checkPageStream compares the size that a compressed stream states for itself, by which decompressors allocate, with the
// size in the page's header.
func checkPageStream(src io.ReaderAt, codec format.CompressionCodec, at int64, h *format.PageHeader) error {
	limit, size := int64(h.UncompressedPageSize), int64(h.CompressedPageSize)
	if v2 := h.DataPageHeaderV2; v2.Valid {
		levels := int64(v2.V.RepetitionLevelsByteLength) + int64(v2.V.DefinitionLevelsByteLength)
		if v2.V.RepetitionLevelsByteLength < 0 || v2.V.DefinitionLevelsByteLength < 0 || levels > size {
			return fmt.Errorf("levels of %d bytes in a page of %d", levels, size)
		}
		at, size = at+levels, size-levels
	}
	b := make([]byte, min(size, zstd.HeaderMaxSize))
	if err := readFullAt(src, b, at); err != nil || len(b) == 0 {
		return err
	}
	var stated uint64
	switch codec {
	case format.Snappy:
		stated, _ = binary.Uvarint(b)
	case format.Zstd:
		var frame zstd.Header
		if err := frame.Decode(b); err != nil {
			return err
		}
		stated = frame.FrameContentSize
	}
	if stated > uint64(limit) {
		return fmt.Errorf("compressed stream of %d bytes in a page that states %d", stated, limit)
	}
	return nil
}

// readFullAt fills b or returns an error.
func readFullAt(src io.ReaderAt, b []byte, at int64) error {
	if n, err := src.ReadAt(b, at); n < len(b) {
		return noEOF(err)
	}
	return nil
}

var (
	errThriftShort = errors.New("structure is cut")
	errThriftBad   = errors.New("structure is not Thrift's compact protocol")
)

// skimThrift reads over a structure in Thrift's compact protocol at the start of b, and returns its length. What it has
// read over states no length that is not there.
//
// Source: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
func skimThrift(b []byte) (n int, err error) {
	s := thriftSkimmer{b: b}
	s.structure(0)
	return s.at, s.err
}

type thriftSkimmer struct {
	b   []byte
	at  int
	err error // first, sticky
}

func (s *thriftSkimmer) skip(n uint64) {
	if s.err == nil && n > uint64(len(s.b)-s.at) {
		s.err = errThriftShort
	}
	if s.err == nil {
		s.at += int(n)
	}
}

// byte is 0 after an error, which ends a structure and is no type.
func (s *thriftSkimmer) byte() byte {
	s.skip(1)
	if s.err != nil {
		return 0
	}
	return s.b[s.at-1]
}

func (s *thriftSkimmer) varint() uint64 {
	v, n := binary.Uvarint(s.b[s.at:])
	switch {
	case s.err != nil:
		return 0
	case n == 0:
		s.err = errThriftShort
	case n < 0:
		s.err = errThriftBad
	default:
		s.at += n
	}
	return v
}

func (s *thriftSkimmer) structure(depth int) {
	for s.err == nil {
		b := s.byte()
		if b == 0 {
			return
		}
		if b>>4 == 0 {
			s.varint() // the field's number, where it is not told by its distance
		}
		if kind := b & 15; kind != 1 && kind != 2 { // true and false have no value in a field
			s.value(kind, depth)
		}
	}
}

func (s *thriftSkimmer) value(kind byte, depth int) {
	const deepest = 32 // FileMetaData nests 8 deep
	if depth > deepest && s.err == nil {
		s.err = errThriftBad
	}
	if s.err != nil {
		return
	}
	switch kind {
	case 1, 2, 3:
		s.skip(1)
	case 4, 5, 6:
		s.varint()
	case 7:
		s.skip(8)
	case 8:
		s.skip(s.varint())
	case 9, 10:
		s.list(depth + 1)
	case 12:
		s.structure(depth + 1)
	default: // Parquet has no maps
		s.err = errThriftBad
	}
}

func (s *thriftSkimmer) list(depth int) {
	b := s.byte()
	n := uint64(b >> 4)
	if n == 15 {
		n = s.varint()
	}
	for ; n > 0 && s.err == nil; n-- {
		s.value(b&15, depth)
	}
}
