package querylog

import (
	"bytes"
	"errors"
	"io"
	"math"
	"testing"

	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// TestEveryCut: of a file that ends anywhere, the records before the end are read, and it is said where it ends.
func TestEveryCut(t *testing.T) {
	var file bytes.Buffer
	var ends []int
	for _, id := range []string{"a", "bb", ""} {
		if _, err := protodelim.MarshalTo(&file, byItem(id)); err != nil {
			t.Fatal(err)
		}
		ends = append(ends, file.Len())
	}
	for n := range file.Len() + 1 {
		whole, start := 0, 0
		for _, end := range ends {
			if end <= n {
				whole++
				start = end
			}
		}
		r := NewReader(bytes.NewReader(file.Bytes()[:n]))
		for i := range whole {
			if _, err := r.Next(); err != nil {
				t.Fatalf("cut at %d: record %d: %v", n, i, err)
			}
		}
		_, err := r.Next()
		if n == start {
			if !errors.Is(err, io.EOF) {
				t.Errorf("cut at %d, between records: %v", n, err)
			}
			continue
		}
		var cut *RecordError
		if !errors.As(err, &cut) || !cut.Truncated || cut.Index != whole || cut.Offset != int64(start) {
			t.Errorf("cut at %d: %v", n, err)
		}
	}
}

// TestBadRecords: lengths that lie and bytes that are no message are named, not believed.
func TestBadRecords(t *testing.T) {
	good, err := proto.Marshal(byItem("a"))
	if err != nil {
		t.Fatal(err)
	}
	first := append(protowire.AppendVarint(nil, uint64(len(good))), good...)
	for name, tail := range map[string][]byte{
		"longer than allowed": protowire.AppendVarint(nil, MaxRecordBytes+1),
		"as long as can be":   protowire.AppendVarint(nil, math.MaxUint64),
		"no varint":           bytes.Repeat([]byte{0xff}, 20),
		"no message":          {3, 0xff, 0xff, 0xff},
	} {
		r := NewReader(bytes.NewReader(append(bytes.Clone(first), tail...)))
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
		_, err := r.Next()
		var bad *RecordError
		if !errors.As(err, &bad) || bad.Truncated || bad.Index != 1 || bad.Offset != int64(len(first)) || errors.Unwrap(err) == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzReader: any bytes end in io.EOF or a RecordError, and what was read can be written and read again.
func FuzzReader(f *testing.F) {
	var file bytes.Buffer
	for _, id := range []string{"a", "bb"} {
		if _, err := protodelim.MarshalTo(&file, byItem(id)); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(file.Bytes())
	f.Add(file.Bytes()[:5])
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := NewReader(bytes.NewReader(b))
		for read := 0; ; read++ {
			m, err := r.Next()
			var bad *RecordError
			if errors.Is(err, io.EOF) && !errors.As(err, &bad) {
				return
			}
			if errors.As(err, &bad) {
				if bad.Index != read || bad.Offset > int64(len(b)) {
					t.Fatalf("%v after %d records of %d bytes", err, read, len(b))
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var again bytes.Buffer
			if _, err := protodelim.MarshalTo(&again, m); err != nil {
				t.Fatal(err)
			}
			if m2, err := NewReader(&again).Next(); err != nil || !proto.Equal(m, m2) {
				t.Fatalf("%v became %v, %v", m, m2, err)
			}
		}
	})
}
