package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/segue-ann/segue/client"
	"github.com/segue-ann/segue/loadtest"
)

// loadtestOptions are the flags of loadtest.
type loadtestOptions struct {
	remote remote
	load   loadtest.LoadOptions
	step   loadtest.Step
	// rates are the steps; empty doubles from firstRate until the server saturates.
	rates     []string
	firstRate float64
	usersFile string
	scenario  string
	report    string
}

// maxSteps bounds the search for saturation.
const maxSteps = 16

func newLoadtestCommand(env *environment) *cobra.Command {
	var o loadtestOptions
	c := &cobra.Command{
		Use:   "loadtest --collection NAME",
		Short: "Load a server at fixed rates, and report latency and recall",
		Long: "Loadtest calls a server at a fixed rate, whatever the server does: arrivals are random (Poisson), and latency counts\n" +
			"from when a call was due, so that a server cannot hide a stall by slowing its clients down. Meanwhile some searches are\n" +
			"asked again exactly, which gives the recall under load.\n\n" +
			"Without --rates the rate doubles from --first-rate until less than 95 % of it is answered. Scenarios: similar (neighbors of\n" +
			"items), user (of the users in --users), filtered (similar, under --filter), mixed (similar, and one write of an existing item\n" +
			"in ten calls), import (similar, while imports fill releases that are not published and deleted again).",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.load.Collection == "" {
				return usagef("--collection is required")
			}
			return o.run(cmd.Context(), env)
		},
	}
	o.remote.flags(c, 0)
	f := c.Flags()
	f.StringVar(&o.load.Collection, "collection", "", "collection to load")
	f.StringVar(&o.scenario, "scenario", string(loadtest.Similar), "similar, user, filtered, mixed or import")
	f.IntVarP(&o.load.K, "neighbors", "k", 10, "neighbors to ask for")
	f.IntVar(&o.load.Ef, "ef", 0, "beam width; 0 for the server's default")
	f.StringVar(&o.usersFile, "users", "", "`FILE` of user ids, one a line")
	f.StringVar(&o.load.Filter, "filter", "", "filter `EXPRESSION` of the scenario filtered")
	f.StringSliceVar(&o.rates, "rates", nil, "calls a second, one step each")
	f.Float64Var(&o.firstRate, "first-rate", 250, "rate of the first step where --rates is not given")
	f.DurationVar(&o.step.Duration, "duration", 5*time.Second, "how long a step takes")
	f.IntVar(&o.step.Workers, "workers", 256, "calls in flight at most")
	f.DurationVar(&o.step.Timeout, "deadline", time.Second, "deadline of a call")
	f.IntVar(&o.load.CheckEvery, "check-every", 50, "ask one in so many searches again exactly; 0 for none")
	f.Uint64Var(&o.load.Seed, "seed", 1, "seed of arrivals and queries")
	f.StringVar(&o.report, "report", "", "write an HTML page with plots to `FILE`")
	return c
}

// steps returns the rates asked for; nil means until saturation.
func (o *loadtestOptions) steps() ([]float64, error) {
	var out []float64
	for _, text := range o.rates {
		rate, err := strconv.ParseFloat(text, 64)
		if err != nil || !(rate > 0) || math.IsInf(rate, 1) {
			return nil, usagef("--rates: %q is no rate", text)
		}
		out = append(out, rate)
	}
	return out, nil
}

func (o *loadtestOptions) run(ctx context.Context, env *environment) (err error) {
	rates, err := o.steps()
	if err != nil {
		return err
	}
	o.load.Scenario = loadtest.Scenario(o.scenario)
	if o.usersFile != "" {
		if o.load.Users, err = readLines(o.usersFile); err != nil {
			return err
		}
	}
	c, err := o.remote.dialOnce()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	o.load.Client = c
	load, err := loadtest.NewLoad(ctx, o.load)
	if err != nil {
		return err
	}
	closed := false
	defer func() {
		if !closed {
			err = errors.Join(err, load.Close())
		}
	}()
	built, _ := debug.ReadBuildInfo()
	report := loadtest.LoadReport{
		Title: "Load of " + o.load.Collection,
		Lines: []string{
			fmt.Sprintf("%v, %d processors here", versionOf(built), runtime.NumCPU()),
			fmt.Sprintf("scenario %s, k %d, ef %s, at most %d calls in flight, deadline %v", o.scenario, o.load.K, orDefault(o.load.Ef), o.step.Workers, o.step.Timeout),
		},
	}
	fmt.Fprintf(env.stdout, "%9s %10s %9s %9s %9s %8s  %s\n", "OFFERED/S", "ANSWERED/S", "P50 MS", "P99 MS", "P99.9 MS", "RECALL", "ENDS")
	for i := 0; ; i++ {
		step := o.step
		step.Seed = o.load.Seed + uint64(i)
		switch {
		case rates == nil:
			step.Rate = o.firstRate * float64(int(1)<<i)
		case i < len(rates):
			step.Rate = rates[i]
		}
		result, err := step.Run(ctx, load.Call)
		if err != nil {
			return err
		}
		s := loadtest.ReportStep{StepResult: result}
		s.Recall, s.Checked = load.Recall()
		report.Steps = append(report.Steps, s)
		fmt.Fprintf(env.stdout, "%9.0f %10.0f %9.2f %9.2f %9.2f %8.4f  %v\n", step.Rate, s.Achieved(),
			s.Quantile(50).Seconds()*1e3, s.Quantile(99).Seconds()*1e3, s.Quantile(99.9).Seconds()*1e3, s.Recall, s.Codes)
		if rates == nil && (s.Saturated() || i == maxSteps-1) || rates != nil && i == len(rates)-1 {
			break
		}
	}
	closed = true
	if err := load.Close(); err != nil {
		return err
	}
	if o.load.Scenario == loadtest.During {
		report.Lines = append(report.Lines, fmt.Sprintf("%d rows were built into releases meanwhile", load.Imported()))
	}
	if o.report == "" {
		return nil
	}
	return writeReport(o.report, report)
}

func writeReport(path string, report loadtest.LoadReport) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(report.WriteHTML(file), file.Close())
}

func orDefault(n int) string {
	if n == 0 {
		return "of the server's choice"
	}
	return strconv.Itoa(n)
}

// readLines reads the lines of a file that are not empty.
func readLines(path string) ([]string, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var lines []string
	s := bufio.NewScanner(file)
	for s.Scan() {
		if line := strings.TrimSpace(s.Text()); line != "" {
			lines = append(lines, line)
		}
	}
	return lines, s.Err()
}

// dialOnce is dial without retries: a load test wants to see every refusal.
func (r *remote) dialOnce() (*client.Client, error) {
	return r.dial(grpc.WithDisableRetry())
}
