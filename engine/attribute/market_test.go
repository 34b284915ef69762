package attribute

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestMarketCodes(t *testing.T) {
	seen := map[Market]bool{}
	for a := byte('A'); a <= 'Z'; a++ {
		for b := byte('A'); b <= 'Z'; b++ {
			code := string([]byte{a, b})
			m, ok := ParseMarket(code)
			if !ok || m.String() != code || seen[m] || m >= marketCount {
				t.Fatalf("%s is market %d (%v) and back %s", code, m, ok, m)
			}
			seen[m] = true
		}
	}
	for _, bad := range []string{"", "S", "SWE", "se", "S1", "[A", "A@", "Ä"} {
		if m, ok := ParseMarket(bad); ok {
			t.Errorf("%q is taken for market %v", bad, m)
		}
	}
}

// TestMarketSet: a set is the same string in whatever order it was made, and holds what a map would.
func TestMarketSet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var list []Market
		model := map[Market]bool{}
		for _, m := range rapid.SliceOf(rapid.Uint16Range(0, marketCount-1)).Draw(t, "markets") {
			list = append(list, Market(m))
			model[Market(m)] = true
		}
		s := NewMarketSet(list...)
		slices.Reverse(list)
		if s != NewMarketSet(list...) || !validMarkets([]byte(s)) {
			t.Fatalf("%v: %x is not canonical", list, s)
		}
		var codes []string
		for m := range Market(marketCount) {
			if s.Has(m) != model[m] {
				t.Fatalf("Has(%v) is %v", m, s.Has(m))
			}
			if model[m] {
				codes = append(codes, m.String())
			}
		}
		if s.Len() != len(model) || !slices.Equal(s.Codes(), codes) || !slices.IsSorted(codes) {
			t.Fatalf("%d markets %v, want %v", s.Len(), s.Codes(), codes)
		}
	})
}

func TestDecodeRefusesMarkets(t *testing.T) {
	for name, bytes := range map[string]string{
		"zero at the end": "\x01\x00", "too long": string(make([]byte, marketBytes)) + "\x01", "no such market": string(make([]byte, marketBytes-1)) + "\x10",
	} {
		enc := append([]byte("\x01\x01\x01m\x06"), byte(len(bytes)))
		enc = append(enc, bytes...)
		if s, err := Decode(enc, nil); err == nil {
			t.Errorf("%s: decoded %v", name, s)
		}
	}
}
