package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/segue-ann/segue/engine"
	"github.com/segue-ann/segue/server"
)

func newServeCommand(env *environment) *cobra.Command {
	var o serveOptions
	var level slog.Level
	c := &cobra.Command{
		Use:   "serve --data DIR",
		Short: "Serve a store over gRPC",
		Long: "Serve opens the store in DIR, making it where there is none, recovers its collections, and serves them\n" +
			"until SIGINT or SIGTERM: then health checks answer NOT_SERVING, no call is accepted any more, and calls under\n" +
			"way have --shutdown-timeout to end. A second signal ends the process at once, which loses nothing that was\n" +
			"acknowledged.\n\n" +
			"When the server answers, one line \"listening on HOST:PORT\" goes to stdout; with port 0 it says the real one.\n" +
			"Logs go to stderr: text on a terminal, else JSON.\n\n" +
			"There is no TLS and no identity yet: whoever reaches the port may do everything. An address that is not\n" +
			"loopback therefore needs --insecure.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.log = newLogger(env, level)
			s, err := startServer(cmd.Context(), o)
			if err != nil {
				return err
			}
			if _, err := fmt.Fprintf(env.stdout, "listening on %s\n", s.addr()); err != nil {
				return errors.Join(err, s.stop())
			}
			return s.wait(cmd.Context())
		},
	}
	o.flags(c)
	c.Flags().StringVar(&o.data, "data", "", "`DIR` of the store")
	c.Flags().StringVar(&o.listen, "listen", defaultAddr, "`HOST:PORT` to listen on; port 0 takes a free one")
	c.Flags().TextVar(&level, "log-level", slog.LevelInfo, "debug, info, warn or error")
	if err := c.MarkFlagRequired("data"); err != nil {
		panic(err) // the flag was added above
	}
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

// serveOptions say what to serve and where.
type serveOptions struct {
	data            string
	listen          string
	insecure        bool
	shutdownTimeout time.Duration
	log             *slog.Logger
}

// flags adds the flags that serve and demo share.
func (o *serveOptions) flags(c *cobra.Command) {
	c.Flags().BoolVar(&o.insecure, "insecure", false, "listen on an address other machines can reach, without TLS")
	c.Flags().DurationVar(&o.shutdownTimeout, "shutdown-timeout", 10*time.Second, "how long calls under way may take to end on shutdown")
}

// localServer is an open store and a server of it, in this process.
type localServer struct {
	options  serveOptions
	engine   *engine.Engine
	server   *server.Server
	listener net.Listener
	served   chan error // Serve's result, once
}

// startServer listens, opens the store and serves it. The port is taken before the store is opened, which
// may take long, so that a wrong address is known at once.
func startServer(ctx context.Context, o serveOptions) (*localServer, error) {
	if !isLoopback(o.listen) {
		if !o.insecure {
			return nil, usagef("--listen %s can be reached by other machines, and there is no TLS yet: add --insecure to accept that", o.listen)
		}
		o.log.Warn("serving without TLS or identity on an address that other machines can reach", "listen", o.listen)
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", o.listen)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	e, err := engine.Open(ctx, o.data, engine.Options{Logger: o.log})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", o.data, err), listener.Close())
	}
	srv, err := server.New(e, server.Options{Logger: o.log})
	if err != nil {
		return nil, errors.Join(err, e.Close(), listener.Close())
	}
	s := &localServer{options: o, engine: e, server: srv, listener: listener, served: make(chan error, 1)}
	items := 0
	for _, c := range e.Collections() {
		items += c.Len()
	}
	o.log.Info("serving", "listen", s.addr(), "data", o.data, "collections", len(e.Collections()), "items", items,
		"opened_in", time.Since(began).Round(time.Millisecond).String())
	go func() { s.served <- srv.Serve(listener) }()
	return s, nil
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
	ctx, cancel := context.WithTimeout(context.Background(), s.options.shutdownTimeout)
	defer cancel()
	if err := s.server.Shutdown(ctx); err != nil {
		s.options.log.Warn("calls were cut off", "error", err)
	}
	if err := <-s.served; err != nil {
		return errors.Join(fmt.Errorf("serve: %w", err), s.engine.Close())
	}
	if err := s.engine.Close(); err != nil {
		return fmt.Errorf("close %s: %w", s.options.data, err)
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
