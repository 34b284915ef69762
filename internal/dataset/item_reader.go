package dataset

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"unicode/utf8"
)

// Record is one item: a JSON line, or a row of a Parquet file.
type Record struct {
	Row    int64     // counted from 0
	ID     string    // never empty
	Vector []float32 // nil if the row has none
	// Fields is every other member, never nil: nil, string, bool, json.Number, []any, map[string]any, and from Parquet
	// time.Time.
	Fields map[string]any
}

// ItemReader streams JSON lines or the rows of a Parquet file. Of lines it holds one and a read buffer, whatever the
// file's size; of a Parquet file one page a column.
type ItemReader struct {
	name  string
	rows  itemRows
	count int64 // what Rows returns
	row   int64 // rows seen so far, bad ones included
	err   error // sticky, io.EOF included
}

// itemRows is one format of items.
type itemRows interface {
	// next returns the next row without its number. Its error is a rejection of that row alone, io.EOF, or the end of reading.
	next() (Record, error)
	close()
}

// rejection says why one row cannot be used.
type rejection string

func (r rejection) Error() string { return string(r) }

func reject(format string, args ...any) error { return rejection(fmt.Sprintf(format, args...)) }

// ItemFields names the fields of JSON lines, or the columns of a Parquet file, that are no attributes.
type ItemFields struct {
	ID     string // default "id"
	Vector string // default "vector"
}

func (f ItemFields) named() ItemFields {
	return ItemFields{ID: cmp.Or(f.ID, "id"), Vector: cmp.Or(f.Vector, "vector")}
}

// Validate refuses one field for both.
func (f ItemFields) Validate() error {
	if n := f.named(); n.ID == n.Vector {
		return fmt.Errorf("ids and vectors cannot both be in the field %q", n.ID)
	}
	return nil
}

// Open is [OpenItemsFS] where these fields have other names; a nil fsys is the operating system's. An export of coder/hnsw has no
// fields, and so none of another name.
func (f ItemFields) Open(fsys fs.FS, name string) (*ItemReader, error) {
	if err := checkItemExt(name); err != nil {
		return nil, err
	}
	src, err := openFile(fsys, name)
	if err != nil {
		return nil, err
	}
	return newItemReader(name, src, f)
}

// HoldsItems says whether a file of this name is one that [OpenItems] reads.
func HoldsItems(name string) bool { return checkItemExt(name) == nil }

// OpenItems opens the items at path, which ends in .jsonl, .ndjson or .json and possibly .gz or .zst, in .parquet, or in
// .hnsw (an export of github.com/coder/hnsw).
// The caller closes the reader.
func OpenItems(path string) (*ItemReader, error) { return ItemFields{}.Open(nil, path) }

// OpenItemsFS is [OpenItems] within a file system, such as an embedded one.
func OpenItemsFS(fsys fs.FS, name string) (*ItemReader, error) {
	return ItemFields{}.Open(fsys, name)
}

// NewItemReader reads items from r, which holds the bytes of a file called name; Parquet needs an r that is an
// [io.ReaderAt] and an [io.Seeker], like a file. Closing the reader does not close r.
func NewItemReader(name string, r io.Reader) (*ItemReader, error) {
	if err := checkItemExt(name); err != nil {
		return nil, err
	}
	src, err := newSource(name, r, -1)
	if err != nil {
		return nil, err
	}
	return newItemReader(name, src, ItemFields{})
}

func checkItemExt(name string) error {
	switch ext, c := splitName(name); ext {
	case ".jsonl", ".ndjson", ".json":
		return nil
	case ".parquet":
		if c != plain {
			return &FormatError{File: name, Row: -1, Rule: "a Parquet file is compressed within, not around: decompress it first"}
		}
		return nil
	case ".hnsw":
		if c != plain {
			return &FormatError{File: name, Row: -1, Rule: "an export of coder/hnsw is read twice: decompress it first"}
		}
		return nil
	}
	return &FormatError{File: name, Row: -1, Rule: "name does not end in .jsonl, .ndjson or .json (then .gz or .zst), in .parquet, or in .hnsw"}
}

// newItemReader takes over src, and closes it where it fails.
func newItemReader(name string, src *source, fields ItemFields) (_ *ItemReader, err error) {
	r := &ItemReader{name: name, count: -1}
	defer func() {
		if err != nil {
			src.close()
		}
	}()
	switch ext, _ := splitName(name); ext {
	case ".parquet":
		rows, err := newParquetRows(name, src, fields.named())
		if err != nil {
			return nil, err
		}
		r.rows, r.count = rows, rows.file.NumRows()
	case ".hnsw":
		if fields.named() != (ItemFields{}).named() {
			return nil, &FormatError{File: name, Row: -1, Rule: "an export of coder/hnsw has no fields that could have other names"}
		}
		rows, err := newCoderRows(name, src)
		if err != nil {
			return nil, err
		}
		r.rows = rows
	default:
		r.rows = &lineRows{src: src, in: bufio.NewReaderSize(src, 256<<10), fields: fields.named()}
	}
	return r, nil
}

// Rows is how many rows the file says it has, -1 where it does not.
func (r *ItemReader) Rows() int64 { return r.count }

// Next returns the next item. A row that cannot be used is a [*RowError], and the call after it returns the row after
// it; a file that cannot be read on is a [*FormatError]; io.EOF follows the last row. The last two are sticky. The
// record is the caller's to keep.
func (r *ItemReader) Next() (Record, error) {
	if r.err != nil {
		return Record{}, r.err
	}
	rec, err := r.rows.next()
	row := r.row
	var bad rejection
	switch {
	case err == nil:
		rec.Row = row
	case errors.As(err, &bad):
		err = &RowError{File: r.name, Row: row, Reason: string(bad)}
	case errors.Is(err, io.EOF):
		r.err = io.EOF
		return Record{}, io.EOF
	default:
		var whole *FormatError
		if !errors.As(err, &whole) {
			err = &FormatError{File: r.name, Row: row, Rule: "line cannot be read", Err: err}
		}
		r.err = err
		return Record{}, err
	}
	r.row++
	if err != nil {
		return Record{}, err
	}
	return rec, nil
}

// Close releases the file. The reader is not usable afterwards.
func (r *ItemReader) Close() error {
	r.rows.close()
	if r.err == nil {
		r.err = fs.ErrClosed
	}
	return nil
}

// lineRows reads JSON lines.
type lineRows struct {
	src   *source
	in    *bufio.Reader
	line  []byte
	later bool // the first line was read

	fields ItemFields
}

func (r *lineRows) close() { r.src.close() }

func (r *lineRows) next() (Record, error) {
	tooLong, err := r.readLine()
	if err != nil {
		return Record{}, err
	}
	line := r.line
	if !r.later {
		line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf")) // byte order mark of some editors
		r.later = true
	}
	if tooLong {
		return Record{}, reject("line longer than %d bytes", MaxLineBytes)
	}
	rec, err := parseRecord(line, r.fields)
	if err != nil {
		return Record{}, reject("%s", err.Error())
	}
	return rec, nil
}

// readLine reads into r.line up to the next line end, which it drops. A line beyond MaxLineBytes is consumed, not kept.
// io.EOF means that no line was left.
func (r *lineRows) readLine() (tooLong bool, err error) {
	r.line = r.line[:0]
	some := false
	for {
		part, err := r.in.ReadSlice('\n')
		some = some || len(part) > 0
		ended := err == nil
		if ended {
			part = part[:len(part)-1]
		}
		if len(r.line)+len(part) > MaxLineBytes {
			tooLong = true
			r.line = r.line[:0]
		} else if !tooLong {
			r.line = append(r.line, part...)
		}
		switch {
		case ended, errors.Is(err, io.EOF) && some:
			return tooLong, nil
		case errors.Is(err, bufio.ErrBufferFull):
		default:
			return false, err
		}
	}
}

// parseRecord reads one line, which must be a JSON object and nothing else.
func parseRecord(line []byte, fields ItemFields) (Record, error) {
	rec := Record{Fields: map[string]any{}}
	line = bytes.TrimSpace(line)
	if len(line) == 0 {
		return rec, errors.New("line is blank")
	}
	if !utf8.Valid(line) {
		return rec, errors.New("line is not UTF-8")
	}
	if line[0] != '{' {
		return rec, errors.New("line is not a JSON object")
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(line, &members); err != nil {
		return rec, errors.New("line is not valid JSON: " + err.Error())
	}
	if raw, ok := members[fields.ID]; ok {
		if raw[0] != '"' {
			return rec, errors.New(fields.ID + " is not a string")
		}
		if err := json.Unmarshal(raw, &rec.ID); err != nil {
			return rec, err
		}
		delete(members, fields.ID)
	}
	if rec.ID == "" {
		return rec, errors.New(fields.ID + " is missing or empty")
	}
	if raw, ok := members[fields.Vector]; ok {
		var err error
		if rec.Vector, err = parseVector(fields.Vector, raw); err != nil {
			return rec, err
		}
		delete(members, fields.Vector)
	}
	for name, raw := range members {
		var err error
		if rec.Fields[name], err = parseField(raw); err != nil {
			return rec, err
		}
	}
	return rec, nil
}

func parseField(raw json.RawMessage) (any, error) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	err := d.Decode(&v)
	return v, err
}

// parseVector reads an array of numbers from valid JSON. It is written out because json.Unmarshal takes a null element
// for 0 and is several times slower.
func parseVector(name string, raw json.RawMessage) ([]float32, error) {
	if raw[0] != '[' {
		return nil, errors.New(name + " is not an array")
	}
	body := bytes.TrimSpace(raw[1 : len(raw)-1])
	if len(body) == 0 {
		return []float32{}, nil
	}
	n := bytes.Count(body, []byte{','}) + 1
	if n > MaxDim {
		return nil, fmt.Errorf("%s has more than %d values", name, MaxDim)
	}
	v := make([]float32, 0, n)
	for part := range bytes.SplitSeq(body, []byte{','}) {
		part = bytes.TrimSpace(part)
		// Valid JSON that begins like a number is one; ParseFloat alone would take "inf" and "0x1p4" too.
		if len(part) == 0 || part[0] != '-' && (part[0] < '0' || part[0] > '9') {
			return nil, fmt.Errorf("%s[%d] is not a number", name, len(v))
		}
		x, err := strconv.ParseFloat(string(part), 32)
		if err != nil {
			if errors.Is(err, strconv.ErrRange) {
				return nil, fmt.Errorf("%s[%d] is beyond float32", name, len(v))
			}
			return nil, fmt.Errorf("%s[%d] is not a number", name, len(v))
		}
		v = append(v, float32(x))
	}
	return v, nil
}
