package client

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// sampleRelease is a release file and the messages in it.
func sampleRelease(t testing.TB) (file []byte, head *seguev1.ReleaseHead, batches []*seguev1.WriteImportRequest) {
	t.Helper()
	head = &seguev1.ReleaseHead{
		Collection:     &seguev1.Collection{Name: "tracks", Dimension: 2, Metric: seguev1.Metric_METRIC_L2, IndexConfig: &seguev1.IndexConfig{M: 16, EfConstruction: 100}},
		EmbeddingModel: &seguev1.EmbeddingModel{Name: "m", Version: "3"}, ItemCount: 2,
		Graph: &seguev1.ImportGraph{Build: "b", Index: []byte("index"), PartCount: 1},
	}
	batches = []*seguev1.WriteImportRequest{
		{Sequence: 1, Items: []*seguev1.Item{{Id: "a", Vector: Vector([]float32{1, 2})}, {Id: "b", Vector: Vector([]float32{3, 4})}}},
		{Sequence: 2, Profiles: []*seguev1.Profile{{UserId: "u", Interests: []*seguev1.Interest{{Vector: Vector([]float32{5, 6})}}}}},
		{Sequence: 3, GraphParts: []*seguev1.GraphPart{{Section: "links0", Slab: 0, Data: []byte("links")}}},
	}
	var b bytes.Buffer
	w, err := newReleaseWriter(&b, head)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range batches {
		if err := w.batch(m); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.end(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), head, batches
}

// A release file of version 1 is read for ever: this one was written when the format was made.
func TestGoldenRelease(t *testing.T) {
	const path = "testdata/release-v1.segue"
	file, head, batches := sampleRelease(t)
	if os.Getenv("SEGUE_UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(path, file, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, file) {
		t.Error("the format has changed; if that is meant, see docs/formats/release.md")
	}
	x, err := NewReleaseReader(bytes.NewReader(want))
	if err != nil || !proto.Equal(x.Head(), head) {
		t.Fatal(x.Head(), err)
	}
	for _, m := range batches {
		if got, err := x.Next(); err != nil || !proto.Equal(got, m) {
			t.Errorf("%v, %v; want %v", got, err, m)
		}
	}
	for range 2 {
		if _, err := x.Next(); !errors.Is(err, io.EOF) {
			t.Errorf("behind the last batch: %v", err)
		}
	}
	if s := x.Summary(); s != (ReleaseSummary{Batches: 3, Items: 2, Profiles: 1, GraphParts: 1}) {
		t.Errorf("%+v", s)
	}
}

// A file that is cut anywhere, has any bit flipped, or more bytes than its own is refused by name; so is one of another version.
func TestDamagedReleaseIsRefused(t *testing.T) {
	file, _, _ := sampleRelease(t)
	check := func(b []byte) error {
		_, _, err := CheckRelease(bytes.NewReader(b))
		return err
	}
	if err := check(file); err != nil {
		t.Fatal(err)
	}
	for n := range file {
		if err := check(file[:n]); !errors.As(err, new(*ReleaseFileError)) {
			t.Fatalf("cut at %d: %v", n, err)
		}
		for bit := range 8 {
			b := bytes.Clone(file)
			b[n] ^= 1 << bit
			if err := check(b); !errors.As(err, new(*ReleaseFileError)) {
				t.Fatalf("bit %d of byte %d: %v", bit, n, err)
			}
		}
	}
	if err := check(append(bytes.Clone(file), 0)); !errors.As(err, new(*ReleaseFileError)) || !strings.Contains(err.Error(), "bytes follow the end") {
		t.Errorf("a byte more: %v", err)
	}
	for _, version := range []byte{0, 2} {
		b := bytes.Clone(file)
		b[8] = version
		if err := check(b); err == nil || !strings.Contains(err.Error(), "version") {
			t.Errorf("version %d: %v", version, err)
		}
	}
	huge := bytes.Clone(file[:24])
	copy(huge[16:], []byte{255, 255, 255, 255})
	if n := testing.AllocsPerRun(1, func() { _ = check(huge) }); n > 100 {
		t.Errorf("%v allocations", n)
	}
	if err := check(huge); err == nil || !strings.Contains(err.Error(), "claims") {
		t.Errorf("a frame of 4 GiB: %v", err)
	}
	var last ReleaseFileError
	last.Frame, last.Problem, last.Err = 2, "is bad", io.ErrClosedPipe
	if !errors.Is(&last, io.ErrClosedPipe) || !strings.Contains(last.Error(), "frame 2: is bad: io: read/write on closed pipe") {
		t.Error(last.Error())
	}
}

func FuzzReleaseReader(f *testing.F) {
	file, _, _ := sampleRelease(f)
	f.Add(file)
	f.Add(file[:30])
	f.Fuzz(func(t *testing.T, b []byte) {
		_, s, err := CheckRelease(bytes.NewReader(b))
		if err != nil && !errors.As(err, new(*ReleaseFileError)) {
			t.Errorf("%v", err)
		}
		if err == nil && s.Batches+s.Items+s.Profiles+s.GraphParts > int64(len(b)) {
			t.Errorf("%+v of %d bytes", s, len(b))
		}
	})
}
