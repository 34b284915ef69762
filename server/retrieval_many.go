package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/segue-ann/segue/engine"
	"github.com/segue-ann/segue/internal/background"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
	"github.com/segue-ann/segue/server/admission"
)

// BatchNearestNeighbors answers on as many goroutines as there are processors, each query for itself and in its turn. When one is
// shed, those that were not begun are too: a batch does not stay to see whether the overload ends.
func (s *retrievalService) BatchNearestNeighbors(ctx context.Context, req *seguev1.BatchNearestNeighborsRequest) (*seguev1.BatchNearestNeighborsResponse, error) {
	c, err := s.collection("collection", req.GetCollection())
	if err != nil {
		return nil, err
	}
	queries := req.GetRequests()
	if n := len(queries); n == 0 {
		return nil, invalid(engine.ReasonRequired, "requests", "must not be empty")
	} else if n > s.limits.MaxQueries {
		return nil, invalid(engine.ReasonOutOfRange, "requests", "must be at most %d, are %d", s.limits.MaxQueries, n)
	}
	d := &decoder{limits: s.limits}
	for i, q := range queries {
		if name := q.GetCollection(); name != "" && name != req.GetCollection() {
			d.add(engine.ReasonInvalidFormat, fmt.Sprintf("requests[%d].collection", i), "must be empty or that of the batch")
		}
	}
	if err := d.err(); err != nil {
		return nil, err
	}
	b := &batch{collection: c, queries: queries, results: make([][]byte, len(queries))}
	errs := make([]error, min(background.Processors(), len(queries)))
	var group sync.WaitGroup
	for i := range errs {
		group.Go(func() { errs[i] = s.answerSome(ctx, b) })
	}
	group.Wait()
	if err := errors.Join(append(errs, ctx.Err())...); err != nil {
		return nil, err
	}
	return b.response(), nil
}

// batch is what the goroutines of a batch share.
type batch struct {
	collection *engine.Collection
	queries    []*seguev1.NearestNeighborsRequest
	results    [][]byte // see resultWriter
	next       atomic.Int64
	shed       atomic.Pointer[admission.OverloadedError]
}

// response is the message of all results. They are encoded already, and part of it as fields that it does not know: encoding it copies them.
func (b *batch) response() *seguev1.BatchNearestNeighborsResponse {
	m := &seguev1.BatchNearestNeighborsResponse{}
	m.ProtoReflect().SetUnknown(slices.Concat(b.results...))
	return m
}

// answerSome answers queries of a batch until there are no more. An error is one of encoding.
func (s *retrievalService) answerSome(ctx context.Context, b *batch) (err error) {
	var w resultWriter
	for i := int(b.next.Add(1)) - 1; i < len(b.queries); i = int(b.next.Add(1)) - 1 {
		var result *seguev1.QueryResult
		if overloaded := b.shed.Load(); overloaded != nil {
			result = s.queryResult(ctx, nil, overloaded)
		} else {
			m, err := s.answer(ctx, b.collection, b.queries[i], &w.answer)
			result = s.queryResult(ctx, m, err)
			if errors.As(err, &overloaded) {
				b.shed.Store(overloaded)
			}
		}
		if b.results[i], err = w.write(result); err != nil {
			return fmt.Errorf("encode result %d: %w", i, err)
		}
	}
	return nil
}

// resultWriter encodes results of a batch where they are made: on all processors, while they are in the caches, and each in the memory of the
// one before. Results that are encoded as batches of one make, one after the other, the encoding of the batch.
type resultWriter struct {
	answer answer
	batch  seguev1.BatchNearestNeighborsResponse
	buffer []byte // what was written, from some result on
}

// resultBufferBytes is room for some fifty results of ten neighbors.
const resultBufferBytes = 16 << 10

// write returns r encoded; r may be changed then.
func (w *resultWriter) write(r *seguev1.QueryResult) ([]byte, error) {
	w.batch.Results = append(w.batch.GetResults()[:0], r)
	size, begin := proto.Size(&w.batch), len(w.buffer)
	if cap(w.buffer)-begin < size {
		w.buffer, begin = make([]byte, 0, max(resultBufferBytes, size)), 0 // what was written before stays where it is
	}
	data, err := proto.MarshalOptions{Deterministic: true, UseCachedSize: true}.MarshalAppend(w.buffer, &w.batch)
	if err != nil {
		return nil, err
	}
	w.buffer = data
	return data[begin:], nil
}

// answer answers one of several queries when its turn has come; the answer lies in a. c is nil where the query names its collection. Like
// interceptors.recover it survives a panic: a search has no side effects.
func (s *retrievalService) answer(ctx context.Context, c *engine.Collection, req *seguev1.NearestNeighborsRequest, a *answer) (m *seguev1.NearestNeighborsResponse, err error) {
	permit, err := s.turn(ctx, seguev1.Priority_PRIORITY_BATCH_QUERY)
	if err != nil {
		return nil, err
	}
	defer func() {
		if p := recover(); p != nil {
			err = &panicError{value: p, stack: debug.Stack()}
		}
		permit.Done(err)
	}()
	if c == nil {
		if c, err = s.collection("collection", req.GetCollection()); err != nil {
			return nil, err
		}
	}
	return s.nearestNeighbors(ctx, c, req, a)
}

// queryResult makes the result of a query from its answer or error, and logs an error that is the server's.
func (s *retrievalService) queryResult(ctx context.Context, m *seguev1.NearestNeighborsResponse, err error) *seguev1.QueryResult {
	if err == nil {
		return &seguev1.QueryResult{Result: &seguev1.QueryResult_Response{Response: m}}
	}
	st := toStatus(err)
	if c := st.Code(); c == codes.Internal || c == codes.DataLoss {
		s.log.ErrorContext(ctx, "one of several queries failed", "err", err)
	}
	e := &seguev1.QueryError{Code: int32(st.Code()), Message: st.Message()}
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			e.Reason = info.GetReason()
			e.Field = info.GetMetadata()["field"]
		}
	}
	return &seguev1.QueryResult{Result: &seguev1.QueryResult_Error{Error: e}}
}

// maxQueryIDBytes bounds what the caller of a stream wants back with an answer.
const maxQueryIDBytes = 256

// StreamNearestNeighbors answers queries on as many goroutines as there are processors. It reads a query only when one of them
// is free, and an answer is out of memory when it is sent: a client that does not read is not read from.
func (s *retrievalService) StreamNearestNeighbors(stream grpc.BidiStreamingServer[seguev1.StreamNearestNeighborsRequest, seguev1.StreamNearestNeighborsResponse]) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	var (
		free   = make(chan struct{}, background.Processors())
		group  sync.WaitGroup
		sendMu sync.Mutex // guards stream.Send and sendErr
		failed error
	)
	defer group.Wait()
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			group.Wait()
			sendMu.Lock()
			defer sendMu.Unlock()
			return failed
		}
		if err != nil {
			return err
		}
		if n := len(req.GetQueryId()); n > maxQueryIDBytes {
			return invalid(engine.ReasonTooLong, "query_id", "must be at most %d bytes, has %d", maxQueryIDBytes, n)
		}
		select {
		case free <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		group.Go(func() {
			defer func() { <-free }()
			m, err := s.answer(ctx, nil, req.GetRequest(), &answer{})
			response := &seguev1.StreamNearestNeighborsResponse{QueryId: req.GetQueryId(), Result: s.queryResult(ctx, m, err)}
			sendMu.Lock()
			defer sendMu.Unlock()
			if failed == nil {
				if failed = stream.Send(response); failed != nil {
					cancel()
				}
			}
		})
	}
}
