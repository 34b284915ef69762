package server

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/segue-ann/segue/engine"
	"github.com/segue-ann/segue/internal/background"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
	"github.com/segue-ann/segue/server/admission"
	"github.com/segue-ann/segue/server/auth"
	"github.com/segue-ann/segue/server/liverecall"
	"github.com/segue-ann/segue/server/ops"
	"github.com/segue-ann/segue/server/querylog"
)

// Options configure a Server. The zero value of a field means its documented default.
type Options struct {
	// Logger receives one record for each call that fails, and at debug level for each that does not. Default
	// slog.Default().
	Logger *slog.Logger
	// MaxRecvBytes bounds a request message, after decompression. Default 16 MiB.
	MaxRecvBytes int
	// MaxSendBytes bounds a response message. Default 32 MiB.
	MaxSendBytes int
	// MaxHeaderBytes bounds the header list of a call. Default 16 KiB.
	MaxHeaderBytes int
	// MaxStreams bounds the calls in flight on one connection. Default 256.
	MaxStreams int
	// MaxConnections bounds the connections of all listeners together; more are closed at once. Default 10,000.
	MaxConnections int
	// TLS encrypts every listener; nil is plaintext.
	TLS *tls.Config
	// Authenticator says who calls. nil takes everybody for an administrator: only for listeners that nobody else reaches.
	Authenticator auth.Authenticator
	// Admission says what is begun and what is shed; see package admission.
	Admission admission.Options
	// Metrics count what is served; nil counts for nobody.
	Metrics *ops.Metrics
	// Tracing sends spans; nil is off.
	Tracing *ops.Tracing
	// SlowCall is the duration from which a call of PRIORITY_QUERY is logged with what it did. Default 250 ms; negative is off.
	SlowCall time.Duration
	// LiveRecall is the share of one core that may go into running served searches again exactly, which gives the metrics
	// segue_live_recall_*: see package liverecall. As much may go into looking for items that no search can come to:
	// segue_collection_unreachable_count. Default 0: none.
	LiveRecall float64
	// QueryLog keeps a sample of the queries that were answered; nil keeps none. It is closed after Shutdown, by whoever opened it.
	QueryLog *querylog.Log
	// BackupTo is the directory or URL where CreateBackup keeps backups. Empty: it is refused.
	BackupTo string
	// HTTPOrigins are the origins of web pages that may call ServeHTTP's API; see package gateway. Default none.
	HTTPOrigins []string

	// patience is how long the transport waits for its clients; tests have less of it.
	patience patience
}

// patience is how long a client may take: handshake for TLS and HTTP/2's preface; quiet until it is asked whether it is still there, and
// answer to that; reading for an answer over HTTP with JSON, whose deadlines are not the client's own.
type patience struct{ handshake, quiet, answer, reading time.Duration }

const (
	defaultMaxRecvBytes   = 16 << 20
	defaultMaxSendBytes   = 32 << 20
	defaultMaxHeaderBytes = 16 << 10
	defaultMaxStreams     = 256
	defaultMaxConnections = 10_000
	defaultSlowCall       = 250 * time.Millisecond
)

// EnsureDefaults replaces zero values by the defaults.
func (o *Options) EnsureDefaults() {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Authenticator == nil {
		o.Authenticator = auth.Anyone{}
	}
	if o.Metrics == nil {
		o.Metrics = ops.NewMetrics()
	}
	if o.SlowCall == 0 {
		o.SlowCall = defaultSlowCall
	}
	if o.patience == (patience{}) {
		o.patience = patience{handshake: 10 * time.Second, quiet: 60 * time.Second, answer: 20 * time.Second, reading: time.Minute}
	}
	o.Admission.EnsureDefaults()
	for _, f := range []struct {
		field *int
		value int
	}{
		{&o.MaxRecvBytes, defaultMaxRecvBytes},
		{&o.MaxSendBytes, defaultMaxSendBytes},
		{&o.MaxHeaderBytes, defaultMaxHeaderBytes},
		{&o.MaxStreams, defaultMaxStreams},
		{&o.MaxConnections, defaultMaxConnections},
	} {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
}

// Validate reports every field that is out of range.
func (o Options) Validate() error {
	var errs []error
	for _, f := range []struct {
		name             string
		value, low, high int
	}{
		{"MaxRecvBytes", o.MaxRecvBytes, 4 << 10, 1 << 30},
		{"MaxSendBytes", o.MaxSendBytes, 4 << 10, 1 << 30},
		{"MaxHeaderBytes", o.MaxHeaderBytes, 1 << 10, 1 << 20},
		{"MaxStreams", o.MaxStreams, 1, 1 << 20},
		{"MaxConnections", o.MaxConnections, 1, 1 << 20},
	} {
		if f.value < f.low || f.value > f.high {
			errs = append(errs, fmt.Errorf("server: %s must be between %d and %d, is %d", f.name, f.low, f.high, f.value))
		}
	}
	if !(o.LiveRecall >= 0 && o.LiveRecall <= 1) { // also NaN
		errs = append(errs, fmt.Errorf("server: LiveRecall must be between 0 and 1, is %v", o.LiveRecall))
	}
	errs = append(errs, o.Admission.Validate())
	return errors.Join(errs...)
}

// Server serves one engine over gRPC, with health checks and reflection.
type Server struct {
	grpc           *grpc.Server
	health         *health.Server
	admission      *admission.Controller
	recall         *liverecall.Sampler // nil is off
	json           *jsonSide
	watching       sync.WaitGroup // watchGraphs
	metrics        *ops.Metrics
	maxConnections int
	connections    admission.Connections

	draining  chan struct{} // closed when Shutdown begins
	drainOnce sync.Once
	streams   sync.WaitGroup // handlers of streaming methods; see interceptors.stream
}

// New returns a server of e's collections; it listens nowhere yet. e must stay open until Shutdown has returned, which
// must be called also where Serve never was.
func New(e *engine.Engine, o Options) (*Server, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	// A method that does not say who may call it keeps the server from starting.
	table, err := auth.NewTable()
	if err != nil {
		return nil, err
	}
	control, err := admission.New(o.Admission)
	if err != nil {
		return nil, err
	}
	s := &Server{
		health: health.NewServer(), admission: control, metrics: o.Metrics, maxConnections: o.MaxConnections,
		draining: make(chan struct{}),
	}
	var looks *liverecall.Sampler
	if o.LiveRecall > 0 {
		pressed := func() bool { stats := control.Stats(); return stats.Effort < 1 || stats.QueriesQueued > 0 }
		if s.recall, err = liverecall.New(liverecall.Options{Share: o.LiveRecall, Pressed: pressed}); err != nil {
			return nil, err
		}
		if looks, err = liverecall.New(liverecall.Options{Share: o.LiveRecall, Timeout: graphTimeout, Pressed: pressed}); err != nil {
			return nil, err
		}
	}
	in := newInterceptors(e, &o, table, control)
	in.draining, in.streams = s.draining, &s.streams
	s.grpc = grpc.NewServer(append(grpcOptions(&o), in.options()...)...)
	if s.json, err = newJSONSide(&o, s.grpc); err != nil {
		s.grpc.Stop()
		s.recall.Close()
		looks.Close()
		control.Close()
		return nil, err
	}
	b := &backend{
		engine: e, limits: e.Limits(), maxSendBytes: o.MaxSendBytes, log: o.Logger, effort: control.Effort, recall: s.recall, queries: o.QueryLog,
		turn: in.turn, bulkTurn: in.bulkTurn, backupTo: o.BackupTo,
		metrics: o.Metrics, plans: in.plans, completeness: in.completeness,
	}
	seguev1.RegisterRetrievalServiceServer(s.grpc, &retrievalService{b})
	seguev1.RegisterItemServiceServer(s.grpc, &itemService{b})
	seguev1.RegisterProfileServiceServer(s.grpc, &profileService{b})
	seguev1.RegisterExclusionServiceServer(s.grpc, &exclusionService{b})
	seguev1.RegisterCollectionServiceServer(s.grpc, &collectionService{b})
	seguev1.RegisterAdminServiceServer(s.grpc, &adminService{b})
	seguev1.RegisterImportServiceServer(s.grpc, &importService{b})
	seguev1.RegisterReleaseServiceServer(s.grpc, &releaseService{b})
	healthpb.RegisterHealthServer(s.grpc, s.health)
	reflection.Register(s.grpc)
	for _, d := range services() {
		s.health.SetServingStatus(string(d.FullName()), healthpb.HealthCheckResponse_SERVING)
	}
	o.Metrics.WatchEngine(e)
	s.watchGraphs(e.Collections, looks)
	o.Metrics.WatchAdmission(control, &s.connections)
	return s, nil
}

// TransportOptions are those that make the transport fast, and mean nothing to callers: a server with these alone is what this one
// is measured against.
func TransportOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		// Fixed windows: otherwise the library estimates them with pings, one or more a call where calls are small. A stream may have
		// one large message on its way, a connection several.
		grpc.StaticStreamWindowSize(1 << 20),
		grpc.StaticConnWindowSize(4 << 20),
		// Goroutines that stay have stacks that are large enough; new ones grow theirs in every call.
		grpc.NumStreamWorkers(uint32(32 * background.Processors())),
	}
}

// grpcOptions are those that do not depend on what is served.
func grpcOptions(o *Options) []grpc.ServerOption {
	options := append(TransportOptions(),
		grpc.ForceServerCodecV2(codec{}),
		grpc.MaxRecvMsgSize(o.MaxRecvBytes),
		grpc.MaxSendMsgSize(o.MaxSendBytes),
		grpc.MaxHeaderListSize(uint32(o.MaxHeaderBytes)),
		grpc.MaxConcurrentStreams(uint32(o.MaxStreams)),
		grpc.ConnectionTimeout(o.patience.handshake),
		// Handlers use the engine: Stop must not return, and the engine must not be closed, before they have.
		grpc.WaitForHandlers(true),
		// The library's default of 5 minutes disconnects clients with common keepalive settings (too_many_pings).
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 20 * time.Second, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle: 15 * time.Minute,
			// An age limit is what makes clients behind a balancer find new replicas.
			MaxConnectionAge: 30 * time.Minute,
			// Long enough for a snapshot of a large collection to end on the old connection.
			MaxConnectionAgeGrace: 10 * time.Minute,
			Time:                  o.patience.quiet,
			Timeout:               o.patience.answer,
		}),
	)
	if o.TLS != nil {
		options = append(options, grpc.Creds(outsideTLS{credentials.NewTLS(o.TLS)}))
	}
	if h := o.Tracing.Handler(); h != nil {
		options = append(options, grpc.StatsHandler(h))
	}
	return options
}

// Serve answers calls on lis, which it closes at the end, until Shutdown; then it returns nil. It may be called for
// several listeners. Whoever calls it sees to it that an unencrypted listener is only reachable by those who may use
// the server.
func (s *Server) Serve(lis net.Listener) error {
	lis = s.connections.Listen(lis, s.maxConnections, func() { s.metrics.Shed(ops.ShedConnections) })
	err := s.grpc.Serve(readyListener{lis})
	if errors.Is(err, grpc.ErrServerStopped) {
		return nil
	}
	return err
}

// Shutdown stops the server: health checks answer NOT_SERVING, listeners close, calls in flight go on to their end.
// When ctx is done first, the remaining calls are cancelled and Shutdown returns ctx's error once their handlers have
// ended. Open health watches and reflection streams are ended at once. It may be called more than once.
func (s *Server) Shutdown(ctx context.Context) error {
	s.health.Shutdown()
	s.drainOnce.Do(func() { close(s.draining) })
	drained := make(chan struct{})
	go func() {
		var group sync.WaitGroup
		group.Go(func() { s.json.stop(ctx) })
		s.grpc.GracefulStop()
		group.Wait()
		close(drained)
	}()
	var err error
	select {
	case <-drained:
	case <-ctx.Done():
		err = fmt.Errorf("server: calls in flight were cancelled: %w", ctx.Err())
		s.grpc.Stop()
		<-drained
	}
	s.streams.Wait()
	s.json.close()
	s.recall.Close()
	s.watching.Wait()
	s.admission.Close()
	return err
}

// services lists the services of the API, which are those that the health check knows by name.
func services() []protoreflect.ServiceDescriptor {
	var all []protoreflect.ServiceDescriptor
	protoregistry.GlobalFiles.RangeFilesByPackage(auth.Package, func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			all = append(all, f.Services().Get(i))
		}
		return true
	})
	slices.SortFunc(all, func(a, b protoreflect.ServiceDescriptor) int { return cmp.Compare(a.FullName(), b.FullName()) })
	return all
}

// backend is what the services have in common.
type backend struct {
	engine       *engine.Engine
	limits       engine.Limits
	maxSendBytes int
	log          *slog.Logger
	effort       func() float64 // share of the asked beam width that searches get now
	turn         func(context.Context, seguev1.Priority) (admission.Permit, error)
	bulkTurn     func(context.Context, seguev1.Priority) (admission.Permit, error)
	metrics      *ops.Metrics
	plans        map[seguev1.Plan]string
	completeness map[seguev1.Completeness]string
	recall       *liverecall.Sampler // nil is off
	queries      *querylog.Log       // nil is off
	backupTo     string
}

// collection finds the collection that a request names in field.
func (b *backend) collection(field, name string) (*engine.Collection, error) {
	if name == "" {
		return nil, invalid(engine.ReasonRequired, field, "must not be empty")
	}
	return b.engine.Collection(name)
}

// roomForVectors refuses an answer of n vectors that could not be sent, before they are read.
func (b *backend) roomForVectors(n, dim int) error {
	if bytes := 4 * int64(n) * int64(dim); bytes > int64(b.maxSendBytes) {
		return &responseTooLargeError{bytes: bytes, limit: b.maxSendBytes}
	}
	return nil
}
