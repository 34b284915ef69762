package engine

import (
	"context"
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync/atomic"
	"testing"
)

// cut is a context that is cancelled from the n-th look at it on.
type cut struct {
	context.Context
	n     int64
	looks atomic.Int64
}

func (c *cut) Err() error {
	if c.looks.Add(1) >= c.n {
		return context.Canceled
	}
	return nil
}

func (c *cut) Done() <-chan struct{} {
	if c.Err() == nil {
		return nil
	}
	done := make(chan struct{})
	close(done)
	return done
}

// studies are the calls that look at a whole collection for people.
func studies(c *Collection) map[string]func(ctx context.Context) (any, error) {
	rng := rand.New(rand.NewPCG(51, 1))
	v := randomVector(rng, herdDim)
	return map[string]func(ctx context.Context) (any, error){
		"recall": func(ctx context.Context) (any, error) {
			points, n, err := c.MeasureRecall(ctx, RecallRequest{K: 5, Queries: 3, Efs: []int{5, 50}, Seed: 1})
			return []any{points, n}, err
		},
		"hubs": func(ctx context.Context) (any, error) {
			return c.ListHubs(ctx, HubsRequest{K: 5, Queries: 3, Most: 10, Seed: 1})
		},
		"explained": func(ctx context.Context) (any, error) {
			return c.ExplainNeighbors(ctx, SearchRequest{Query: Query{Vector: v}, K: 5})
		},
		"explained, crowded": func(ctx context.Context) (any, error) {
			return c.ExplainNeighbors(ctx, SearchRequest{Query: Query{Vector: v}, K: 5, Crowding: []CrowdingLimit{{"artist", 1}}})
		},
		"absent": func(ctx context.Context) (any, error) {
			return c.ExplainAbsence(ctx, SearchRequest{Query: Query{ItemID: "t007"}, K: 5}, "t300")
		},
		"absent, examples": func(ctx context.Context) (any, error) {
			return c.ExplainAbsence(ctx, SearchRequest{K: 5, Query: Query{Examples: &Examples{Strategy: BestScore,
				Positive: []Example{{ItemID: "t001"}, {ItemID: "t002"}}, Negative: []Example{{ItemID: "t003"}}}}}, "t300")
		},
	}
}

// At whatever look its context ends, a study ends with that error or is whole by then, holds nothing, and says the same as ever when it
// is asked again.
func TestStudiesEndWithTheirContext(t *testing.T) {
	h := newHerd(t, L2)
	for name, ask := range studies(h.c) {
		want, err := ask(t.Context())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		n, ended := int64(1), int64(0)
		for ; ; n++ {
			ctx := &cut{Context: t.Context(), n: n}
			got, err := ask(ctx)
			if ctx.looks.Load() < n {
				if err != nil || !reflect.DeepEqual(got, want) {
					t.Errorf("%s, not cancelled: %+v, %v, want %+v", name, got, err, want)
				}
				break
			}
			switch {
			case errors.Is(err, context.Canceled):
				ended++
			case err != nil || !reflect.DeepEqual(got, want):
				t.Fatalf("%s, cancelled at look %d: %+v, %v", name, n, got, err)
			}
		}
		if n < 3 || ended < (n-1)/2 {
			t.Errorf("%s looked at its context %d times, and ended at %d of them", name, n-1, ended)
		}
	}
	if err := h.c.published.Load().index.Check(); err != nil {
		t.Error(err)
	}
}

// Every bound of what a study may be asked is told by field, all that are broken at once, and before anything is searched.
func TestStudiesRefuse(t *testing.T) {
	c := newTestCollection(t, 3, L2)
	mustUpsert(t, c, randomItems(rand.New(rand.NewPCG(2, 2)), 20, 3)...)
	maxEf := c.engine.opts.Limits.MaxEf
	recall := func(r RecallRequest) func() error {
		return func() error { _, _, err := c.MeasureRecall(t.Context(), r); return err }
	}
	hubs := func(r HubsRequest) func() error {
		return func() error { _, err := c.ListHubs(t.Context(), r); return err }
	}
	report := func(sample int) func() error {
		return func() error { _, err := c.ReleaseReport(t.Context(), 0, sample); return err }
	}
	absence := func(r SearchRequest, id string) func() error {
		return func() error { _, err := c.ExplainAbsence(t.Context(), r, id); return err }
	}
	near := SearchRequest{Query: Query{Vector: []float32{1, 2, 3}}, K: 1}
	for _, tc := range []struct {
		name string
		call func() error
		want []string // none: it is answered
	}{
		{"recall", recall(RecallRequest{K: 1, Queries: 1}), nil},
		{"recall at the bounds", recall(RecallRequest{K: maxMeasureK, Queries: maxMeasureQueries, Efs: []int{1, maxEf}}), nil},
		{"no k", recall(RecallRequest{Queries: 1}), []string{"k OUT_OF_RANGE"}},
		{"nothing at all", recall(RecallRequest{}), []string{"k OUT_OF_RANGE", "queries OUT_OF_RANGE"}},
		{"too much of all", recall(RecallRequest{K: maxMeasureK + 1, Queries: maxMeasureQueries + 1, Efs: []int{0, maxEf + 1}}),
			[]string{"k OUT_OF_RANGE", "queries OUT_OF_RANGE", "efs OUT_OF_RANGE", "efs OUT_OF_RANGE"}},
		{"too many efs", recall(RecallRequest{K: 1, Queries: 1, Efs: slices.Repeat([]int{10}, maxMeasureEfs+1)}), []string{"efs OUT_OF_RANGE"}},
		{"efs as many as may be", recall(RecallRequest{K: 1, Queries: 1, Efs: slices.Repeat([]int{10}, maxMeasureEfs)}), nil},
		{"hubs", hubs(HubsRequest{K: 1, Queries: 1, Most: maxListed}), nil},
		{"hubs of nothing", hubs(HubsRequest{}), []string{"k OUT_OF_RANGE", "queries OUT_OF_RANGE", "most OUT_OF_RANGE"}},
		{"hubs of too much", hubs(HubsRequest{K: -1, Queries: 1, Most: maxListed + 1}), []string{"k OUT_OF_RANGE", "most OUT_OF_RANGE"}},
		{"report", report(0), nil},
		{"report of too many", report(MaxReportSample + 1), []string{"sample OUT_OF_RANGE"}},
		{"report of less than none", report(-1), []string{"sample OUT_OF_RANGE"}},
		{"absence", absence(near, "stranger"), nil},
		{"absence of no item", absence(near, ""), []string{"item_id FIELD_REQUIRED"}},
		{"absence from no answer", absence(SearchRequest{Query: near.Query}, "stranger"), []string{"k OUT_OF_RANGE"}},
	} {
		err := tc.call()
		if tc.want == nil {
			if err != nil {
				t.Errorf("%s: %v", tc.name, err)
			}
			continue
		}
		if got := reasons(t, err); !slices.Equal(got, tc.want) {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
	for name, call := range map[string]func() error{
		"absence beside an item that is not there": absence(SearchRequest{Query: Query{ItemID: "nobody"}, K: 1}, "stranger"),
		"explanation of a user who is not there": func() error {
			_, err := c.ExplainNeighbors(t.Context(), SearchRequest{Query: Query{UserID: "nobody"}, K: 1})
			return err
		},
		"report of a release that is not there": func() error { _, err := c.ReleaseReport(t.Context(), 99, 1); return err },
	} {
		if err := call(); !errors.As(err, new(*NotFoundError)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := c.engine.Close(); err != nil {
		t.Fatal(err)
	}
	for name, ask := range map[string]func() error{
		"recall": recall(RecallRequest{K: 1, Queries: 1}), "hubs": hubs(HubsRequest{K: 1, Queries: 1, Most: 1}),
		"report": report(1), "absence": absence(near, "stranger"),
	} {
		if err := ask(); !errors.Is(err, ErrClosed) {
			t.Errorf("%s of a closed engine: %v", name, err)
		}
	}
}
