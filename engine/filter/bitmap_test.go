package filter

import (
	"bytes"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"
)

// bitmap returns b as a request would bring it.
func bitmap(b *roaring.Bitmap) *Bitmap {
	out, bad := DecodeBitmap(encoded(b))
	if bad != nil {
		panic(bad)
	}
	return out
}

func encoded(b *roaring.Bitmap) []byte {
	data, err := b.ToBytes()
	if err != nil {
		panic(err)
	}
	return data
}

// someBitmaps have containers of every kind, in every mix that the format tells apart.
func someBitmaps() []*roaring.Bitmap {
	r := rand.New(rand.NewPCG(5, 6))
	list, bits, ranges := roaring.New(), roaring.New(), roaring.New()
	for range 3000 {
		list.Add(r.Uint32N(1 << 18))
		ranges.AddRange(uint64(r.Uint32N(1<<20)), uint64(r.Uint32N(1<<20)))
	}
	for range 60_000 {
		bits.Add(r.Uint32N(1 << 17))
	}
	runs := roaring.New()
	runs.AddRange(70_000, 90_000)
	runs.AddRange(90_001, 500_000)
	runs.RunOptimize()
	few := roaring.BitmapOf(1, 2, 3, 4, 5, 6, 7, 8, 9, math.MaxUint32)
	few.RunOptimize()
	all := roaring.Or(roaring.Or(list, bits), runs)
	all.RunOptimize()
	return []*roaring.Bitmap{roaring.New(), roaring.BitmapOf(0), roaring.BitmapOf(math.MaxUint32), list, bits, ranges, runs, few, all}
}

// TestBitmap: what the library wrote is read back, and found among keys as Has says, whichever of the two is longer.
func TestBitmap(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for i, set := range someBitmaps() {
		b := bitmap(set)
		if b.Len() != int(set.GetCardinality()) || b.digest != bitmap(set.Clone()).digest {
			t.Errorf("bitmap %d: %d values, want %d", i, b.Len(), set.GetCardinality())
		}
		for _, outside := range []int64{-1, math.MinInt64, 1 << 32, 1<<32 + 1, math.MaxInt64} {
			if b.Has(outside) {
				t.Errorf("bitmap %d has %d", i, outside)
			}
		}
		for _, n := range []int{0, 1, 10, 5000} {
			values := []int64{-1, 1 << 32, math.MaxUint32}
			for range n {
				values = append(values, r.Int64N(1<<20))
			}
			slices.Sort(values)
			values = slices.Compact(values)
			var keys []uint64
			var want []int
			for at, v := range values {
				keys = append(keys, intKey(v))
				if v >= 0 && v < 1<<32 && set.Contains(uint32(v)) {
					want = append(want, at)
				}
			}
			if got := slices.Collect(b.positions(keys)); !slices.Equal(got, want) {
				t.Errorf("bitmap %d: %d of %d keys, want %d", i, len(got), len(keys), len(want))
			}
		}
	}
}

// TestForeignBitmaps reads what libraries for Java and C wrote; testdata/roaring says which. Their values are counted out here.
func TestForeignBitmaps(t *testing.T) {
	var spec, croaring, few []uint32
	for v := uint32(0); v < 800_000; v++ {
		if v < 100_000 && v%1000 == 0 || v >= 300_000 && v < 600_000 && v%3 == 0 || v >= 700_000 {
			spec = append(spec, v)
		}
	}
	for v := uint32(0); v < 10<<16; v++ {
		if v < 3500 && v%7 == 0 || v>>16 == 1 && v < 1<<16+15_000 && (v-(1<<16))%3 == 0 ||
			v >= 5<<16+100 && v < 5<<16+9000 || v >= 9<<16-10 && v < 9<<16+10 {
			croaring = append(croaring, v)
		}
	}
	croaring = append(croaring, math.MaxUint32)
	for v := uint32(1000); v < 2000; v++ {
		few = append(few, v)
	}
	few = append(few, 1<<20)
	for name, want := range map[string][]uint32{
		"spec_with_runs": spec, "spec_without_runs": spec, "croaring_with_runs": croaring, "croaring_without_runs": croaring,
		"croaring_few": few, "croaring_empty": nil,
	} {
		data, err := os.ReadFile("testdata/roaring/" + name + ".bin")
		if err != nil {
			t.Fatal(err)
		}
		b, bad := DecodeBitmap(data)
		if bad != nil {
			t.Errorf("%s: %v", name, bad)
			continue
		}
		if got := b.set.ToArray(); !slices.Equal(got, want) {
			t.Errorf("%s: %d values, want %d", name, len(got), len(want))
		}
		for _, v := range want[:min(len(want), 2000)] {
			if !b.Has(int64(v)) {
				t.Fatalf("%s: has no %d", name, v)
			}
		}
	}
}

// TestBadBitmaps: each rule of the format, and the bounds.
func TestBadBitmaps(t *testing.T) {
	list := encoded(roaring.BitmapOf(1, 2, 3)) // cookie, 1, key and count, offset, values from byte 16
	two := encoded(roaring.BitmapOf(1, 1<<16)) // two keys, from bytes 8 and 12
	run := roaring.New()
	run.AddRange(100, 9000)
	run.AddRange(9100, 9900)
	run.RunOptimize()
	runs := encoded(run) // cookie, a byte of kinds, key and count, number of runs at byte 9, runs from byte 11
	dense := roaring.New()
	for i := range uint32(10_000) {
		dense.Add(2 * i)
	}
	bits := encoded(dense)
	with := func(b []byte, at int, with ...byte) []byte {
		return append(append(slices.Clone(b[:at]), with...), b[min(len(b), at+len(with)):]...)
	}
	for _, c := range []struct {
		data []byte
		kind Kind
		rule string
	}{
		{nil, Required, "must be set"},
		{make([]byte, MaxBitmapBytes+1), OutOfRange, "at most 1048576 bytes, are 1048577"},
		{[]byte("PK"), Malformed, "does not begin as one"},
		{with(list, 4, 255, 255, 255, 255), Malformed, "4294967295 containers"},
		{with(list, 4, 0, 0, 1), Malformed, "ends early"},
		{list[:len(list)-1], Malformed, "ends early"},
		{append(slices.Clone(list), 0), Malformed, "1 bytes follow it"},
		{with(list, 18, 1), Malformed, "values of a container are not in ascending order"},
		{with(two, 12, 0), Malformed, "containers are not in ascending order"},
		{with(runs, 9, 0, 0), Malformed, "no runs"},
		{with(runs, 13, 255, 255), Malformed, "go beyond"},
		{with(runs, 15, 100, 0), Malformed, "runs of a container"},
		{with(bits, 16, 0), Malformed, "not as many values"},
	} {
		b, bad := DecodeBitmap(c.data)
		if b != nil || bad == nil || bad.Kind != c.kind || !strings.Contains(bad.Rule, c.rule) {
			t.Errorf("%.20x: %v, want %q", c.data, bad, c.rule)
		}
	}
}

// FuzzDecodeBitmap holds the check of the encoded form against the library's reader and Validate, which is too slow for requests.
func FuzzDecodeBitmap(f *testing.F) {
	for _, set := range someBitmaps() {
		if data := encoded(set); len(data) < 20_000 {
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) == 0 || len(data) > 20_000 {
			return
		}
		b, bad := DecodeBitmap(data)
		set := roaring.New()
		n, err := set.ReadFrom(bytes.NewReader(data))
		if err == nil && !set.IsEmpty() {
			err = set.Validate()
		}
		if valid := err == nil && n == int64(len(data)); valid != (bad == nil) {
			t.Fatalf("%x: %v, but the library says %v after %d bytes", data, bad, err, n)
		}
		if bad == nil && !b.set.Equals(set) {
			t.Fatalf("%x: another set", data)
		}
	})
}
