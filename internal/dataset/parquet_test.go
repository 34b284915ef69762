package dataset

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"math"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress"
	"pgregory.net/rapid"
)

// parquetTrack is a row with a column of each type that is read.
type parquetTrack struct {
	ID       *string    `parquet:"id,optional"`
	Vector   []float32  `parquet:"vector,list"`
	Title    *string    `parquet:"title,optional"`
	Genres   []string   `parquet:"genres,list"`
	Repeated []string   `parquet:"repeated"`
	Explicit *bool      `parquet:"explicit,optional"`
	Small    int32      `parquet:"small"`
	Plays    *int64     `parquet:"plays,optional"`
	Unsigned uint64     `parquet:"unsigned"`
	Tempo    float32    `parquet:"tempo"`
	Loudness float64    `parquet:"loudness,dict"`
	Added    time.Time  `parquet:"added,timestamp(microsecond)"`
	Seen     *time.Time `parquet:"seen,optional,timestamp(nanosecond)"`
	Born     int32      `parquet:"born,date"`
}

// writeParquet writes rows in row groups of at most group rows.
func writeParquet[T any](t testing.TB, group int, rows []T, options ...parquet.WriterOption) []byte {
	t.Helper()
	var b bytes.Buffer
	w := parquet.NewGenericWriter[T](&b, options...)
	for part := range slices.Chunk(rows, group) {
		if _, err := w.Write(part); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func readParquet(data []byte) ([]Record, []RowError, error) {
	r, err := NewItemReader("a.parquet", bytes.NewReader(data))
	if err != nil {
		return nil, nil, err
	}
	defer r.Close()
	return readItems(r)
}

func optional[T any](t *rapid.T, g *rapid.Generator[T], name string) *T {
	return rapid.Ptr(g, true).Draw(t, name)
}

func drawTrack(t *rapid.T) parquetTrack {
	moment := rapid.Map(rapid.Int64Range(-1e15, 1e15), func(micros int64) time.Time { return time.UnixMicro(micros).UTC() })
	return parquetTrack{
		ID:       optional(t, rapid.String(), "id"),
		Vector:   rapid.SliceOfN(rapid.Float32(), 0, 40).Draw(t, "vector"),
		Title:    optional(t, rapid.String(), "title"),
		Genres:   rapid.SliceOfN(rapid.String(), 0, 4).Draw(t, "genres"),
		Repeated: rapid.SliceOfN(rapid.String(), 0, 4).Draw(t, "repeated"),
		Explicit: optional(t, rapid.Bool(), "explicit"),
		Small:    rapid.Int32().Draw(t, "small"),
		Plays:    optional(t, rapid.Int64(), "plays"),
		Unsigned: rapid.Uint64().Draw(t, "unsigned"),
		Tempo:    rapid.Float32().Draw(t, "tempo"),
		Loudness: rapid.Float64().Draw(t, "loudness"),
		Added:    moment.Draw(t, "added"),
		Seen:     optional(t, moment, "seen"),
		Born:     rapid.Int32Range(-100_000, 100_000).Draw(t, "born"),
	}
}

// record is what reading the track must give; ok says whether the row can be used.
func (p *parquetTrack) record(row int64) (rec Record, ok bool) {
	if p.ID == nil || *p.ID == "" {
		return Record{}, false
	}
	float := func(f float64) any { return json.Number(strconv.FormatFloat(f, 'e', -1, 64)) }
	list := func(s []string) any {
		out := []any{}
		for _, e := range s {
			out = append(out, e)
		}
		return out
	}
	fields := map[string]any{
		"title": nil, "explicit": nil, "plays": nil, "seen": nil,
		"genres": list(p.Genres), "repeated": list(p.Repeated),
		"small":    json.Number(strconv.Itoa(int(p.Small))),
		"unsigned": json.Number(strconv.FormatUint(p.Unsigned, 10)),
		"tempo":    float(float64(p.Tempo)), "loudness": float(p.Loudness),
		"added": p.Added, "born": time.Unix(0, 0).UTC().AddDate(0, 0, int(p.Born)),
	}
	if p.Title != nil {
		fields["title"] = *p.Title
	}
	if p.Explicit != nil {
		fields["explicit"] = *p.Explicit
	}
	if p.Plays != nil {
		fields["plays"] = json.Number(strconv.FormatInt(*p.Plays, 10))
	}
	if p.Seen != nil {
		fields["seen"] = *p.Seen
	}
	return Record{Row: row, ID: *p.ID, Vector: append([]float32{}, p.Vector...), Fields: fields}, true
}

// Property: what parquet-go wrote is read as it was, whatever the codec, the version of pages and their size, and the
// size of row groups; rows without an id are rejected by their number.
func TestParquetRoundTrip(t *testing.T) {
	codecs := []compress.Codec{&parquet.Uncompressed, &parquet.Snappy, &parquet.Gzip, &parquet.Zstd, &parquet.Brotli}
	rapid.Check(t, func(rt *rapid.T) {
		rows := rapid.SliceOfN(rapid.Custom(drawTrack), 0, 60).Draw(rt, "rows")
		data := writeParquet(t, rapid.IntRange(1, 60).Draw(rt, "group"), rows,
			parquet.Compression(rapid.SampledFrom(codecs).Draw(rt, "codec")),
			parquet.DataPageVersion(rapid.IntRange(1, 2).Draw(rt, "version")),
			parquet.PageBufferSize(rapid.SampledFrom([]int{64, 1000, 1 << 20}).Draw(rt, "page")))
		var want []Record
		var bad []int64
		for i := range rows {
			if rec, ok := rows[i].record(int64(i)); ok {
				want = append(want, rec)
			} else {
				bad = append(bad, int64(i))
			}
		}
		got, rejects, err := readParquet(data)
		if err != nil {
			rt.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			rt.Fatalf("(-want +got):\n%s", diff)
		}
		var named []int64
		for _, r := range rejects {
			named = append(named, r.Row)
		}
		if !slices.Equal(named, bad) {
			rt.Fatalf("rejected %v, want %v", named, bad)
		}
	})
}

// Vectors come in each of their forms, and null is no vector.
func TestParquetVectors(t *testing.T) {
	packed := func(v ...float32) []byte {
		var b []byte
		for _, x := range v {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
		}
		return b
	}
	type doubles struct {
		ID     string    `parquet:"id"`
		Vector []float64 `parquet:"vector,list"`
	}
	type legacy struct {
		ID     string    `parquet:"id"`
		Vector []float32 `parquet:"vector"`
	}
	type blob struct {
		ID     string  `parquet:"id"`
		Vector *[]byte `parquet:"vector,optional"`
	}
	type fixed struct {
		ID     string  `parquet:"id"`
		Vector [8]byte `parquet:"vector"`
	}
	type nullable struct {
		ID     string     `parquet:"id"`
		Vector []*float32 `parquet:"vector,list"`
	}
	one, ab, cut := float32(1), packed(1, -2.5), []byte{1, 2, 3}
	nan := packed(float32(math.Inf(-1)))
	for name, tc := range map[string]struct {
		data    []byte
		want    [][]float32
		rejects []string
	}{
		"doubles": {writeParquet(t, 2, []doubles{{"a", []float64{1, -2.5}}, {"b", []float64{1, 1e300}}, {"c", nil}, {"d", []float64{math.Inf(1)}}}),
			[][]float32{{1, -2.5}, {}, {float32(math.Inf(1))}}, []string{"vector: element 1 is beyond float32"}},
		"repeated": {writeParquet(t, 9, []legacy{{"a", []float32{1, -2.5}}, {"b", []float32{3}}}), [][]float32{{1, -2.5}, {3}}, nil},
		"bytes": {writeParquet(t, 9, []blob{{"a", &ab}, {"b", &cut}, {"c", nil}, {"d", &nan}}),
			[][]float32{{1, -2.5}, nil, {float32(math.Inf(-1))}}, []string{"vector: has 3 bytes, not 4 a number"}},
		"fixed": {writeParquet(t, 9, []fixed{{"a", [8]byte(ab)}}), [][]float32{{1, -2.5}}, nil},
		"null element": {writeParquet(t, 9, []nullable{{"a", []*float32{&one, nil}}, {"b", []*float32{nil}}, {"c", []*float32{&one}}}),
			[][]float32{{1}}, []string{"vector: element 1 is null", "vector: element 0 is null"}},
		"wide": {writeParquet(t, 9, []legacy{{"a", make([]float32, MaxDim+1)}, {"b", []float32{3}}}), [][]float32{{3}},
			[]string{"vector: has more than 65536 values"}},
	} {
		records, rejects, err := readParquet(tc.data)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var got [][]float32
		for _, r := range records {
			got = append(got, r.Vector)
		}
		var reasons []string
		for _, r := range rejects {
			reasons = append(reasons, r.Reason)
		}
		if diff := cmp.Diff(tc.want, got) + cmp.Diff(tc.rejects, reasons); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// A value that no attribute can hold rejects its row, and the next one is read.
func TestParquetRejectsRows(t *testing.T) {
	type row struct {
		ID    string    `parquet:"id"`
		Tempo float64   `parquet:"tempo"`
		Raw   []byte    `parquet:"raw"`
		Tags  []*string `parquet:"tags,list"`
		Added int64     `parquet:"added,timestamp(millisecond)"`
	}
	word := "x"
	records, rejects, err := readParquet(writeParquet(t, 3, []row{
		{ID: "a", Tempo: math.NaN()}, {ID: "b", Raw: []byte{0xff}}, {ID: "c", Tags: []*string{&word, nil}},
		{ID: "d", Added: math.MaxInt64}, {ID: "e", Added: math.MinInt64}, {ID: "f", Tags: []*string{&word}, Added: -1},
	}))
	if err != nil || len(records) != 1 || records[0].ID != "f" || records[0].Row != 5 {
		t.Fatalf("%+v, %v", records, err)
	}
	if got := records[0].Fields["added"]; got != time.UnixMilli(-1).UTC() {
		t.Errorf("added %v", got)
	}
	want := []string{"tempo: NaN is not a finite number", "raw: text is not UTF-8", "tags: element 1 is null", "added: time lies in the year", "added: time lies in the year"}
	for i, r := range rejects {
		if i >= len(want) || !strings.HasPrefix(r.Reason, want[i]) || r.Row != int64(i) || r.File != "a.parquet" {
			t.Errorf("%+v", r)
		}
	}
	if len(rejects) != len(want) {
		t.Errorf("%d rejects", len(rejects))
	}
}

// A column of a type that cannot be imported is named before any row is read.
func TestParquetColumnTypes(t *testing.T) {
	group := func(columns parquet.Group) []byte {
		var b bytes.Buffer
		if err := parquet.NewWriter(&b, parquet.NewSchema("s", columns)).Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	text, number := parquet.String(), parquet.Leaf(parquet.FloatType)
	for _, tc := range []struct {
		column string
		rule   string
		nodes  parquet.Group
	}{
		{"id", "is missing", parquet.Group{"name": text}},
		{"id", "must be a string", parquet.Group{"id": parquet.Int(64)}},
		{"id", "must be a string", parquet.Group{"id": parquet.List(text)}},
		{"id", "must be a string", parquet.Group{"id": parquet.UUID()}},
		{"vector", "must be a list", parquet.Group{"id": text, "vector": number}},
		{"vector", "must be a list", parquet.Group{"id": text, "vector": parquet.List(text)}},
		{"vector", "must be a list", parquet.Group{"id": text, "vector": parquet.List(parquet.Int(32))}},
		{"vector", "must be a list", parquet.Group{"id": text, "vector": parquet.Leaf(parquet.FixedLenByteArrayType(6))}},
		{"vector", "a list of lists", parquet.Group{"id": text, "vector": parquet.List(parquet.List(number))}},
		{"album", "a struct or map", parquet.Group{"id": text, "album": parquet.Group{"title": text, "year": number}}},
		{"album", "a struct or map", parquet.Group{"id": text, "album": parquet.Group{"title": text}}},
		{"tags", "a struct or map", parquet.Group{"id": text, "tags": parquet.Map(text, text)}},
		{"years", "a list must hold strings", parquet.Group{"id": text, "years": parquet.List(parquet.Int(32))}},
		{"price", "no type of an attribute", parquet.Group{"id": text, "price": parquet.Decimal(2, 9, parquet.Int32Type)}},
		{"at", "no type of an attribute", parquet.Group{"id": text, "at": parquet.Time(parquet.Millisecond)}},
	} {
		_, _, err := readParquet(group(tc.nodes))
		var fault *FormatError
		if !errors.As(err, &fault) || fault.Column != tc.column || fault.File != "a.parquet" || !strings.Contains(fault.Rule, tc.rule) {
			t.Errorf("%s: %s: %v", tc.column, tc.rule, err)
		}
	}
}

// smallParquet is a file with every kind of column.
func smallParquet(t testing.TB, options ...parquet.WriterOption) []byte {
	name, at := "name", time.UnixMicro(1e15).UTC()
	rows := make([]parquetTrack, 20)
	for i := range rows {
		id := strconv.Itoa(i)
		rows[i] = parquetTrack{ID: &id, Vector: []float32{float32(i), 2, 3}, Title: &name, Genres: []string{"a", "b"}, Added: at, Seen: &at}
	}
	return writeParquet(t, 12, rows, options...)
}

// Whatever of a file is cut, or which byte of it is changed, reading ends in io.EOF or an error of a type that says where.
func TestParquetDamage(t *testing.T) {
	data := smallParquet(t, parquet.Compression(&parquet.Zstd))
	const step = 3 // spares time; FuzzParquet does the rest
	for n := 0; n < len(data); n += step {
		_, _, err := readParquet(data[:n])
		var fault *FormatError
		if !errors.As(err, &fault) || fault.Rule == "" {
			t.Fatalf("cut to %d of %d bytes: %v", n, len(data), err)
		}
	}
	var found, tried int
	for at := 0; at < len(data); at += step {
		tried++
		damaged := bytes.Clone(data)
		damaged[at] ^= 0x41
		records, _, err := readParquet(damaged)
		var fault *FormatError
		if err != nil && !errors.As(err, &fault) || errors.Is(err, io.EOF) || len(records) > 20 && err == nil {
			t.Fatalf("byte %d: %d records, %v", at, len(records), err)
		}
		if err != nil {
			found++
		}
	}
	if found < tried/2 {
		t.Errorf("%d of %d changed bytes found", found, tried)
	}
}

// Sizes that a file claims are refused before they are allocated.
func TestParquetClaimsAreBounded(t *testing.T) {
	footer := func(body []byte) []byte {
		b := append([]byte("PAR1"), body...)
		return append(binary.LittleEndian.AppendUint32(b, uint32(len(body))), "PAR1"...)
	}
	good := smallParquet(t)
	long := bytes.Clone(good)
	binary.LittleEndian.PutUint32(long[len(long)-8:], 1<<31)
	for name, data := range map[string][]byte{
		"footer": long,
		// Field 2 of the metadata is the schema, a list of structures: 2^31-1 of them.
		"schema": footer([]byte{0x15, 2, 0x19, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x07, 0}),
		"text":   footer([]byte{0x68, 0xff, 0xff, 0xff, 0xff, 0x07, 0}),
		"deep":   footer(bytes.Repeat([]byte{0x1c}, 1<<20)),
		"lists":  footer(append([]byte{0x19}, bytes.Repeat([]byte{0x19}, 1<<20)...)),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _, err := readParquet(data)
		runtime.ReadMemStats(&after)
		var fault *FormatError
		if !errors.As(err, &fault) {
			t.Errorf("%s: %v", name, err)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > 32<<20 {
			t.Errorf("%s: %d bytes allocated", name, used)
		}
	}
}

// A page header, or a compressed stream, that states more than there is room for is refused before its page is decoded.
func TestParquetPageClaims(t *testing.T) {
	// PageHeader: field 1 the type, 2 the size decompressed, 3 compressed, 5 {1 values, 2..4 encodings}, zigzag varints.
	page := func(plain, packed, values int64, body ...byte) []byte {
		b := []byte{0x15, 0, 0x15}
		b = append(binary.AppendVarint(b, plain), 0x15)
		b = append(binary.AppendVarint(b, packed), 0x2c, 0x15)
		b = append(binary.AppendVarint(b, values), 0x15, 0, 0x15, 6, 0x15, 6, 0, 0)
		return append(b, body...)
	}
	stated := binary.AppendUvarint(nil, 1<<31)
	for name, tc := range map[string]struct {
		data []byte
		ok   bool
	}{
		"good":         {page(8, 3, 2, 8, 0, 0), true},
		"compressed":   {page(8, 1<<30, 2, 8, 0, 0), false},
		"negative":     {page(8, -1, 2, 8, 0, 0), false},
		"decompressed": {page(1<<30, 3, 2, 8, 0, 0), false},
		"values":       {page(8, 3, 1<<30, 8, 0, 0), false},
		"stream":       {page(8, int64(len(stated)), 2, stated...), false},
	} {
		size, err := checkParquetPage(bytes.NewReader(tc.data), 1, 0, int64(len(tc.data)))
		if (err == nil) != tc.ok || tc.ok && size != int64(len(tc.data)) {
			t.Errorf("%s: %d, %v", name, size, err)
		}
	}
}

// A Parquet file needs a file below it, and no compression around it.
func TestParquetOpening(t *testing.T) {
	data := smallParquet(t)
	var fault *FormatError
	if _, err := NewItemReader("a.parquet", iotest.OneByteReader(bytes.NewReader(data))); !errors.As(err, &fault) {
		t.Errorf("stream: %v", err)
	}
	if _, err := NewItemReader("a.parquet.gz", bytes.NewReader(data)); !errors.As(err, &fault) {
		t.Errorf("compressed: %v", err)
	}
	lz4 := smallParquet(t, parquet.Compression(&parquet.Lz4Raw))
	if _, err := NewItemReader("a.parquet", bytes.NewReader(lz4)); !errors.As(err, &fault) || fault.Column != "id" || !strings.Contains(fault.Rule, "LZ4_RAW") {
		t.Errorf("LZ4: %v", err)
	}
	r, err := OpenItemsFS(fstest.MapFS{"a.PARQUET": {Data: data}}, "a.PARQUET")
	if err != nil {
		t.Fatal(err)
	}
	records, _, err := readItems(r)
	if err != nil || len(records) != 20 || records[19].Row != 19 || records[19].ID != "19" {
		t.Errorf("%d records, %v", len(records), err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

func FuzzParquet(f *testing.F) {
	f.Add(smallParquet(f))
	f.Add(smallParquet(f, parquet.Compression(&parquet.Snappy), parquet.DataPageVersion(1)))
	f.Add(smallParquet(f, parquet.Compression(&parquet.Zstd)))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, rejects, err := readParquet(data)
		var fault *FormatError
		if err != nil && (!errors.As(err, &fault) || errors.Is(err, io.EOF)) {
			t.Fatal(err)
		}
		for _, r := range rejects {
			if r.Reason == "" {
				t.Fatal(r)
			}
		}
	})
}
