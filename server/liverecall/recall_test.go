package liverecall

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func list(texts ...any) []Found {
	var out []Found
	for i := 0; i < len(texts); i += 2 {
		out = append(out, Found{ID: texts[i].(string), Score: float32(texts[i+1].(float64))})
	}
	return out
}

func TestRecall(t *testing.T) {
	for _, c := range []struct {
		name          string
		served, exact []Found
		k             int
		ranked        bool
		want          float64
	}{
		{"all", list("a", .9, "b", .8), list("a", .9, "b", .8), 2, false, 1},
		{"one missed", list("a", .9, "c", .7), list("a", .9, "b", .8), 2, false, .5},
		{"none of them", list("c", .7, "d", .6), list("a", .9, "b", .8), 2, false, 0},
		{"a tie at the end", list("a", .9, "c", .8), list("a", .9, "b", .8), 2, false, 1},
		{"a was deleted since", list("a", .9, "b", .8), list("b", .8, "c", .7), 2, false, 1},
		{"served too few", list("a", .9), list("a", .9, "b", .8), 2, false, .5},
		{"served nothing", nil, list("a", .9, "b", .8), 2, false, 0},
		{"nothing to find", nil, nil, 2, false, 1},
		{"fewer than asked for", list("a", .9), list("a", .9), 5, false, 1},
		{"ranked: only the name counts", list("a", .1, "c", .9), list("a", .1, "b", .2), 2, true, .5},
	} {
		if got := Recall(c.served, c.k, c.ranked, c.exact); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// TestRecallIsThatOfTheTextbook: on data that nobody changes, with distinct scores, it is the share of the true neighbors.
func TestRecallIsThatOfTheTextbook(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 40).Draw(t, "items")
		k := rapid.IntRange(1, 50).Draw(t, "k")
		all := make([]Found, n)
		for i := range all {
			all[i] = Found{ID: fmt.Sprint(i), Score: float32(n - i)}
		}
		exact := all[:min(k, n)]
		// What an approximate search gives: the best of some of the items.
		seen := slices.DeleteFunc(slices.Clone(all), func(Found) bool { return rapid.Bool().Draw(t, "unseen") })
		served := seen[:min(k, len(seen))]
		hits := 0
		for _, f := range exact {
			if slices.Contains(served, f) {
				hits++
			}
		}
		want := float64(hits) / float64(len(exact))
		for _, ranked := range []bool{false, true} {
			if got := Recall(served, k, ranked, exact); max(got-want, want-got) > 1e-12 {
				t.Fatalf("%v, want %v", got, want)
			}
		}
	})
}

// TestDeletionsAreNotMisses: items that go between the two searches do not lower the recall of a complete answer.
func TestDeletionsAreNotMisses(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		const n, k = 30, 10
		all := make([]Found, n)
		for i := range all {
			all[i] = Found{ID: fmt.Sprint(i), Score: float32(n - i)}
		}
		left := slices.DeleteFunc(slices.Clone(all), func(Found) bool { return r.IntN(4) == 0 })
		if got := Recall(all[:k], k, false, left[:min(k, len(left))]); got != 1 {
			t.Fatalf("recall %v after deletions", got)
		}
	}
}
