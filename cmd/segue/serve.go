package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/segue-ann/segue/engine"
	"github.com/segue-ann/segue/internal/background"
	"github.com/segue-ann/segue/server"
	"github.com/segue-ann/segue/server/auth"
	"github.com/segue-ann/segue/server/ops"
	"github.com/segue-ann/segue/server/querylog"
)

func newServeCommand(env *environment) *cobra.Command {
	var o serveOptions
	c := &cobra.Command{
		Use:   "serve --data DIR",
		Short: "Serve a store over gRPC",
		Long: "Serve opens the store in DIR, making it where there is none, recovers its collections, and serves them\n" +
			"until SIGINT or SIGTERM: then health checks answer NOT_SERVING, no call is accepted any more, and calls under\n" +
			"way have --shutdown-timeout to end. A second signal ends the process at once, which loses nothing that was\n" +
			"acknowledged.\n\n" +
			"When the server answers, one line \"listening on HOST:PORT\" goes to stdout; with port 0 it says the real one. With\n" +
			"--http-listen a line \"http on HOST:PORT\" comes before it.\n" +
			"Logs go to stderr: text on a terminal, else JSON. /metrics, /healthz, /readyz and, for this machine only, profiles are\n" +
			"served on --ops-listen.\n\n" +
			"An address that is not loopback needs TLS (--tls-cert, --tls-key) and a way to tell callers apart: --access-file\n" +
			"(tokens or client certificates) or --jwt-issuer with its keys; or --insecure, where something in front does both.\n\n" +
			"Every flag can also be set by a variable (--max-streams by SEGUE_MAX_STREAMS) or by a line of the file --config; segue\n" +
			"config print shows what comes of them.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.data == "" {
				return usagef("--data is required: the directory of the store")
			}
			o.log = newLogger(env, o.level)
			o.opsOptional = !cmd.Flags().Changed("ops-listen")
			s, err := startServer(cmd.Context(), o)
			if err != nil {
				return err
			}
			text := fmt.Sprintf("listening on %s\n", s.addr())
			if s.httpListener != nil {
				text = fmt.Sprintf("http on %s\n", s.httpListener.Addr()) + text
			}
			if _, err := fmt.Fprint(env.stdout, text); err != nil {
				return errors.Join(err, s.stop())
			}
			return s.wait(cmd.Context())
		},
	}
	o.flags(c)
	o.productionFlags(c)
	c.Flags().StringVar(&o.data, "data", "", "`DIR` of the store")
	c.Flags().StringVar(&o.listen, "listen", defaultAddr, "`HOST:PORT` to listen on; port 0 takes a free one")
	addConfig(c)
	return c
}

// newLogger logs to stderr in the form its reader wants.
func newLogger(env *environment, level slog.Level) *slog.Logger {
	o := &slog.HandlerOptions{Level: level}
	if env.stderrTTY {
		return slog.New(slog.NewTextHandler(env.stderr, o))
	}
	return slog.New(slog.NewJSONHandler(env.stderr, o))
}

// serveOptions say what to serve, where, and to whom.
type serveOptions struct {
	data            string
	listen          string
	insecure        bool
	shutdownTimeout time.Duration
	memoryLimit     int64 // of the process, in bytes; 0 is the container's
	level           slog.Level
	log             *slog.Logger

	httpListen string
	// httpOrigins are joined by commas.
	httpOrigins string
	opsListen   string
	// opsOptional: nobody asked for opsListen, so that a second server on a machine does without where it is taken.
	opsOptional bool
	tls         auth.TLSFiles
	accessFile  string
	jwt         auth.JWTOptions
	queryLog    querylog.Options
	// queryLogRedact is queryLog.Redact as text.
	queryLogRedact string
	idleThreads    bool
	server         server.Options
}

// flags adds the flags that serve and demo share.
func (o *serveOptions) flags(c *cobra.Command) {
	c.Flags().BoolVar(&o.insecure, "insecure", false, "listen on an address other machines can reach, without TLS or identity")
	c.Flags().DurationVar(&o.shutdownTimeout, "shutdown-timeout", 10*time.Second, "how long calls under way may take to end on shutdown")
}

// productionFlags adds the flags of serve that the demo does without.
func (o *serveOptions) productionFlags(c *cobra.Command) {
	f := c.Flags()
	f.TextVar(&o.level, "log-level", slog.LevelInfo, "debug, info, warn or error")
	f.StringVar(&o.opsListen, "ops-listen", "127.0.0.1:7071", "`HOST:PORT` of metrics, health and profiles; empty for none")
	f.StringVar(&o.httpListen, "http-listen", "", "`HOST:PORT` of the same API as HTTP with JSON; empty for none")
	f.StringVar(&o.httpOrigins, "http-origins", "", "origins of web pages that may call it, such as https://tools.example; with commas between")
	f.DurationVar(&o.server.SlowCall, "slow-call", 250*time.Millisecond, "log queries that take this long, with what they did; negative for none")
	f.Float64Var(&o.server.LiveRecall, "live-recall", 0.01, "share of one core for running served searches again exactly, which measures their recall; 0 for none")
	f.StringVar(&o.queryLog.Dir, "query-log", "", "`DIR` of its own for a sample of the queries, for segue replay; empty for none")
	f.Float64Var(&o.queryLog.Share, "query-log-share", 0.01, "share of the queries that are kept there")
	f.StringVar(&o.queryLogRedact, "query-log-redact", "users,exclusions", "what is not kept there of listeners: users, exclusions (what they heard or blocked), taste (vectors and examples); none")
	f.Int64Var(&o.queryLog.FileBytes, "query-log-file-bytes", 64<<20, "size at which the next file is begun")
	f.BoolVar(&o.idleThreads, "idle-threads", true, "while queries come, import and snapshot on threads that get a processor only when nothing else wants it")
	f.Int64Var(&o.queryLog.TotalBytes, "query-log-total-bytes", 1<<30, "size of all files together; the oldest are removed")

	f.StringVar(&o.server.BackupTo, "backup-to", "", "directory or `URL` (file, s3) where segue backup create keeps backups of this store")
	f.StringVar(&o.tls.Certificate, "tls-cert", "", "`FILE` of the certificate chain, PEM; read again when it changes")
	f.StringVar(&o.tls.Key, "tls-key", "", "`FILE` of its private key, PEM")
	f.StringVar(&o.tls.ClientAuthorities, "tls-client-ca", "", "`FILE` of authorities, PEM: every client must show a certificate of theirs")
	f.StringVar(&o.accessFile, "access-file", "", "`FILE` of lines \"NAME GRANTS CREDENTIAL\" (see segue token); read again when it changes")
	f.StringVar(&o.jwt.Issuer, "jwt-issuer", "", "accept tokens (JWT) of this issuer")
	f.StringVar(&o.jwt.Audience, "jwt-audience", "", "audience that tokens must be for")
	f.StringVar(&o.jwt.JWKSFile, "jwt-jwks-file", "", "`FILE` of the keys of tokens, as a JSON Web Key Set")
	f.StringVar(&o.jwt.JWKSURL, "jwt-jwks-url", "", "`URL` of the same")
	f.StringVar(&o.jwt.Claim, "jwt-claim", "segue", "claim that holds a caller's grants, such as [\"read:*\"]")

	f.Int64Var(&o.memoryLimit, "memory-limit", 0, "bytes that the process may use: beyond 17/20 of them writes that need memory are refused; 0 for what its container may")
	f.IntVar(&o.server.MaxConnections, "max-connections", 10_000, "connections at a time; more are closed")
	f.IntVar(&o.server.MaxStreams, "max-streams", 256, "calls at a time on one connection")
	f.IntVar(&o.server.MaxRecvBytes, "max-recv-bytes", 16<<20, "largest request")
	f.IntVar(&o.server.MaxSendBytes, "max-send-bytes", 32<<20, "largest answer")
	f.Float64Var(&o.server.Admission.CallerRate, "caller-rate", 0, "calls a second that one caller may begin; 0 for no limit")
	f.IntVar(&o.server.Admission.CallerBurst, "caller-burst", 0, "calls that one caller may begin at once; 0 for as many as in a second")
	f.IntVar(&o.server.Admission.MaxConcurrent, "max-concurrent", 0, "most queries, and most writes, that run at once; 0 for 1 and 32 a processor")
	f.DurationVar(&o.server.Admission.MaxWait, "max-wait", 50*time.Millisecond, "longest wait of a call for its turn")
	f.Float64Var(&o.server.Admission.EffortFloor, "effort-floor", 0.5, "least share of the asked beam width that searches get under overload; 1 for all of it")
}

// authenticates says whether callers have to say who they are.
func (o *serveOptions) authenticates() bool { return o.accessFile != "" || o.jwt.Issuer != "" }

// check refuses what would let anybody in, or nobody.
func (o *serveOptions) check() error {
	if (o.tls.Certificate == "") != (o.tls.Key == "") {
		return usagef("--tls-cert and --tls-key belong together")
	}
	if o.tls.ClientAuthorities != "" && o.tls.Certificate == "" {
		return usagef("--tls-client-ca needs --tls-cert and --tls-key")
	}
	if o.jwt.Issuer == "" && (o.jwt.Audience != "" || o.jwt.JWKSFile != "" || o.jwt.JWKSURL != "") {
		return usagef("--jwt-audience and the keys of tokens need --jwt-issuer")
	}
	if o.httpListen == "" && o.httpOrigins != "" {
		return usagef("--http-origins needs --http-listen")
	}
	if o.memoryLimit < 0 || o.memoryLimit > 0 && o.memoryLimit < leastMemory {
		return usagef("--memory-limit must be 0 or at least %d, is %d", leastMemory, o.memoryLimit)
	}
	flag, reached := "--listen", o.listen
	if o.httpListen != "" && isLoopback(o.listen) {
		flag, reached = "--http-listen", o.httpListen
	}
	if o.insecure || isLoopback(reached) {
		return nil
	}
	var missing []string
	if o.tls.Certificate == "" {
		missing = append(missing, "there is no TLS (--tls-cert, --tls-key)")
	}
	if !o.authenticates() {
		missing = append(missing, "everybody may do everything (--access-file or --jwt-issuer)")
	}
	if len(missing) > 0 {
		return usagef("%s %s can be reached by other machines, and %s: add --insecure to accept that", flag, reached, strings.Join(missing, ", and "))
	}
	return nil
}

// identity prepares TLS and authentication. stop ends what it started.
func (o *serveOptions) identity(ctx context.Context) (stop func(), err error) {
	stop = func() {}
	if o.tls.Certificate != "" {
		if o.server.TLS, err = auth.NewTLS(o.tls, o.log); err != nil {
			return stop, err
		}
	}
	var chain auth.Chain
	if o.accessFile != "" {
		a, err := auth.OpenAccessFile(o.accessFile, o.log)
		if err != nil {
			return stop, err
		}
		chain = append(chain, a)
	}
	if o.jwt.Issuer != "" {
		o.jwt.Logger = o.log
		j, err := auth.NewJWT(ctx, o.jwt)
		if err != nil {
			return stop, err
		}
		// Before the file: what looks like a signed token is one.
		chain, stop = append(auth.Chain{j}, chain...), j.Close
	}
	if len(chain) > 0 {
		o.server.Authenticator = chain
	}
	return stop, nil
}

// localServer is an open store and a server of it, in this process.
type localServer struct {
	options      serveOptions
	engine       *engine.Engine
	server       *server.Server
	listener     net.Listener
	httpListener net.Listener // nil for none
	served       chan error   // Serve's result, once
	loading      engine.Loading
	notReady     atomic.Pointer[func() string] // says why it does not answer; nil: it does

	// What else runs, ended in reverse order.
	ops     *ops.Server
	tracing *ops.Tracing
	release []func() error
}

// notReadyError says why the server does not answer.
type notReadyError struct{ why string }

func (n *notReadyError) Error() string { return n.why }

func (s *localServer) readiness() error {
	if why := s.notReady.Load(); why != nil {
		return &notReadyError{(*why)()}
	}
	return nil
}

// loadReportInterval is how often the log says how far the store is opened.
const loadReportInterval = 2 * time.Second

// reportLoading logs how far the store is opened, until stop is called.
func reportLoading(log *slog.Logger, l *engine.Loading, every time.Duration) (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				log.Info("loading", "progress", l.Progress().String())
			case <-done:
				return
			}
		}
	})
	return func() { close(done); wg.Wait() }
}

// startServer listens, opens the store and serves it. The ports are taken before the store is opened, which
// may take long, so that a wrong address is known at once, and so that it can be asked whether it is ready.
func startServer(ctx context.Context, o serveOptions) (_ *localServer, err error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	s := &localServer{served: make(chan error, 1)}
	opening := func() string { return s.loading.Progress().String() }
	s.notReady.Store(&opening)
	defer func() {
		if err != nil {
			err = errors.Join(err, s.releaseAll())
		}
	}()
	unspare := background.Spare()
	s.release = append(s.release, func() error { unspare(); return nil })
	stop, err := o.identity(ctx)
	s.release = append(s.release, func() error { stop(); return nil })
	if err != nil {
		return nil, err
	}
	if !isLoopback(o.listen) && (o.server.TLS == nil || !o.authenticates()) {
		o.log.Warn("serving without TLS or identity on an address that other machines can reach", "listen", o.listen)
	}
	var config net.ListenConfig
	if s.listener, err = config.Listen(ctx, "tcp", o.listen); err != nil {
		return nil, err
	}
	s.release = append(s.release, func() error { return closeListener(s.listener) })
	if o.httpListen != "" {
		if s.httpListener, err = config.Listen(ctx, "tcp", o.httpListen); err != nil {
			return nil, fmt.Errorf("--http-listen: %w", err)
		}
		s.release = append(s.release, func() error { return closeListener(s.httpListener) })
	}
	o.server.Metrics = ops.NewMetrics()
	o.server.Metrics.WatchLoading(&s.loading)
	o.server.Metrics.WatchReadiness(s.readiness)
	if o.httpOrigins != "" {
		o.server.HTTPOrigins = strings.Split(o.httpOrigins, ",")
	}
	if o.queryLog.Dir != "" {
		if o.queryLog.Redact, err = querylog.ParseRedaction(o.queryLogRedact); err != nil {
			return nil, usagef("--query-log-redact: %v", err)
		}
		o.queryLog.Logger = o.log
		o.queryLog.Count = func(outcome querylog.Outcome) { o.server.Metrics.QueryLogged(string(outcome), 1) }
		for _, outcome := range querylog.Outcomes() {
			o.server.Metrics.QueryLogged(string(outcome), 0)
		}
		if o.server.QueryLog, err = querylog.Open(o.queryLog); err != nil {
			return nil, fmt.Errorf("--query-log: %w", err)
		}
		s.release = append(s.release, func() error { o.server.QueryLog.Close(); return nil })
	}
	if o.opsListen != "" {
		lis, err := config.Listen(ctx, "tcp", o.opsListen)
		switch {
		case err == nil:
			s.ops = ops.Serve(lis, ops.Handler(o.server.Metrics, s.readiness), o.log)
			s.release = append(s.release, s.ops.Close)
		case o.opsOptional && errors.Is(err, syscall.EADDRINUSE):
			o.log.Warn("no metrics are served: the port is taken", "ops_listen", o.opsListen)
		default:
			return nil, fmt.Errorf("--ops-listen: %w", err)
		}
	}
	if o.server.Tracing, err = ops.NewTracing(ctx); err != nil {
		return nil, err
	}
	s.tracing = o.server.Tracing
	memory := newMemoryGovernor(o.memoryLimit)
	o.server.Metrics.WatchMemory(memory.use)
	stopGoverning := memory.govern(o.log)
	s.release = append(s.release, func() error { stopGoverning(); return nil })
	began := time.Now()
	report := reportLoading(o.log, &s.loading, loadReportInterval)
	s.engine, err = engine.Open(ctx, o.data, engine.Options{Logger: o.log, Loading: &s.loading, IdleThreads: o.idleThreads, Memory: memory.use})
	report()
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", o.data, err)
	}
	o.server.Logger = o.log
	if s.server, err = server.New(s.engine, o.server); err != nil {
		return nil, errors.Join(err, s.engine.Close())
	}
	s.options = o
	items := 0
	for _, c := range s.engine.Collections() {
		items += c.Len()
	}
	attrs := []any{"listen", s.addr(), "data", o.data, "collections", len(s.engine.Collections()), "items", items,
		"tls", o.server.TLS != nil, "identity", o.authenticates(), "opened_in", time.Since(began).Round(time.Millisecond).String()}
	if s.ops != nil {
		attrs = append(attrs, "ops_listen", s.ops.Addr())
	}
	if s.httpListener != nil {
		attrs = append(attrs, "http_listen", s.httpListener.Addr().String())
	}
	o.log.Info("serving", attrs...)
	go s.serve()
	s.notReady.Store(nil)
	return s, nil
}

// serve serves every listener until the server is stopped, or one of them fails.
func (s *localServer) serve() {
	ends := make(chan error, 2)
	go func() { ends <- s.server.Serve(s.listener) }()
	if s.httpListener != nil {
		go func() { ends <- s.server.ServeHTTP(s.httpListener) }()
	} else {
		ends <- nil
	}
	if err := <-ends; err != nil {
		s.served <- err
		return
	}
	s.served <- <-ends
}

// closeListener closes a listener where Serve has not done so.
func closeListener(lis net.Listener) error {
	if err := lis.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// releaseAll ends what runs beside the server.
func (s *localServer) releaseAll() error {
	var errs []error
	for _, f := range slices.Backward(s.release) {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

// addr is where the server really listens.
func (s *localServer) addr() string { return s.listener.Addr().String() }

// wait serves until ctx ends, then stops.
func (s *localServer) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		s.options.log.Info("stopping", "timeout", s.options.shutdownTimeout.String())
		return s.stop()
	case err := <-s.served:
		s.served <- err
		return errors.Join(err, s.stop())
	}
}

// stop ends the server gracefully and closes the store. Calls cut off by the timeout are logged, not an
// error: their callers know.
func (s *localServer) stop() error {
	stopping := func() string { return "stopping" }
	s.notReady.Store(&stopping)
	ctx, cancel := context.WithTimeout(context.Background(), s.options.shutdownTimeout)
	defer cancel()
	if err := s.server.Shutdown(ctx); err != nil {
		s.options.log.Warn("calls were cut off", "error", err)
	}
	if err := s.tracing.Close(ctx); err != nil {
		s.options.log.Warn("spans were not sent", "error", err)
	}
	var errs []error
	if err := <-s.served; err != nil {
		errs = append(errs, fmt.Errorf("serve: %w", err))
	}
	if err := s.engine.Close(); err != nil {
		errs = append(errs, fmt.Errorf("close %s: %w", s.options.data, err))
	}
	errs = append(errs, s.releaseAll())
	if err := errors.Join(errs...); err != nil {
		return err
	}
	s.options.log.Info("stopped")
	return nil
}

// isLoopback reports whether only this machine can reach what listens on addr.
func isLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return true // malformed: listening says it better
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
