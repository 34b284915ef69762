package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"github.com/segue-ann/segue/loadtest/peers"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "benchpeers:", err)
		os.Exit(1)
	}
}

func run() error {
	var (
		o     peers.Options
		out   string
		from  string
		limit time.Duration
	)
	list := func(to *[]string) func(string) error {
		return func(names string) error { *to = append(*to, strings.Split(names, ",")...); return nil }
	}
	flag.StringVar(&o.Root, "root", ".", "root of the repository")
	flag.StringVar(&o.Dir, "dir", "", "where compiled drivers and prepared sets are kept (default bin/peers)")
	flag.Func("sets", "sets to measure, comma-separated (default all)", list(&o.Sets))
	flag.Func("libraries", "libraries to measure, comma-separated (default all)", list(&o.Libraries))
	flag.Func("extra", "a further driver, as NAME=COMMAND; may be repeated", func(s string) error {
		name, command, _ := strings.Cut(s, "=")
		o.Extra = append(o.Extra, peers.Extra{Name: name, Command: strings.Fields(command)})
		return nil
	})
	flag.IntVar(&o.Limits.Rows, "rows", 0, "index only so many rows of each set (0: all)")
	flag.IntVar(&o.Limits.Queries, "queries", 0, "ask only so many queries of each set (0: all)")
	flag.IntVar(&o.Rounds, "rounds", 0, "repetitions (default 5)")
	flag.Float64Var(&o.Shot, "shot", 0, "seconds a measurement takes at least (default 0.15)")
	flag.StringVar(&out, "out", "", "write this page in Markdown, its plots beside it, and results.json in dir; else print tables")
	flag.StringVar(&from, "from", "", "measure nothing, take the results from this file")
	flag.DurationVar(&limit, "limit", time.Hour, "stop after so long")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("unknown argument %q", flag.Arg(0))
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	started := time.Now()
	o.EnsureDefaults()
	o.Note = func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, "%4.0f s  %s\n", time.Since(started).Seconds(), fmt.Sprintf(format, args...))
	}

	report, err := results(ctx, o, from)
	if report == nil || len(report.Sets) == 0 {
		return err
	}
	if out == "" {
		for _, s := range report.Sets {
			fmt.Printf("\n%s: %s\n\n%s", s.Name, s.About, s.Table())
		}
		return err
	}
	// What an interrupted run has measured is kept.
	return errors.Join(err, write(report, o.Dir, out))
}

func results(ctx context.Context, o peers.Options, from string) (*peers.Report, error) {
	if from == "" {
		return peers.Run(ctx, o)
	}
	text, err := os.ReadFile(from)
	if err != nil {
		return nil, err
	}
	report := new(peers.Report)
	if err := json.Unmarshal(text, report); err != nil {
		return nil, fmt.Errorf("%s: %w", from, err)
	}
	return report, nil
}

// write leaves the page at out, plots in the directory of the page's name without its ending, and the results in dir.
func write(r *peers.Report, dir, out string) error {
	plots := strings.TrimSuffix(out, filepath.Ext(out))
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	errs := []error{
		os.MkdirAll(plots, 0o755),
		os.WriteFile(filepath.Join(dir, "results.json"), append(text, '\n'), 0o644),
		os.WriteFile(out, []byte(r.Markdown(filepath.Base(plots))), 0o644),
	}
	for _, s := range r.Sets {
		errs = append(errs, os.WriteFile(filepath.Join(plots, s.Name+".svg"), []byte(s.SVG()), 0o644))
	}
	return errors.Join(errs...)
}
