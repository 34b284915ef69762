package dataset

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

// fuzzVectors checks what holds for any bytes: rows of the stated dimension, then io.EOF or a *FormatError, and no more
// rows than the bytes can hold.
func fuzzVectors(t *testing.T, name string, data []byte, bounded bool) {
	r, err := NewVectorReader(name, bytes.NewReader(data))
	var fault *FormatError
	if err != nil {
		if !errors.As(err, &fault) || errors.Is(err, io.EOF) {
			t.Fatalf("opening: %v", err)
		}
		return
	}
	defer r.Close()
	if r.Dim() < 1 || r.Dim() > MaxDim || r.Rows() > MaxRows {
		t.Fatalf("%d x %d", r.Rows(), r.Dim())
	}
	row := make([]float32, r.Dim())
	var rows int64
	const enough = 10_000 // compressed input may hold any number
	for ; rows < enough; rows++ {
		if err = r.Next(row); err != nil {
			break
		}
	}
	switch {
	case err == nil:
	case err == io.EOF:
		if r.Rows() >= 0 && rows != r.Rows() {
			t.Fatalf("%d rows read, %d stated", rows, r.Rows())
		}
	case !errors.As(err, &fault) || errors.Is(err, io.EOF):
		t.Fatalf("reading: %v", err)
	}
	if stored := rows * int64(r.Dim()) * int64(r.DType().Size()); bounded && stored > int64(len(data)) {
		t.Fatalf("%d bytes of rows from %d bytes", stored, len(data))
	}
}

func FuzzNpy(f *testing.F) {
	six := []float32{1, 2, 3, 4, 5, 6}
	for _, d := range []string{"<f4", "<f2", "|u1", "=i4", ">f4", "|O"} {
		f.Add(npyFile(1, descr(d), six))
		f.Add(npyFile(2, descr(d), six[:3]))
	}
	f.Add(npyFile(1, "{'descr': '<f4', 'fortran_order': True, 'shape': (3, 2), }", six))
	f.Add(npyFile(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (4294967295, 65536)}", six))
	f.Fuzz(func(t *testing.T, data []byte) { fuzzVectors(t, "a.npy", data, true) })
}

func FuzzVecs(f *testing.F) {
	f.Add(uint8(0), littleEndian(int32(2), []float32{1, 2}, int32(2), []float32{3, 4}))
	f.Add(uint8(1), littleEndian(int32(2), []uint8{1, 2}, int32(3), []uint8{3, 4, 5}))
	f.Add(uint8(2), littleEndian(int32(-1)))
	f.Fuzz(func(t *testing.T, format uint8, data []byte) {
		fuzzVectors(t, []string{"a.fvecs", "a.bvecs", "a.ivecs"}[format%3], data, true)
	})
}

func FuzzCompressed(f *testing.F) {
	file := npyFile(1, descr("<f4"), []float32{1, 2, 3, 4, 5, 6})
	f.Add(false, gz(f, file))
	f.Add(true, zst(f, file))
	f.Fuzz(func(t *testing.T, zstd bool, data []byte) {
		name := "a.npy.gz"
		if zstd {
			name = "a.npy.zst"
		}
		fuzzVectors(t, name, data, false)
	})
}

func FuzzItems(f *testing.F) {
	f.Add([]byte(`{"id": "a", "vector": [1, 2]}` + "\n\n" + `{"id": 1}` + "\n" + `{"id": "b", "n": {"x": [1e400]}}`))
	f.Add([]byte("\xef\xbb\xbf{}\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := NewItemReader("a.jsonl", bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		records, rejects, err := readItems(r)
		if err != nil {
			t.Fatal(err)
		}
		lines := bytes.Count(data, []byte{'\n'})
		if len(data) > 0 && data[len(data)-1] != '\n' {
			lines++
		}
		if len(records)+len(rejects) != lines {
			t.Fatalf("%d records and %d rejects from %d lines", len(records), len(rejects), lines)
		}
		for _, rec := range records {
			if rec.ID == "" || rec.Fields == nil {
				t.Fatalf("record %+v", rec)
			}
		}
	})
}
