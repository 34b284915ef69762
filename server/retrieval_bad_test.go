package server

import (
	"math"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/segue-ann/segue/engine"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

func byExamples(e *seguev1.Examples) *seguev1.Query {
	return &seguev1.Query{Form: &seguev1.Query_Examples{Examples: e}}
}

func byInterests(is ...*seguev1.Interest) *seguev1.Query {
	return &seguev1.Query{Form: &seguev1.Query_Interests{Interests: &seguev1.InterestList{Interests: is}}}
}

func like(id string) *seguev1.Example {
	return &seguev1.Example{Example: &seguev1.Example_ItemId{ItemId: id}}
}

func near(v ...float32) *seguev1.Example {
	return &seguev1.Example{Example: &seguev1.Example_Vector{Vector: floats(v...)}}
}

func interest(weight float32, v ...float32) *seguev1.Interest {
	return &seguev1.Interest{Vector: floats(v...), Weight: weight}
}

// TestBadRanking: every way in which what is beyond the plain search can be wrong; the same through an explanation.
func TestBadRanking(t *testing.T) {
	f := badInput(t)
	var rows []row
	add := func(name string, want refusal, change func(*seguev1.NearestNeighborsRequest)) {
		req := &seguev1.NearestNeighborsRequest{Collection: "cosine", Query: byVector(1, 2, 3), NeighborCount: 10}
		change(req)
		rows = append(rows, row{name, on(f.retrieval.NearestNeighbors, req), req, want})
		if req.GetPageToken() != "" || req.GetPageSize() != 0 {
			return
		}
		within := want
		if within.field != "" {
			within.field = "request." + within.field
		}
		absence := &seguev1.ExplainAbsenceRequest{Request: req, ItemId: "a"}
		rows = append(rows, row{name + ", explained", on(f.retrieval.ExplainAbsence, absence), absence, within})
	}
	required, outOfRange, form := engine.ReasonRequired, engine.ReasonOutOfRange, engine.ReasonInvalidFormat
	examples := func(name string, want refusal, e *seguev1.Examples) {
		add(name, want, func(r *seguev1.NearestNeighborsRequest) { r.Query = byExamples(e) })
	}
	weighted := func(e *seguev1.Example, w float32) *seguev1.Example {
		e.Weight = w
		return e
	}
	positive := func(es ...*seguev1.Example) *seguev1.Examples { return &seguev1.Examples{Positive: es} }
	negative := func(es ...*seguev1.Example) *seguev1.Examples {
		return &seguev1.Examples{Positive: []*seguev1.Example{like("a")}, Negative: es}
	}
	examples("no examples", bad(required, "query.examples.positive"), nil)
	examples("no positive", bad(required, "query.examples.positive"), &seguev1.Examples{Negative: []*seguev1.Example{like("a")}})
	examples("an empty example", bad(required, "query.examples.positive[1]"), positive(like("a"), &seguev1.Example{}))
	examples("an empty id", bad(required, "query.examples.positive[0].item_id"), positive(like("")))
	examples("a huge id", bad(engine.ReasonTooLong, "query.examples.negative[0].item_id"), negative(like(huge)))
	examples("a short vector", bad(engine.ReasonDimensionMismatch, "query.examples.negative[1].vector"), negative(like("a"), near(1)))
	examples("a zero vector", bad(engine.ReasonZeroVector, "query.examples.positive[0].vector"), positive(near(0, 0, 0)))
	examples("NaN", bad(engine.ReasonNotFinite, "query.examples.positive[0].vector[2]"), positive(near(1, 2, nan)))
	examples("negative weight", bad(outOfRange, "query.examples.positive[0].weight"), positive(weighted(like("a"), -1)))
	examples("NaN weight", bad(outOfRange, "query.examples.negative[0].weight"), negative(weighted(like("a"), nan)))
	examples("too many", bad(outOfRange, "query.examples.positive"), positive(slices.Repeat([]*seguev1.Example{like("a")}, 65)...))
	examples("unknown strategy", bad(outOfRange, "query.examples.strategy"), &seguev1.Examples{Positive: []*seguev1.Example{like("a")}, Strategy: 99})
	examples("weights with BEST_SCORE", bad(form, "query.examples.positive[0].weight"),
		&seguev1.Examples{Positive: []*seguev1.Example{weighted(like("a"), 2)}, Strategy: seguev1.ExampleStrategy_EXAMPLE_STRATEGY_BEST_SCORE})
	examples("none resolves", refusal{codes.NotFound, "ITEM_NOT_FOUND", ""}, positive(like("nobody"), like("neither")))
	examples("cancelled out", bad(engine.ReasonZeroVector, "query.examples"), negative(like("a")))
	add("negatives too heavy for l2", bad(outOfRange, "query.examples.negative"), func(r *seguev1.NearestNeighborsRequest) {
		r.Collection, r.Query = "l2", byExamples(negative(near(1, 0, 0)))
	})
	add("negatives too heavy of those that exist", bad(outOfRange, "query.examples.negative"), func(r *seguev1.NearestNeighborsRequest) {
		r.Collection, r.Query = "l2", byExamples(&seguev1.Examples{Positive: []*seguev1.Example{like("a"), like("nobody")}, Negative: []*seguev1.Example{near(1, 0, 0)}})
	})

	interests := func(name string, want refusal, is ...*seguev1.Interest) {
		add(name, want, func(r *seguev1.NearestNeighborsRequest) { r.Query = byInterests(is...) })
	}
	interests("no interests", bad(required, "query.interests.interests"))
	interests("17 interests", bad(outOfRange, "query.interests.interests"), slices.Repeat([]*seguev1.Interest{interest(0, 1, 2, 3)}, 17)...)
	interests("an interest without vector", bad(required, "query.interests.interests[0].vector"), &seguev1.Interest{})
	interests("an interest of zeros", bad(engine.ReasonZeroVector, "query.interests.interests[1].vector"), interest(0, 1, 2, 3), interest(0, 0, 0, 0))
	interests("a heavy interest", bad(outOfRange, "query.interests.interests[0].weight"), interest(1e9, 1, 2, 3))

	crowding := func(name string, want refusal, ls ...*seguev1.CrowdingLimit) {
		add(name, want, func(r *seguev1.NearestNeighborsRequest) { r.Diversity = &seguev1.Diversity{CrowdingLimits: ls} })
	}
	limit := func(name string, most int32) *seguev1.CrowdingLimit {
		return &seguev1.CrowdingLimit{Attribute: name, MaxPerValue: most}
	}
	crowding("limit without attribute", bad(required, "diversity.crowding_limits[0].attribute"), limit("", 1))
	crowding("limit on unknown attribute", bad(engine.ReasonUnknownAttribute, "diversity.crowding_limits[0].attribute"), limit("mood", 1))
	crowding("limit of 0", bad(outOfRange, "diversity.crowding_limits[1].max_per_value"), limit("title", 1), limit("artists", 0))
	crowding("two limits", bad(engine.ReasonDuplicateAttribute, "diversity.crowding_limits[1].attribute"), limit("artists", 1), limit("artists", 2))
	crowding("five limits", bad(outOfRange, "diversity.crowding_limits"), limit("a", 1), limit("b", 1), limit("c", 1), limit("d", 1), limit("e", 1))
	add("dedupe by unknown", bad(engine.ReasonUnknownAttribute, "diversity.dedupe_attribute"), func(r *seguev1.NearestNeighborsRequest) {
		r.Diversity = &seguev1.Diversity{DedupeAttribute: "isrc"}
	})
	for name, x := range map[string]float64{"mmr below 0": -0.1, "mmr above 1": 1.1, "mmr NaN": math.NaN()} {
		add(name, bad(outOfRange, "diversity.mmr"), func(r *seguev1.NearestNeighborsRequest) { r.Diversity = &seguev1.Diversity{Mmr: x} })
	}
	add("mmr of too many", bad(outOfRange, "neighbor_count"), func(r *seguev1.NearestNeighborsRequest) {
		r.Diversity, r.NeighborCount = &seguev1.Diversity{Mmr: 0.5}, 1001
	})

	boost := func(name string, want refusal, b *seguev1.ScoreBoost) {
		add(name, want, func(r *seguev1.NearestNeighborsRequest) { r.Boosts = []*seguev1.ScoreBoost{b} })
	}
	linear, decay := seguev1.BoostTransform_BOOST_TRANSFORM_LINEAR, seguev1.BoostTransform_BOOST_TRANSFORM_TIME_DECAY
	boost("boost by nothing", bad(required, "boosts[0].attribute"), &seguev1.ScoreBoost{Transform: linear, Weight: 1})
	boost("boost without transform", bad(required, "boosts[0].transform"), &seguev1.ScoreBoost{Attribute: "duration", Weight: 1})
	boost("boost without weight", bad(outOfRange, "boosts[0].weight"), &seguev1.ScoreBoost{Attribute: "duration", Transform: linear})
	boost("boost without end", bad(outOfRange, "boosts[0].weight"), &seguev1.ScoreBoost{Attribute: "duration", Transform: linear, Weight: math.Inf(1)})
	boost("boost by a keyword", bad(engine.ReasonAttributeType, "boosts[0].attribute"), &seguev1.ScoreBoost{Attribute: "title", Transform: linear, Weight: 1})
	boost("linear time", bad(engine.ReasonAttributeType, "boosts[0].attribute"), &seguev1.ScoreBoost{Attribute: "released", Transform: linear, Weight: 1})
	boost("decay of a number", bad(engine.ReasonAttributeType, "boosts[0].attribute"),
		&seguev1.ScoreBoost{Attribute: "tempo", Transform: decay, Weight: 1, HalfLife: durationpb.New(1)})
	boost("decay without half-life", bad(outOfRange, "boosts[0].half_life"), &seguev1.ScoreBoost{Attribute: "released", Transform: decay, Weight: 1})
	boost("half-life of 0", bad(outOfRange, "boosts[0].half_life"),
		&seguev1.ScoreBoost{Attribute: "released", Transform: decay, Weight: 1, HalfLife: &durationpb.Duration{}})
	boost("half-life out of range", bad(outOfRange, "boosts[0].half_life"),
		&seguev1.ScoreBoost{Attribute: "released", Transform: decay, Weight: 1, HalfLife: &durationpb.Duration{Seconds: math.MaxInt64}})
	boost("half-life of a linear boost", bad(form, "boosts[0].half_life"),
		&seguev1.ScoreBoost{Attribute: "duration", Transform: linear, Weight: 1, HalfLife: durationpb.New(1)})
	boost("time of a linear boost", bad(form, "boosts[0].reference_time"),
		&seguev1.ScoreBoost{Attribute: "duration", Transform: linear, Weight: 1, ReferenceTime: timestamppb.Now()})
	boost("time out of range", bad(outOfRange, "boosts[0].reference_time"), &seguev1.ScoreBoost{
		Attribute: "released", Transform: decay, Weight: 1, HalfLife: durationpb.New(1), ReferenceTime: &timestamppb.Timestamp{Seconds: math.MaxInt64},
	})
	add("nine boosts", bad(outOfRange, "boosts"), func(r *seguev1.NearestNeighborsRequest) {
		r.Boosts = slices.Repeat([]*seguev1.ScoreBoost{{Attribute: "duration", Transform: linear, Weight: 1}}, 9)
	})

	for name, x := range map[string]float64{"no temperature": 0, "negative temperature": -1, "NaN temperature": math.NaN(), "infinite temperature": math.Inf(1)} {
		add(name, bad(outOfRange, "exploration.temperature"), func(r *seguev1.NearestNeighborsRequest) {
			r.Exploration = &seguev1.Exploration{Temperature: x}
		})
	}
	for name, x := range map[string]float32{"min_score NaN": nan, "min_score Inf": inf} {
		add(name, bad(engine.ReasonNotFinite, "min_score"), func(r *seguev1.NearestNeighborsRequest) { r.MinScore = proto.Float32(x) })
	}
	for name, n := range map[string]int32{"fewer candidates than neighbors": 9, "negative candidates": -1, "too many candidates": 10_001} {
		add(name, bad(outOfRange, "candidate_count"), func(r *seguev1.NearestNeighborsRequest) { r.CandidateCount = n })
	}
	add("too many candidates for mmr", bad(outOfRange, "candidate_count"), func(r *seguev1.NearestNeighborsRequest) {
		r.CandidateCount, r.Diversity = 2001, &seguev1.Diversity{Mmr: 0.5}
	})
	add("negative page", bad(outOfRange, "page_size"), func(r *seguev1.NearestNeighborsRequest) { r.PageSize = -1 })
	add("token without a page", bad(required, "page_size"), func(r *seguev1.NearestNeighborsRequest) { r.PageToken = "x" })
	for name, token := range map[string]string{"made-up token": "x", "huge token": strings.Repeat("A", 1<<20), "token of a list": encodePageToken("ListItems", "a")} {
		add(name, bad(reasonInvalidPageToken, "page_token"), func(r *seguev1.NearestNeighborsRequest) { r.PageSize, r.PageToken = 1, token })
	}
	run(t, rows)
}

// TestBadMany: calls with several queries, scores and explanations.
func TestBadMany(t *testing.T) {
	f := badInput(t)
	required, outOfRange := engine.ReasonRequired, engine.ReasonOutOfRange
	query := &seguev1.NearestNeighborsRequest{Collection: "l2", Query: byItem("a"), NeighborCount: 1}
	batch := func(rs ...*seguev1.NearestNeighborsRequest) *seguev1.BatchNearestNeighborsRequest {
		return &seguev1.BatchNearestNeighborsRequest{Collection: "cosine", Requests: rs}
	}
	score := func(q *seguev1.Query, ids ...string) *seguev1.ScoreItemsRequest {
		return &seguev1.ScoreItemsRequest{Collection: "cosine", Query: q, ItemIds: ids}
	}
	paged := proto.CloneOf(query)
	paged.PageSize = 1
	absence := func(r *seguev1.NearestNeighborsRequest, id string) *seguev1.ExplainAbsenceRequest {
		return &seguev1.ExplainAbsenceRequest{Request: r, ItemId: id}
	}
	explain := func(r *seguev1.NearestNeighborsRequest) *seguev1.ExplainNeighborsRequest {
		return &seguev1.ExplainNeighborsRequest{Request: r}
	}
	var rows []row
	for _, c := range []struct {
		name string
		req  *seguev1.BatchNearestNeighborsRequest
		want refusal
	}{
		{"no queries", batch(), bad(required, "requests")},
		{"too many queries", batch(slices.Repeat([]*seguev1.NearestNeighborsRequest{query}, 1001)...), bad(outOfRange, "requests")},
		{"another collection", batch(query), bad(engine.ReasonInvalidFormat, "requests[0].collection")},
		{"no collection", &seguev1.BatchNearestNeighborsRequest{Requests: []*seguev1.NearestNeighborsRequest{query}}, bad(required, "collection")},
	} {
		rows = append(rows, row{c.name, on(f.retrieval.BatchNearestNeighbors, c.req), c.req, c.want})
	}
	for _, c := range []struct {
		name string
		req  *seguev1.ScoreItemsRequest
		want refusal
	}{
		{"score nothing", score(byItem("a")), bad(required, "item_ids")},
		{"score too many", score(byItem("a"), slices.Repeat([]string{"a"}, 10_001)...), bad(outOfRange, "item_ids")},
		{"score an empty id", score(byItem("a"), "a", ""), bad(required, "item_ids[1]")},
		{"score for nothing", score(nil, "a"), bad(required, "query")},
		{"score for a stranger", score(byUser("nobody"), "a"), refusal{codes.NotFound, "USER_NOT_FOUND", ""}},
		{"score with no interest", score(byInterests(), "a"), bad(required, "query.interests.interests")},
	} {
		rows = append(rows, row{c.name, on(f.retrieval.ScoreItems, c.req), c.req, c.want})
	}
	for _, c := range []struct {
		name string
		req  *seguev1.ExplainAbsenceRequest
		want refusal
	}{
		{"explain nothing", absence(nil, "a"), bad(required, "request")},
		{"explain no item", absence(query, ""), bad(required, "item_id")},
		{"explain a huge item", absence(query, huge), bad(engine.ReasonTooLong, "item_id")},
		{"explain a page", absence(paged, "a"), bad(engine.ReasonInvalidFormat, "request.page_size")},
	} {
		rows = append(rows, row{c.name, on(f.retrieval.ExplainAbsence, c.req), c.req, c.want})
	}
	rows = append(rows, row{"explain the neighbors of nothing", on(f.retrieval.ExplainNeighbors, explain(nil)), explain(nil), bad(required, "request")},
		row{"explain a page of neighbors", on(f.retrieval.ExplainNeighbors, explain(paged)), explain(paged), bad(engine.ReasonInvalidFormat, "request.page_size")})
	run(t, rows)
}
