package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/segue-ann/segue/client"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// batchFlags are the flags of `segue batch`.
type batchFlags struct {
	shownFlags
	searchFlags
	remote                remote
	items, users, vectors string
	size                  int
	stream                bool
}

func newBatchCommand(env *environment) *cobra.Command {
	var f batchFlags
	c := &cobra.Command{
		Use:   "batch --collection NAME (--items FILE | --users FILE | --vectors FILE)",
		Short: "Answer many queries, as JSON lines",
		Long: "Batch asks for the neighbors of every item or user that a file names, an id in each line (- is standard input), or of\n" +
			"every row of a matrix, all with the same flags, and writes a line of JSON for each query as soon as it has it:\n" +
			"{\"query\": \"ID\", \"neighbors\": [...], \"search_info\": {...}}, or {\"query\": \"ID\", \"error\": {...}}. Queries travel --size at\n" +
			"a time and are answered in order; with --stream they go over one stream, and answers come as they are ready.\n" +
			"Where some failed it ends with exit code 3.",
		Example: "  segue batch --collection tracks --items tracks.txt -k 20 --max-per artists=2 >similar.jsonl\n" +
			"  segue batch --collection tracks --users - --stream --exclude-value 'artists=The Weeknd' <listeners.txt",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), env) },
	}
	f.shownFlags.flags(c)
	f.searchFlags.flags(c)
	c.Flags().StringVar(&f.items, "items", "", "`FILE` with the ids of items to be like")
	c.Flags().StringVar(&f.users, "users", "", "`FILE` with the ids of users to please")
	c.Flags().StringVar(&f.vectors, "vectors", "", "`FILE` with vectors to be near to, one a row; the rows count from 0")
	c.MarkFlagsOneRequired("items", "users", "vectors")
	c.MarkFlagsMutuallyExclusive("items", "users", "vectors")
	c.Flags().IntVar(&f.size, "size", 100, "how many queries travel together, 1 to 1000")
	c.Flags().BoolVar(&f.stream, "stream", false, "ask over one stream")
	f.remote.flags(c, 0)
	return c
}

// query is one of many.
type batchQuery struct {
	name string
	form *seguev1.Query
}

func (f *batchFlags) run(ctx context.Context, env *environment) error {
	if f.size < 1 || f.size > 1000 {
		return usagef("--size must be 1 to 1000, is %d", f.size)
	}
	request, err := f.request()
	if err != nil {
		return err
	}
	request.Collection = f.collection
	if len(f.attributes) > 0 {
		request.ReadMask = f.readMask()
	}
	out := batchWriter{to: bufio.NewWriter(env.stdout)}
	err = f.remote.call(ctx, func(ctx context.Context, c *client.Client) error {
		queries := f.queries(env.stdin)
		if f.stream {
			return streamQueries(ctx, c, request, queries, &out)
		}
		return f.batchQueries(ctx, c, request, queries, &out)
	})
	if flushed := out.to.Flush(); err == nil {
		err = flushed
	}
	if err == nil && out.failed > 0 {
		return &badDataError{fmt.Sprintf("%d of %d queries failed", out.failed, out.written)}
	}
	return err
}

// queries yields what the file asks for.
func (f *batchFlags) queries(stdin io.Reader) iter.Seq2[batchQuery, error] {
	return func(yield func(batchQuery, error) bool) {
		switch {
		case f.vectors != "":
			row := 0
			for v, err := range vectorRows(f.vectors) {
				if !yield(batchQuery{strconv.Itoa(row), client.ByVector(v)}, err) || err != nil {
					return
				}
				row++
			}
		case f.items != "":
			idLines(f.items, stdin, client.ByItem, yield)
		default:
			idLines(f.users, stdin, client.ByUser, yield)
		}
	}
}

// idLines yields a query for every line that is not empty.
func idLines(name string, stdin io.Reader, by func(id string) *seguev1.Query, yield func(batchQuery, error) bool) {
	in := stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			yield(batchQuery{}, err)
			return
		}
		defer f.Close()
		in = f
	}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		if id := strings.TrimSpace(lines.Text()); id != "" && !yield(batchQuery{id, by(id)}, nil) {
			return
		}
	}
	if err := lines.Err(); err != nil {
		yield(batchQuery{}, fmt.Errorf("%s: %w", name, err))
	}
}

// batchQueries sends f.size queries at a time.
func (f *batchFlags) batchQueries(
	ctx context.Context, c *client.Client, like *seguev1.NearestNeighborsRequest, queries iter.Seq2[batchQuery, error], out *batchWriter,
) error {
	var names []string
	batch := &seguev1.BatchNearestNeighborsRequest{Collection: f.collection}
	send := func() error {
		if len(names) == 0 {
			return nil
		}
		answer, err := c.Retrieval.BatchNearestNeighbors(ctx, batch)
		if err != nil {
			return err
		}
		for i, r := range answer.GetResults() {
			if err := out.write(names[i], r); err != nil {
				return err
			}
		}
		names, batch.Requests = names[:0], batch.Requests[:0]
		return out.to.Flush()
	}
	for q, err := range queries {
		if err != nil {
			return err
		}
		request := proto.CloneOf(like)
		request.Query = q.form
		names, batch.Requests = append(names, q.name), append(batch.Requests, request)
		if len(names) == f.size {
			if err := send(); err != nil {
				return err
			}
		}
	}
	return send()
}

// streamQueries sends queries over one stream.
func streamQueries(
	ctx context.Context, c *client.Client, like *seguev1.NearestNeighborsRequest, queries iter.Seq2[batchQuery, error], out *batchWriter,
) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	requests := func(yield func(string, *seguev1.NearestNeighborsRequest) bool) {
		for q, err := range queries {
			if err != nil {
				cancel(err)
				return
			}
			request := proto.CloneOf(like)
			request.Query = q.form
			if !yield(q.name, request) {
				return
			}
		}
	}
	for answer, err := range c.Answers(ctx, requests) {
		if cause := context.Cause(ctx); err != nil && cause != nil {
			return cause
		}
		if err != nil {
			return err
		}
		if err := out.write(answer.GetQueryId(), answer.GetResult()); err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

// batchWriter writes answers as JSON lines.
type batchWriter struct {
	to              *bufio.Writer
	written, failed int
}

type batchLine struct {
	Query string `json:"query"`
	*neighborsJSON
	Error *batchError `json:"error,omitempty"`
}

// batchError has the fields and names of seguev1.QueryError.
type batchError struct {
	Code    string `json:"code"`
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message"`
	Field   string `json:"field,omitempty"`
}

func (w *batchWriter) write(name string, r *seguev1.QueryResult) error {
	line := batchLine{Query: name}
	w.written++
	if e := r.GetError(); e != nil {
		w.failed++
		line.Error = &batchError{Code: codes.Code(e.GetCode()).String(), Reason: e.GetReason(), Message: e.GetMessage(), Field: e.GetField()}
	} else {
		answer := neighborsJSONOf(r.GetResponse())
		line.neighborsJSON = &answer
	}
	e := json.NewEncoder(w.to)
	e.SetEscapeHTML(false)
	return e.Encode(line)
}
