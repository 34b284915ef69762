package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/segue-ann/segue/client"
	"github.com/segue-ann/segue/loadtest/replay"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
	"github.com/segue-ann/segue/server/querylog"
)

// replayOptions are the flags of replay.
type replayOptions struct {
	logs    []string
	remote  remote // of the first server
	versus  string
	save    string
	against string
	run     replay.Options
	output  format
}

func newReplayCommand(env *environment) *cobra.Command {
	var o replayOptions
	c := &cobra.Command{
		Use:   "replay --log PATH --addr HOST:PORT",
		Short: "Ask logged queries again, and compare two servers or two releases",
		Long: "Replay asks the queries of a query log (segue serve --query-log) again and reports latencies. PATH is a file or the\n" +
			"directory of a log.\n\n" +
			"With --versus, each query goes to both servers, and the report says how far their answers agree: overlap@k (the share\n" +
			"of the longer answer's items that both have), differences of scores, and the queries that differ most.\n\n" +
			"Two releases of one server: ask with --save FILE, publish the other release, ask with --against FILE.\n\n" +
			"The log is also what ghz takes: ghz --binary-file FILE --call segue.v1.RetrievalService.NearestNeighbors ...",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case len(o.logs) == 0:
				return usagef("--log is required")
			case o.versus != "" && o.against != "":
				return usagef("--versus and --against exclude each other")
			}
			if err := o.run.Validate(); err != nil {
				return usagef("%v", err)
			}
			return o.replay(cmd.Context(), env)
		},
	}
	o.remote.flags(c, 0)
	f := c.Flags()
	f.StringSliceVar(&o.logs, "log", nil, "`PATH` of a file, or of the directory, of a query log")
	f.StringVar(&o.versus, "versus", "", "`HOST:PORT` of a second server, reached as the first one is")
	f.StringVar(&o.save, "save", "", "write the answers to `FILE`")
	f.StringVar(&o.against, "against", "", "compare with the answers in `FILE`, of the same log")
	f.IntVar(&o.run.Workers, "workers", 4, "queries under way at a time")
	f.Float64Var(&o.run.Rate, "rate", 0, "queries a second at most; 0 for as many as are answered")
	f.IntVar(&o.run.Count, "count", 100_000, "queries at most")
	o.run.EnsureDefaults()
	f.DurationVar(&o.run.Duration, "duration", o.run.Duration, "begin queries for so long at most")
	f.DurationVar(&o.run.Timeout, "deadline", o.run.Timeout, "deadline of a call")
	o.output.flag(c)
	return c
}

func (o *replayOptions) replay(ctx context.Context, env *environment) (err error) {
	log, err := openLog(o.logs)
	if err != nil {
		return err
	}
	defer log.close()
	a, closeA, err := o.target(o.remote.addr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeA()) }()
	var b *replay.Target
	switch {
	case o.versus != "":
		target, closeB, dialErr := o.target(o.versus)
		if dialErr != nil {
			return dialErr
		}
		defer func() { err = errors.Join(err, closeB()) }()
		b = &target
	case o.against != "":
		if b, err = savedAnswers(o.against); err != nil {
			return err
		}
	}
	var answers []*seguev1.QueryResult
	var keep func(int, *seguev1.NearestNeighborsResponse, error)
	if o.save != "" {
		keep = func(n int, m *seguev1.NearestNeighborsResponse, err error) {
			answers = append(answers, make([]*seguev1.QueryResult, max(0, n+1-len(answers)))...)
			answers[n] = queryResult(m, err)
		}
	}
	report, err := replay.Run(ctx, log.next, a, b, o.run, keep)
	if report == nil {
		return err
	}
	if o.save != "" {
		err = errors.Join(err, saveAnswers(o.save, answers))
	}
	if log.cut != nil {
		fmt.Fprintf(env.stderr, "segue: %v\n", log.cut)
	}
	return errors.Join(err, printReplay(env.stdout, o.output, report))
}

// target dials a server.
func (o *replayOptions) target(addr string) (replay.Target, func() error, error) {
	r := o.remote
	r.addr = addr
	c, err := r.dialOnce()
	if err != nil {
		return replay.Target{}, nil, err
	}
	ask := func(ctx context.Context, _ int, req *seguev1.NearestNeighborsRequest) (*seguev1.NearestNeighborsResponse, error) {
		return c.Retrieval.NearestNeighbors(ctx, req)
	}
	return replay.Target{Name: addr, Ask: ask}, c.Close, nil
}

// queryLog reads the files of a query log one after the other.
type queryLog struct {
	names  []string
	file   *os.File
	reader *querylog.Reader
	cut    error // a file that ends in the middle of a query
}

func openLog(paths []string) (*queryLog, error) {
	var names []string
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("--log: %w", err)
		}
		if !info.IsDir() {
			names = append(names, path)
			continue
		}
		files, err := querylog.Files(path)
		if err != nil {
			return nil, err
		}
		names = append(names, files...)
	}
	if len(names) == 0 {
		return nil, usagef("--log %s holds no files of a query log", strings.Join(paths, ","))
	}
	return &queryLog{names: names}, nil
}

// next returns the next query, or io.EOF. The end of a file that was cut off is noted and passed over.
func (l *queryLog) next() (*seguev1.NearestNeighborsRequest, error) {
	for {
		if l.file == nil {
			if len(l.names) == 0 {
				return nil, io.EOF
			}
			file, err := os.Open(l.names[0])
			if err != nil {
				return nil, err
			}
			l.file, l.reader = file, querylog.NewReader(file)
		}
		req, err := l.reader.Next()
		var bad *querylog.RecordError
		switch {
		case err == nil:
			return req, nil
		case errors.Is(err, io.EOF) && !errors.As(err, &bad):
		case errors.As(err, &bad) && bad.Truncated:
			l.cut = fmt.Errorf("%s: %w", l.names[0], err)
		default:
			return nil, fmt.Errorf("%s: %w", l.names[0], err)
		}
		l.close()
		l.names = l.names[1:]
	}
}

func (l *queryLog) close() {
	if l.file != nil {
		_ = l.file.Close() // it was only read
		l.file = nil
	}
}

// queryResult is an answer, or an error, as it is saved.
func queryResult(m *seguev1.NearestNeighborsResponse, err error) *seguev1.QueryResult {
	if err != nil {
		e := &seguev1.QueryError{Code: int32(status.Code(err)), Message: status.Convert(err).Message(), Reason: client.Reason(err)}
		return &seguev1.QueryResult{Result: &seguev1.QueryResult_Error{Error: e}}
	}
	return &seguev1.QueryResult{Result: &seguev1.QueryResult_Response{Response: m}}
}

func saveAnswers(path string, answers []*seguev1.QueryResult) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	for _, m := range answers {
		if _, err := protodelim.MarshalTo(file, m); err != nil {
			return errors.Join(err, file.Close())
		}
	}
	return file.Close()
}

// savedAnswers is a target that answers as saveAnswers heard it.
func savedAnswers(path string) (*replay.Target, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("--against: %w", err)
	}
	var answers []*seguev1.QueryResult
	for in := strings.NewReader(string(b)); in.Len() > 0; {
		m := &seguev1.QueryResult{}
		if err := (protodelim.UnmarshalOptions{MaxSize: int64(len(b))}).UnmarshalFrom(in, m); err != nil {
			return nil, fmt.Errorf("--against %s: answer %d: %w", path, len(answers), err)
		}
		answers = append(answers, m)
	}
	ask := func(_ context.Context, n int, _ *seguev1.NearestNeighborsRequest) (*seguev1.NearestNeighborsResponse, error) {
		if n >= len(answers) {
			return nil, status.Errorf(codes.OutOfRange, "%s holds %d answers", path, len(answers))
		}
		if e := answers[n].GetError(); e != nil {
			return nil, status.Error(codes.Code(e.GetCode()), e.GetMessage())
		}
		return answers[n].GetResponse(), nil
	}
	return &replay.Target{Name: path, Ask: ask}, nil
}

// replaySide is a side of a report as JSON has it.
type replaySide struct {
	Name         string         `json:"name"`
	Codes        map[string]int `json:"codes"`
	Milliseconds latencies      `json:"milliseconds"`
}

type latencies struct {
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p999"`
	Max  float64 `json:"max"`
}

func sideOf(s *replay.Side) *replaySide {
	if s == nil {
		return nil
	}
	ms := func(p float64) float64 { return s.Quantile(p).Seconds() * 1e3 }
	return &replaySide{s.Name, s.Codes, latencies{ms(50), ms(90), ms(99), ms(99.9), ms(100)}}
}

func printReplay(w io.Writer, f format, r *replay.Report) error {
	sides := []*replaySide{sideOf(r.A)}
	if r.B != nil {
		sides = append(sides, sideOf(r.B))
	}
	if f == formatJSON {
		doc := map[string]any{"queries": r.Queries, "seconds": r.Elapsed.Seconds(), "sides": sides}
		if r.B != nil {
			doc["compared"], doc["identical"], doc["overlap"] = r.Compared, r.Identical, r.Overlap
			doc["mean_score_difference"], doc["max_score_difference"] = r.MeanScoreDifference, r.MaxScoreDifference
			doc["worst"] = differences(r)
		}
		return writeJSON(w, doc)
	}
	fmt.Fprintf(w, "%d queries in %.1f s\n\n%-28s %9s %9s %9s %9s %9s  %s\n", r.Queries, r.Elapsed.Seconds(), "SERVER", "P50 MS", "P90 MS", "P99 MS", "P99.9 MS", "MAX MS", "ENDS")
	for _, s := range sides {
		l := s.Milliseconds
		fmt.Fprintf(w, "%-28s %9.2f %9.2f %9.2f %9.2f %9.2f  %v\n", s.Name, l.P50, l.P90, l.P99, l.P999, l.Max, s.Codes)
	}
	if r.B == nil {
		return nil
	}
	fmt.Fprintf(w, "\n%d answered by both: overlap@k %.4f, %d identical, scores of common items differ by %.2g on average and %.2g at most\n",
		r.Compared, r.Overlap, r.Identical, r.MeanScoreDifference, r.MaxScoreDifference)
	for _, d := range differences(r) {
		fmt.Fprintf(w, "%6.3f  query %d: %s\n", d.Overlap, d.Query, d.Request)
	}
	return nil
}

// difference is a query that is answered differently, with as much of it as fits a line.
type difference struct {
	Query   int     `json:"query"`
	Overlap float64 `json:"overlap"`
	Request string  `json:"request"`
}

func differences(r *replay.Report) []difference {
	out := []difference{}
	for _, d := range r.Worst {
		text := protojson.MarshalOptions{}.Format(d.Request)
		if len(text) > 160 {
			text = strings.ToValidUTF8(text[:160], "") + "..."
		}
		out = append(out, difference{d.Query, d.Overlap, text})
	}
	return out
}
