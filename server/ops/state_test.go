package ops

import (
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/segue-ann/segue/engine"
)

// watched returns a collection and a function that reads the metrics of its engine afresh.
func watched(t *testing.T) (*engine.Collection, func() string) {
	t.Helper()
	e, err := engine.Open(t.Context(), t.TempDir(), engine.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	c, err := e.CreateCollection(t.Context(), engine.CollectionConfig{Name: "tracks", Dim: 2, Metric: engine.L2})
	if err != nil {
		t.Fatal(err)
	}
	m, at := NewMetrics(), time.Now()
	m.registry.MustRegister(newEngineState(e, func() time.Time { at = at.Add(statisticsAge); return at }))
	return c, func() string { return scrape(t, m) }
}

// valueOf reads one number of a page; false where it is not there.
func valueOf(t *testing.T, page, series string) (float64, bool) {
	t.Helper()
	for line := range strings.Lines(page) {
		text, ok := strings.CutPrefix(line, series+" ")
		if !ok {
			continue
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
		if err != nil {
			t.Fatal(err)
		}
		return v, true
	}
	return 0, false
}

// TestSnapshotTime: absent before the first snapshot, then that of the newest one, also of an older than the last.
func TestSnapshotTime(t *testing.T) {
	const series = `segue_collection_snapshot_timestamp_seconds{collection="tracks"}`
	c, page := watched(t)
	if v, ok := valueOf(t, page(), series); ok {
		t.Errorf("%v without a snapshot", v)
	}
	for i := range 3 {
		if _, err := c.Upsert(t.Context(), []engine.Item{{ID: fmt.Sprint(i), Vector: []float32{1, float32(i)}}}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.CreateSnapshot(t.Context()); err != nil {
			t.Fatal(err)
		}
		kept, err := c.Snapshots(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		newest := kept[0].CreateTime
		for _, k := range kept {
			if k.CreateTime.After(newest) {
				newest = k.CreateTime
			}
		}
		if v, ok := valueOf(t, page(), series); !ok || v != float64(newest.UnixMilli())/1e3 {
			t.Errorf("snapshot %d: %v (%v), want %v", i, v, ok, newest)
		}
	}
}

// TestImportProgress: the numbers are those of the import that runs, and 0 when none does.
func TestImportProgress(t *testing.T) {
	c, page := watched(t)
	want := func(when string, running, accepted, built, total float64) {
		t.Helper()
		text := page()
		for name, want := range map[string]float64{"running": running, "accepted": accepted, "built": built, "total": total} {
			if v, ok := valueOf(t, text, `segue_collection_import_`+name+`_count{collection="tracks"}`); !ok || v != want {
				t.Errorf("%s: %s is %v (%v), want %v", when, name, v, ok, want)
			}
		}
	}
	want("before", 0, 0, 0, 0)
	for i, job := range []string{"a", "b"} {
		expected := 10 * (i + 1)
		if _, err := c.StartImport(t.Context(), engine.ImportOptions{JobID: job, ExpectedItems: expected}); err != nil {
			t.Fatal(err)
		}
		want("begun", 1, 0, 0, float64(expected))
		rows := engine.ImportRows{Sequence: 1}
		for k := range 3 + i {
			rows.Items = append(rows.Items, engine.Item{ID: fmt.Sprint(k), Vector: []float32{float32(k), 1}})
		}
		if _, err := c.WriteImport(t.Context(), job, rows, true); err != nil {
			t.Fatal(err)
		}
		want("rows written", 1, float64(3+i), 0, float64(expected))
		if err := c.CancelImport(t.Context(), job); err != nil {
			t.Fatal(err)
		}
		want("given up", 0, 0, 0, 0)
	}
}

// TestUnreachable: absent until it was looked at, then what was found last; gone with its collection, also where another takes its name.
func TestUnreachable(t *testing.T) {
	const series = `segue_collection_unreachable_count{collection="tracks"}`
	e, err := engine.Open(t.Context(), t.TempDir(), engine.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	create := func() *engine.Collection {
		t.Helper()
		c, err := e.CreateCollection(t.Context(), engine.CollectionConfig{Name: "tracks", Dim: 2, Metric: engine.L2})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	m, c := NewMetrics(), create()
	m.WatchEngine(e)
	absent := func() {
		t.Helper()
		if v, ok := valueOf(t, scrape(t, m), series); ok {
			t.Errorf("%v items, and nobody looked", v)
		}
	}
	absent()
	for _, n := range []int{3, 0} {
		m.Unreachable(c, n)
		if v, ok := valueOf(t, scrape(t, m), series); !ok || v != float64(n) {
			t.Errorf("%v (%v), want %d", v, ok, n)
		}
	}
	if err := e.DeleteCollection(t.Context(), "tracks"); err != nil {
		t.Fatal(err)
	}
	create()
	m.Unreachable(c, 5) // a look that ends late
	absent()
	if len(m.state.unreachable) != 0 {
		t.Errorf("%d numbers of collections that are gone", len(m.state.unreachable))
	}
}

func TestReadiness(t *testing.T) {
	m := NewMetrics()
	why := errors.New("loading")
	m.WatchReadiness(func() error { return why })
	has(t, scrape(t, m), "segue_ready 0\n")
	why = nil
	has(t, scrape(t, m), "segue_ready 1\n")
}

func TestMemory(t *testing.T) {
	m, use := NewMetrics(), engine.MemoryUse{Used: 3, Limit: 7}
	m.WatchMemory(func() engine.MemoryUse { return use })
	has(t, scrape(t, m), "segue_memory_used_bytes 3\n", "segue_memory_write_limit_bytes 7\n")
	use = engine.MemoryUse{Used: 4}
	has(t, scrape(t, m), "segue_memory_used_bytes 4\n", "segue_memory_write_limit_bytes 0\n")
}
