package server

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/segue-ann/segue/engine"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

func intValue(i int64) *seguev1.AttributeValue {
	return &seguev1.AttributeValue{Kind: &seguev1.AttributeValue_IntValue{IntValue: i}}
}

func equalsFilter(name string, v *seguev1.AttributeValue) *seguev1.Filter {
	return &seguev1.Filter{Condition: &seguev1.Filter_Equals{Equals: &seguev1.AttributeEquals{Attribute: name, Value: v}}}
}

func rangeFilter(r *seguev1.AttributeRange) *seguev1.Filter {
	return &seguev1.Filter{Condition: &seguev1.Filter_Range{Range: r}}
}

func allFilter(fs ...*seguev1.Filter) *seguev1.Filter {
	return &seguev1.Filter{Condition: &seguev1.Filter_All{All: &seguev1.FilterList{Filters: fs}}}
}

func anyFilter(fs ...*seguev1.Filter) *seguev1.Filter {
	return &seguev1.Filter{Condition: &seguev1.Filter_Any{Any: &seguev1.FilterList{Filters: fs}}}
}

func noneFilter(fs ...*seguev1.Filter) *seguev1.Filter {
	return &seguev1.Filter{Condition: &seguev1.Filter_None{None: &seguev1.FilterList{Filters: fs}}}
}

func marketFilter(name string, codes ...string) *seguev1.Filter {
	return &seguev1.Filter{Condition: &seguev1.Filter_Markets{Markets: &seguev1.AttributeMarkets{Attribute: name, AnyOf: codes}}}
}

func existsFilter(name string) *seguev1.Filter {
	return &seguev1.Filter{Condition: &seguev1.Filter_Exists{Exists: name}}
}

// filtered is a fixture with tracks of every attribute in a collection with a schema and in one without.
func filtered(t *testing.T) *fixture {
	f := start(t, Options{})
	schema := append(everyAttributeSchema(), &seguev1.AttributeSpec{Name: "isrc", Type: seguev1.AttributeType_ATTRIBUTE_TYPE_KEYWORD, NotFilterable: true})
	f.create(t, &seguev1.Collection{Name: "schema", Dimension: 2, Metric: seguev1.Metric_METRIC_L2, Attributes: schema})
	f.create(t, &seguev1.Collection{Name: "open", Dimension: 2, Metric: seguev1.Metric_METRIC_L2})
	r := rand.New(rand.NewPCG(1, 2))
	var items []*seguev1.Item
	for i := range 200 {
		it := item(fmt.Sprintf("t%03d", i), r.Float32(), r.Float32())
		it.Attributes = map[string]*seguev1.AttributeValue{
			"artists":  keywords([]string{"Miles Davis", "John Coltrane", "Björk"}[r.IntN(3)], "Various"),
			"duration": intValue(int64(100 + r.IntN(200))),
			"explicit": {Kind: &seguev1.AttributeValue_BoolValue{BoolValue: r.IntN(2) == 0}},
			"tempo":    {Kind: &seguev1.AttributeValue_FloatValue{FloatValue: float64(60 + r.IntN(100))}},
			"released": {Kind: &seguev1.AttributeValue_TimestampValue{TimestampValue: timestamppb.New(time.Date(1950+r.IntN(70), 1, 1, 0, 0, 0, 0, time.UTC))}},
			"markets":  {Kind: &seguev1.AttributeValue_Markets{Markets: &seguev1.Markets{Codes: []string{"SE", "NO", "DK"}[:r.IntN(4)]}}},
		}
		if i%3 == 0 {
			it.Attributes["title"] = keywords("Intro")
		}
		items = append(items, it)
	}
	f.upsert(t, "schema", items...)
	f.upsert(t, "open", items...)
	return f
}

// TestFilterForms: a filter, and the same as a string, give the same answer with and without a schema; all answered items fulfil it and
// matching_count is how many do.
func TestFilterForms(t *testing.T) {
	f := filtered(t)
	year := func(y int) *seguev1.AttributeValue {
		return &seguev1.AttributeValue{Kind: &seguev1.AttributeValue_TimestampValue{TimestampValue: timestamppb.New(time.Date(y, 1, 1, 0, 0, 0, 0, time.UTC))}}
	}
	for text, m := range map[string]*seguev1.Filter{
		`artists : "Miles Davis"`:  equalsFilter("artists", keywords("Miles Davis")),
		`artists = ("Björk" OR x)`: {Condition: &seguev1.Filter_InValues{InValues: &seguev1.AttributeIn{Attribute: "artists", Values: []*seguev1.AttributeValue{keywords("Björk"), keywords("x")}}}},
		`duration >= 150 AND duration < 250`: rangeFilter(&seguev1.AttributeRange{Attribute: "duration",
			Lower: &seguev1.AttributeRange_Min{Min: intValue(150)}, Upper: &seguev1.AttributeRange_Below{Below: intValue(250)}}),
		`released > "1990-01-01"`:       rangeFilter(&seguev1.AttributeRange{Attribute: "released", Lower: &seguev1.AttributeRange_Above{Above: year(1990)}}),
		`released <= 1970-01-01`:        rangeFilter(&seguev1.AttributeRange{Attribute: "released", Upper: &seguev1.AttributeRange_Max{Max: year(1970)}}),
		`NOT explicit = true`:           noneFilter(equalsFilter("explicit", &seguev1.AttributeValue{Kind: &seguev1.AttributeValue_BoolValue{BoolValue: true}})),
		`markets : NO`:                  marketFilter("markets", "NO"),
		`title:*`:                       existsFilter("title"),
		`tempo = 100 OR duration > 280`: anyFilter(equalsFilter("tempo", intValue(100)), rangeFilter(&seguev1.AttributeRange{Attribute: "duration", Lower: &seguev1.AttributeRange_Above{Above: intValue(280)}})),
		`markets : SE AND NOT title:* artists : "John Coltrane"`: allFilter(marketFilter("markets", "SE"), noneFilter(existsFilter("title")), equalsFilter("artists", keywords("John Coltrane"))),
	} {
		var first *seguev1.NearestNeighborsResponse
		for _, collection := range []string{"schema", "open"} {
			for _, req := range []*seguev1.NearestNeighborsRequest{{Filter: m}, {FilterExpression: text}} {
				req.Collection, req.Query, req.NeighborCount = collection, byVector(0.5, 0.5), 200
				got := f.search(t, req)
				if first == nil {
					first = got
					if n := len(got.GetNeighbors()); n == 0 || n == 200 || int64(n) != got.GetSearchInfo().GetMatchingCount() {
						t.Errorf("%s: %d of %d match", text, n, got.GetSearchInfo().GetMatchingCount())
					}
				}
				if !slices.Equal(ids(got.GetNeighbors()), ids(first.GetNeighbors())) {
					t.Errorf("%s: %v in %s\n%d neighbors, first %d", text, req.GetFilter(), collection, len(got.GetNeighbors()), len(first.GetNeighbors()))
				}
			}
		}
	}
	if got := f.search(t, &seguev1.NearestNeighborsRequest{Collection: "open", Query: byVector(1, 1), NeighborCount: 1}); got.GetSearchInfo().MatchingCount != nil {
		t.Error("matching_count without a filter")
	}
}

// TestBadFilters: every way a filter can be wrong, as a message and as a string.
func TestBadFilters(t *testing.T) {
	f := filtered(t)
	var rows []row
	add := func(name string, want refusal, change func(*seguev1.NearestNeighborsRequest)) {
		req := &seguev1.NearestNeighborsRequest{Collection: "schema", Query: byVector(1, 2), NeighborCount: 10}
		change(req)
		rows = append(rows, row{name, on(f.retrieval.NearestNeighbors, req), req, want})
	}
	message := func(name string, reason engine.Reason, field string, m *seguev1.Filter) {
		add(name, bad(reason, "filter"+field), func(r *seguev1.NearestNeighborsRequest) { r.Filter = m })
	}
	text := func(s string, reason engine.Reason) {
		add(s[:min(len(s), 40)], bad(reason, "filter_expression"), func(r *seguev1.NearestNeighborsRequest) { r.FilterExpression = s })
	}
	deep := existsFilter("title")
	for range 40 {
		deep = allFilter(deep)
	}
	values := func(n int) *seguev1.Filter {
		return &seguev1.Filter{Condition: &seguev1.Filter_InValues{InValues: &seguev1.AttributeIn{Attribute: "title", Values: slices.Repeat([]*seguev1.AttributeValue{keywords("x")}, n)}}}
	}
	message("no condition", engine.ReasonRequired, "", &seguev1.Filter{})
	message("no condition below", engine.ReasonRequired, ".all.filters[1]", allFilter(existsFilter("title"), &seguev1.Filter{}))
	message("too deep", engine.ReasonOutOfRange, strings.Repeat(".all.filters[0]", 32), deep)
	message("too many conditions", engine.ReasonOutOfRange, ".any.filters[1023]", anyFilter(slices.Repeat([]*seguev1.Filter{existsFilter("title")}, 2000)...))
	message("too many values", engine.ReasonOutOfRange, ".in_values.values", values(10_001))
	message("too many values in all", engine.ReasonOutOfRange, ".any.filters[1].in_values", anyFilter(values(6000), values(6000)))
	message("no attribute", engine.ReasonRequired, ".equals.attribute", equalsFilter("", keywords("x")))
	message("unknown attribute", engine.ReasonUnknownAttribute, ".none.filters[0].exists", noneFilter(existsFilter("genre")))
	message("not filterable", engine.ReasonNotFilterable, ".equals.attribute", equalsFilter("isrc", keywords("x")))
	message("no value", engine.ReasonRequired, ".equals.value", equalsFilter("title", nil))
	message("value of another type", engine.ReasonAttributeType, ".equals.value", equalsFilter("title", intValue(1)))
	message("markets as a value", engine.ReasonAttributeType, ".equals.value", equalsFilter("markets", &seguev1.AttributeValue{Kind: &seguev1.AttributeValue_Markets{}}))
	message("market of one letter", engine.ReasonInvalidFormat, ".markets.any_of", marketFilter("markets", "SE", "S"))
	message("no market", engine.ReasonRequired, ".markets.any_of", marketFilter("markets"))
	message("markets of a title", engine.ReasonAttributeType, ".markets", marketFilter("title", "SE"))
	message("range without ends", engine.ReasonRequired, ".range", rangeFilter(&seguev1.AttributeRange{Attribute: "duration"}))
	message("range of strings", engine.ReasonAttributeType, ".range.min", rangeFilter(&seguev1.AttributeRange{Attribute: "title", Lower: &seguev1.AttributeRange_Min{Min: keywords("a")}}))
	message("range of another type", engine.ReasonAttributeType, ".range.below", rangeFilter(&seguev1.AttributeRange{Attribute: "released", Upper: &seguev1.AttributeRange_Below{Below: intValue(3)}}))
	message("impossible time", engine.ReasonOutOfRange, ".range.max", rangeFilter(&seguev1.AttributeRange{Attribute: "released",
		Upper: &seguev1.AttributeRange_Max{Max: &seguev1.AttributeValue{Kind: &seguev1.AttributeValue_TimestampValue{TimestampValue: &timestamppb.Timestamp{Seconds: 1 << 60}}}}}))
	text(`title = `, engine.ReasonInvalidFormat)
	text(`genre = x`, engine.ReasonUnknownAttribute)
	text(`isrc = x`, engine.ReasonNotFilterable)
	text(`duration > long`, engine.ReasonAttributeType)
	text(strings.Repeat("(", 1000), engine.ReasonOutOfRange)
	text(huge[:70_000], engine.ReasonTooLong)
	add("both", bad(engine.ReasonInvalidFormat, "filter_expression"), func(r *seguev1.NearestNeighborsRequest) {
		r.Filter, r.FilterExpression = existsFilter("title"), "title:*"
	})
	exclusions := func(name string, reason engine.Reason, field string, x *seguev1.Exclusions) {
		add(name, bad(reason, "exclusions."+field), func(r *seguev1.NearestNeighborsRequest) { r.Exclusions = x })
	}
	in := func(name string, vs ...*seguev1.AttributeValue) *seguev1.AttributeIn {
		return &seguev1.AttributeIn{Attribute: name, Values: vs}
	}
	exclusions("10,001 ids", engine.ReasonOutOfRange, "item_ids", &seguev1.Exclusions{ItemIds: make([]string, 10_001)})
	exclusions("empty id", engine.ReasonRequired, "item_ids[1]", &seguev1.Exclusions{ItemIds: []string{"a", ""}})
	exclusions("17 sets", engine.ReasonOutOfRange, "exclusion_sets", &seguev1.Exclusions{ExclusionSets: make([]string, 17)})
	exclusions("long set", engine.ReasonTooLong, "exclusion_sets[0]", &seguev1.Exclusions{ExclusionSets: []string{huge[:300]}})
	exclusions("unknown attribute excluded", engine.ReasonUnknownAttribute, "attribute_values[0]", &seguev1.Exclusions{AttributeValues: []*seguev1.AttributeIn{in("genre", keywords("x"))}})
	exclusions("no values", engine.ReasonRequired, "attribute_values[0]", &seguev1.Exclusions{AttributeValues: []*seguev1.AttributeIn{in("title")}})
	exclusions("10,001 values", engine.ReasonOutOfRange, "attribute_values[0].values", &seguev1.Exclusions{AttributeValues: []*seguev1.AttributeIn{in("title", make([]*seguev1.AttributeValue, 10_001)...)}})
	roar := func(name string, data []byte) *seguev1.Exclusions {
		return &seguev1.Exclusions{Bitmap: &seguev1.BitmapExclusion{Attribute: name, Roaring: data}}
	}
	empty := []byte{0x3a, 0x30, 0, 0, 0, 0, 0, 0}
	exclusions("no bitmap", engine.ReasonRequired, "bitmap.roaring", roar("duration", nil))
	exclusions("no bitmap at all", engine.ReasonInvalidFormat, "bitmap.roaring", roar("duration", []byte("heard")))
	exclusions("bytes after the bitmap", engine.ReasonInvalidFormat, "bitmap.roaring", roar("duration", append(slices.Clone(empty), 0)))
	exclusions("long bitmap", engine.ReasonOutOfRange, "bitmap.roaring", roar("duration", make([]byte, 1<<20+1)))
	exclusions("bitmap of no attribute", engine.ReasonRequired, "bitmap.attribute", roar("", empty))
	exclusions("bitmap of an unknown attribute", engine.ReasonUnknownAttribute, "bitmap.attribute", roar("genre", empty))
	exclusions("bitmap of strings", engine.ReasonAttributeType, "bitmap.attribute", roar("title", empty))
	exclusions("bitmap of what is not filterable", engine.ReasonNotFilterable, "bitmap.attribute", roar("isrc", empty))
	run(t, rows)
}

// TestExclusionBitmap: items whose value is in the bitmap are not answered, and ExplainAbsence says why.
func TestExclusionBitmap(t *testing.T) {
	f := start(t, Options{})
	f.create(t, &seguev1.Collection{Name: "tracks", Dimension: 2, Metric: seguev1.Metric_METRIC_L2})
	var items []*seguev1.Item
	for i, v := range []*seguev1.AttributeValue{intValue(3), intValue(70_000), intValue(-3), intValue(1<<32 + 3), keywords("3"), intValue(4)} {
		items = append(items, &seguev1.Item{Id: string(rune('a' + i)), Vector: floats(float32(i), 0), Attributes: map[string]*seguev1.AttributeValue{"catalogue": v}})
	}
	f.upsert(t, "tracks", items...)
	// 3 and 70,000 as the format's specification lays them out: two lists of one value.
	data := []byte{0x3a, 0x30, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 24, 0, 0, 0, 26, 0, 0, 0, 3, 0, 0x70, 0x11}
	req := &seguev1.NearestNeighborsRequest{Collection: "tracks", Query: byVector(0, 0), NeighborCount: 10,
		Exclusions: &seguev1.Exclusions{Bitmap: &seguev1.BitmapExclusion{Attribute: "catalogue", Roaring: data}}}
	if got := strings.Join(ids(f.search(t, req).GetNeighbors()), ""); got != "cdef" {
		t.Errorf("answered %q", got)
	}
	absence, err := f.retrieval.ExplainAbsence(t.Context(), &seguev1.ExplainAbsenceRequest{ItemId: "b", Request: req})
	if err != nil || absence.GetReason() != seguev1.AbsenceReason_ABSENCE_REASON_EXCLUDED || absence.GetClause() != "catalogue in a bitmap of 2 values" {
		t.Errorf("%v, %v", absence, err)
	}
}

// TestExclusionSets: what is added is not answered, after a restart too, until it is removed or deleted; pages list it.
func TestExclusionSets(t *testing.T) {
	ctx := t.Context()
	f := open(t, t.TempDir(), Options{})
	f.create(t, &seguev1.Collection{Name: "tracks", Dimension: 2, Metric: seguev1.Metric_METRIC_L2})
	f.upsert(t, "tracks", item("a", 1, 0), item("b", 2, 0), item("c", 3, 0), item("d", 4, 0))
	search := func(x *seguev1.Exclusions) string {
		t.Helper()
		return strings.Join(ids(f.search(t, &seguev1.NearestNeighborsRequest{Collection: "tracks", Query: byVector(0, 0), NeighborCount: 10, Exclusions: x}).GetNeighbors()), "")
	}
	addition := &seguev1.AddExclusionsRequest{Collection: "tracks", ExclusionSet: "u", ItemIds: []string{"b", "nothing"}}
	if _, err := f.exclusions.AddExclusions(ctx, addition); err != nil {
		t.Fatal(err)
	}
	expire := timestamppb.New(time.Now().Add(time.Hour).Truncate(time.Microsecond))
	if _, err := f.exclusions.AddExclusions(ctx, &seguev1.AddExclusionsRequest{Collection: "tracks", ExclusionSet: "u", ItemIds: []string{"d"}, Expiration: &seguev1.AddExclusionsRequest_ExpireTime{ExpireTime: expire}}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.exclusions.AddExclusions(ctx, &seguev1.AddExclusionsRequest{Collection: "tracks", ExclusionSet: "v", ItemIds: []string{"c"}, Expiration: &seguev1.AddExclusionsRequest_Ttl{Ttl: durationpb.New(time.Hour)}}); err != nil {
		t.Fatal(err)
	}
	f.stop(t)
	f = open(t, f.dir, Options{})
	defer f.stop(t)
	for want, x := range map[string]*seguev1.Exclusions{
		"abcd": nil, "ac": {ExclusionSets: []string{"u"}}, "a": {ExclusionSets: []string{"u", "v"}}, "c": {ExclusionSets: []string{"u", "w"}, ItemIds: []string{"a", "x"}},
	} {
		if got := search(x); got != want {
			t.Errorf("%v: %q, want %q", x, got, want)
		}
	}
	var listed []string
	list := &seguev1.GetExclusionSetRequest{Collection: "tracks", ExclusionSet: "u", PageSize: 2}
	for {
		page, err := f.exclusions.GetExclusionSet(ctx, list)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.GetExclusions() {
			listed = append(listed, e.GetItemId())
			if e.GetItemId() == "d" && !proto.Equal(e.GetExpireTime(), expire) || e.GetItemId() == "b" && e.GetExpireTime() != nil {
				t.Errorf("%v", e)
			}
		}
		if list.PageToken = page.GetNextPageToken(); list.PageToken == "" {
			break
		}
		other := &seguev1.GetExclusionSetRequest{Collection: "tracks", ExclusionSet: "v", PageToken: list.PageToken}
		_, err = f.exclusions.GetExclusionSet(ctx, other)
		refusal{codes.InvalidArgument, "INVALID_PAGE_TOKEN", "page_token"}.check(t, other, err)
	}
	if !slices.Equal(listed, []string{"b", "d", "nothing"}) {
		t.Errorf("listed %q", listed)
	}
	absence, err := f.retrieval.ExplainAbsence(ctx, &seguev1.ExplainAbsenceRequest{ItemId: "b", Request: &seguev1.NearestNeighborsRequest{
		Collection: "tracks", Query: byVector(0, 0), NeighborCount: 10, Exclusions: &seguev1.Exclusions{ExclusionSets: []string{"v", "u"}}}})
	if err != nil || absence.GetReason() != seguev1.AbsenceReason_ABSENCE_REASON_EXCLUDED || absence.GetClause() != "u" {
		t.Errorf("%v, %v", absence, err)
	}
	if _, err := f.exclusions.RemoveExclusions(ctx, &seguev1.RemoveExclusionsRequest{Collection: "tracks", ExclusionSet: "u", ItemIds: []string{"b", "c"}}); err != nil {
		t.Fatal(err)
	}
	if got := search(&seguev1.Exclusions{ExclusionSets: []string{"u"}}); got != "abc" {
		t.Errorf("after the removal: %q", got)
	}
	if _, err := f.exclusions.DeleteExclusionSet(ctx, &seguev1.DeleteExclusionSetRequest{Collection: "tracks", ExclusionSet: "u"}); err != nil {
		t.Fatal(err)
	}
	if got := search(&seguev1.Exclusions{ExclusionSets: []string{"u"}}); got != "abcd" {
		t.Errorf("after the deletion: %q", got)
	}
}

// TestBadExclusionSets: every way a call of ExclusionService can be wrong.
func TestBadExclusionSets(t *testing.T) {
	f := badInput(t)
	addition := func(set string, ids ...string) *seguev1.AddExclusionsRequest {
		return &seguev1.AddExclusionsRequest{Collection: "l2", ExclusionSet: set, ItemIds: ids}
	}
	ttl := func(d *durationpb.Duration) *seguev1.AddExclusionsRequest {
		r := addition("u", "a")
		r.Expiration = &seguev1.AddExclusionsRequest_Ttl{Ttl: d}
		return r
	}
	at := func(ts *timestamppb.Timestamp) *seguev1.AddExclusionsRequest {
		r := addition("u", "a")
		r.Expiration = &seguev1.AddExclusionsRequest_ExpireTime{ExpireTime: ts}
		return r
	}
	var rows []row
	add := func(name string, reason engine.Reason, field string, r *seguev1.AddExclusionsRequest) {
		rows = append(rows, row{name, on(f.exclusions.AddExclusions, r), r, bad(reason, field)})
	}
	add("no set", engine.ReasonRequired, "exclusion_set", addition("", "a"))
	add("long set", engine.ReasonTooLong, "exclusion_set", addition(huge[:257], "a"))
	add("no ids", engine.ReasonRequired, "item_ids", addition("u"))
	add("10,001 ids", engine.ReasonOutOfRange, "item_ids", addition("u", make([]string, 10_001)...))
	add("long id", engine.ReasonTooLong, "item_ids[1]", addition("u", "a", huge))
	add("no ttl", engine.ReasonOutOfRange, "ttl", ttl(&durationpb.Duration{}))
	add("ttl below 0", engine.ReasonOutOfRange, "ttl", ttl(durationpb.New(-time.Second)))
	add("ttl of 1000 years", engine.ReasonOutOfRange, "ttl", ttl(&durationpb.Duration{Seconds: 1000 * 365 * 86400}))
	add("malformed ttl", engine.ReasonOutOfRange, "ttl", ttl(&durationpb.Duration{Seconds: 1, Nanos: -1}))
	add("expired", engine.ReasonOutOfRange, "expire_time", at(timestamppb.New(time.Now().Add(-time.Hour))))
	add("impossible time", engine.ReasonOutOfRange, "expire_time", at(&timestamppb.Timestamp{Nanos: -1}))
	get := &seguev1.GetExclusionSetRequest{Collection: "l2", ExclusionSet: "u", PageToken: "made-up"}
	remove := &seguev1.RemoveExclusionsRequest{Collection: "l2", ExclusionSet: "u"}
	forget := &seguev1.DeleteExclusionSetRequest{Collection: "l2"}
	nowhere := &seguev1.DeleteExclusionSetRequest{Collection: "nobody", ExclusionSet: "u"}
	run(t, append(rows,
		row{"made-up token", on(f.exclusions.GetExclusionSet, get), get, bad(reasonInvalidPageToken, "page_token")},
		row{"remove nothing", on(f.exclusions.RemoveExclusions, remove), remove, bad(engine.ReasonRequired, "item_ids")},
		row{"delete no set", on(f.exclusions.DeleteExclusionSet, forget), forget, bad(engine.ReasonRequired, "exclusion_set")},
		row{"unknown collection", on(f.exclusions.DeleteExclusionSet, nowhere), nowhere, refusal{codes.NotFound, "COLLECTION_NOT_FOUND", ""}},
	))
}
