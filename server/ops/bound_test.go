package ops

import (
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
)

// TestBoundMakesOnce: whoever asks at the same time gets the same value, and it was made once.
func TestBoundMakesOnce(t *testing.T) {
	var b bound[int, *int]
	var made atomic.Int64
	var group sync.WaitGroup
	const keys = 50
	var got [4][keys]*int
	for w := range got {
		group.Go(func() {
			for k := range keys {
				got[w][k] = b.of(k, func(k int) *int {
					made.Add(1)
					return &k
				})
			}
		})
	}
	group.Wait()
	if made.Load() != keys {
		t.Errorf("%d values made of %d keys", made.Load(), keys)
	}
	for k := range keys {
		for w := range got {
			if got[w][k] != got[0][k] || *got[w][k] != k {
				t.Fatalf("key %d: another value", k)
			}
		}
	}
}

// TestSeriesAreKeptApart: what is counted under one set of labels shows there, and only there.
func TestSeriesAreKeptApart(t *testing.T) {
	m := NewMetrics()
	want := map[string]float64{}
	for i := range 60 {
		collection, code := "c"+strconv.Itoa(i%5), codes.Code(i%3)
		m.Begin()
		m.End("/m"+strconv.Itoa(i%2), collection, code, time.Second)
		want["/m"+strconv.Itoa(i%2)+" "+collection+" "+code.String()]++
	}
	families, err := m.Gatherer().Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		if f.GetName() != "segue_rpc_calls_total" {
			continue
		}
		for _, s := range f.GetMetric() {
			label := map[string]string{}
			for _, l := range s.GetLabel() {
				label[l.GetName()] = l.GetValue()
			}
			got[label["method"]+" "+label["collection"]+" "+label["code"]] = s.GetCounter().GetValue()
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d series, want %d", len(got), len(want))
	}
	for series, n := range want {
		if got[series] != n {
			t.Errorf("%s: %v, want %v", series, got[series], n)
		}
	}
}
