package server

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/segue-ann/segue/server/gateway"
	"github.com/segue-ann/segue/server/ops"
)

// jsonSide is HTTP and JSON in front of the gRPC server of the same process.
type jsonSide struct {
	gateway *gateway.Gateway
	http    *http.Server
	inside  *bufconn.Listener // from the gateway to the gRPC server
	start   func()            // serves inside, once
	serving sync.WaitGroup
}

// insideBytes is the buffer of a connection within the process.
const insideBytes = 64 << 10

func newJSONSide(o *Options, s *grpc.Server) (*jsonSide, error) {
	j := &jsonSide{inside: bufconn.Listen(insideBytes)}
	var err error
	j.gateway, err = gateway.New(gateway.Options{
		Dial: j.inside.DialContext, MaxRecvBytes: o.MaxRecvBytes, MaxSendBytes: o.MaxSendBytes, Origins: o.HTTPOrigins,
		ReadingTime: o.patience.reading,
	})
	if err != nil {
		return nil, err
	}
	j.http = &http.Server{
		Handler: j.gateway, TLSConfig: httpTLS(o.TLS), MaxHeaderBytes: o.MaxHeaderBytes,
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: time.Minute, IdleTimeout: 2 * time.Minute,
		HTTP2:    &http.HTTP2Config{MaxConcurrentStreams: o.MaxStreams},
		ErrorLog: slog.NewLogLogger(o.Logger.Handler(), slog.LevelDebug),
	}
	j.start = sync.OnceFunc(func() {
		j.serving.Go(func() { _ = s.Serve(insideListener{j.inside}) }) // ends with the gRPC server, as Serve says
	})
	return j, nil
}

// httpTLS is a configuration that also speaks HTTP/1.1; nil for nil.
func httpTLS(c *tls.Config) *tls.Config {
	if c == nil {
		return nil
	}
	protocols := []string{"h2", "http/1.1"}
	c = c.Clone()
	c.NextProtos = protocols
	if get := c.GetConfigForClient; get != nil {
		c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			now, err := get(hello)
			if err != nil || now == nil {
				return nil, err
			}
			now = now.Clone()
			now.NextProtos = protocols
			return now, nil
		}
	}
	return c
}

// ServeHTTP answers HTTP with JSON on lis, which it closes at the end, until Shutdown; then it returns nil. Connections count
// as those of gRPC do, and TLS is theirs. Callers say who they are by a token: certificates stay on this side of the gateway.
func (s *Server) ServeHTTP(lis net.Listener) error {
	s.json.start()
	lis = s.connections.Listen(lis, s.maxConnections, func() { s.metrics.Shed(ops.ShedConnections) })
	var err error
	if s.json.http.TLSConfig != nil {
		err = s.json.http.ServeTLS(lis, "", "")
	} else {
		err = s.json.http.Serve(lis)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// stop lets requests end as long as ctx allows.
func (j *jsonSide) stop(ctx context.Context) {
	if err := j.http.Shutdown(ctx); err != nil {
		_ = j.http.Close() // what is left is cut off, as the gRPC calls behind it are
	}
}

// close is called after the gRPC server has stopped.
func (j *jsonSide) close() {
	_, _ = j.gateway.Close(), j.inside.Close() // they are memory
	j.serving.Wait()
}

// insideListener marks the connections that never leave the process.
type insideListener struct{ *bufconn.Listener }

// Accept implements net.Listener.
func (l insideListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return insideConn{c}, nil
}

type insideConn struct{ net.Conn }

// outsideTLS is TLS for connections that leave the process.
type outsideTLS struct {
	credentials.TransportCredentials
}

// ServerHandshake implements credentials.TransportCredentials.
func (t outsideTLS) ServerHandshake(c net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if inside, ok := c.(insideConn); ok {
		return insecure.NewCredentials().ServerHandshake(inside)
	}
	return t.TransportCredentials.ServerHandshake(c)
}

// Clone implements credentials.TransportCredentials.
func (t outsideTLS) Clone() credentials.TransportCredentials {
	return outsideTLS{t.TransportCredentials.Clone()}
}
