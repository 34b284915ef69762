package engine

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/segue-ann/segue/storage"
)

func findings(t *testing.T, fs vfs.FS) []string {
	t.Helper()
	var out []string
	if err := Check(t.Context(), "store", testOptions(fs), func(f Finding) { out = append(out, f.Where+": "+f.Problem) }); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestCheckOfAHealthyStore(t *testing.T) {
	for _, at := range [][]int{nil, {100, 200}, {300}} {
		fs := vfs.NewMem()
		filled(t, fs, 300, at...)
		if got := findings(t, fs); len(got) > 0 {
			t.Errorf("snapshots at %v: %q", at, got)
		}
	}
}

// TestCheckFindsWhatTheChecksumsCannot plants rows that are well-formed but wrong.
func TestCheckFindsWhatTheChecksumsCannot(t *testing.T) {
	vec := func(xs ...float32) []byte {
		var b []byte
		for _, x := range xs {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
		}
		return b
	}
	const snapshotLSN = 300
	for _, tc := range []struct {
		name  string
		plant func(b *storage.Batch, some storage.ItemRow) error
		want  string
	}{
		{"nothing", nil, ""},
		{"another dimension", func(b *storage.Batch, some storage.ItemRow) error {
			return b.PutItem(storage.ItemRow{ID: some.ID, LSN: snapshotLSN + 1, DType: dtypeF32, Dim: 2, Vector: vec(1, 2)})
		}, "another type or dimension"},
		{"another type", func(b *storage.Batch, some storage.ItemRow) error {
			return b.PutItem(storage.ItemRow{ID: some.ID, LSN: snapshotLSN + 1, DType: 9, Dim: 8, Vector: vec(1, 2, 3, 4, 5, 6, 7, 8)})
		}, "another type or dimension"},
		{"NaN", func(b *storage.Batch, some storage.ItemRow) error {
			return b.PutItem(storage.ItemRow{ID: some.ID, LSN: snapshotLSN + 1, DType: dtypeF32, Dim: 8, Vector: vec(1, 2, 3, 4, 5, 6, 7, float32(math.NaN()))})
		}, fmt.Sprintf("item %q", "")[:5]},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fs := vfs.NewMem()
			filled(t, fs, snapshotLSN, snapshotLSN)
			if tc.plant != nil {
				s, err := storage.Open("store", storage.Options{FS: fs})
				if err != nil {
					t.Fatal(err)
				}
				rows := s.Collection(1, firstRelease)
				b := rows.NewBatch()
				for row, err := range rows.Items("", 1) {
					if err != nil {
						t.Fatal(err)
					}
					if err := tc.plant(b, row); err != nil {
						t.Fatal(err)
					}
				}
				if err := b.Commit(); err != nil {
					t.Fatal(err)
				}
				if err := b.Close(); err != nil {
					t.Fatal(err)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
			got := findings(t, fs)
			if tc.want == "" {
				if len(got) > 0 {
					t.Errorf("found %q", got)
				}
				return
			}
			if len(got) == 0 || !strings.Contains(strings.Join(got, "\n"), tc.want) {
				t.Errorf("found %q, want mention of %q", got, tc.want)
			}
		})
	}
}

// TestCheckItemSeesEveryDifference compares a stored row with an index that was made of another.
func TestCheckItemSeesEveryDifference(t *testing.T) {
	c := newTestCollection(t, 2, Cosine)
	mustUpsert(t, c, Item{ID: "a", Vector: []float32{3, 4}, Attributes: Attributes{{Name: "x", Value: Value{Type: Int, Int: 1}}}})
	row, err := c.published.Load().rows.Item("a")
	if err != nil {
		t.Fatal(err)
	}
	s := c.published.Load().index.Acquire()
	defer s.Release()
	if p := c.published.Load().checkItem(s.Vector, row); p != "" {
		t.Errorf("healthy row: %s", p)
	}
	for name, damage := range map[string]func(r *storage.ItemRow){
		"id":         func(r *storage.ItemRow) { r.ID = "b" },
		"LSN":        func(r *storage.ItemRow) { r.LSN++ },
		"attributes": func(r *storage.ItemRow) { r.Attributes = nil },
		"vector":     func(r *storage.ItemRow) { r.Vector = encodeVector([]float32{4, 3}) },
		"length":     func(r *storage.ItemRow) { r.Vector = r.Vector[:4] },
	} {
		bad := row
		damage(&bad)
		if p := c.published.Load().checkItem(s.Vector, bad); p == "" {
			t.Errorf("another %s passed", name)
		}
	}
}
