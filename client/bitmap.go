package client

import (
	"encoding/binary"
	"slices"

	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// ExcludeValues is the exclusion of all items whose attribute, which is an INT, has one of the values: the catalogue numbers of
// what a listener heard, say. It is what goes into Exclusions.Bitmap. values are in any order, and may repeat; they are not
// changed. An exclusion is 2 bytes a value where the values lie far apart, an eighth of a byte for each number between the least
// and the largest where they lie close together, and 8 KiB at most for 65,536 numbers in a row; the server takes up to 1 MiB. A
// program that has a Roaring bitmap of its own already sets seguev1.BitmapExclusion.Roaring to its portable form instead.
func ExcludeValues(attribute string, values []uint32) *seguev1.BitmapExclusion {
	return &seguev1.BitmapExclusion{Attribute: attribute, Roaring: roaring(values)}
}

// What https://github.com/RoaringBitmap/RoaringFormatSpec says. Values with the same high half are a container: a list of the low
// halves, or a bit for each of the 65,536, whichever is shorter. Containers of runs, which the format has too, are not written:
// they would only make smaller what is small.
const (
	roaringCookie    = 12346 // of a bitmap without containers of runs
	roaringArrayMost = 4096  // the most values of a list
	roaringBitset    = 1 << 16 / 8
)

// roaring encodes values as a 32-bit Roaring bitmap in the portable format.
//
//	cookie u32 | containers u32 | { high half u16 | values less 1 u16 } ... | { offset of the container u32 } ... | containers
func roaring(values []uint32) []byte {
	sorted := slices.Compact(slices.Sorted(slices.Values(values)))
	var containers [][]uint32
	for rest := sorted; len(rest) > 0; {
		n, _ := slices.BinarySearchFunc(rest, rest[0]>>16+1, func(v, high uint32) int { return int(v>>16) - int(high) })
		containers, rest = append(containers, rest[:n]), rest[n:]
	}
	out := binary.LittleEndian.AppendUint32(nil, roaringCookie)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(containers)))
	for _, c := range containers {
		out = binary.LittleEndian.AppendUint16(out, uint16(c[0]>>16))
		out = binary.LittleEndian.AppendUint16(out, uint16(len(c)-1))
	}
	at := len(out) + 4*len(containers)
	for _, c := range containers {
		out = binary.LittleEndian.AppendUint32(out, uint32(at))
		at += roaringBytes(c)
	}
	out = slices.Grow(out, at-len(out))
	for _, c := range containers {
		if len(c) <= roaringArrayMost {
			for _, v := range c {
				out = binary.LittleEndian.AppendUint16(out, uint16(v))
			}
			continue
		}
		out = append(out, make([]byte, roaringBitset)...)
		bits := out[len(out)-roaringBitset:]
		for _, v := range c {
			bits[v&0xffff>>3] |= 1 << (v & 7)
		}
	}
	return out
}

// roaringBytes is how long a container of values is.
func roaringBytes(container []uint32) int {
	if len(container) <= roaringArrayMost {
		return 2 * len(container)
	}
	return roaringBitset
}
