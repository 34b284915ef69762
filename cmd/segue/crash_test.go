package main

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/segue-ann/segue/client"
	"github.com/segue-ann/segue/engine"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// The crash test: a server in a process of its own is killed (SIGKILL) while several writers upsert and
// delete, again and again on the same store. A ledger notes every operation before it is sent and when it
// is acknowledged. After every restart
//
//   - every item is as its newest acknowledged operation left it, or as the one operation of its writer that
//     was under way at the kill would leave it; so are profiles;
//   - that one operation happened as a whole or not at all;
//   - every item is the nearest neighbor of its own vector, at distance 0, and no deleted item is found;
//   - the collection's revision is not below any that was acknowledged.
//
// SEGUE_CRASH_ROUNDS is the number of kills; the default keeps the test short.
const (
	crashWriters     = 4
	crashIDs         = 60 // of each writer
	crashDim         = 12
	crashRoundsShort = 5
)

// version is the state of one id: which operation wrote it last.
type version struct {
	seq     int64 // of the operation; 0 is "never written"
	deleted bool
}

// operation is one call of a writer.
type operation struct {
	seq     int64
	kind    string // upsert, delete, profile
	ids     []string
	acked   bool
	atRound int
	// revision is what the acknowledgement said.
	revision int64
}

// crashLedger is what one writer has done. A writer sends one operation at a time, so at most the last one
// is not acknowledged.
type crashLedger struct {
	writer  int
	items   map[string]version // by acknowledged operations
	users   map[string]version
	pending *operation // sent and not acknowledged when its server died
	history []operation
}

func (l *crashLedger) of(kind string) map[string]version {
	if kind == "profile" {
		return l.users
	}
	return l.items
}

func (op *operation) outcome() version { return version{seq: op.seq, deleted: op.kind == "delete"} }

// settle notes that op has taken effect.
func (l *crashLedger) settle(op *operation) {
	for _, id := range op.ids {
		l.of(op.kind)[id] = op.outcome()
	}
}

// story is the history of one id, for a failure's message.
func (l *crashLedger) story(id string) string {
	var b strings.Builder
	for _, op := range l.history {
		if slices.Contains(op.ids, id) {
			fmt.Fprintf(&b, "\n\tround %d: %s %d of %v, acknowledged %v", op.atRound, op.kind, op.seq, op.ids, op.acked)
		}
	}
	return b.String()
}

// crashVector is the vector that operation seq of a writer gives an id: no two alike.
func crashVector(id string, seq int64) []float32 {
	h := uint64(14695981039346656037)
	for _, c := range id {
		h = (h ^ uint64(c)) * 1099511628211
	}
	r := rand.New(rand.NewPCG(h, uint64(seq)))
	v := make([]float32, crashDim)
	for i := range v {
		v[i] = float32(r.NormFloat64())
	}
	return v
}

func crashRounds(t *testing.T) int {
	text := os.Getenv("SEGUE_CRASH_ROUNDS")
	if text == "" {
		return crashRoundsShort
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("SEGUE_CRASH_ROUNDS=%q: must be a positive number", text)
	}
	return n
}

func TestKillLosesNothingAcknowledged(t *testing.T) {
	dir := t.TempDir()
	seed := uint64(time.Now().UnixNano()) // the moments of the kills differ in any case
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	ledgers := make([]*crashLedger, crashWriters)
	for w := range ledgers {
		ledgers[w] = &crashLedger{writer: w, items: map[string]version{}, users: map[string]version{}}
	}

	var kills, operations int
	for round := range crashRounds(t) {
		if round%3 == 2 {
			killWhileStarting(t, dir, time.Duration(random.IntN(60))*time.Millisecond)
			kills++
		}
		s := mustServe(t, dir)
		c := singleTryClient(t, s.addr)
		if round == 0 {
			createCrashCollection(t, c)
		}
		verifyAfterCrash(t, c, ledgers)

		r := &crashRound{
			number: round, client: c, ledgers: ledgers,
			enough: int64(20 + random.IntN(300)),
			linger: time.Duration(random.IntN(5000)) * time.Microsecond,
			seed:   random.Uint64(), snapshots: random.IntN(2) == 0,
		}
		operations += r.run(t, s)
		kills++
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if t.Failed() {
			return
		}
	}

	s := mustServe(t, dir)
	c := singleTryClient(t, s.addr)
	verifyAfterCrash(t, c, ledgers)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if code, err := s.stop(); code != 0 || err != nil {
		t.Fatalf("graceful stop: code %d, %v\n%s", code, err, s.stderr)
	}
	if err := engine.Check(t.Context(), dir, engine.Options{Logger: slog.New(slog.DiscardHandler)}, func(f engine.Finding) {
		t.Errorf("check: %s: %s", f.Where, f.Problem)
	}); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d kills, %d acknowledged operations, none lost", kills, operations)
}

func mustServe(t *testing.T, dir string) *child {
	t.Helper()
	s, err := serveChild(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.kill) // harmless where it has ended
	return s
}

// killWhileStarting kills a server that is still recovering, or has just begun to serve.
func killWhileStarting(t *testing.T, dir string, after time.Duration) {
	t.Helper()
	c, err := startProcess("serve", "--data", dir, "--listen", "127.0.0.1:0", "--log-level", "error")
	if err != nil {
		t.Fatal(err)
	}
	<-time.After(after)
	c.kill()
}

func createCrashCollection(t *testing.T, c *client.Client) {
	t.Helper()
	if _, err := c.Collections.CreateCollection(t.Context(), &seguev1.CreateCollectionRequest{Collection: &seguev1.Collection{
		Name: "crash", Dimension: crashDim, Metric: seguev1.Metric_METRIC_L2,
	}}); err != nil {
		t.Fatal(err)
	}
}

// crashRound is one life of a server under writes.
type crashRound struct {
	number    int
	client    *client.Client
	ledgers   []*crashLedger
	enough    int64         // acknowledged operations before the kill
	linger    time.Duration // and a moment more
	seed      uint64
	snapshots bool

	acked  atomic.Int64
	killed atomic.Bool
}

// run lets the writers write until enough is acknowledged, kills the server, and returns how many
// operations were acknowledged.
func (r *crashRound) run(t *testing.T, s *child) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	reached := make(chan struct{})
	var once sync.Once
	var group sync.WaitGroup
	for w, l := range r.ledgers {
		random := rand.New(rand.NewPCG(r.seed, uint64(w)))
		group.Go(func() {
			for {
				op := r.next(l, random)
				err := r.send(ctx, op)
				if err != nil {
					if !r.killed.Load() {
						t.Errorf("writer %d: %s of %v failed while the server lived: %v", w, op.kind, op.ids, err)
					}
					l.pending = op
					l.history = append(l.history, *op)
					once.Do(func() { close(reached) })
					return
				}
				op.acked = true
				l.history = append(l.history, *op)
				l.settle(op)
				if r.acked.Add(1) >= r.enough {
					once.Do(func() { close(reached) })
				}
			}
		})
	}
	if r.snapshots {
		group.Go(func() {
			for !r.killed.Load() {
				_, err := r.client.Admin.CreateSnapshot(ctx, &seguev1.CreateSnapshotRequest{Collection: "crash"})
				if err != nil && status.Code(err) != codes.Aborted && !r.killed.Load() {
					t.Errorf("snapshot failed while the server lived: %v", err)
					return
				}
			}
		})
	}
	<-reached
	<-time.After(r.linger)
	r.killed.Store(true)
	s.kill()
	group.Wait()
	if t.Failed() {
		t.Logf("server said: %s", s.stderr)
	}
	return int(r.acked.Load())
}

// next draws the next operation of a writer.
func (r *crashRound) next(l *crashLedger, random *rand.Rand) *operation {
	op := &operation{seq: int64(len(l.history)) + 1, kind: "upsert", atRound: r.number}
	switch random.IntN(10) {
	case 0, 1, 2:
		op.kind = "delete"
	case 3:
		op.kind = "profile"
	}
	for range 1 + random.IntN(12) {
		id := fmt.Sprintf("w%d-%d", l.writer, random.IntN(crashIDs))
		if !slices.Contains(op.ids, id) {
			op.ids = append(op.ids, id)
		}
	}
	return op
}

func (r *crashRound) send(ctx context.Context, op *operation) error {
	var revision int64
	switch op.kind {
	case "upsert":
		request := &seguev1.BatchUpsertItemsRequest{Collection: "crash"}
		for _, id := range op.ids {
			request.Items = append(request.Items, &seguev1.Item{
				Id: id, Vector: client.Vector(crashVector(id, op.seq)),
				Attributes: map[string]*seguev1.AttributeValue{
					"seq": {Kind: &seguev1.AttributeValue_IntValue{IntValue: op.seq}},
				},
			})
		}
		answer, err := r.client.Items.BatchUpsertItems(ctx, request)
		if err != nil {
			return err
		}
		revision = answer.GetRevision()
	case "delete":
		answer, err := r.client.Items.BatchDeleteItems(ctx, &seguev1.BatchDeleteItemsRequest{Collection: "crash", ItemIds: op.ids})
		if err != nil {
			return err
		}
		revision = answer.GetRevision()
	case "profile":
		request := &seguev1.BatchUpsertProfilesRequest{Collection: "crash"}
		for _, id := range op.ids {
			request.Profiles = append(request.Profiles, &seguev1.Profile{
				UserId: id, Interests: []*seguev1.Interest{{Vector: client.Vector(crashVector(id, op.seq))}},
			})
		}
		answer, err := r.client.Profiles.BatchUpsertProfiles(ctx, request)
		if err != nil {
			return err
		}
		revision = answer.GetRevision()
	}
	op.revision = revision
	return nil
}

// verifyAfterCrash compares the server with the ledgers, and settles what was under way.
func verifyAfterCrash(t *testing.T, c *client.Client, ledgers []*crashLedger) {
	t.Helper()
	live := 0
	for _, l := range ledgers {
		items, users := storedItems(t, c, l), storedUsers(t, c, l)
		if op := l.pending; op != nil {
			l.pending = nil
			if landed(t, l, op, items, users) {
				l.settle(op)
			}
		}
		for kind, got := range map[string]map[string]version{"upsert": items, "profile": users} {
			for id, want := range l.of(kind) {
				if want.deleted {
					want = version{}
				}
				if got[id] != want {
					t.Errorf("%s %s is of operation %d, acknowledged was %d%s", kind, id, got[id].seq, want.seq, l.story(id))
				}
				delete(got, id)
			}
			for id, v := range got {
				if v != (version{}) {
					t.Errorf("%s %s of operation %d was never acknowledged%s", kind, id, v.seq, l.story(id))
				}
			}
		}
		for id, v := range l.items {
			if !v.deleted {
				live++
			}
			findItself(t, c, l, id, v)
		}
	}
	got, err := c.Collections.GetCollection(t.Context(), &seguev1.GetCollectionRequest{Name: "crash"})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range ledgers {
		for _, op := range l.history {
			if op.revision > got.GetCollection().GetRevision() {
				t.Errorf("collection is at revision %d, %d was acknowledged", got.GetCollection().GetRevision(), op.revision)
			}
		}
	}
	if got.GetCollection().GetItemCount() != int64(live) {
		t.Errorf("collection has %d items, %d are acknowledged", got.GetCollection().GetItemCount(), live)
	}
	if t.Failed() {
		t.FailNow()
	}
}

// landed reports whether the operation under way at the kill has taken effect, and that it did so as a whole.
// A delete of what was not there leaves no trace and counts as either.
func landed(t *testing.T, l *crashLedger, op *operation, items, users map[string]version) bool {
	t.Helper()
	got := items
	if op.kind == "profile" {
		got = users
	}
	after, before := 0, 0
	for _, id := range op.ids {
		want, had := op.outcome(), l.of(op.kind)[id]
		if want.deleted {
			want = version{}
		}
		if had.deleted {
			had = version{}
		}
		switch {
		case want == had:
		case got[id] == want:
			after++
		default:
			before++
		}
	}
	if after > 0 && before > 0 {
		t.Errorf("%s %d of %v took effect for %d ids and not for %d", op.kind, op.seq, op.ids, after, before)
	}
	return after > 0
}

// storedItems reads a writer's items: the operation that wrote each, told by its attribute and its vector,
// which must agree.
func storedItems(t *testing.T, c *client.Client, l *crashLedger) map[string]version {
	t.Helper()
	request := &seguev1.BatchGetItemsRequest{Collection: "crash", IncludeVectors: true}
	for i := range crashIDs {
		request.ItemIds = append(request.ItemIds, fmt.Sprintf("w%d-%d", l.writer, i))
	}
	answer, err := c.Items.BatchGetItems(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]version{}
	for _, item := range answer.GetItems() {
		seq := item.GetAttributes()["seq"].GetIntValue()
		v, err := client.Values(item.GetVector())
		if err != nil || !slices.Equal(v, crashVector(item.GetId(), seq)) {
			t.Errorf("item %s says operation %d, its vector does not (%v)%s", item.GetId(), seq, err, l.story(item.GetId()))
		}
		got[item.GetId()] = version{seq: seq}
	}
	return got
}

// storedUsers reads a writer's profiles: the operation that wrote each is the one of its history whose
// vector it has.
func storedUsers(t *testing.T, c *client.Client, l *crashLedger) map[string]version {
	t.Helper()
	got := map[string]version{}
	for i := range crashIDs {
		id := fmt.Sprintf("w%d-%d", l.writer, i)
		answer, err := c.Profiles.GetProfile(t.Context(), &seguev1.GetProfileRequest{Collection: "crash", UserId: id})
		if status.Code(err) == codes.NotFound {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		v, err := client.Values(answer.GetProfile().GetInterests()[0].GetVector())
		if err != nil {
			t.Fatal(err)
		}
		at := slices.IndexFunc(l.history, func(op operation) bool {
			return op.kind == "profile" && slices.Contains(op.ids, id) && slices.Equal(v, crashVector(id, op.seq))
		})
		if at < 0 {
			t.Errorf("profile %s has a vector that nobody wrote%s", id, l.story(id))
			continue
		}
		got[id] = version{seq: l.history[at].seq}
	}
	return got
}

// findItself searches with the newest vector of an id: a live item is the first answer at distance 0, a
// deleted one is no answer.
func findItself(t *testing.T, c *client.Client, l *crashLedger, id string, v version) {
	t.Helper()
	answer, err := c.Retrieval.NearestNeighbors(t.Context(), &seguev1.NearestNeighborsRequest{
		Collection:    "crash",
		Query:         &seguev1.Query{Form: &seguev1.Query_Vector{Vector: client.Vector(crashVector(id, v.seq))}},
		NeighborCount: 3,
		SearchEffort:  &seguev1.SearchEffort{Effort: &seguev1.SearchEffort_Ef{Ef: 2 * crashWriters * crashIDs}},
	})
	if err != nil {
		t.Fatal(err)
	}
	n := answer.GetNeighbors()
	found := slices.ContainsFunc(n, func(n *seguev1.Neighbor) bool { return n.GetItemId() == id })
	switch {
	case v.deleted && found:
		t.Errorf("deleted item %s is found%s", id, l.story(id))
	case !v.deleted && (len(n) == 0 || n[0].GetItemId() != id || n[0].GetDistance() != 0):
		t.Errorf("item %s is not its own nearest neighbor, but %v%s", id, n, l.story(id))
	}
}
