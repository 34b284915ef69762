package engine

import (
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/segue-ann/segue/storage"
)

// TestInterestsRoundTrip: what is written is read, a weight of 0 as 1; rows without weights have the type of old ones.
func TestInterestsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dim := rapid.IntRange(1, 9).Draw(t, "dim")
		r := &release{cfg: &CollectionConfig{Dim: dim, Metric: L2}}
		is := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Interest {
			return Interest{
				Vector: rapid.SliceOfN(rapid.Float32Range(-1e6, 1e6), dim, dim).Draw(t, "vector"),
				Weight: rapid.SampledFrom([]float32{0, 1, 0.25, 1000}).Draw(t, "weight"),
			}
		}), 1, 16).Draw(t, "interests")
		dtype, vectors := encodeInterests(is)
		weighted := slices.ContainsFunc(is, func(i Interest) bool { return weightOf(i.Weight) != 1 })
		if weighted != (dtype == dtypeF32Weighted) {
			t.Fatalf("type %d, weighted %v", dtype, weighted)
		}
		row := storage.ProfileRow{DType: dtype, Dim: uint32(dim), Count: uint32(len(is)), Vectors: vectors}
		got, err := r.decodeInterests(&row)
		if err != nil {
			t.Fatal(err)
		}
		for i := range is {
			if !slices.Equal(got[i].Vector, is[i].Vector) || got[i].Weight != weightOf(is[i].Weight) {
				t.Fatalf("interest %d is %+v, written %+v", i, got[i], is[i])
			}
		}
		for name, bad := range map[string]storage.ProfileRow{
			"cut":            {DType: dtype, Dim: uint32(dim), Count: uint32(len(is)), Vectors: vectors[:len(vectors)-1]},
			"another count":  {DType: dtype, Dim: uint32(dim), Count: uint32(len(is) + 1), Vectors: vectors},
			"a huge count":   {DType: dtype, Dim: uint32(dim), Count: math.MaxUint32, Vectors: vectors},
			"no interests":   {DType: dtype, Dim: uint32(dim)},
			"another dim":    {DType: dtype, Dim: uint32(dim + 1), Count: uint32(len(is)), Vectors: vectors},
			"unknown type":   {DType: 77, Dim: uint32(dim), Count: uint32(len(is)), Vectors: vectors},
			"type 0":         {Dim: uint32(dim), Count: uint32(len(is)), Vectors: vectors},
			"trailing bytes": {DType: dtype, Dim: uint32(dim), Count: uint32(len(is)), Vectors: append(slices.Clone(vectors), 0, 0, 0)},
		} {
			if got, err := r.decodeInterests(&bad); !errors.Is(err, errVectorShape) {
				t.Fatalf("%s: %v, %v", name, got, err)
			}
		}
	})
}

// TestInterestsSurviveRestart: a profile of several weighted interests is the same after the store was opened again.
func TestInterestsSurviveRestart(t *testing.T) {
	fs := vfs.NewMem()
	want := []Interest{{Vector: []float32{1, 2}, Weight: 3}, {Vector: []float32{-1, 0.5}, Weight: 1}}
	func() {
		e, err := Open(t.Context(), "store", testOptions(fs))
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		c, err := e.CreateCollection(t.Context(), CollectionConfig{Name: "c", Dim: 2, Metric: L2})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.UpsertProfiles(t.Context(), []Profile{{UserID: "u", Interests: want}}); err != nil {
			t.Fatal(err)
		}
	}()
	e := open(t, "store", testOptions(fs))
	c, err := e.Collection("c")
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.Profile(t.Context(), "u")
	if err != nil || len(p.Interests) != 2 {
		t.Fatalf("%+v, %v", p, err)
	}
	for i := range want {
		if !slices.Equal(p.Interests[i].Vector, want[i].Vector) || p.Interests[i].Weight != want[i].Weight {
			t.Errorf("interest %d is %+v, want %+v", i, p.Interests[i], want[i])
		}
	}
}
