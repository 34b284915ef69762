package hnsw

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestWaysOnOfShrinkingRows: links that a deletion takes off a row after it was counted are no ways on, whoever is left is one.
func TestWaysOnOfShrinkingRows(t *testing.T) {
	const slots, dim = 200, 8
	x, err := New(Options{Dim: dim, Metric: L2, MaxSlots: slots, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	rng := rand.New(rand.NewPCG(101, 101))
	for range slots {
		v := make([]float32, dim)
		for j := range v {
			v[j] = float32(rng.NormFloat64())
		}
		if _, err := x.Insert(v); err != nil {
			t.Fatal(err)
		}
	}
	s := x.Acquire()
	defer s.Release()
	for slot := range uint32(slots) {
		row := x.row(slot, 0)
		counted := rowLength(row)
		s.more.params.Allowed, s.more.rows, s.more.met = new(SlotSet), 0, 0
		s.visited.begin(slots)
		s.more.passed.begin(slots)
		n, near, length := s.gatherAllowed(slot, 0)
		if n != 0 || near != 0 || length != counted {
			t.Fatalf("slot %d: %d of %d links, %d allowed, %d gathered", slot, length, counted, near, n)
		}
		whole := slices.Clone(row)
		for left := counted - 1; left >= 0; left-- {
			row[left] = nilSlot
			ways := s.waysOn(nil, slot, near, length) // no room is asked for, and one is the least
			want := 0
			if left > 0 {
				want = 1
			}
			if len(ways) != want || want > 0 && ways[0] != whole[0]&^oneWay {
				t.Fatalf("slot %d: ways %v, %d of %d links are left of %v", slot, ways, left, length, whole)
			}
		}
		copy(row, whole)
	}
}
