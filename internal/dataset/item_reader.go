package dataset

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"unicode/utf8"
)

// Record is one JSON line.
type Record struct {
	Row    int64          // counted from 0
	ID     string         // "id", never empty
	Vector []float32      // "vector"; nil if the line has none
	Fields map[string]any // every other member; numbers are json.Number; never nil
}

// ItemReader streams JSON lines. It holds one line and a read buffer, whatever the file's size.
type ItemReader struct {
	name string
	src  *source
	in   *bufio.Reader
	line []byte
	row  int64 // rows seen so far, bad ones included
	err  error // sticky, io.EOF included
}

// OpenItems opens the JSON lines at path, which ends in .jsonl, .ndjson or .json and possibly .gz or .zst. The caller
// closes the reader.
func OpenItems(path string) (*ItemReader, error) { return openItems(nil, path) }

// OpenItemsFS is [OpenItems] within a file system, such as an embedded one.
func OpenItemsFS(fsys fs.FS, name string) (*ItemReader, error) { return openItems(fsys, name) }

// NewItemReader reads JSON lines from r, which holds the bytes of a file called name. Closing the reader does not close r.
func NewItemReader(name string, r io.Reader) (*ItemReader, error) {
	if err := checkItemExt(name); err != nil {
		return nil, err
	}
	_, c := splitName(name)
	src, err := newSource(r, c, -1)
	if err != nil {
		return nil, &FormatError{File: name, Row: -1, Rule: "compressed stream does not begin well", Err: noEOF(err)}
	}
	return newItemReader(name, src), nil
}

func openItems(fsys fs.FS, name string) (*ItemReader, error) {
	if err := checkItemExt(name); err != nil {
		return nil, err
	}
	src, err := openFile(fsys, name)
	if err != nil {
		return nil, err
	}
	return newItemReader(name, src), nil
}

func checkItemExt(name string) error {
	switch ext, _ := splitName(name); ext {
	case ".jsonl", ".ndjson", ".json":
		return nil
	}
	return &FormatError{File: name, Row: -1, Rule: "name does not end in .jsonl, .ndjson or .json (then .gz or .zst)"}
}

func newItemReader(name string, src *source) *ItemReader {
	return &ItemReader{name: name, src: src, in: bufio.NewReaderSize(src, 256<<10)}
}

// Next returns the next line. A line that cannot be used is a [*RowError], and the call after it returns the line after
// it; a file that cannot be read on is a [*FormatError]; io.EOF follows the last line. The last two are sticky. The
// record is the caller's to keep.
func (r *ItemReader) Next() (Record, error) {
	if r.err != nil {
		return Record{}, r.err
	}
	tooLong, err := r.readLine()
	if err != nil {
		if !errors.Is(err, io.EOF) {
			err = &FormatError{File: r.name, Row: r.row, Rule: "line cannot be read", Err: err}
		}
		r.err = err
		return Record{}, err
	}
	row := r.row
	r.row++
	if tooLong {
		return Record{}, r.reject(row, "line longer than %d bytes", MaxLineBytes)
	}
	line := r.line
	if row == 0 {
		line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf")) // byte order mark of some editors
	}
	rec, err := parseRecord(line)
	if err != nil {
		return Record{}, r.reject(row, "%s", err.Error())
	}
	rec.Row = row
	return rec, nil
}

// Close releases the file. The reader is not usable afterwards.
func (r *ItemReader) Close() error {
	r.src.close()
	if r.err == nil {
		r.err = fs.ErrClosed
	}
	return nil
}

func (r *ItemReader) reject(row int64, format string, args ...any) error {
	return &RowError{File: r.name, Row: row, Reason: fmt.Sprintf(format, args...)}
}

// readLine reads into r.line up to the next line end, which it drops. A line beyond MaxLineBytes is consumed, not kept.
// io.EOF means that no line was left.
func (r *ItemReader) readLine() (tooLong bool, err error) {
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
func parseRecord(line []byte) (Record, error) {
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
	if raw, ok := members["id"]; ok {
		if raw[0] != '"' {
			return rec, errors.New("id is not a string")
		}
		if err := json.Unmarshal(raw, &rec.ID); err != nil {
			return rec, err
		}
		delete(members, "id")
	}
	if rec.ID == "" {
		return rec, errors.New("id is missing or empty")
	}
	if raw, ok := members["vector"]; ok {
		var err error
		if rec.Vector, err = parseVector(raw); err != nil {
			return rec, err
		}
		delete(members, "vector")
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
func parseVector(raw json.RawMessage) ([]float32, error) {
	if raw[0] != '[' {
		return nil, errors.New("vector is not an array")
	}
	body := bytes.TrimSpace(raw[1 : len(raw)-1])
	if len(body) == 0 {
		return []float32{}, nil
	}
	n := bytes.Count(body, []byte{','}) + 1
	if n > MaxDim {
		return nil, fmt.Errorf("vector has more than %d values", MaxDim)
	}
	v := make([]float32, 0, n)
	for part := range bytes.SplitSeq(body, []byte{','}) {
		part = bytes.TrimSpace(part)
		// Valid JSON that begins like a number is one; ParseFloat alone would take "inf" and "0x1p4" too.
		if len(part) == 0 || part[0] != '-' && (part[0] < '0' || part[0] > '9') {
			return nil, fmt.Errorf("vector[%d] is not a number", len(v))
		}
		x, err := strconv.ParseFloat(string(part), 32)
		if err != nil {
			if errors.Is(err, strconv.ErrRange) {
				return nil, fmt.Errorf("vector[%d] is beyond float32", len(v))
			}
			return nil, fmt.Errorf("vector[%d] is not a number", len(v))
		}
		v = append(v, float32(x))
	}
	return v, nil
}
