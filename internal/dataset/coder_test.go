package dataset

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/coder/hnsw"
)

// coderExport is what the library writes of n nodes, and their vectors by id.
func coderExport[K cmp.Ordered](t testing.TB, n, dim int, key func(i int) K) ([]byte, map[string][]float32) {
	t.Helper()
	rng := rand.New(rand.NewPCG(uint64(n), uint64(dim)))
	g := hnsw.NewGraph[K]()
	want := map[string][]float32{}
	for i := range n {
		v := make([]float32, dim)
		for j := range v {
			v[j] = rng.Float32() - 0.5
		}
		k := key(i)
		g.Add(hnsw.MakeNode(k, v))
		want[fmt.Sprint(k)] = v
	}
	var b bytes.Buffer
	if err := g.Export(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), want
}

func readCoder(b []byte) (rows map[string][]float32, err error) {
	r, err := NewItemReader("graph.hnsw", bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	defer r.Close()
	rows = map[string][]float32{}
	for {
		rec, err := r.Next()
		var bad *RowError
		switch {
		case errors.Is(err, io.EOF):
			return rows, nil
		case errors.As(err, &bad):
			continue
		case err != nil:
			return rows, err
		}
		if _, again := rows[rec.ID]; again {
			return rows, fmt.Errorf("id %q comes twice", rec.ID)
		}
		rows[rec.ID] = rec.Vector
	}
}

func sameRows(a, b map[string][]float32) bool {
	if len(a) != len(b) {
		return false
	}
	for id, v := range a {
		if !slices.Equal(v, b[id]) {
			return false
		}
	}
	return true
}

// What coder/hnsw exported comes back: every node once, its key and its vector, for keys of both kinds; an empty graph too.
func TestCoderExportIsRead(t *testing.T) {
	text := func(i int) string { return fmt.Sprintf("track %d ü", i*i) }
	number := func(i int) int { return (i - 40) * 1_000_003 }
	for _, tc := range []struct{ n, dim int }{{0, 1}, {1, 1}, {2, 3}, {300, 16}, {100, 128}} {
		for _, keys := range []string{"string", "int"} {
			var b []byte
			var want map[string][]float32
			if keys == "string" {
				b, want = coderExport(t, tc.n, tc.dim, text)
			} else {
				b, want = coderExport(t, tc.n, tc.dim, number)
			}
			got, err := readCoder(b)
			if err != nil || !sameRows(got, want) {
				t.Errorf("%d nodes of %d, %s keys: %d rows, %v", tc.n, tc.dim, keys, len(got), err)
			}
		}
	}
}

// An export that is cut anywhere, has bytes more, or is something else is refused before a row comes; whatever a flipped bit
// makes of it, reading ends with rows or a typed error, and takes no memory that the file does not hold.
func TestDamagedCoderExport(t *testing.T) {
	b, want := coderExport(t, 6, 3, func(i int) string { return fmt.Sprint("id-", i) })
	refused := func(what string, b []byte) {
		t.Helper()
		r, err := NewItemReader("graph.hnsw", bytes.NewReader(b))
		if err == nil {
			r.Close()
		}
		if bad := (*FormatError)(nil); !errors.As(err, &bad) || bad.Row != -1 {
			t.Errorf("%s: %v", what, err)
		}
	}
	for n := range b {
		refused(fmt.Sprint("cut at ", n), b[:n])
	}
	refused("a byte more", append(bytes.Clone(b), 0))
	refused("text", []byte(strings.Repeat("something else ", 9)))
	other := bytes.Clone(b)
	other[0] = 4 // zigzag of 2
	refused("version 2", other)
	before := allocated()
	for i := range b {
		for bit := range 8 {
			c := bytes.Clone(b)
			c[i] ^= 1 << bit
			rows, err := readCoder(c)
			if err != nil && !errors.As(err, new(*FormatError)) && !strings.Contains(err.Error(), "twice") {
				t.Fatalf("bit %d of byte %d: %v", bit, i, err)
			}
			if err == nil && len(rows) > len(want) {
				t.Fatalf("bit %d of byte %d: %d rows", bit, i, len(rows))
			}
		}
	}
	// Each reading has a buffer or two of 64 KiB; a vector that claims 65,536 numbers costs as much.
	if per := (allocated() - before) / uint64(8*len(b)); per > 1<<20 {
		t.Errorf("%d bytes were allocated a reading", per)
	}
	refused("empty", nil)
	if _, err := NewItemReader("graph.hnsw.gz", bytes.NewReader(b)); !errors.As(err, new(*FormatError)) {
		t.Errorf("compressed: %v", err)
	}
	if _, err := NewItemReader("graph.hnsw", io.MultiReader(bytes.NewReader(b))); !errors.As(err, new(*FormatError)) {
		t.Errorf("a stream: %v", err)
	}
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

func FuzzCoderExport(f *testing.F) {
	b, _ := coderExport(f, 5, 2, func(i int) string { return fmt.Sprint(i) })
	f.Add(b)
	b, _ = coderExport(f, 5, 2, func(i int) int { return i })
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		rows, err := readCoder(b)
		if err != nil && !errors.As(err, new(*FormatError)) && !strings.Contains(err.Error(), "twice") {
			t.Error(err)
		}
		size := 0
		for id, v := range rows {
			size += min(len(id), 1) + 4*len(v)
		}
		if size > len(b) {
			t.Errorf("%d bytes of rows in a file of %d", size, len(b))
		}
	})
}
