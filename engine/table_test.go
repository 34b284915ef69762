package engine

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"
)

// TestTableModel compares the table with a map through random binds, rebinds, unbinds and compactions.
func TestTableModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tab := newTable()
		type want struct {
			slot  uint32
			lsn   LSN
			attrs string
		}
		model := map[string]want{}
		free := []uint32{}
		next, lsn := uint32(0), LSN(0)
		ids := rapid.SampledFrom([]string{"a", "b", "c", "dd", "ee", "a very much longer id than the others", "\x00", "é"})
		t.Repeat(map[string]func(*rapid.T){
			"bind": func(t *rapid.T) {
				id := ids.Draw(t, "id") + fmt.Sprint(rapid.IntRange(0, 20).Draw(t, "n"))
				slot := next
				if len(free) > 0 {
					slot, free = free[0], free[1:]
				} else {
					next++
				}
				lsn++
				attrs := rapid.StringN(0, 40, -1).Draw(t, "attrs")
				tab.entries.set(slot, id, lsn, []byte(attrs))
				old, replaced := tab.bind(id, slot)
				before, had := model[id]
				if replaced != had || had && old != before.slot {
					t.Fatalf("bind(%q): old %d %v, want %d %v", id, old, replaced, before.slot, had)
				}
				if had {
					free = append(free, before.slot)
				}
				model[id] = want{slot, lsn, attrs}
			},
			"unbind": func(t *rapid.T) {
				id := ids.Draw(t, "id") + fmt.Sprint(rapid.IntRange(0, 20).Draw(t, "n"))
				slot, ok := tab.unbind(id)
				before, had := model[id]
				if ok != had || had && slot != before.slot {
					t.Fatalf("unbind(%q) = %d %v, want %d %v", id, slot, ok, before.slot, had)
				}
				if had {
					free = append(free, slot)
				}
				delete(model, id)
			},
			"compact": func(*rapid.T) { tab.entries.compact(3) },
			"": func(t *rapid.T) {
				if tab.len() != len(model) {
					t.Fatalf("len %d, want %d", tab.len(), len(model))
				}
				for id, w := range model {
					slot, ok := tab.slotOf(id)
					if !ok || slot != w.slot {
						t.Fatalf("slotOf(%q) = %d %v, want %d", id, slot, ok, w.slot)
					}
					e := tab.entries.at(slot)
					if e.id() != id || e.lsn() != w.lsn || string(e.attributes()) != w.attrs || e.slot() != slot {
						t.Fatalf("entry of %q: %q %d %q %d", id, e.id(), e.lsn(), e.attributes(), e.slot())
					}
				}
				seen := 0
				tab.each(func(slot uint32) {
					seen++
					if w, ok := model[tab.entries.at(slot).id()]; !ok || w.slot != slot {
						t.Fatalf("each gave slot %d, not bound", slot)
					}
				})
				if seen != len(model) {
					t.Fatalf("each gave %d slots, want %d", seen, len(model))
				}
			},
		})
	})
}

// TestTableCompactionReclaims rewrites everything many times: memory must stay near what is live.
func TestTableCompactionReclaims(t *testing.T) {
	tab := newTable()
	const items, rounds = 2000, 60
	attrs := bytes.Repeat([]byte{7}, 1000)
	for r := range rounds {
		for i := range items {
			tab.entries.set(uint32(i), fmt.Sprintf("item-%d", i), LSN(r*items+i+1), attrs)
			if r == 0 {
				tab.bind(fmt.Sprintf("item-%d", i), uint32(i))
			}
			if i%100 == 0 {
				tab.entries.compact(1)
			}
		}
	}
	live := int64(items) * int64(entryHeader+len("item-1234")+len(attrs))
	if got := atomic.LoadInt64(&tab.entries.held); got > 3*live+2*entryChunkBytes {
		t.Errorf("arena holds %d bytes for %d live", got, live)
	}
	for i := range items {
		if e := tab.entries.at(uint32(i)); e.lsn() != LSN((rounds-1)*items+i+1) {
			t.Fatalf("slot %d: LSN %d", i, e.lsn())
		}
	}
}

// TestTableReadersDuringWrites has readers look up ids whose entries are rewritten and compacted all the time:
// whatever they see must be consistent in itself. Meant for -race.
func TestTableReadersDuringWrites(t *testing.T) {
	tab := newTable()
	const items, writes = 300, 20_000
	id := func(i int) string { return fmt.Sprintf("track-%d", i) }
	payload := func(i int) []byte { return bytes.Repeat([]byte{byte(i)}, 200) }
	for i := range items {
		tab.entries.set(uint32(i), id(i), 1, payload(i))
		tab.bind(id(i), uint32(i))
	}
	var done atomic.Bool
	var wg sync.WaitGroup
	for r := range 3 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(r)))
			for !done.Load() {
				i := rng.IntN(items)
				slot, ok := tab.slotOf(id(i))
				if !ok {
					t.Errorf("%s is gone", id(i))
					return
				}
				if e := tab.entries.at(slot); !e.hasID(id(i)) || !bytes.Equal(e.attributes(), payload(i)) {
					t.Errorf("torn entry of %s: %q", id(i), e.id())
					return
				}
			}
		})
	}
	rng := rand.New(rand.NewPCG(2, 2))
	for n := range writes {
		i := rng.IntN(items)
		tab.entries.set(uint32(i), id(i), LSN(n+2), payload(i))
		if n%64 == 0 {
			tab.entries.compact(1)
		}
	}
	done.Store(true)
	wg.Wait()
}

func BenchmarkTableSlotOf(b *testing.B) {
	tab := newTable()
	ids := make([]string, 1<<16)
	for i := range ids {
		ids[i] = fmt.Sprintf("spotify:track:%022d", i)
		tab.entries.set(uint32(i), ids[i], 1, nil)
		tab.bind(ids[i], uint32(i))
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if _, ok := tab.slotOf(ids[i&(len(ids)-1)]); !ok {
			b.Fatal("missing")
		}
		i += 7919
	}
	b.ReportMetric(float64(tab.bytes())/float64(len(ids)), "B/item")
}
