package server

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/segue-ann/segue/engine"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
	"github.com/segue-ann/segue/server/liverecall"
	"github.com/segue-ann/segue/server/ops"
)

// hardItems are items with normal vectors, which are hard to search, and a few attributes.
func hardItems(n, dim int, seed uint64) []*seguev1.Item {
	r := rand.New(rand.NewPCG(seed, 0))
	items := make([]*seguev1.Item, n)
	for i := range items {
		v := make([]float32, dim)
		for j := range v {
			v[j] = float32(r.NormFloat64())
		}
		items[i] = item(fmt.Sprintf("i%04d", i), v...)
		items[i].Attributes = map[string]*seguev1.AttributeValue{
			"artist": keywords(fmt.Sprint("a", i%40)),
			"even":   {Kind: &seguev1.AttributeValue_BoolValue{BoolValue: i%2 == 0}},
			"plays":  {Kind: &seguev1.AttributeValue_IntValue{IntValue: int64(i % 17)}},
		}
	}
	return items
}

// watched is a server that runs every search again, as fast as it can.
type watched struct {
	*fixture
	metrics *ops.Metrics
}

func watching(t *testing.T, items []*seguev1.Item) *watched {
	t.Helper()
	w := &watched{metrics: ops.NewMetrics()}
	w.fixture = start(t, Options{Metrics: w.metrics, LiveRecall: 1})
	w.create(t, &seguev1.Collection{Name: "tracks", Dimension: int32(len(items[0].GetVector().GetFloats().GetValues())), Metric: seguev1.Metric_METRIC_L2})
	for at := 0; at < len(items); at += 500 {
		w.upsert(t, "tracks", items[at:min(at+500, len(items))]...)
	}
	return w
}

// seen returns how many searches were run again, and the sum of their recall, of the series whose labels contain text.
func (w *watched) seen(t *testing.T, text string) (count uint64, sum float64) {
	t.Helper()
	families, err := w.metrics.Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "segue_live_recall_ratio" {
			continue
		}
		for _, m := range f.GetMetric() {
			if strings.Contains(fmt.Sprint(m.GetLabel()), text) {
				count += m.GetHistogram().GetSampleCount()
				sum += m.GetHistogram().GetSampleSum()
			}
		}
	}
	return count, sum
}

// until waits for a condition.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(hang); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("%s: not after %v", what, hang)
		}
		runtime.Gosched()
	}
}

// measured asks one query and returns the recall that was measured of it.
func (w *watched) measured(t *testing.T, req *seguev1.NearestNeighborsRequest) float64 {
	t.Helper()
	until(t, "a sampler that wants a search", w.server.recall.Wants)
	n, sum := w.seen(t, "")
	w.search(t, req)
	var after float64
	until(t, "a measurement", func() bool {
		var m uint64
		m, after = w.seen(t, "")
		return m > n
	})
	return after - sum
}

// overlap asks a query as it is and exactly, and returns the share of the exact answer that the other has.
func (w *watched) overlap(t *testing.T, req *seguev1.NearestNeighborsRequest) float64 {
	t.Helper()
	exactly := proto.CloneOf(req)
	exactly.SearchEffort = exact()
	got, want, hits := ids(w.search(t, req).GetNeighbors()), ids(w.search(t, exactly).GetNeighbors()), 0
	for _, id := range want {
		if slices.Contains(got, id) {
			hits++
		}
	}
	return float64(hits) / float64(len(want))
}

// TestLiveRecallIsThatOfAnOfflineMeasurement: of the same queries with the same beam, live recall is what MeasureRecall says.
func TestLiveRecallIsThatOfAnOfflineMeasurement(t *testing.T) {
	if testing.Short() {
		t.Skip("hundreds of searches, one after the other")
	}
	items := hardItems(1000, 48, 1)
	w := watching(t, items)
	const k, ef, queries = 10, 14, 400
	offline, err := w.admin.MeasureRecall(t.Context(), &seguev1.MeasureRecallRequest{Collection: "tracks", NeighborCount: k, QueryCount: int32(len(items)), Efs: []int32{ef}})
	if err != nil {
		t.Fatal(err)
	}
	ids := rand.New(rand.NewPCG(2, 0)).Perm(len(items))[:queries]
	sampled := 0.0
	for _, i := range ids {
		sampled += w.measured(t, &seguev1.NearestNeighborsRequest{
			Collection: "tracks", Query: byItem(items[i].GetId()), NeighborCount: k, SearchEffort: &seguev1.SearchEffort{Effort: &seguev1.SearchEffort_Ef{Ef: ef}},
		})
	}
	n, sum := w.seen(t, "")
	live, truth := sum/float64(n), offline.GetPoints()[0].GetRecall()
	t.Logf("live recall %.4f of %d searches, offline %.4f of %d", live, n, truth, offline.GetQueryCount())
	if n != queries || max(sampled-sum, sum-sampled) > 1e-9 {
		t.Errorf("%d searches measured, want %d", n, queries)
	}
	if truth > 0.97 {
		t.Fatalf("recall %.4f is too good to be told from 1", truth)
	}
	if d := live - truth; max(d, -d) > 0.01 {
		t.Errorf("live recall %.4f, offline %.4f", live, truth)
	}
}

// TestLiveRecallRunsTheSameQuery: with filters, exclusions, limits, boosts, chance, examples and pages the measured recall is the
// share of the answer to the same request with an exact search.
func TestLiveRecallRunsTheSameQuery(t *testing.T) {
	if testing.Short() {
		t.Skip("a collection of thousands")
	}
	w := watching(t, hardItems(3000, 24, 3))
	base := &seguev1.NearestNeighborsRequest{
		Collection: "tracks", Query: byItem("i0001"), NeighborCount: 10, SearchEffort: &seguev1.SearchEffort{Effort: &seguev1.SearchEffort_Ef{Ef: 14}},
	}
	lower := 0
	for _, c := range []struct {
		name, labels string
		change       func(*seguev1.NearestNeighborsRequest)
	}{
		{"plain", `value:"ef"`, func(*seguev1.NearestNeighborsRequest) {}},
		{"default effort", `value:"default"`, func(r *seguev1.NearestNeighborsRequest) { r.SearchEffort = nil }},
		{"filter", `value:"graph_filtered"`, func(r *seguev1.NearestNeighborsRequest) { r.FilterExpression = "plays > 0" }},
		{"exclusions", `value:"ef"`, func(r *seguev1.NearestNeighborsRequest) {
			r.Exclusions = &seguev1.Exclusions{ItemIds: []string{"i0002", "i0003", "i0004", "i0005"}}
		}},
		{"crowding", `value:"score"`, func(r *seguev1.NearestNeighborsRequest) {
			r.Diversity = &seguev1.Diversity{CrowdingLimits: []*seguev1.CrowdingLimit{{Attribute: "artist", MaxPerValue: 1}}}
		}},
		{"mmr", `value:"ranked"`, func(r *seguev1.NearestNeighborsRequest) {
			r.Diversity = &seguev1.Diversity{Mmr: 0.5}
			r.CandidateCount = 20
		}},
		{"boosts", `value:"ranked"`, func(r *seguev1.NearestNeighborsRequest) {
			r.Boosts = []*seguev1.ScoreBoost{{Attribute: "plays", Transform: seguev1.BoostTransform_BOOST_TRANSFORM_LINEAR, Weight: 0.5}}
			r.CandidateCount = 20
		}},
		{"exploration", `value:"ranked"`, func(r *seguev1.NearestNeighborsRequest) {
			r.Exploration = &seguev1.Exploration{Temperature: 1, Seed: 7}
			r.CandidateCount = 20
		}},
		{"examples", `value:"ranked"`, func(r *seguev1.NearestNeighborsRequest) {
			r.Query = &seguev1.Query{Form: &seguev1.Query_Examples{Examples: &seguev1.Examples{
				Strategy: seguev1.ExampleStrategy_EXAMPLE_STRATEGY_EACH,
				Positive: []*seguev1.Example{{Example: &seguev1.Example_ItemId{ItemId: "i0001"}}, {Example: &seguev1.Example_ItemId{ItemId: "i0002"}}},
			}}}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			req := proto.CloneOf(base)
			c.change(req)
			for i := range 10 {
				if _, ok := req.GetQuery().GetForm().(*seguev1.Query_ItemId); ok {
					req.Query = byItem(fmt.Sprintf("i%04d", 10*i+1))
				}
				got, want := w.measured(t, req), w.overlap(t, req)
				if d := got - want; max(d, -d) > 1e-9 {
					t.Errorf("query %d: recall %v, want %v", i, got, want)
				}
				if got < 1 {
					lower++
				}
			}
			if n, _ := w.seen(t, c.labels); n == 0 {
				t.Errorf("no series with %s", c.labels)
			}
		})
	}
	if lower < 10 {
		t.Errorf("only %d of the searches missed anything: the test shows little", lower)
	}
	page := proto.CloneOf(base)
	page.PageSize = 4
	if got := w.measured(t, page); got < 0 || got > 1 {
		t.Errorf("a page has recall %v", got)
	}
	// An exact search has nothing to tell.
	until(t, "a sampler that wants a search", w.server.recall.Wants)
	exactly := proto.CloneOf(base)
	exactly.SearchEffort = exact()
	w.search(t, exactly)
	if !w.server.recall.Wants() {
		t.Error("an exact search was taken")
	}
}

// TestLiveRecallUnderWrites: what changes between a search and its second run is not the search's fault.
func TestLiveRecallUnderWrites(t *testing.T) {
	f := start(t, Options{})
	items := hardItems(300, 8, 4)
	f.create(t, &seguev1.Collection{Name: "tracks", Dimension: 8, Metric: seguev1.Metric_METRIC_L2})
	f.upsert(t, "tracks", items...)
	c, err := f.engine.Collection("tracks")
	if err != nil {
		t.Fatal(err)
	}
	s := &retrievalService{&backend{engine: f.engine, limits: f.engine.Limits(), metrics: ops.NewMetrics()}}
	query := items[7].GetVector().GetFloats().GetValues()
	req := &seguev1.NearestNeighborsRequest{Collection: "tracks", Query: byVector(query...), NeighborCount: 10}
	search, err := s.decodeSearch(req, c)
	if err != nil {
		t.Fatal(err)
	}
	search.Exact = true // a complete answer
	result, err := c.Search(t.Context(), search)
	if err != nil {
		t.Fatal(err)
	}
	m := &remeasure{collection: c, request: req, served: foundOf(result.Neighbors), info: result.Info, plan: "graph"}
	recall := func() float64 {
		t.Helper()
		r, err := s.recallOf(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		return r.Share
	}
	if got := recall(); got != 1 {
		t.Errorf("recall %v of a complete answer", got)
	}
	m.served = m.served[1:]
	if got := recall(); got != 0.9 {
		t.Errorf("recall %v where one of ten is missing", got)
	}
	m.served = foundOf(result.Neighbors)
	// New items beside the query, and some of the answer deleted.
	f.upsert(t, "tracks", item("new1", query...), item("new2", query...))
	for _, n := range result.Neighbors[2:5] {
		if _, err := f.items.DeleteItem(t.Context(), &seguev1.DeleteItemRequest{Collection: "tracks", ItemId: n.ItemID}); err != nil {
			t.Fatal(err)
		}
	}
	if got := recall(); got != 1 {
		t.Errorf("recall %v after writes", got)
	}
	m.info.Release++
	if _, err := s.recallOf(t.Context(), m); !errors.Is(err, errReplaced) {
		t.Errorf("another release: %v", err)
	}
	// Whatever goes wrong is counted, not measured.
	s.remeasure(t.Context(), m)
	m.info.Release--
	m.request = &seguev1.NearestNeighborsRequest{Collection: "tracks", Query: byItem("gone"), NeighborCount: 10}
	s.remeasure(t.Context(), m)
	m.request = req
	late, cancel := context.WithTimeout(t.Context(), -1)
	defer cancel()
	s.remeasure(late, m)
	for reason := range map[string]int{ops.RecallReplaced: 1, ops.RecallFailed: 1, ops.RecallTimeout: 1} {
		if !hasSeries(t, s.metrics, "segue_live_recall_skipped_total", reason, 1) {
			t.Errorf("no count of %s", reason)
		}
	}
}

// hasSeries says whether a counter with a label of that value has that value.
func hasSeries(t *testing.T, m *ops.Metrics, name, label string, want float64) bool {
	t.Helper()
	families, err := m.Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, s := range f.GetMetric() {
			if f.GetName() == name && (label == "" || strings.Contains(fmt.Sprint(s.GetLabel()), `"`+label+`"`)) && s.GetCounter().GetValue() == want {
				return true
			}
		}
	}
	return false
}

// TestLiveRecallCostsNothingWhereItIsOff, and next to nothing where nothing is wanted.
func TestLiveRecallCostsNothingWhereItIsOff(t *testing.T) {
	s := &retrievalService{&backend{}}
	result, info := &engine.SearchResult{}, &seguev1.SearchInfo{}
	if n := testing.AllocsPerRun(100, func() { s.sampleRecall(nil, nil, result, info) }); n > 0 {
		t.Errorf("off: %v allocations", n)
	}
	sampler, err := liverecall.New(liverecall.Options{Share: 0.01, Pressed: func() bool { return true }})
	if err != nil {
		t.Fatal(err)
	}
	defer sampler.Close()
	s.recall = sampler
	if n := testing.AllocsPerRun(100, func() { s.sampleRecall(nil, nil, result, info) }); n > 0 {
		t.Errorf("nothing wanted: %v allocations", n)
	}
}
