package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/segue-ann/segue/storage"
)

// filled returns a store on fs with n items, a snapshot after each listed count, and what it should hold.
func filled(t *testing.T, fs vfs.FS, n int, snapshotAt ...int) *oracle {
	t.Helper()
	rng := rand.New(rand.NewPCG(uint64(n), 1))
	e, err := Open(t.Context(), "store", testOptions(fs))
	if err != nil {
		t.Fatal(err)
	}
	c, err := e.CreateCollection(t.Context(), CollectionConfig{Name: "tracks", Dim: 8, Metric: Cosine})
	if err != nil {
		t.Fatal(err)
	}
	items := randomItems(rng, n, 8)
	at := 0
	for _, stop := range append(snapshotAt, n) {
		if stop > at {
			mustUpsert(t, c, items[at:stop]...)
		}
		at = stop
		if stop < n || len(snapshotAt) > 0 && snapshotAt[len(snapshotAt)-1] == n {
			if _, err := c.CreateSnapshot(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return oracleOf(Cosine, items)
}

// logBuffer keeps what several goroutines log.
type logBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

// Write implements io.Writer.
func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// verify opens the store and compares everything with the oracle. It returns what was logged.
func verify(t *testing.T, fs vfs.FS, want *oracle) (log string) {
	t.Helper()
	var buf logBuffer
	o := testOptions(fs)
	o.Logger = slog.New(slog.NewTextHandler(&buf, nil))
	o.Store.Logger = slog.New(slog.DiscardHandler)
	e := open(t, "store", o)
	c, err := e.Collection("tracks")
	if err != nil {
		t.Fatal(err)
	}
	if c.Len() != len(want.items) || int(c.Revision()) != len(want.items) {
		t.Errorf("%d items at LSN %d, want %d", c.Len(), c.Revision(), len(want.items))
	}
	if err := c.published.Load().index.Check(); err != nil {
		t.Error(err)
	}
	rng := rand.New(rand.NewPCG(3, 3))
	for range 20 {
		q := randomVector(rng, 8)
		res, err := c.Search(t.Context(), SearchRequest{Query: Query{Vector: q}, K: 10, Ef: 400})
		if err != nil {
			t.Fatal(err)
		}
		if err := want.agrees(q, 10, "", res.Neighbors); err != nil {
			t.Error(err)
		}
	}
	return buf.String()
}

func TestRecoveryReplaysTheTail(t *testing.T) {
	for _, at := range [][]int{nil, {100}, {1, 200}, {100, 200, 300}, {300}} {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			fs := vfs.NewMem()
			want := filled(t, fs, 300, at...)
			log := verify(t, fs, want)
			last := 0
			if len(at) > 0 {
				last = at[len(at)-1]
			}
			if !strings.Contains(log, fmt.Sprintf("snapshot_lsn=%d lsn=300", last)) {
				t.Errorf("recovered otherwise than from LSN %d: %s", last, log)
			}
		})
	}
}

// TestRecoveryFallsBackOnDamagedSnapshots drops slabs of the newest, then of both snapshots: recovery must
// warn, use the older one, then rebuild from items, and always give the right answers.
func TestRecoveryFallsBackOnDamagedSnapshots(t *testing.T) {
	for damaged := range 3 {
		t.Run(fmt.Sprint(damaged), func(t *testing.T) {
			fs := vfs.NewMem()
			want := filled(t, fs, 300, 100, 200)
			damageSnapshots(t, fs, damaged)
			log := verify(t, fs, want)
			if got := strings.Count(log, "snapshot is not usable"); got != damaged {
				t.Errorf("%d warnings for %d damaged snapshots: %s", got, damaged, log)
			}
			for from, n := range map[int]int{200: 0, 100: 1, 0: 2} {
				if has := strings.Contains(log, fmt.Sprintf("snapshot_lsn=%d lsn=300", from)); has != (n == damaged) {
					t.Errorf("%d damaged: recovered from snapshot %d: %v", damaged, from, has)
				}
			}
		})
	}
}

// damageSnapshots replaces the newest n snapshots by ones whose image is that of other bytes.
func damageSnapshots(t *testing.T, fs vfs.FS, n int) {
	t.Helper()
	s, err := storage.Open("store", storage.Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	rows := s.Collection(1, firstRelease)
	kept, err := rows.Snapshots()
	if err != nil || len(kept) < n {
		t.Fatalf("%d snapshots, %v", len(kept), err)
	}
	for _, k := range kept[:n] {
		r, err := rows.OpenSnapshot(k.Generation)
		if err != nil {
			t.Fatal(err)
		}
		h := r.Header()
		if err := rows.DropSnapshot(k.Generation); err != nil {
			t.Fatal(err)
		}
		w, err := rows.NewSnapshot(k.Generation)
		if err != nil {
			t.Fatal(err)
		}
		for _, sec := range h.Sections {
			for i := range sec.Slabs {
				if err := w.Slab(sec.Name, i, false, []byte("not what the header says")); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := w.Commit(h); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSnapshotIsExact writes a snapshot while writers go on; a store recovered from it at once must hold
// every acknowledged write, whatever went on during the copy.
func TestSnapshotIsExactUnderWrites(t *testing.T) {
	const n, dim = 3000, 8
	fs := vfs.NewMem()
	rng := rand.New(rand.NewPCG(2, 2))
	items := randomItems(rng, n, dim)
	e, err := Open(t.Context(), "store", testOptions(fs))
	if err != nil {
		t.Fatal(err)
	}
	c, err := e.CreateCollection(t.Context(), CollectionConfig{Name: "tracks", Dim: dim, Metric: Cosine})
	if err != nil {
		t.Fatal(err)
	}
	mustUpsert(t, c, items[:1000]...)
	done := make(chan error)
	go func() {
		for i := 1000; i < n; i += 50 {
			if _, err := c.Upsert(context.Background(), items[i:i+50]); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	var infos []SnapshotInfo
	for running := true; running; {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			running = false
		default:
			info, err := c.CreateSnapshot(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if info.Items != int(info.LSN) {
				t.Errorf("snapshot at LSN %d holds %d items", info.LSN, info.Items)
			}
			infos = append(infos, info)
		}
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if len(infos) == 0 {
		t.Fatal("no snapshot was taken")
	}
	verify(t, fs, oracleOf(Cosine, items))
}

// TestReplayIsIdempotent applies a random log from random restart points, each suffix over what is there
// already: the result must not change.
func TestReplayIsIdempotent(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	for range 20 {
		c := newTestCollection(t, 4, L2)
		var log []mutation
		newest := map[string]mutation{}
		for lsn := LSN(1); lsn <= 120; lsn++ {
			m := mutation{kind: storage.LogPutItem, id: fmt.Sprint("i", rng.IntN(25)), lsn: lsn, vector: randomVector(rng, 4)}
			if rng.IntN(3) == 0 {
				m.kind, m.vector = storage.LogDeleteItem, nil
			}
			log = append(log, m)
			newest[m.id] = m
		}
		// As replay sees it: a put carries the newest row, or is a delete where the item is gone.
		replayed := func(m mutation) mutation {
			if m.kind == storage.LogPutItem {
				if last := newest[m.id]; last.kind == storage.LogPutItem {
					return last
				}
				m.kind = storage.LogDeleteItem
			}
			return m
		}
		for range 5 {
			for at := rng.IntN(len(log)); at < len(log); {
				next := min(len(log), at+1+rng.IntN(40))
				var chunk []mutation
				for _, m := range log[at:next] {
					chunk = append(chunk, replayed(m))
				}
				if err := c.published.Load().apply(chunk, atOnce); err != nil {
					t.Fatal(err)
				}
				at = next
			}
		}
		var all []mutation
		for _, m := range log {
			all = append(all, replayed(m))
		}
		if err := c.published.Load().apply(all, atOnce); err != nil {
			t.Fatal(err)
		}
		live := 0
		for id, m := range newest {
			slot, ok := c.published.Load().table.slotOf(id)
			if ok != (m.kind == storage.LogPutItem) {
				t.Fatalf("%s present: %v", id, ok)
			}
			if ok {
				live++
				if got := c.published.Load().table.entries.at(slot).lsn(); got != m.lsn {
					t.Fatalf("%s at LSN %d, want %d", id, got, m.lsn)
				}
			}
		}
		if c.published.Load().index.Len() != live || c.Len() != live {
			t.Fatalf("%d in the graph, %d in the table, want %d", c.published.Load().index.Len(), c.Len(), live)
		}
		if err := c.published.Load().index.Check(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSnapshotsAreTakenByTailLength(t *testing.T) {
	o := testOptions(vfs.NewMem())
	o.SnapshotTail = 100
	e := open(t, "store", o)
	c, err := e.CreateCollection(t.Context(), CollectionConfig{Name: "tracks", Dim: 4, Metric: L2})
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(6, 6))
	for range 12 {
		mustUpsert(t, c, randomItems(rng, 50, 4)...)
	}
	r := c.published.Load()
	// The applier begins snapshots after it made the writes visible: until it is between two groups, another may begin.
	if err := r.within(t.Context(), func() {}); err != nil {
		t.Fatal(err)
	}
	r.background.Wait()
	kept, err := c.Snapshots(t.Context())
	if err != nil || len(kept) == 0 {
		t.Fatalf("%d snapshots, %v", len(kept), err)
	}
	if first, err := r.rows.FirstLSN(); len(kept) == snapshotsKept && (err != nil || LSN(first) != kept[snapshotsKept-1].LSN) {
		t.Errorf("log begins at LSN %d, oldest snapshot is at %d, %v", first, kept[snapshotsKept-1].LSN, err)
	}
}

func TestSnapshotIsExclusive(t *testing.T) {
	c := newTestCollection(t, 4, L2)
	c.published.Load().snapshotting.Store(true)
	if _, err := c.CreateSnapshot(t.Context()); !errors.As(err, new(*BusyError)) {
		t.Errorf("a second snapshot at once: %v", err)
	}
	c.published.Load().snapshotting.Store(false)
	if _, err := c.CreateSnapshot(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestCollectionsSurviveRestart(t *testing.T) {
	fs := vfs.NewMem()
	o := testOptions(fs)
	cfgs := []CollectionConfig{
		{Name: "a", Dim: 3, Metric: L2, M: 8, EfConstruction: 50, Attributes: []AttributeSpec{{Name: "artist", Type: Keyword}, {Name: "t", Type: Timestamp}}},
		{Name: "b", Dim: 1, Metric: InnerProduct},
		{Name: "gone", Dim: 1, Metric: Cosine},
	}
	e, err := Open(t.Context(), "store", o)
	if err != nil {
		t.Fatal(err)
	}
	var before []*Collection
	for _, cfg := range cfgs {
		c, err := e.CreateCollection(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		mustUpsert(t, c, Item{ID: "x", Vector: make1(cfg.Dim)})
		before = append(before, c)
	}
	if err := e.DeleteCollection(t.Context(), "gone"); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Collection("a"); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	e = open(t, "store", o)
	after := e.Collections()
	if len(after) != 2 {
		t.Fatalf("%d collections", len(after))
	}
	for i, c := range after {
		if fmt.Sprint(c.Config()) != fmt.Sprint(before[i].Config()) || !c.CreateTime().Equal(before[i].CreateTime()) || c.Len() != 1 {
			t.Errorf("%+v became %+v", before[i].Config(), c.Config())
		}
	}
	again, err := e.CreateCollection(t.Context(), cfgs[2])
	if err != nil {
		t.Fatal(err)
	}
	if again.Len() != 0 || again.id == before[2].id {
		t.Errorf("a new collection of a deleted name holds %d items, id %d", again.Len(), again.id)
	}
}

func make1(dim int) []float32 {
	v := make([]float32, dim)
	v[0] = 1
	return v
}
