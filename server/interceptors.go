package server

import (
	"context"
	"errors"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/segue-ann/segue/engine"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
	"github.com/segue-ann/segue/server/admission"
	"github.com/segue-ann/segue/server/auth"
	"github.com/segue-ann/segue/server/ops"
)

// interceptors surround every call, in this order, outermost first:
//
//	tap      before the message is read: identity, the caller's rate, room in the queue
//	observe  metrics, access log, slow-query log
//	finish   errors become statuses
//	admit    permission for the collection, its turn
//	recover  panics of what only reads
//
// They are one interceptor: a chain of four would allocate a closure for each in every call.
type interceptors struct {
	log           *slog.Logger
	table         *auth.Table
	authenticator auth.Authenticator
	admission     *admission.Controller
	metrics       *ops.Metrics
	exists        func(collection string) bool
	slowCall      time.Duration
	readOnly      map[string]bool // full methods whose panics are recovered
	maxSendBytes  int
	plans         map[seguev1.Plan]string
	completeness  map[seguev1.Completeness]string

	// floods are the refusals that come in floods, made once: to make one costs as much as to read the headers of a call.
	floods []told

	draining <-chan struct{}
	streams  *sync.WaitGroup
}

// told is what a call is told that is refused before its message is read, and what that counts as.
type told struct {
	cause, err error // err is a status of code
	code       codes.Code
}

func tell(cause error) told {
	st := toStatus(cause)
	return told{cause, st.Err(), st.Code()}
}

func (in *interceptors) tell(cause error) told {
	for _, r := range in.floods {
		if r.cause == cause { //nolint:errorlint // it is one of them, or looked at closely
			return r
		}
	}
	return tell(cause)
}

func newInterceptors(e *engine.Engine, o *Options, table *auth.Table, control *admission.Controller) *interceptors {
	in := &interceptors{
		log: o.Logger, table: table, authenticator: o.Authenticator, admission: control, metrics: o.Metrics,
		exists:   func(collection string) bool { _, err := e.Collection(collection); return err == nil },
		slowCall: o.SlowCall, readOnly: readOnlyMethods(), maxSendBytes: o.MaxSendBytes,
		plans: labels[seguev1.Plan](seguev1.Plan_name, "PLAN_"), completeness: labels[seguev1.Completeness](seguev1.Completeness_name, "COMPLETENESS_"),
	}
	for _, err := range []error{admission.ErrQueue, admission.ErrPriority, context.DeadlineExceeded} {
		in.floods = append(in.floods, tell(err))
	}
	return in
}

func (in *interceptors) options() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.InTapHandle(in.tap),
		grpc.UnaryInterceptor(in.unary),
		grpc.StreamInterceptor(in.stream),
	}
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

// call is what is known of a call on its way. It is the context of its handler, so that it costs one allocation and not two.
type call struct {
	context.Context
	rule   *auth.Rule
	caller *auth.Identity // nil where the method is public
	coming admission.Coming
	waited time.Duration

	// Of a search that was answered: the release it was of, and how many items that had then.
	release uint32
	items   int
}

type callKey struct{}

// Value implements context.Context.
func (c *call) Value(key any) any {
	if key == (callKey{}) {
		return c
	}
	return c.Context.Value(key)
}

// callOf returns the call of a handler's context. The tap put it there.
func callOf(ctx context.Context) *call {
	c, ok := ctx.Value(callKey{}).(*call)
	if !ok {
		panic("server: a call came past the tap")
	}
	return c
}

// failure is what a handler's error becomes: the status for the caller, the cause for the log.
type failure struct {
	status *status.Status
	cause  error
}

func (f *failure) Error() string              { return f.cause.Error() }
func (f *failure) Unwrap() error              { return f.cause }
func (f *failure) GRPCStatus() *status.Status { return f.status }

// tap runs when the headers of a call have come: who may not call, or cannot be served, costs no message. It runs on
// the goroutine that reads the connection, and does not wait.
func (in *interceptors) tap(ctx context.Context, info *tap.Info) (context.Context, error) {
	c, err := in.enter(ctx, info)
	if err != nil {
		r, method := in.tell(err), info.FullMethodName
		if in.table.Rule(method) == nil {
			method = "unknown"
		}
		in.metrics.Refused(method, r.code)
		in.shed(err)
		if in.log.Enabled(ctx, slog.LevelDebug) {
			in.log.LogAttrs(ctx, slog.LevelDebug, "refused", slog.String("method", cut(info.FullMethodName, maxNameBytes)), slog.String("code", r.code.String()), slog.String("err", err.Error()))
		}
		return nil, r.err
	}
	return c, nil
}

// enter is tap without what it reports.
func (in *interceptors) enter(ctx context.Context, info *tap.Info) (*call, error) {
	c := &call{Context: ctx, rule: in.table.Rule(info.FullMethodName)}
	if c.rule == nil {
		return nil, status.Errorf(codes.Unimplemented, "unknown method %s", cut(info.FullMethodName, maxNameBytes))
	}
	if c.rule.Public {
		return c, nil
	}
	credential, err := auth.CredentialOf(ctx, info.Header)
	if err != nil {
		return nil, err
	}
	if c.caller, err = in.authenticator.Authenticate(credential); err != nil {
		return nil, err
	}
	if err := in.admission.Allow(c.caller.Subject); err != nil {
		return nil, err
	}
	c.coming, err = in.admission.Room(ctx, c.rule.Priority)
	return c, err
}

// shed counts an error that says that a call was not begun.
func (in *interceptors) shed(err error) {
	switch {
	case errors.Is(err, admission.ErrQueue): // those that come in floods first
		in.metrics.Shed(ops.ShedQueue)
	case errors.Is(err, admission.ErrPriority):
		in.metrics.Shed(ops.ShedPriority)
	case errors.Is(err, context.DeadlineExceeded):
		in.metrics.Shed(ops.ShedDeadline)
	case errors.As(err, new(*auth.UnauthenticatedError)):
		in.metrics.Shed(ops.ShedUnauthenticated)
	case errors.As(err, new(*auth.DeniedError)):
		in.metrics.Shed(ops.ShedDenied)
	case errors.As(err, new(*admission.RateLimitedError)):
		in.metrics.Shed(ops.ShedRate)
	}
}

// collection returns the name of the collection that a request is about, where it exists.
func (in *interceptors) collection(c *call, req any) string {
	name := ""
	switch m := req.(type) {
	case interface{ GetCollection() string }: // nearly all, without reflection
		name = m.GetCollection()
	case proto.Message:
		name = c.rule.FirstName(m)
	}
	if !in.exists(name) {
		return ""
	}
	return name
}

// unary surrounds a unary call.
func (in *interceptors) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	c, start := callOf(ctx), time.Now()
	c.coming.Arrived()
	in.metrics.Begin()
	resp, err := in.finish(in.admit(ctx, c, req, info, next))
	in.observe(ctx, c, req, info, resp, err, time.Since(start))
	return resp, err
}

// observe counts and logs every call: failures of the server as errors, refusals at info level, the rest at debug level,
// and what took long at warning level, with what it did.
func (in *interceptors) observe(ctx context.Context, c *call, req any, info *grpc.UnaryServerInfo, resp any, err error, took time.Duration) {
	code, collection := status.Code(err), in.collection(c, req)
	in.metrics.End(info.FullMethod, collection, code, took)
	var search *seguev1.SearchInfo
	if r, ok := resp.(interface{ GetSearchInfo() *seguev1.SearchInfo }); ok && err == nil {
		search = r.GetSearchInfo()
	}
	level := slog.LevelInfo
	switch code {
	case codes.OK:
		level = slog.LevelDebug
	case codes.Internal, codes.DataLoss, codes.Unknown:
		level = slog.LevelError
	case codes.Unavailable, codes.ResourceExhausted:
		level = slog.LevelWarn
	}
	// Batches and what operators do are long by nature.
	slow := in.slowCall > 0 && took >= in.slowCall && c.rule.Priority == seguev1.Priority_PRIORITY_QUERY
	if slow {
		in.metrics.Slow(info.FullMethod)
		level = max(level, slog.LevelWarn)
	}
	if !in.log.Enabled(ctx, level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("method", strings.TrimPrefix(info.FullMethod, "/")),
		slog.String("code", code.String()),
		slog.Duration("duration", took),
	}
	if c.caller != nil {
		attrs = append(attrs, slog.String("caller", cut(c.caller.Subject, maxNameBytes)))
	}
	if slow {
		attrs = append(attrs, slog.Bool("slow", true), slog.String("collection", collection), slog.Duration("queue_wait", c.waited))
		if r, ok := req.(interface{ GetNeighborCount() int32 }); ok {
			attrs = append(attrs, slog.Int("k", int(r.GetNeighborCount())))
		}
		if search != nil {
			attrs = append(attrs, in.searched(search, c)...)
		}
	}
	if err != nil {
		text := err.Error()
		if level != slog.LevelError {
			text = cut(text, maxMessageBytes)
		}
		attrs = append(attrs, slog.String("err", text))
	}
	in.log.LogAttrs(ctx, level, "call", attrs...)
}

// searched says what a search did. selectivity is the share of the items that its filter and exclusions allow, where it has any.
func (in *interceptors) searched(search *seguev1.SearchInfo, c *call) []slog.Attr {
	attrs := []slog.Attr{
		slog.Int64("release", int64(c.release)), slog.String("plan", in.plans[search.GetPlan()]),
		slog.String("completeness", in.completeness[search.GetCompleteness()]), slog.Int("ef_used", int(search.GetEfUsed())),
		slog.Bool("effort_reduced", search.GetEffortReduced()),
		slog.Int64("distance_count", search.GetDistanceCount()), slog.Int64("hop_count", search.GetHopCount()),
	}
	if search.MatchingCount != nil && c.items > 0 {
		attrs = append(attrs, slog.Float64("selectivity", float64(search.GetMatchingCount())/float64(c.items)))
	}
	return attrs
}

// finish sends every error through toStatus, and refuses answers that are too large to send (the library would too,
// but without a reason).
func (in *interceptors) finish(resp any, err error) (any, error) {
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

// authorize checks one message of a call.
func (in *interceptors) authorize(c *call, req any) error {
	m, ok := req.(proto.Message)
	if !ok {
		return &auth.DeniedError{Role: c.rule.Role} // not reached: the codec decodes messages only
	}
	err := c.rule.Authorize(c.caller, m)
	if err != nil {
		in.shed(err)
	}
	return err
}

// admit lets a call run when the caller may and its turn has come. The queries of a batch take turns one by one instead.
func (in *interceptors) admit(ctx context.Context, c *call, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (resp any, err error) {
	if err := in.authorize(c, req); err != nil {
		return nil, err
	}
	if info.FullMethod == seguev1.RetrievalService_BatchNearestNeighbors_FullMethodName {
		return in.recover(ctx, req, info, next)
	}
	permit, err := in.turn(ctx, c.rule.Priority)
	if err != nil {
		return nil, err
	}
	end := errPanicked
	defer func() { permit.Done(end) }() // also where a panic goes through
	c.waited = permit.Waited
	resp, end = in.recover(ctx, req, info, next)
	return resp, end
}

// errPanicked is how a call ended that did not return.
var errPanicked = errors.New("server: panicked")

// turn waits for the turn of a call, or of one query of several; the permit's Done must be called.
func (in *interceptors) turn(ctx context.Context, priority seguev1.Priority) (admission.Permit, error) {
	permit, err := in.admission.Admit(ctx, priority)
	if err != nil {
		in.shed(err)
		return admission.Permit{}, err
	}
	in.metrics.Waited(permit.Waited)
	return permit, nil
}

// bulkRetry is how often what is in no hurry asks again whether its turn has come.
const bulkRetry = 50 * time.Millisecond

// bulkTurn is turn for a part of a call that is in no hurry: where there is no room it waits until there is, rather than fail a stream
// whose client would send all of it again. The client of a stream that is not read from stops sending.
func (in *interceptors) bulkTurn(ctx context.Context, priority seguev1.Priority) (admission.Permit, error) {
	for {
		permit, err := in.admission.Admit(ctx, priority)
		if !errors.As(err, new(*admission.OverloadedError)) {
			return permit, err
		}
		select {
		case <-time.After(bulkRetry):
		case <-ctx.Done():
			return admission.Permit{}, ctx.Err()
		}
	}
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
