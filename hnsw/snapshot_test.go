package hnsw_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"reflect"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/segue-ann/segue/hnsw"
)

// encoded is an image as bytes.
type encoded struct {
	Header   []byte
	Sections []hnsw.Section
	Slabs    map[string][][]byte
}

type fataler interface {
	Helper()
	Fatalf(string, ...any)
}

// encode reads a whole snapshot.
func encode(t fataler, s *hnsw.Snapshot) encoded {
	t.Helper()
	e := encoded{Header: s.Header(), Sections: s.Sections(), Slabs: map[string][][]byte{}}
	for _, sec := range e.Sections {
		for n := range sec.Slabs {
			b, err := s.AppendSlab(nil, sec.Name, n)
			if err != nil {
				t.Fatalf("slab %d of %s: %v", n, sec.Name, err)
			}
			e.Slabs[sec.Name] = append(e.Slabs[sec.Name], b)
		}
	}
	return e
}

// restore builds the index of an image, slabs in an order of its own.
func restore(t fataler, e encoded, maxSlots int) *hnsw.Index {
	t.Helper()
	return restoreInto(t, e, hnsw.RestoreOptions{MaxSlots: maxSlots})
}

func restoreInto(t fataler, e encoded, o hnsw.RestoreOptions) *hnsw.Index {
	t.Helper()
	r, err := hnsw.NewRestorer(e.Header, o)
	if err != nil {
		t.Fatalf("restorer: %v", err)
	}
	defer r.Close()
	if diff := cmp.Diff(e.Sections, r.Sections()); diff != "" {
		t.Fatalf("the restorer wants other sections:\n%s", diff)
	}
	for name, slabs := range e.Slabs {
		for n, b := range slabs {
			if err := r.PutSlab(name, n, b); err != nil {
				t.Fatalf("put slab %d of %s: %v", n, name, err)
			}
		}
	}
	x, err := r.Finish()
	if err != nil {
		t.Fatalf("finish: %v", err)
	}
	return x
}

// snapshotOf returns the image of an index nobody writes to.
func snapshotOf(t fataler, x *hnsw.Index) encoded {
	t.Helper()
	s, err := x.BeginSnapshot()
	if err != nil {
		t.Fatalf("begin: %v", err)
	}
	defer s.Close()
	return encode(t, s)
}

func randomVectors(seed uint64, n, dim int) [][]float32 {
	rng := rand.New(rand.NewPCG(seed, 0))
	all := make([][]float32, n)
	for i := range all {
		all[i] = make([]float32, dim)
		for j := range all[i] {
			all[i][j] = float32(rng.NormFloat64())
		}
	}
	return all
}

func insertAll(t testing.TB, x *hnsw.Index, vectors [][]float32) []uint32 {
	t.Helper()
	slots := make([]uint32, len(vectors))
	for i, v := range vectors {
		var err error
		if slots[i], err = x.Insert(v); err != nil {
			t.Fatal(err)
		}
	}
	return slots
}

// TestSnapshotRestoresTheSameIndex: what comes back answers every query alike, and goes on alike.
func TestSnapshotRestoresTheSameIndex(t *testing.T) {
	const n, dim = 3000, 24
	vectors := randomVectors(1, n, dim)
	x := newIndex(t, hnsw.Options{Dim: dim, Metric: hnsw.Cosine, M: 8, MaxSlots: 2 * n, Seed: 5})
	slots := insertAll(t, x, vectors)
	for _, slot := range slots[:n/3] {
		if err := x.Delete(slot); err != nil {
			t.Fatal(err)
		}
	}
	image := snapshotOf(t, x)
	y := restore(t, image, 2*n)
	defer y.Close()
	if err := y.Check(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(x.Options(), y.Options()); diff != "" {
		t.Error(diff)
	}
	if !reflect.DeepEqual(image, snapshotOf(t, y)) {
		t.Error("the image of the restored index differs")
	}
	sx, sy := x.Acquire(), y.Acquire()
	defer sx.Release()
	defer sy.Release()
	for _, q := range randomVectors(2, 50, dim) {
		want, wantStats, err := sx.Search(context.Background(), q, hnsw.SearchParams{K: 10, Ef: 30})
		if err != nil {
			t.Fatal(err)
		}
		got, gotStats, err := sy.Search(context.Background(), q, hnsw.SearchParams{K: 10, Ef: 30})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" || wantStats != gotStats {
			t.Fatalf("%v, %v: %s", wantStats, gotStats, diff)
		}
	}
}

// TestSnapshotIsTheInstantItBegan: slabs read late, while the index changes, are those read at once.
func TestSnapshotIsTheInstantItBegan(t *testing.T) {
	const n, dim = 6000, 32 // several slabs of links and of vectors
	vectors := randomVectors(3, 2*n, dim)
	x := newIndex(t, hnsw.Options{Dim: dim, Metric: hnsw.L2, MaxSlots: 4 * n})
	slots := insertAll(t, x, vectors[:n])
	for _, slot := range slots[:100] {
		if err := x.Delete(slot); err != nil {
			t.Fatal(err)
		}
	}
	s, err := x.BeginSnapshot()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.BeginSnapshot(); !errors.Is(err, hnsw.ErrSnapshotOpen) {
		t.Errorf("a second snapshot: %v", err)
	}
	atOnce := encode(t, s)
	var wg sync.WaitGroup
	wg.Add(2)
	go func() {
		defer wg.Done()
		for _, v := range vectors[n:] {
			if _, err := x.Insert(v); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	go func() {
		defer wg.Done()
		for _, slot := range slots[100 : n/2] {
			if err := x.Delete(slot); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	meanwhile := encode(t, s)
	wg.Wait()
	later := encode(t, s)
	for what, e := range map[string]encoded{"meanwhile": meanwhile, "later": later} {
		if !reflect.DeepEqual(atOnce, e) {
			t.Errorf("the image read %s differs", what)
		}
	}
	for _, slot := range slots {
		if want := slot >= slots[100]; s.Live(slot) != want {
			t.Fatalf("slot %d: Live is %t", slot, !want)
		}
	}
	if s.Slots() != n || s.Live(n) || s.Live(1<<31) {
		t.Errorf("%d slots, a later one live: %t", s.Slots(), s.Live(n))
	}
	if st := x.Stats(); st.Limbo == 0 || st.Slots != 2*n {
		t.Errorf("slots were reused while the snapshot was open: %+v", st)
	}
	s.Close()
	s.Close()
	if st := x.Stats(); st.Limbo != 0 {
		t.Errorf("after the snapshot: %+v", st)
	}
	if _, err := s.AppendSlab(nil, "links0", 0); !errors.Is(err, hnsw.ErrClosed) {
		t.Errorf("a slab of a closed snapshot: %v", err)
	}
	if err := x.Check(); err != nil {
		t.Error(err)
	}
	y := restore(t, atOnce, 4*n)
	defer y.Close()
	if err := y.Check(); err != nil {
		t.Error(err)
	}
	// Slots that were not live come back free, the lowest first.
	if slot, err := y.Insert(vectors[0]); err != nil || slot != slots[0] {
		t.Errorf("the first insert after the restore went to slot %d: %v", slot, err)
	}
}

func TestSnapshotOutlivesClose(t *testing.T) {
	x := newIndex(t, hnsw.Options{Dim: 4, Metric: hnsw.L2, MaxSlots: 100})
	insertAll(t, x, randomVectors(1, 50, 4))
	s, err := x.BeginSnapshot()
	if err != nil {
		t.Fatal(err)
	}
	want := encode(t, s)
	x.Close()
	if !reflect.DeepEqual(want, encode(t, s)) {
		t.Error("the image of a closed index differs")
	}
	s.Close()
	if _, err := x.BeginSnapshot(); !errors.Is(err, hnsw.ErrClosed) {
		t.Error(err)
	}
}

func TestEmptyIndexRestores(t *testing.T) {
	x := newIndex(t, hnsw.Options{Dim: 3, Metric: hnsw.InnerProduct, MaxSlots: 10})
	y := restore(t, snapshotOf(t, x), 10)
	defer y.Close()
	if err := y.Check(); err != nil {
		t.Fatal(err)
	}
	insertAll(t, y, randomVectors(1, 10, 3))
	if _, err := y.Insert([]float32{1, 2, 3}); !errors.Is(err, hnsw.ErrFull) {
		t.Errorf("the eleventh: %v", err)
	}
}

// TestRestorerRefusesDamage changes one thing at a time.
func TestRestorerRefusesDamage(t *testing.T) {
	x := newIndex(t, hnsw.Options{Dim: 3, Metric: hnsw.L2, M: 4, MaxSlots: 2000})
	slots := insertAll(t, x, randomVectors(1, 300, 3))
	if err := x.Delete(slots[7]); err != nil {
		t.Fatal(err)
	}
	image := snapshotOf(t, x)
	mutate := func(section string, at int, b byte) encoded {
		e := encoded{Header: image.Header, Sections: image.Sections, Slabs: map[string][][]byte{}}
		for name, slabs := range image.Slabs {
			for _, s := range slabs {
				e.Slabs[name] = append(e.Slabs[name], bytes.Clone(s))
			}
		}
		e.Slabs[section][0][at] = b
		return e
	}
	low := uint32(0) // on level 0 only, and so is the slot 256 above it
	for hnsw.Level(x, low) > 0 || hnsw.Level(x, low+256) > 0 {
		low++
	}
	tries := map[string]encoded{
		"a link beyond the last slot":    mutate("links0", 1, 9),
		"a link to the node itself":      mutate("links0", 0, 0),
		"a link to a slot not live":      mutate("links0", 4*8*3, 7),
		"an upper link to a low node":    mutate("upper", 0, byte(low)),
		"a parent beyond the last slot":  mutate("parents", 3, 1),
		"a parent that is not linked":    mutate("parents", 4*20, 0xaa),
		"a slot live that was not":       mutate("live", 0, 0xff),
		"live slots beyond the last":     mutate("live", 300/8+1, 1),
		"a component that is not finite": mutate("vectors", 3, 0x7f),
	}
	for what, e := range tries {
		t.Run(what, func(t *testing.T) {
			r, err := hnsw.NewRestorer(e.Header, hnsw.RestoreOptions{MaxSlots: 1000})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			for name, slabs := range e.Slabs {
				for n, b := range slabs {
					err = errors.Join(err, r.PutSlab(name, n, b))
				}
			}
			if err == nil {
				_, err = r.Finish()
			}
			var format *hnsw.FormatError
			if !errors.As(err, &format) {
				t.Errorf("taken: %v", err)
			}
		})
	}
}

func TestRestorerWantsEverySlabOnce(t *testing.T) {
	x := newIndex(t, hnsw.Options{Dim: 3, Metric: hnsw.L2, MaxSlots: 100})
	insertAll(t, x, randomVectors(1, 100, 3))
	image := snapshotOf(t, x)
	r, err := hnsw.NewRestorer(image.Header, hnsw.RestoreOptions{MaxSlots: 100})
	if err != nil {
		t.Fatal(err)
	}
	var format *hnsw.FormatError
	if _, err := r.Finish(); !errors.As(err, &format) {
		t.Errorf("finished without slabs: %v", err)
	}
	live := image.Slabs["live"][0]
	for what, put := range map[string]func() error{
		"no such section": func() error { return r.PutSlab("colour", 0, live) },
		"no such slab":    func() error { return r.PutSlab("live", 1, live) },
		"negative slab":   func() error { return r.PutSlab("live", -1, live) },
		"short":           func() error { return r.PutSlab("live", 0, live[:8]) },
		"twice":           func() error { return errors.Join(r.PutSlab("live", 0, live), r.PutSlab("live", 0, live)) },
	} {
		if err := put(); !errors.As(err, &format) {
			t.Errorf("%s: %v", what, err)
		}
	}
	r.Close()
	r.Close()
	if err := r.PutSlab("links0", 0, nil); !errors.Is(err, hnsw.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if _, err := r.Finish(); !errors.Is(err, hnsw.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	var option *hnsw.OptionError
	if _, err := hnsw.NewRestorer(image.Header, hnsw.RestoreOptions{MaxSlots: 99}); !errors.As(err, &option) {
		t.Errorf("100 slots into 99: %v", err)
	}
}

// FuzzRestore feeds bytes to the header decoder and, where they make a header, to the decoders of the slabs. Whatever is
// taken must be searchable, checkable and writable without a panic, even where Check finds it broken.
func FuzzRestore(f *testing.F) {
	const dim = 3
	for i, n := range []int{0, 1, 40, 41} {
		x, err := hnsw.New(hnsw.Options{Dim: dim, Metric: hnsw.L2, M: 4, MaxSlots: 64, Precision: hnsw.Float32 + hnsw.Precision(i/3)})
		if err != nil {
			f.Fatal(err)
		}
		insertAll(f, x, randomVectors(1, n, dim))
		e := snapshotOf(f, x)
		x.Close()
		var body []byte
		for _, sec := range e.Sections {
			for _, b := range e.Slabs[sec.Name] {
				body = append(body, b...)
			}
		}
		f.Add(e.Header, body)
		f.Add(hnsw.SealHeader(e.Header[:len(e.Header)-4]), body)
	}
	f.Fuzz(func(t *testing.T, header, body []byte) {
		r, err := hnsw.NewRestorer(header, hnsw.RestoreOptions{MaxSlots: 64})
		if err != nil {
			// Try the same fields under a checksum that matches.
			if r, err = hnsw.NewRestorer(hnsw.SealHeader(header), hnsw.RestoreOptions{MaxSlots: 64}); err != nil {
				return
			}
		}
		defer r.Close()
		for _, sec := range r.Sections() {
			for n := range sec.Slabs {
				// One slab a section at this size; its length follows from the error of a wrong one.
				size := min(len(body), hnsw.SlabBytes(r, sec.Name, n))
				if err := r.PutSlab(sec.Name, n, body[:size]); err != nil {
					return
				}
				body = body[size:]
			}
		}
		x, err := r.Finish()
		if err != nil {
			return
		}
		defer x.Close()
		_ = x.Check()
		s := x.Acquire()
		query := make([]float32, x.Options().Dim)
		query[0] = 1
		if _, _, err := s.Search(context.Background(), query, hnsw.SearchParams{K: 5, Ef: 20}); err != nil {
			t.Error(err)
		}
		s.Release()
		for slot := range uint32(x.Slots()) {
			if slot%3 == 0 {
				_ = x.Delete(slot)
			}
		}
		for range 20 {
			if _, err := x.Insert(query); err != nil && !errors.Is(err, hnsw.ErrFull) {
				t.Error(err)
			}
		}
	})
}

// TestRestoreLeavesCodesForLater: an index whose codes are left to Encode answers on vectors until then, keeps the codec in an
// image taken meanwhile, takes writes, and is in the end as one that was restored at once.
func TestRestoreLeavesCodesForLater(t *testing.T) {
	alone(t)
	const dim = 16
	n := sized(1500)
	rng := rand.New(rand.NewPCG(5, 55))
	vecs := gaussian(rng, n, dim, 1)
	x := newIndex(t, hnsw.Options{Dim: dim, Metric: hnsw.L2, MaxSlots: 2 * n})
	hnsw.FitAt(x, n/2)
	for _, v := range vecs {
		mustInsert(t, x, v)
	}
	want, ok := hnsw.Codec(x)
	if !ok {
		t.Fatal("walks do not read codes")
	}
	image := snapshotOf(t, x)
	at := restoreInto(t, image, hnsw.RestoreOptions{MaxSlots: 2 * n})
	late := restoreInto(t, image, hnsw.RestoreOptions{MaxSlots: 2 * n, LateCodes: true})
	if _, ok := hnsw.Codec(late); ok {
		t.Fatal("there are codes before Encode")
	}
	if diff := cmp.Diff(image, snapshotOf(t, late)); diff != "" {
		t.Fatalf("an image before Encode differs:\n%s", diff)
	}
	for _, y := range []*hnsw.Index{at, late} {
		slot := mustInsert(t, y, gaussian(rand.New(rand.NewPCG(6, 6)), 1, dim, 1)[0])
		mustDelete(t, y, slot/2)
		y.Encode()
		y.Encode() // does nothing
		if got, ok := hnsw.Codec(y); !ok || got != want {
			t.Fatalf("codec %v, want %v", got, want)
		}
		if err := y.Check(); err != nil {
			t.Fatal(err)
		}
		s := y.Acquire()
		defer s.Release()
		for _, v := range vecs[n/2+1 : n/2+20] {
			found, _, err := s.Search(context.Background(), v, hnsw.SearchParams{K: 1, Ef: 64})
			if err != nil || len(found) != 1 || found[0].Distance != 0 {
				t.Fatalf("%v, %v", found, err)
			}
		}
	}
	if err := errors.Join(at.Close(), late.Close()); err != nil {
		t.Fatal(err)
	}
	late.Encode() // and nothing on a closed index
}
