package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// exported is a release as ExportRelease gave it.
type exported struct {
	head    ReleaseExport
	batches []ImportRows
}

func exportOf(t testing.TB, c *Collection, id uint32) exported {
	t.Helper()
	var x exported
	err := c.ExportRelease(t.Context(), id, func(h ReleaseExport) error { x.head = h; return nil },
		func(b ImportRows) error { x.batches = append(x.batches, b); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// into imports the batches from number first on, as far as they go, and waits for the build.
func (x *exported) into(c *Collection, job string) (ImportInfo, error) {
	ctx := context.Background()
	info, err := c.StartImport(ctx, ImportOptions{JobID: job, Model: x.head.Model, Graph: &x.head.Graph})
	if err != nil {
		return info, err
	}
	for _, b := range x.batches {
		if b.Sequence <= info.Sequence {
			continue
		}
		if _, err := c.WriteImport(ctx, job, b, false); err != nil {
			return info, err
		}
	}
	if _, err := c.CommitImport(ctx, job); err != nil {
		return info, err
	}
	return c.WaitImport(ctx, job)
}

// buildElsewhere builds a release of items, some of which come twice, as `segue build` does: in a store of its own.
func buildElsewhere(t testing.TB, cfg CollectionConfig, items []Item, profiles []Profile) (*Collection, exported) {
	t.Helper()
	e := open(t, "build", testOptions(vfs.NewMem()))
	c, err := e.CreateCollection(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	o := ImportOptions{JobID: "build", Model: EmbeddingModel{Name: "m", Version: "1"}}
	if _, err := c.StartImport(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if _, err := c.WriteImport(t.Context(), "build", ImportRows{Sequence: 1, Profiles: profiles}, false); err != nil {
		t.Fatal(err)
	}
	seq := uint64(2)
	for chunk := range slices.Chunk(items, 700) {
		if _, err := c.WriteImport(t.Context(), "build", ImportRows{Sequence: seq, Items: chunk}, false); err != nil {
			t.Fatal(err)
		}
		seq++
	}
	if _, err := c.CommitImport(t.Context(), "build"); err != nil {
		t.Fatal(err)
	}
	info, err := c.WaitImport(t.Context(), "build")
	if err != nil || info.State != ReleaseReady {
		t.Fatal(info, err)
	}
	x := exportOf(t, c, info.Release)
	mustPublish(t, c, info.Release)
	return c, x
}

func graphItems(rng *rand.Rand, n, dim int) []Item {
	items := randomItems(rng, n, dim)
	for i := range items {
		items[i].Attributes = Attributes{{Name: "n", Value: Value{Type: Int, Int: int64(i)}}}
		if i%50 == 3 {
			items[i].ExpireTime = time.Now().Add(time.Hour).UTC().Truncate(time.Microsecond)
		}
	}
	for i := 0; i < n; i += 40 { // a second row of the same id
		again := items[i]
		again.Vector = randomVector(rng, dim)
		items = append(items, again)
	}
	return items
}

// target is a collection of the same config as what is imported, in a store where ids and seeds are other ones.
func target(t testing.TB, cfg CollectionConfig, o Options) (*Engine, *Collection) {
	t.Helper()
	e := open(t, "store", o)
	if _, err := e.CreateCollection(t.Context(), CollectionConfig{Name: "before", Dim: 1, Metric: L2}); err != nil {
		t.Fatal(err)
	}
	c, err := e.CreateCollection(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return e, c
}

// answers are those of some queries by vector, in full.
func answers(t testing.TB, c *Collection, dim int) (all []Neighbor) {
	t.Helper()
	rng := rand.New(rand.NewPCG(5, 5))
	for range 30 {
		res, err := c.Search(t.Context(), SearchRequest{Query: Query{Vector: randomVector(rng, dim)}, K: 10, Ef: 400, WithVectors: true, WithAttributes: true})
		if err != nil {
			t.Fatal(err)
		}
		for i := range res.Neighbors {
			res.Neighbors[i].revision = 0
		}
		all = append(all, res.Neighbors...)
	}
	return all
}

// A release that was built elsewhere answers as it does there, item by item and score by score, with the graph that came
// with it; and still does after a restart.
func TestImportedGraphIsTheOneThatWasBuilt(t *testing.T) {
	for _, metric := range []Metric{Cosine, InnerProduct, L2} {
		const n, dim = 1200, 12
		rng := rand.New(rand.NewPCG(1, uint64(metric)))
		cfg := CollectionConfig{Name: "tracks", Dim: dim, Metric: metric, M: 8, EfConstruction: 40}
		profiles := []Profile{{UserID: "u", Interests: []Interest{{Vector: randomVector(rng, dim), Weight: 2}}}, {UserID: "v", Interests: []Interest{{Vector: randomVector(rng, dim), Weight: 1}}}}
		built, x := buildElsewhere(t, cfg, graphItems(rng, n, dim), profiles)
		o := testOptions(vfs.NewMem())
		e, c := target(t, cfg, o)
		info, err := x.into(c, "day")
		if err != nil || info.State != ReleaseReady || !info.GraphTaken || info.GraphRefused != "" || info.Rejected != 0 || info.Duplicates != 0 || info.Accepted != n+2 || info.Built != n {
			t.Fatalf("%+v, %v", info, err)
		}
		if !x.head.Config.equal(cfg) || x.head.Items != n || x.head.Model.Version != "1" {
			t.Errorf("%+v", x.head)
		}
		mustPublish(t, c, info.Release)
		want, image := answers(t, built, dim), imageOf(t, built.published.Load())
		same := func(c *Collection) {
			t.Helper()
			if err := c.published.Load().index.Check(); err != nil {
				t.Error(err)
			}
			if got := imageOf(t, c.published.Load()); !bytes.Equal(got, image) {
				t.Errorf("%v: the graph is another one", metric)
			}
			if diff := cmp.Diff(want, answers(t, c, dim), cmp.AllowUnexported(Neighbor{})); diff != "" {
				t.Errorf("%v: other answers:\n%s", metric, diff)
			}
			for _, user := range []string{"u", "v"} {
				a, err := built.Profile(t.Context(), user)
				b, err2 := c.Profile(t.Context(), user)
				if a.Revision, b.Revision = 0, 0; err != nil || err2 != nil || cmp.Diff(a, b) != "" {
					t.Errorf("profile %+v, %v; built %+v, %v", b, err2, a, err)
				}
			}
			if item, err := c.Get(t.Context(), x.batches[0].Items[3].ID); err != nil || cmp.Diff(item.ExpireTime, x.batches[0].Items[3].ExpireTime) != "" {
				t.Error(item, err)
			}
		}
		same(c)
		if again, err := x.into(c, "day"); err != nil || again.State != ReleasePublished || !again.GraphTaken {
			t.Errorf("a job that is finished: %+v, %v", again, err)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		var found []string
		if err := Check(t.Context(), "store", o, func(f Finding) { found = append(found, fmt.Sprint(f)) }); err != nil || len(found) > 0 {
			t.Errorf("check: %q, %v", found, err)
		}
		c, err = open(t, "store", o).Collection("tracks")
		if err != nil {
			t.Fatal(err)
		}
		same(c)
	}
}

// imageOf is the image of a release's index.
func imageOf(t testing.TB, r *release) []byte {
	t.Helper()
	image, _, err := r.fixImage(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	b := image.Header()
	for _, sec := range image.Sections() {
		for n := range sec.Slabs {
			if b, err = image.AppendSlab(b, sec.Name, n); err != nil {
				t.Fatal(err)
			}
		}
	}
	return b
}

// equal compares what an export tells of a config with what was asked for.
func (c *CollectionConfig) equal(o CollectionConfig) bool {
	return c.Dim == o.Dim && c.Metric == o.Metric && c.M == o.M && c.EfConstruction == o.EfConstruction
}

// A graph that was built with something else than the collection has is refused before any row, by field and rule; so is one
// that does not belong to the import under way.
func TestGraphThatDoesNotFitIsRefused(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	cfg := CollectionConfig{Name: "tracks", Dim: 6, Metric: L2, M: 5, EfConstruction: 20}
	_, x := buildElsewhere(t, cfg, randomItems(rng, 50, 6), nil)
	for rule, change := range map[string]func(*CollectionConfig){
		"dimension 7":        func(c *CollectionConfig) { c.Dim = 7 },
		"metric COSINE":      func(c *CollectionConfig) { c.Metric = Cosine },
		"m 6":                func(c *CollectionConfig) { c.M = 6 },
		"ef_construction 21": func(c *CollectionConfig) { c.EfConstruction = 21 },
	} {
		other := cfg
		change(&other)
		_, c := target(t, other, testOptions(vfs.NewMem()))
		var bad *InvalidError
		_, err := x.into(c, "day")
		if !errors.As(err, &bad) || len(bad.Violations) != 1 || bad.Violations[0].Reason != ReasonGraphMismatch || bad.Violations[0].Field != "graph.index" ||
			!strings.Contains(bad.Violations[0].Rule, rule) {
			t.Errorf("%s: %v", rule, err)
		}
		if _, err := c.Import(t.Context(), "day"); !errors.As(err, new(*NotFoundError)) {
			t.Errorf("%s: an import was begun: %v", rule, err)
		}
	}
	_, c := target(t, cfg, testOptions(vfs.NewMem()))
	refused := func(what string, field string, err error) {
		t.Helper()
		var bad *InvalidError
		if !errors.As(err, &bad) || bad.Violations[0].Field != field {
			t.Errorf("%s: %v", what, err)
		}
	}
	start := func(g GraphInfo) error {
		_, err := c.StartImport(t.Context(), ImportOptions{JobID: "day", Graph: &g})
		return err
	}
	good := x.head.Graph
	for i := range good.Index {
		g := good
		g.Index = bytes.Clone(good.Index)
		g.Index[i] ^= 4
		refused(fmt.Sprint("header with byte ", i, " flipped"), "graph.index", start(g))
	}
	refused("a cut header", "graph.index", start(GraphInfo{Build: "b", Index: good.Index[:30], Parts: 1}))
	refused("no build", "graph.build", start(GraphInfo{Index: good.Index, Parts: 1}))
	refused("no parts", "graph.parts", start(GraphInfo{Build: "b", Index: good.Index}))
	if err := start(good); err != nil {
		t.Fatal(err)
	}
	other := good
	other.Build = "another"
	refused("another build", "graph.build", start(other))
	for _, p := range []GraphPart{{Slab: 1}, {Section: "links0", Slab: -1}, {Section: "links0", Data: make([]byte, maxGraphPartBytes+1)}, {Section: strings.Repeat("s", 65)}} {
		_, err := c.WriteImport(t.Context(), "day", ImportRows{Sequence: 1, Parts: []GraphPart{p}}, false)
		if !errors.As(err, new(*InvalidError)) {
			t.Errorf("part %.20q %d of %d bytes: %v", p.Section, p.Slab, len(p.Data), err)
		}
	}
	for _, b := range x.batches[:len(x.batches)-1] {
		if _, err := c.WriteImport(t.Context(), "day", b, false); err != nil {
			t.Fatal(err)
		}
	}
	_, err := c.CommitImport(t.Context(), "day")
	refused("a part is missing", "graph_parts", err)
	last := x.batches[len(x.batches)-1]
	if _, err := c.WriteImport(t.Context(), "day", last, true); err != nil {
		t.Fatal(err)
	}
	more := last
	more.Sequence++
	_, err = c.WriteImport(t.Context(), "day", more, false)
	refused("a part too many", "graph_parts", err)
	if err := c.CancelImport(t.Context(), "day"); err != nil {
		t.Fatal(err)
	}

	// An import that takes rows takes no graph any more; one that was only begun does.
	plain := func(job string) {
		t.Helper()
		if _, err := c.StartImport(t.Context(), ImportOptions{JobID: job}); err != nil {
			t.Fatal(err)
		}
	}
	plain("rows")
	if _, err := c.WriteImport(t.Context(), "rows", ImportRows{Sequence: 1, Parts: last.Parts}, false); !errors.As(err, new(*InvalidError)) {
		t.Errorf("a part of no graph: %v", err)
	}
	if _, err := c.WriteImport(t.Context(), "rows", x.batches[0], false); err != nil {
		t.Fatal(err)
	}
	_, err = x.into(c, "rows")
	refused("a graph after rows", "graph.build", err)
	if err := c.CancelImport(t.Context(), "rows"); err != nil {
		t.Fatal(err)
	}
	plain("early")
	if info, err := x.into(c, "early"); err != nil || !info.GraphTaken {
		t.Errorf("%+v, %v", info, err)
	}
}

// Writes made since the import began, or since it was announced before the build, win over what was built: replaced, new and
// deleted items and profiles; and writes after the publication too.
func TestLiveWritesWinOverAnImportedGraph(t *testing.T) {
	const n, dim = 600, 8
	rng := rand.New(rand.NewPCG(3, 3))
	cfg := CollectionConfig{Name: "tracks", Dim: dim, Metric: Cosine, M: 8, EfConstruction: 40}
	items := randomItems(rng, n, dim)
	_, x := buildElsewhere(t, cfg, items, nil)
	_, c := target(t, cfg, testOptions(vfs.NewMem()))
	mustUpsert(t, c, Item{ID: items[0].ID, Vector: randomVector(rng, dim)}, Item{ID: "gone before", Vector: randomVector(rng, dim)})
	model := map[string][]float32{}
	for _, it := range items {
		model[it.ID] = it.Vector
	}
	if _, err := c.StartImport(t.Context(), ImportOptions{JobID: "day"}); err != nil { // announced
		t.Fatal(err)
	}
	write := func(from int) {
		t.Helper()
		for i := from; i < from+20; i++ {
			v := randomVector(rng, dim)
			id := items[i].ID
			if i%3 == 0 {
				if _, _, err := c.Delete(t.Context(), []string{id}); err != nil {
					t.Fatal(err)
				}
				delete(model, id)
				continue
			}
			if i%3 == 1 {
				id = fmt.Sprint("new ", i)
			}
			mustUpsert(t, c, Item{ID: id, Vector: v})
			model[id] = v
		}
	}
	write(10)
	started, err := c.StartImport(t.Context(), ImportOptions{JobID: "day", Model: x.head.Model, Graph: &x.head.Graph})
	if err != nil || started.Sequence != 0 {
		t.Fatal(started, err)
	}
	for i, b := range x.batches {
		if i == len(x.batches)/2 {
			write(50)
		}
		if _, err := c.WriteImport(t.Context(), "day", b, false); err != nil {
			t.Fatal(err)
		}
	}
	write(100)
	info, err := x.into(c, "day")
	if err != nil || !info.GraphTaken {
		t.Fatalf("%+v, %v", info, err)
	}
	write(150)
	mustPublish(t, c, info.Release)
	write(200)
	r := c.published.Load()
	if err := r.index.Check(); err != nil {
		t.Error(err)
	}
	if r.table.len() != len(model) {
		t.Errorf("%d items, want %d", r.table.len(), len(model))
	}
	for id, v := range model {
		if got, err := c.Get(t.Context(), id); err != nil || !slices.Equal(got.Vector, v) {
			t.Errorf("item %s: %v, want %v; %v", id, got.Vector, v, err)
		}
		res, err := c.Search(t.Context(), SearchRequest{Query: Query{Vector: v}, K: 1, Ef: 100})
		if err != nil || len(res.Neighbors) != 1 || res.Neighbors[0].Distance > 1e-5 {
			t.Errorf("the nearest of %s: %v, %v", id, res.Neighbors, err)
		}
	}
}

// Property: whatever happened to the rows or the parts of a graph on the way, the release holds the rows that came, its graph is
// sound, and it is the graph that came only if nothing happened.
func TestGraphIsTakenOnlyOverItsRows(t *testing.T) {
	const n, dim = 120, 4
	cfg := CollectionConfig{Name: "tracks", Dim: dim, Metric: L2, M: 4, EfConstruction: 16}
	items := randomItems(rand.New(rand.NewPCG(4, 4)), n, dim)
	_, x := buildElsewhere(t, cfg, items, nil)
	rapid.Check(t, func(rt *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0))
		y := exported{head: x.head}
		for _, b := range x.batches {
			b.Items, b.Parts = slices.Clone(b.Items), slices.Clone(b.Parts)
			y.batches = append(y.batches, b)
		}
		rows := &y.batches[0].Items
		part := func() *GraphPart { return &y.batches[1+rng.IntN(len(y.batches)-1)].Parts[0] }
		what := rapid.SampledFrom([]string{"nothing", "row changed", "row missing", "row more", "row rejected", "id changed", "part cut", "part long", "part of another section",
			"slab number", "parts swapped", "slots swapped", "slot wrong", "header", "links"}).Draw(rt, "what")
		// Changes that leave bytes that may be as good: what is then served is a sound graph over the rows.
		harmless := what == "nothing"
		switch what {
		case "row changed":
			(*rows)[rng.IntN(n)].Vector = randomVector(rng, dim)
		case "row missing":
			*rows = slices.Delete(*rows, 5, 6)
		case "row more":
			*rows = append(*rows, Item{ID: "~", Vector: randomVector(rng, dim)})
		case "row rejected":
			(*rows)[rng.IntN(n)].Vector = []float32{1}
		case "id changed":
			(*rows)[rng.IntN(n)].ID += "x"
		case "part cut":
			p := part()
			p.Data = p.Data[:rng.IntN(len(p.Data))]
		case "part long":
			p := part()
			p.Data = append(bytes.Clone(p.Data), 0)
		case "part of another section":
			part().Section = "more"
		case "slab number":
			part().Slab += 1 + rng.IntN(3)
		case "parts swapped":
			y.batches[1].Parts, y.batches[2].Parts = y.batches[2].Parts, y.batches[1].Parts
		case "slots swapped", "slot wrong":
			p := &y.batches[len(y.batches)-1].Parts[0]
			if p.Section != sectionRows {
				rt.Fatal(p.Section)
			}
			p.Data = bytes.Clone(p.Data)
			if what == "slot wrong" {
				p.Data[4*rng.IntN(n)+2] ^= 1
			} else {
				copy(p.Data[:4], p.Data[4:8]) // one slot twice
			}
		case "header":
			p := &y.batches[1].Parts[0]
			p.Data = bytes.Replace(p.Data, []byte(`"format":1`), []byte(`"format":2`), 1)
		case "links":
			p := &y.batches[3].Parts[0]
			p.Data = bytes.Clone(p.Data)
			p.Data[4*rng.IntN(len(p.Data)/4)+3] = 0x7e
		}
		want := map[string][]float32{}
		for _, it := range *rows {
			if len(it.Vector) == dim {
				want[it.ID] = it.Vector
			}
		}
		e, err := Open(rt.Context(), "store", testOptions(vfs.NewMem()))
		if err != nil {
			rt.Fatal(err)
		}
		defer e.Close()
		c, err := e.CreateCollection(rt.Context(), cfg)
		if err != nil {
			rt.Fatal(err)
		}
		info, err := y.into(c, "day")
		if err != nil || info.State != ReleaseReady {
			rt.Fatalf("%s: %+v, %v", what, info, err)
		}
		if info.GraphTaken != harmless || (info.GraphRefused == "") != harmless {
			rt.Fatalf("%s: taken %v, refused %q", what, info.GraphTaken, info.GraphRefused)
		}
		if _, err := c.PublishRelease(rt.Context(), info.Release, PublishConditions{}); err != nil {
			rt.Fatal(err)
		}
		r := c.published.Load()
		if err := r.index.Check(); err != nil || r.table.len() != len(want) || r.index.Len() != len(want) {
			rt.Fatalf("%s: %d items, %d in the graph, want %d; %v", what, r.table.len(), r.index.Len(), len(want), err)
		}
		for id, v := range want {
			slot, ok := r.table.slotOf(id)
			if !ok || !r.index.Holds(slot, v) {
				rt.Fatalf("%s: item %s is not what came", what, id)
			}
		}
		for _, err := range r.rows.ImportGraph() {
			rt.Fatalf("parts of the graph are left: %v", err)
		}
	})
}
