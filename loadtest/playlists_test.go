package loadtest

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/segue-ann/segue/engine"
)

// TestBenchPlaylists: playlists of four tastes, which the vectors tell apart. Recommending by profile finds what is hidden, popularity
// does not; exact search agrees with itself, limits limit, and the numbers are shares.
func TestBenchPlaylists(t *testing.T) {
	const n, dim, tastes = 800, 8, 4
	rng := rand.New(rand.NewPCG(1, 9))
	data := &PlaylistData{}
	for i := range n {
		v := make([]float32, dim)
		for d := range v {
			v[d] = float32(rng.NormFloat64() / 4)
		}
		v[i%tastes] += 2
		data.Items = append(data.Items, engine.Item{ID: fmt.Sprintf("t%03d", i), Vector: v, Attributes: engine.Attributes{
			{Name: "artists", Value: engine.Value{Type: engine.Keyword, Keywords: []string{fmt.Sprint(i % 60)}}},
			{Name: "plays", Value: engine.Value{Type: engine.Int, Int: int64(i)}},
		}})
	}
	for l := range 12 {
		var list []int
		for i := l % tastes; len(list) < 60; i += tastes * (1 + rng.IntN(3)) {
			list = append(list, i%n)
		}
		slices.Sort(list)
		data.Lists = append(data.Lists, slices.Compact(list), []int{1, 2, 3})
	}
	e, err := engine.Open(t.Context(), t.TempDir(), engine.Options{Logger: slog.New(slog.DiscardHandler), ReserveBytes: 64 << 20, SnapshotTail: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	c, err := e.CreateCollection(t.Context(), engine.CollectionConfig{Name: "c", Dim: dim, Metric: engine.Cosine})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Upsert(t.Context(), data.Items); err != nil {
		t.Fatal(err)
	}
	got := map[string]PlaylistResult{}
	o := PlaylistOptions{K: 40, Artist: "artists", Popularity: "plays", Seed: 3}
	if err := BenchPlaylists(t.Context(), c, data, o, func(r PlaylistResult) { got[r.Name] = r }); err != nil {
		t.Fatal(err)
	}
	for name, r := range got {
		if r.Playlists != 12 || r.HitRate < 0 || r.HitRate > 1.0001 || r.Recall < 0 || r.Recall > 1.0001 || r.Overlap > 1.0001 {
			t.Errorf("%s: %+v", name, r)
		}
	}
	exact, popular, single := got["exact search"], got["popularity"], got["1 of an artist"]
	if exact.Overlap < 0.9999 || exact.Recall < 1.5*popular.Recall || exact.HitRate < 0.99 {
		t.Errorf("exact %+v, popularity %+v", exact, popular)
	}
	if single.Artists > 40.001 || single.Artists <= exact.Artists {
		t.Errorf("one of an artist gives %v artists, without %v", single.Artists, exact.Artists)
	}
	if got["popularity boost 0.05"].Popularity <= exact.Popularity {
		t.Errorf("a boost gives popularity %v, none %v", got["popularity boost 0.05"].Popularity, exact.Popularity)
	}
	for _, bad := range []PlaylistOptions{{K: -1}, {HoldOut: 1}, {MinTracks: 4}} {
		if err := BenchPlaylists(t.Context(), c, data, bad, nil); !errors.As(err, new(*OptionError)) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}
