package loadtest

import (
	"context"
	"fmt"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
)

// rawCodec passes encoded messages through: to measure what servers do, the client neither encodes nor decodes. Values are
// *[]byte.
type rawCodec struct{}

// Name is that of messages as they are on the wire.
func (rawCodec) Name() string { return "proto" }

// Marshal implements encoding.CodecV2.
func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	b, ok := v.(*[]byte)
	if !ok {
		return nil, fmt.Errorf("loadtest: send %T: not *[]byte", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(*b)}, nil
}

// Unmarshal implements encoding.CodecV2: it copies to v what v has room for, and notes the length.
func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	b, ok := v.(*[]byte)
	if !ok {
		return fmt.Errorf("loadtest: receive %T: not *[]byte", v)
	}
	n := data.Len()
	if n > cap(*b) {
		*b = make([]byte, n)
	}
	*b = (*b)[:n]
	data.CopyTo(*b)
	return nil
}

// EmptyMethod is what an EmptyServer answers.
const EmptyMethod = "/segue.bench.Empty/Call"

// EmptyServer answers every call with the same bytes and does nothing else: the most that gRPC can do with messages of that size.
type EmptyServer struct {
	// Addr is where it listens.
	Addr string

	grpc   *grpc.Server
	served chan error
}

// StartEmptyServer listens on a free port of loopback. Close ends it.
func StartEmptyServer(ctx context.Context, answerBytes int, options []grpc.ServerOption) (*EmptyServer, error) {
	var config net.ListenConfig
	lis, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	answer := make([]byte, answerBytes)
	s := &EmptyServer{
		grpc: grpc.NewServer(append(options, grpc.ForceServerCodecV2(rawCodec{}))...),
		Addr: lis.Addr().String(), served: make(chan error, 1),
	}
	s.grpc.RegisterService(&grpc.ServiceDesc{
		ServiceName: "segue.bench.Empty", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Call", Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			var request []byte
			if err := decode(&request); err != nil {
				return nil, err
			}
			return &answer, nil
		}}},
	}, nil)
	go func() { s.served <- s.grpc.Serve(lis) }()
	return s, nil
}

// Close ends the server.
func (s *EmptyServer) Close() error {
	s.grpc.Stop()
	return <-s.served
}
