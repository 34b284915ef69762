package dataset

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"pgregory.net/rapid"
)

// wholeFiles are good files of four rows, one a format and compression.
func wholeFiles(t *testing.T) map[string][]byte {
	t.Helper()
	values := []float32{1, -2, 3, 4.5, 5, 6, 7e7, 8, 9, 10, 11, 12}
	var fvecs, bvecs, ivecs []byte
	for i := 0; i < len(values); i += 3 {
		fvecs = append(fvecs, littleEndian(int32(3), values[i:i+3])...)
		bvecs = append(bvecs, littleEndian(int32(3), []uint8{uint8(i), 200, 255})...)
		ivecs = append(ivecs, littleEndian(int32(3), []int32{int32(i), -1, 1 << 30})...)
	}
	files := map[string][]byte{
		"a.npy":   npyFile(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (4, 3), }\n", values),
		"b.npy":   npyFile(2, "{'descr': '|u1', 'fortran_order': False, 'shape': (4, 3), }\n", make([]uint8, 12)),
		"a.fvecs": fvecs, "a.bvecs": bvecs, "a.ivecs": ivecs,
	}
	for name, data := range maps.Clone(files) {
		files[name+".gz"], files[name+".zst"] = gz(t, data), zst(t, data)
	}
	return files
}

// TestEveryPrefixIsAnError cuts every file at every length. A .*vecs file has no length of its own, so a cut between two
// rows is a shorter file; everything else must be noticed, at the latest when the end is reached.
func TestEveryPrefixIsAnError(t *testing.T) {
	for name, whole := range wholeFiles(t) {
		fine := map[int]bool{len(whole): true}
		ext, c := splitName(name)
		if c == plain && ext != ".npy" {
			for rows := 1; rows <= 4; rows++ {
				fine[rows*len(whole)/4] = true
			}
		}
		for n := range len(whole) + 1 {
			r, err := OpenVectorsFS(fstest.MapFS{name: {Data: whole[:n]}}, name)
			var rows [][]float32
			if err == nil {
				rows, err = readRowsOf(r)
				r.Close()
			}
			var fault *FormatError
			if fine[n] {
				if err != nil || c == plain && len(rows) != 4*n/len(whole) {
					t.Errorf("%s, %d of %d bytes: %d rows, %v", name, n, len(whole), len(rows), err)
				}
			} else if !errors.As(err, &fault) {
				t.Errorf("%s, %d of %d bytes: %d rows, %v", name, n, len(whole), len(rows), err)
			}
		}
	}
}

// TestDamagedBytes changes single bytes of compressed files: the reader must notice, or the change was in a part of the
// container that carries no data, and then every value comes out right.
func TestDamagedBytes(t *testing.T) {
	for name, whole := range wholeFiles(t) {
		if _, c := splitName(name); c == plain {
			continue
		}
		want, rows, dim, err := ReadFloat32FS(fstest.MapFS{name: {Data: whole}}, name, 0)
		if err != nil {
			t.Fatal(err)
		}
		for i := range whole {
			for _, flip := range []byte{0x01, 0x10, 0x80, 0xff} {
				bad := slices.Clone(whole)
				bad[i] ^= flip
				got, r, d, err := ReadFloat32FS(fstest.MapFS{name: {Data: bad}}, name, 0)
				if err == nil && (r != rows || d != dim || !slices.Equal(got, want)) {
					t.Errorf("%s, byte %d ^ %#x: other values and no error", name, i, flip)
				}
			}
		}
	}
}

// TestHeaderSpelling: order of keys, quotes, blanks and the last comma do not matter.
func TestHeaderSpelling(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		blank := func() string { return rapid.SampledFrom([]string{"", " ", "  ", "\n"}).Draw(t, "blank") }
		quote := rapid.SampledFrom([]string{"'", `"`}).Draw(t, "quote")
		rows, dim := rapid.Int64Range(0, MaxRows).Draw(t, "rows"), rapid.IntRange(1, MaxDim).Draw(t, "dim")
		dtype := rapid.SampledFrom([]DType{Float32, Float16, Uint8, Int32}).Draw(t, "dtype")
		columns := rapid.Bool().Draw(t, "columns")
		order := map[bool]string{true: "True", false: "False"}[columns]
		members := []string{
			quote + "descr" + quote + blank() + ":" + blank() + quote + dtype.descr() + quote,
			quote + "fortran_order" + quote + ":" + blank() + order,
			quote + "shape" + quote + ":" + blank() + fmt.Sprintf("(%s%d%s,%s%d%s)", blank(), rows, blank(), blank(), dim, blank()),
		}
		members = rapid.Permutation(members).Draw(t, "members")
		text := blank() + "{" + blank() + strings.Join(members, blank()+","+blank()) +
			rapid.SampledFrom([]string{"", ",", ", "}).Draw(t, "last") + "}" + blank()
		var h npyHeader
		if err := h.parse([]byte(text)); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if h.rows != rows || h.dim != dim || h.dtype != dtype || h.columnMajor != columns {
			t.Fatalf("%q: %+v", text, h)
		}
	})
}

// failing returns an error of its own after some bytes.
type failing struct {
	r    io.Reader
	left int
}

var errDisk = errors.New("input/output error")

func (f *failing) Read(p []byte) (int, error) {
	if f.left == 0 {
		return 0, errDisk
	}
	n, err := f.r.Read(p[:min(len(p), f.left)])
	f.left -= n
	return n, err
}

// TestReadErrorsComeThrough: an error of the reader below is the cause of the one returned, wherever it strikes.
func TestReadErrorsComeThrough(t *testing.T) {
	for name, whole := range wholeFiles(t) {
		for n := range len(whole) {
			r, err := NewVectorReader(name, &failing{bytes.NewReader(whole), n})
			if err == nil {
				_, err = readRowsOf(r)
			}
			if !errors.Is(err, errDisk) {
				t.Errorf("%s after %d bytes: %v", name, n, err)
			}
		}
	}
	lines := []byte(strings.Repeat(`{"id": "x"}`+"\n", 20))
	for _, file := range []struct {
		name string
		data []byte
	}{{"a.jsonl", lines}, {"a.jsonl.gz", gz(t, lines)}, {"a.jsonl.zst", zst(t, lines)}} {
		for n := range len(file.data) {
			r, err := NewItemReader(file.name, &failing{bytes.NewReader(file.data), n})
			if err == nil {
				_, _, err = readItems(r)
			}
			if !errors.Is(err, errDisk) {
				t.Errorf("%s after %d bytes: %v", file.name, n, err)
			}
		}
	}
}

// TestRandomLines feeds mangled JSON: every line is a record or a reject, and good lines are not lost to bad neighbours.
func TestRandomLines(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	const good = `{"id": "good", "vector": [1, 2.5, -3e-2], "tags": ["a", "b"], "deep": {"x": [null, true]}}`
	var b strings.Builder
	wantGood, n := 0, 4000
	for i := range n {
		line := []byte(good)
		if i%2 == 1 {
			for range 1 + r.IntN(3) {
				line[r.IntN(len(line))] = byte(' ' + r.IntN(95)) // printable: no line ends
			}
		}
		if string(line) == good {
			wantGood++
		}
		b.Write(line)
		b.WriteByte('\n')
	}
	in, err := NewItemReader("a.jsonl", strings.NewReader(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	records, rejects, err := readItems(in)
	if err != nil || len(records)+len(rejects) != n {
		t.Fatalf("%d records, %d rejects, %v", len(records), len(rejects), err)
	}
	gotGood := 0
	for _, rec := range records {
		if rec.Row%2 == 0 {
			gotGood++
			if rec.ID != "good" || !slices.Equal(rec.Vector, []float32{1, 2.5, -3e-2}) || len(rec.Fields) != 2 {
				t.Fatalf("record %+v", rec)
			}
		}
	}
	if gotGood != n/2 || wantGood < n/2 {
		t.Errorf("%d of %d good lines came out", gotGood, n/2)
	}
}
