package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/segue-ann/segue/engine"
	"github.com/segue-ann/segue/loadtest"
	"github.com/segue-ann/segue/server"
)

// benchRPC is the command line of `segue bench rpc`.
type benchRPC struct {
	data       string
	collection string
	users      string
	rows, dim  int
	output     string
	sites      bool
	options    loadtest.RPCOptions
}

func newBenchRPCCommand(env *environment) *cobra.Command {
	var b benchRPC
	b.options.EnsureDefaults()
	c := &cobra.Command{
		Use:   "rpc",
		Short: "Measure what gRPC costs: queries in process, over the wire, and calls that do nothing",
		Long: "Rpc serves a collection on loopback, as segue serve does, and has the same queries answered in several ways, in turns:\n\n" +
			"  engine  in this process, without gRPC, on all processors\n" +
			"  batch   BatchNearestNeighbors\n" +
			"  stream  StreamNearestNeighbors\n" +
			"  empty   unary calls to a gRPC server that does nothing, with messages of the size of unary's\n" +
			"  unary   NearestNeighbors\n\n" +
			"Clients are of this process and share its processors; they send messages that were encoded before and do not decode answers.\n" +
			"Ratios are medians over the rounds, of turns next to each other; those of processor time depend least on what else the\n" +
			"machine does. Allocations are the server's, of a call alone.\n\n" +
			"The collection is generated (--rows, --dim), and kept where --data names a directory. With --users, one that the store in\n" +
			"--data has is asked with the first vectors of those profiles.",
		Example: "  segue bench rpc --rows 1000000 --data /tmp/million\n" +
			"  segue bench rpc --data data --collection tracks --users playlists.txt",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if b.output != "table" && b.output != "json" {
				return usagef("--output %q is neither table nor json", b.output)
			}
			if err := b.options.Validate(); err != nil {
				return usagef("%v", err)
			}
			if b.rows < 100 || b.rows > 100_000_000 || b.dim < 2 || b.dim > 4096 {
				return usagef("--rows must be 100 to 100,000,000 and --dim 2 to 4096, are %d and %d", b.rows, b.dim)
			}
			if b.users != "" && b.data == "" {
				return usagef("--users needs --data: the store that has them")
			}
			return b.run(cmd.Context(), env, cmd.ErrOrStderr())
		},
	}
	f := c.Flags()
	f.StringVar(&b.data, "data", "", "`DIR` of the store; empty for one that is dropped at the end")
	f.StringVar(&b.collection, "collection", "generated", "collection to ask")
	f.StringVar(&b.users, "users", "", "`FILE` of user ids, one a line: their profiles ask")
	f.IntVar(&b.rows, "rows", 100_000, "items to generate")
	f.IntVar(&b.dim, "dim", 128, "dimension to generate")
	f.IntVarP(&b.options.K, "neighbors", "k", b.options.K, "neighbors to ask for")
	f.IntVar(&b.options.Ef, "ef", 0, "beam width; 0 for the narrowest that reaches --recall")
	f.Float64Var(&b.options.Recall, "recall", b.options.Recall, "recall that the beam is to reach")
	f.IntVar(&b.options.Callers, "callers", b.options.Callers, "unary calls at once")
	f.IntVar(&b.options.Conns, "conns", b.options.Conns, "connections")
	f.IntVar(&b.options.Batch, "batch", b.options.Batch, "queries of a batch")
	f.IntVar(&b.options.Rounds, "rounds", b.options.Rounds, "turns of each way")
	f.DurationVar(&b.options.Turn, "turn", b.options.Turn, "how long a turn takes")
	f.BoolVar(&b.sites, "allocations", false, "also say where a unary call allocates")
	f.StringVarP(&b.output, "output", "o", "table", "table or json")
	return c
}

func (b *benchRPC) run(ctx context.Context, env *environment, notes io.Writer) (err error) {
	if b.data == "" {
		if b.data, err = os.MkdirTemp("", "segue-bench-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(b.data)) }()
	}
	s, err := startServer(ctx, serveOptions{
		data: b.data, listen: "127.0.0.1:0", shutdownTimeout: 10 * time.Second, log: newLogger(env, slog.LevelWarn),
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	if err := b.prepare(ctx, s.engine, notes); err != nil {
		return err
	}
	b.options.Addr, b.options.Empty = s.addr(), server.TransportOptions()
	report, err := loadtest.MeasureRPC(ctx, b.options)
	if err != nil {
		return err
	}
	if b.output == "json" {
		return json.NewEncoder(env.stdout).Encode(report)
	}
	if err := report.WriteText(env.stdout); err != nil || !b.sites {
		return err
	}
	return report.WriteAllocations(env.stdout)
}

// prepare finds or generates the collection, and reads the queries.
func (b *benchRPC) prepare(ctx context.Context, e *engine.Engine, notes io.Writer) error {
	users := loadtest.GeneratedUsers()
	c, err := e.Collection(b.collection)
	switch {
	case b.users != "":
		if err != nil {
			return err
		}
		if users, err = readLines(b.users); err != nil {
			return err
		}
	case errors.As(err, new(*engine.NotFoundError)):
		began := time.Now()
		fmt.Fprintf(notes, "generating %d items of %d values\n", b.rows, b.dim)
		if c, err = loadtest.GenerateCollection(ctx, e, b.collection, b.rows, b.dim); err != nil {
			return err
		}
		fmt.Fprintf(notes, "built in %.1f s\n", time.Since(began).Seconds())
	case err != nil:
		return err
	}
	b.options.Collection = c
	b.options.Queries, err = loadtest.ProfileVectors(ctx, c, users)
	return err
}
