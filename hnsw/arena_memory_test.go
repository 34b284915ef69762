package hnsw_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"

	"github.com/segue-ann/segue/hnsw"
	"github.com/segue-ann/segue/internal/invariants"
	"github.com/segue-ann/segue/internal/quantize"
)

// given returns zero memory for the vectors of o, aligned as mappings are, and counts how often it is released.
func given(o hnsw.Options) (m *hnsw.Memory, released *int) {
	mem := make([]byte, o.VectorBytes()+64)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(mem)))) & 63
	released = new(int)
	return &hnsw.Memory{Bytes: mem[skip : skip+o.VectorBytes()], Release: func() { *released++ }}, released
}

// TestVectorsInGivenMemory: an index whose vectors lie in the caller's memory answers as one that has its own, before and
// after a restore, holds the vectors there, counts them apart, and gives the memory back once.
func TestVectorsInGivenMemory(t *testing.T) {
	alone(t)
	for _, precision := range []hnsw.Precision{hnsw.Float32, hnsw.Float16} {
		t.Run(precision.String(), func(t *testing.T) { vectorsInGivenMemory(t, precision) })
	}
}

func vectorsInGivenMemory(t *testing.T, precision hnsw.Precision) {
	const dim = 20
	n := sized(1500)
	o := hnsw.Options{Dim: dim, Metric: hnsw.L2, MaxSlots: n, Seed: 5, Precision: precision}
	rng := rand.New(rand.NewPCG(79, 79))
	vecs, queries := gaussian(rng, n, dim, 1), gaussian(rng, 30, dim, 1)
	own := newIndex(t, o)
	memory, released := given(o)
	o.Vectors = memory
	x, err := hnsw.New(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range vecs {
		for _, index := range []*hnsw.Index{own, x} {
			if _, err := index.Insert(v); err != nil {
				t.Fatal(err)
			}
		}
	}
	image := snapshotOf(t, x)
	again, releasedAgain := given(o)
	y := restoreInto(t, image, hnsw.RestoreOptions{MaxSlots: n, Vectors: again})
	want := own.Acquire()
	defer want.Release()
	for _, index := range []*hnsw.Index{x, y} {
		if err := index.Check(); err != nil {
			t.Fatal(err)
		}
		s := index.Acquire()
		for _, q := range queries {
			a, _, err := want.Search(context.Background(), q, hnsw.SearchParams{K: 10, Ef: 40})
			if err != nil {
				t.Fatal(err)
			}
			if b, _, err := s.Search(context.Background(), q, hnsw.SearchParams{K: 10, Ef: 40}); err != nil || !slices.Equal(a, b) {
				t.Fatalf("%v, error %v, want %v", b, err, a)
			}
		}
		if st, all := index.Stats(), own.Stats(); st.GivenBytes != int64(o.VectorBytes()) || st.Bytes+st.GivenBytes != all.Bytes {
			t.Errorf("%d bytes and %d given, %d where all are its own", st.Bytes, st.GivenBytes, all.Bytes)
		}
		if err := index.Close(); err != nil {
			t.Fatal(err)
		}
		if *released+*releasedAgain != 0 && index == x {
			t.Fatal("the memory is released while a searcher is held")
		}
		s.Release()
		if err := index.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if *released != 1 || *releasedAgain != 1 {
		t.Errorf("released %d and %d times", *released, *releasedAgain)
	}
	first := unsafe.Slice((*byte)(unsafe.Pointer(&vecs[0][0])), 4*dim)
	if precision == hnsw.Float16 {
		half := make([]uint16, dim)
		quantize.EncodeF16(half, vecs[0])
		first = unsafe.Slice((*byte)(unsafe.Pointer(&half[0])), 2*dim)
	}
	if !invariants.Race && !bytes.HasPrefix(memory.Bytes, first) {
		t.Error("the first vector is not in the memory given")
	}
}

func TestGivenMemoryIsRefused(t *testing.T) {
	o := hnsw.Options{Dim: 20, Metric: hnsw.L2, MaxSlots: 100}
	memory, released := given(o)
	for what, b := range map[string][]byte{"short": memory.Bytes[:len(memory.Bytes)-1], "none": nil, "not aligned": nil} {
		o := o
		if o.Vectors = (&hnsw.Memory{Bytes: b, Release: memory.Release}); what == "not aligned" {
			if invariants.Race {
				continue
			}
			o.MaxSlots--
			o.Vectors.Bytes = memory.Bytes[4:]
		}
		var refused *hnsw.OptionError
		if _, err := hnsw.New(o); !errors.As(err, &refused) {
			t.Errorf("%s: %v", what, err)
		}
	}
	image := encoded{Header: snapshotOf(t, newIndex(t, o)).Header}
	if _, err := hnsw.NewRestorer(image.Header, hnsw.RestoreOptions{MaxSlots: 101, Vectors: memory}); err == nil {
		t.Error("memory for 100 slots is taken for 101")
	}
	if *released != 0 {
		t.Errorf("memory that was refused is released %d times", *released)
	}
}

// TestGivenMemoryEnds: memory is extended before it is written to, and where that fails nothing is lost: what is in the index
// stays searchable, and an insert goes on once there is room.
func TestGivenMemoryEnds(t *testing.T) {
	const dim, most = 20, 60
	o := hnsw.Options{Dim: dim, Metric: hnsw.L2, MaxSlots: 100}
	errDisk := errors.New("no space")
	room, asked := int64(4*32*most), int64(0)
	extend := func(n int64) error {
		if n > room {
			return errDisk
		}
		asked = max(asked, n)
		return nil
	}
	memory, _ := given(o)
	memory.Extend = extend
	o.Vectors = memory
	x := newIndex(t, o)
	vecs := gaussian(rand.New(rand.NewPCG(89, 89)), 100, dim, 1)
	for i, v := range vecs[:most] {
		if _, err := x.Insert(v); err != nil {
			t.Fatal(err)
		}
		if want := int64(4 * 32 * (i + 1)); asked < want {
			t.Fatalf("%d bytes written, extended to %d", want, asked)
		}
	}
	if _, err := x.Insert(vecs[most]); !errors.Is(err, errDisk) {
		t.Fatalf("an insert without room: %v", err)
	}
	if err := x.Reserve(0); err != nil {
		t.Error(err)
	}
	if err := x.Reserve(1); !errors.Is(err, errDisk) {
		t.Errorf("room for one more is promised: %v", err)
	}
	if err := x.Check(); err != nil || x.Len() != most {
		t.Errorf("%d vectors, %v", x.Len(), err)
	}
	if err := x.Delete(3); err != nil {
		t.Fatal(err)
	}
	if slot, err := x.Insert(vecs[most]); err != nil || slot != 3 {
		t.Errorf("the slot of a deleted vector: %d, %v", slot, err)
	}
	image := snapshotOf(t, x)
	room = 4 * 32 * 10
	small, released := given(o)
	small.Extend = extend
	if _, err := hnsw.NewRestorer(image.Header, hnsw.RestoreOptions{MaxSlots: 100, Vectors: small}); !errors.Is(err, errDisk) || *released != 0 {
		t.Errorf("restored without room: %v, released %d times", err, *released)
	}
	room = 4 * 32 * 1000
	if err := x.Reserve(1000); err != nil || asked != 4*32*100 {
		t.Errorf("all room: %v, extended to %d", err, asked)
	}
	if _, err := x.Insert(vecs[most+1]); err != nil {
		t.Error(err)
	}
}
