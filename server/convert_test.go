package server

import (
	"encoding/binary"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/x448/float16"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"github.com/segue-ann/segue/engine"
	"github.com/segue-ann/segue/engine/attribute"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

func testDecoder(dim int) *decoder {
	return &decoder{dim: dim, limits: engine.DefaultLimits()}
}

// wire sends m through its encoded form, as a caller would.
func wire[M proto.Message](t interface{ Fatal(...any) }, m, into M) M {
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	if err := proto.Unmarshal(b, into); err != nil {
		t.Fatal(err)
	}
	return into
}

func genVector(dim int) *rapid.Generator[[]float32] {
	return rapid.SliceOfN(rapid.Float32Range(-1e9, 1e9), dim, dim)
}

func genValue() *rapid.Generator[engine.Value] {
	micros := rapid.Int64Range(-62135596800e6, 253402300799e6)
	return rapid.OneOf(
		rapid.Map(rapid.SliceOfN(rapid.String(), 1, 4), func(k []string) engine.Value { return engine.Value{Type: engine.Keyword, Keywords: k} }),
		rapid.Map(rapid.Bool(), func(b bool) engine.Value { return engine.Value{Type: engine.Bool, Bool: b} }),
		rapid.Map(rapid.Int64(), func(i int64) engine.Value { return engine.Value{Type: engine.Int, Int: i} }),
		rapid.Map(rapid.Float64(), func(f float64) engine.Value { return engine.Value{Type: engine.Float, Float: f} }),
		rapid.Map(micros, func(u int64) engine.Value {
			return engine.Value{Type: engine.Timestamp, Time: time.UnixMicro(u).UTC()}
		}),
		rapid.Map(rapid.SliceOf(rapid.Uint16Range(0, 675)), func(list []uint16) engine.Value {
			var markets []attribute.Market
			for _, m := range list {
				markets = append(markets, attribute.Market(m))
			}
			return engine.Value{Type: engine.Markets, Markets: attribute.NewMarketSet(markets...)}
		}),
	)
}

func genAttributes() *rapid.Generator[engine.Attributes] {
	return rapid.Custom(func(t *rapid.T) engine.Attributes {
		m := rapid.MapOfN(rapid.StringMatching(`[a-z][a-z0-9_.-]{0,8}`), genValue(), 0, 6).Draw(t, "attributes")
		var as engine.Attributes
		for _, name := range sortedKeys(m) {
			as = append(as, engine.Attribute{Name: name, Value: m[name]})
		}
		return as
	})
}

// TestItemRoundTrip: what the engine holds, encoded and decoded again, is what it was.
func TestItemRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dim := rapid.IntRange(1, 12).Draw(t, "dim")
		want := engine.Item{
			ID:         rapid.StringN(1, 20, 40).Draw(t, "id"),
			Vector:     genVector(dim).Draw(t, "vector"),
			Attributes: genAttributes().Draw(t, "attributes"),
		}
		m := wire(t, encodeItem(want, true), &seguev1.Item{})
		d := testDecoder(dim)
		got := d.item("item", m)
		if err := d.err(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestProfileRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dim := rapid.IntRange(1, 12).Draw(t, "dim")
		want := engine.Profile{UserID: rapid.StringN(1, 20, 40).Draw(t, "user")}
		for range rapid.IntRange(1, 16).Draw(t, "interests") {
			want.Interests = append(want.Interests, engine.Interest{
				Vector: genVector(dim).Draw(t, "vector"), Weight: rapid.Float32Range(1.5, 1000).Draw(t, "weight"),
			})
		}
		m := wire(t, encodeProfile(want), &seguev1.Profile{})
		d := testDecoder(dim)
		got := d.profile("profile", m)
		if err := d.err(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestConfigRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := engine.CollectionConfig{
			Name:            rapid.StringMatching(`[a-z]{1,10}`).Draw(t, "name"),
			Dim:             rapid.IntRange(1, 4096).Draw(t, "dim"),
			Metric:          rapid.SampledFrom([]engine.Metric{engine.Cosine, engine.InnerProduct, engine.L2}).Draw(t, "metric"),
			M:               rapid.IntRange(4, 64).Draw(t, "m"),
			EfConstruction:  rapid.IntRange(64, 2000).Draw(t, "ef"),
			VectorStorage:   rapid.SampledFrom([]engine.VectorStorage{engine.VectorsInMemory, engine.VectorsInFile}).Draw(t, "storage"),
			VectorPrecision: rapid.SampledFrom([]engine.VectorPrecision{engine.Float32, engine.Float16}).Draw(t, "precision"),
		}
		types := rapid.MapOfN(rapid.StringMatching(`[a-z]{1,6}`), rapid.IntRange(int(engine.Keyword), int(engine.Markets)), 0, 5).Draw(t, "schema")
		for _, name := range sortedKeys(types) {
			want.Attributes = append(want.Attributes, engine.AttributeSpec{
				Name: name, Type: engine.AttributeType(types[name]), NotFilterable: rapid.Bool().Draw(t, "not filterable"),
			})
		}
		m := wire(t, encodeConfig(want), &seguev1.Collection{})
		d := testDecoder(0)
		got := d.config("collection", m)
		if err := d.err(); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	})
}

// TestVectorEncodings: the three encodings of the same numbers mean the same.
func TestVectorEncodings(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		// Numbers that 16 bits hold exactly.
		halves := rapid.SliceOfN(rapid.Uint16Range(0, 0x7BFF), 1, 40).Draw(t, "halves")
		want := make([]float32, len(halves))
		var le32, le16 []byte
		for i, h := range halves {
			want[i] = float16.Frombits(h).Float32()
			le32 = binary.LittleEndian.AppendUint32(le32, math.Float32bits(want[i]))
			le16 = binary.LittleEndian.AppendUint16(le16, h)
		}
		for _, v := range []*seguev1.Vector{
			floats(want...),
			{Encoding: &seguev1.Vector_Float32Le{Float32Le: le32}},
			{Encoding: &seguev1.Vector_Float16Le{Float16Le: le16}},
		} {
			d := testDecoder(len(want))
			got := d.vector("query.vector", wire(t, v, &seguev1.Vector{}))
			if err := d.err(); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("%T: %s", v.GetEncoding(), diff)
			}
		}
	})
}

func TestVectorViolations(t *testing.T) {
	for _, c := range []struct {
		name   string
		v      *seguev1.Vector
		reason engine.Reason
		field  string
	}{
		{"no message", nil, engine.ReasonRequired, "v"},
		{"no encoding", &seguev1.Vector{}, engine.ReasonRequired, "v"},
		{"float32_le, not a multiple of 4", &seguev1.Vector{Encoding: &seguev1.Vector_Float32Le{Float32Le: make([]byte, 13)}}, engine.ReasonInvalidFormat, "v.float32_le"},
		{"float32_le, too short", &seguev1.Vector{Encoding: &seguev1.Vector_Float32Le{Float32Le: make([]byte, 8)}}, engine.ReasonDimensionMismatch, "v"},
		{"float32_le, empty", &seguev1.Vector{Encoding: &seguev1.Vector_Float32Le{}}, engine.ReasonDimensionMismatch, "v"},
		{"float16_le, not a multiple of 2", &seguev1.Vector{Encoding: &seguev1.Vector_Float16Le{Float16Le: make([]byte, 7)}}, engine.ReasonInvalidFormat, "v.float16_le"},
		{"float16_le, too long", &seguev1.Vector{Encoding: &seguev1.Vector_Float16Le{Float16Le: make([]byte, 8)}}, engine.ReasonDimensionMismatch, "v"},
	} {
		d := testDecoder(3)
		d.vector("v", c.v)
		if len(d.violations) != 1 || d.violations[0].Reason != c.reason || d.violations[0].Field != c.field {
			t.Errorf("%s: %v, want %s of %s", c.name, d.violations, c.reason, c.field)
		}
	}
}

// TestFloatsReachTheEngine: the engine judges their length, and must not take an empty vector for no vector.
func TestFloatsReachTheEngine(t *testing.T) {
	for _, v := range []*seguev1.Vector{floats(), {Encoding: &seguev1.Vector_Floats{}}, floats(1, 2)} {
		d := testDecoder(3)
		if got := d.vector("v", v); got == nil || d.err() != nil {
			t.Errorf("%v: %v, %v", v, got, d.err())
		}
	}
}

// TestBatchIsBoundedBeforeItIsDecoded: a batch over the limit costs nothing in proportion to its length.
func TestBatchIsBoundedBeforeItIsDecoded(t *testing.T) {
	d := testDecoder(3)
	d.limits.MaxBatch = 2
	if got := d.items("items", make([]*seguev1.Item, 3)); got != nil {
		t.Errorf("%d items decoded", len(got))
	}
	if got := d.profiles("profiles", make([]*seguev1.Profile, 3)); got != nil {
		t.Errorf("%d profiles decoded", len(got))
	}
	if len(d.violations) != 2 || d.violations[0].Field != "items" || d.violations[1].Field != "profiles" {
		t.Error(d.violations)
	}
}

// TestViolationsAreCapped: a batch of only bad rows lists MaxViolations of them and looks no further.
func TestViolationsAreCapped(t *testing.T) {
	d := testDecoder(3)
	d.items("items", make([]*seguev1.Item, 1000))
	if n := len(d.violations); n != engine.MaxViolations {
		t.Errorf("%d violations", n)
	}
	if got := d.violations[31].Field; got != "items[31]" {
		t.Errorf("the last one is of %s", got)
	}
}

func TestAttributeLimits(t *testing.T) {
	d := testDecoder(3)
	m := map[string]*seguev1.AttributeValue{}
	for i := range d.limits.MaxAttributes + 1 {
		m[string(rune('a'+i))] = keywords("x")
	}
	if got := d.attributes("item.attributes", m); got != nil || len(d.violations) != 1 || d.violations[0].Reason != engine.ReasonOutOfRange {
		t.Errorf("%d attributes, %v", len(got), d.violations)
	}
}

func TestTimestampOutOfRange(t *testing.T) {
	for _, ts := range []*timestamppb.Timestamp{{Nanos: -1}, {Nanos: 1e9}, {Seconds: math.MaxInt64}, {Seconds: math.MinInt64}} {
		d := testDecoder(3)
		d.value("item.attributes", "added", &seguev1.AttributeValue{Kind: &seguev1.AttributeValue_TimestampValue{TimestampValue: ts}})
		if len(d.violations) != 1 || d.violations[0].Field != "item.attributes[added]" || d.violations[0].Reason != engine.ReasonOutOfRange {
			t.Errorf("%v: %v", ts, d.violations)
		}
	}
}

// TestUnknownEnumValues: a value that a newer client sends is no value to us.
func TestUnknownEnumValues(t *testing.T) {
	for _, v := range []int32{0, -1, 99} {
		if m := decodeMetric(seguev1.Metric(v)); m != 0 {
			t.Errorf("metric %d decodes to %d", v, m)
		}
		if a := decodeAttributeType(seguev1.AttributeType(v)); a != 0 {
			t.Errorf("type %d decodes to %d", v, a)
		}
	}
	if encodeMetric(99) != seguev1.Metric_METRIC_UNSPECIFIED || encodeAttributeType(99) != seguev1.AttributeType_ATTRIBUTE_TYPE_UNSPECIFIED {
		t.Error("unknown engine values must encode as UNSPECIFIED")
	}
}

// FuzzVector: any bytes decode to a vector of the dimension or to one violation, and never panic.
func FuzzVector(f *testing.F) {
	for _, m := range []*seguev1.Vector{
		floats(1, 2, 3),
		{Encoding: &seguev1.Vector_Float32Le{Float32Le: make([]byte, 12)}},
		{Encoding: &seguev1.Vector_Float32Le{Float32Le: make([]byte, 11)}},
		{Encoding: &seguev1.Vector_Float16Le{Float16Le: make([]byte, 6)}},
		{},
	} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := &seguev1.Vector{}
		if proto.Unmarshal(b, m) != nil {
			return
		}
		d := testDecoder(3)
		v := d.vector("v", m)
		_, isList := m.GetEncoding().(*seguev1.Vector_Floats)
		switch {
		case len(d.violations) > 1:
			t.Errorf("%d violations", len(d.violations))
		case len(d.violations) == 0 && !isList && len(v) != 3:
			t.Errorf("%d numbers and no violation", len(v))
		case len(d.violations) == 0 && v == nil:
			t.Error("nil and no violation")
		case len(d.violations) == 1 && v != nil:
			t.Errorf("%v and a violation", v)
		}
	})
}
