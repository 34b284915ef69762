package dataset

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// readItems returns every record and every rejected row.
func readItems(r *ItemReader) (records []Record, rejects []RowError, err error) {
	for {
		rec, err := r.Next()
		var bad *RowError
		switch {
		case err == nil:
			records = append(records, rec)
		case errors.As(err, &bad):
			rejects = append(rejects, *bad)
		case err == io.EOF:
			return records, rejects, nil
		default:
			return records, rejects, err
		}
	}
}

func TestItems(t *testing.T) {
	const lines = "\xef\xbb\xbf" + `{"id": "a", "vector": [1, -2.5e-1, 3E2], "title": "A", "n": 12345678901234567890}` + "\r\n" +
		`{"vector":[ ],"id":"b\u00e9"}` + "\n" +
		"\n" +
		`{"id": "c", "tags": ["x", 1, null, true, {"y": 1.50}]}` // no line end
	want := []Record{
		{Row: 0, ID: "a", Vector: []float32{1, -0.25, 300},
			Fields: map[string]any{"title": "A", "n": json.Number("12345678901234567890")}},
		{Row: 1, ID: "bé", Vector: []float32{}, Fields: map[string]any{}},
		{Row: 3, ID: "c", Fields: map[string]any{
			"tags": []any{"x", json.Number("1"), nil, true, map[string]any{"y": json.Number("1.50")}}}},
	}
	data := []byte(lines)
	for name, data := range map[string][]byte{
		"a.jsonl": data, "a.ndjson": data, "a.json": data, "a.jsonl.gz": gz(t, data), "a.jsonl.zst": zst(t, data),
	} {
		r, err := OpenItemsFS(fstest.MapFS{name: {Data: data}}, name)
		if err != nil {
			t.Fatal(err)
		}
		records, rejects, err := readItems(r)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(want, records); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if diff := cmp.Diff([]RowError{{File: name, Row: 2, Reason: "line is blank"}}, rejects); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestItemRejects puts every kind of bad line between good ones: the good ones come out, with their own rows.
func TestItemRejects(t *testing.T) {
	for _, tt := range []struct{ line, reason string }{
		{"", "line is blank"},
		{" \t\r", "line is blank"},
		{"[1]", "line is not a JSON object"},
		{"null", "line is not a JSON object"},
		{`{"id": "x"`, "line is not valid JSON: unexpected end of JSON input"},
		{`{"id": "x"} {}`, "line is not valid JSON: invalid character '{' after top-level value"},
		{`{"id": "x", "vector": [NaN]}`, "line is not valid JSON: invalid character 'N' looking for beginning of value"},
		{"{\"id\": \"\xff\"}", "line is not UTF-8"},
		{`{}`, "id is missing or empty"},
		{`{"id": ""}`, "id is missing or empty"},
		{`{"ID": "x"}`, "id is missing or empty"},
		{`{"id": 7}`, "id is not a string"},
		{`{"id": null}`, "id is not a string"},
		{`{"id": "x", "vector": null}`, "vector is not an array"},
		{`{"id": "x", "vector": {"0": 1}}`, "vector is not an array"},
		{`{"id": "x", "vector": [1, null]}`, "vector[1] is not a number"},
		{`{"id": "x", "vector": ["1"]}`, "vector[0] is not a number"},
		{`{"id": "x", "vector": ["a,b"]}`, "vector[0] is not a number"},
		{`{"id": "x", "vector": [[1, 2]]}`, "vector[0] is not a number"},
		{`{"id": "x", "vector": [1, [2]]}`, "vector[1] is not a number"},
		{`{"id": "x", "vector": [1, true]}`, "vector[1] is not a number"},
		{`{"id": "x", "vector": [0, 1e39]}`, "vector[1] is beyond float32"},
		{`{"id": "x", "vector": [` + strings.Repeat("0,", MaxDim) + `0]}`, "vector has more than 65536 values"},
		{`{"id": "` + strings.Repeat("x", MaxLineBytes) + `"}`, "line longer than 16777216 bytes"},
	} {
		data := `{"id": "before"}` + "\n" + tt.line + "\n" + `{"id": "after"}` + "\n"
		r, err := NewItemReader("a.jsonl", strings.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		records, rejects, err := readItems(r)
		if err != nil || len(records) != 2 || records[0].ID != "before" || records[1].ID != "after" || records[1].Row != 2 {
			t.Errorf("%.40q: records %v, %v", tt.line, records, err)
		}
		if diff := cmp.Diff([]RowError{{File: "a.jsonl", Row: 1, Reason: tt.reason}}, rejects); diff != "" {
			t.Errorf("%.40q (-want +got):\n%s", tt.line, diff)
		}
	}
}

func TestItemLineAtLimit(t *testing.T) {
	frame := len(`{"id": "x", "pad": ""}`)
	data := `{"id": "x", "pad": "` + strings.Repeat("y", MaxLineBytes-frame) + `"}` + "\n"
	r, err := NewItemReader("a.jsonl", strings.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	if rec, err := r.Next(); err != nil || rec.ID != "x" {
		t.Errorf("line of exactly the limit: %v", err)
	}
}

func TestItemFaults(t *testing.T) {
	var fault *FormatError
	if _, err := NewItemReader("a.csv", nil); !errors.As(err, &fault) {
		t.Errorf("name: %v", err)
	}
	if _, err := OpenItems("a.csv"); !errors.As(err, &fault) {
		t.Errorf("name: %v", err)
	}
	if _, err := NewItemReader("a.jsonl.gz", strings.NewReader("")); !errors.As(err, &fault) || errors.Is(err, io.EOF) {
		t.Errorf("empty gzip: %v", err)
	}
	packed := gz(t, []byte(strings.Repeat(`{"id": "x"}`+"\n", 1000)))
	r, err := NewItemReader("a.jsonl.gz", bytes.NewReader(packed[:len(packed)-3]))
	if err != nil {
		t.Fatal(err)
	}
	records, _, err := readItems(r)
	if !errors.As(err, &fault) || len(records) > 1000 {
		t.Errorf("cut gzip: %d records, %v", len(records), err)
	}
	if _, again := r.Next(); again != err {
		t.Errorf("got %v then %v, want the same error", err, again)
	}
}

// TestItemsInPieces reads the same lines whatever the size of the reads below.
func TestItemsInPieces(t *testing.T) {
	var b bytes.Buffer
	for i := range 300 {
		fmt.Fprintf(&b, `{"id":"%d","pad":%q}`+"\n", i, strings.Repeat("p", i))
	}
	for _, wrap := range []func(io.Reader) io.Reader{iotest.OneByteReader, iotest.HalfReader, iotest.DataErrReader} {
		r, err := NewItemReader("a.jsonl", wrap(bytes.NewReader(b.Bytes())))
		if err != nil {
			t.Fatal(err)
		}
		records, rejects, err := readItems(r)
		if err != nil || len(records) != 300 || len(rejects) != 0 {
			t.Fatalf("%d records, %d rejects, %v", len(records), len(rejects), err)
		}
		for i, rec := range records {
			if rec.ID != fmt.Sprint(i) || rec.Row != int64(i) {
				t.Fatalf("record %d is %+v", i, rec)
			}
		}
	}
}

// TestVectorTextRoundTrip: a float32 written by encoding/json comes back bit for bit.
func TestVectorTextRoundTrip(t *testing.T) {
	finite := rapid.Float32().Filter(func(f float32) bool { return !math.IsInf(float64(f), 0) && f == f })
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfN(finite, 0, 20).Draw(t, "vector")
		line, err := json.Marshal(map[string]any{"id": "x", "vector": want})
		if err != nil {
			t.Fatal(err)
		}
		rec, err := parseRecord(line, ItemFields{}.named())
		if err != nil {
			t.Fatal(err)
		}
		if !slices.EqualFunc(rec.Vector, want, func(a, b float32) bool {
			return math.Float32bits(a) == math.Float32bits(b)
		}) {
			t.Fatalf("got %v, want %v", rec.Vector, want)
		}
	})
}

// A name is one of items or one of vectors, or neither; never both.
func TestHoldsItems(t *testing.T) {
	for name, want := range map[string]bool{
		"a.jsonl": true, "a.ndjson.gz": true, "a.json.zst": true, "a.parquet": true, "a.hnsw": true,
		"a.npy": false, "a.fvecs.gz": false, "a.bvecs.zst": false, "a.ivecs": false, "a.txt": false, "jsonl": false, "": false,
	} {
		if got := HoldsItems(name); got != want {
			t.Errorf("%q: %v, want %v", name, got, want)
		}
	}
}
