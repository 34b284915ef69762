package server

import (
	"context"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/segue-ann/segue/engine"
)

// interceptors surround every call. Unary order, outermost first: access, status, recover.
type interceptors struct {
	log          *slog.Logger
	readOnly     map[string]bool // full methods whose panics are recovered
	maxSendBytes int

	draining <-chan struct{}
	streams  *sync.WaitGroup
}

// readOnlyMethods reads from the proto which methods have no side effects. Methods of other packages (health) have
// none either but are not listed: they do not panic.
func readOnlyMethods() map[string]bool {
	out := make(map[string]bool)
	for _, s := range services() {
		for i := range s.Methods().Len() {
			m := s.Methods().Get(i)
			o, ok := m.Options().(*descriptorpb.MethodOptions)
			if ok && o.GetIdempotencyLevel() == descriptorpb.MethodOptions_NO_SIDE_EFFECTS {
				out["/"+string(s.FullName())+"/"+string(m.Name())] = true
			}
		}
	}
	return out
}

// failure is what a handler's error becomes: the status for the caller, the cause for the log.
type failure struct {
	status *status.Status
	cause  error
}

func (f *failure) Error() string              { return f.cause.Error() }
func (f *failure) Unwrap() error              { return f.cause }
func (f *failure) GRPCStatus() *status.Status { return f.status }

// access logs every call: failures of the server as errors, refusals at info level, the rest at debug level.
func (in *interceptors) access(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	start := time.Now()
	resp, err := next(ctx, req)
	code := status.Code(err)
	level := slog.LevelInfo
	switch code {
	case codes.OK:
		level = slog.LevelDebug
	case codes.Internal, codes.DataLoss, codes.Unknown:
		level = slog.LevelError
	case codes.Unavailable, codes.ResourceExhausted:
		level = slog.LevelWarn
	}
	if !in.log.Enabled(ctx, level) {
		return resp, err
	}
	attrs := []slog.Attr{
		slog.String("method", strings.TrimPrefix(info.FullMethod, "/")),
		slog.String("code", code.String()),
		slog.Duration("duration", time.Since(start)),
	}
	if err != nil {
		text := err.Error()
		if level != slog.LevelError {
			text = cut(text, maxMessageBytes)
		}
		attrs = append(attrs, slog.String("err", text))
	}
	in.log.LogAttrs(ctx, level, "call", attrs...)
	return resp, err
}

// status sends every error through toStatus, and refuses answers that are too large to send (the library would too,
// but without a reason).
func (in *interceptors) status(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	resp, err := next(ctx, req)
	if m, ok := resp.(proto.Message); ok && err == nil {
		if n := proto.Size(m); n > in.maxSendBytes {
			err = &responseTooLargeError{bytes: int64(n), limit: in.maxSendBytes}
		}
	}
	if err != nil {
		return nil, &failure{status: toStatus(err), cause: err}
	}
	return resp, nil
}

// recover turns a panic of a method without side effects into an error. Others end the process: see the package doc.
func (in *interceptors) recover(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (resp any, err error) {
	if !in.readOnly[info.FullMethod] {
		return next(ctx, req)
	}
	defer func() {
		if p := recover(); p != nil {
			resp, err = nil, &panicError{value: p, stack: debug.Stack()}
		}
	}()
	return next(ctx, req)
}

// stream sends errors of streaming calls through toStatus, and ends the calls when the server drains: they have no end of
// their own, so a graceful stop would wait for the client's. The handler goes on by itself until it notices that its
// stream is over; Shutdown waits for it.
func (in *interceptors) stream(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	ctx, cancel := context.WithCancel(ss.Context())
	defer cancel()
	done := make(chan error, 1)
	in.streams.Go(func() { done <- next(srv, &drainedStream{ss, ctx}) })
	select {
	case err := <-done:
		if err != nil {
			err = &failure{status: toStatus(err), cause: err}
		}
		return err
	case <-in.draining:
		return &failure{status: toStatus(engine.ErrClosed), cause: engine.ErrClosed}
	}
}

// drainedStream is a stream whose context also ends with the interceptor.
type drainedStream struct {
	grpc.ServerStream
	ctx context.Context //nolint:containedctx // this is how a stream carries its context
}

func (s *drainedStream) Context() context.Context { return s.ctx }
