package hnsw

import (
	"encoding/binary"
	"hash/crc32"
	"slices"

	"github.com/segue-ann/segue/internal/quantize"
)

// SealHeader returns header with a checksum that matches, so that a fuzzer reaches the checks behind it.
func SealHeader(header []byte) []byte {
	b := append([]byte(nil), header[:min(len(header), headerSize)]...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

// SlabBytes returns the length of a slab that the restorer waits for.
func SlabBytes(r *Restorer, section string, n int) int {
	_, h, err := r.image.find(section, n)
	if err != nil {
		return 0
	}
	from, to := h.slab(n)
	return (to - from) * h.rowBytes
}

// Level returns the highest level of a slot.
func Level(x *Index, slot uint32) int { return x.level(slot) }

// FitAt makes an index fit its codec at n live vectors, where tests of a few vectors reach it.
func FitAt(x *Index, n int) { x.fit.at = n }

// Codec returns the codec that walks read codes of; ok is false while they read vectors.
func Codec(x *Index) (codec quantize.U7, ok bool) {
	c := x.codes.Load()
	if c == nil {
		return quantize.U7{}, false
	}
	return c.codec, true
}

// WalkOnVectors keeps walks on vectors from now on.
func WalkOnVectors(x *Index) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.publishCodes(nil)
	x.fit.at, x.fit.live = 1<<40, 1<<40
}

// Force makes filtered searches take a plan; 0: what the costs say.
func Force(x *Index, plan Plan) { x.forced = plan }

// WalksOnNibbles reports whether walks read nibbles.
func WalksOnNibbles(x *Index) bool {
	c := x.codes.Load()
	return c != nil && c.nibbles
}

// HeaderV1 returns header, of an image whose codes have 7 bits or are none, as version 1 had it.
func HeaderV1(header []byte) []byte {
	return earlierHeader(header[:headerSizeV1], 1)
}

// HeaderV2 returns header, of an image of float32 vectors, as version 2 had it.
func HeaderV2(header []byte) []byte { return earlierHeader(header[:headerSizeV2], 2) }

func earlierHeader(header []byte, version byte) []byte {
	b := append([]byte(nil), header...)
	b[8] = version
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

// SealCalibration gives the bytes of a calibration a checksum that matches, so that a fuzzer reaches the checks behind it.
func SealCalibration(b []byte) []byte {
	b = append([]byte(nil), b[:max(0, len(b)-4)]...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

// CutOff takes all links between the given slots and others out of level 0, at both ends.
func CutOff(x *Index, slots []uint32) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, v := range slots {
		for _, w := range appendLinks(nil, x.row(v, 0)) {
			if !slices.Contains(slots, w) {
				x.removeLink(v, w, 0)
				x.removeLink(w, v, 0)
			}
		}
	}
}

// EntrySlot returns the slot of the entry point of an index that is not empty.
func EntrySlot(x *Index) uint32 {
	slot, _ := unpackEntryPoint(x.entry.Load())
	return slot
}

// Links returns the two-way links of a node on a level.
func Links(x *Index, slot uint32, level int) []uint32 { return appendLinks(nil, x.row(slot, level)) }

// Victim returns which link the row of v gives up for u, and whether it judged by codes.
func Victim(x *Index, v, u uint32, level int) (out uint32, codes bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.c.victims.victim(v, u, level, false), x.c.victims.scorer.codes != nil
}

// MayDrop reports whether v may drop its link to w.
func MayDrop(x *Index, v, w uint32, level int) bool { return x.mayDrop(v, w, level) }

// The constants of Victim.
const (
	ShortDetour = shortDetour
	IPTries     = ipTries
)

// Reach tells how far walks for k results go with an effort of ef: the room of the beam, and the margin; bounded is false where all
// of the beam is expanded.
func Reach(x *Index, k, ef int) (width int, margin float64, bounded bool) {
	r := x.reach(k, x.beamWidth(&SearchParams{K: k, Ef: ef}))
	return r.width, r.margin, r.k > 0
}

// Left returns how many entries of the beam that the last search left were not expanded, and how many of them are within its reach.
func Left(s *Searcher, k, ef int) (left, within int) {
	r := s.x.reach(k, s.x.beamWidth(&SearchParams{K: k, Ef: ef}))
	far := s.beyond(&r)
	for _, e := range s.pool.items {
		if e&1 == 0 {
			left++
			if e < far {
				within++
			}
		}
	}
	return left, within
}
