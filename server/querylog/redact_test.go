package querylog

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"pgregory.net/rapid"

	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// TestWhatIsKept: nothing that means nothing later, nothing that is redacted, and the rest as it came.
func TestWhatIsKept(t *testing.T) {
	none, users, heard, taste := []Redaction{}, []Redaction{RedactUsers}, []Redaction{RedactExclusions}, []Redaction{RedactTaste}
	byUser := &seguev1.NearestNeighborsRequest{NeighborCount: 10, Query: &seguev1.Query{Form: &seguev1.Query_UserId{UserId: "listener7"}}}
	byVector := &seguev1.NearestNeighborsRequest{NeighborCount: 10, Query: &seguev1.Query{Form: &seguev1.Query_Vector{Vector: &seguev1.Vector{}}}}
	byExamples := &seguev1.NearestNeighborsRequest{NeighborCount: 10, Query: &seguev1.Query{Form: &seguev1.Query_Examples{
		Examples: &seguev1.Examples{Positive: []*seguev1.Example{{Example: &seguev1.Example_ItemId{ItemId: "liked"}}}}}}}
	byInterests := &seguev1.NearestNeighborsRequest{NeighborCount: 10, Query: &seguev1.Query{Form: &seguev1.Query_Interests{Interests: &seguev1.InterestList{}}}}
	excludes := byItem("a")
	excludes.Exclusions = &seguev1.Exclusions{ItemIds: []string{"heard"}, ExclusionSets: []string{"listener7"},
		Bitmap:          &seguev1.BitmapExclusion{Attribute: "number", Roaring: []byte("bitmap")},
		AttributeValues: []*seguev1.AttributeIn{{Attribute: "artist"}}}
	page := byItem("a")
	page.PageToken = "x"
	wait := byItem("a")
	wait.MinRevision = 7
	inBatch := byItem("a")
	inBatch.Collection = ""
	for _, c := range []struct {
		name        string
		req         *seguev1.NearestNeighborsRequest
		redact      []Redaction
		want        string // in the text of what is kept; empty where it is left out
		mustNotHave []string
	}{
		{"a user", byUser, users, "", nil},
		{"a user, by default", byUser, DefaultRedaction(), "", nil},
		{"a user, kept", byUser, none, "listener7", nil},
		{"sets", excludes, users, "heard", []string{"listener7"}},
		{"what was heard", excludes, heard, "listener7", []string{"heard", "bitmap", "number", "artist"}},
		{"both, by default", excludes, DefaultRedaction(), "tracks", []string{"listener7", "heard", "bitmap", "artist", "exclusions"}},
		{"all, kept", excludes, none, "bitmap", nil},
		{"a vector", byVector, taste, "", nil},
		{"a vector, by default", byVector, DefaultRedaction(), "tracks", nil},
		{"examples", byExamples, taste, "", nil},
		{"examples, kept", byExamples, users, "liked", nil},
		{"interests", byInterests, taste, "", nil},
		{"an item", byItem("a"), redactions, "tracks", nil},
		{"a page", page, none, "", nil},
		{"a revision", wait, none, "tracks", []string{"min_revision"}},
		{"in a batch", inBatch, none, "tracks", nil},
	} {
		before := proto.CloneOf(c.req)
		m := kept(c.req, "tracks", c.redact)
		if !proto.Equal(before, c.req) {
			t.Errorf("%s: the request itself was changed", c.name)
		}
		if (m == nil) != (c.want == "") {
			t.Errorf("%s: kept %v", c.name, m)
			continue
		}
		text := fmt.Sprint(m)
		if m != nil && !strings.Contains(text, c.want) || slices.ContainsFunc(c.mustNotHave, func(s string) bool { return strings.Contains(text, s) }) {
			t.Errorf("%s: kept %s", c.name, text)
		}
	}
	l, tally := open(t, Options{Dir: t.TempDir()})
	l.Offer(byUser, "tracks")
	if tally.of(Withheld) != 1 {
		t.Error("what is left out is not counted")
	}
}

// TestEveryFormAndExclusionIsJudged: a new form of query, or a new way to exclude, has to be given a redaction first.
func TestEveryFormAndExclusionIsJudged(t *testing.T) {
	form := (&seguev1.Query{}).ProtoReflect().Descriptor()
	for i := range form.Fields().Len() {
		f := form.Fields().Get(i)
		req := &seguev1.NearestNeighborsRequest{Query: &seguev1.Query{}}
		v := protoreflect.ValueOfString("x")
		if f.Kind() == protoreflect.MessageKind {
			v = req.Query.ProtoReflect().NewField(f)
		}
		req.Query.ProtoReflect().Set(f, v)
		if left := kept(req, "c", redactions) == nil; left != (f.Name() != "item_id") {
			t.Errorf("a query by %s is left out: %v", f.Name(), left)
		}
	}
	req := &seguev1.NearestNeighborsRequest{Exclusions: &seguev1.Exclusions{}}
	x := req.Exclusions.ProtoReflect()
	for i := range x.Descriptor().Fields().Len() {
		f := x.Descriptor().Fields().Get(i)
		switch {
		case f.IsList():
			list := x.Mutable(f).List()
			list.Append(list.NewElement())
		default:
			x.Set(f, x.NewField(f))
		}
	}
	if m := kept(req, "c", DefaultRedaction()); m.GetExclusions() != nil {
		t.Errorf("of exclusions there is left %v", m.GetExclusions())
	}
}

func TestParseRedaction(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		want := rapid.SliceOfDistinct(rapid.SampledFrom(redactions), rapid.ID[Redaction]).Draw(r, "redactions")
		text := "none"
		if len(want) > 0 {
			names := make([]string, len(want))
			for i, w := range want {
				names[i] = string(w)
			}
			text = strings.Join(names, ",")
		}
		if got, err := ParseRedaction(text); err != nil || !slices.Equal(got, want) || got == nil {
			r.Errorf("%q: %v, %v", text, got, err)
		}
	})
	for _, bad := range []string{"", "user", "users,", "users none", "all"} {
		if got, err := ParseRedaction(bad); err == nil {
			t.Errorf("%q: %v", bad, got)
		}
	}
	if _, err := Open(Options{Dir: t.TempDir(), Share: 1, Redact: []Redaction{"names"}}); err == nil || !strings.Contains(err.Error(), "Redact") {
		t.Errorf("an unknown redaction: %v", err)
	}
}
