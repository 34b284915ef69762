package hnsw

import (
	"encoding/binary"
	"hash/crc32"
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
