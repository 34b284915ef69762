//go:build unix

package server

import (
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"google.golang.org/grpc/mem"
)

// lending counts the buffers that are out.
type lending struct{ out int }

func (l *lending) Get(n int) *[]byte {
	l.out++
	b := make([]byte, n)
	return &b
}

func (l *lending) Put(*[]byte) { l.out-- }

var _ mem.BufferPool = (*lending)(nil)

// TestReadyConn: what is sent arrives, in pieces of at most the size asked for; an end, a deadline and a closed connection are the
// errors that Read has; and a buffer is held only by whoever got bytes in it.
func TestReadyConn(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	pair := func() (here *readyConn, there net.Conn) {
		t.Helper()
		there, err := net.Dial("tcp", lis.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		c, err := readyListener{lis}.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close(); there.Close() })
		return c.(*readyConn), there
	}
	var pool lending

	c, other := pair()
	sent := make([]byte, 1000)
	for i := range sent {
		sent[i] = byte(i)
	}
	go func() {
		for _, part := range [][]byte{sent[:1], sent[1:400], sent[400:]} {
			if _, err := other.Write(part); err != nil {
				t.Error(err)
			}
		}
		other.Close()
	}()
	var got []byte
	for {
		b, n, err := c.ReadOnReady(300, &pool)
		if err != nil {
			if !errors.Is(err, io.EOF) || b != nil || n != 0 {
				t.Errorf("at the end: %v, %d", err, n)
			}
			break
		}
		if len(*b) != 300 || n < 1 || n > 300 {
			t.Fatalf("%d bytes in a buffer of %d", n, len(*b))
		}
		got = append(got, (*b)[:n]...)
		pool.Put(b)
	}
	if string(got) != string(sent) {
		t.Errorf("%d bytes arrived, not those that were sent", len(got))
	}

	c, _ = pair()
	if err := c.SetReadDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.ReadOnReady(300, &pool); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("past the deadline: %v", err)
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() {
		_, _, err := c.ReadOnReady(300, &pool)
		ended <- err
	}()
	c.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
	if pool.out != 0 {
		t.Errorf("%d buffers are still out", pool.out)
	}
}

// TestReadyConnOfNoSocket: what the kernel does not know is left alone.
func TestReadyConnOfNoSocket(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	if c := newReadyConn(a); c != a {
		t.Errorf("%T", c)
	}
}
