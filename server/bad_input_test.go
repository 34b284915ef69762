package server

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/segue-ann/segue/engine"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// badInput is a fixture with a collection "cosine" of dimension 3 with a schema, "l2" without one, an item "a" and a
// profile "u" in each.
func badInput(t *testing.T) *fixture {
	f := start(t, Options{})
	f.create(t, &seguev1.Collection{Name: "cosine", Dimension: 3, Metric: seguev1.Metric_METRIC_COSINE, Attributes: everyAttributeSchema()})
	f.create(t, &seguev1.Collection{Name: "l2", Dimension: 3, Metric: seguev1.Metric_METRIC_L2})
	for _, name := range []string{"cosine", "l2"} {
		f.upsert(t, name, item("a", 1, 2, 3))
		if _, err := f.profiles.UpsertProfile(t.Context(), &seguev1.UpsertProfileRequest{Collection: name, Profile: profile("u", 1, 2, 3)}); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// row is one bad request, the method it goes to, and the error it gets.
type row struct {
	name string
	call func(context.Context) (proto.Message, error)
	req  proto.Message
	want refusal
}

func run(t *testing.T, rows []row) {
	t.Helper()
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			_, err := r.call(t.Context())
			r.want.check(t, r.req, err)
		})
	}
}

// on binds a client's method to a request.
func on[Req, Resp proto.Message](method func(context.Context, Req, ...grpc.CallOption) (Resp, error), req Req) func(context.Context) (proto.Message, error) {
	return func(ctx context.Context) (proto.Message, error) { return method(ctx, req) }
}

func bad(reason engine.Reason, field string) refusal {
	return refusal{codes.InvalidArgument, string(reason), field}
}

var (
	nan  = float32(math.NaN())
	inf  = float32(math.Inf(1))
	huge = strings.Repeat("x", 10<<20)
)

// TestBadSearch: every way a search can be wrong.
func TestBadSearch(t *testing.T) {
	f := badInput(t)
	var rows []row
	add := func(name string, want refusal, change func(*seguev1.NearestNeighborsRequest)) {
		req := &seguev1.NearestNeighborsRequest{Collection: "cosine", Query: byVector(1, 2, 3), NeighborCount: 10}
		change(req)
		rows = append(rows, row{name, on(f.retrieval.NearestNeighbors, req), req, want})
	}
	query := func(name string, want refusal, q *seguev1.Query) {
		add(name, want, func(r *seguev1.NearestNeighborsRequest) { r.Query = q })
	}
	ef := func(v int32) *seguev1.SearchEffort {
		return &seguev1.SearchEffort{Effort: &seguev1.SearchEffort_Ef{Ef: v}}
	}
	bytesOf := func(v ...float32) *seguev1.Query {
		var b []byte
		for _, x := range v {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
		}
		return &seguev1.Query{Form: &seguev1.Query_Vector{Vector: &seguev1.Vector{Encoding: &seguev1.Vector_Float32Le{Float32Le: b}}}}
	}

	query("no query", bad(engine.ReasonRequired, "query"), nil)
	query("no query form", bad(engine.ReasonRequired, "query"), &seguev1.Query{})
	query("empty item id", bad(engine.ReasonRequired, "query.item_id"), byItem(""))
	query("empty user id", bad(engine.ReasonRequired, "query.user_id"), byUser(""))
	query("unknown item", refusal{codes.NotFound, "ITEM_NOT_FOUND", ""}, byItem("nobody"))
	query("unknown user", refusal{codes.NotFound, "USER_NOT_FOUND", ""}, byUser("nobody"))
	query("an item is no user", refusal{codes.NotFound, "USER_NOT_FOUND", ""}, byUser("a"))
	query("a user is no item", refusal{codes.NotFound, "ITEM_NOT_FOUND", ""}, byItem("u"))
	query("10 MB item id", bad(engine.ReasonTooLong, "query.item_id"), byItem(huge))
	query("10 MB user id", bad(engine.ReasonTooLong, "query.user_id"), byUser(huge))
	query("no encoding", bad(engine.ReasonRequired, "query.vector"), &seguev1.Query{Form: &seguev1.Query_Vector{Vector: &seguev1.Vector{}}})
	query("empty vector", bad(engine.ReasonDimensionMismatch, "query.vector"), byVector())
	query("short vector", bad(engine.ReasonDimensionMismatch, "query.vector"), byVector(1, 2))
	query("long vector", bad(engine.ReasonDimensionMismatch, "query.vector"), byVector(1, 2, 3, 4))
	query("huge vector", bad(engine.ReasonDimensionMismatch, "query.vector"), byVector(make([]float32, 1<<20)...))
	query("NaN", bad(engine.ReasonNotFinite, "query.vector[1]"), byVector(1, nan, 3))
	query("Inf", bad(engine.ReasonNotFinite, "query.vector[2]"), byVector(1, 2, inf))
	query("minus Inf", bad(engine.ReasonNotFinite, "query.vector[0]"), byVector(-inf, 2, 3))
	query("zero vector", bad(engine.ReasonZeroVector, "query.vector"), byVector(0, 0, 0))
	query("norm out of range", bad(engine.ReasonOutOfRange, "query.vector"), byVector(math.MaxFloat32, 0, 0))
	query("short float32_le", bad(engine.ReasonDimensionMismatch, "query.vector"), bytesOf(1, 2))
	query("NaN in float32_le", bad(engine.ReasonNotFinite, "query.vector[1]"), bytesOf(1, nan, 3))
	query("float32_le of 13 bytes", bad(engine.ReasonInvalidFormat, "query.vector.float32_le"),
		&seguev1.Query{Form: &seguev1.Query_Vector{Vector: &seguev1.Vector{Encoding: &seguev1.Vector_Float32Le{Float32Le: make([]byte, 13)}}}})
	query("float16_le of 5 bytes", bad(engine.ReasonInvalidFormat, "query.vector.float16_le"),
		&seguev1.Query{Form: &seguev1.Query_Vector{Vector: &seguev1.Vector{Encoding: &seguev1.Vector_Float16Le{Float16Le: make([]byte, 5)}}}})
	query("NaN in float16_le", bad(engine.ReasonNotFinite, "query.vector[2]"),
		&seguev1.Query{Form: &seguev1.Query_Vector{Vector: &seguev1.Vector{Encoding: &seguev1.Vector_Float16Le{Float16Le: []byte{0, 0x3C, 0, 0x3C, 0, 0x7E}}}}})

	for name, k := range map[string]int32{"k is 0": 0, "k is negative": -1, "k is 10^9": 1e9, "k is one too many": 10_001, "k is the least int32": math.MinInt32} {
		add(name, bad(engine.ReasonOutOfRange, "neighbor_count"), func(r *seguev1.NearestNeighborsRequest) { r.NeighborCount = k })
	}
	for name, v := range map[string]int32{"ef is 0": 0, "ef is negative": -1, "ef is 10^9": 1e9, "ef is one too many": 20_001} {
		add(name, bad(engine.ReasonOutOfRange, "search_effort.ef"), func(r *seguev1.NearestNeighborsRequest) { r.SearchEffort = ef(v) })
	}
	for name, v := range map[string]float64{"0": 0, "negative": -.5, "above 1": 1.001, "NaN": math.NaN(), "Inf": math.Inf(1)} {
		add("target recall is "+name, bad(engine.ReasonOutOfRange, "search_effort.target_recall"), func(r *seguev1.NearestNeighborsRequest) {
			r.SearchEffort = &seguev1.SearchEffort{Effort: &seguev1.SearchEffort_TargetRecall{TargetRecall: v}}
		})
	}
	add("no collection", bad(engine.ReasonRequired, "collection"), func(r *seguev1.NearestNeighborsRequest) { r.Collection = "" })
	add("unknown collection", refusal{codes.NotFound, "COLLECTION_NOT_FOUND", ""}, func(r *seguev1.NearestNeighborsRequest) { r.Collection = "nobody" })
	add("10 MB collection name", refusal{codes.NotFound, "COLLECTION_NOT_FOUND", ""}, func(r *seguev1.NearestNeighborsRequest) { r.Collection = huge })
	add("negative revision", bad(engine.ReasonOutOfRange, "min_revision"), func(r *seguev1.NearestNeighborsRequest) { r.MinRevision = -1 })
	add("revision of the future", bad(engine.ReasonOutOfRange, "min_revision"), func(r *seguev1.NearestNeighborsRequest) { r.MinRevision = 1 << 60 })
	for path, want := range map[string]refusal{
		"vector":            bad(reasonUnknownPath, "read_mask.paths[1]"),
		"*":                 bad(reasonUnknownPath, "read_mask.paths[1]"),
		"attributes.artist": bad(engine.ReasonUnknownAttribute, "read_mask.paths[1]"),
		huge:                bad(reasonUnknownPath, "read_mask.paths[1]"),
	} {
		add("read mask "+cut(path, 20), want, func(r *seguev1.NearestNeighborsRequest) {
			r.ReadMask = &fieldmaskpb.FieldMask{Paths: []string{"attributes.title", path}}
		})
	}
	run(t, rows)
}

// TestAllViolationsAreListed: not only the first.
func TestAllViolationsAreListed(t *testing.T) {
	f := badInput(t)
	req := &seguev1.NearestNeighborsRequest{Collection: "cosine", MinRevision: -1, SearchEffort: &seguev1.SearchEffort{Effort: &seguev1.SearchEffort_Ef{Ef: -1}}}
	_, err := f.retrieval.NearestNeighbors(t.Context(), req)
	bad(engine.ReasonRequired, "query").check(t, req, err)
	for _, want := range []string{"query", "neighbor_count", "search_effort.ef", "min_revision"} {
		if !strings.Contains(status.Convert(err).Message(), want+": ") {
			t.Errorf("%s is not in %q", want, status.Convert(err).Message())
		}
	}
}

// TestZeroVectorOutsideCosine: only a direction is missing, so the other metrics take it.
func TestZeroVectorOutsideCosine(t *testing.T) {
	f := badInput(t)
	f.upsert(t, "l2", item("origin", 0, 0, 0))
	resp := f.search(t, &seguev1.NearestNeighborsRequest{Collection: "l2", Query: byVector(0, 0, 0), NeighborCount: 1})
	if got := ids(resp.GetNeighbors()); !slices.Equal(got, []string{"origin"}) {
		t.Errorf("%q", got)
	}
}

// TestBadItems: every way an item can be wrong, alone and as the second of a batch.
func TestBadItems(t *testing.T) {
	f := badInput(t)
	var rows []row
	add := func(name string, reason engine.Reason, field string, it *seguev1.Item) {
		if it.GetVector() == nil && it.GetId() != "no vector" && it != nil {
			it.Vector = floats(1, 2, 3)
		}
		one := &seguev1.UpsertItemRequest{Collection: "cosine", Item: it}
		rows = append(rows, row{name, on(f.items.UpsertItem, one), one, bad(reason, "item"+field)})
		if it == nil {
			return // in a repeated field, no message is an empty one
		}
		batch := &seguev1.BatchUpsertItemsRequest{Collection: "cosine", Items: []*seguev1.Item{item("fine", 1, 2, 3), it}}
		rows = append(rows, row{name + " in a batch", on(f.items.BatchUpsertItems, batch), batch, bad(reason, "items[1]"+field)})
	}
	with := func(name string, v *seguev1.AttributeValue) *seguev1.Item {
		return &seguev1.Item{Id: "x", Attributes: map[string]*seguev1.AttributeValue{name: v}}
	}
	add("no item", engine.ReasonRequired, "", nil)
	add("empty id", engine.ReasonRequired, ".id", &seguev1.Item{})
	add("10 MB id", engine.ReasonTooLong, ".id", &seguev1.Item{Id: huge})
	add("id of 257 bytes", engine.ReasonTooLong, ".id", &seguev1.Item{Id: huge[:257]})
	add("no vector", engine.ReasonRequired, ".vector", &seguev1.Item{Id: "no vector"})
	add("wrong dimension", engine.ReasonDimensionMismatch, ".vector", item("x", 1, 2))
	add("NaN", engine.ReasonNotFinite, ".vector[0]", item("x", nan, 2, 3))
	add("Inf", engine.ReasonNotFinite, ".vector[2]", item("x", 1, 2, -inf))
	add("zero vector", engine.ReasonZeroVector, ".vector", item("x", 0, 0, 0))
	add("unknown attribute", engine.ReasonUnknownAttribute, ".attributes[genre]", with("genre", keywords("x")))
	add("attribute of another type", engine.ReasonAttributeType, ".attributes[title]", with("title", &seguev1.AttributeValue{Kind: &seguev1.AttributeValue_IntValue{IntValue: 1}}))
	add("no keywords", engine.ReasonRequired, ".attributes[title]", with("title", keywords()))
	add("attribute is NaN", engine.ReasonNotFinite, ".attributes[tempo]", with("tempo", &seguev1.AttributeValue{Kind: &seguev1.AttributeValue_FloatValue{FloatValue: math.NaN()}}))
	add("attributes too long", engine.ReasonTooLong, ".attributes", with("title", keywords(huge[:20_000])))
	run(t, rows)

	empty := &seguev1.BatchUpsertItemsRequest{Collection: "cosine"}
	many := &seguev1.BatchUpsertItemsRequest{Collection: "cosine", Items: slices.Repeat([]*seguev1.Item{item("x", 1, 2, 3)}, 10_001)}
	nowhere := &seguev1.UpsertItemRequest{Collection: "nobody", Item: item("x", 1, 2, 3)}
	run(t, []row{
		{"empty batch", on(f.items.BatchUpsertItems, empty), empty, bad(engine.ReasonRequired, "items")},
		{"batch too large", on(f.items.BatchUpsertItems, many), many, bad(engine.ReasonOutOfRange, "items")},
		{"unknown collection", on(f.items.UpsertItem, nowhere), nowhere, refusal{codes.NotFound, "COLLECTION_NOT_FOUND", ""}},
	})
	for _, name := range []string{"cosine", "l2"} {
		if all, _ := f.list(t, name, 0); len(all) != 1 {
			t.Errorf("%s: refused items were written: %v", name, all)
		}
	}
}

// TestBadUpdates: every way an update of attributes can be wrong, alone and as the second of a batch.
func TestBadUpdates(t *testing.T) {
	f := badInput(t)
	var rows []row
	add := func(name string, reason engine.Reason, field string, u *seguev1.AttributesUpdate) {
		one := &seguev1.UpdateItemAttributesRequest{Collection: "cosine", Update: u}
		rows = append(rows, row{name, on(f.items.UpdateItemAttributes, one), one, bad(reason, "update"+field)})
		if u == nil {
			return
		}
		batch := &seguev1.BatchUpdateItemAttributesRequest{Collection: "cosine", Updates: []*seguev1.AttributesUpdate{{ItemId: "a"}, u}}
		rows = append(rows, row{name + " in a batch", on(f.items.BatchUpdateItemAttributes, batch), batch, bad(reason, "updates[1]"+field)})
	}
	with := func(name string, v *seguev1.AttributeValue, paths ...string) *seguev1.AttributesUpdate {
		return &seguev1.AttributesUpdate{ItemId: "a", Attributes: map[string]*seguev1.AttributeValue{name: v}, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths}}
	}
	markets := func(codes ...string) *seguev1.AttributeValue {
		return &seguev1.AttributeValue{Kind: &seguev1.AttributeValue_Markets{Markets: &seguev1.Markets{Codes: codes}}}
	}
	add("no update", engine.ReasonRequired, "", nil)
	add("empty id", engine.ReasonRequired, ".item_id", &seguev1.AttributesUpdate{})
	add("10 MB id", engine.ReasonTooLong, ".item_id", &seguev1.AttributesUpdate{ItemId: huge})
	add("unknown attribute", engine.ReasonUnknownAttribute, ".attributes[genre]", with("genre", keywords("x")))
	add("attribute of another type", engine.ReasonAttributeType, ".attributes[title]", with("title", markets("SE")))
	add("no value", engine.ReasonRequired, ".attributes[title]", with("title", &seguev1.AttributeValue{}))
	add("market in small letters", engine.ReasonInvalidFormat, ".attributes[markets]", with("markets", markets("SE", "no")))
	add("too many markets", engine.ReasonOutOfRange, ".attributes[markets]", with("markets", markets(slices.Repeat([]string{"SE"}, 1001)...)))
	add("attributes too long", engine.ReasonTooLong, ".attributes", with("title", keywords(huge[:20_000])))
	add("mask of nothing known", reasonUnknownPath, ".update_mask.paths[0]", with("title", keywords("x"), "vector"))
	add("mask without a name", reasonUnknownPath, ".update_mask.paths[1]", with("title", keywords("x"), "attributes.title", "attributes."))
	add("value that the mask does not name", reasonUnknownPath, ".update_mask", with("title", keywords("x"), "attributes.artists"))
	add("10,000 paths", engine.ReasonOutOfRange, ".update_mask", with("title", keywords("x"), slices.Repeat([]string{"*"}, 10_000)...))
	run(t, rows)

	empty := &seguev1.BatchUpdateItemAttributesRequest{Collection: "cosine"}
	many := &seguev1.BatchUpdateItemAttributesRequest{Collection: "cosine", Updates: slices.Repeat([]*seguev1.AttributesUpdate{{ItemId: "a"}}, 10_001)}
	run(t, []row{
		{"empty batch", on(f.items.BatchUpdateItemAttributes, empty), empty, bad(engine.ReasonRequired, "updates")},
		{"batch too large", on(f.items.BatchUpdateItemAttributes, many), many, bad(engine.ReasonOutOfRange, "updates")},
	})
	if all, _ := f.list(t, "cosine", 0); len(all[0].GetAttributes()) != 0 {
		t.Errorf("a refused update was made: %v", all)
	}
}

// TestBadIDs: what names items and users, in every method that does.
func TestBadIDs(t *testing.T) {
	f := badInput(t)
	get := func(id string) *seguev1.GetItemRequest { return &seguev1.GetItemRequest{Collection: "l2", ItemId: id} }
	del := func(id string) *seguev1.DeleteItemRequest {
		return &seguev1.DeleteItemRequest{Collection: "l2", ItemId: id}
	}
	gets := func(ids ...string) *seguev1.BatchGetItemsRequest {
		return &seguev1.BatchGetItemsRequest{Collection: "l2", ItemIds: ids}
	}
	dels := func(ids ...string) *seguev1.BatchDeleteItemsRequest {
		return &seguev1.BatchDeleteItemsRequest{Collection: "l2", ItemIds: ids}
	}
	many := slices.Repeat([]string{"a"}, 10_001)
	user := func(id string) *seguev1.GetProfileRequest {
		return &seguev1.GetProfileRequest{Collection: "l2", UserId: id}
	}
	forget := func(id string) *seguev1.DeleteProfileRequest {
		return &seguev1.DeleteProfileRequest{Collection: "l2", UserId: id}
	}
	required, tooLong, notFound := engine.ReasonRequired, engine.ReasonTooLong, refusal{codes.NotFound, "ITEM_NOT_FOUND", ""}
	noUser := refusal{codes.NotFound, "USER_NOT_FOUND", ""}
	run(t, []row{
		{"get, empty", on(f.items.GetItem, get("")), get(""), bad(required, "item_id")},
		{"get, 10 MB", on(f.items.GetItem, get(huge)), get(""), bad(tooLong, "item_id")},
		{"get, unknown", on(f.items.GetItem, get("nobody")), get(""), notFound},
		{"delete, empty", on(f.items.DeleteItem, del("")), del(""), bad(required, "item_id")},
		{"delete, 10 MB", on(f.items.DeleteItem, del(huge)), del(""), bad(tooLong, "item_id")},
		{"delete, unknown", on(f.items.DeleteItem, del("nobody")), del(""), notFound},
		{"batch get of none", on(f.items.BatchGetItems, gets()), gets(), bad(required, "item_ids")},
		{"batch get, empty", on(f.items.BatchGetItems, gets("a", "")), gets(), bad(required, "item_ids[1]")},
		{"batch get of too many", on(f.items.BatchGetItems, gets(many...)), gets(), bad(engine.ReasonOutOfRange, "item_ids")},
		{"batch delete of none", on(f.items.BatchDeleteItems, dels()), dels(), bad(required, "item_ids")},
		{"batch delete, 10 MB", on(f.items.BatchDeleteItems, dels("a", huge)), dels(), bad(tooLong, "item_ids[1]")},
		{"batch delete of too many", on(f.items.BatchDeleteItems, dels(many...)), dels(), bad(engine.ReasonOutOfRange, "item_ids")},
		{"user, empty", on(f.profiles.GetProfile, user("")), user(""), bad(required, "user_id")},
		{"user, 10 MB", on(f.profiles.GetProfile, user(huge)), user(""), bad(tooLong, "user_id")},
		{"user, unknown", on(f.profiles.GetProfile, user("a")), user(""), noUser},
		{"delete user, empty", on(f.profiles.DeleteProfile, forget("")), forget(""), bad(required, "user_id")},
		{"delete user, unknown", on(f.profiles.DeleteProfile, forget("a")), forget(""), noUser},
	})
	if all, _ := f.list(t, "l2", 0); len(all) != 1 {
		t.Error("a refused batch deleted an item")
	}
}

// TestBadProfiles: alone and as the second of a batch.
func TestBadProfiles(t *testing.T) {
	f := badInput(t)
	var rows []row
	add := func(name string, reason engine.Reason, field string, p *seguev1.Profile) {
		one := &seguev1.UpsertProfileRequest{Collection: "cosine", Profile: p}
		rows = append(rows, row{name, on(f.profiles.UpsertProfile, one), one, bad(reason, "profile"+field)})
		if p == nil {
			return
		}
		batch := &seguev1.BatchUpsertProfilesRequest{Collection: "cosine", Profiles: []*seguev1.Profile{profile("fine", 1, 2, 3), p}}
		rows = append(rows, row{name + " in a batch", on(f.profiles.BatchUpsertProfiles, batch), batch, bad(reason, "profiles[1]"+field)})
	}
	many17 := profile("x", 1, 2, 3)
	many17.Interests = slices.Repeat(many17.Interests, 17)
	heavy := profile("x", 1, 2, 3)
	heavy.Interests[0].Weight = 1001
	add("no profile", engine.ReasonRequired, "", nil)
	add("empty user", engine.ReasonRequired, ".user_id", profile("", 1, 2, 3))
	add("10 MB user", engine.ReasonTooLong, ".user_id", profile(huge, 1, 2, 3))
	add("no interest", engine.ReasonRequired, ".interests", &seguev1.Profile{UserId: "x"})
	add("17 interests", engine.ReasonOutOfRange, ".interests", many17)
	add("heavy interest", engine.ReasonOutOfRange, ".interests[0].weight", heavy)
	add("no vector", engine.ReasonRequired, ".interests[0].vector", &seguev1.Profile{UserId: "x", Interests: []*seguev1.Interest{{}}})
	add("wrong dimension", engine.ReasonDimensionMismatch, ".interests[0].vector", profile("x", 1))
	add("NaN", engine.ReasonNotFinite, ".interests[0].vector[1]", profile("x", 1, nan, 3))
	add("zero vector", engine.ReasonZeroVector, ".interests[0].vector", profile("x", 0, 0, 0))
	run(t, rows)
	empty := &seguev1.BatchUpsertProfilesRequest{Collection: "cosine"}
	many := &seguev1.BatchUpsertProfilesRequest{Collection: "cosine", Profiles: slices.Repeat([]*seguev1.Profile{profile("x", 1, 2, 3)}, 10_001)}
	run(t, []row{
		{"empty batch", on(f.profiles.BatchUpsertProfiles, empty), empty, bad(engine.ReasonRequired, "profiles")},
		{"batch too large", on(f.profiles.BatchUpsertProfiles, many), many, bad(engine.ReasonOutOfRange, "profiles")},
	})
}

// TestBadCollections: every way a collection can be wrong.
func TestBadCollections(t *testing.T) {
	f := start(t, Options{})
	var rows []row
	add := func(name string, reason engine.Reason, field string, change func(*seguev1.Collection)) {
		c := &seguev1.Collection{Name: "fine", Dimension: 3, Metric: seguev1.Metric_METRIC_L2}
		change(c)
		req := &seguev1.CreateCollectionRequest{Collection: c}
		rows = append(rows, row{name, on(f.collections.CreateCollection, req), req, bad(reason, "collection"+field)})
	}
	for name, n := range map[string]string{"slash": "a/b", "space": "a b", "beyond ASCII": "é", "dash first": "-a"} {
		add("name with "+name, engine.ReasonInvalidFormat, ".name", func(c *seguev1.Collection) { c.Name = n })
	}
	add("empty name", engine.ReasonRequired, ".name", func(c *seguev1.Collection) { c.Name = "" })
	add("10 MB name", engine.ReasonTooLong, ".name", func(c *seguev1.Collection) { c.Name = huge })
	for name, d := range map[string]int32{"0": 0, "-1": -1, "4097": 4097, "2^31-1": math.MaxInt32} {
		add("dimension "+name, engine.ReasonOutOfRange, ".dimension", func(c *seguev1.Collection) { c.Dimension = d })
	}
	add("no metric", engine.ReasonRequired, ".metric", func(c *seguev1.Collection) { c.Metric = 0 })
	add("unknown metric", engine.ReasonRequired, ".metric", func(c *seguev1.Collection) { c.Metric = 99 })
	add("m out of range", engine.ReasonOutOfRange, ".index_config.m", func(c *seguev1.Collection) { c.IndexConfig = &seguev1.IndexConfig{M: 1000} })
	add("ef_construction out of range", engine.ReasonOutOfRange, ".index_config.ef_construction", func(c *seguev1.Collection) {
		c.IndexConfig = &seguev1.IndexConfig{EfConstruction: -1}
	})
	for _, storage := range []seguev1.VectorStorage{-1, 3, 257} {
		add(fmt.Sprintf("vector_storage %d", storage), engine.ReasonOutOfRange, ".index_config.vector_storage", func(c *seguev1.Collection) {
			c.IndexConfig = &seguev1.IndexConfig{VectorStorage: storage}
		})
	}
	for _, precision := range []seguev1.VectorPrecision{-1, 3, 257} {
		add(fmt.Sprintf("vector_precision %d", precision), engine.ReasonOutOfRange, ".index_config.vector_precision", func(c *seguev1.Collection) {
			c.IndexConfig = &seguev1.IndexConfig{VectorPrecision: precision}
		})
	}
	spec := func(name string, typ seguev1.AttributeType) func(*seguev1.Collection) {
		return func(c *seguev1.Collection) {
			c.Attributes = []*seguev1.AttributeSpec{{Name: "fine", Type: seguev1.AttributeType_ATTRIBUTE_TYPE_INT}, {Name: name, Type: typ}}
		}
	}
	add("attribute without name", engine.ReasonRequired, ".attributes[1].name", spec("", 1))
	add("attribute named twice", engine.ReasonDuplicateAttribute, ".attributes[1].name", spec("fine", 1))
	add("attribute without type", engine.ReasonRequired, ".attributes[1].type", spec("x", 0))
	add("attribute of unknown type", engine.ReasonRequired, ".attributes[1].type", spec("x", 99))
	add("too many attributes", engine.ReasonOutOfRange, ".attributes", func(c *seguev1.Collection) {
		c.Attributes = slices.Repeat([]*seguev1.AttributeSpec{{Name: "x"}}, 1<<16)
	})
	run(t, rows)

	none := &seguev1.CreateCollectionRequest{}
	get := func(name string) *seguev1.GetCollectionRequest { return &seguev1.GetCollectionRequest{Name: name} }
	del := func(name string) *seguev1.DeleteCollectionRequest {
		return &seguev1.DeleteCollectionRequest{Name: name}
	}
	snap := &seguev1.CreateSnapshotRequest{Collection: "nobody"}
	snaps := &seguev1.ListSnapshotsRequest{}
	stats := &seguev1.GetIndexStatisticsRequest{Collection: "nobody"}
	missing := refusal{codes.NotFound, "COLLECTION_NOT_FOUND", ""}
	run(t, []row{
		{"no collection", on(f.collections.CreateCollection, none), none, bad(engine.ReasonRequired, "collection")},
		{"get, empty", on(f.collections.GetCollection, get("")), get(""), bad(engine.ReasonRequired, "name")},
		{"get, unknown", on(f.collections.GetCollection, get("nobody")), get(""), missing},
		{"delete, empty", on(f.collections.DeleteCollection, del("")), del(""), bad(engine.ReasonRequired, "name")},
		{"delete, 10 MB", on(f.collections.DeleteCollection, del(huge)), del(""), missing},
		{"snapshot, unknown", on(f.admin.CreateSnapshot, snap), snap, missing},
		{"snapshots, empty", on(f.admin.ListSnapshots, snaps), snaps, bad(engine.ReasonRequired, "collection")},
		{"statistics, unknown", on(f.admin.GetIndexStatistics, stats), stats, missing},
	})
	resp, err := f.collections.ListCollections(t.Context(), &seguev1.ListCollectionsRequest{})
	if err != nil || len(resp.GetCollections()) != 0 {
		t.Errorf("refused collections were made: %v, %v", resp, err)
	}
}

func TestBadPages(t *testing.T) {
	f := badInput(t)
	list := func(size int32, token string) *seguev1.ListItemsRequest {
		return &seguev1.ListItemsRequest{Collection: "l2", PageSize: size, PageToken: token}
	}
	collections := &seguev1.ListCollectionsRequest{PageToken: encodePageToken("items/l2", "a")}
	negative := &seguev1.ListCollectionsRequest{PageSize: -5}
	run(t, []row{
		{"items, negative size", on(f.items.ListItems, list(-1, "")), list(0, ""), bad(engine.ReasonOutOfRange, "page_size")},
		{"items, made-up token", on(f.items.ListItems, list(1, "made-up")), list(0, ""), bad(reasonInvalidPageToken, "page_token")},
		{"items, 10 MB token", on(f.items.ListItems, list(1, huge)), list(0, ""), bad(reasonInvalidPageToken, "page_token")},
		{"collections, token of items", on(f.collections.ListCollections, collections), collections, bad(reasonInvalidPageToken, "page_token")},
		{"collections, negative size", on(f.collections.ListCollections, negative), negative, bad(engine.ReasonOutOfRange, "page_size")},
	})
}

// TestMessageTooLarge: the library refuses it before it is decoded; the connection lives on.
func TestMessageTooLarge(t *testing.T) {
	f := badInput(t)
	req := &seguev1.UpsertItemRequest{Collection: "l2", Item: &seguev1.Item{Id: "x", Vector: &seguev1.Vector{
		Encoding: &seguev1.Vector_Float32Le{Float32Le: make([]byte, 17<<20)},
	}}}
	if _, err := f.items.UpsertItem(t.Context(), req); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("17 MiB: %v", err)
	}
	if all, _ := f.list(t, "l2", 0); len(all) != 1 {
		t.Errorf("%v", all)
	}
}

// TestAnswerTooLarge: before vectors are read, and for attributes after.
func TestAnswerTooLarge(t *testing.T) {
	f := start(t, Options{MaxSendBytes: 4 << 10})
	f.create(t, &seguev1.Collection{Name: "tracks", Dimension: 16, Metric: seguev1.Metric_METRIC_L2})
	items := randomItems(100, 16)
	for _, it := range items {
		it.Attributes = map[string]*seguev1.AttributeValue{"title": keywords(strings.Repeat("x", 60))}
	}
	f.upsert(t, "tracks", items...)
	var all []string
	for _, it := range items {
		all = append(all, it.GetId())
	}
	vectors := &seguev1.NearestNeighborsRequest{Collection: "tracks", Query: byItem("i0000"), NeighborCount: 10_000, IncludeVectors: true}
	attributes := &seguev1.NearestNeighborsRequest{
		Collection: "tracks", Query: byItem("i0000"), NeighborCount: 90, ReadMask: &fieldmaskpb.FieldMask{Paths: []string{"attributes"}},
	}
	batch := &seguev1.BatchGetItemsRequest{Collection: "tracks", ItemIds: all, IncludeVectors: true}
	tooLarge := refusal{codes.ResourceExhausted, "RESPONSE_TOO_LARGE", ""}
	run(t, []row{
		{"vectors", on(f.retrieval.NearestNeighbors, vectors), vectors, tooLarge},
		{"attributes", on(f.retrieval.NearestNeighbors, attributes), attributes, tooLarge},
		{"batch get", on(f.items.BatchGetItems, batch), batch, tooLarge},
	})
	vectors.NeighborCount, attributes.NeighborCount = 20, 20
	f.search(t, vectors)
	f.search(t, attributes)
}

// TestInvalidUTF8 is refused by the library, with a code only.
func TestInvalidUTF8(t *testing.T) {
	f := badInput(t)
	var raw []byte
	err := f.conn.Invoke(t.Context(), seguev1.ItemService_GetItem_FullMethodName, []byte("\x0a\x02l2\x12\x02\xff\xfe"), &raw, grpc.ForceCodecV2(sendRaw{}))
	if status.Code(err) != codes.Internal {
		t.Errorf("%v", err)
	}
}
