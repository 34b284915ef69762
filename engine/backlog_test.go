package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/segue-ann/segue/internal/crashfs"
	"github.com/segue-ann/segue/storage"
)

// heldOpen is Open, but for starting the collections: their backlog stays as recovery left it, until the test works it off.
func heldOpen(t *testing.T, fs vfs.FS) *Collection {
	t.Helper()
	o := testOptions(fs)
	o.ensureDefaults()
	store, err := storage.Open("store", o.Store)
	if err != nil {
		t.Fatal(err)
	}
	e := &Engine{opts: o, store: store, byName: make(map[string]*Collection)}
	e.exclusions.init()
	rows, err := store.Collections()
	if err != nil || len(rows) != 1 {
		t.Fatalf("%d collections, %v", len(rows), err)
	}
	c, err := openCollection(t.Context(), e, rows[0])
	if err != nil {
		t.Fatal(err)
	}
	if r := c.published.Load(); r.filters.Loading() {
		r.loadFilters(t.Context())
	}
	e.byName[rows[0].Name] = c
	return c
}

// begin starts what heldOpen left, and closes it with the test.
func begin(t *testing.T, c *Collection) {
	t.Helper()
	c.start()
	if err := c.published.Load().settle(t.Context()); err != nil {
		t.Error(err)
	}
	if err := c.engine.Close(); err != nil {
		t.Error(err)
	}
}

// tailed makes a store whose snapshot lacks the last changes: items that came, that changed their vector, their attributes
// only, that went, and that went and came again. It returns what there is in the end.
func tailed(t *testing.T, fs vfs.FS, metric Metric, profile []Interest) *oracle {
	t.Helper()
	rng := rand.New(rand.NewPCG(21, uint64(metric)))
	e, err := Open(t.Context(), "store", testOptions(fs))
	if err != nil {
		t.Fatal(err)
	}
	c, err := e.CreateCollection(t.Context(), CollectionConfig{Name: "tracks", Dim: exactDim, Metric: metric})
	if err != nil {
		t.Fatal(err)
	}
	items := rankedItems(rng, 150)
	mustUpsert(t, c, items[:100]...)
	if _, err := c.CreateSnapshot(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.UpsertProfiles(t.Context(), []Profile{{UserID: "listener", Interests: profile}}); err != nil {
		t.Fatal(err)
	}
	truth := oracleOf(metric, items[:100])
	put := func(its ...Item) {
		mustUpsert(t, c, its...)
		maps.Copy(truth.items, oracleOf(metric, its).items)
	}
	remove := func(its ...Item) {
		var ids []string
		for _, it := range its {
			ids = append(ids, it.ID)
			delete(truth.items, it.ID)
		}
		if _, _, err := c.Delete(t.Context(), ids); err != nil {
			t.Fatal(err)
		}
	}
	put(items[100:]...)
	for i := range items[:30] {
		items[i].Vector = exactVector(rng)
	}
	put(items[:30]...)
	for i := range items[20:40] { // some of which changed before
		items[20+i].Attributes = Attributes{{Name: "plays", Value: Value{Type: Int, Int: int64(500 + i)}},
			{Name: "released", Value: Value{Type: Timestamp, Time: oracleTime()}}}
	}
	put(items[20:40]...)
	remove(items[35:60]...)
	remove(items[110:120]...) // that came after the snapshot
	put(items[50:55]...)
	put(items[115:118]...)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return truth
}

// TestBacklogAnswers: from the first moment after a restart, at every step of the backlog and after it, requests of every form
// are answered as the oracle does that knows only the newest state.
func TestBacklogAnswers(t *testing.T) {
	notUnderRace(t)
	for _, metric := range []Metric{Cosine, InnerProduct, L2} {
		t.Run(fmt.Sprint(metric), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(22, uint64(metric)))
			profile := []Interest{{Vector: exactVector(rng), Weight: 2}, {Vector: exactVector(rng)}}
			fs := vfs.NewMem()
			truth := &requestOracle{oracle: tailed(t, fs, metric, profile)}
			c := heldOpen(t, fs)
			r := c.published.Load()
			if r.snapshotLSN.Load() != 100 {
				t.Fatalf("recovered from LSN %d", r.snapshotLSN.Load())
			}
			items := slices.SortedFunc(maps.Values(truth.items), func(a, b Item) int { return strings.Compare(a.ID, b.ID) })
			last := 1 << 30
			for step := 0; last > 0; step++ {
				waiting, hidden := r.index.Backlog()
				if step == 0 && (waiting < 50 || hidden < 50) || waiting+hidden >= last {
					t.Fatalf("step %d: %d wait, %d are hidden, %d before", step, waiting, hidden, last)
				}
				last = waiting + hidden
				rapid.Check(t, func(t *rapid.T) {
					answersAs(t, c, truth, items, profile)
				})
				if err := r.index.Check(); err != nil {
					t.Fatal(err)
				}
				if last > 0 {
					if err := r.workOff(); err != nil {
						t.Fatal(err)
					}
				}
			}
			begin(t, c)
		})
	}
}

// answersAs compares a request with the oracle, and a filtered one.
func answersAs(t *rapid.T, c *Collection, truth *requestOracle, items []Item, profile []Interest) {
	rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "rng"), 0))
	req := drawRequest(t, rng, items)
	res, err := c.Search(context.Background(), req)
	if err != nil {
		t.Fatal(err)
	}
	if err := truth.differs(&req, profile, res); err != nil {
		t.Fatalf("%+v: %v", req, err)
	}
	expr := fmt.Sprintf("plays >= %d", rapid.IntRange(0, 1000).Draw(t, "plays"))
	some := &oracle{metric: truth.metric, items: map[string]Item{}}
	for _, id := range matching(t, truth.items, expr) {
		some.items[id] = truth.items[id]
	}
	q := exactVector(rng)
	f, err := c.ParseFilter(expr)
	if err != nil {
		t.Fatal(err)
	}
	plain := SearchRequest{Query: Query{Vector: q}, K: rapid.IntRange(1, 60).Draw(t, "k"), Ef: 400, Filter: f}
	switch rapid.IntRange(0, 2).Draw(t, "effort") {
	case 0:
		plain.Exact, plain.Ef = true, 0
	case 1:
		plain.TargetRecall, plain.Ef = 1, 0
	}
	if res, err = c.Search(context.Background(), plain); err != nil {
		t.Fatal(err)
	}
	if err := some.agrees(q, plain.K, "", res.Neighbors); err != nil {
		t.Fatalf("%s: %v", expr, err)
	}
}

// TestBacklogTakesWrites: writes to items that wait or are hidden, in the middle of the backlog, leave what was written.
func TestBacklogTakesWrites(t *testing.T) {
	fs := vfs.NewMem()
	truth := tailed(t, fs, L2, []Interest{{Vector: make1(exactDim)}})
	c := heldOpen(t, fs)
	r := c.published.Load()
	rng := rand.New(rand.NewPCG(23, 1))
	ids := slices.Sorted(maps.Keys(truth.items))
	lsn := LSN(r.committed.Load())
	for round := range 12 {
		var muts []mutation
		for range 8 {
			id := ids[rng.IntN(len(ids))]
			lsn++
			if rng.IntN(3) == 0 {
				muts = append(muts, mutation{kind: storage.LogDeleteItem, id: id, lsn: lsn})
				delete(truth.items, id)
				continue
			}
			it := Item{ID: id, Vector: exactVector(rng)}
			truth.items[id] = it
			muts = append(muts, mutation{kind: storage.LogPutItem, id: id, lsn: lsn, vector: it.Vector})
		}
		if err := r.apply(muts, atOnce); err != nil {
			t.Fatal(err)
		}
		if round%4 == 3 {
			if err := r.shorten(t.Context(), 20-round); err != nil {
				t.Fatal(err)
			}
			if waiting, _ := r.index.Backlog(); waiting > 20-round {
				t.Fatalf("%d wait", waiting)
			}
		}
		q := exactVector(rng)
		for _, exact := range []bool{true, false} {
			res, err := c.Search(t.Context(), SearchRequest{Query: Query{Vector: q}, K: 30, Exact: exact})
			if err != nil {
				t.Fatal(err)
			}
			if err := truth.agrees(q, 30, "", res.Neighbors); err != nil {
				t.Fatalf("round %d, exact %v: %v", round, exact, err)
			}
		}
	}
	if err := r.shorten(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if err := r.index.Check(); err != nil {
		t.Fatal(err)
	}
	if r.index.Len() != len(truth.items) {
		t.Fatalf("%d in the graph, want %d", r.index.Len(), len(truth.items))
	}
	begin(t, c)
}

// TestRestartsWithBacklogLoseNothing loses power again and again while a backlog is worked off and writes come, and while
// nobody waits for it: each restart finds every acknowledged write, at once.
func TestRestartsWithBacklogLoseNothing(t *testing.T) {
	rng := rand.New(rand.NewPCG(24, 1))
	fs := crashfs.New()
	truth := oracleOf(L2, nil)
	ids := 80
	for round := range 25 {
		e, err := Open(t.Context(), "store", testOptions(fs))
		if err != nil {
			t.Fatal(err)
		}
		if round == 0 {
			if _, err := e.CreateCollection(t.Context(), CollectionConfig{Name: "tracks", Dim: 8, Metric: L2}); err != nil {
				t.Fatal(err)
			}
		}
		c, err := e.Collection("tracks")
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			q := randomVector(rng, 8)
			res, err := c.Search(t.Context(), SearchRequest{Query: Query{Vector: q}, K: 10, Ef: 400})
			if err != nil {
				t.Fatal(err)
			}
			if err := truth.agrees(q, 10, "", res.Neighbors); err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
		}
		if c.Len() != len(truth.items) {
			t.Fatalf("round %d: %d items, want %d", round, c.Len(), len(truth.items))
		}
		for range 1 + rng.IntN(6) {
			var items []Item
			for range 1 + rng.IntN(12) {
				items = append(items, Item{ID: fmt.Sprint("id", rng.IntN(ids)), Vector: randomVector(rng, 8)})
			}
			mustUpsert(t, c, items...)
			maps.Copy(truth.items, oracleOf(L2, items).items)
			gone := fmt.Sprint("id", rng.IntN(ids))
			if _, _, err := c.Delete(t.Context(), []string{gone}); err != nil {
				t.Fatal(err)
			}
			delete(truth.items, gone)
		}
		if round%8 == 5 {
			info, err := c.CreateSnapshot(t.Context()) // waits for the backlog
			if err != nil || info.Items != len(truth.items) || info.LSN != c.Revision() {
				t.Fatalf("%+v, %v", info, err)
			}
		}
		after := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(2) * 50, RNG: rng})
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		fs = after
	}
	if faults := findings(t, fs); len(faults) > 0 {
		t.Errorf("check finds %v", faults)
	}
}

func TestSnapshotOfBacklogEnds(t *testing.T) {
	fs := vfs.NewMem()
	tailed(t, fs, L2, []Interest{{Vector: make1(exactDim)}})
	c := heldOpen(t, fs)
	r := c.published.Load()
	r.noteBacklog()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.CreateSnapshot(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a snapshot that cannot wait: %v", err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := c.CreateSnapshot(context.Background())
		done <- err
	}()
	for r.calls.n.Load() == 0 || !r.snapshotting.Load() {
		select {
		case err := <-done:
			t.Fatalf("it did not wait: %v", err)
		default:
		}
	}
	// A close does not wait for the backlog.
	if err := r.close(); err != nil {
		t.Error(err)
	}
	if err := c.engine.store.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Errorf("a snapshot of a closing collection: %v", err)
	}
}

func TestLoadingTellsHowFar(t *testing.T) {
	fs := vfs.NewMem()
	tailed(t, fs, L2, []Interest{{Vector: make1(exactDim)}})
	o := testOptions(fs)
	o.Loading = new(Loading)
	if got := o.Loading.Progress().String(); got != "opening the store" {
		t.Errorf("before: %s", got)
	}
	open(t, "store", o)
	if got := o.Loading.Progress(); got.String() != "ready" || got.Share() != 1 {
		t.Errorf("in the end: %+v", got)
	}
	for part := (LoadProgress{Total: 3}); part.Done < 4; part.Done++ {
		if want := min(1, float64(part.Done)/3); part.Share() != want {
			t.Errorf("%+v: share %g", part, part.Share())
		}
	}
	for want, p := range map[string]LoadProgress{
		"opening the store":                         {Phase: PhaseStore},
		"reading the snapshot of tracks, 33 %":      {Collection: "tracks", Phase: PhaseSnapshot, Done: 1, Total: 3},
		"reading the snapshot of tracks, 100 %":     {Collection: "tracks", Phase: PhaseSnapshot, Done: 4, Total: 3},
		"rebuilding the graph of tracks, 2048 done": {Collection: "tracks", Phase: PhaseItems, Done: 2048},
		"replaying the log of tracks":               {Collection: "tracks", Phase: PhaseLog},
	} {
		if got := p.String(); got != want {
			t.Errorf("%+v is %q, want %q", p, got, want)
		}
	}
	var none *Loading
	none.begin("", PhaseLog, 1)
	none.add(1)
}

// TestTableLoadRefuses changes what rows of the items section say: each change is refused, and none is believed.
func TestTableLoadRefuses(t *testing.T) {
	row := func(lsn LSN, id, attributes string) []byte {
		src := newTable()
		src.entries.set(0, id, lsn, []byte(attributes))
		return appendItemRow(nil, src.entries.at(0))
	}
	none := []byte{0, 0, 0, 0}
	good := slices.Concat(row(7, "a", "xyz"), none, row(9, "bb", ""))
	load := func(slots uint32, data []byte) (*table, error) {
		l := newTableLoad(slots, 2, 1)
		return l.table, l.slab(0, 0, slots, data)
	}
	tab, err := load(3, good)
	if err != nil {
		t.Fatal(err)
	}
	if slot, ok := tab.slotOf("a"); !ok || slot != 0 || tab.entries.at(0).lsn() != 7 || string(tab.entries.at(0).attributes()) != "xyz" {
		t.Error("a is not as it was written")
	}
	if slot, ok := tab.slotOf("bb"); !ok || slot != 2 || tab.len() != 2 || tab.entries.at(1) != nil {
		t.Error("bb is not as it was written, or slot 1 holds something")
	}
	tab.entries.set(1, "c", 11, []byte("later")) // a loaded table takes writes
	tab.bind("c", 1)
	tab.entries.set(0, "a", 12, []byte("newer"))
	tab.entries.compact(8)
	if got := string(tab.entries.at(0).attributes()) + string(tab.entries.at(2).idBytes()); got != "newerbb" {
		t.Errorf("after compaction: %q", got)
	}
	long := append([]byte(nil), good...)
	long[0] = 0xff
	overlong := append([]byte(nil), good...)
	overlong[12] = 0xff // length of the id
	for what, data := range map[string][]byte{
		"cut":                good[:len(good)-1],
		"one row less":       good[:len(good)-len(row(9, "bb", ""))],
		"one row more":       append(append([]byte(nil), good...), none...),
		"a byte of a size":   append(append([]byte(nil), good...), 1),
		"a size beyond":      long,
		"an id beyond":       overlong,
		"an empty id":        slices.Concat(row(7, "", "xyz"), none, none),
		"an item that comes": slices.Concat(row(7, "a", ""), none, row(9, "a", "")),
	} {
		if _, err := load(3, data); !errors.Is(err, errItemsSection) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
