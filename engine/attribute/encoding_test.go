package attribute

import (
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// genAttributes draws valid attributes in order of name.
func genAttributes() *rapid.Generator[Set] {
	value := rapid.Custom(func(t *rapid.T) Value {
		switch v := (Value{Type: Type(rapid.IntRange(1, 6).Draw(t, "type"))}); v.Type {
		case Keyword:
			v.Keywords = rapid.SliceOfN(rapid.String(), 1, 4).Draw(t, "keywords")
			return v
		case Bool:
			v.Bool = rapid.Bool().Draw(t, "bool")
			return v
		case Int:
			v.Int = rapid.Int64().Draw(t, "int")
			return v
		case Float:
			v.Float = rapid.Float64().Draw(t, "float")
			return v
		case Markets:
			v.Markets = genMarkets(t)
			return v
		default:
			v.Time = time.UnixMicro(rapid.Int64Range(-6e16, 2e17).Draw(t, "time")).UTC()
			return v
		}
	})
	return rapid.Custom(func(t *rapid.T) Set {
		m := rapid.MapOfN(rapid.StringMatching(`[A-Za-z0-9_][A-Za-z0-9_.-]{0,8}`), value, 0, 6).Draw(t, "attributes")
		var as Set
		for name, v := range m {
			as = append(as, Attribute{Name: name, Value: v})
		}
		return as.Sorted()
	})
}

func genMarkets(t *rapid.T) MarketSet {
	list := rapid.SliceOfN(rapid.Uint16Range(0, marketCount-1), 0, 40).Draw(t, "markets")
	markets := make([]Market, len(list))
	for i, m := range list {
		markets[i] = Market(m)
	}
	return NewMarketSet(markets...)
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := genAttributes().Draw(t, "attributes")
		enc := Append(nil, want)
		got, err := Decode(enc, nil)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" && len(want)+len(got) > 0 {
			t.Fatal(diff)
		}
		if len(want) > 0 {
			i := 0
			for name, raw := range All(enc) {
				if string(name) != want[i].Name || !reflect.DeepEqual(raw.Value(), want[i].Value) {
					t.Fatalf("attribute %d: %s %v, want %v", i, name, raw.Value(), want[i])
				}
				i++
			}
			if i != len(want) {
				t.Fatalf("All yields %d of %d attributes", i, len(want))
			}
			one := want[rapid.IntRange(0, len(want)-1).Draw(t, "pick")]
			got, err := Decode(enc, []string{one.Name, "never there"})
			if err != nil || !reflect.DeepEqual(got, Set{one}) {
				t.Fatalf("projection: %v, %v", got, err)
			}
			if raw, ok := Lookup(enc, one.Name); !ok || !reflect.DeepEqual(raw.Value(), one.Value) {
				t.Fatalf("Lookup(%q): %v, %v", one.Name, raw.Value(), ok)
			}
			if v, ok := want.Get(one.Name); !ok || !reflect.DeepEqual(v, one.Value) {
				t.Fatalf("Get(%q): %v, %v", one.Name, v, ok)
			}
			if _, ok := Lookup(enc, one.Name+"!"); ok {
				t.Fatal("Lookup found a name that is not there")
			}
			for cut := range len(enc) - 1 {
				if got, err := Decode(enc[:cut+1], nil); err == nil {
					t.Fatalf("truncated to %d of %d bytes: decoded %v", cut+1, len(enc), got)
				}
			}
		}
	})
}

// FuzzDecode: arbitrary bytes are either refused or a fixed point of decode and encode.
func FuzzDecode(f *testing.F) {
	f.Add([]byte{})
	f.Add(Append(nil, Set{
		{Name: "artists", Value: Value{Type: Keyword, Keywords: []string{"The Weeknd", "Daft Punk"}}},
		{Name: "explicit", Value: Value{Type: Bool, Bool: true}},
		{Name: "gain", Value: Value{Type: Float, Float: -7.5}},
		{Name: "plays", Value: Value{Type: Int, Int: math.MinInt64}},
		{Name: "released", Value: Value{Type: Timestamp, Time: time.UnixMicro(1574985600000000)}},
		{Name: "territories", Value: Value{Type: Markets, Markets: NewMarketSet(0, 675)}},
	}))
	f.Add([]byte{1, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, b []byte) {
		as, err := Decode(b, nil)
		if err != nil {
			return
		}
		again, err := Decode(Append(nil, as), nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(as) != len(again) {
			t.Fatalf("%v became %v", as, again)
		}
		for i := range as { // not cmp: NaN is not equal to itself
			x, y := as[i].Value, again[i].Value
			if math.Float64bits(x.Float) != math.Float64bits(y.Float) {
				t.Fatalf("%v became %v", x, y)
			}
			x.Float, y.Float = 0, 0
			if as[i].Name != again[i].Name || !cmp.Equal(x, y) {
				t.Fatalf("%v became %v", as[i], again[i])
			}
		}
	})
}

func TestGolden(t *testing.T) {
	got := Append(nil, Set{
		{Name: "a", Value: Value{Type: Keyword, Keywords: []string{"xy", ""}}},
		{Name: "b", Value: Value{Type: Bool, Bool: true}},
		{Name: "c", Value: Value{Type: Int, Int: -2}},
		{Name: "d", Value: Value{Type: Float, Float: 1}},
		{Name: "e", Value: Value{Type: Timestamp, Time: time.UnixMicro(1)}},
		{Name: "f", Value: Value{Type: Markets, Markets: NewMarketSet(1, 16)}},
	})
	want := []byte("\x01\x06" +
		"\x01a\x01\x02\x02xy\x00" +
		"\x01b\x02\x01" +
		"\x01c\x03\x03" +
		"\x01d\x04\x00\x00\x00\x00\x00\x00\xf0\x3f" +
		"\x01e\x05\x02" +
		"\x01f\x06\x03\x02\x00\x01")
	if string(got) != string(want) {
		t.Errorf("the stored form has changed: it needs a new format number\n got %x\nwant %x", got, want)
	}
}

// TestExpiry: an expiry comes back, changes nothing that is read of the attributes, and costs nothing where there is none.
func TestExpiry(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		set := genAttributes().Draw(t, "attributes")
		at := rapid.Int64Range(1, math.MaxInt64).Draw(t, "expiry")
		plain, enc := Append(nil, set), AppendExpiring(nil, set, at)
		if got := Expiry(enc); got != at || Expiry(plain) != 0 {
			t.Fatalf("expires at %d, want %d; without one at %d", got, at, Expiry(plain))
		}
		if string(AppendExpiring(nil, set, 0)) != string(plain) {
			t.Fatal("never is not encoded as before")
		}
		got, err := Decode(enc, nil)
		if err != nil || string(Append(nil, got)) != string(plain) {
			t.Fatalf("%v, %v", got, err)
		}
		n := 0
		for name, raw := range All(enc) {
			if want := set[n]; want.Name != string(name) || !reflect.DeepEqual(raw.Value(), want.Value) {
				t.Fatalf("attribute %d is %s", n, name)
			}
			if one, ok := Lookup(enc, string(name)); !ok || !one.Equal(raw) {
				t.Fatalf("Lookup(%q): %v, %v", name, one, ok)
			}
			n++
		}
		if n != len(set) {
			t.Fatalf("%d of %d attributes", n, len(set))
		}
		for i := range enc { // a cut one is refused, or, cut before it began, is the empty set
			if _, err := Decode(enc[:i], nil); err == nil && i > 0 {
				t.Fatalf("cut at %d of %d is taken", i, len(enc))
			}
			Expiry(enc[:i])
		}
	})
	for name, b := range map[string][]byte{"zero": {formatExpiring, 0, 0}, "beyond": append([]byte{formatExpiring}, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0)} {
		if _, err := Decode(b, nil); err == nil || Expiry(b) != 0 {
			t.Errorf("%s: expires at %d, %v", name, Expiry(b), err)
		}
	}
}
