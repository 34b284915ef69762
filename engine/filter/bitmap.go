package filter

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"iter"
	"math"
	"math/bits"
	"sort"

	"github.com/RoaringBitmap/roaring/v2"
)

// MaxBitmapBytes bounds an encoded bitmap.
const MaxBitmapBytes = 1 << 20

// Bitmap is a set of values of an INT attribute, 0 to 1<<32-1. It is read only, and safe for concurrent use.
type Bitmap struct {
	set    *roaring.Bitmap
	digest [sha256.Size]byte // of the encoded form, in keys of kept results
}

// DecodeBitmap reads a 32-bit bitmap in the portable format of https://github.com/RoaringBitmap/RoaringFormatSpec, which must be all
// of data. The bitmap refers to data, which must not change any more. The problem has no path. Cost: linear in data, in time, and in
// memory some 60 bytes for each of up to 65,536 containers; nothing where data is longer than MaxBitmapBytes.
func DecodeBitmap(data []byte) (*Bitmap, *Problem) {
	switch {
	case len(data) == 0:
		return nil, problem(Required, "", "must be set")
	case len(data) > MaxBitmapBytes:
		return nil, problem(OutOfRange, "", "must be at most %d bytes, are %d", MaxBitmapBytes, len(data))
	}
	rule := checkBitmap(data)
	b := &Bitmap{set: roaring.New(), digest: sha256.Sum256(data)}
	if rule == "" {
		if _, err := b.set.FromBuffer(data); err != nil {
			rule = clip(err.Error())
		}
	}
	if rule != "" {
		return nil, problem(Malformed, "", "must be a 32-bit Roaring bitmap in the portable format: %s", rule)
	}
	return b, nil
}

// What the format says.
const (
	cookieWithRuns    = 12347 // in the low half; the high half is the number of containers, less 1
	cookieWithoutRuns = 12346
	offsetsFrom       = 4    // containers from which a bitmap with runs has a table of offsets
	arrayValues       = 4096 // the most values of a list
	bitsetBytes       = 8192
)

// checkBitmap returns the rule that data breaks, or "". The library reads what is broken without complaint, and what its Validate takes
// is quadratic in the runs of a container: seconds for a megabyte.
func checkBitmap(data []byte) string {
	r := words16{rest: data}
	cookie, runs := r.uint32(), []byte(nil)
	n := 0
	switch {
	case cookie&0xffff == cookieWithRuns:
		n = int(cookie>>16) + 1
		runs = r.next((n + 7) / 8)
	case cookie == cookieWithoutRuns:
		if n = int(r.uint32()); n > 1<<16 {
			return fmt.Sprintf("it says that it has %d containers, more than 65,536", n)
		}
	default:
		return "it does not begin as one"
	}
	keys := words16{rest: r.next(4 * n)}
	if runs == nil || n >= offsetsFrom {
		r.next(4 * n)
	}
	last := -1
	for i := range n {
		key, count := int(keys.uint16()), int(keys.uint16())+1
		if !r.short && key <= last {
			return "its containers are not in ascending order"
		}
		last = key
		rule := ""
		switch {
		case runs != nil && runs[i/8]&(1<<(i%8)) != 0:
			rule = r.runs()
		case count <= arrayValues:
			rule = r.array(count)
		default:
			rule = r.bitset(count)
		}
		if r.short {
			break
		}
		if rule != "" {
			return rule
		}
	}
	switch {
	case r.short:
		return "it ends early"
	case len(r.rest) > 0:
		return fmt.Sprintf("%d bytes follow it", len(r.rest))
	}
	return ""
}

// words16 reads little-endian words. From where rest ends early on, all it reads is zero.
type words16 struct {
	rest  []byte
	short bool
}

func (r *words16) next(n int) []byte {
	if n > len(r.rest) {
		r.rest, r.short = nil, true
		return nil
	}
	out := r.rest[:n]
	r.rest = r.rest[n:]
	return out
}

func (r *words16) uint16() uint16 {
	if b := r.next(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (r *words16) uint32() uint32 {
	if b := r.next(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

// runs checks a container of pairs of a first value and how many follow it.
func (r *words16) runs() string {
	n := int(r.uint16())
	pairs := words16{rest: r.next(4 * n)}
	if n == 0 {
		return "a container has no runs"
	}
	end := -1 // the last value of the run before; a run that begins right after it would be part of it
	for i := 0; i < n && !r.short; i++ {
		first, more := int(pairs.uint16()), int(pairs.uint16())
		if i > 0 && first <= end+1 || first+more > 1<<16-1 {
			return "the runs of a container are not in ascending order, touch, or go beyond it"
		}
		end = first + more
	}
	return ""
}

// array checks a container of a list of values.
func (r *words16) array(n int) string {
	values, last := words16{rest: r.next(2 * n)}, -1
	for i := 0; i < n && !r.short; i++ {
		v := int(values.uint16())
		if v <= last {
			return "the values of a container are not in ascending order"
		}
		last = v
	}
	return ""
}

// bitset checks a container of a bit for each value.
func (r *words16) bitset(n int) string {
	words := r.next(bitsetBytes)
	for ; len(words) > 0; words = words[8:] {
		n -= bits.OnesCount64(binary.LittleEndian.Uint64(words))
	}
	if n != 0 {
		return "a container has not as many values as it says"
	}
	return ""
}

// Has says whether v is in the bitmap.
func (b *Bitmap) Has(v int64) bool {
	return v >= 0 && v <= math.MaxUint32 && b.set.Contains(uint32(v))
}

// Len returns how many values are in the bitmap.
func (b *Bitmap) Len() int { return int(b.set.GetCardinality()) }

// positions yields where in keys, which ascend and are those of INTs, the values of the bitmap are.
func (b *Bitmap) positions(keys []uint64) iter.Seq[int] {
	return func(yield func(int) bool) {
		values := b.set.Iterator()
		for at := 0; values.HasNext(); at++ {
			at += gallop(keys[at:], intKey(int64(values.PeekNext())))
			if at == len(keys) || keys[at] > intKey(math.MaxUint32) {
				return
			}
			key := keys[at]
			values.AdvanceIfNeeded(uint32(key)) // the low half of a key is that of its value
			if values.HasNext() && intKey(int64(values.PeekNext())) == key && !yield(at) {
				return
			}
		}
	}
}

// gallop returns the position of the first of keys, which ascend, that is not below key. Cost: O(log of the position).
func gallop(keys []uint64, key uint64) int {
	high := 1
	for high <= len(keys) && keys[high-1] < key {
		high *= 2
	}
	low := high / 2
	return low + sort.Search(min(high, len(keys))-low, func(i int) bool { return keys[low+i] >= key })
}
