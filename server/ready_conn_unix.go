//go:build unix

package server

import (
	"errors"
	"io"
	"net"
	"syscall"

	"google.golang.org/grpc/mem"
)

// readyConn is a connection that gRPC reads by ReadOnReady. The library does the same for a *net.TCPConn, which it does not see
// where connections are counted.
type readyConn struct {
	net.Conn
	raw  syscall.RawConn
	read func(fd uintptr) bool // try, made once

	// Of the read under way; one goroutine reads.
	pool mem.BufferPool
	size int
	buf  *[]byte
	n    int
	err  error
}

// newReadyConn leaves c as it is where it is not one of the kernel's.
func newReadyConn(c net.Conn) net.Conn {
	sys, ok := c.(syscall.Conn)
	if !ok {
		return c
	}
	raw, err := sys.SyscallConn()
	if err != nil {
		return c
	}
	r := &readyConn{Conn: c, raw: raw}
	r.read = r.try
	return r
}

// ReadOnReady waits until there is something to read, and only then takes a buffer of size bytes from pool. The caller gives it back.
// gRPC looks for this method (internal/transport/readyreader).
func (c *readyConn) ReadOnReady(size int, pool mem.BufferPool) (*[]byte, int, error) {
	c.pool, c.size, c.buf, c.n, c.err = pool, size, nil, 0, nil
	err := c.raw.Read(c.read)
	if err == nil {
		err = c.err
	}
	buf := c.buf
	c.pool, c.buf = nil, nil
	switch {
	case err != nil:
		if buf != nil {
			pool.Put(buf)
		}
		return nil, 0, err
	case c.n == 0:
		pool.Put(buf)
		return nil, 0, io.EOF
	}
	return buf, c.n, nil
}

// try reads once, and reports whether that was all: false waits until there is more.
func (c *readyConn) try(fd uintptr) bool {
	buf := c.pool.Get(c.size)
	n, err := syscall.Read(int(fd), *buf)
	for errors.Is(err, syscall.EINTR) {
		n, err = syscall.Read(int(fd), *buf)
	}
	if errors.Is(err, syscall.EAGAIN) {
		c.pool.Put(buf)
		return false
	}
	c.buf, c.n, c.err = buf, n, err
	return true
}
