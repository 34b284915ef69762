package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/segue-ann/segue/client"
	"github.com/segue-ann/segue/internal/dataset"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// value parses JSON as the dataset package does: numbers keep their text.
func value(t *testing.T, text string) any {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

func compact(t *testing.T, v *seguev1.AttributeValue) string {
	t.Helper()
	raw, err := protojson.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil { // protojson varies its spaces on purpose
		t.Fatal(err)
	}
	return b.String()
}

func TestAttributeConversion(t *testing.T) {
	for _, tc := range []struct {
		json, typ string // typ empty: the collection has no schema
		want      string // the message, "none", or "!" and the reason of the fault
	}{
		{`"Lover"`, "", `{"keywords":{"values":["Lover"]}}`},
		{`""`, "", `{"keywords":{"values":[""]}}`},
		{`["a","b"]`, "", `{"keywords":{"values":["a","b"]}}`},
		{`[]`, "", "none"},
		{`null`, "", "none"},
		{`true`, "", `{"boolValue":true}`},
		{`200`, "", `{"intValue":"200"}`},
		{`-9223372036854775808`, "", `{"intValue":"-9223372036854775808"}`},
		{`9223372036854775808`, "", "!OUT_OF_RANGE"},
		{`2.5`, "", `{"floatValue":2.5}`},
		{`1e3`, "", `{"floatValue":1000}`},
		{`3.0`, "", `{"floatValue":3}`},
		{`1e999`, "", "!OUT_OF_RANGE"},
		{`{"a":1}`, "", "!INVALID_FORMAT"},
		{`[1,2]`, "", "!INVALID_FORMAT"},
		{`["a",null]`, "", "!INVALID_FORMAT"},
		{`"2021-04-29"`, "", `{"keywords":{"values":["2021-04-29"]}}`},

		{`"2021-04-29"`, "timestamp", `{"timestampValue":"2021-04-29T00:00:00Z"}`},
		{`"2021-04-29T12:30:00.5+02:00"`, "timestamp", `{"timestampValue":"2021-04-29T10:30:00.500Z"}`},
		{`"yesterday"`, "timestamp", "!INVALID_FORMAT"},
		{`1619690000`, "timestamp", "!ATTRIBUTE_TYPE_MISMATCH"},
		{`3`, "float", `{"floatValue":3}`},
		{`9223372036854775808`, "float", `{"floatValue":9223372036854776000}`},
		{`3.0`, "int", `{"intValue":"3"}`},
		{`1e3`, "int", `{"intValue":"1000"}`},
		{`3.5`, "int", "!ATTRIBUTE_TYPE_MISMATCH"},
		{`1e300`, "int", "!ATTRIBUTE_TYPE_MISMATCH"},
		{`"3"`, "int", "!ATTRIBUTE_TYPE_MISMATCH"},
		{`3`, "keyword", "!ATTRIBUTE_TYPE_MISMATCH"},
		{`["x"]`, "keyword", `{"keywords":{"values":["x"]}}`},
		{`["x"]`, "bool", "!ATTRIBUTE_TYPE_MISMATCH"},
		{`1`, "bool", "!ATTRIBUTE_TYPE_MISMATCH"},
		{`["SE","NO"]`, "markets", `{"markets":{"codes":["SE","NO"]}}`},
		{`"SE"`, "markets", `{"markets":{"codes":["SE"]}}`},
		{`[]`, "markets", `{"markets":{}}`},
		{`["SE",1]`, "markets", "!INVALID_FORMAT"},
		{`3`, "markets", "!ATTRIBUTE_TYPE_MISMATCH"},
		{`null`, "bool", "none"},
		{`[]`, "int", "none"},
	} {
		var schema []*seguev1.AttributeSpec
		if tc.typ != "" {
			var err error
			if schema, err = parseAttributeSpecs([]string{"f:" + tc.typ}); err != nil {
				t.Fatal(err)
			}
		}
		got := "none"
		v, bad := newRowConverter(schema, nil).attribute("f", value(t, tc.json))
		switch {
		case bad != nil:
			got = "!" + bad.Reason
			if bad.Field != "attributes[f]" || bad.Rule == "" {
				t.Errorf("%s as %q: fault %+v", tc.json, tc.typ, bad)
			}
		case v != nil:
			got = compact(t, v)
		}
		if got != tc.want {
			t.Errorf("%s as %q: %s, want %s", tc.json, tc.typ, got, tc.want)
		}
	}
}

func TestItemTakesTheFieldsAskedFor(t *testing.T) {
	r := dataset.Record{ID: "a", Fields: map[string]any{"title": "T", "year": json.Number("1999"), "odd": map[string]any{}}}
	schema := []*seguev1.AttributeSpec{{Name: "title", Type: seguev1.AttributeType_ATTRIBUTE_TYPE_KEYWORD}}
	vector := []float32{1, 2}

	if _, bad := newRowConverter(nil, nil).item(r, nil); bad == nil || bad.Field != "vector" || bad.Reason != "FIELD_REQUIRED" {
		t.Errorf("no vector: %v", bad)
	}
	if _, bad := newRowConverter(nil, nil).item(r, vector); bad == nil || bad.Field != "attributes[odd]" {
		t.Errorf("an object: %v", bad)
	}
	if _, bad := newRowConverter(schema, []string{"title", "year"}).item(r, vector); bad == nil || bad.Reason != "UNKNOWN_ATTRIBUTE" {
		t.Errorf("a field beyond the schema: %v", bad)
	}
	item, bad := newRowConverter(schema, []string{"title", "absent"}).item(r, vector)
	if bad != nil {
		t.Fatal(bad)
	}
	got, err := client.Values(item.GetVector())
	if err != nil || !slices.Equal(got, vector) || item.GetId() != "a" || len(item.GetAttributes()) != 1 {
		t.Errorf("item %v, %v", item, err)
	}
	vector[0] = 9 // the row's buffer is used again
	if again, err := client.Values(item.GetVector()); err != nil || again[0] != 1 {
		t.Errorf("the item aliases the row: %v, %v", again, err)
	}
}

func TestProfileKeepsIdAndVectorOnly(t *testing.T) {
	r := dataset.Record{ID: "u", Fields: map[string]any{"name": map[string]any{}}}
	p, bad := newRowConverter(nil, nil).profile(r, []float32{3})
	if bad != nil || p.GetUserId() != "u" || len(p.GetInterests()) != 1 {
		t.Errorf("%v, %v", p, bad)
	}
	if _, bad := newRowConverter(nil, nil).profile(r, nil); bad == nil {
		t.Error("a profile without a vector was made")
	}
}

// Property: no number loses anything on its way, whatever the schema asks for: it arrives as the same
// number or not at all.
func TestNumbersKeepTheirValue(t *testing.T) {
	wants := []seguev1.AttributeType{0, seguev1.AttributeType_ATTRIBUTE_TYPE_INT, seguev1.AttributeType_ATTRIBUTE_TYPE_FLOAT}
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(
			rapid.Map(rapid.Int64(), func(n int64) string { return fmt.Sprint(n) }),
			rapid.Map(rapid.Float64(), func(f float64) string { b, _ := json.Marshal(f); return string(b) }),
			rapid.StringMatching(`-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,5})?([eE][+-]?[0-9]{1,3})?`),
		).Draw(t, "number")
		want := rapid.SampledFrom(wants).Draw(t, "want")
		v, _, bad := numberOf("f", text, want)
		if bad != nil {
			return
		}
		var exact float64
		if err := json.Unmarshal([]byte(text), &exact); err != nil {
			t.Fatal(err)
		}
		switch k := v.GetKind().(type) {
		case *seguev1.AttributeValue_IntValue:
			if whole := !strings.ContainsAny(text, ".eE"); whole && fmt.Sprint(k.IntValue) != strings.Replace(text, "-0", "0", 1) && text != fmt.Sprint(k.IntValue) {
				t.Fatalf("%s became %d", text, k.IntValue)
			}
			if float64(k.IntValue) != exact {
				t.Fatalf("%s became %d", text, k.IntValue)
			}
		case *seguev1.AttributeValue_FloatValue:
			if k.FloatValue != exact || math.IsInf(k.FloatValue, 0) || want == seguev1.AttributeType_ATTRIBUTE_TYPE_INT && k.FloatValue == math.Trunc(k.FloatValue) && math.Abs(k.FloatValue) < 1<<53 {
				t.Fatalf("%s became %v as %v", text, k.FloatValue, want)
			}
		}
	})
}

func FuzzParseTime(f *testing.F) {
	for _, s := range []string{"2021-04-29", "2021-04-29T00:00:00Z", "0000-01-01", "9999-12-31T23:59:59.999999999-12:00", "2021-4-9"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := parseTime(s)
		if err != nil {
			return
		}
		again, err := parseTime(got.Format(time.RFC3339Nano))
		if err != nil || !again.Equal(got) {
			t.Errorf("%q is %v, which reads back as %v, %v", s, got, again, err)
		}
	})
}

// TestExpireTimeOfRows: a field expire_time is when the row expires, unless the schema declares an attribute of that name.
func TestExpireTimeOfRows(t *testing.T) {
	open := newRowConverter(nil, nil)
	declared := newRowConverter([]*seguev1.AttributeSpec{{Name: "expire_time", Type: seguev1.AttributeType_ATTRIBUTE_TYPE_TIMESTAMP}}, nil)
	without := newRowConverter(nil, []string{"title"})
	for _, tc := range []struct {
		c         *rowConverter
		json      string
		want      string // RFC 3339, "" for never, "!" for a fault
		attribute bool
	}{
		{open, `"2031-01-02"`, "2031-01-02T00:00:00Z", false},
		{open, `"2031-01-02T03:04:05.5+01:00"`, "2031-01-02T02:04:05.5Z", false},
		{open, `null`, "", false},
		{open, `"soon"`, "!", false},
		{open, `1900000000`, "!", false},
		{declared, `"2031-01-02"`, "", true},
		{without, `"2031-01-02"`, "", false},
	} {
		r := dataset.Record{ID: "a", Fields: map[string]any{"expire_time": value(t, tc.json)}}
		it, fault := tc.c.item(r, []float32{1})
		if (fault != nil) != (tc.want == "!") || fault != nil && fault.Field != "expire_time" {
			t.Errorf("%s: %v", tc.json, fault)
		}
		if fault != nil {
			continue
		}
		got := ""
		if it.GetExpireTime() != nil {
			got = it.GetExpireTime().AsTime().Format(time.RFC3339Nano)
		}
		if got != tc.want || (len(it.GetAttributes()) > 0) != tc.attribute {
			t.Errorf("%s: %v", tc.json, it)
		}
		if p, fault := tc.c.profile(r, []float32{1}); fault != nil || tc.c == open && !proto.Equal(p.GetExpireTime(), it.GetExpireTime()) {
			t.Errorf("profile of %s: %v, %v", tc.json, p, fault)
		}
	}
}

// A time of a Parquet file is a TIMESTAMP, asked for or not, and says when a row expires.
func TestAttributeOfTime(t *testing.T) {
	at := time.Date(2026, 11, 26, 1, 2, 3, 4000, time.UTC)
	for _, typ := range []string{"", "timestamp", "keyword"} {
		var schema []*seguev1.AttributeSpec
		if typ != "" {
			var err error
			if schema, err = parseAttributeSpecs([]string{"f:" + typ}); err != nil {
				t.Fatal(err)
			}
		}
		v, bad := newRowConverter(schema, nil).attribute("f", at)
		switch {
		case typ == "keyword":
			if bad == nil || bad.Reason != "ATTRIBUTE_TYPE_MISMATCH" {
				t.Errorf("keyword: %v, %v", v, bad)
			}
		case bad != nil || !v.GetTimestampValue().AsTime().Equal(at):
			t.Errorf("%q: %v, %v", typ, v, bad)
		}
	}
	if got, bad := expireTime(at); bad != nil || !got.AsTime().Equal(at) {
		t.Errorf("expires %v, %v", got, bad)
	}
}
