package client

import (
	"context"
	"crypto/rand"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// NewRequestID returns a request_id that no other call has.
func NewRequestID() string { return rand.Text() }

// identify gives every request that can have a request_id and has none a new one, so that a write whose answer was lost is repeated
// and not made twice. It stands outside of gRPC's retries: all tries of a call have the same. The caller's message is not changed.
func identify(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, o ...grpc.CallOption) error {
	if m, ok := req.(proto.Message); ok {
		req = identified(m.ProtoReflect()).Interface()
	}
	return invoke(ctx, method, req, reply, conn, o...)
}

// identified returns m, or a shallow copy of it with a request_id.
func identified(m protoreflect.Message) protoreflect.Message {
	field := m.Descriptor().Fields().ByName("request_id")
	if field == nil || field.Kind() != protoreflect.StringKind || field.Cardinality() == protoreflect.Repeated || m.Get(field).String() != "" {
		return m
	}
	out := m.New()
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		out.Set(f, v)
		return true
	})
	out.Set(field, protoreflect.ValueOfString(NewRequestID()))
	return out
}
