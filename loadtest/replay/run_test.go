package replay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// queries gives n queries for items "0", "1", ...
func queries(n int) func() (*seguev1.NearestNeighborsRequest, error) {
	i := 0
	return func() (*seguev1.NearestNeighborsRequest, error) {
		if i == n {
			return nil, io.EOF
		}
		i++
		return &seguev1.NearestNeighborsRequest{Query: &seguev1.Query{Form: &seguev1.Query_ItemId{ItemId: fmt.Sprint(i - 1)}}}, nil
	}
}

type answers [][]*seguev1.Neighbor

// target answers query n with its n-th list, and fails where that is nil.
func (a answers) target(name string) Target {
	return Target{Name: name, Ask: func(_ context.Context, n int, req *seguev1.NearestNeighborsRequest) (*seguev1.NearestNeighborsResponse, error) {
		if req.GetQuery().GetItemId() != fmt.Sprint(n) {
			return nil, status.Error(codes.Internal, "not the n-th query")
		}
		if a[n] == nil {
			return nil, status.Error(codes.NotFound, "gone")
		}
		return &seguev1.NearestNeighborsResponse{Neighbors: a[n]}, nil
	}}
}

func random(r *rand.Rand, n int) answers {
	out := make(answers, n)
	for i := range out {
		if r.IntN(10) == 0 {
			continue
		}
		out[i] = []*seguev1.Neighbor{}
		for _, item := range r.Perm(15)[:r.IntN(11)] {
			out[i] = append(out[i], &seguev1.Neighbor{ItemId: fmt.Sprint(item), Score: r.Float32()})
		}
	}
	return out
}

// TestReportIsWhatTheAnswersSay, by counting over again.
func TestReportIsWhatTheAnswersSay(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for round := range 20 {
		n := r.IntN(60)
		a, b := random(r, n), random(r, n)
		if round%2 == 0 {
			for i := range b {
				if r.IntN(2) == 0 {
					b[i] = a[i]
				}
			}
		}
		tb := b.target("b")
		var told atomic.Int64
		got, err := Run(t.Context(), queries(n), a.target("a"), &tb, Options{Workers: 1 + r.IntN(8)},
			func(i int, m *seguev1.NearestNeighborsResponse, err error) {
				told.Add(1)
				if (err != nil) != (a[i] == nil) || len(m.GetNeighbors()) != len(a[i]) {
					t.Errorf("told of query %d: %v, %v", i, m, err)
				}
			})
		if err != nil {
			t.Fatal(err)
		}
		want := &Report{}
		overlaps := map[int]float64{}
		for i := range a {
			if a[i] == nil || b[i] == nil {
				continue
			}
			want.Compared++
			same, overlap := len(a[i]) == len(b[i]), 0.0
			for j, x := range a[i] {
				same = same && x.GetItemId() == b[i][j].GetItemId()
				for _, y := range b[i] {
					if x.GetItemId() == y.GetItemId() {
						overlap++
						want.Common++
						d := float64(x.GetScore()) - float64(y.GetScore())
						want.MeanScoreDifference += max(d, -d)
						want.MaxScoreDifference = max(want.MaxScoreDifference, d, -d)
					}
				}
			}
			if longer := max(len(a[i]), len(b[i])); longer > 0 {
				overlap /= float64(longer)
			} else {
				overlap = 1
			}
			if same {
				want.Identical++
			}
			want.Overlap += overlap
			if overlap < 1 {
				overlaps[i] = overlap
			}
		}
		want.finish()
		if got.Queries != n || int(told.Load()) != n || got.Compared != want.Compared || got.Identical != want.Identical || got.Common != want.Common ||
			!near(got.Overlap, want.Overlap) || !near(got.MeanScoreDifference, want.MeanScoreDifference) || got.MaxScoreDifference != want.MaxScoreDifference {
			t.Errorf("report %+v, want %+v", got, want)
		}
		if len(got.Worst) != min(worst, len(overlaps)) {
			t.Errorf("%d queries are named, %d differ", len(got.Worst), len(overlaps))
		}
		for i, d := range got.Worst {
			if d.Overlap != overlaps[d.Query] || d.Request.GetQuery().GetItemId() != fmt.Sprint(d.Query) || i > 0 && d.Overlap < got.Worst[i-1].Overlap {
				t.Errorf("difference %d: %+v", i, d)
			}
			delete(overlaps, d.Query)
		}
		for i, o := range overlaps {
			if o < got.Worst[len(got.Worst)-1].Overlap {
				t.Errorf("query %d of overlap %v is not among the worst", i, o)
			}
		}
		for side, list := range map[*Side]answers{got.A: a, got.B: b} {
			gone := 0
			for i := range list {
				if list[i] == nil {
					gone++
				}
			}
			if side.Codes["NotFound"] != gone || side.Codes["OK"] != n-gone || side.Latency.TotalCount() != int64(n-gone) {
				t.Errorf("%s: %v, %d failed of %d", side.Name, side.Codes, gone, n)
			}
		}
	}
}

func near(a, b float64) bool { return max(a-b, b-a) < 1e-9 }

// TestBounds: a run ends at its count, at its duration, at the end of the log, at an error of the log, and with its context.
func TestBounds(t *testing.T) {
	empty := Target{Name: "a", Ask: func(ctx context.Context, _ int, _ *seguev1.NearestNeighborsRequest) (*seguev1.NearestNeighborsResponse, error) {
		time.Sleep(10 * time.Millisecond)
		return &seguev1.NearestNeighborsResponse{}, status.FromContextError(ctx.Err()).Err()
	}}
	synctest.Test(t, func(t *testing.T) {
		r, err := Run(t.Context(), queries(1000), empty, nil, Options{Count: 7}, nil)
		if err != nil || r.Queries != 7 || r.B != nil {
			t.Errorf("count: %+v, %v", r, err)
		}
		r, err = Run(t.Context(), queries(1000), empty, nil, Options{Workers: 2, Duration: 100 * time.Millisecond}, nil)
		if err != nil || r.Queries < 18 || r.Queries > 24 {
			t.Errorf("duration: %d queries of 10 ms in 100 ms on 2 goroutines, %v", r.Queries, err)
		}
		if r.A.Quantile(50) < 9*time.Millisecond || r.A.Quantile(100) > 11*time.Millisecond {
			t.Errorf("latencies %v to %v", r.A.Quantile(0), r.A.Quantile(100))
		}
		r, err = Run(t.Context(), queries(100), empty, nil, Options{Rate: 20}, nil)
		if err != nil || r.Queries != 100 || r.Elapsed < 4900*time.Millisecond || r.Elapsed > 5*time.Second {
			t.Errorf("rate: %d in %v, %v", r.Queries, r.Elapsed, err)
		}
		r, err = Run(t.Context(), queries(100), empty, nil, Options{Rate: 20, Duration: time.Second}, nil)
		if err != nil || r.Queries != 20 {
			t.Errorf("rate and duration: %d, %v", r.Queries, err)
		}
		r, err = Run(t.Context(), queries(3), empty, nil, Options{Timeout: time.Millisecond}, nil)
		if err != nil || r.A.Codes["DeadlineExceeded"] != 3 {
			t.Errorf("timeout: %v, %v", r.A.Codes, err)
		}
		damaged := errors.New("damaged")
		all := queries(5)
		r, err = Run(t.Context(), func() (*seguev1.NearestNeighborsRequest, error) {
			if q, err := all(); err == nil {
				return q, nil
			}
			return nil, damaged
		}, empty, nil, Options{}, nil)
		if !errors.Is(err, damaged) || r.Queries != 5 {
			t.Errorf("a damaged log: %d, %v", r.Queries, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err = Run(ctx, queries(1000), empty, nil, Options{Rate: 1}, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("context: %v", err)
		}
	})
}

func TestOptions(t *testing.T) {
	err := Options{Workers: 1001, Rate: -1, Count: -1, Duration: 2 * time.Hour, Timeout: -1}.Validate()
	for _, field := range []string{"Workers", "Rate", "Count", "Duration", "Timeout"} {
		if err == nil || !strings.Contains(err.Error(), field+" must be") {
			t.Errorf("%s: %v", field, err)
		}
	}
	if _, err := Run(t.Context(), queries(1), Target{}, nil, Options{Workers: -1}, nil); err == nil {
		t.Error("bad options run")
	}
	var o Options
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		t.Error(err)
	}
}

// TestTurns: each of two servers comes first every second time.
func TestTurns(t *testing.T) {
	var order []string
	ask := func(name string) Target {
		return Target{Name: name, Ask: func(context.Context, int, *seguev1.NearestNeighborsRequest) (*seguev1.NearestNeighborsResponse, error) {
			order = append(order, name)
			return &seguev1.NearestNeighborsResponse{}, nil
		}}
	}
	b := ask("b")
	if _, err := Run(t.Context(), queries(4), ask("a"), &b, Options{Workers: 1}, nil); err != nil {
		t.Fatal(err)
	}
	if want := []string{"a", "b", "b", "a", "a", "b", "b", "a"}; !slices.Equal(order, want) {
		t.Errorf("order %v", order)
	}
}
