package server

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/segue-ann/segue/engine"
)

// pipes is a network in memory: a listener whose connections hold nothing that was not read.
type pipes struct {
	waiting chan net.Conn
	closed  chan struct{}
	once    sync.Once
	dialed  atomic.Int64
}

func newPipes() *pipes { return &pipes{waiting: make(chan net.Conn), closed: make(chan struct{})} }

func (p *pipes) dial() (net.Conn, error) {
	here, there := net.Pipe()
	select {
	case p.waiting <- there:
		p.dialed.Add(1)
		return here, nil
	case <-p.closed:
		return nil, errors.Join(here.Close(), there.Close(), net.ErrClosed)
	}
}

// Accept implements net.Listener.
func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.waiting:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

// Addr implements net.Listener.
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes"} }

// client is a gRPC client whose connections go through wrap.
func (p *pipes) client(t *testing.T, wrap func(net.Conn) net.Conn) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///pipes", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
			c, err := p.dial()
			if err != nil {
				return nil, err
			}
			return wrap(c), nil
		}))
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// virtually runs do in virtual time, with a server of slowFixture's items and a client of it, over pipes. The engine is outside: what
// writes to it cannot be in do.
func virtually(t *testing.T, o Options, do func(t *testing.T, f *fixture, n *pipes)) {
	t.Helper()
	filled := slowFixture(t, Options{})
	filled.stop(t)
	o.Logger = slog.New(slog.DiscardHandler)
	e, err := engine.Open(t.Context(), filled.dir, engine.Options{Logger: o.Logger, SnapshotTail: -1, ReserveBytes: 256 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	synctest.Test(t, func(t *testing.T) {
		s, err := New(e, o)
		if err != nil {
			t.Fatal(err)
		}
		n := newPipes()
		f := &fixture{dir: filled.dir, engine: e, server: s, served: make(chan error, 1)}
		go func() { f.served <- s.Serve(n) }()
		f.connect(n.client(t, func(c net.Conn) net.Conn { return c }))
		defer f.stop(t)
		do(t, f, n)
	})
}
