package engine

import (
	"bytes"
	"fmt"
	"iter"
	"slices"
	"testing"
)

// piecesOf yields byte slices as the store would.
func piecesOf(pieces [][]byte) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for _, b := range pieces {
			if !yield(b, nil) {
				return
			}
		}
	}
}

// Parts of every size come out of their pieces as they went in.
func TestGraphPartsRoundTrip(t *testing.T) {
	var want []GraphPart
	var pieces [][]byte
	for i, n := range []int{0, 1, 100, 32<<10 - 20, 32 << 10, 100_000, maxGraphPartBytes} {
		p := GraphPart{Section: fmt.Sprint("section", i), Slab: i * 7, Data: bytes.Repeat([]byte{byte(i)}, n)}
		want, pieces = append(want, p), append(pieces, encodePart(&p)...)
	}
	i := 0
	for p, err := range graphParts(piecesOf(pieces)) {
		if err != nil || p.Section != want[i].Section || p.Slab != want[i].Slab || !bytes.Equal(p.Data, want[i].Data) {
			t.Fatalf("part %d: %s %d, %d bytes, %v", i, p.Section, p.Slab, len(p.Data), err)
		}
		i++
	}
	if i != len(want) {
		t.Errorf("%d parts of %d", i, len(want))
	}
	for cut := range len(pieces) - 1 {
		whole := 0
		for _, err := range graphParts(piecesOf(pieces[:cut])) {
			if err == nil {
				whole++
			}
		}
		if whole >= len(want) {
			t.Errorf("%d parts of %d pieces", whole, cut)
		}
	}
}

func FuzzGraphParts(f *testing.F) {
	p := GraphPart{Section: "links0", Slab: 2, Data: []byte("abc")}
	f.Add(slices.Concat(encodePart(&p)...), 5)
	f.Add([]byte{0, 0, 0, 0, 0, 255, 255, 255, 255}, 100)
	f.Fuzz(func(t *testing.T, b []byte, size int) {
		if size < 1 {
			size = 1
		}
		total := 0
		for p, err := range graphParts(piecesOf(slices.Collect(slices.Chunk(b, size)))) {
			if err != nil {
				break
			}
			total += len(p.Data)
		}
		if total > len(b) {
			t.Errorf("%d bytes came out of %d", total, len(b))
		}
	})
}
