package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/segue-ann/segue/internal/groundtruth"
	"github.com/segue-ann/segue/loadtest"
)

// newBenchCommand holds the measurements.
func newBenchCommand(env *environment) *cobra.Command {
	return groupCommand("bench", "Measure recall and speed in process", newBenchANNCommand(), newBenchPlaylistsCommand(env), newBenchRPCCommand(env))
}

// benchANN is the command line of `segue bench ann`.
type benchANN struct {
	files   loadtest.ANNFiles
	metric  string
	k       int
	efs     []int
	output  string
	options loadtest.ANNOptions
}

func newBenchANNCommand() *cobra.Command {
	var b benchANN
	b.options.EnsureDefaults()
	c := &cobra.Command{
		Use:   "ann --base FILE --metric l2|ip|cosine",
		Short: "Build an index from files and print recall, work and time, one line per ef",
		Long: "Build an index in this process from a file of vectors, and for every ef ask it all queries twice: once to\n" +
			"warm up and count work, once against the clock. One line per ef is printed; with -o json, one JSON object\n" +
			"per line.\n\n" +
			"Files are .npy (f4, f2, u1, i4), .fvecs, .bvecs or .ivecs, each also .gz or .zst. Without --queries, up to\n" +
			"1,000 rows are held out of the base and ask. Without --neighbors, or when --limit cuts the base, the true\n" +
			"neighbors are computed exactly first.\n\n" +
			"Recall counts ties by exact distance. qps is queries over the time the busiest thread spent in search\n" +
			"calls. Distances and hops do not depend on the machine; times do.\n\n" +
			"Engines: segue; segue-f16, with vectors in half precision; exact, a scan of every row; coder,\n" +
			"github.com/coder/hnsw v0.6.1, built on one thread with\n" +
			"EfSearch = ef-construction and asked with EfSearch = ef.",
		Example: "  segue bench ann --base my.npy --metric cosine\n" +
			"  segue bench ann --base testdata/mnist784/base_u8.npy.gz --queries testdata/mnist784/query_u8.npy.gz \\\n" +
			"    --neighbors testdata/mnist784/neighbors_i32.npy.gz --metric l2 --ef 16,32,64",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return b.run(cmd) },
	}
	f := c.Flags()
	f.StringVar(&b.files.Base, "base", "", "file of the vectors to index")
	f.StringVar(&b.files.Queries, "queries", "", "file of the query vectors (default: rows held out of the base)")
	f.StringVar(&b.files.Neighbors, "neighbors", "", "file of the true neighbors: rows of base by ascending distance, one line a query")
	f.StringVar(&b.metric, "metric", "", "l2, ip or cosine")
	f.IntVar(&b.k, "k", 10, "neighbors to ask for")
	f.IntSliceVar(&b.efs, "ef", []int{16, 32, 64, 128, 256}, "beam widths to measure at, comma-separated")
	f.IntVar(&b.options.M, "m", b.options.M, "links per node above level 0")
	f.IntVar(&b.options.EfConstruction, "ef-construction", b.options.EfConstruction, "beam width of the build")
	f.IntVar(&b.options.BuildThreads, "build-threads", b.options.BuildThreads, "goroutines that insert")
	f.IntVar(&b.options.Threads, "threads", b.options.Threads, "goroutines that search")
	f.IntVar(&b.files.Limit, "limit", 0, "index only the first N rows of base (0: all)")
	f.StringVar(&b.options.Engine, "engine", b.options.Engine, strings.Join(loadtest.EngineNames(), ", "))
	f.StringVarP(&b.output, "output", "o", "table", "table or json")
	for _, name := range []string{"base", "metric"} {
		// Fails only for a flag that does not exist.
		_ = c.MarkFlagRequired(name)
	}
	return c
}

// check returns every mistake in the flags, as one usage error.
func (b *benchANN) check() (groundtruth.Metric, error) {
	m, err := groundtruth.ParseMetric(b.metric)
	errs := []error{err}
	bad := func(flag string, value any, want string) {
		errs = append(errs, &loadtest.OptionError{Field: flag, Value: value, Range: want})
	}
	if b.k < 1 {
		bad("k", b.k, "at least 1")
	}
	if len(b.efs) == 0 || slices.Min(b.efs) < 1 {
		bad("ef", b.efs, "a list of numbers from 1")
	}
	if b.files.Limit < 0 {
		bad("limit", b.files.Limit, "at least 0")
	}
	if !slices.Contains([]string{"table", "json"}, b.output) {
		bad("output", b.output, "table or json")
	}
	// A zero would be taken for "default".
	for _, f := range []struct {
		name  string
		value int
	}{
		{"m", b.options.M}, {"ef-construction", b.options.EfConstruction},
		{"build-threads", b.options.BuildThreads}, {"threads", b.options.Threads},
	} {
		if f.value == 0 {
			bad(f.name, 0, "at least 1")
		}
	}
	errs = append(errs, b.options.Validate())
	if err := errors.Join(errs...); err != nil {
		return 0, usagef("%s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return m, nil
}

func (b *benchANN) run(cmd *cobra.Command) error {
	m, err := b.check()
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	note := func(format string, args ...any) { fmt.Fprintf(cmd.ErrOrStderr(), format+"\n", args...) }

	started := time.Now()
	data, err := loadtest.LoadANNData(ctx, m, b.k, b.files)
	if err != nil {
		return err
	}
	truth := "true neighbors as given"
	if data.TruthComputed {
		truth = "true neighbors computed"
	}
	note("%d vectors of %d values, %d queries, %s, in %.1f s", data.Rows(), data.Dim, data.NumQueries(), truth, time.Since(started).Seconds())

	note("building %s on %d threads", b.options.Engine, b.options.BuildThreads)
	bench, err := loadtest.BuildANN(ctx, data, b.options)
	if err != nil {
		return err
	}
	out := loadtest.NewANNWriter(cmd.OutOrStdout(), b.output == "json")
	for _, ef := range b.efs {
		r, err := bench.Measure(ctx, ef)
		if err == nil {
			err = out.Write(r)
		}
		if err != nil {
			return errors.Join(err, bench.Close())
		}
	}
	return bench.Close()
}
