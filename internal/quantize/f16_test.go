package quantize

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/segue-ann/segue/internal/distance"
	"github.com/x448/float16"
)

// TestDecodeF16 compares every half float with another implementation.
func TestDecodeF16(t *testing.T) {
	halves, got := make([]uint16, 1<<16), make([]float32, 1<<16)
	for h := range halves {
		halves[h] = uint16(h)
	}
	DecodeF16(got, halves)
	for h, x := range got {
		want := float16.Frombits(uint16(h)).Float32()
		if want != want && x != x {
			continue
		}
		if math.Float32bits(x) != math.Float32bits(want) {
			t.Fatalf("%04x: got %g, want %g", h, x, want)
		}
	}
}

// TestEncodeF16RoundTrips: every half float that is not a NaN comes back as itself.
func TestEncodeF16RoundTrips(t *testing.T) {
	for h := range 1 << 16 {
		x := distance.FloatOfF16(uint16(h))
		if got := encodeF16(x); x == x && got != uint16(h) {
			t.Fatalf("%04x comes back as %04x", h, got)
		} else if x != x && got&0x7fff <= 0x7c00 {
			t.Fatalf("NaN %04x comes back as %04x", h, got)
		}
	}
}

// TestEncodeF16Rounds: each midpoint between neighbouring halves goes to the even one, and the next floats on either side
// of it to the nearer.
func TestEncodeF16Rounds(t *testing.T) {
	for h := range uint16(0x7bff) {
		a, b := distance.FloatOfF16(h), distance.FloatOfF16(h+1)
		mid := float32((float64(a) + float64(b)) / 2)
		even := h + h&1
		for _, c := range []struct {
			x    float32
			want uint16
		}{{mid, even}, {math.Nextafter32(mid, 0), h}, {math.Nextafter32(mid, 1e9), h + 1}, {-mid, even | 0x8000}} {
			if got := encodeF16(c.x); got != c.want {
				t.Fatalf("%g, between %04x and %04x: got %04x, want %04x", c.x, h, h+1, got, c.want)
			}
		}
	}
}

func TestEncodeF16Overflow(t *testing.T) {
	inf := float32(math.Inf(1))
	vec := []float32{65504, 65519.99, 65520, 65536, -1e10, inf, -inf, float32(math.NaN()), 0}
	dst := make([]uint16, len(vec))
	if n := EncodeF16(dst, vec); n != 3 {
		t.Errorf("%d overflows, want 3", n)
	}
	for i, want := range []uint16{0x7bff, 0x7bff, 0x7c00, 0x7c00, 0xfc00, 0x7c00, 0xfc00, 0x7e00, 0} {
		if dst[i] != want {
			t.Errorf("%g: got %04x, want %04x", vec[i], dst[i], want)
		}
	}
}

// checkF16 proves the stated error for one float and compares it with another implementation.
func checkF16(t *testing.T, x float32) {
	t.Helper()
	got, want := encodeF16(x), uint16(float16.Fromfloat32(x))
	if x != x {
		if y := distance.FloatOfF16(got); y == y {
			t.Fatalf("NaN %08x becomes %g", math.Float32bits(x), y)
		}
		return
	}
	if got != want {
		t.Fatalf("%g: got %04x, want %04x", x, got, want)
	}
	if m := math.Abs(float64(x)); m < 65520 {
		if e := math.Abs(float64(distance.FloatOfF16(got)) - float64(x)); e > max(m*0x1p-11, 0x1p-25) {
			t.Fatalf("%g comes back as %g, error %g", x, distance.FloatOfF16(got), e)
		}
	}
}

func TestEncodeF16(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 1))
	for range 1_000_000 {
		checkF16(t, math.Float32frombits(rnd.Uint32()))
		checkF16(t, float32(rnd.NormFloat64()))
		checkF16(t, float32(rnd.NormFloat64()*1e-6))
	}
}

func FuzzF16(f *testing.F) {
	for _, bits := range []uint32{0, 1, 0x33000000, 0x33000001, 0x387fffff, 0x38800000, 0x477fefff, 0x477ff000, 0x7f800000, 0x7f800001, 0xffc00000} {
		f.Add(bits)
	}
	f.Fuzz(func(t *testing.T, bits uint32) { checkF16(t, math.Float32frombits(bits)) })
}
