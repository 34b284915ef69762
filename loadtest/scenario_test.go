package loadtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/segue-ann/segue/client"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// line is a server whose items lie on a line, item i at i: neighbors are those near. Searches that are not exact leave out every second
// one, and put one that is far in its place. It notes what it is asked.
type line struct {
	seguev1.ItemServiceClient
	seguev1.RetrievalServiceClient
	n int

	mu      sync.Mutex // guards all below
	asked   []*seguev1.NearestNeighborsRequest
	written []*seguev1.UpsertItemRequest
	listed  []*seguev1.ListItemsRequest
	exact   int
	fails   error // of exact searches
}

func (l *line) client() *client.Client { return &client.Client{Items: l, Retrieval: l} }

func (l *line) ListItems(_ context.Context, r *seguev1.ListItemsRequest, _ ...grpc.CallOption) (*seguev1.ListItemsResponse, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.listed = append(l.listed, r)
	from := 0
	if r.GetPageToken() != "" {
		if _, err := fmt.Sscan(r.GetPageToken(), &from); err != nil {
			return nil, status.Error(codes.InvalidArgument, err.Error())
		}
	}
	to := min(l.n, from+int(r.GetPageSize()))
	page := &seguev1.ListItemsResponse{}
	for i := from; i < to; i++ {
		page.Items = append(page.Items, &seguev1.Item{Id: fmt.Sprint(i)})
	}
	if to < l.n {
		page.NextPageToken = fmt.Sprint(to)
	}
	return page, nil
}

func (l *line) UpsertItem(_ context.Context, r *seguev1.UpsertItemRequest, _ ...grpc.CallOption) (*seguev1.UpsertItemResponse, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.written = append(l.written, r)
	return &seguev1.UpsertItemResponse{}, nil
}

func (l *line) NearestNeighbors(_ context.Context, r *seguev1.NearestNeighborsRequest, _ ...grpc.CallOption) (*seguev1.NearestNeighborsResponse, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	exact := r.GetSearchEffort().GetExact()
	if exact {
		l.exact++
		if l.fails != nil {
			return nil, l.fails
		}
	} else {
		l.asked = append(l.asked, proto.CloneOf(r))
	}
	at := 0
	if id := r.GetQuery().GetItemId(); id != "" {
		if _, err := fmt.Sscan(id, &at); err != nil {
			return nil, status.Error(codes.NotFound, id)
		}
	}
	k := int(r.GetNeighborCount())
	var all []*seguev1.Neighbor // that could be among the first 2k
	for i := max(0, at-2*k); i < min(l.n, at+2*k); i++ {
		all = append(all, &seguev1.Neighbor{ItemId: fmt.Sprint(i), Distance: float32(math.Abs(float64(i-at))) + float32(i)/float32(4*l.n)})
	}
	slices.SortFunc(all, func(a, b *seguev1.Neighbor) int { return cmp.Compare(a.GetDistance(), b.GetDistance()) })
	answer := &seguev1.NearestNeighborsResponse{}
	for i := range k {
		if !exact && i%2 == 1 {
			i += k
		}
		answer.Neighbors = append(answer.Neighbors, all[i])
	}
	return answer, nil
}

// TestScenarios: what each scenario asks a server, call by call, the same again for the same seed.
func TestScenarios(t *testing.T) {
	const calls = 2000
	run := func(o LoadOptions, n int) *line {
		t.Helper()
		l := &line{n: n}
		o.Client, o.Collection = l.client(), "tracks"
		load, err := NewLoad(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		for n := range calls {
			if err := load.Call(t.Context(), n); err != nil {
				t.Fatal(err)
			}
		}
		if err := load.Close(); err != nil || load.Imported() != 0 {
			t.Errorf("%s: %v, %d rows imported", o.Scenario, err, load.Imported())
		}
		return l
	}
	users := []string{"ann", "bo", "cy"}
	for _, o := range []LoadOptions{
		{Scenario: Similar, K: 3, Seed: 1}, {Scenario: Similar, K: 5, Ef: 77, Seed: 1}, {Scenario: User, K: 2, Users: users, Seed: 2},
		{Scenario: Filtered, K: 2, Filter: "explicit = false", Seed: 3}, {Scenario: Mixed, K: 2, Seed: 4},
	} {
		l := run(o, 700)
		who := map[string]int{}
		for _, r := range l.asked {
			if r.GetCollection() != "tracks" || int(r.GetNeighborCount()) != o.K || r.GetFilterExpression() != o.Filter || int(r.GetSearchEffort().GetEf()) != o.Ef {
				t.Fatalf("%s: asked %v", o.Scenario, r)
			}
			if o.Ef == 0 && r.GetSearchEffort() != nil {
				t.Fatalf("%s: an effort that was not asked for: %v", o.Scenario, r)
			}
			if o.Scenario == User {
				who[r.GetQuery().GetUserId()]++
			} else {
				who[r.GetQuery().GetItemId()]++
			}
		}
		if want := map[bool]int{true: len(users), false: 600}[o.Scenario == User]; len(who) < want || who[""] != 0 {
			t.Errorf("%s: %d callers or items are asked for", o.Scenario, len(who))
		}
		switch writes := len(l.written); {
		case o.Scenario == Mixed && (writes < calls/10-60 || writes > calls/10+60):
			t.Errorf("%d of %d calls write", writes, calls)
		case o.Scenario != Mixed && writes != 0:
			t.Errorf("%s: %d calls write", o.Scenario, writes)
		case writes+len(l.asked) != calls:
			t.Errorf("%s: %d writes and %d searches", o.Scenario, writes, len(l.asked))
		}
		if pages := map[bool]int{true: 0, false: 2}[o.Scenario == User]; len(l.listed) != pages {
			t.Errorf("%s: %d pages of items were read", o.Scenario, len(l.listed))
		}
		for _, page := range l.listed {
			if page.GetIncludeVectors() != (o.Scenario == Mixed) {
				t.Errorf("%s: reads vectors: %v", o.Scenario, page.GetIncludeVectors())
			}
		}
		again := run(o, 700)
		if !slices.EqualFunc(l.asked, again.asked, func(a, b *seguev1.NearestNeighborsRequest) bool { return proto.Equal(a, b) }) {
			t.Errorf("%s: the same seed asks something else", o.Scenario)
		}
		o.Seed++
		if other := run(o, 700); slices.EqualFunc(l.asked, other.asked, func(a, b *seguev1.NearestNeighborsRequest) bool { return proto.Equal(a, b) }) {
			t.Errorf("%s: another seed asks the same", o.Scenario)
		}
	}
	if l := run(LoadOptions{Scenario: Similar, K: 1}, maxItems+5000); len(l.listed) != maxItems/500 {
		t.Errorf("%d pages of a large collection are read, want %d", len(l.listed), maxItems/500)
	}
}

// TestLoadIsRefused: options that say no load.
func TestLoadIsRefused(t *testing.T) {
	for want, o := range map[string]LoadOptions{
		"K must be at least 1, is 0":                 {Scenario: Similar},
		"filtered needs a Filter":                    {Scenario: Filtered, K: 1},
		"user needs Users":                           {Scenario: User, K: 1},
		`no scenario "other": there are [similar us`: {Scenario: "other", K: 1},
		`collection "tracks" is empty`:               {Scenario: Mixed, K: 1},
	} {
		o.Client, o.Collection = (&line{}).client(), "tracks"
		if l, err := NewLoad(t.Context(), o); l != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// TestRecallUnderLoad: one in so many searches is asked again exactly; the mean is that of those since it was asked for last, and a
// server that has no time for it is not counted.
func TestRecallUnderLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &line{n: 100}
		load, err := NewLoad(t.Context(), LoadOptions{Client: l.client(), Scenario: Similar, K: 4, CheckEvery: 10})
		if err != nil {
			t.Fatal(err)
		}
		call := func() {
			for n := range 200 {
				if err := load.Call(t.Context(), n); err != nil {
					t.Fatal(err)
				}
				synctest.Wait() // the checker keeps up
			}
		}
		call()
		if mean, checked := load.Recall(); mean != 0.5 || checked != 20 || l.exact != 20 {
			t.Errorf("recall %v of %d checked, %d asked again", mean, checked, l.exact)
		}
		if mean, checked := load.Recall(); mean != 0 || checked != 0 {
			t.Errorf("then %v of %d", mean, checked)
		}
		l.fails = errors.New("no time")
		call()
		if _, checked := load.Recall(); checked != 0 || l.exact != 40 {
			t.Errorf("%d checked of %d", checked, l.exact)
		}
		if err := load.Close(); err != nil {
			t.Error(err)
		}
		for n := range 2000 { // nobody takes them any more, and calls do not wait for that
			if err := load.Call(t.Context(), n); err != nil {
				t.Fatal(err)
			}
		}
	})
}
