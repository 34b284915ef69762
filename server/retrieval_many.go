package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

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
	results := make([]*seguev1.QueryResult, len(queries))
	var (
		next  atomic.Int64
		shed  atomic.Pointer[admission.OverloadedError]
		group sync.WaitGroup
	)
	for range min(background.Processors(), len(queries)) {
		group.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(queries); i = int(next.Add(1)) - 1 {
				if overloaded := shed.Load(); overloaded != nil {
					results[i] = s.queryResult(ctx, nil, overloaded)
					continue
				}
				m, err := s.answer(ctx, c, queries[i])
				results[i] = s.queryResult(ctx, m, err)
				if overloaded := (*admission.OverloadedError)(nil); errors.As(err, &overloaded) {
					shed.Store(overloaded)
				}
			}
		})
	}
	group.Wait()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return &seguev1.BatchNearestNeighborsResponse{Results: results}, nil
}

// answer answers one of several queries when its turn has come. c is nil where the query names its collection. Like
// interceptors.recover it survives a panic: a search has no side effects.
func (s *retrievalService) answer(ctx context.Context, c *engine.Collection, req *seguev1.NearestNeighborsRequest) (m *seguev1.NearestNeighborsResponse, err error) {
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
	return s.nearestNeighbors(ctx, c, req)
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
			m, err := s.answer(ctx, nil, req.GetRequest())
			answer := &seguev1.StreamNearestNeighborsResponse{QueryId: req.GetQueryId(), Result: s.queryResult(ctx, m, err)}
			sendMu.Lock()
			defer sendMu.Unlock()
			if failed == nil {
				if failed = stream.Send(answer); failed != nil {
					cancel()
				}
			}
		})
	}
}
