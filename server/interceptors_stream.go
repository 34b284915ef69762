package server

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/segue-ann/segue/engine"
)

// stream surrounds streaming calls. It ends them when the server drains: some (health watches, reflection) have no end
// of their own, so a graceful stop would wait for the client's. The handler goes on by itself until it notices that its
// stream is over; Shutdown waits for it.
func (in *interceptors) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	start := time.Now()
	ctx, cancel := context.WithCancel(ss.Context())
	defer cancel()
	in.metrics.Begin()
	s := &guardedStream{ServerStream: ss, ctx: ctx, in: in, call: callOf(ctx)}
	s.call.coming.Arrived()
	done := make(chan error, 1)
	in.streams.Go(func() { done <- next(srv, s) })
	var err error
	select {
	case err = <-done:
	case <-in.draining:
		err = engine.ErrClosed
	}
	if err != nil {
		err = &failure{status: toStatus(err), cause: err}
	}
	in.metrics.End(info.FullMethod, "", status.Code(err), time.Since(start))
	return err
}

// guardedStream checks every message that comes in, and has a context that also ends with the interceptor.
type guardedStream struct {
	grpc.ServerStream
	ctx  context.Context //nolint:containedctx // this is how a stream carries its context
	in   *interceptors
	call *call
}

// Context implements grpc.ServerStream.
func (s *guardedStream) Context() context.Context { return s.ctx }

// RecvMsg implements grpc.ServerStream: it fails for a message about a collection that the caller has no grant for.
func (s *guardedStream) RecvMsg(m any) error {
	if err := s.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	return s.in.authorize(s.call, m)
}
