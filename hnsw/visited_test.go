package hnsw

import (
	"testing"

	"pgregory.net/rapid"
)

// TestVisitedModel: search after search of an index that grows, the set holds what was added since begin, slot by slot and by words of
// 64. There is room for all slots that existed then; what is beyond is never new.
func TestVisitedModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var v visited
		slots := rapid.Uint32Range(0, 200).Draw(t, "slots")
		for range rapid.IntRange(1, 6).Draw(t, "searches") {
			slots += rapid.Uint32Range(0, 150).Draw(t, "more")
			if rapid.IntRange(0, 9).Draw(t, "overflow") == 0 && v.epoch != 0 {
				v.epoch = (1<<32 - 1) << 32 // the last before epochs repeat
			}
			v.begin(slots)
			if v.room64()*64 < int(slots) {
				t.Fatalf("%d words of 64 for %d slots", v.room64(), slots)
			}
			in := map[uint32]bool{}
			for _, slot := range rapid.SliceOf(rapid.Uint32Range(0, slots+100)).Draw(t, "added") {
				isNew := v.add(slot)
				if slot < slots && isNew == in[slot] {
					t.Fatalf("add(%d) is %t", slot, isNew)
				}
				if isNew {
					in[slot] = true
				}
			}
			for at := range v.room64() {
				for bit, w := uint32(0), v.in64(at); bit < 64; bit++ {
					slot := uint32(at)*64 + bit
					if word := w>>bit&1 != 0; word != in[slot] || v.has(slot) != in[slot] {
						t.Fatalf("slot %d: in its word %t, has %t, want %t", slot, word, v.has(slot), in[slot])
					}
				}
			}
		}
	})
}
