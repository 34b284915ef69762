package loadtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"github.com/segue-ann/segue/engine"
	"github.com/segue-ann/segue/internal/background"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// RPCOptions say what to measure a server with. The zero value of a number means its documented default.
type RPCOptions struct {
	// Collection is asked in process, and through the server at Addr, which must be in this process too.
	Collection *engine.Collection
	Addr       string
	// Empty are the transport's options of the server that does nothing, to be the same as those of the server at Addr.
	Empty []grpc.ServerOption
	// Queries are vectors of the collection's dimension.
	Queries [][]float32
	// K neighbors are asked for, by default 10, with a beam of Ef, by default the narrowest that reaches Recall, by default 0.95.
	K, Ef  int
	Recall float64
	// Callers call at once, over Conns connections; by default 32 over 2.
	Callers, Conns int
	// Batch is how many queries a call of BatchNearestNeighbors has, by default 100.
	Batch int
	// Every path has Rounds turns of Turn each, by default 7 of 400 ms.
	Rounds int
	Turn   time.Duration
}

// EnsureDefaults replaces zero values by the defaults.
func (o *RPCOptions) EnsureDefaults() {
	for _, f := range []struct {
		field *int
		value int
	}{{&o.K, 10}, {&o.Callers, 32}, {&o.Conns, 2}, {&o.Batch, 100}, {&o.Rounds, 7}} {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
	if o.Recall == 0 {
		o.Recall = 0.95
	}
	if o.Turn == 0 {
		o.Turn = 400 * time.Millisecond
	}
}

// Validate reports every field that is out of range.
func (o RPCOptions) Validate() error {
	var errs []error
	in := func(field string, value, low, high int) {
		if value < low || value > high {
			errs = append(errs, &OptionError{Field: field, Value: value, Range: fmt.Sprintf("%d to %d", low, high)})
		}
	}
	in("k", o.K, 1, 1000)
	in("ef", o.Ef, 0, 20_000)
	in("callers", o.Callers, 1, 1024)
	in("conns", o.Conns, 1, 64)
	in("batch", o.Batch, 1, 1000)
	in("rounds", o.Rounds, 1, 1000)
	in("turn", int(o.Turn.Milliseconds()), 1, 60_000)
	if !(o.Recall > 0 && o.Recall <= 1) {
		errs = append(errs, &OptionError{Field: "recall", Value: o.Recall, Range: "above 0, at most 1"})
	}
	return errors.Join(errs...)
}

// RPCPath is one way to have queries answered.
type RPCPath string

// The paths.
const (
	PathEngine RPCPath = "engine" // in process, on as many goroutines as there are processors
	PathBatch  RPCPath = "batch"  // BatchNearestNeighbors
	PathStream RPCPath = "stream" // StreamNearestNeighbors
	PathEmpty  RPCPath = "empty"  // a unary call that does nothing, its messages as large as those of unary
	PathUnary  RPCPath = "unary"  // NearestNeighbors
)

// RPCResult is what one path did in all its turns.
type RPCResult struct {
	Path    RPCPath `json:"path"`
	Queries int     `json:"queries"`
	// Rate is queries a second, the median of the turns; CPU is processor time a query in microseconds, of client and server, over
	// all turns.
	Rate float64 `json:"rate"`
	CPU  float64 `json:"cpu_us"`
	// Of is what the path is compared with: empty for unary, engine for batch and stream. Ratio is the median over the rounds of
	// its rate over that of Of in the same round; CPURatio is that of Of's processor time over its own.
	Of       RPCPath `json:"of,omitempty"`
	Ratio    float64 `json:"ratio,omitempty"`
	CPURatio float64 `json:"cpu_ratio,omitempty"`
	// Allocations of the server in a call, and their bytes, counted with a client that allocates nothing; of empty and unary.
	Allocations float64          `json:"allocations,omitempty"`
	AllocBytes  float64          `json:"alloc_bytes,omitempty"`
	Sites       []AllocationSite `json:"sites,omitempty"`

	rates []float64
	cpu   time.Duration
}

// RPCReport is a measurement of all paths.
type RPCReport struct {
	Items  int     `json:"items"`
	Dim    int     `json:"dim"`
	K      int     `json:"k"`
	Ef     int     `json:"ef"`
	Recall float64 `json:"recall"` // of unary calls, against exact scans
	// RequestBytes and AnswerBytes are means of unary calls.
	RequestBytes int         `json:"request_bytes"`
	AnswerBytes  int         `json:"answer_bytes"`
	Results      []RPCResult `json:"results"`
}

// Result returns that of a path.
func (r *RPCReport) Result(p RPCPath) *RPCResult {
	for i := range r.Results {
		if r.Results[i].Path == p {
			return &r.Results[i]
		}
	}
	return nil
}

// rpcBench holds what turns need.
type rpcBench struct {
	o        RPCOptions
	conns    []*grpc.ClientConn
	empty    *EmptyServer
	hollow   []*grpc.ClientConn // to empty
	requests [][]byte           // unary, one a query
	batches  [][]byte
	streamed [][]byte
	truth    [][]*seguev1.Neighbor // of the first queries
	report   RPCReport
}

// MeasureRPC measures how fast queries are answered in process, through gRPC, and how fast gRPC is with nothing to do. Paths take
// turns, so that what else the machine does falls on all of them. Clients are of this process and take part of its
// processors; they send messages that were encoded before and do not decode answers, the same for all paths.
func MeasureRPC(ctx context.Context, o RPCOptions) (_ *RPCReport, err error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if len(o.Queries) == 0 {
		return nil, errors.New("loadtest: there are no queries to measure with")
	}
	b := &rpcBench{o: o}
	defer func() { err = errors.Join(err, b.close()) }()
	if err := b.prepare(ctx); err != nil {
		return nil, err
	}
	paths := []struct {
		path, of RPCPath
		turn     func(context.Context) (int, error)
	}{
		{PathEngine, "", b.engineTurn},
		{PathBatch, PathEngine, b.batchTurn},
		{PathStream, PathEngine, b.streamTurn},
		{PathEmpty, "", func(ctx context.Context) (int, error) { return b.unaryTurn(ctx, b.hollow, EmptyMethod) }},
		{PathUnary, PathEmpty, func(ctx context.Context) (int, error) { return b.unaryTurn(ctx, b.conns, unaryMethod) }},
	}
	for _, p := range paths {
		b.report.Results = append(b.report.Results, RPCResult{Path: p.path, Of: p.of})
	}
	for round := range o.Rounds + 1 { // the first warms up
		for i, p := range paths {
			cpu, began := processorTime(), time.Now()
			turn, cancel := context.WithTimeout(ctx, o.Turn)
			n, err := p.turn(turn)
			cancel()
			if err := errors.Join(err, ctx.Err()); err != nil {
				return nil, fmt.Errorf("loadtest: path %s: %w", p.path, err)
			}
			if round > 0 {
				r := &b.report.Results[i]
				r.Queries += n
				r.rates = append(r.rates, float64(n)/time.Since(began).Seconds())
				r.cpu += processorTime() - cpu
			}
		}
	}
	for i := range b.report.Results {
		b.report.Results[i].conclude(&b.report)
	}
	if err := b.countAllocations(ctx); err != nil {
		return nil, err
	}
	return &b.report, nil
}

func (r *RPCResult) conclude(all *RPCReport) {
	r.Rate = median(r.rates)
	r.CPU = float64(r.cpu.Microseconds()) / float64(max(1, r.Queries))
	of := all.Result(r.Of)
	if of == nil {
		return
	}
	var ratios []float64
	for i, rate := range of.rates {
		if rate > 0 { // a turn too short for one call says nothing
			ratios = append(ratios, r.rates[i]/rate)
		}
	}
	r.Ratio = median(ratios)
	if r.CPU > 0 {
		r.CPURatio = of.CPU / r.CPU
	}
}

// median of nothing is 0.
func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

const (
	unaryMethod  = "/segue.v1.RetrievalService/NearestNeighbors"
	batchMethod  = "/segue.v1.RetrievalService/BatchNearestNeighbors"
	streamMethod = "/segue.v1.RetrievalService/StreamNearestNeighbors"
)

func (b *rpcBench) prepare(ctx context.Context) error {
	o, c := &b.o, b.o.Collection
	b.report = RPCReport{Items: c.Len(), Dim: c.Config().Dim, K: o.K}
	if err := errors.Join(b.learn(ctx), b.chooseEf(ctx)); err != nil {
		return err
	}
	b.report.Ef = o.Ef
	var err error
	if b.conns, err = rawConns(o.Addr, o.Conns); err != nil {
		return err
	}
	if err := b.encode(); err != nil {
		return err
	}
	if err := b.judge(ctx); err != nil {
		return err
	}
	if b.empty, err = StartEmptyServer(ctx, b.report.AnswerBytes, o.Empty); err != nil {
		return err
	}
	b.hollow, err = rawConns(b.empty.Addr, o.Conns)
	return err
}

func (b *rpcBench) close() error {
	var errs []error
	for _, c := range append(b.conns, b.hollow...) {
		errs = append(errs, c.Close())
	}
	if b.empty != nil {
		errs = append(errs, b.empty.Close())
	}
	return errors.Join(errs...)
}

func rawConns(addr string, n int) (conns []*grpc.ClientConn, err error) {
	for range n {
		c, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry(),
			grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rawCodec{}), grpc.MaxCallRecvMsgSize(64<<20)))
		if err != nil {
			return conns, err
		}
		conns = append(conns, c)
	}
	return conns, nil
}

// judgedQueries is how many queries are compared with exact scans.
const judgedQueries = 300

func (b *rpcBench) search(ctx context.Context, query []float32, ef int, exact bool) (engine.SearchResult, error) {
	return b.o.Collection.Search(ctx, engine.SearchRequest{Query: engine.Query{Vector: query}, K: b.o.K, Ef: ef, Exact: exact})
}

// learn finds the true neighbors of the judged queries.
func (b *rpcBench) learn(ctx context.Context) error {
	for _, q := range b.o.Queries[:min(judgedQueries, len(b.o.Queries))] {
		r, err := b.search(ctx, q, 0, true)
		if err != nil {
			return err
		}
		b.truth = append(b.truth, encodeDistances(r.Neighbors))
	}
	return nil
}

// encodeDistances keeps of neighbors what recall looks at.
func encodeDistances(ns []engine.Neighbor) []*seguev1.Neighbor {
	out := make([]*seguev1.Neighbor, len(ns))
	for i, n := range ns {
		out[i] = &seguev1.Neighbor{Distance: n.Distance}
	}
	return out
}

// chooseEf sets Ef where it is not given: to the narrowest beam that reaches the recall, for what is wider than needed is work that no
// path needs.
func (b *rpcBench) chooseEf(ctx context.Context) error {
	if b.o.Ef > 0 {
		return nil
	}
	reaches := func(ef int) (bool, error) {
		sum := 0.0
		for i, truth := range b.truth {
			r, err := b.search(ctx, b.o.Queries[i], ef, false)
			if err != nil {
				return false, err
			}
			sum += recall(truth, encodeDistances(r.Neighbors))
		}
		return sum/float64(len(b.truth)) >= b.o.Recall, nil
	}
	low, high := b.o.K-1, b.o.K // low is too narrow, or below K
	for {
		enough, err := reaches(high)
		if err != nil {
			return err
		}
		if enough {
			break
		}
		if low = high; low >= widestEf {
			return fmt.Errorf("loadtest: no beam up to %d reaches a recall of %g", widestEf, b.o.Recall)
		}
		high = min(2*high, widestEf)
	}
	for high-low > 1 {
		middle := (low + high) / 2
		enough, err := reaches(middle)
		if err != nil {
			return err
		}
		if enough {
			high = middle
		} else {
			low = middle
		}
	}
	b.o.Ef = high
	return nil
}

// widestEf is the widest beam that is tried.
const widestEf = 1024

// encode makes the messages of all paths.
func (b *rpcBench) encode() error {
	name := b.o.Collection.Config().Name
	requests := make([]*seguev1.NearestNeighborsRequest, len(b.o.Queries))
	add := func(to *[][]byte, m proto.Message) error {
		data, err := proto.Marshal(m)
		*to = append(*to, data)
		return err
	}
	for i, q := range b.o.Queries {
		requests[i] = &seguev1.NearestNeighborsRequest{
			Collection: name, NeighborCount: int32(b.o.K),
			Query:        &seguev1.Query{Form: &seguev1.Query_Vector{Vector: float32LE(q)}},
			SearchEffort: &seguev1.SearchEffort{Effort: &seguev1.SearchEffort_Ef{Ef: int32(b.o.Ef)}},
		}
		if err := errors.Join(add(&b.requests, requests[i]), add(&b.streamed, &seguev1.StreamNearestNeighborsRequest{Request: requests[i]})); err != nil {
			return err
		}
	}
	for at := 0; at < len(requests); at += b.o.Batch {
		batch := &seguev1.BatchNearestNeighborsRequest{Collection: name}
		for i := range b.o.Batch {
			batch.Requests = append(batch.Requests, requests[(at+i)%len(requests)])
		}
		if err := add(&b.batches, batch); err != nil {
			return err
		}
	}
	return nil
}

// judge asks the server some queries: recall, and the sizes of messages.
func (b *rpcBench) judge(ctx context.Context) error {
	n := len(b.truth)
	for i, truth := range b.truth {
		var data []byte
		if err := b.conns[0].Invoke(ctx, unaryMethod, &b.requests[i], &data); err != nil {
			return err
		}
		answer := &seguev1.NearestNeighborsResponse{}
		if err := proto.Unmarshal(data, answer); err != nil {
			return err
		}
		b.report.Recall += recall(truth, answer.GetNeighbors()) / float64(n)
		b.report.RequestBytes += len(b.requests[i])
		b.report.AnswerBytes += len(data)
	}
	b.report.RequestBytes /= n
	b.report.AnswerBytes /= n
	return nil
}

// each runs do on n goroutines until ctx ends, and returns the sum of what it returned. do is called with the number of the
// goroutine and ever larger numbers of its call, over all goroutines.
func each(ctx context.Context, n int, do func(worker, call int) (int, error)) (int, error) {
	var (
		group sync.WaitGroup
		next  atomic.Int64
		total atomic.Int64
		errs  = make([]error, n)
	)
	for w := range n {
		group.Go(func() {
			for ctx.Err() == nil {
				done, err := do(w, int(next.Add(1))-1)
				if err != nil {
					errs[w] = err
					return
				}
				total.Add(int64(done))
			}
		})
	}
	group.Wait()
	return int(total.Load()), errors.Join(errs...)
}

func (b *rpcBench) engineTurn(ctx context.Context) (int, error) {
	return each(ctx, background.Processors(), func(_, call int) (int, error) {
		_, err := b.search(context.WithoutCancel(ctx), b.o.Queries[call%len(b.o.Queries)], b.o.Ef, false)
		return 1, err
	})
}

// callTimeout is the deadline of a call: production has one.
const callTimeout = 10 * time.Second

func (b *rpcBench) unaryTurn(ctx context.Context, conns []*grpc.ClientConn, method string) (int, error) {
	answers := make([][]byte, b.o.Callers)
	return each(ctx, b.o.Callers, func(worker, call int) (int, error) {
		one, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
		defer cancel()
		return 1, conns[worker%len(conns)].Invoke(one, method, &b.requests[call%len(b.requests)], &answers[worker])
	})
}

// batchWindow is how many batches of one connection are under way: while one is sent and received, another is worked on.
const batchWindow = 2

func (b *rpcBench) batchTurn(ctx context.Context) (int, error) {
	answers := make([][]byte, b.o.Conns*batchWindow)
	return each(ctx, len(answers), func(worker, call int) (int, error) {
		one, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
		defer cancel()
		return b.o.Batch, b.conns[worker%len(b.conns)].Invoke(one, batchMethod, &b.batches[call%len(b.batches)], &answers[worker])
	})
}

// streamWindow is how many queries of one stream are under way.
const streamWindow = 32

func (b *rpcBench) streamTurn(ctx context.Context) (int, error) {
	type stream struct {
		grpc.ClientStream
		sent   int
		answer []byte
	}
	streams := make([]stream, b.o.Conns)
	all, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	for i := range streams {
		s, err := b.conns[i].NewStream(all, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, streamMethod)
		if err != nil {
			return 0, err
		}
		streams[i].ClientStream = s
	}
	return each(ctx, len(streams), func(worker, call int) (int, error) {
		s := &streams[worker]
		for {
			if err := s.SendMsg(&b.streamed[(call+s.sent)%len(b.streamed)]); err != nil {
				return 0, err
			}
			if s.sent++; s.sent >= streamWindow {
				break
			}
		}
		return 1, s.RecvMsg(&s.answer)
	})
}

// countedCalls is how many calls allocations are counted over.
const countedCalls = 2000

// countAllocations counts what the process allocates while a client calls that allocates nothing.
func (b *rpcBench) countAllocations(ctx context.Context) error {
	for _, p := range []struct {
		path         RPCPath
		addr, method string
	}{{PathEmpty, b.empty.Addr, EmptyMethod}, {PathUnary, b.o.Addr, unaryMethod}} {
		a, err := CountAllocations(ctx, p.addr, p.method, b.requests[0], countedCalls)
		if err != nil {
			return err
		}
		r := b.report.Result(p.path)
		r.Allocations, r.AllocBytes, r.Sites = a.Objects, a.Bytes, a.Sites
	}
	return nil
}
