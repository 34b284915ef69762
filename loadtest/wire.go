package loadtest

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
)

// Wire is a gRPC client reduced to the bytes of one unary method: one connection, one call at a time, nothing allocated a call.
// What a process allocates while a Wire calls a server in it, the server allocates. It knows as much of HTTP/2 (RFC 9113)
// and of header compression (RFC 7541) as that takes. It is for one goroutine.
type Wire struct {
	conn    net.Conn
	in      *bufio.Reader
	first   []byte // block of the first request's headers
	headers []byte // of all others'
	out     []byte
	answer  []byte
	stream  uint32
	unread  uint32 // bytes received and not yet given back to the connection's window
}

// What frames are called in RFC 9113, section 6.
const (
	frameData         = 0x0
	frameHeaders      = 0x1
	frameReset        = 0x3
	frameSettings     = 0x4
	framePing         = 0x6
	frameGoAway       = 0x7
	frameWindowUpdate = 0x8

	flagEndStream  = 0x1
	flagAck        = 0x1
	flagEndHeaders = 0x4
)

// maxFrame is the largest frame that a client must take, and that it may send unasked.
const maxFrame = 16 << 10

// NewWire begins to talk on conn, which the caller closes. Method is a full one ("/segue.v1.RetrievalService/NearestNeighbors");
// timeout is as in the header grpc-timeout ("1S"), empty for none.
func NewWire(conn net.Conn, method, timeout string) (*Wire, error) {
	w := &Wire{conn: conn, in: bufio.NewReaderSize(conn, 32<<10), stream: 1, answer: make([]byte, 0, 64<<10)}
	// The first call's fields enter the server's table (RFC 7541, section 6.2.1); later calls name their places there, from 62
	// for what entered last, as other clients do. All are shorter than 127 bytes.
	fields := [][2]string{
		{":method", "POST"}, {":scheme", "http"}, {":path", method}, {":authority", "localhost"}, {"content-type", "application/grpc"},
		{"user-agent", "segue"}, {"te", "trailers"},
	}
	for i, f := range fields {
		w.first = appendField(w.first, 0x40, f[0], f[1])
		w.headers = append(w.headers, byte(0x80+61+len(fields)-i))
	}
	if timeout != "" {
		// Clients count down to the microsecond: every call has another one, which is not worth a place (section 6.2.2).
		w.first = appendField(w.first, 0, "grpc-timeout", timeout)
		w.headers = appendField(w.headers, 0, "grpc-timeout", timeout)
	}
	hello := appendFrame([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 0, frameSettings, 0, 0)
	if _, err := conn.Write(hello); err != nil {
		return nil, fmt.Errorf("loadtest: begin a connection: %w", err)
	}
	return w, nil
}

// appendField appends a header field as a literal whose first byte says what becomes of it.
func appendField(b []byte, form byte, name, value string) []byte {
	b = append(append(append(b, form, byte(len(name))), name...), byte(len(value)))
	return append(b, value...)
}

// appendFrame appends the head of a frame of n bytes.
func appendFrame(b []byte, n int, kind, flags byte, stream uint32) []byte {
	b = append(b, byte(n>>16), byte(n>>8), byte(n), kind, flags)
	return binary.BigEndian.AppendUint32(b, stream)
}

// Call sends one encoded request of at most 16 KiB and returns the encoded answer, which is valid until the next call. An
// answer without a message is an error: the status, being compressed, is not read.
func (w *Wire) Call(request []byte) ([]byte, error) {
	if len(request)+5 > maxFrame {
		return nil, fmt.Errorf("loadtest: a request of %d bytes does not fit into a frame", len(request))
	}
	headers := w.headers
	if w.stream == 1 {
		headers = w.first
	}
	w.out = appendFrame(w.out[:0], len(headers), frameHeaders, flagEndHeaders, w.stream)
	w.out = append(w.out, headers...)
	w.out = appendFrame(w.out, len(request)+5, frameData, flagEndStream, w.stream)
	w.out = append(w.out, 0) // not compressed
	w.out = binary.BigEndian.AppendUint32(w.out, uint32(len(request)))
	w.out = append(w.out, request...)
	if _, err := w.conn.Write(w.out); err != nil {
		return nil, fmt.Errorf("loadtest: send a call: %w", err)
	}
	w.answer = w.answer[:0]
	for {
		ended, err := w.frame()
		if err != nil {
			return nil, fmt.Errorf("loadtest: receive an answer: %w", err)
		}
		if ended {
			break
		}
	}
	w.stream += 2
	if len(w.answer) < 5 || w.answer[0] != 0 || int(binary.BigEndian.Uint32(w.answer[1:])) != len(w.answer)-5 {
		return nil, fmt.Errorf("loadtest: the answer has no message, or not one: %d bytes", len(w.answer))
	}
	return w.answer[5:], nil
}

// frame reads one frame and says whether it ends the call.
func (w *Wire) frame() (ended bool, err error) {
	head, err := w.in.Peek(9)
	if err != nil {
		return false, err
	}
	n, kind, flags := int(head[0])<<16|int(head[1])<<8|int(head[2]), head[3], head[4]
	stream := binary.BigEndian.Uint32(head[5:])
	if _, err := w.in.Discard(9); err != nil {
		return false, err
	}
	body, err := w.in.Peek(n)
	if err != nil {
		return false, err
	}
	switch kind {
	case frameData:
		w.answer = append(w.answer, body...)
		if w.unread += uint32(n); w.unread >= maxFrame {
			w.out = binary.BigEndian.AppendUint32(appendFrame(w.out[:0], 4, frameWindowUpdate, 0, 0), w.unread)
			w.unread = 0
			_, err = w.conn.Write(w.out)
		}
	case frameSettings, framePing:
		if flags&flagAck == 0 {
			if kind == frameSettings {
				body = nil
			}
			_, err = w.conn.Write(append(appendFrame(w.out[:0], len(body), kind, flagAck, 0), body...))
		}
	case frameReset, frameGoAway:
		err = fmt.Errorf("the server gave up: frame type %d, % x: %w", kind, body, io.ErrUnexpectedEOF)
	}
	if err != nil {
		return false, err
	}
	if _, err := w.in.Discard(n); err != nil {
		return false, err
	}
	return stream == w.stream && (kind == frameHeaders || kind == frameData) && flags&flagEndStream != 0, nil
}
