package dataset

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
	"github.com/x448/float16"
)

// parquetBatch is how many rows are taken from the decoder at once.
const parquetBatch = 16

// parquetRows reads the rows of a Parquet file, row group by row group. It holds one page a column and parquetBatch rows.
type parquetRows struct {
	name    string
	src     *source
	bytes   io.ReaderAt // of src
	file    *parquet.File
	fields  ItemFields
	columns []parquetColumn // by leaf
	group   int             // row groups opened so far
	rows    parquet.Rows    // of the row group that is read; nil between two
	left    int64           // rows of it that are not read yet
	batch   [parquetBatch]parquet.Row
	at, n   int // rows of the batch: taken, and there
}

// newParquetRows reads the footer and judges the columns. It does not close src.
func newParquetRows(name string, src *source, fields ItemFields) (r *parquetRows, err error) {
	defer recoverDecoder(name, &err)
	at, random := src.Reader.(io.ReaderAt)
	size, err := src.length()
	if !random || err != nil {
		return nil, &FormatError{File: name, Row: -1, Rule: "a Parquet file must be readable at any place, not a stream", Err: err}
	}
	if err := checkParquetFooter(name, at, size); err != nil {
		return nil, err
	}
	file, err := parquet.OpenFile(at, size, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return nil, &FormatError{File: name, Row: -1, Rule: "is no Parquet file that can be read", Err: noEOF(err)}
	}
	r = &parquetRows{name: name, src: src, bytes: at, file: file, fields: fields}
	seen := map[string]bool{}
	for _, top := range file.Root().Columns() {
		if seen[top.Name()] {
			return nil, &FormatError{File: name, Row: -1, Column: top.Name(), Rule: "there are two columns of this name"}
		}
		seen[top.Name()] = true
	}
	if !seen[fields.ID] {
		return nil, &FormatError{File: name, Row: -1, Column: fields.ID, Rule: "is missing: a Parquet file needs a column of ids"}
	}
	halves := float16Leaves(file.Metadata().Schema)
	for i, top := range file.Root().Columns() {
		column, err := newParquetColumn(top, fields, i < len(halves) && halves[i])
		if err != nil {
			return nil, &FormatError{File: name, Row: -1, Column: top.Name(), Rule: err.Error()}
		}
		r.columns = append(r.columns, column)
	}
	return r, nil
}

// recoverDecoder turns a panic of the decoder, which trusts much of what a page says, into an error.
func recoverDecoder(name string, err *error) {
	if p := recover(); p != nil {
		*err = &FormatError{File: name, Row: -1, Rule: "is damaged", Err: fmt.Errorf("the decoder says: %v", p)}
	}
}

func (r *parquetRows) close() {
	if r.rows != nil {
		r.rows.Close()
		r.rows = nil
	}
	r.src.close()
}

func (r *parquetRows) next() (rec Record, err error) {
	defer recoverDecoder(r.name, &err)
	for r.at == r.n {
		if err := r.fill(); err != nil {
			return Record{}, err
		}
	}
	row := r.batch[r.at]
	r.at++
	return r.record(row)
}

// fill reads the next rows; io.EOF means that there are none.
func (r *parquetRows) fill() error {
	groups := r.file.RowGroups()
	if r.rows == nil {
		if r.group == len(groups) {
			return io.EOF
		}
		if err := checkParquetPages(r.name, r.bytes, r.file, r.group); err != nil {
			return err
		}
		r.rows, r.left = groups[r.group].Rows(), groups[r.group].NumRows()
		r.group++
	}
	want := min(r.left, parquetBatch)
	if want == 0 {
		err := r.rows.Close()
		r.rows = nil
		return err
	}
	n, err := r.rows.ReadRows(r.batch[:want])
	if err != nil && !errors.Is(err, io.EOF) || n == 0 {
		return &FormatError{File: r.name, Row: -1, Rule: fmt.Sprintf("row group %d ends before its %d rows or is damaged",
			r.group-1, groups[r.group-1].NumRows()), Err: noEOF(err)}
	}
	r.at, r.n, r.left = 0, n, r.left-int64(n)
	return nil
}

// record converts one row, which holds the values of its columns in their order.
func (r *parquetRows) record(row parquet.Row) (Record, error) {
	rec := Record{Fields: make(map[string]any, len(r.columns))}
	var bad error
	for i := range r.columns {
		n := 0
		for n < len(row) && row[n].Column() == i {
			n++
		}
		c := &r.columns[i]
		if n == 0 || n > 1 && !c.list {
			return rec, &FormatError{File: r.name, Row: -1, Column: c.name, Rule: fmt.Sprintf("a row has %d values of it", n)}
		}
		if err := c.into(&rec, row[:n]); err != nil && bad == nil {
			bad = reject("%s: %s", c.name, err)
		}
		row = row[n:]
	}
	if bad == nil && rec.ID == "" {
		bad = reject("%s is missing or empty", r.fields.ID)
	}
	return rec, bad
}

// parquetColumn is a column of the file: a value a row, or a list of them.
type parquetColumn struct {
	name string
	list bool
	// element is the definition level from which a list has an element; one below it is empty, what is less is null.
	element int
	value   parquetValue
	// id says that the column holds ids; vector embeddings, packed that each of those is bytes, float32 little endian.
	id, vector, packed bool
}

// newParquetColumn judges a column by its type, half saying that its values are half-precision floats; the error is the rule that it breaks.
func newParquetColumn(top *parquet.Column, fields ItemFields, half bool) (parquetColumn, error) {
	c := parquetColumn{name: top.Name(), id: top.Name() == fields.ID}
	leaf := top
	for {
		if leaf.Repeated() {
			if c.list {
				return c, errors.New("a list of lists cannot be imported")
			}
			c.list, c.element = true, leaf.MaxDefinitionLevel()
		}
		if leaf.Leaf() {
			break
		}
		if len(leaf.Columns()) != 1 {
			return c, errors.New("a struct or map cannot be imported")
		}
		leaf = leaf.Columns()[0]
	}
	if leaf != top && !c.list {
		return c, errors.New("a struct or map cannot be imported")
	}
	kind := leaf.Type().Kind()
	if c.name == fields.Vector {
		c.vector = true
		switch {
		case c.list && (kind == parquet.Float || kind == parquet.Double || half && kind == parquet.FixedLenByteArray && leaf.Type().Length() == 2):
		case !c.list && kind == parquet.ByteArray && leaf.Type().LogicalType() == nil, !c.list && kind == parquet.FixedLenByteArray && leaf.Type().Length()%4 == 0:
			c.packed = true
		default:
			return c, fmt.Errorf("must be a list of FLOAT, DOUBLE or FLOAT16, or bytes (4 a number, float32 little endian), is %s", describeParquet(c.list, leaf.Type()))
		}
		return c, nil
	}
	c.value = parquetValueOf(leaf.Type())
	text := kind == parquet.ByteArray && c.value != nil
	switch {
	case c.id && (c.list || !text):
		return c, fmt.Errorf("must be a string, is %s", describeParquet(c.list, leaf.Type()))
	case c.value == nil:
		return c, fmt.Errorf("is %s, which is no type of an attribute", describeParquet(c.list, leaf.Type()))
	case c.list && !text:
		return c, fmt.Errorf("a list must hold strings only, is %s", describeParquet(true, leaf.Type()))
	}
	return c, nil
}

// float16Leaves says which leaves of a schema are half-precision floats, which the decoder's types do not tell from other bytes.
func float16Leaves(schema []format.SchemaElement) (halves []bool) {
	for i := range schema {
		if e := &schema[i]; e.NumChildren.V == 0 {
			_, half := e.LogicalType.Value.(*format.Float16Type)
			halves = append(halves, half)
		}
	}
	return halves
}

func describeParquet(list bool, t parquet.Type) string {
	if list {
		return "list of " + t.String()
	}
	return t.String()
}

// into sets what the values of one row say; the error says why it cannot.
func (c *parquetColumn) into(rec *Record, values []parquet.Value) error {
	absent := values[0].IsNull() && (!c.list || values[0].DefinitionLevel() < c.element-1)
	empty := c.list && values[0].DefinitionLevel() == c.element-1
	switch {
	case c.vector:
		if absent {
			return nil
		}
		if empty {
			rec.Vector = []float32{}
			return nil
		}
		var err error
		rec.Vector, err = c.numbers(values)
		return err
	case absent:
		if !c.id {
			rec.Fields[c.name] = nil
		}
		return nil
	case !c.list:
		v, err := c.value(values[0])
		if err != nil {
			return err
		}
		if c.id {
			rec.ID, _ = v.(string) // newParquetColumn asked for one
		} else {
			rec.Fields[c.name] = v
		}
		return nil
	}
	list := []any{}
	if !empty {
		for i, value := range values {
			if value.IsNull() {
				return fmt.Errorf("element %d is null", i)
			}
			v, err := c.value(value)
			if err != nil {
				return fmt.Errorf("element %d: %w", i, err)
			}
			list = append(list, v)
		}
	}
	rec.Fields[c.name] = list
	return nil
}

// numbers is an embedding.
func (c *parquetColumn) numbers(values []parquet.Value) ([]float32, error) {
	if c.packed {
		return unpackFloats(values[0].ByteArray())
	}
	if len(values) > MaxDim {
		return nil, fmt.Errorf("has more than %d values", MaxDim)
	}
	v := make([]float32, len(values))
	for i, value := range values {
		switch value.Kind() {
		case parquet.Float:
			v[i] = value.Float()
		case parquet.Double:
			wide := value.Double()
			v[i] = float32(wide)
			if math.IsInf(float64(v[i]), 0) && !math.IsInf(wide, 0) {
				return nil, fmt.Errorf("element %d is beyond float32", i)
			}
		case parquet.FixedLenByteArray: // a half
			v[i] = float16.Frombits(binary.LittleEndian.Uint16(value.ByteArray())).Float32()
		default:
			return nil, fmt.Errorf("element %d is null", i)
		}
	}
	return v, nil
}

// jsonFloat is f as JSON would write it with an exponent, which tells it from a whole number.
func jsonFloat(f float64) (any, error) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil, fmt.Errorf("%v is not a finite number", f)
	}
	return json.Number(strconv.FormatFloat(f, 'e', -1, 64)), nil
}
