package server

import (
	"testing"
	"testing/synctest"
	"time"

	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
	"github.com/segue-ann/segue/server/liverecall"
	"github.com/segue-ann/segue/server/ops"
)

// TestGraphsAreLookedAt: every collection's turn comes within as many minutes as there are collections, those that are made later too, and what was found
// is a metric; the watch ends when the server drains.
func TestGraphsAreLookedAt(t *testing.T) {
	f := start(t, Options{})
	add := func(name string) {
		t.Helper()
		f.create(t, &seguev1.Collection{Name: name, Dimension: 4, Metric: seguev1.Metric_METRIC_COSINE})
		f.upsert(t, name, randomItems(50, 4)...)
	}
	add("a")
	add("b")
	m := ops.NewMetrics()
	m.WatchEngine(f.engine)
	looked := func(t *testing.T) map[string]float64 {
		t.Helper()
		families, err := m.Gatherer().Gather()
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]float64{}
		for _, family := range families {
			if family.GetName() == "segue_collection_unreachable_count" {
				for _, v := range family.GetMetric() {
					out[v.GetLabel()[0].GetValue()] = v.GetGauge().GetValue()
				}
			}
		}
		return out
	}
	watch := func(minutes int, want ...string) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			looks, err := liverecall.New(liverecall.Options{Share: 0.01, Timeout: graphTimeout})
			if err != nil {
				t.Fatal(err)
			}
			s := &Server{metrics: m, draining: make(chan struct{})}
			s.watchGraphs(f.engine.Collections, looks)
			<-time.After(time.Duration(minutes)*graphLook + time.Second)
			synctest.Wait()
			close(s.draining)
			s.watching.Wait()
		})
		got := looked(t)
		for _, name := range want {
			if n, ok := got[name]; !ok || n != 0 {
				t.Errorf("after %d minutes: %v unreachable items in %s (%v)", minutes, n, name, ok)
			}
		}
		if len(got) != len(want) {
			t.Errorf("after %d minutes: %v, want %v", minutes, got, want)
		}
	}
	watch(0)
	watch(2, "a", "b")
	add("c")
	watch(3, "a", "b", "c")
	if _, err := f.collections.DeleteCollection(t.Context(), &seguev1.DeleteCollectionRequest{Name: "a"}); err != nil {
		t.Fatal(err)
	}
	if got := looked(t); len(got) != 2 {
		t.Errorf("after one was deleted: %v", got)
	}
}
