package ops

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"google.golang.org/grpc"
	channelz "google.golang.org/grpc/channelz/service"
	"google.golang.org/grpc/reflection"
)

// Handler serves the operator's pages, and over HTTP/2 the state of gRPC's connections (grpc.channelz.v1). ready says why calls are not answered now, or nil; it is called for each request.
func Handler(m *Metrics, ready func() error) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, nil) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { answer(w, ready()) })
	mux.HandleFunc("GET /debug/pprof/", local(pprof.Index))
	mux.HandleFunc("GET /debug/pprof/cmdline", local(pprof.Cmdline))
	mux.HandleFunc("GET /debug/pprof/profile", local(pprof.Profile))
	mux.HandleFunc("GET /debug/pprof/symbol", local(pprof.Symbol))
	mux.HandleFunc("GET /debug/pprof/trace", local(pprof.Trace))
	channels := grpc.NewServer()
	channelz.RegisterChannelzServiceToServer(channels)
	reflection.Register(channels)
	mux.HandleFunc("POST /grpc.channelz.v1.Channelz/", local(channels.ServeHTTP))
	mux.HandleFunc("POST /grpc.reflection.v1.ServerReflection/", local(channels.ServeHTTP))
	return mux
}

func answer(w http.ResponseWriter, why error) {
	if why != nil {
		http.Error(w, why.Error(), http.StatusServiceUnavailable)
		return
	}
	_, _ = io.WriteString(w, "ok\n") // a prober that goes away misses nothing
}

// local serves callers on this machine only: a profile costs time and tells what is in memory.
func local(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		peer, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil || !peer.Addr().Unmap().IsLoopback() {
			http.Error(w, "profiles are served on loopback only", http.StatusForbidden)
			return
		}
		next(w, r)
	}
}

// Server is a running second listener.
type Server struct {
	http   *http.Server
	addr   string
	served chan error
}

// Serve serves h on lis until Close.
func Serve(lis net.Listener, h http.Handler, log *slog.Logger) *Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true) // for channelz, which is gRPC
	s := &Server{
		http: &http.Server{
			Handler: h, Protocols: &protocols, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
			ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		},
		addr:   lis.Addr().String(),
		served: make(chan error, 1),
	}
	go func() { s.served <- s.http.Serve(lis) }()
	return s
}

// Addr is where it listens.
func (s *Server) Addr() string { return s.addr }

// Close ends the server, whatever it is doing. It is called once.
func (s *Server) Close() error {
	if err := s.http.Close(); err != nil {
		return fmt.Errorf("close %s: %w", s.addr, err)
	}
	if err := <-s.served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", s.addr, err)
	}
	return nil
}
