package engine

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"github.com/segue-ann/segue/engine/attribute"
)

// goldenStores are directories that some version left, and beside each what that version answered. Those of earlier versions were
// written by the last program of that version and are never written again; SEGUE_UPDATE_GOLDEN=1 writes the last one.
var goldenStores = []string{
	"store2-image1", // store format 2, image of an index 1
	"store4-image2",
	"store4-image3",
}

func far(year int) time.Time { return time.Date(year, 1, 2, 3, 4, 5, 6000, time.UTC) }

// fillGolden makes a store of a snapshot, a log after it, and a release that an import filled.
func fillGolden(t *testing.T, e *Engine) {
	t.Helper()
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	items := func(prefix string, from, to int) (all []Item) {
		for i := from; i < to; i++ {
			it := Item{ID: fmt.Sprintf("%s-%d", prefix, i), Vector: []float32{float32(i), float32(i % 3), float32(i%5) - 2, 0.5}}
			switch i % 3 {
			case 0:
				it.Attributes = Attributes{
					{Name: "artist", Value: Value{Type: Keyword, Keywords: []string{"a", "ü"}}}, {Name: "explicit", Value: Value{Type: Bool, Bool: i%2 == 0}},
					{Name: "markets", Value: Value{Type: Markets, Markets: attribute.NewMarketSet(0, 77, 675)}}, {Name: "plays", Value: Value{Type: Int, Int: int64(i) - 4}},
					{Name: "tempo", Value: Value{Type: Float, Float: 97.5}}, {Name: "when", Value: Value{Type: Timestamp, Time: far(1999)}},
				}
			case 1:
				it.Attributes = Attributes{{Name: "artist", Value: Value{Type: Keyword, Keywords: []string{"b"}}}}
				it.ExpireTime = far(2200) // since expiry
			}
			all = append(all, it)
		}
		return all
	}
	c, err := e.CreateCollection(ctx, CollectionConfig{Name: "tracks", Dim: 4, Metric: Cosine, Attributes: []AttributeSpec{
		{Name: "artist", Type: Keyword}, {Name: "explicit", Type: Bool}, {Name: "markets", Type: Markets}, {Name: "plays", Type: Int},
		{Name: "tempo", Type: Float}, {Name: "when", Type: Timestamp, NotFilterable: true},
	}})
	must(err)
	_, err = c.Upsert(ctx, items("track", 0, 20))
	must(err)
	_, _, err = c.Delete(ctx, []string{"track-3", "track-4"})
	must(err)
	_, err = c.UpsertProfiles(ctx, []Profile{
		{UserID: "one", Interests: []Interest{{Vector: []float32{1, 2, 3, 4}, Weight: 1}}},
		{UserID: "two", Interests: []Interest{{Vector: []float32{1, 2, 3, 4}, Weight: 3}, {Vector: []float32{-1, 2, 0, 4}, Weight: 0.5}}},
		{UserID: "gone", Interests: []Interest{{Vector: []float32{1, 2, 3, 4}, Weight: 1}}},
	})
	must(err)
	_, err = c.CreateSnapshot(ctx)
	must(err)
	_, err = c.Upsert(ctx, items("track", 15, 25))
	must(err)
	_, _, err = c.Delete(ctx, []string{"track-5", "track-21"})
	must(err)
	_, err = c.DeleteProfile(ctx, "gone")
	must(err)
	must(c.AddExclusions(ctx, "heard", []string{"track-0", "track-7"}, time.Time{})) // since expiry
	_, err = e.SetAlias(ctx, "live", "tracks")                                       // since expiry
	must(err)                                                                        // since expiry
	_, err = c.UpsertWith(ctx, items("late", 0, 2), WriteOptions{RequestID: "once"}) // since expiry
	must(err)                                                                        // since expiry
	imported, err := e.CreateCollection(ctx, CollectionConfig{Name: "imported", Dim: 4, Metric: L2, M: 4})
	must(err)
	_, err = imported.StartImport(ctx, ImportOptions{JobID: "night"})
	must(err)
	batch := ImportRows{Sequence: 1, Items: append(items("row", 0, 10), Item{ID: "bad", Vector: []float32{1}})}
	_, err = imported.WriteImport(ctx, "night", batch, true)
	must(err)
	_, err = imported.CommitImport(ctx, "night")
	must(err)
	info, err := imported.WaitImport(ctx, "night")
	must(err)
	_, err = imported.PublishRelease(ctx, info.Release, PublishConditions{})
	must(err)
	_, err = imported.Upsert(ctx, items("row", 8, 12))
	must(err)
}

// facts are what an engine answers, one a line.
func facts(t *testing.T, e *Engine) string {
	t.Helper()
	var b strings.Builder
	fail := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range e.Collections() {
		fmt.Fprintf(&b, "collection %s: %d items, revision %d\n", c.Config().Name, c.Len(), c.Revision())
		items, more, err := c.List(t.Context(), "", 100)
		if fail(err); more {
			t.Fatal("more items")
		}
		for _, it := range items {
			fmt.Fprintf(&b, "item %s %v of %d\n", it.ID, it.Vector, it.Revision)
			for _, a := range it.Attributes {
				v := a.Value
				fmt.Fprintf(&b, "  %s %d %q %v %d %g %d %v\n", a.Name, v.Type, v.Keywords, v.Bool, v.Int, v.Float, v.Time.UnixMicro(), v.Markets)
			}
			if !it.ExpireTime.IsZero() { // since expiry
				fmt.Fprintf(&b, "  expires %d\n", it.ExpireTime.UnixMicro()) // since expiry
			} // since expiry
		}
		for _, user := range []string{"one", "two", "gone"} {
			p, err := c.Profile(t.Context(), user)
			var none *NotFoundError
			if errors.As(err, &none) {
				continue
			}
			fail(err)
			fmt.Fprintf(&b, "profile %s %v of %d\n", user, p.Interests, p.Revision)
		}
		for _, q := range [][]float32{{1, 0, 0, 1}, {5, 1, -1, 0}, {24, 0, 2, 0.5}} {
			result, err := c.Search(t.Context(), SearchRequest{Query: Query{Vector: q}, K: 5, Exact: true})
			fail(err)
			for _, n := range result.Neighbors {
				fmt.Fprintf(&b, "near %v: %s %.4f\n", q, n.ItemID, n.Score)
			}
		}
		releases, err := c.Releases(t.Context())
		fail(err)
		for _, r := range releases {
			fmt.Fprintf(&b, "release %d %s %s\n", r.ID, r.State, r.JobID)
			if r.JobID == "" {
				continue
			}
			im, err := c.Import(t.Context(), r.JobID)
			fail(err)
			rejects, _, err := c.ImportRejects(t.Context(), r.JobID, 0, 10)
			fail(err)
			fmt.Fprintf(&b, "import %d accepted, %d rejected, %v\n", im.Accepted, im.Rejected, rejects)
		}
	}
	return b.String()
}

// writeGoldenStore leaves a store in testdata, as it is after Close, and what it answers.
func writeGoldenStore(t *testing.T, name string) {
	t.Helper()
	fs := vfs.NewMem()
	e, err := Open(t.Context(), "store", testOptions(fs))
	if err != nil {
		t.Fatal(err)
	}
	fillGolden(t, e)
	text := facts(t, e)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := fs.List("store")
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, name := range names {
		if info, err := fs.Stat(fs.PathJoin("store", name)); err != nil || info.IsDir() {
			continue
		}
		f, err := fs.Open(fs.PathJoin("store", name))
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(f)
		err = errors.Join(err, f.Close(), w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data))}))
		if _, writeErr := w.Write(data); err != nil || writeErr != nil {
			t.Fatal(err, writeErr)
		}
	}
	path := filepath.Join("testdata", name)
	err = errors.Join(w.Close(), z.Close(), os.MkdirAll("testdata", 0o755),
		os.WriteFile(path+".tar.gz", b.Bytes(), 0o644), os.WriteFile(path+".facts", []byte(text), 0o644))
	if err != nil {
		t.Fatal(err)
	}
}

// goldenStore unpacks a store of testdata.
func goldenStore(t *testing.T, name string) vfs.FS {
	t.Helper()
	packed, err := os.Open(filepath.Join("testdata", name+".tar.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	z, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	fs := vfs.NewMem()
	if err := fs.MkdirAll("store", 0o755); err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return fs
		}
		if err != nil {
			t.Fatal(err)
		}
		f, err := fs.Create(fs.PathJoin("store", h.Name), vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.Copy(f, r)
		if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestGoldenStores: a store of every version opens from its snapshot, answers what the program that wrote it answered, takes
// writes, and is as sound as it was.
func TestGoldenStores(t *testing.T) {
	if os.Getenv("SEGUE_UPDATE_GOLDEN") != "" {
		writeGoldenStore(t, goldenStores[len(goldenStores)-1])
	}
	for _, name := range goldenStores {
		t.Run(name, func(t *testing.T) {
			want, err := os.ReadFile(filepath.Join("testdata", name+".facts"))
			if err != nil {
				t.Fatal(err)
			}
			fs := goldenStore(t, name)
			var log strings.Builder
			o := testOptions(fs)
			o.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))
			for range 2 { // the second time of today's format
				e, err := Open(t.Context(), "store", o)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(string(want), facts(t, e)); diff != "" {
					t.Error(diff)
				}
				c, err := e.Collection("imported")
				if err != nil {
					t.Fatal(err)
				}
				before := c.Revision()
				if _, err := c.Upsert(t.Context(), []Item{{ID: "new", Vector: []float32{1, 2, 3, 4}}}); err != nil {
					t.Error(err)
				}
				if _, _, err := c.Delete(t.Context(), []string{"new"}); err != nil {
					t.Error(err)
				}
				if _, err := c.CreateSnapshot(t.Context()); err != nil {
					t.Error(err)
				}
				if err := e.Close(); err != nil {
					t.Fatal(err)
				}
				want = bytes.Replace(want, fmt.Appendf(nil, "revision %d\n", before), fmt.Appendf(nil, "revision %d\n", before+2), 1)
			}
			if log.Len() > 0 { // that a snapshot is not usable, for one
				t.Errorf("opened with warnings:\n%s", log.String())
			}
			err = Check(t.Context(), "store", o, func(f Finding) { t.Errorf("check: %s: %s", f.Where, f.Problem) })
			if err != nil {
				t.Error(err)
			}
		})
	}
}
