package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/segue-ann/segue/internal/invariants"
)

// notUnderRace skips a test that searches a lot and one after another: it takes minutes under the race detector, which has
// other tests (TestCloseWhileCalibrating, for one).
func notUnderRace(t *testing.T) {
	t.Helper()
	if invariants.Race {
		t.Skip("too slow under the race detector")
	}
}

// groups makes items around centers, groups that overlap, and queries that are none of them.
func groups(rng *rand.Rand, n, queries, dim int) (items []Item, asked [][]float32) {
	centers := make([][]float32, 30)
	for i := range centers {
		centers[i] = randomVector(rng, dim)
	}
	near := func() []float32 {
		v := slices.Clone(centers[rng.IntN(len(centers))])
		for i := range v {
			v[i] += 1.5 * float32(rng.NormFloat64())
		}
		return v
	}
	for i := range n {
		items = append(items, Item{
			ID: fmt.Sprintf("track-%05d", i), Vector: near(),
			Attributes: Attributes{{Name: "n", Value: Value{Type: Int, Int: int64(i)}}},
		})
	}
	for range queries {
		asked = append(asked, near())
	}
	return items, asked
}

// calibrate asks for a recall, and returns once it is known what beams reach.
func calibrate(t testing.TB, c *Collection) {
	t.Helper()
	if _, err := c.Search(t.Context(), SearchRequest{Query: Query{Vector: oneHot(c.cfg.Dim)}, K: 10, TargetRecall: 0.9}); err != nil {
		t.Fatal(err)
	}
	c.published.Load().background.Wait()
}

func oneHot(dim int) []float32 {
	v := make([]float32, dim)
	v[0] = 1
	return v
}

// recallOf is the mean recall of requests that differ in their query, against exact searches, and what was said of them.
func recallOf(t testing.TB, c *Collection, req SearchRequest, queries [][]float32) (recall float64, info SearchInfo) {
	t.Helper()
	hits, wanted := 0, 0
	for _, q := range queries {
		req.Query = Query{Vector: q}
		got, err := c.Search(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		exactly := req
		exactly.Exact, exactly.TargetRecall = true, 0
		truth, err := c.Search(t.Context(), exactly)
		if err != nil || truth.Info.ExpectedRecall != 1 {
			t.Fatalf("%+v, %v", truth.Info, err)
		}
		wanted += len(truth.Neighbors)
		for _, n := range truth.Neighbors {
			if slices.ContainsFunc(got.Neighbors, func(g Neighbor) bool { return g.ItemID == n.ItemID }) {
				hits++
			}
		}
		info = got.Info
	}
	return float64(hits) / float64(wanted), info
}

// TestTargetRecall: before the first request nothing is known, and said; then held-out queries reach every target, less .01,
// filtered or not, and a lower one is less work.
func TestTargetRecall(t *testing.T) {
	notUnderRace(t)
	const n, dim, k = 5000, 32, 10
	for _, metric := range []Metric{Cosine, InnerProduct, L2} {
		t.Run(fmt.Sprint(metric), func(t *testing.T) {
			items, queries := groups(rand.New(rand.NewPCG(5, 11)), n, 300, dim)
			c := newTestCollection(t, dim, metric)
			for _, it := range items { // one at a time: the same graph on every run
				mustUpsert(t, c, it)
			}
			first, err := c.Search(t.Context(), SearchRequest{Query: Query{Vector: queries[0]}, K: k, TargetRecall: 0.9})
			if err != nil || first.Info.Plan != PlanGraph || first.Info.EfUsed != safeEf || first.Info.ExpectedRecall != 0 {
				t.Fatalf("not calibrated: %+v, %v", first.Info, err)
			}
			c.published.Load().background.Wait()
			for _, expression := range []string{"", "n < 4000", "n < 2000"} {
				f, err := c.ParseFilter(expression)
				if err != nil {
					t.Fatal(err)
				}
				name := "filter " + strconv.Quote(expression)
				first, last := 0, 0
				for _, target := range []float64{0.8, 0.9, 0.95, 0.99} {
					recall, info := recallOf(t, c, SearchRequest{K: k, TargetRecall: target, Filter: f}, queries)
					t.Logf("%s, target %g: recall %.4f with ef %d, %d distances", name, target, recall, info.EfUsed, info.Distances)
					if recall < target-0.01 || info.ExpectedRecall != target && info.ExpectedRecall != 1 {
						t.Errorf("%s: recall %.4f for %g, expecting %g", name, recall, target, info.ExpectedRecall)
					}
					if info.Plan != PlanExact && (info.EfUsed < last || info.EfUsed > safeEf) {
						t.Errorf("%s: ef %d for %g, %d for less", name, info.EfUsed, target, last)
					}
					if last = info.EfUsed; first == 0 {
						first = last
					}
				}
				if f == nil && last <= first {
					t.Errorf("%s: ef %d for the lowest target, %d for the highest", name, first, last)
				}
			}
			all, info := recallOf(t, c, SearchRequest{K: k, TargetRecall: 1}, queries[:3])
			if all != 1 || info.Plan != PlanExact || info.ExpectedRecall != 1 || info.Distances != n {
				t.Errorf("target 1: recall %g, %+v", all, info)
			}
		})
	}
}

// TestTargetRecallOfRanked: limits, boosts and partial answers keep to the target; several query vectors promise nothing.
func TestTargetRecallOfRanked(t *testing.T) {
	notUnderRace(t)
	const dim, k = 16, 10
	items, queries := groups(rand.New(rand.NewPCG(7, 11)), 4000, 60, dim)
	for i := range items {
		artist := fmt.Sprint(i % 700)
		items[i].Attributes = append(items[i].Attributes, Attribute{Name: "artists", Value: Value{Type: Keyword, Keywords: []string{artist}}})
	}
	c := newTestCollection(t, dim, L2)
	mustUpsert(t, c, items...)
	calibrate(t, c)
	for name, req := range map[string]SearchRequest{
		"crowding": {Crowding: []CrowdingLimit{{Attribute: "artists", Most: 1}}},
		"boosts":   {Boosts: []Boost{{Attribute: "n", Transform: Linear, Weight: 1e-6}}, Candidates: 30},
		"partial":  {AllowPartial: true},
	} {
		req.K, req.TargetRecall = k, 0.95
		recall, info := recallOf(t, c, req, queries)
		if recall < 0.94 || info.ExpectedRecall < 0.95 || info.Plan != PlanGraph {
			t.Errorf("%s: recall %.4f, %+v", name, recall, info)
		}
	}
	several := SearchRequest{Query: Query{Interests: []Interest{{Vector: queries[0]}, {Vector: queries[1]}}}, K: k, TargetRecall: 0.9}
	if r, err := c.Search(t.Context(), several); err != nil || len(r.Neighbors) != k || r.Info.ExpectedRecall != 0 {
		t.Errorf("several interests: %+v, %v", r.Info, err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.Search(ended, several); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	for _, explained := range []func() error{
		func() error {
			e, err := c.ExplainNeighbors(t.Context(), SearchRequest{Query: Query{Vector: queries[0]}, K: k, TargetRecall: 0.9})
			if err == nil && e.Recall < 0.5 {
				t.Errorf("recall %g", e.Recall)
			}
			return err
		},
		func() error {
			_, err := c.ExplainAbsence(t.Context(), SearchRequest{Query: Query{Vector: queries[0]}, K: k, TargetRecall: 0.9}, items[0].ID)
			return err
		},
	} {
		if err := explained(); err != nil {
			t.Error(err)
		}
	}
}

// TestCalibrationLifetime: it is the same when made again; stale once a fifth has changed, and then renewed; gone after a
// restart, and made anew.
func TestCalibrationLifetime(t *testing.T) {
	notUnderRace(t)
	const dim = 8
	items, queries := groups(rand.New(rand.NewPCG(3, 11)), 4000, 1, dim)
	fs := vfs.NewMem()
	e := open(t, "store", testOptions(fs))
	c, err := e.CreateCollection(t.Context(), CollectionConfig{Name: "tracks", Dim: dim, Metric: L2})
	if err != nil {
		t.Fatal(err)
	}
	ask := func(c *Collection) SearchInfo {
		t.Helper()
		r, err := c.Search(t.Context(), SearchRequest{Query: Query{Vector: queries[0]}, K: 10, TargetRecall: 0.9})
		if err != nil {
			t.Fatal(err)
		}
		return r.Info
	}
	mustUpsert(t, c, items[:1500]...)
	if info := ask(c); info.Plan != PlanExact || info.ExpectedRecall != 1 || info.Distances != 1500 {
		t.Errorf("a scan is less work: %+v", info)
	}
	r := c.published.Load()
	if r.background.Wait(); r.calibrated.newest.Load() != nil {
		t.Error("a small release was calibrated")
	}
	mustUpsert(t, c, items[1500:3000]...)
	calibrate(t, c)
	known := r.calibrated.newest.Load()
	again, err := r.measureCalibration(t.Context())
	if err != nil || !bytes.Equal(r.index.AppendCalibration(nil, known), r.index.AppendCalibration(nil, again)) {
		t.Errorf("another calibration: %v", err)
	}
	if info := ask(c); info.ExpectedRecall != 0.9 || info.EfUsed >= safeEf {
		t.Errorf("calibrated: %+v", info)
	}
	mustUpsert(t, c, items[3000:]...)
	if info := ask(c); info.ExpectedRecall != 0 || info.EfUsed < safeEf {
		t.Errorf("stale: %+v", info)
	}
	for i := range items[:100] { // while it is made anew
		items[i].Vector = slices.Clone(items[i+100].Vector)
	}
	mustUpsert(t, c, items[:100]...)
	if r.background.Wait(); r.calibrated.newest.Load() == known {
		t.Error("stale, and not made anew")
	}
	if info := ask(c); info.ExpectedRecall != 0.9 {
		t.Errorf("made anew: %+v", info)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	c, err = open(t, "store", testOptions(fs)).Collection("tracks")
	if err != nil {
		t.Fatal(err)
	}
	if info := ask(c); info.ExpectedRecall != 0 {
		t.Errorf("after a restart: %+v", info)
	}
	c.published.Load().background.Wait()
	if info := ask(c); info.ExpectedRecall != 0.9 {
		t.Errorf("after a restart, calibrated: %+v", info)
	}
}

// TestCloseWhileCalibrating: closing ends the calibration, leaves nothing behind (see TestMain), and frees the engine for others.
func TestCloseWhileCalibrating(t *testing.T) {
	const dim = 8
	items, _ := groups(rand.New(rand.NewPCG(1, 11)), 3000, 0, dim)
	e := open(t, "store", testOptions(vfs.NewMem()))
	for _, name := range []string{"a", "b"} {
		c, err := e.CreateCollection(t.Context(), CollectionConfig{Name: name, Dim: dim, Metric: Cosine})
		if err != nil {
			t.Fatal(err)
		}
		mustUpsert(t, c, items...)
		r := c.published.Load()
		if name == "a" {
			r.cancel()
			calibrate(t, c)
			if r.calibrated.newest.Load() != nil || r.calibrated.failed.Load() || e.calibrating.Load() {
				t.Error("it did not end as it should")
			}
		}
		if _, err := c.Search(t.Context(), SearchRequest{Query: Query{Vector: oneHot(dim)}, K: 10, TargetRecall: 0.9}); err != nil {
			t.Fatal(err)
		}
		for i := range items[:100] { // beside the calibration
			items[i].Vector = items[i+100].Vector
			mustUpsert(t, c, items[i])
		}
		if err := e.DeleteCollection(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		if e.calibrating.Load() {
			t.Error("closed before the calibration had ended")
		}
	}
}

// TestBadTargets: what is no share, and two efforts at once.
func TestBadTargets(t *testing.T) {
	c := newTestCollection(t, 2, L2)
	for name, req := range map[string]SearchRequest{
		"negative": {TargetRecall: -0.5}, "above 1": {TargetRecall: 1.001}, "NaN": {TargetRecall: math.NaN()}, "infinite": {TargetRecall: math.Inf(1)},
		"with ef": {TargetRecall: 0.9, Ef: 10}, "with exact": {TargetRecall: 0.9, Exact: true},
	} {
		req.Query, req.K = Query{Vector: []float32{1, 2}}, 1
		_, err := c.Search(t.Context(), req)
		var invalid *InvalidError
		if !errors.As(err, &invalid) || len(invalid.Violations) != 1 || invalid.Violations[0].Field != "target_recall" {
			t.Errorf("%s: %v", name, err)
		}
	}
}
