package distance

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// benchDims are a small embedding (one page of the demo data), a descriptor, a picture.
var benchDims = []int{64, 128, 784}

// benchSlots is a row of links.
const benchSlots = 32

// benchPlaces are arena sizes in bytes: one that stays in the first cache, one that lies in memory.
var benchPlaces = []struct {
	name  string
	bytes int
}{{"L1", 16 << 10}, {"DRAM", 512 << 20}}

// benchEach runs f for every tier, dimension and place; rowBytes gives the bytes of a row of dim components. It reports
// the time per row.
func benchEach(b *testing.B, rowBytes func(dim int) int, f func(t tier, dim, rows int) func(slots []uint32)) {
	for _, place := range benchPlaces {
		for _, dim := range benchDims {
			rows := max(1, place.bytes/rowBytes(dim))
			var lists [][]uint32
			rnd := rand.New(rand.NewPCG(3, 3))
			for range 1 << 14 {
				slots := make([]uint32, benchSlots)
				for j := range slots {
					slots[j] = uint32(rnd.IntN(rows))
				}
				lists = append(lists, slots)
			}
			for _, t := range machineTiers() {
				b.Run(fmt.Sprintf("%s/%d/%s", place.name, dim, t), func(b *testing.B) {
					run := f(t, dim, rows)
					i := 0
					for b.Loop() {
						run(lists[i&(len(lists)-1)])
						i++
					}
					b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/benchSlots, "ns/row")
				})
			}
		}
	}
}

func BenchmarkL2F32(b *testing.B) {
	benchEach(b, func(dim int) int { return 4 * PadF32(dim) }, func(t tier, dim, rows int) func([]uint32) {
		stride := PadF32(dim)
		query, arena, out := make([]float32, stride), benchArena[float32](b, rows*stride), make([]float32, benchSlots)
		return func(slots []uint32) { l2F32(t, query, arena, stride, slots, out) }
	})
}

func BenchmarkDotF32(b *testing.B) {
	benchEach(b, func(dim int) int { return 4 * PadF32(dim) }, func(t tier, dim, rows int) func([]uint32) {
		stride := PadF32(dim)
		query, arena, out := make([]float32, stride), benchArena[float32](b, rows*stride), make([]float32, benchSlots)
		return func(slots []uint32) { dotF32(t, query, arena, stride, slots, out) }
	})
}

func BenchmarkL2U7(b *testing.B) {
	benchEach(b, PadU7, func(t tier, dim, rows int) func([]uint32) {
		stride := PadU7(dim)
		query, arena, out := make([]uint8, stride), benchArena[uint8](b, rows*stride), make([]uint32, benchSlots)
		return func(slots []uint32) { l2U7(t, query, arena, stride, slots, out) }
	})
}

func BenchmarkDotU7S8(b *testing.B) {
	benchEach(b, PadU7, func(t tier, dim, rows int) func([]uint32) {
		stride := PadU7(dim)
		query, arena, out := make([]int8, stride), benchArena[uint8](b, rows*stride), make([]int32, benchSlots)
		return func(slots []uint32) { dotU7S8(t, query, arena, stride, slots, out) }
	})
}

func BenchmarkL2F32Quad(b *testing.B) {
	benchEach(b, func(dim int) int { return 4 * PadF32(dim) }, func(t tier, dim, rows int) func([]uint32) {
		stride := PadF32(dim)
		query, arena, out := make([]float32, stride), benchArena[float32](b, rows*stride), make([][4]float32, benchSlots)
		return func(slots []uint32) {
			l2F32Quad(t, &[4][]float32{query, query, query, query}, arena, stride, slots, out)
		}
	})
}

func BenchmarkL2U7Quad(b *testing.B) {
	benchEach(b, PadU7, func(t tier, dim, rows int) func([]uint32) {
		stride := PadU7(dim)
		query, arena, out := make([]uint8, stride), benchArena[uint8](b, rows*stride), make([][4]uint32, benchSlots)
		return func(slots []uint32) { l2U7Quad(t, &[4][]uint8{query, query, query, query}, arena, stride, slots, out) }
	})
}

func BenchmarkL2F32Pair(b *testing.B) {
	for _, dim := range append([]int{100}, benchDims...) {
		for _, t := range machineTiers() {
			b.Run(fmt.Sprintf("%d/%s", dim, t), func(b *testing.B) {
				x, y := make([]float32, dim), make([]float32, dim)
				for b.Loop() {
					l2F32Pair(t, x, y)
				}
			})
		}
	}
}

func BenchmarkL2F16(b *testing.B) {
	benchEach(b, func(dim int) int { return 2 * PadF16(dim) }, func(t tier, dim, rows int) func([]uint32) {
		stride := PadF16(dim)
		query, arena, out := make([]float32, stride), benchArena[uint16](b, rows*stride), make([]float32, benchSlots)
		return func(slots []uint32) { l2F16(t, query, arena, stride, slots, out) }
	})
}
