package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/segue-ann/segue/internal/crashfs"
	"github.com/segue-ann/segue/storage"
)

// TestRequestIsMadeOnce: every write that is repeated under its request id answers as it did and changes nothing: at once, after other
// writes, after a restart, and after another release was published. Whatever differs in it is refused.
func TestRequestIsMadeOnce(t *testing.T) {
	fsys, clock := vfs.NewMem(), newFakeClock()
	o := testOptions(fsys)
	o.Now = clock.now
	e, err := Open(context.Background(), "store", o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = e.Close() }()
	c, err := e.CreateCollection(t.Context(), CollectionConfig{Name: "c", Dim: 1, Metric: L2})
	if err != nil {
		t.Fatal(err)
	}
	zero, at := LSN(0), clock.in(time.Hour)
	item := func(x float32) []Item { return []Item{{ID: "a", Vector: []float32{x}, ExpireTime: at}} }
	profiles := func(x float32) []Profile {
		return []Profile{{UserID: "u", Interests: []Interest{{Vector: []float32{x}}}}}
	}
	set := func(n int64) Attributes { return Attributes{{Name: "n", Value: Value{Type: Int, Int: n}}} }
	guarded := item(1)
	guarded[0].ID, guarded[0].IfRevision = "b", &zero
	type answer struct {
		rev     LSN
		missing string
		err     bool
	}
	writes := []struct {
		name string
		same func(id string) (answer, error)
		not  map[string]func(id string) error
	}{
		{"upsert", func(id string) (answer, error) {
			rev, err := c.UpsertWith(t.Context(), item(1), WriteOptions{RequestID: id})
			return answer{rev: rev}, err
		}, map[string]func(id string) error{
			"vector": func(id string) error {
				_, err := c.UpsertWith(t.Context(), item(2), WriteOptions{RequestID: id})
				return err
			},
			"expiry": func(id string) error {
				its := item(1)
				its[0].ExpireTime = at.Add(time.Second)
				_, err := c.UpsertWith(t.Context(), its, WriteOptions{RequestID: id})
				return err
			},
			"condition": func(id string) error {
				its := item(1)
				its[0].IfRevision = &zero
				_, err := c.UpsertWith(t.Context(), its, WriteOptions{RequestID: id})
				return err
			},
			"kind": func(id string) error {
				_, _, err := c.DeleteWith(t.Context(), []string{"a"}, WriteOptions{RequestID: id})
				return err
			},
		}},
		{"conditional upsert", func(id string) (answer, error) {
			rev, err := c.UpsertWith(t.Context(), guarded, WriteOptions{RequestID: id})
			return answer{rev: rev}, err
		}, nil},
		{"update", func(id string) (answer, error) {
			missing, rev, err := c.UpdateAttributesWith(t.Context(), []AttributesUpdate{{ID: "a", Set: set(1)}, {ID: "z", ReplaceAll: true}}, WriteOptions{RequestID: id})
			return answer{rev: rev, missing: fmt.Sprint(missing)}, err
		}, map[string]func(id string) error{
			"values": func(id string) error {
				_, _, err := c.UpdateAttributesWith(t.Context(), []AttributesUpdate{{ID: "a", Set: set(2)}, {ID: "z", ReplaceAll: true}}, WriteOptions{RequestID: id})
				return err
			},
			"mode": func(id string) error {
				_, _, err := c.UpdateAttributesWith(t.Context(), []AttributesUpdate{{ID: "a", Set: set(1)}, {ID: "z"}}, WriteOptions{RequestID: id})
				return err
			},
			"removed": func(id string) error {
				_, _, err := c.UpdateAttributesWith(t.Context(), []AttributesUpdate{{ID: "a", Set: set(1)}, {ID: "z", ReplaceAll: true, Remove: []string{"x"}}}, WriteOptions{RequestID: id})
				return err
			},
		}},
		{"delete", func(id string) (answer, error) {
			missing, rev, err := c.DeleteWith(t.Context(), []string{"a", "z", "a"}, WriteOptions{RequestID: id})
			return answer{rev: rev, missing: fmt.Sprint(missing)}, err
		}, map[string]func(id string) error{"ids": func(id string) error {
			_, _, err := c.DeleteWith(t.Context(), []string{"a", "z"}, WriteOptions{RequestID: id})
			return err
		}}},
		{"profile", func(id string) (answer, error) {
			rev, err := c.UpsertProfilesWith(t.Context(), profiles(1), WriteOptions{RequestID: id})
			return answer{rev: rev}, err
		}, map[string]func(id string) error{"vector": func(id string) error {
			_, err := c.UpsertProfilesWith(t.Context(), profiles(2), WriteOptions{RequestID: id})
			return err
		}}},
		{"delete of a profile", func(id string) (answer, error) {
			rev, err := c.DeleteProfileWith(t.Context(), "u", WriteOptions{RequestID: id})
			return answer{rev: rev}, err
		}, nil},
		{"delete of no profile", func(id string) (answer, error) {
			rev, err := c.DeleteProfileWith(t.Context(), "nobody", WriteOptions{RequestID: id})
			var missing *NotFoundError
			if errors.As(err, &missing) {
				err = nil
			}
			return answer{rev: rev, err: missing != nil}, err
		}, nil},
	}
	answers := make([]answer, len(writes))
	again := func(when string, upTo int) {
		t.Helper()
		before := c.Revision()
		for i, w := range writes[:upTo] {
			if got, err := w.same(w.name); err != nil || got != answers[i] {
				t.Errorf("%s %s: %+v, %v, want %+v", w.name, when, got, err, answers[i])
			}
			for what, call := range w.not {
				var bad *InvalidError
				if err := call(w.name); !errors.As(err, &bad) || bad.Violations[0].Reason != ReasonRequestIDReused || bad.Violations[0].Field != "request_id" {
					t.Errorf("%s %s with another %s: %v", w.name, when, what, err)
				}
			}
		}
		if c.Revision() != before {
			t.Errorf("%s something was written", when)
		}
	}
	for i, w := range writes {
		if answers[i], err = w.same(w.name); err != nil {
			t.Fatal(w.name, err)
		}
		again("at once", i+1)
	}
	mustUpsert(t, c, Item{ID: "a", Vector: []float32{9}})
	again("after another write", len(writes))
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if e, err = Open(context.Background(), "store", o); err != nil {
		t.Fatal(err)
	}
	if c, err = e.Collection("c"); err != nil {
		t.Fatal(err)
	}
	again("after a restart", len(writes))
	info := mustImport(t, c, "job", guarded[:0])
	mustPublish(t, c, info.Release)
	again("after a publication", len(writes))
	clock.advance(RequestTime + time.Second)
	at = clock.in(time.Hour)
	if got, err := writes[3].same(writes[3].name); err != nil || got.rev <= answers[3].rev {
		t.Errorf("a request of %v ago is remembered: %+v, %v", RequestTime, got, err)
	}
	var bad *InvalidError
	for _, id := range []string{strings.Repeat("x", MaxRequestIDBytes+1), "\xff"} {
		if _, err := writes[0].same(id); !errors.As(err, &bad) || bad.Violations[0].Field != "request_id" {
			t.Errorf("request id %q: %v", id, err)
		}
	}
}

// mustImport imports items and waits until the release is ready.
func mustImport(t *testing.T, c *Collection, job string, items []Item) ImportInfo {
	t.Helper()
	if _, err := c.StartImport(t.Context(), ImportOptions{JobID: job}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.WriteImport(t.Context(), job, ImportRows{Sequence: 1, Items: items}, true); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CommitImport(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	info, err := c.WaitImport(t.Context(), job)
	if err != nil || info.State != ReleaseReady {
		t.Fatalf("%+v, %v", info, err)
	}
	return info
}

// TestFailedRequestIsTriedAgain: a refused request, and one that came to nothing, are not remembered.
func TestFailedRequestIsTriedAgain(t *testing.T) {
	c := newTestCollection(t, 1, L2)
	wrong := LSN(5)
	it := Item{ID: "a", Vector: []float32{1}, IfRevision: &wrong}
	if _, err := c.UpsertWith(t.Context(), []Item{it}, WriteOptions{RequestID: "r"}); !errors.As(err, new(*RevisionMismatchError)) {
		t.Fatal(err)
	}
	update := []AttributesUpdate{{ID: "a"}}
	if missing, _, err := c.UpdateAttributesWith(t.Context(), update, WriteOptions{RequestID: "q"}); err != nil || len(missing) != 1 {
		t.Fatal(missing, err)
	}
	it.IfRevision = nil
	if rev, err := c.UpsertWith(t.Context(), []Item{it}, WriteOptions{RequestID: "r"}); err != nil || rev != 1 {
		t.Errorf("revision %d, %v", rev, err)
	}
	if missing, rev, err := c.UpdateAttributesWith(t.Context(), update, WriteOptions{RequestID: "q"}); err != nil || len(missing) != 0 || rev != 2 {
		t.Errorf("missing %v, revision %d, %v", missing, rev, err)
	}
}

// TestSameRequestAtOnce: of many calls with one id, however they meet in groups, one writes, and all get its answer.
func TestSameRequestAtOnce(t *testing.T) {
	c := newTestCollection(t, 1, L2)
	for round := range 20 {
		id := fmt.Sprint(round)
		revs := make([]LSN, 8)
		var wg sync.WaitGroup
		for i := range revs {
			wg.Go(func() {
				var err error
				if revs[i], err = c.UpsertWith(t.Context(), []Item{{ID: "a", Vector: []float32{1}}}, WriteOptions{RequestID: id}); err != nil {
					t.Error(err)
				}
				if it, err := c.Get(t.Context(), "a"); err != nil || it.Revision != revs[i] {
					t.Errorf("answered revision %d, reads %d, %v", revs[i], it.Revision, err)
				}
			})
		}
		wg.Wait()
		if len(slices.Compact(revs)) != 1 || c.Revision() != LSN(round+1) {
			t.Fatalf("round %d: revisions %v, at %d", round, revs, c.Revision())
		}
	}
	// In one group, as the writer may form it.
	r := c.published.Load()
	request := func(x float32) *write {
		w := &write{mutations: []mutation{{kind: storage.LogPutItem, id: "b", vector: []float32{x}, row: encodeVector([]float32{x})}}, done: make(chan error, 1)}
		w.identify("twins")
		return w
	}
	first, twin, other := request(1), request(1), request(2)
	g := &writeGroup{writes: []*write{first, twin, other}, requests: c.requests}
	r.resolveGroup(g)
	if len(g.writes) != 1 {
		t.Fatalf("%d writes of the group are made", len(g.writes))
	}
	if err := r.commit(g); err != nil {
		t.Fatal(err)
	}
	r.groups <- g
	if err := <-other.done; !errors.As(err, new(*InvalidError)) {
		t.Errorf("another request of the same id: %v", err)
	}
	if err := errors.Join(<-first.done, <-twin.done); err != nil || first.rev != twin.rev {
		t.Errorf("%v, revisions %d and %d", err, first.rev, twin.rev)
	}
}

// TestRequestsForget: the window holds, by number and by time, and what is forgotten in memory is forgotten on the disk.
func TestRequestsForget(t *testing.T) {
	q := &requests{byID: map[string]*request{}}
	now := int64(1e15)
	for i := range MaxRequests + requestsSlack {
		q.add(&request{ID: fmt.Sprint(i % (MaxRequests + 100)), Time: now, lsn: LSN(2*i + 1)})
		if below := q.stale(now); below != 0 {
			t.Fatalf("forgets below %d after %d", below, i+1)
		}
	}
	q.add(&request{ID: "last", Time: now, lsn: 1e6})
	below := q.stale(now)
	q.forget(below)
	if len(q.order) != MaxRequests || q.order[0].lsn < below || q.get("last", now) == nil {
		t.Fatalf("%d remembered, the first at %d", len(q.order), q.order[0].lsn)
	}
	if q.get("150", now) == nil || len(q.byID) > MaxRequests {
		t.Error("an id that was used again is forgotten with its older use")
	}
	if below := q.stale(now + RequestTime.Microseconds()); below != 0 {
		t.Error("forgets before it is worth the while")
	}
	if below = q.stale(now + 2*RequestTime.Microseconds()); below != 1e6+1 {
		t.Errorf("forgets below %d", below)
	}
	if q.forget(below); len(q.order)+len(q.byID) != 0 {
		t.Errorf("%d and %d left", len(q.order), len(q.byID))
	}

	c, clock := clocked(t, 1)
	for i := range 10 {
		if _, _, err := c.DeleteWith(t.Context(), []string{"a"}, WriteOptions{RequestID: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
		clock.advance(RequestTime / 4)
	}
	stored := 0
	for _, err := range c.engine.store.Requests(c.id) {
		if err != nil {
			t.Fatal(err)
		}
		stored++
	}
	if stored != 5 {
		t.Errorf("%d requests are stored", stored)
	}
}

// TestRequestsUnderPowerLoss: what was acknowledged is remembered after any loss of power, and what is remembered was made.
func TestRequestsUnderPowerLoss(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fsys := crashfs.New()
		e, err := Open(context.Background(), "store", testOptions(fsys))
		if err != nil {
			t.Fatal(err)
		}
		c, err := e.CreateCollection(context.Background(), CollectionConfig{Name: "c", Dim: 1, Metric: L2})
		if err != nil {
			t.Fatal(err)
		}
		n := rapid.IntRange(1, 6).Draw(t, "writes")
		put := func(c *Collection, i int) LSN {
			rev, err := c.UpsertWith(context.Background(), []Item{{ID: fmt.Sprint(i), Vector: []float32{1}}}, WriteOptions{RequestID: fmt.Sprint(i)})
			if err != nil {
				t.Fatal(err)
			}
			return rev
		}
		for i := range n {
			put(c, i)
		}
		crashed := fsys.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rapid.IntRange(0, 100).Draw(t, "unsynced"),
			RNG: rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))})
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		if e, err = Open(context.Background(), "store", testOptions(crashed)); err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		if c, err = e.Collection("c"); err != nil {
			t.Fatal(err)
		}
		for i := range n {
			if rev := put(c, i); rev != LSN(i+1) {
				t.Fatalf("request %d was made at %d, answers %d", i, i+1, rev)
			}
		}
	})
}
