package engine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/segue-ann/segue/internal/crashfs"
)

// TestModel runs random operations, restarts and power losses against a map with an exact search. Every
// result must agree, for every query form; after each step the graph's invariants must hold.
//
// Power loss is simulated: the disk is cloned with what was synced, and a random share of what was not.
func TestModel(t *testing.T) {
	for _, metric := range []Metric{Cosine, InnerProduct, L2} {
		t.Run(fmt.Sprint(metric), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				m := newModel(t, metric)
				defer m.close(t)
				t.Repeat(map[string]func(*rapid.T){
					"upsert":    m.upsert,
					"upsert2":   m.upsert, // more of them than of what removes
					"delete":    m.delete,
					"update":    m.updateAttributes,
					"filter":    m.filter,
					"exclude":   m.exclude,
					"allowed":   m.searchAllowed,
					"profile":   m.profile,
					"time":      m.time,
					"sweep":     m.sweep,
					"search":    m.search,
					"list":      m.list,
					"snapshot":  m.snapshot,
					"restart":   m.restart,
					"powerLoss": m.powerLoss,
					"import":    m.importStart,
					"rows":      m.importRows,
					"rows2":     m.importRows,
					"commit":    m.importCommit,
					"ready":     m.importReady,
					"cancel":    m.importCancel,
					"publish":   m.publish,
					"rollback":  m.rollback,
					"":          m.check,
				})
			})
		})
	}
}

const modelDim = 5

type model struct {
	fs       *crashfs.FS
	e        *Engine
	c        *Collection
	truth    *oracle
	profiles map[string][]float32
	excluded map[string]map[string]bool // by set
	lsn      LSN
	clock    *fakeClock
	releaseModel
}

func newModel(t *rapid.T, metric Metric) *model {
	m := &model{
		fs:       crashfs.New(),
		truth:    oracleOf(metric, nil),
		profiles: map[string][]float32{},
		excluded: map[string]map[string]bool{},
		clock:    newFakeClock(),
	}
	m.init()
	m.open(t)
	var err error
	m.c, err = m.e.CreateCollection(context.Background(), CollectionConfig{Name: "c", Dim: modelDim, Metric: metric, M: 4, EfConstruction: 8})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *model) open(t *rapid.T) {
	o := testOptions(m.fs)
	o.Now = m.clock.now
	e, err := Open(context.Background(), "store", o)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	m.e = e
	if m.c, _ = e.Collection("c"); m.c != nil {
		m.reopened(t)
	}
}

func (m *model) close(t *rapid.T) {
	if err := m.e.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
}

func drawID(t *rapid.T) string { return fmt.Sprintf("id%02d", rapid.IntRange(0, 40).Draw(t, "id")) }

// drawVector draws small integers, so that equal vectors and equal distances are common.
func drawVector(t *rapid.T) []float32 {
	v := make([]float32, modelDim)
	for i := range v {
		v[i] = float32(rapid.IntRange(-3, 3).Draw(t, "x"))
	}
	if v[0] == 0 {
		v[0] = 1 // never the zero vector
	}
	return v
}

func (m *model) upsert(t *rapid.T) {
	items := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Item {
		return Item{ID: drawID(t), Vector: drawVector(t), Attributes: genAttributes().Draw(t, "attributes"), ExpireTime: m.drawExpiry(t)}
	}), 1, 12).Draw(t, "items")
	want := m.drawConditions(t, items)
	lsn, err := m.c.Upsert(context.Background(), items)
	if !sameMismatch(err, want) {
		t.Fatalf("%v, want %v", err, want)
	}
	if err != nil {
		return
	}
	m.advance(t, lsn, len(items))
	for i, it := range items {
		it.Revision, it.IfRevision = lsn-LSN(len(items)-1-i), nil
		m.truth.items[it.ID] = it
		m.touch(it.ID)
	}
}

func (m *model) advance(t *rapid.T, lsn LSN, by int) {
	if m.lsn += LSN(by); lsn != m.lsn || m.c.Revision() != lsn {
		t.Fatalf("LSN %d, visible %d, want %d", lsn, m.c.Revision(), m.lsn)
	}
}

func (m *model) delete(t *rapid.T) {
	ids := rapid.SliceOfN(rapid.Custom(drawID), 1, 6).Draw(t, "ids")
	missing, lsn, err := m.c.Delete(context.Background(), ids)
	if err != nil {
		t.Fatal(err)
	}
	m.advance(t, lsn, len(ids))
	var want []string
	for _, id := range ids {
		if _, ok := m.truth.items[id]; !ok {
			want = append(want, id)
		}
		delete(m.truth.items, id)
		m.touch(id)
	}
	if !slices.Equal(missing, want) {
		t.Fatalf("delete %v: missing %v, want %v", ids, missing, want)
	}
}

func (m *model) profile(t *rapid.T) {
	user := drawID(t)
	if rapid.Bool().Draw(t, "put") {
		v := drawVector(t)
		lsn, err := m.c.UpsertProfiles(context.Background(), []Profile{{UserID: user, Interests: []Interest{{Vector: v}}}})
		if err != nil {
			t.Fatal(err)
		}
		m.advance(t, lsn, 1)
		m.profiles[user] = v
		m.touchProfile(user)
		return
	}
	lsn, err := m.c.DeleteProfile(context.Background(), user)
	if _, ok := m.profiles[user]; !ok {
		if !errors.As(err, new(*NotFoundError)) {
			t.Fatalf("deleting an unknown profile: %v", err)
		}
		m.advance(t, m.lsn+1, 1) // it is logged for releases that may have one
		m.touchProfile(user)
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	m.advance(t, lsn, 1)
	delete(m.profiles, user)
	m.touchProfile(user)
}

// search compares exact searches and searches with a beam as wide as the collection; both must be perfect.
func (m *model) search(t *rapid.T) {
	req := SearchRequest{K: rapid.IntRange(1, 60).Draw(t, "k"), MinRevision: m.lsn}
	if rapid.Bool().Draw(t, "exact") {
		req.Exact = true
	} else {
		req.Ef = 200
	}
	var (
		q       []float32
		skip    string
		missing bool
	)
	switch rapid.IntRange(0, 2).Draw(t, "form") {
	case 0:
		q = drawVector(t)
		req.Query.Vector = q
	case 1:
		req.Query.ItemID = drawID(t)
		it, ok := m.truth.items[req.Query.ItemID]
		q, skip, missing = it.Vector, it.ID, !ok
	case 2:
		req.Query.UserID = drawID(t)
		v, ok := m.profiles[req.Query.UserID]
		q, missing = v, !ok
	}
	res, err := m.c.Search(context.Background(), req)
	if missing {
		if !errors.As(err, new(*NotFoundError)) {
			t.Fatalf("search from something unknown: %v", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := m.truth.agrees(q, req.K, skip, res.Neighbors); err != nil {
		t.Fatalf("%+v: %v", req, err)
	}
	if complete := len(res.Neighbors) == req.K; complete != (res.Info.Completeness == Complete) {
		t.Fatalf("%d of %d neighbors but %v", len(res.Neighbors), req.K, res.Info.Completeness)
	}
	if res.Info.Revision != m.lsn {
		t.Fatalf("revision %d, want %d", res.Info.Revision, m.lsn)
	}
}

func (m *model) list(t *rapid.T) {
	var got []Item
	limit, after := rapid.IntRange(1, 10).Draw(t, "limit"), ""
	for more := true; more; {
		var page []Item
		var err error
		if page, more, err = m.c.List(context.Background(), after, limit); err != nil {
			t.Fatal(err)
		}
		if got = append(got, page...); len(page) > 0 {
			after = page[len(page)-1].ID
		}
	}
	if !slices.IsSortedFunc(got, func(a, b Item) int { return strings.Compare(a.ID, b.ID) }) || len(got) != len(m.truth.items) {
		t.Fatalf("listed %d items, want %d in order", len(got), len(m.truth.items))
	}
	for _, it := range got {
		if want := m.truth.items[it.ID]; !sameItem(it, want) {
			t.Fatalf("listed %+v, want %+v", it, want)
		}
	}
}

func (m *model) snapshot(t *rapid.T) {
	info, err := m.c.CreateSnapshot(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if info.LSN != m.lsn || info.Items != m.c.Len() {
		t.Fatalf("snapshot %+v of %d items at LSN %d", info, len(m.truth.items), m.lsn)
	}
	kept, err := m.c.Snapshots(context.Background())
	if err != nil || len(kept) == 0 || len(kept) > snapshotsKept || kept[0].Generation != info.Generation || kept[0].Items != info.Items {
		t.Fatalf("snapshots kept %+v, %v", kept, err)
	}
}

func (m *model) restart(t *rapid.T) {
	m.close(t)
	m.open(t)
}

// powerLoss goes on with the disk as a loss of power might leave it. Everything was acknowledged: all is there.
func (m *model) powerLoss(t *rapid.T) {
	crashed := m.fs.CrashClone(vfs.CrashCloneCfg{
		UnsyncedDataPercent: rapid.IntRange(0, 100).Draw(t, "unsynced"),
		RNG:                 rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)),
	})
	m.close(t)
	m.fs = crashed
	m.open(t)
}

func (m *model) check(t *rapid.T) {
	if err := m.c.published.Load().index.Check(); err != nil {
		t.Fatal(err)
	}
	if m.c.Len()-m.unswept() != len(m.truth.items) || m.c.Revision() != m.lsn {
		t.Fatalf("%d items, %d expired, at LSN %d, want %d at %d", m.c.Len(), m.unswept(), m.c.Revision(), len(m.truth.items), m.lsn)
	}
	id := drawID(t)
	got, err := m.c.Get(context.Background(), id)
	want, ok := m.truth.items[id]
	switch {
	case !ok && !errors.As(err, new(*NotFoundError)):
		t.Fatalf("get of unknown %q: %v", id, err)
	case ok && err != nil:
		t.Fatal(err)
	case ok && !sameItem(got, want):
		t.Fatalf("got %+v, want %+v", got, want)
	}
}

func sameItem(a, b Item) bool {
	return a.ID == b.ID && a.Revision == b.Revision && a.ExpireTime.Equal(b.ExpireTime) && slices.Equal(a.Vector, b.Vector) &&
		string(appendAttributes(nil, a.Attributes)) == string(appendAttributes(nil, b.Attributes))
}
