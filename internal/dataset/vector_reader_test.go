package dataset

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"pgregory.net/rapid"
)

// npyFile makes a .npy file by hand, with the header text as given.
func npyFile(major byte, header string, values ...any) []byte {
	b := []byte{0x93, 'N', 'U', 'M', 'P', 'Y', major, 0}
	if major == 1 {
		b = binary.LittleEndian.AppendUint16(b, uint16(len(header)))
	} else {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(header)))
	}
	b = append(b, header...)
	return append(b, littleEndian(values...)...)
}

func littleEndian(values ...any) []byte {
	var b bytes.Buffer
	for _, v := range values {
		if err := binary.Write(&b, binary.LittleEndian, v); err != nil {
			panic(err)
		}
	}
	return b.Bytes()
}

func gz(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zst(t testing.TB, data []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return w.EncodeAll(data, nil)
}

// readRowsOf returns every row of r and the error that ended it (nil for io.EOF).
func readRowsOf(r *VectorReader) (rows [][]float32, err error) {
	for {
		row := make([]float32, r.Dim())
		if err := r.Next(row); err != nil {
			if err == io.EOF {
				return rows, nil
			}
			return rows, err
		}
		rows = append(rows, row)
	}
}

const header2x3 = "{'descr': '%', 'fortran_order': False, 'shape': (2, 3), }\n"

func descr(d string) string { return strings.Replace(header2x3, "%", d, 1) }

// TestVectorFormats reads bytes written by hand, one file a format.
func TestVectorFormats(t *testing.T) {
	f32 := []float32{1, -2.5, 3, float32(math.Inf(1)), 0, 6e-8}
	ints := []int32{1, -2, 3, 1 << 24, 0, math.MinInt32}
	for _, tt := range []struct {
		name  string
		data  []byte
		rows  int64
		dtype DType
		want  []float32
	}{
		{"a.npy", npyFile(1, descr("<f4"), f32), 2, Float32, f32},
		{"version2.npy", npyFile(2, descr("<f4"), f32), 2, Float32, f32},
		{"native.npy", npyFile(1, descr("=f4"), f32), 2, Float32, f32},
		{"UPPER.NPY", npyFile(1, descr("f4"), f32), 2, Float32, f32},
		{"i.npy", npyFile(1, descr("<i4"), ints), 2, Int32, []float32{1, -2, 3, 1 << 24, 0, -1 << 31}},
		{"u.npy", npyFile(1, descr("|u1"), []uint8{0, 1, 2, 127, 128, 255}), 2, Uint8, []float32{0, 1, 2, 127, 128, 255}},
		// f2: 1, -2, smallest subnormal, largest finite, +Inf, 0.333251953125
		{"h.npy", npyFile(1, descr("<f2"), []uint16{0x3c00, 0xc000, 0x0001, 0x7bff, 0x7c00, 0x3555}), 2, Float16,
			[]float32{1, -2, 0x1p-24, 65504, float32(math.Inf(1)), 0.333251953125}},
		{"one.npy", npyFile(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (6,)}", f32), 1, Float32, f32},
		{"keys.npy", npyFile(1, `{"shape":(2,3),"fortran_order":False,"descr":"<f4"}`, f32), 2, Float32, f32},
		{"none.npy", npyFile(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 3), }"), 0, Float32, nil},
		{"a.fvecs", littleEndian(int32(3), f32[:3], int32(3), f32[3:]), 2, Float32, f32},
		{"a.ivecs", littleEndian(int32(3), ints[:3], int32(3), ints[3:]), 2, Int32, []float32{1, -2, 3, 1 << 24, 0, -1 << 31}},
		{"a.bvecs", littleEndian(int32(3), []uint8{1, 2, 3}, int32(3), []uint8{0, 128, 255}), 2, Uint8,
			[]float32{1, 2, 3, 0, 128, 255}},
	} {
		for suffix, data := range map[string][]byte{"": tt.data, ".gz": gz(t, tt.data), ".zst": zst(t, tt.data)} {
			t.Run(tt.name+suffix, func(t *testing.T) {
				fsys := fstest.MapFS{"dir/" + tt.name + suffix: {Data: data}}
				r, err := OpenVectorsFS(fsys, "dir/"+tt.name+suffix)
				if err != nil {
					t.Fatal(err)
				}
				defer r.Close()
				wantRows := tt.rows
				if suffix != "" && !strings.HasSuffix(strings.ToLower(tt.name), ".npy") {
					wantRows = -1
				}
				if r.Rows() != wantRows || r.DType() != tt.dtype {
					t.Errorf("got %d rows of %v, want %d of %v", r.Rows(), r.DType(), wantRows, tt.dtype)
				}
				rows, err := readRowsOf(r)
				if err != nil {
					t.Fatal(err)
				}
				if got := slices.Concat(rows...); int64(len(rows)) != tt.rows || !slices.Equal(got, tt.want) {
					t.Errorf("got %d rows %v, want %d rows %v", len(rows), got, tt.rows, tt.want)
				}
				if err := r.Next(make([]float32, r.Dim())); err != io.EOF {
					t.Errorf("after the end: %v, want io.EOF again", err)
				}
			})
		}
	}
}

// TestVectorFaults names the rule and the row of everything a file can get wrong.
func TestVectorFaults(t *testing.T) {
	six := []float32{1, 2, 3, 4, 5, 6}
	good := npyFile(1, descr("<f4"), six)
	for _, tt := range []struct {
		name string
		data []byte
		row  int64
		rule string // part of the message
	}{
		{"a.txt", nil, -1, "name does not end in"},
		{"npy", nil, -1, "name does not end in"},
		{"a.npy", nil, -1, "no .npy header"},
		{"a.npy", []byte("<html>404 not found</html>"), -1, "magic bytes are missing"},
		{"a.npy", []byte("\x93NUMPY\x03\x00\x01\x00\x00\x00{"), -1, "version 3.0"},
		{"a.npy", []byte("\x93NUMPY\x01\x00\xff\xff{"), -1, "header cut short"},
		{"a.npy", []byte("\x93NUMPY\x02\x00\xff\xff\xff\xff{"), -1, "header of 4294967295 bytes"},
		{"a.npy", npyFile(1, descr(">f4"), six), -1, "big endian"},
		{"a.npy", npyFile(1, descr("|f4"), six), -1, "no byte order"},
		{"a.npy", npyFile(1, descr("<f8"), six, six), -1, `dtype "<f8" is not read`},
		{"a.npy", npyFile(1, descr("|O"), six), -1, `dtype "|O" is not read`},
		{"a.npy", npyFile(1, "{'descr': [('x', '<f4')], 'fortran_order': False, 'shape': (2, 3)}", six), -1, "structured dtypes"},
		{"a.npy", npyFile(1, "{'descr': '<f4', 'fortran_order': 1, 'shape': (2, 3)}", six), -1, "neither True nor False"},
		{"a.npy", npyFile(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2, 3)}", six), -1, "shape is not"},
		{"a.npy", npyFile(1, "{'descr': '<f4', 'fortran_order': False, 'shape': ()}", six), -1, "shape is not"},
		{"a.npy", npyFile(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (-2, 3)}", six), -1, "shape is not"},
		{"a.npy", npyFile(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999, 3)}"), -1, "shape is not"},
		{"a.npy", npyFile(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 3)}"), -1, "4294967296 rows"},
		{"a.npy", npyFile(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (6, 0)}"), -1, "dimension 0"},
		{"a.npy", npyFile(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (6, 65537)}"), -1, "dimension 65537"},
		{"a.npy", npyFile(1, "{'descr': '<f4', 'shape': (2, 3)}", six), -1, "lacks one of"},
		{"a.npy", npyFile(1, "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}", six), -1, "unknown or repeated"},
		{"a.npy", npyFile(1, descr("<f4")+"x", six), -1, "text after"},
		{"a.npy", npyFile(1, "['descr']", six), -1, "not a dict"},
		{"a.npy", good[:len(good)-1], -1, "file holds"},
		{"a.npy", append(slices.Clone(good), 0), -1, "file holds"},
		{"a.npy.gz", gz(t, good[:len(good)-1]), 1, "row cut short"},
		{"a.npy.zst", zst(t, append(slices.Clone(good), 0)), -1, "bytes left over"},
		{"a.npy.gz", good, -1, "compressed stream does not begin well"},
		{"a.npy.gz", nil, -1, "compressed stream does not begin well"},
		{"a.npy.zst", good, -1, "header"},
		{"a.npy.gz", gz(t, good)[:len(gz(t, good))-6], -1, "end of file"}, // checksum cut off
		{"a.fvecs", nil, -1, "file is empty"},
		{"a.fvecs", []byte{3, 0}, 0, "dimension"},
		{"a.fvecs", littleEndian(int32(-3), six[:3]), 0, "dimension -3"},
		{"a.fvecs", littleEndian(int32(math.MaxInt32), six[:3]), 0, "dimension 2147483647"},
		{"a.fvecs", littleEndian(int32(3), six[:2]), -1, "not a multiple"},
		{"a.fvecs", littleEndian(int32(3), six[:3], int32(2), six[3:]), 1, "dimension 2, the rows before have 3"},
		{"a.fvecs.gz", gz(t, littleEndian(int32(3), six[:3], int32(3), six[3:5])), 1, "row cut short"},
		{"a.fvecs.gz", gz(t, littleEndian(int32(3), six[:3], uint16(3))), 1, "dimension"},
	} {
		t.Run(tt.name+" "+tt.rule, func(t *testing.T) {
			r, err := OpenVectorsFS(fstest.MapFS{tt.name: {Data: tt.data}}, tt.name)
			if err == nil {
				defer r.Close()
				_, err = readRowsOf(r)
			}
			var fault *FormatError
			if !errors.As(err, &fault) {
				t.Fatalf("got %v, want a *FormatError", err)
			}
			if fault.File != tt.name || fault.Row != tt.row || !strings.Contains(err.Error(), tt.rule) {
				t.Errorf("got %q (row %d), want %q in it and row %d", err, fault.Row, tt.rule, tt.row)
			}
			if errors.Is(err, io.EOF) {
				t.Errorf("%v passes for a good end of file", err)
			}
		})
	}
}

func TestVectorReaderStickyAndClosed(t *testing.T) {
	r, err := NewVectorReader("a.fvecs", bytes.NewReader(littleEndian(int32(1), float32(7), int32(1))))
	if err != nil {
		t.Fatal(err)
	}
	row := make([]float32, 1)
	if err := r.Next(row); err != nil || row[0] != 7 {
		t.Fatalf("got %v, %v", row, err)
	}
	first, second := r.Next(row), r.Next(row)
	if first == nil || first != second {
		t.Errorf("got %v then %v, want the same error", first, second)
	}
	r, err = NewVectorReader("a.fvecs", bytes.NewReader(littleEndian(int32(1), float32(7))))
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	if err := r.Next(row); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if _, err := OpenVectors(filepath.Join(t.TempDir(), "none.npy")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

// TestHeaderPromisesAreNotAllocated opens files that claim terabytes. A reader that believed them would not survive it.
func TestHeaderPromisesAreNotAllocated(t *testing.T) {
	for _, order := range []string{"False", "True"} {
		lie := npyFile(1, "{'descr': '<f4', 'fortran_order': "+order+", 'shape': (4294967295, 65536)}", float32(1))
		_, _, _, err := ReadFloat32FS(fstest.MapFS{"a.npy.zst": {Data: zst(t, lie)}}, "a.npy.zst", 0)
		var fault *FormatError
		if !errors.As(err, &fault) || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("order %s: %v", order, err)
		}
	}
}

func TestReadLimitsAndOrders(t *testing.T) {
	const rows, dim = 5, 3
	byRow, byColumn := make([]int32, rows*dim), make([]int32, rows*dim)
	for i := range rows {
		for j := range dim {
			byRow[i*dim+j] = int32(10*i + j)
			byColumn[j*rows+i] = int32(10*i + j)
		}
	}
	var vecs []byte
	for i := range rows {
		vecs = append(vecs, littleEndian(int32(dim), byRow[i*dim:(i+1)*dim])...)
	}
	fsys := fstest.MapFS{
		"row.npy":     {Data: npyFile(1, "{'descr': '<i4', 'fortran_order': False, 'shape': (5, 3)}", byRow)},
		"col.npy.gz":  {Data: gz(t, npyFile(1, "{'descr': '<i4', 'fortran_order': True, 'shape': (5, 3)}", byColumn))},
		"vecs.ivecs":  {Data: vecs},
		"z.ivecs.zst": {Data: zst(t, vecs)},
	}
	for name := range fsys {
		for _, limit := range []int{-1, 0, 1, 4, 5, 6} {
			want := rows
			if limit > 0 {
				want = min(limit, rows)
			}
			ints, n, d, err := ReadInt32FS(fsys, name, limit)
			if err != nil || n != want || d != dim || !slices.Equal(ints, byRow[:want*dim]) {
				t.Errorf("%s limit %d: %v (%d x %d), %v", name, limit, ints, n, d, err)
			}
			floats, n, d, err := ReadFloat32FS(fsys, name, limit)
			if err != nil || n != want || d != dim || len(floats) != want*dim {
				t.Fatalf("%s limit %d: %v (%d x %d), %v", name, limit, floats, n, d, err)
			}
			for i, v := range floats {
				if v != float32(byRow[i]) {
					t.Errorf("%s limit %d: value %d is %v", name, limit, i, v)
				}
			}
		}
	}
	floats := fstest.MapFS{"a.npy": {Data: npyFile(1, descr("<f4"), make([]float32, 6))}}
	if _, _, _, err := ReadInt32FS(floats, "a.npy", 0); err == nil || !strings.Contains(err.Error(), "integers are wanted") {
		t.Errorf("integers from f4: %v", err)
	}
}

// TestColumnsWiderThanBuffer covers columns read in several pieces.
func TestColumnsWiderThanBuffer(t *testing.T) {
	const rows, dim = 40_000, 2 // a column is 160 kB, the buffer 64 KiB
	byColumn := make([]int32, rows*dim)
	for i := range byColumn {
		byColumn[i] = int32(i)
	}
	fsys := fstest.MapFS{"a.npy": {Data: npyFile(1, "{'descr': '<i4', 'fortran_order': True, 'shape': (40000, 2)}", byColumn)}}
	for _, limit := range []int{0, 20_000} {
		got, n, _, err := ReadInt32FS(fsys, "a.npy", limit)
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			if got[2*i] != int32(i) || got[2*i+1] != int32(rows+i) {
				t.Fatalf("limit %d, row %d: %v", limit, i, got[2*i:2*i+2])
			}
		}
	}
}

// TestWriteThenRead is the round trip: what the writer takes, the reader gives back, rounded as the type rounds.
func TestWriteThenRead(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		dtype := rapid.SampledFrom([]DType{Float32, Float16, Uint8, Int32}).Draw(t, "dtype")
		rows := rapid.IntRange(0, 9).Draw(t, "rows")
		dim := rapid.IntRange(1, 33).Draw(t, "dim")
		suffix := rapid.SampledFrom([]string{"", ".gz", ".zst"}).Draw(t, "suffix")
		value := map[DType]*rapid.Generator[float32]{
			Float32: rapid.Float32(),
			Float16: rapid.Map(rapid.IntRange(-2048, 2048), func(i int) float32 { return float32(i) / 64 }),
			Uint8:   rapid.Map(rapid.Uint8(), func(u uint8) float32 { return float32(u) }),
			Int32:   rapid.Map(rapid.IntRange(-1<<24, 1<<24), func(i int) float32 { return float32(i) }),
		}[dtype]
		path := filepath.Join(dir, "a.npy"+suffix)
		w, err := CreateVectors(path, dtype, int64(rows), dim)
		if err != nil {
			t.Fatal(err)
		}
		var want []float32
		for range rows {
			row := rapid.SliceOfN(value, dim, dim).Draw(t, "row")
			want = append(want, row...)
			if err := w.Write(row); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		got, n, d, err := ReadFloat32(path, 0)
		if err != nil || n != rows || d != dim || !slices.Equal(got, want) {
			t.Fatalf("got %v (%d x %d), %v; want %v", got, n, d, err, want)
		}
	})
}

// TestHeaderAsNumPyWrites compares with a header that numpy.save wrote.
func TestHeaderAsNumPyWrites(t *testing.T) {
	src, err := openFile(os.DirFS("../../testdata/mnist784"), "query_u8.npy.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer src.close()
	theirs := make([]byte, 128)
	if _, err := io.ReadFull(src, theirs); err != nil {
		t.Fatal(err)
	}
	if ours := appendNpyHeader(nil, Uint8, 2000, 784); string(ours) != string(theirs) {
		t.Errorf("got %q, want %q", ours, theirs)
	}
}

// TestWriterLayout compares with a file put together by hand.
func TestWriterLayout(t *testing.T) {
	var b bytes.Buffer
	w, err := NewVectorWriter(&b, Int32, 2, 3)
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range [][]int32{{0, 1, 2}, {3, 4, 5}} {
		if err := w.WriteInt32(row); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	text := "{'descr': '<i4', 'fortran_order': False, 'shape': (2, 3), }"
	want := "\x93NUMPY\x01\x00\x76\x00" + text + strings.Repeat(" ", 117-len(text)) + "\n" +
		string(littleEndian([]int32{0, 1, 2, 3, 4, 5}))
	if b.String() != want {
		t.Fatalf("got %q, want %q", b.String(), want)
	}
	r, err := NewVectorReader("a.npy", strings.NewReader(want))
	if err != nil {
		t.Fatal(err)
	}
	row := make([]float32, 3)
	for i := range 2 {
		first := float32(3 * i)
		if err := r.Next(row); err != nil || !slices.Equal(row, []float32{first, first + 1, first + 2}) {
			t.Errorf("row %d: %v, %v", i, row, err)
		}
	}
}

func TestWriterRefuses(t *testing.T) {
	nan := float32(math.NaN())
	for _, tt := range []struct {
		dtype DType
		row   []float32
	}{
		{Uint8, []float32{256}}, {Uint8, []float32{-1}}, {Uint8, []float32{0.5}}, {Uint8, []float32{nan}},
		{Int32, []float32{1 << 31}}, {Int32, []float32{0.5}}, {Int32, []float32{nan}},
		{Float16, []float32{65520}}, {Float16, []float32{-1e9}},
		{Float32, []float32{1, 2}}, {Float32, nil},
	} {
		w, err := NewVectorWriter(io.Discard, tt.dtype, 1, 1)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Write(tt.row); err == nil {
			t.Errorf("%v took %v", tt.dtype, tt.row)
		}
		if err := w.Close(); err == nil {
			t.Errorf("%v: closed without its row", tt.dtype)
		}
	}
	w, _ := NewVectorWriter(io.Discard, Float32, 0, 1)
	if err := w.Write([]float32{1}); err == nil {
		t.Error("row beyond the count taken")
	}
	if err := w.WriteInt32([]int32{1}); err == nil {
		t.Error("i4 row taken by an f4 array")
	}
	for _, bad := range []struct {
		dtype DType
		rows  int64
		dim   int
	}{{0, 1, 1}, {9, 1, 1}, {Float32, -1, 1}, {Float32, MaxRows + 1, 1}, {Float32, 1, 0}, {Float32, 1, MaxDim + 1}} {
		if _, err := NewVectorWriter(io.Discard, bad.dtype, bad.rows, bad.dim); err == nil {
			t.Errorf("%+v taken", bad)
		}
	}
	if _, err := CreateVectors(filepath.Join(t.TempDir(), "a.fvecs"), Float32, 1, 1); err == nil {
		t.Error("name without .npy taken")
	}
}

// TestMNIST reads the data set in the repository.
func TestMNIST(t *testing.T) {
	fsys := os.DirFS("../../testdata/mnist784")
	base, err := OpenVectorsFS(fsys, "base_u8.npy.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer base.Close()
	if base.Rows() != 60_000 || base.Dim() != 784 || base.DType() != Uint8 {
		t.Errorf("base is %d x %d of %v", base.Rows(), base.Dim(), base.DType())
	}
	queries, rows, dim, err := ReadFloat32FS(fsys, "query_u8.npy.gz", 0)
	if err != nil || rows != 2000 || dim != 784 || len(queries) != rows*dim {
		t.Fatalf("queries are %d x %d, %v", rows, dim, err)
	}
	truth, rows, k, err := ReadInt32FS(fsys, "neighbors_i32.npy.gz", 0)
	if err != nil || rows != 2000 || k != 100 {
		t.Fatalf("neighbours are %d x %d, %v", rows, k, err)
	}
	for i, v := range truth {
		if v < 0 || v >= 60_000 {
			t.Fatalf("neighbour %d of query %d is %d", i%k, i/k, v)
		}
	}
	// The pixel counts of the first images, and the order of the first query's neighbours by their true distances.
	near := map[int32]float64{}
	for _, n := range truth[:k] {
		near[n] = 0
	}
	row := make([]float32, base.Dim())
	for i := range int32(60_000) {
		if err := base.Next(row); err != nil {
			t.Fatal(err)
		}
		if _, ok := near[i]; !ok {
			continue
		}
		var sum float64
		for j, v := range row {
			d := float64(v) - float64(queries[j])
			sum += d * d
		}
		near[i] = sum
	}
	if err := base.Next(row); err != io.EOF {
		t.Errorf("end of base: %v", err)
	}
	for i := 1; i < k; i++ {
		if near[truth[i-1]] > near[truth[i]] {
			t.Errorf("neighbours %d and %d of query 0 are out of order", i-1, i)
		}
	}
}

// TestColumnMajorStreams: an array in Fortran order comes out row after row, plain and compressed; a short one is a
// fault when it is opened.
func TestColumnMajorStreams(t *testing.T) {
	const header = "{'descr': '<f4', 'fortran_order': True, 'shape': (3, 2)}"
	var columns []byte // column 0 is 0 1 2, column 1 is 10 11 12
	for _, v := range []float32{0, 1, 2, 10, 11, 12} {
		columns = binary.LittleEndian.AppendUint32(columns, math.Float32bits(v))
	}
	good := npyFile(1, header, columns)
	for name, data := range map[string][]byte{"a.npy": good, "a.npy.gz": gz(t, good), "a.npy.zst": zst(t, good)} {
		r, err := NewVectorReader(name, bytes.NewReader(data))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		row := make([]float32, 2)
		for i := range 3 {
			if err := r.Next(row); err != nil || row[0] != float32(i) || row[1] != float32(10+i) {
				t.Errorf("%s: row %d is %v, %v", name, i, row, err)
			}
		}
		if err := r.Next(row); !errors.Is(err, io.EOF) {
			t.Errorf("%s: after the last row: %v", name, err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	var fault *FormatError
	if _, err := NewVectorReader("a.npy.gz", bytes.NewReader(gz(t, good[:len(good)-3]))); !errors.As(err, &fault) {
		t.Errorf("a short array: %v", err)
	}
}
