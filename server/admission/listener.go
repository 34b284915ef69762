package admission

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
)

// Connections counts the open connections of several listeners. The zero value is ready for use.
type Connections struct{ open atomic.Int64 }

// Open returns how many are open.
func (c *Connections) Open() int64 { return c.open.Load() }

// Listen wraps lis so that no connection is accepted while limit of all of c's are open: more are closed at once, and
// refused is called for each. Left to wait unaccepted they would hold the kernel's memory, and their callers would hang
// instead of trying elsewhere.
func (c *Connections) Listen(lis net.Listener, limit int, refused func()) net.Listener {
	return &listener{Listener: lis, all: c, limit: int64(limit), refused: refused}
}

type listener struct {
	net.Listener
	all     *Connections
	limit   int64
	refused func()
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.all.open.Add(1) <= l.limit {
			return &countedConn{Conn: c, closed: sync.OnceFunc(func() { l.all.open.Add(-1) })}, nil
		}
		l.all.open.Add(-1)
		l.refused()
		_ = c.Close() // nothing was written
	}
}

type countedConn struct {
	net.Conn
	closed func()
}

// SyscallConn implements syscall.Conn where the connection below does.
func (c *countedConn) SyscallConn() (syscall.RawConn, error) {
	if raw, ok := c.Conn.(syscall.Conn); ok {
		return raw.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

// Close implements net.Conn.
func (c *countedConn) Close() error {
	c.closed()
	return c.Conn.Close()
}
