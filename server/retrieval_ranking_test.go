package server

import (
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// listening is a fixture with 400 tracks of 20 artists, of which every fifth has a second one.
func listening(t *testing.T) (*fixture, []*seguev1.Item) {
	f := start(t, Options{})
	f.create(t, &seguev1.Collection{Name: "tracks", Dimension: 8, Metric: seguev1.Metric_METRIC_COSINE})
	items := randomItems(400, 8)
	rng := rand.New(rand.NewPCG(3, 3))
	for i, it := range items {
		artists := []string{fmt.Sprint("artist", i%20)}
		if i%5 == 0 {
			artists = append(artists, fmt.Sprint("artist", rng.IntN(20)))
		}
		it.Attributes = map[string]*seguev1.AttributeValue{
			"artists": keywords(artists...),
			"plays":   {Kind: &seguev1.AttributeValue_IntValue{IntValue: rng.Int64N(1e6)}},
			"released": {Kind: &seguev1.AttributeValue_TimestampValue{
				TimestampValue: timestamppb.New(time.Date(2020, 1, 1+rng.IntN(2000), 0, 0, 0, 0, time.UTC)),
			}},
		}
	}
	f.upsert(t, "tracks", items...)
	return f, items
}

func ranking() *seguev1.NearestNeighborsRequest {
	return &seguev1.NearestNeighborsRequest{
		Collection: "tracks", Query: byVector(1, 2, 3, 4, 5, 6, 7, 8), NeighborCount: 12, Explain: true,
		Diversity: &seguev1.Diversity{CrowdingLimits: []*seguev1.CrowdingLimit{{Attribute: "artists", MaxPerValue: 1}}, Mmr: 0.3},
		Boosts: []*seguev1.ScoreBoost{
			{Attribute: "plays", Transform: seguev1.BoostTransform_BOOST_TRANSFORM_LOG, Weight: 0.01},
			{Attribute: "released", Transform: seguev1.BoostTransform_BOOST_TRANSFORM_TIME_DECAY, Weight: 0.2, HalfLife: durationpb.New(1000 * time.Hour)},
		},
		Exploration: &seguev1.Exploration{Temperature: 0.02},
		ReadMask:    &fieldmaskpb.FieldMask{Paths: []string{"attributes.artists"}},
	}
}

// TestRankingOverTheWire: everything at once arrives, adds up, and can be repeated with the seed that the answer names.
func TestRankingOverTheWire(t *testing.T) {
	f, _ := listening(t)
	req := ranking()
	first := f.search(t, req)
	if len(first.GetNeighbors()) != 12 || first.GetSearchInfo().GetSeed() == 0 || first.GetSearchInfo().GetCandidateCount() < 100 {
		t.Fatalf("%d neighbors, %v", len(first.GetNeighbors()), first.GetSearchInfo())
	}
	seen := map[string]bool{}
	for _, n := range first.GetNeighbors() {
		for _, a := range n.GetAttributes()["artists"].GetKeywords().GetValues() {
			if seen[a] {
				t.Errorf("%s comes twice", a)
			}
			seen[a] = true
		}
		e := n.GetExplanation()
		sum := float64(n.GetScore()) + e.GetExploration()
		for _, b := range e.GetBoosts() {
			sum += b.GetContribution()
		}
		if len(e.GetBoosts()) != 2 || math.Abs(sum-e.GetRankValue()) > 1e-6 || e.GetCandidateRank() < 1 || n.MatchedExample != nil {
			t.Errorf("%v does not add up to %v", n, sum)
		}
	}
	req.Exploration.Seed = first.GetSearchInfo().GetSeed()
	req.Boosts[1].ReferenceTime = timestamppb.New(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	again, third := f.search(t, req), f.search(t, req)
	if !proto.Equal(again, third) {
		t.Errorf("the same seed and time give another answer:\n%v\n%v", again, third)
	}
}

// TestPagesOverTheWire: pages are the whole, drawn once: the token carries the seed and the clock; a token goes with no other
// request; a write in between does not make the page begin elsewhere.
func TestPagesOverTheWire(t *testing.T) {
	f, items := listening(t)
	req := ranking()
	req.NeighborCount, req.PageSize = 15, 4
	var got []string
	var seed uint64
	for page := 0; ; page++ {
		resp := f.search(t, req)
		if page > 0 && resp.GetSearchInfo().GetSeed() != seed {
			t.Fatal("a page draws anew")
		}
		seed = resp.GetSearchInfo().GetSeed()
		got = append(got, ids(resp.GetNeighbors())...)
		if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
			break
		}
		other := proto.CloneOf(req)
		other.NeighborCount = 14
		_, err := f.retrieval.NearestNeighbors(t.Context(), other)
		refusal{codes.InvalidArgument, "INVALID_PAGE_TOKEN", "page_token"}.check(t, other, err)
		req.Explain, req.ReadMask = false, nil // may change
	}
	sorted := slices.Compact(slices.Sorted(slices.Values(got)))
	if len(got) != 15 || len(sorted) != 15 {
		t.Errorf("pages give %d neighbors, %d different ones", len(got), len(sorted))
	}

	plain := &seguev1.NearestNeighborsRequest{Collection: "tracks", Query: byItem(items[0].GetId()), NeighborCount: 50, PageSize: 10}
	one := f.search(t, plain)
	first := one.GetNeighbors()[0]
	if _, err := f.items.DeleteItem(t.Context(), &seguev1.DeleteItemRequest{Collection: "tracks", ItemId: first.GetItemId()}); err != nil {
		t.Fatal(err)
	}
	plain.PageToken = one.GetNextPageToken()
	two := f.search(t, plain)
	plain.PageToken, plain.PageSize = "", 0
	if want := ids(f.search(t, plain).GetNeighbors())[9:19]; !slices.Equal(ids(two.GetNeighbors()), want) {
		t.Errorf("after a delete the second page is %q, want %q", ids(two.GetNeighbors()), want)
	}
}

// TestExamplesOverTheWire: unresolved ids are listed, examples do not come back unless asked for, and each neighbor says which
// example brought it.
func TestExamplesOverTheWire(t *testing.T) {
	f, items := listening(t)
	req := &seguev1.NearestNeighborsRequest{Collection: "tracks", NeighborCount: 9, Query: byExamples(&seguev1.Examples{
		Positive: []*seguev1.Example{like("gone"), like(items[1].GetId()), like("gone"), near(values(items[2])...)},
		Negative: []*seguev1.Example{like("never")},
		Strategy: seguev1.ExampleStrategy_EXAMPLE_STRATEGY_EACH,
	})}
	resp := f.search(t, req)
	count := map[int32]int{}
	for _, n := range resp.GetNeighbors() {
		count[n.GetMatchedExample()]++
		if n.GetItemId() == items[1].GetId() {
			t.Error("an example came back")
		}
	}
	if got := resp.GetUnresolvedIds(); !slices.Equal(got, []string{"gone", "never"}) {
		t.Errorf("unresolved %q", got)
	}
	if count[1] != 5 || count[3] != 4 { // in turns, the first begins
		t.Errorf("neighbors by example: %v", count)
	}
	req.IncludeSeeds = true
	if got := ids(f.search(t, req).GetNeighbors()); got[0] != items[1].GetId() || got[1] != items[2].GetId() {
		t.Errorf("with seeds: %q", got)
	}

	profile := &seguev1.Profile{UserId: "u", Interests: []*seguev1.Interest{interest(3, values(items[1])...), interest(0, values(items[2])...)}}
	if _, err := f.profiles.UpsertProfile(t.Context(), &seguev1.UpsertProfileRequest{Collection: "tracks", Profile: profile}); err != nil {
		t.Fatal(err)
	}
	stored := f.search(t, &seguev1.NearestNeighborsRequest{Collection: "tracks", NeighborCount: 8, Query: byUser("u")})
	given := f.search(t, &seguev1.NearestNeighborsRequest{Collection: "tracks", NeighborCount: 8, Query: byInterests(profile.GetInterests()...)})
	if !proto.Equal(stored, given) {
		t.Errorf("a stored profile answers otherwise:\n%v\n%v", stored, given)
	}
	clear(count)
	for _, n := range stored.GetNeighbors() {
		count[n.GetMatchedExample()]++
	}
	if count[0] != 6 || count[1] != 2 {
		t.Errorf("neighbors by interest: %v", count)
	}
}

// TestBatchAndStream: the answers of a batch and of a stream are those of single calls, a failed query fails alone.
func TestBatchAndStream(t *testing.T) {
	f, items := listening(t)
	var queries []*seguev1.NearestNeighborsRequest
	for i := range 40 {
		q := &seguev1.NearestNeighborsRequest{Collection: "tracks", Query: byItem(items[i].GetId()), NeighborCount: int32(1 + i)}
		if i%10 == 3 {
			q.Query = byItem("nobody")
		}
		if i%10 == 7 {
			q.NeighborCount = 0
		}
		queries = append(queries, q)
	}
	check := func(i int, got *seguev1.QueryResult) {
		t.Helper()
		single, err := f.retrieval.NearestNeighbors(t.Context(), queries[i])
		if err == nil {
			if !proto.Equal(single, got.GetResponse()) {
				t.Errorf("query %d: %v, alone %v", i, got, single)
			}
			return
		}
		want := &seguev1.QueryError{Code: int32(codes.NotFound), Reason: "ITEM_NOT_FOUND", Message: `item "nobody" not found`}
		if i%10 == 7 {
			want = &seguev1.QueryError{Code: int32(codes.InvalidArgument), Reason: "OUT_OF_RANGE", Field: "neighbor_count", Message: "neighbor_count: must be between 1 and 10000, is 0"}
		}
		if !proto.Equal(got.GetError(), want) {
			t.Errorf("query %d: %v, want %v", i, got.GetError(), want)
		}
	}
	batch := &seguev1.BatchNearestNeighborsRequest{Collection: "tracks"}
	for i, q := range queries {
		q = proto.CloneOf(q)
		if i%2 == 0 {
			q.Collection = "" // that of the batch
		}
		batch.Requests = append(batch.Requests, q)
	}
	resp, err := f.retrieval.BatchNearestNeighbors(t.Context(), batch)
	if err != nil || len(resp.GetResults()) != len(queries) {
		t.Fatalf("%d results, %v", len(resp.GetResults()), err)
	}
	for i, r := range resp.GetResults() {
		check(i, r)
	}

	stream, err := f.retrieval.StreamNearestNeighbors(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sent := make(chan error, 1)
	go func() {
		for i, q := range queries {
			if err := stream.Send(&seguev1.StreamNearestNeighborsRequest{QueryId: fmt.Sprint(i), Request: q}); err != nil {
				sent <- err
				return
			}
		}
		sent <- stream.CloseSend()
	}()
	seen := map[string]bool{}
	for {
		answer, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		var i int
		if _, err := fmt.Sscan(answer.GetQueryId(), &i); err != nil || seen[answer.GetQueryId()] {
			t.Fatalf("query id %q: %v", answer.GetQueryId(), err)
		}
		seen[answer.GetQueryId()] = true
		check(i, answer.GetResult())
	}
	if err := <-sent; err != nil || len(seen) != len(queries) {
		t.Errorf("%d answers, %v", len(seen), err)
	}

	// What is wrong with the stream itself ends it.
	stream, err = f.retrieval.StreamNearestNeighbors(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tooLong := &seguev1.StreamNearestNeighborsRequest{QueryId: fmt.Sprintf("%300d", 1)}
	if err := stream.Send(tooLong); err != nil {
		t.Fatal(err)
	}
	_, err = stream.Recv()
	refusal{codes.InvalidArgument, "TOO_LONG", "query_id"}.check(t, tooLong, err)
}

// TestScoreItems: the scores of a search, in the order asked for, seeds and all.
func TestScoreItems(t *testing.T) {
	f, items := listening(t)
	score := &seguev1.ScoreItemsRequest{
		Collection: "tracks", Query: byItem(items[5].GetId()), ItemIds: []string{items[9].GetId(), "gone", items[5].GetId(), items[9].GetId(), "gone"},
		ReadMask: &fieldmaskpb.FieldMask{Paths: []string{"attributes.plays"}},
	}
	resp, err := f.retrieval.ScoreItems(t.Context(), score)
	if err != nil {
		t.Fatal(err)
	}
	if got := ids(resp.GetItems()); !slices.Equal(got, []string{items[9].GetId(), items[5].GetId(), items[9].GetId()}) ||
		!slices.Equal(resp.GetUnresolvedIds(), []string{"gone"}) || resp.GetRevision() == 0 {
		t.Fatalf("%v", resp)
	}
	all := f.search(t, &seguev1.NearestNeighborsRequest{Collection: "tracks", Query: score.GetQuery(), NeighborCount: 400, SearchEffort: exact(), ReadMask: score.GetReadMask()})
	at := slices.IndexFunc(all.GetNeighbors(), func(n *seguev1.Neighbor) bool { return n.GetItemId() == items[9].GetId() })
	if !proto.Equal(all.GetNeighbors()[at], resp.GetItems()[0]) || math.Abs(float64(resp.GetItems()[1].GetScore())-1) > 1e-6 {
		t.Errorf("scored %v, found %v", resp.GetItems()[0], all.GetNeighbors()[at])
	}
}

// TestExplainOverTheWire: neighbors with their exact ranks; an item that is there, one that is crowded out.
func TestExplainOverTheWire(t *testing.T) {
	f, _ := listening(t)
	req := ranking()
	req.Diversity.Mmr, req.Boosts, req.Exploration = 0, nil, nil
	e, err := f.retrieval.ExplainNeighbors(t.Context(), &seguev1.ExplainNeighborsRequest{Request: req})
	if err != nil {
		t.Fatal(err)
	}
	if n := len(e.GetResponse().GetNeighbors()); n != 12 || len(e.GetExactRanks()) != n || math.Abs(e.GetRecall()-float64(n-len(e.GetMissed()))/float64(n)) > 1e-9 {
		t.Errorf("%d neighbors, ranks %v, %d missed, recall %v", n, e.GetExactRanks(), len(e.GetMissed()), e.GetRecall())
	}
	picked := ids(e.GetResponse().GetNeighbors())
	req.Diversity = nil
	all := ids(f.search(t, req).GetNeighbors())
	req = ranking()
	req.Diversity.Mmr, req.Boosts, req.Exploration = 0, nil, nil
	crowded := slices.IndexFunc(all, func(id string) bool { return !slices.Contains(picked, id) })
	a, err := f.retrieval.ExplainAbsence(t.Context(), &seguev1.ExplainAbsenceRequest{Request: req, ItemId: all[crowded]})
	if err != nil {
		t.Fatal(err)
	}
	if a.GetReason() != seguev1.AbsenceReason_ABSENCE_REASON_CROWDED_OUT || a.GetRank() != int32(crowded+1) || a.GetAttribute() != "artists" || a.GetValue() == "" ||
		len(a.GetCrowdedBy()) != 1 || !slices.Contains(picked, a.GetCrowdedBy()[0]) || a.Score == nil {
		t.Errorf("item %d: %v", crowded+1, a)
	}
	a, err = f.retrieval.ExplainAbsence(t.Context(), &seguev1.ExplainAbsenceRequest{Request: req, ItemId: picked[2]})
	if err != nil || a.GetReason() != seguev1.AbsenceReason_ABSENCE_REASON_PRESENT || a.GetRank() != 3 {
		t.Errorf("%v, %v", a, err)
	}
}
