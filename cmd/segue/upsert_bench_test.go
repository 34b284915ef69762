package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/segue-ann/segue/client"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// TestUpsertBenchmark measures how many upserts a second a server makes durable and visible, of new items of 128 dimensions in
// a collection that grows from nothing, and then how many updates of an attribute of random ones: from one connection in batches, and
// from many; and how long the syncs of the disk took meanwhile. Each part takes SEGUE_BENCH_UPSERTS seconds. The store is in TMPDIR.
func TestUpsertBenchmark(t *testing.T) {
	text := os.Getenv("SEGUE_BENCH_UPSERTS")
	if text == "" {
		t.Skip("a benchmark: make bench-upserts")
	}
	seconds, err := strconv.Atoi(text)
	if err != nil || seconds < 1 {
		t.Fatalf("SEGUE_BENCH_UPSERTS=%q: must be a number of seconds", text)
	}
	s, err := startChild("serve", "--data", t.TempDir(), "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.kill)
	c := singleTryClient(t, s.addr)
	defer c.Close()
	if _, err := c.Collections.CreateCollection(t.Context(), &seguev1.CreateCollectionRequest{Collection: &seguev1.Collection{
		Name: "tracks", Dimension: benchDim, Metric: seguev1.Metric_METRIC_COSINE,
	}}); err != nil {
		t.Fatal(err)
	}
	b := upsertBench{t: t, server: s, length: time.Duration(seconds) * time.Second}
	for _, part := range []struct{ connections, callers, batch int }{{1, 1, 1}, {1, 1, 100}, {1, 1, 1000}, {16, 64, 1}, {8, 8, 100}} {
		b.run("upserts", part.connections, part.callers, part.batch, b.upsert)
	}
	for _, part := range []struct{ connections, callers, batch int }{{1, 1, 1}, {1, 1, 100}, {1, 1, 1000}, {16, 64, 1}, {8, 8, 100}, {4, 4, 1000}} {
		b.run("attribute updates", part.connections, part.callers, part.batch, b.update)
	}
}

const benchDim = 128

type upsertBench struct {
	t      *testing.T
	server *child
	length time.Duration
	made   []string // ids of items so far
	mu     sync.Mutex
}

// upsert writes a batch of new items, which carry six attributes.
func (b *upsertBench) upsert(c *client.Client, rng *rand.Rand, batch int) error {
	keyword := func(words ...string) *seguev1.AttributeValue {
		return &seguev1.AttributeValue{Kind: &seguev1.AttributeValue_Keywords{Keywords: &seguev1.Keywords{Values: words}}}
	}
	req := &seguev1.BatchUpsertItemsRequest{Collection: "tracks"}
	ids := make([]string, batch)
	for i := range batch {
		ids[i] = fmt.Sprintf("track:%016x", rng.Uint64())
		req.Items = append(req.Items, &seguev1.Item{Id: ids[i], Vector: client.Vector(benchVector(rng)), Attributes: map[string]*seguev1.AttributeValue{
			"artist": keyword(fmt.Sprint("artist:", rng.IntN(5000))), "genres": keyword("pop", fmt.Sprint("genre:", rng.IntN(50))),
			"title": keyword("A title of about thirty letters"), "popularity": {Kind: &seguev1.AttributeValue_FloatValue{FloatValue: rng.Float64()}},
			"explicit": {Kind: &seguev1.AttributeValue_BoolValue{BoolValue: rng.IntN(9) == 0}}, "year": {Kind: &seguev1.AttributeValue_IntValue{IntValue: 2000}},
		}})
	}
	_, err := c.Items.BatchUpsertItems(b.t.Context(), req)
	if err == nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.made = append(b.made, ids...)
	}
	return err
}

// update changes one attribute of random items.
func (b *upsertBench) update(c *client.Client, rng *rand.Rand, batch int) error {
	req := &seguev1.BatchUpdateItemAttributesRequest{Collection: "tracks"}
	for range batch {
		req.Updates = append(req.Updates, &seguev1.AttributesUpdate{ItemId: b.made[rng.IntN(len(b.made))], Attributes: map[string]*seguev1.AttributeValue{
			"popularity": {Kind: &seguev1.AttributeValue_FloatValue{FloatValue: rng.Float64()}},
		}})
	}
	resp, err := c.Items.BatchUpdateItemAttributes(b.t.Context(), req)
	if n := len(resp.GetMissingIds()); n > 0 {
		b.t.Errorf("%d items are missing", n)
	}
	return err
}

// run has callers, over as many connections, write batches one call after the other.
func (b *upsertBench) run(what string, connections, callers, batch int, write func(c *client.Client, rng *rand.Rand, batch int) error) {
	clients := make([]*client.Client, connections)
	for i := range clients {
		clients[i] = singleTryClient(b.t, b.server.addr)
		defer clients[i].Close()
	}
	syncs, slept := b.syncs()
	cpu := cpuSeconds(b.server.cmd.Process.Pid)
	var done, refused atomic.Int64
	var wg sync.WaitGroup
	began, seed := time.Now(), uint64(len(b.made))
	for w := range callers {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(w)))
			for time.Since(began) < b.length {
				switch err := write(clients[w%connections], rng, batch); {
				case status.Code(err) == codes.Unavailable: // more than it can do in time
					refused.Add(1)
				case err != nil:
					b.t.Error(err)
					return
				default:
					done.Add(int64(batch))
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(began).Seconds()
	syncsAfter, sleptAfter := b.syncs()
	b.t.Logf("%d connections, %d callers, batches of %d: %.0f %s/s (%.2f cores of the server), %.0f calls/s refused, %.0f syncs/s of %.2f ms each; the collection has %d items",
		connections, callers, batch, float64(done.Load())/took, what, (cpuSeconds(b.server.cmd.Process.Pid)-cpu)/took, float64(refused.Load())/took,
		(syncsAfter-syncs)/took, 1000*(sleptAfter-slept)/max(1, syncsAfter-syncs), len(b.made))
}

func benchVector(rng *rand.Rand) []float32 {
	v := make([]float32, benchDim)
	for i := range v {
		v[i] = float32(rng.NormFloat64())
	}
	return v
}

// syncs returns how often the server has synced its log, and how many seconds that took.
func (b *upsertBench) syncs() (count, seconds float64) {
	b.t.Helper()
	_, addr, _ := strings.Cut(b.server.stderr.String(), `"ops_listen":"`)
	addr, _, _ = strings.Cut(addr, `"`)
	resp, err := http.Get("http://" + addr + "/metrics")
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	page, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	read := func(name string) float64 {
		_, rest, _ := strings.Cut(string(page), "\nsegue_store_fsync_duration_seconds_"+name+" ")
		text, _, _ := strings.Cut(rest, "\n")
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			b.t.Fatalf("%s: %v", name, err)
		}
		return v
	}
	return read("count"), read("sum")
}
