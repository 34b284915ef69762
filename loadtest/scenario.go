package loadtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/segue-ann/segue/client"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// Scenario is a kind of load.
type Scenario string

// The scenarios.
const (
	// Similar asks for neighbors of items.
	Similar Scenario = "similar"
	// User asks for neighbors of users' profiles.
	User Scenario = "user"
	// Filtered asks for neighbors of items that a filter lets through.
	Filtered Scenario = "filtered"
	// Mixed asks for neighbors of items, and writes an item back in one of ten calls.
	Mixed Scenario = "mixed"
	// During asks for neighbors of items while imports fill releases that are not published.
	During Scenario = "import"
)

// Scenarios are all of them.
func Scenarios() []Scenario { return []Scenario{Similar, User, Filtered, Mixed, During} }

// LoadOptions say what to load a server with.
type LoadOptions struct {
	Client     *client.Client
	Collection string
	Scenario   Scenario
	// K and Ef of the searches; Ef 0 is the server's default.
	K, Ef int
	// Users to ask for, in the scenario User.
	Users []string
	// Filter is the expression of the scenario Filtered.
	Filter string
	// CheckEvery of the searches is asked again exactly, one at a time, to measure recall under load. 0 is never.
	CheckEvery int
	Seed       uint64
}

// maxItems bounds the items that calls draw from.
const maxItems = 10_000

// Load makes the calls of a scenario.
type Load struct {
	o     LoadOptions
	items []*seguev1.Item // with vectors in the scenarios Mixed and During
	check *checker
	work  *importer // in the scenario During
}

// NewLoad reads up to 10,000 items of the collection to draw from. Close ends what goes on beside the calls.
func NewLoad(ctx context.Context, o LoadOptions) (*Load, error) {
	if o.K < 1 {
		return nil, fmt.Errorf("loadtest: K must be at least 1, is %d", o.K)
	}
	l := &Load{o: o}
	switch o.Scenario {
	case Filtered:
		if o.Filter == "" {
			return nil, errors.New("loadtest: the scenario filtered needs a Filter")
		}
		fallthrough
	case Similar, Mixed, During:
		if err := l.readItems(ctx); err != nil {
			return nil, err
		}
	case User:
		if len(o.Users) == 0 {
			return nil, errors.New("loadtest: the scenario user needs Users")
		}
	default:
		return nil, fmt.Errorf("loadtest: no scenario %q: there are %v", o.Scenario, Scenarios())
	}
	l.check = newChecker(o.Client, o.K)
	if o.Scenario == During {
		l.work = startImporter(o.Client, o.Collection, l.items)
	}
	return l, nil
}

func (l *Load) readItems(ctx context.Context) error {
	token := ""
	for len(l.items) < maxItems {
		page, err := l.o.Client.Items.ListItems(ctx, &seguev1.ListItemsRequest{
			Collection: l.o.Collection, PageSize: 500, PageToken: token, IncludeVectors: l.o.Scenario == Mixed || l.o.Scenario == During,
		})
		if err != nil {
			return fmt.Errorf("read items to draw from: %w", err)
		}
		l.items = append(l.items, page.GetItems()...)
		if token = page.GetNextPageToken(); token == "" {
			break
		}
	}
	if len(l.items) == 0 {
		return fmt.Errorf("loadtest: collection %q is empty", l.o.Collection)
	}
	return nil
}

// Close ends what goes on beside the calls and waits for it. The error says that the imports of the scenario During ended before.
func (l *Load) Close() error {
	l.check.close()
	if l.work != nil {
		return l.work.close()
	}
	return nil
}

// Imported is how many rows were built into releases beside the load; to be asked after Close.
func (l *Load) Imported() int {
	if l.work == nil {
		return 0
	}
	return l.work.rows
}

// Recall returns the mean recall@k of the searches checked since the last call, and how many those are.
func (l *Load) Recall() (mean float64, checked int) { return l.check.take() }

// Call implements Call. The n-th call is the same in every run of the same seed.
func (l *Load) Call(ctx context.Context, n int) error {
	r := rand.New(rand.NewPCG(l.o.Seed, uint64(n)))
	if l.o.Scenario == Mixed && r.IntN(10) == 0 {
		_, err := l.o.Client.Items.UpsertItem(ctx, &seguev1.UpsertItemRequest{Collection: l.o.Collection, Item: l.items[r.IntN(len(l.items))]})
		return err
	}
	req := l.search(r)
	answer, err := l.o.Client.Retrieval.NearestNeighbors(ctx, req)
	if err == nil && l.o.CheckEvery > 0 && n%l.o.CheckEvery == 0 {
		l.check.offer(req, answer)
	}
	return err
}

func (l *Load) search(r *rand.Rand) *seguev1.NearestNeighborsRequest {
	req := &seguev1.NearestNeighborsRequest{Collection: l.o.Collection, NeighborCount: int32(l.o.K)}
	if l.o.Scenario == User {
		req.Query = &seguev1.Query{Form: &seguev1.Query_UserId{UserId: l.o.Users[r.IntN(len(l.o.Users))]}}
	} else {
		req.Query = &seguev1.Query{Form: &seguev1.Query_ItemId{ItemId: l.items[r.IntN(len(l.items))].GetId()}}
	}
	if l.o.Scenario == Filtered {
		req.FilterExpression = l.o.Filter
	}
	if l.o.Ef > 0 {
		req.SearchEffort = &seguev1.SearchEffort{Effort: &seguev1.SearchEffort_Ef{Ef: int32(l.o.Ef)}}
	}
	return req
}

// checker asks again exactly, one query at a time; what comes faster is not checked.
type checker struct {
	client *client.Client
	k      int
	offers chan offer
	done   chan struct{}
	stop   context.CancelFunc

	mu      sync.Mutex // guards what follows
	sum     float64
	checked int
}

type offer struct {
	req    *seguev1.NearestNeighborsRequest
	answer *seguev1.NearestNeighborsResponse
}

func newChecker(c *client.Client, k int) *checker {
	ctx, stop := context.WithCancel(context.Background())
	r := &checker{client: c, k: k, offers: make(chan offer, 64), done: make(chan struct{}), stop: stop}
	go r.run(ctx)
	return r
}

func (c *checker) close() {
	c.stop()
	<-c.done
}

func (c *checker) offer(req *seguev1.NearestNeighborsRequest, answer *seguev1.NearestNeighborsResponse) {
	select {
	case c.offers <- offer{req, answer}:
	default: // enough are waiting
	}
}

func (c *checker) run(ctx context.Context) {
	defer close(c.done)
	for {
		select {
		case <-ctx.Done():
			return
		case o := <-c.offers:
			o.req.SearchEffort = &seguev1.SearchEffort{Effort: &seguev1.SearchEffort_Exact{Exact: true}}
			one, cancel := context.WithTimeout(ctx, 10*time.Second)
			truth, err := c.client.Retrieval.NearestNeighbors(one, o.req)
			cancel()
			if err != nil {
				continue // an overloaded server is not asked twice
			}
			c.mu.Lock()
			c.sum += recall(truth.GetNeighbors(), o.answer.GetNeighbors())
			c.checked++
			c.mu.Unlock()
		}
	}
}

// recall is the share of truth that was answered. A neighbor as close as the last of truth counts: ties are no errors.
func recall(truth, answer []*seguev1.Neighbor) float64 {
	if len(truth) == 0 {
		return 1
	}
	last := truth[len(truth)-1].GetDistance()
	hits := 0
	for _, n := range answer {
		if n.GetDistance() <= last {
			hits++
		}
	}
	return min(1, float64(hits)/float64(len(truth)))
}

func (c *checker) take() (mean float64, checked int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.checked > 0 {
		mean = c.sum / float64(c.checked)
	}
	checked = c.checked
	c.sum, c.checked = 0, 0
	return mean, checked
}
