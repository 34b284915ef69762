package hnsw_test

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/segue-ann/segue/hnsw"
)

// victim is the rule as it is written, on float64: of the row and u, farthest first, the first with a short detour, else the one
// with the shortest, else the farthest.
func (m *model) victim(x *hnsw.Index, vec func(uint32) []float32, v, u uint32) uint32 {
	row := append(hnsw.Links(x, v, 0), u)
	far := func(a, b uint32) float64 { return m.distance(vec(a), vec(b)) }
	slices.SortFunc(row, func(a, b uint32) int { return cmp.Compare(far(v, b), far(v, a)) })
	tries := len(row)
	if m.metric == hnsw.InnerProduct {
		tries = hnsw.IPTries
	}
	first, best, least := int64(-1), int64(-1), 1.0
	for i, w := range row {
		if w != u && !hnsw.MayDrop(x, v, w, 0) {
			continue
		}
		if first < 0 {
			first = int64(w)
		}
		if tries--; tries < 0 {
			break
		}
		share := 1.0
		for _, nearer := range row[i+1:] {
			switch d := far(w, nearer); {
			case d >= far(v, w):
			case m.metric == hnsw.InnerProduct:
				share = 0
			default:
				share = min(share, d/far(v, w))
			}
		}
		if share <= hnsw.ShortDetour {
			return w
		}
		if share < least {
			best, least = int64(w), share
		}
	}
	if best >= 0 {
		return uint32(best)
	}
	return uint32(first)
}

// TestVictim: a full row gives up the link that the rule names, judged by vectors; judged by codes nearly always.
func TestVictim(t *testing.T) {
	const n, dim = 2500, 32
	for _, tc := range []struct {
		metric hnsw.Metric
		codes  bool
		agree  float64
	}{{hnsw.L2, false, 1}, {hnsw.InnerProduct, false, 1}, {hnsw.Cosine, false, 1}, {hnsw.L2, true, 0.9}, {hnsw.Cosine, true, 0.9}} {
		rng := rand.New(rand.NewPCG(47, 47))
		vecs := clusters(rng, n, dim, 20, 0.5)
		x := newIndex(t, hnsw.Options{Dim: dim, Metric: tc.metric, M: 6, MaxSlots: n, Seed: 1})
		for i, v := range vecs {
			mustInsert(t, x, v)
			if i == n/2 && !tc.codes {
				hnsw.WalkOnVectors(x)
			}
		}
		s := x.Acquire()
		m := &model{metric: tc.metric}
		rows, agreed := 0, 0
		for v := range uint32(n) {
			u := (v + n/2) % n
			row := hnsw.Links(x, v, 0)
			if len(row) < 12 || slices.Contains(row, u) {
				continue
			}
			rows++
			got, codes := hnsw.Victim(x, v, u, 0)
			if codes != tc.codes {
				t.Fatalf("%v: judged by codes: %t", tc.metric, codes)
			}
			if got == m.victim(x, s.Vector, v, u) {
				agreed++
			} else if got != u && !slices.Contains(row, got) {
				t.Fatalf("%v: %d gives up %d, which it does not have", tc.metric, v, got)
			}
		}
		s.Release()
		// On float32 a tie or a share of .7 can fall to the other side.
		if rows < 100 || float64(agreed) < math.Floor(tc.agree*float64(rows))-2 {
			t.Errorf("%v, codes %t: %d of %d rows give up what the rule names", tc.metric, tc.codes, agreed, rows)
		}
		if err := x.Check(); err != nil {
			t.Fatal(err)
		}
	}
}
