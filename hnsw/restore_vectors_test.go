package hnsw_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/segue-ann/segue/hnsw"
)

// apartFrom puts the slabs of an image but those of its vectors into a restorer that takes them apart.
func apartFrom(t *testing.T, e encoded) *hnsw.Restorer {
	t.Helper()
	r, err := hnsw.NewRestorer(e.Header, hnsw.RestoreOptions{MaxSlots: 1000, VectorsApart: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	for _, sec := range r.Sections() {
		for n, b := range e.Slabs[sec.Name] {
			if err := r.PutSlab(sec.Name, n, b); err != nil {
				t.Fatal(err)
			}
		}
	}
	return r
}

// A graph and the vectors it was built over, put into their slots in any order, are the index that it was, bit by bit; also
// where slots are dead.
func TestRestoreWithVectorsApart(t *testing.T) {
	for _, metric := range []hnsw.Metric{hnsw.Cosine, hnsw.InnerProduct, hnsw.L2} {
		const n, dim = 700, 20
		rng := rand.New(rand.NewPCG(7, uint64(metric)))
		x, err := hnsw.New(hnsw.Options{Dim: dim, Metric: metric, M: 6, EfConstruction: 20, MaxSlots: 1000, Seed: 3})
		if err != nil {
			t.Fatal(err)
		}
		defer x.Close()
		vectors := map[uint32][]float32{}
		for i := range n {
			v := make([]float32, dim)
			for j := range v {
				v[j] = rng.Float32()*2 - 1
			}
			slot, err := x.Insert(v)
			if err != nil {
				t.Fatal(err)
			}
			if vectors[slot] = v; i%9 == 0 {
				if err := x.Delete(slot); err != nil {
					t.Fatal(err)
				}
				delete(vectors, slot)
			}
		}
		e := snapshotOf(t, x)
		o, slots, live, err := hnsw.ImageOptions(e.Header)
		if err != nil || o.Dim != dim || o.Metric != metric || o.M != 6 || o.EfConstruction != 20 || slots != x.Slots() || live != len(vectors) {
			t.Errorf("%+v, %d slots, %d live, %v", o, slots, live, err)
		}
		r := apartFrom(t, e)
		if slices.ContainsFunc(r.Sections(), func(s hnsw.Section) bool { return s.Name == hnsw.SectionVectors }) {
			t.Error("vectors are a section and come apart")
		}
		for slot, v := range vectors {
			if err := r.PutVector(slot, v); err != nil {
				t.Fatal(err)
			}
		}
		got, err := r.Finish()
		if err != nil {
			t.Fatal(err)
		}
		defer got.Close()
		if err := got.Check(); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(e, snapshotOf(t, got)); diff != "" {
			t.Errorf("%v: the image is another one:\n%s", metric, diff)
		}
	}
}

// What does not belong to the graph is refused: a slot too many, too few, twice, of no node, beyond the last, or a bad vector.
func TestRestoreRefusesVectorsApart(t *testing.T) {
	x, err := hnsw.New(hnsw.Options{Dim: 2, Metric: hnsw.Cosine, M: 4, EfConstruction: 8, MaxSlots: 1000, Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	const n = 70
	for i := range n {
		if _, err := x.Insert([]float32{float32(i), 1}); err != nil {
			t.Fatal(err)
		}
	}
	const dead = 33
	if err := x.Delete(dead); err != nil {
		t.Fatal(err)
	}
	e := snapshotOf(t, x)
	put := func(r *hnsw.Restorer, slots ...uint32) (err error) {
		for _, s := range slots {
			err = errors.Join(err, r.PutVector(s, []float32{float32(s), 1}))
		}
		return err
	}
	var all []uint32
	for s := range uint32(n) {
		if s != dead {
			all = append(all, s)
		}
	}
	for name, do := range map[string]func(r *hnsw.Restorer) error{
		"missing": func(r *hnsw.Restorer) error { return put(r, all[1:]...) },
		"none":    func(*hnsw.Restorer) error { return nil },
		"dead":    func(r *hnsw.Restorer) error { return put(r, append([]uint32{dead}, all...)...) },
		"twice":   func(r *hnsw.Restorer) error { return put(r, append([]uint32{all[5]}, all...)...) },
		"beyond":  func(r *hnsw.Restorer) error { return put(r, append([]uint32{n}, all...)...) },
		"slab": func(r *hnsw.Restorer) error {
			return errors.Join(put(r, all...), r.PutSlab(hnsw.SectionVectors, 0, e.Slabs["vectors"][0]))
		},
		"dimension": func(r *hnsw.Restorer) error {
			return errors.Join(put(r, all[1:]...), r.PutVector(all[0], []float32{1}))
		},
		"zero": func(r *hnsw.Restorer) error {
			return errors.Join(put(r, all[1:]...), r.PutVector(all[0], []float32{0, 0}))
		},
	} {
		r := apartFrom(t, e)
		err := do(r)
		if err == nil {
			_, err = r.Finish()
		}
		if !errors.As(err, new(*hnsw.FormatError)) && !errors.As(err, new(*hnsw.DimensionError)) && !errors.As(err, new(*hnsw.VectorError)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	r := apartFrom(t, e)
	if err := put(r, all...); err != nil {
		t.Fatal(err)
	}
	got, err := r.Finish()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.PutVector(0, []float32{1, 1}); !errors.Is(err, hnsw.ErrClosed) {
		t.Errorf("after Finish: %v", err)
	}
	if err := got.Close(); err != nil {
		t.Error(err)
	}
	plain, err := hnsw.NewRestorer(e.Header, hnsw.RestoreOptions{MaxSlots: 1000})
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if err := plain.PutVector(0, []float32{1, 1}); !errors.As(err, new(*hnsw.FormatError)) {
		t.Errorf("a vector where they come in slabs: %v", err)
	}
	if _, _, _, err := hnsw.ImageOptions(e.Header[:20]); !errors.As(err, new(*hnsw.FormatError)) {
		t.Errorf("a cut header: %v", err)
	}
}
