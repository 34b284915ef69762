package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/segue-ann/segue/engine"
	"github.com/segue-ann/segue/examples/demo"
	"github.com/segue-ann/segue/internal/dataset"
	"github.com/segue-ann/segue/loadtest"
)

// benchPlaylists is the command line of `segue bench playlists`.
type benchPlaylists struct {
	options loadtest.PlaylistOptions
	output  string
}

func newBenchPlaylistsCommand(env *environment) *cobra.Command {
	var b benchPlaylists
	b.options.EnsureDefaults()
	b.options.Artist, b.options.Popularity = "artists", "playlists"
	c := &cobra.Command{
		Use:   "playlists",
		Short: "Hide a share of real playlists, recommend to the rest, and count what comes back",
		Long: "Playlists loads the demo's tracks into a store in a temporary directory, hides a share of each of the 250 playlists,\n" +
			"and recommends to what is left in several ways: hit rate and recall of the hidden tracks, beside popularity and\n" +
			"exact search, so that what approximation and diversity cost shows. What a playlist shows is never recommended to\n" +
			"it. One line per way; with -o json, one JSON object per line.\n\n" +
			"The demo's embeddings were made from these playlists, the hidden tracks too: compare the ways with each other, and\n" +
			"do not take the numbers for what unseen playlists would give.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if b.output != "table" && b.output != "json" {
				return usagef("--output %q is neither table nor json", b.output)
			}
			if err := b.options.Validate(); err != nil {
				return usagef("%v", err)
			}
			return b.run(cmd.Context(), env)
		},
	}
	f := c.Flags()
	f.IntVar(&b.options.K, "k", b.options.K, "tracks to recommend")
	f.Float64Var(&b.options.HoldOut, "hold-out", b.options.HoldOut, "share of each playlist that is hidden")
	f.IntVar(&b.options.MinTracks, "min-tracks", b.options.MinTracks, "tracks a playlist must have to be judged")
	f.Uint64Var(&b.options.Seed, "seed", 1, "seed of what is hidden")
	f.StringVarP(&b.output, "output", "o", "table", "table or json")
	return c
}

func (b *benchPlaylists) run(ctx context.Context, env *environment) (err error) {
	data, err := demoPlaylistData()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "segue-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	e, err := engine.Open(ctx, dir, engine.Options{Logger: newLogger(env, slog.LevelWarn), SnapshotTail: -1})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	c, err := e.CreateCollection(ctx, engine.CollectionConfig{Name: demoCollection, Dim: demo.Dim, Metric: engine.Cosine})
	if err != nil {
		return err
	}
	for rest := data.Items; len(rest) > 0; {
		n := min(2000, len(rest))
		if _, err := c.Upsert(ctx, rest[:n]); err != nil {
			return err
		}
		rest = rest[n:]
	}
	if b.output == "table" {
		fmt.Fprintf(env.stdout, "%-26s %8s %8s %8s %8s %10s %9s %8s\n",
			"", "hit rate", fmt.Sprintf("rec@%d", b.options.K), "as exact", "artists", "popularity", "distances", "us")
	}
	var writeErr error
	err = loadtest.BenchPlaylists(ctx, c, data, b.options, func(r loadtest.PlaylistResult) {
		if b.output == "json" {
			writeErr = errors.Join(writeErr, json.NewEncoder(env.stdout).Encode(r))
			return
		}
		_, err := fmt.Fprintf(env.stdout, "%-26s %8.3f %8.4f %8.3f %8.1f %10.2f %9.0f %8.0f\n",
			r.Name, r.HitRate, r.Recall, r.Overlap, r.Artists, r.Popularity, r.Distances, r.Micros)
		writeErr = errors.Join(writeErr, err)
	})
	return errors.Join(err, writeErr)
}

// demoPlaylistData reads the bundled tracks and playlists.
func demoPlaylistData() (*loadtest.PlaylistData, error) {
	vectors, err := dataset.OpenVectorsFS(demo.FS, demo.TrackVectors)
	if err != nil {
		return nil, err
	}
	defer vectors.Close()
	data := &loadtest.PlaylistData{}
	err = eachRecord(demo.Tracks, func(r *dataset.Record) error {
		v := make([]float32, demo.Dim)
		if err := vectors.Next(v); err != nil {
			return err
		}
		popularity, err := intField(r.Fields["playlists"])
		if err != nil {
			return err
		}
		it := engine.Item{ID: r.ID, Vector: v, Attributes: engine.Attributes{
			{Name: "playlists", Value: engine.Value{Type: engine.Int, Int: int64(popularity)}},
		}}
		if names := stringsField(r.Fields["artists"]); len(names) > 0 {
			it.Attributes = append(engine.Attributes{{Name: "artists", Value: engine.Value{Type: engine.Keyword, Keywords: names}}}, it.Attributes...)
		}
		data.Items = append(data.Items, it)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return data, eachRecord(demo.Playlists, func(r *dataset.Record) error {
		rows, _ := r.Fields["track_rows"].([]any)
		list := make([]int, len(rows))
		for i := range rows {
			row, err := intField(rows[i])
			if err != nil || row < 0 || row >= len(data.Items) {
				return fmt.Errorf("playlist %s: row %v: %w", r.ID, rows[i], errors.Join(err, errNoSuchRow))
			}
			list[i] = row
		}
		data.Lists = append(data.Lists, list)
		return nil
	})
}

var errNoSuchRow = errors.New("no such row")

// eachRecord calls fn with every line of a bundled file.
func eachRecord(name string, fn func(*dataset.Record) error) error {
	lines, err := dataset.OpenItemsFS(demo.FS, name)
	if err != nil {
		return err
	}
	defer lines.Close()
	for {
		r, err := lines.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := fn(&r); err != nil {
			return err
		}
	}
}

func intField(v any) (int, error) {
	n, ok := v.(json.Number)
	if !ok {
		return 0, fmt.Errorf("%v is not a number", v)
	}
	return strconv.Atoi(n.String())
}

func stringsField(v any) []string {
	list, _ := v.([]any)
	var out []string
	for _, x := range list {
		if s, ok := x.(string); ok {
			out = append(out, s)
		}
	}
	return out
}
