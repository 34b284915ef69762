package dataset

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress"
	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/encoding"
	"github.com/parquet-go/parquet-go/format"
	"github.com/x448/float16"
)

// listOf is a group that is annotated as a list, whatever is in it.
type listOf struct{ parquet.Group }

func (listOf) Type() parquet.Type { return parquet.List(parquet.String()).Type() }

// halfFloat is FLOAT16: two bytes.
type halfFloat struct{ parquet.Type }

func (halfFloat) LogicalType() *format.LogicalType {
	return &format.LogicalType{Value: new(format.Float16Type)}
}
func (halfFloat) ConvertedType() *deprecated.ConvertedType { return nil }
func (halfFloat) String() string                           { return "FLOAT16" }

// listShape is how a writer lays out a list: what is in the group of each element, where there is one.
type listShape struct {
	writer string
	node   func(element parquet.Node) parquet.Node
	// outer, inner: the list, and an element, may be null.
	outer, inner bool
}

var listShapes = []listShape{
	{"spark, pyarrow 15: list.element", func(e parquet.Node) parquet.Node {
		return parquet.Optional(listOf{parquet.Group{"list": parquet.Repeated(parquet.Group{"element": parquet.Optional(e)})}})
	}, true, true},
	{"pyarrow before 15: list.item", func(e parquet.Node) parquet.Node {
		return parquet.Optional(listOf{parquet.Group{"list": parquet.Repeated(parquet.Group{"item": parquet.Optional(e)})}})
	}, true, true},
	{"spark, containsNull=false", func(e parquet.Node) parquet.Node {
		return parquet.Optional(listOf{parquet.Group{"list": parquet.Repeated(parquet.Group{"element": parquet.Required(e)})}})
	}, true, false},
	{"polars, not nullable", func(e parquet.Node) parquet.Node {
		return parquet.Required(listOf{parquet.Group{"list": parquet.Repeated(parquet.Group{"item": parquet.Required(e)})}})
	}, false, false},
	{"hive: bag.array_element", func(e parquet.Node) parquet.Node {
		return parquet.Optional(listOf{parquet.Group{"bag": parquet.Repeated(parquet.Group{"array_element": parquet.Optional(e)})}})
	}, true, true},
	{"spark.sql.parquet.writeLegacyFormat: bag.array", func(e parquet.Node) parquet.Node {
		return parquet.Optional(listOf{parquet.Group{"bag": parquet.Repeated(parquet.Group{"array": parquet.Optional(e)})}})
	}, true, true},
	{"parquet-avro: array", func(e parquet.Node) parquet.Node {
		return parquet.Optional(listOf{parquet.Group{"array": parquet.Repeated(e)}})
	}, true, false},
	{"protobuf: repeated", func(e parquet.Node) parquet.Node { return parquet.Repeated(e) }, false, false},
}

// numberShape is a type of the elements of an embedding.
type numberShape struct {
	name  string
	node  parquet.Node
	value func(float32) parquet.Value
}

func numberShapes() []numberShape {
	float, double := parquet.Leaf(parquet.FloatType), parquet.Leaf(parquet.DoubleType)
	half := parquet.Leaf(halfFloat{parquet.FixedLenByteArrayType(2)})
	wide := func(f float32) parquet.Value { return parquet.DoubleValue(float64(f)) }
	short := func(f float32) parquet.Value {
		bits := float16.Fromfloat32(f).Bits()
		return parquet.FixedLenByteArrayValue([]byte{byte(bits), byte(bits >> 8)})
	}
	encoded := func(n parquet.Node, e encoding.Encoding) parquet.Node { return parquet.Encoded(n, e) }
	return []numberShape{
		{"FLOAT", float, parquet.FloatValue},
		{"FLOAT, dictionary", encoded(float, &parquet.RLEDictionary), parquet.FloatValue},
		{"FLOAT, byte stream split", encoded(float, &parquet.ByteStreamSplit), parquet.FloatValue},
		{"DOUBLE", double, wide},
		{"DOUBLE, dictionary", encoded(double, &parquet.RLEDictionary), wide},
		{"FLOAT16", half, short},
		{"FLOAT16, dictionary", encoded(half, &parquet.RLEDictionary), short},
	}
}

// write appends what a list of a shape holds: nil is null, an element NaN is null where it may be.
func (s *listShape) write(row parquet.Row, column int, vector []float32, value func(float32) parquet.Value) parquet.Row {
	level := 0
	if s.outer {
		level = 1
	}
	switch {
	case vector == nil:
		return append(row, parquet.NullValue().Level(0, 0, column))
	case len(vector) == 0:
		return append(row, parquet.NullValue().Level(0, level, column))
	}
	full := level + 1
	if s.inner {
		full++
	}
	for i, x := range vector {
		repeats := min(i, 1)
		if s.inner && x != x {
			row = append(row, parquet.NullValue().Level(repeats, full-1, column))
			continue
		}
		row = append(row, value(x).Level(repeats, full, column))
	}
	return row
}

// TestParquetOfOtherWriters: an embedding is read as it was written, from every layout of a list that Spark, pyarrow, Hive and
// Avro write, with every type of number, dictionary or not, in every version of pages and with every codec; null lists have no
// vector, and null elements reject their row by number and place.
func TestParquetOfOtherWriters(t *testing.T) {
	vectors := [][]float32{{1, -2.5, 0.125}, nil, {3, 3, 3}, {}, {1, float32(math.NaN()), 2}, {-0.5, 4, 1024}}
	codecs := []compress.Codec{&parquet.Uncompressed, &parquet.Snappy, &parquet.Zstd, &parquet.Gzip}
	for i, shape := range listShapes {
		for j, number := range numberShapes() {
			name := shape.writer + ", " + number.name
			text := parquet.Optional(parquet.Encoded(parquet.String(), &parquet.RLEDictionary))
			schema := parquet.NewSchema("spark_schema", parquet.Group{"embedding": shape.node(number.node), "track_id": text, "year": parquet.Int(32)})
			var b bytes.Buffer
			w := parquet.NewWriter(&b, schema, parquet.Compression(codecs[(i+j)%len(codecs)]), parquet.DataPageVersion(1+(i+j/2)%2), parquet.PageBufferSize(64))
			var want []Record
			var rejects []RowError
			for n, vector := range vectors {
				hole := slices.ContainsFunc(vector, func(x float32) bool { return x != x })
				if hole && !shape.inner {
					vector, hole = []float32{7}, false
				}
				row := shape.write(nil, 0, vector, number.value)
				row = append(row, parquet.ByteArrayValue([]byte(fmt.Sprint("t", n))).Level(0, 1, 1), parquet.Int32Value(int32(2000+n)).Level(0, 0, 2))
				if _, err := w.WriteRows([]parquet.Row{row}); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if hole {
					rejects = append(rejects, RowError{File: "tracks.parquet", Row: int64(n), Reason: "embedding: element 1 is null"})
					continue
				}
				if vector == nil && !shape.outer {
					vector = []float32{} // this layout does not tell null from empty
				}
				want = append(want, Record{Row: int64(n), ID: fmt.Sprint("t", n), Vector: vector, Fields: map[string]any{"year": json.Number(fmt.Sprint(2000 + n))}})
			}
			if err := w.Close(); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			src, err := newSource("tracks.parquet", bytes.NewReader(b.Bytes()), -1)
			if err != nil {
				t.Fatal(err)
			}
			r, err := newItemReader("tracks.parquet", src, ItemFields{ID: "track_id", Vector: "embedding"})
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if r.Rows() != int64(len(vectors)) {
				t.Errorf("%s: says it has %d rows", name, r.Rows())
			}
			got, bad, err := readItems(r)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if diff := cmp.Diff(want, got) + cmp.Diff(rejects, bad); diff != "" {
				t.Errorf("%s (-want +got):\n%s", name, diff)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// Fields of other names are read as id and vector, those of the usual names are attributes then, and errors use the names of the file.
func TestItemFields(t *testing.T) {
	fields := ItemFields{ID: "track", Vector: "emb"}
	read := func(name, data string, f ItemFields) ([]Record, []RowError, error) {
		src, err := newSource(name, bytes.NewReader([]byte(data)), -1)
		if err != nil {
			t.Fatal(err)
		}
		r, err := newItemReader(name, src, f)
		if err != nil {
			return nil, nil, err
		}
		defer r.Close()
		if name == "a.jsonl" && r.Rows() != -1 {
			t.Errorf("lines say that they are %d", r.Rows())
		}
		return readItems(r)
	}
	got, bad, err := read("a.jsonl", `{"track":"a","emb":[1,2],"id":"7","vector":"x"}
{"id":"b"}
{"track":7}
{"track":"c","emb":[1,null]}
{"track":"d","emb":3}
`, fields)
	want := []Record{{ID: "a", Vector: []float32{1, 2}, Fields: map[string]any{"id": "7", "vector": "x"}}}
	reasons := []RowError{{"a.jsonl", 1, "track is missing or empty"}, {"a.jsonl", 2, "track is not a string"}, {"a.jsonl", 3, "emb[1] is not a number"}, {"a.jsonl", 4, "emb is not an array"}}
	if diff := cmp.Diff(want, got) + cmp.Diff(reasons, bad); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	type row struct {
		Track string    `parquet:"track"`
		ID    int64     `parquet:"id"`
		Emb   []float32 `parquet:"emb,list"`
	}
	data := string(writeParquet(t, 9, []row{{"a", 7, []float32{1, 2}}, {"", 8, nil}}))
	got, bad, err = read("a.parquet", data, fields)
	want = []Record{{ID: "a", Vector: []float32{1, 2}, Fields: map[string]any{"id": json.Number("7")}}}
	if diff := cmp.Diff(want, got) + cmp.Diff([]RowError{{"a.parquet", 1, "track is missing or empty"}}, bad); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for column, f := range map[string]ItemFields{"id": {}, "song": {ID: "song"}, "track": {ID: "emb", Vector: "track"}, "emb": {ID: "emb"}} {
		var fault *FormatError
		if _, _, err := read("a.parquet", data, f); !errors.As(err, &fault) || fault.Column != column {
			t.Errorf("%+v: %v, want a fault of column %s", f, err, column)
		}
	}
	if _, _, err := read("a.hnsw", "", fields); !errors.As(err, new(*FormatError)) {
		t.Errorf("fields of an export of a graph: %v", err)
	}
	for f, ok := range map[ItemFields]bool{{}: true, fields: true, {ID: "vector"}: false, {Vector: "id"}: false, {ID: "x", Vector: "x"}: false, {ID: "vector", Vector: "id"}: true} {
		if err := f.Validate(); (err == nil) != ok {
			t.Errorf("%+v: %v", f, err)
		}
	}
}
