package hnsw_test

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/segue-ann/segue/hnsw"
)

// setModel is a SlotSet and the map it should equal.
type setModel struct {
	set   *hnsw.SlotSet
	slots map[uint32]bool
}

func (m *setModel) verify(t *rapid.T, what string) {
	want := slices.Sorted(maps.Keys(m.slots))
	if got := slices.Collect(m.set.All()); !slices.Equal(got, want) || m.set.Len() != len(want) {
		t.Fatalf("%s: Len %d of %v, want %d of %v", what, m.set.Len(), got, len(want), want)
	}
}

// TestSlotSetModel runs random calls on two sets of different room against maps.
func TestSlotSetModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		two := []*setModel{
			{new(hnsw.SlotSet), map[uint32]bool{}},
			{hnsw.NewSlotSet(rapid.IntRange(0, 300).Draw(t, "room")), map[uint32]bool{}},
		}
		slot := rapid.Uint32Range(0, 400)
		pick := func(t *rapid.T) (m, o *setModel) {
			i := rapid.IntRange(0, 1).Draw(t, "which")
			return two[i], two[rapid.SampledFrom([]int{0, 1, 1 - i}).Draw(t, "other")]
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				m, _ := pick(t)
				s := slot.Draw(t, "slot")
				if isNew := m.set.Add(s); isNew == m.slots[s] {
					t.Fatalf("Add(%d) is %t", s, isNew)
				}
				m.slots[s] = true
			},
			"addRange": func(t *rapid.T) {
				m, _ := pick(t)
				from, to := slot.Draw(t, "from"), slot.Draw(t, "to")
				m.set.AddRange(from, to)
				for s := from; s < to; s++ {
					m.slots[s] = true
				}
			},
			"remove": func(t *rapid.T) {
				m, _ := pick(t)
				s := slot.Draw(t, "slot")
				if was := m.set.Remove(s); was != m.slots[s] {
					t.Fatalf("Remove(%d) is %t", s, was)
				}
				delete(m.slots, s)
			},
			"and": func(t *rapid.T) {
				m, o := pick(t)
				want := 0
				for s := range m.slots {
					if o.slots[s] {
						want++
					}
				}
				if got := m.set.AndLen(o.set); got != want {
					t.Fatalf("AndLen %d, want %d", got, want)
				}
				other := maps.Clone(o.slots)
				m.set.And(o.set)
				maps.DeleteFunc(m.slots, func(s uint32, _ bool) bool { return !other[s] })
			},
			"or": func(t *rapid.T) {
				m, o := pick(t)
				m.set.Or(o.set)
				maps.Copy(m.slots, o.slots)
			},
			"andNot": func(t *rapid.T) {
				m, o := pick(t)
				other := maps.Clone(o.slots)
				m.set.AndNot(o.set)
				maps.DeleteFunc(m.slots, func(s uint32, _ bool) bool { return other[s] })
			},
			"copy": func(t *rapid.T) {
				m, o := pick(t)
				if rapid.Bool().Draw(t, "clone") {
					m.set = o.set.Clone()
				} else {
					m.set.CopyFrom(o.set)
				}
				m.slots = maps.Clone(o.slots)
			},
			"reset": func(t *rapid.T) {
				m, _ := pick(t)
				m.set.Reset()
				m.slots = map[uint32]bool{}
			},
			"": func(t *rapid.T) {
				two[0].verify(t, "first")
				two[1].verify(t, "second")
				if got, want := two[0].set.Equal(two[1].set), maps.Equal(two[0].slots, two[1].slots); got != want {
					t.Fatalf("Equal %t, want %t", got, want)
				}
				s := slot.Draw(t, "asked")
				if two[0].set.Contains(s) != two[0].slots[s] {
					t.Fatalf("Contains(%d) is %t", s, !two[0].slots[s])
				}
			},
		})
	})
}

// TestSlotSetStops: breaking out of All ends it.
func TestSlotSetStops(t *testing.T) {
	set := hnsw.NewSlotSet(1000)
	set.AddRange(10, 900)
	var got []uint32
	for s := range set.All() {
		if got = append(got, s); len(got) == 3 {
			break
		}
	}
	if !slices.Equal(got, []uint32{10, 11, 12}) {
		t.Errorf("got %v", got)
	}
}

// TestSlotSetAllocatesNothing within the room it was made with.
func TestSlotSetAllocatesNothing(t *testing.T) {
	const slots = 10_000
	rng := rand.New(rand.NewPCG(1, 1))
	a, b := hnsw.NewSlotSet(slots), hnsw.NewSlotSet(slots)
	for range slots / 4 {
		b.Add(rng.Uint32N(slots))
	}
	allocs := testing.AllocsPerRun(10, func() {
		a.CopyFrom(b)
		a.Add(slots - 1)
		a.AddRange(100, 200)
		a.And(b)
		a.AndNot(b)
		a.Or(b)
		a.Reset()
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func BenchmarkSlotSetAnd(b *testing.B) {
	const slots = 1 << 20
	x, y := hnsw.NewSlotSet(slots), hnsw.NewSlotSet(slots)
	x.AddRange(0, slots)
	y.AddRange(0, slots)
	b.SetBytes(slots / 4)
	for b.Loop() {
		x.And(y)
	}
}
