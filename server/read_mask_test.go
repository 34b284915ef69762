package server

import (
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/segue-ann/segue/engine"
)

func testSchema() []engine.AttributeSpec {
	return []engine.AttributeSpec{{Name: "title", Type: engine.Keyword}, {Name: "a.b", Type: engine.Int}}
}

func TestReadMask(t *testing.T) {
	for _, c := range []struct {
		paths      string
		attributes bool
		names      string
		violation  engine.Reason // of the last path
	}{
		{"", false, "", ""},
		{"item_id score distance", false, "", ""},
		{"attributes", true, "", ""},
		{"attributes.title", true, "title", ""},
		{"attributes.title item_id attributes.a.b attributes.title", true, "a.b title", ""},
		{"attributes.title attributes", true, "", ""},
		{"attributes.artist", false, "", engine.ReasonUnknownAttribute},
		{"attributes.", false, "", reasonUnknownPath},
		{"attributes.title vector", true, "title", reasonUnknownPath},
		{"*", false, "", reasonUnknownPath},
		{"Attributes", false, "", reasonUnknownPath},
		{"attributes[title]", false, "", reasonUnknownPath},
	} {
		d := testDecoder(0)
		paths := strings.Fields(c.paths)
		attributes, names := d.readMask("read_mask", &fieldmaskpb.FieldMask{Paths: paths}, testSchema())
		if attributes != c.attributes || strings.Join(names, " ") != c.names {
			t.Errorf("%s: %v %q", c.paths, attributes, names)
		}
		var got engine.Reason
		if len(d.violations) > 0 {
			got = d.violations[0].Reason
			if want := "read_mask.paths[" + string(rune('0'+len(paths)-1)) + "]"; d.violations[0].Field != want {
				t.Errorf("%s: violation of %s, want %s", c.paths, d.violations[0].Field, want)
			}
		}
		if got != c.violation {
			t.Errorf("%s: violation %q, want %q", c.paths, got, c.violation)
		}
	}
}

func TestReadMaskOfAnOpenSchema(t *testing.T) {
	d := testDecoder(0)
	attributes, names := d.readMask("read_mask", &fieldmaskpb.FieldMask{Paths: []string{"attributes.anything"}}, nil)
	if !attributes || !slices.Equal(names, []string{"anything"}) || d.err() != nil {
		t.Errorf("%v %q %v", attributes, names, d.err())
	}
}

func TestReadMaskIsBounded(t *testing.T) {
	d := testDecoder(0)
	paths := slices.Repeat([]string{"attributes.title"}, 1<<20)
	if attributes, names := d.readMask("read_mask", &fieldmaskpb.FieldMask{Paths: paths}, nil); attributes || names != nil {
		t.Errorf("%v, %d names", attributes, len(names))
	}
	if len(d.violations) != 1 || d.violations[0].Reason != engine.ReasonOutOfRange || d.violations[0].Field != "read_mask" {
		t.Error(d.violations)
	}
}

// FuzzReadMask: names are a sorted set of declared attributes, and every path is honoured or refused.
func FuzzReadMask(f *testing.F) {
	f.Add("attributes.title,item_id")
	f.Add("attributes.,attributes..")
	f.Add("attributes,vector")
	f.Fuzz(func(t *testing.T, list string) {
		d := testDecoder(0)
		paths := strings.Split(list, ",")
		attributes, names := d.readMask("read_mask", &fieldmaskpb.FieldMask{Paths: paths}, testSchema())
		if len(names) > 0 && !attributes {
			t.Error("names without attributes")
		}
		if !slices.IsSorted(names) || len(slices.Compact(slices.Clone(names))) != len(names) {
			t.Errorf("not a sorted set: %q", names)
		}
		for _, n := range names {
			if n != "title" && n != "a.b" {
				t.Errorf("undeclared %q", n)
			}
		}
		for _, v := range d.violations {
			if !strings.HasPrefix(v.Field, "read_mask") || v.Rule == "" {
				t.Errorf("violation %+v", v)
			}
		}
	})
}
