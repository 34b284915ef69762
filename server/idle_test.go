package server

import (
	"io"
	"net"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// Connections that ask nothing are held open, each by a client that has done no more than the handshake of HTTP/2. They cost little: none
// holds a buffer to read into (10,000 take less than 320 MB), calls are answered beside them, and they are gone when their clients are. SEGUE_LONG=1 opens 9,000:
// both ends are in this process, and a process has 20,000 descriptors.
func TestIdleConnections(t *testing.T) {
	const perConnection = 32 << 10
	n := 300
	if os.Getenv("SEGUE_LONG") != "" {
		n = 9_000
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Cur < uint64(2*n+200) { // the runtime has raised it to what is allowed
		t.Skipf("%d descriptors are too few", limit.Cur)
	}
	f := start(t, Options{})
	f.create(t, &seguev1.Collection{Name: "tracks", Dimension: 4, Metric: seguev1.Metric_METRIC_COSINE})
	f.upsert(t, "tracks", randomItems(30, 4)...)
	used := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapInuse + m.StackInuse)
	}
	before := used()
	conns := make([]net.Conn, n)
	for i := range conns {
		c, err := net.Dial("tcp", f.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns[i] = c
		// RFC 9113, 3.4: the preface and an empty SETTINGS frame.
		if _, err := io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"); err != nil {
			t.Fatal(err)
		}
		if err := c.SetReadDeadline(time.Now().Add(hang)); err != nil {
			t.Fatal(err)
		}
		var header [9]byte // of the server's SETTINGS: it has taken the connection
		if _, err := io.ReadFull(c, header[:]); err != nil || header[3] != 4 {
			t.Fatalf("connection %d: %x, %v", i, header, err)
		}
	}
	each := (used() - before) / int64(n)
	t.Logf("%d idle connections: %d bytes each", n, each)
	if each > perConnection {
		t.Errorf("an idle connection takes %d bytes, more than %d", each, int64(perConnection))
	}
	f.search(t, &seguev1.NearestNeighborsRequest{Collection: "tracks", Query: byVector(1, 2, 3, 4), NeighborCount: 5})
	for _, c := range conns {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}
