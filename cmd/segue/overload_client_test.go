package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/net/http2/hpack"
)

// rawConn is as little of a gRPC client as a load needs: each call is a copy of bytes that were encoded before, with the next stream
// id, and of an answer only the status is decoded. A call costs it some microseconds, so that one core can offer what many machines would.
type rawConn struct {
	c    net.Conn
	done chan error // the reader's end

	mu      sync.Mutex           // guards all below
	out     []byte               // frames that are not written yet
	next    uint32               // stream id
	begun   map[uint32]time.Time // when the call was due
	order   []uint32             // of those, as they were begun; finished ones too
	window  int64                // bytes of requests that the server still takes
	most    int                  // calls at a time that the server allows
	waiting []finished
}

// finished is a call that came back.
type finished struct {
	due, at time.Time
	status  string // of gRPC, or "reset"
}

const (
	frameData, frameHeaders, frameReset, frameSettings, framePing, frameGoAway, frameWindow = 0, 1, 3, 4, 6, 7, 8

	flagEnd, flagAck, flagEndHeaders = 1, 1, 4
)

// rawCall is a call before it has a stream id: the header block and the message, with gRPC's prefix. timeoutAt is where its timeout
// stands, in microseconds and 8 digits: what is left of it goes out.
type rawCall struct {
	header, message []byte
	timeout         time.Duration
	timeoutAt       int
}

func newRawCall(method string, timeout time.Duration, message []byte) rawCall {
	c := rawCall{timeout: timeout}
	field := func(name, value string) {
		// A literal without indexing, its name too (RFC 7541, 6.2.2): it means the same at any time and place.
		c.header = append(c.header, 0, byte(len(name)))
		c.header = append(c.header, name...)
		c.header = append(c.header, byte(len(value)))
		c.header = append(c.header, value...)
	}
	c.header = []byte{0x83, 0x86} // :method POST, :scheme http
	field(":path", method)
	field(":authority", "segue")
	field("content-type", "application/grpc")
	field("te", "trailers")
	field("grpc-timeout", "00000000u")
	c.timeoutAt = len(c.header) - len("00000000u")
	c.message = binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message)))
	c.message = append(c.message, message...)
	return c
}

func appendFrame(dst []byte, kind, flags byte, stream uint32, payload []byte) []byte {
	dst = append(dst, byte(len(payload)>>16), byte(len(payload)>>8), byte(len(payload)), kind, flags)
	dst = binary.BigEndian.AppendUint32(dst, stream)
	return append(dst, payload...)
}

func dialRaw(addr string) (*rawConn, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	r := &rawConn{c: c, done: make(chan error, 1), next: 1, begun: make(map[uint32]time.Time), window: 65_535, most: 1}
	r.out = append(r.out, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"...)
	r.out = appendFrame(r.out, frameSettings, 0, 0, []byte{0, 4, 0x40, 0, 0, 0}) // INITIAL_WINDOW_SIZE 1 GiB
	r.out = appendFrame(r.out, frameWindow, 0, 0, []byte{0x3f, 0, 0, 0})
	go func() { r.done <- r.read() }()
	return r, r.flush()
}

// begin adds a call to what flush sends. It says whether the server takes one more now; a client of gRPC waits otherwise.
func (r *rawConn) begin(call rawCall, due time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	left := call.timeout - time.Since(due)
	if len(r.begun) >= r.most || r.window < int64(len(call.message)) || left <= 0 {
		return false
	}
	r.window -= int64(len(call.message))
	r.out = appendFrame(r.out, frameHeaders, flagEndHeaders, r.next, call.header)
	at := len(r.out) - len(call.header) + call.timeoutAt
	copy(r.out[at:], fmt.Sprintf("%08d", left.Microseconds()))
	r.out = appendFrame(r.out, frameData, flagEnd, r.next, call.message)
	r.begun[r.next] = due
	r.order = append(r.order, r.next)
	r.next += 2
	return true
}

// expire gives up the calls that were due before a time, as a client of gRPC does when their deadline is over.
func (r *rawConn) expire(before time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.order) > 0 {
		stream := r.order[0]
		due, ok := r.begun[stream]
		if ok && !due.Before(before) {
			return
		}
		if ok {
			r.out = appendFrame(r.out, frameReset, 0, stream, []byte{0, 0, 0, 8}) // CANCEL
			delete(r.begun, stream)
			r.waiting = append(r.waiting, finished{due, time.Now(), "expired"})
		}
		r.order = r.order[1:]
	}
}

func (r *rawConn) flush() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.out) == 0 {
		return nil
	}
	_, err := r.c.Write(r.out)
	r.out = r.out[:0]
	return err
}

// take returns the calls that came back since it was last called, and how many are under way.
func (r *rawConn) take(dst []finished) ([]finished, int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	dst = append(dst, r.waiting...)
	r.waiting = r.waiting[:0]
	return dst, len(r.begun)
}

func (r *rawConn) close() error {
	err := r.c.Close()
	<-r.done
	return err
}

// read reads frames until the connection ends.
func (r *rawConn) read() error {
	in := bufio.NewReaderSize(r.c, 64<<10)
	var status string
	headers := hpack.NewDecoder(4096, func(f hpack.HeaderField) {
		if f.Name == "grpc-status" {
			status = f.Value
		}
	})
	var head [9]byte
	var payload []byte
	read := 0 // bytes of answers since the last window update
	for {
		if _, err := io.ReadFull(in, head[:]); err != nil {
			return err
		}
		n := int(head[0])<<16 | int(head[1])<<8 | int(head[2])
		kind, flags, stream := head[3], head[4], binary.BigEndian.Uint32(head[5:])
		if cap(payload) < n {
			payload = make([]byte, n)
		}
		payload = payload[:n]
		if _, err := io.ReadFull(in, payload); err != nil {
			return err
		}
		switch kind {
		case frameHeaders:
			if status = ""; flags&flagEndHeaders == 0 {
				return errors.New("headers in several frames")
			}
			if _, err := headers.Write(payload); err != nil {
				return err
			}
			if flags&flagEnd != 0 {
				r.finish(stream, status)
			}
		case frameReset:
			r.finish(stream, "reset")
		case frameData:
			if read += n; read > 1<<28 {
				r.answer(frameWindow, 0, binary.BigEndian.AppendUint32(nil, uint32(read)))
				read = 0
			}
		case frameSettings:
			if flags&flagAck == 0 {
				r.settings(payload)
				r.answer(frameSettings, flagAck, nil)
			}
		case framePing:
			if flags&flagAck == 0 {
				r.answer(framePing, flagAck, payload)
			}
		case frameWindow:
			if stream == 0 {
				r.mu.Lock()
				r.window += int64(binary.BigEndian.Uint32(payload))
				r.mu.Unlock()
			}
		case frameGoAway:
			return errors.New("the server says goodbye")
		}
	}
}

func (r *rawConn) settings(payload []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for ; len(payload) >= 6; payload = payload[6:] {
		if binary.BigEndian.Uint16(payload) == 3 { // MAX_CONCURRENT_STREAMS
			r.most = int(binary.BigEndian.Uint32(payload[2:]))
		}
	}
}

// answer sends a frame of the connection.
func (r *rawConn) answer(kind, flags byte, payload []byte) {
	r.mu.Lock()
	r.out = appendFrame(r.out, kind, flags, 0, payload)
	r.mu.Unlock()
	_ = r.flush() // the reader sees a broken connection
}

func (r *rawConn) finish(stream uint32, status string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	due, ok := r.begun[stream]
	if !ok {
		return // reset after its status
	}
	delete(r.begun, stream)
	r.waiting = append(r.waiting, finished{due, time.Now(), status})
}
