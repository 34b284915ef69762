package server

import (
	"fmt"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
)

// codec is gRPC's protobuf codec with one difference: it encodes deterministically. Attributes are maps, which
// protobuf encodes in random order otherwise, and the API promises the same bytes for the same request.
type codec struct{}

// Name is the content subtype.
func (codec) Name() string { return "proto" }

// Marshal encodes v, a proto.Message.
func (codec) Marshal(v any) (mem.BufferSlice, error) {
	m, ok := v.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("marshal %T: not a protobuf message", v)
	}
	size := proto.Size(m) // also caches sizes, for UseCachedSize
	o := proto.MarshalOptions{Deterministic: true, UseCachedSize: true}
	pool := mem.DefaultBufferPool()
	// Buffers up to the threshold would not go back to the pool: a small message takes one that is larger, and never allocates.
	b := pool.Get(max(size, pooledBytes))
	data, err := o.MarshalAppend((*b)[:0], m)
	if err != nil {
		pool.Put(b)
		return nil, err
	}
	*b = data
	return mem.BufferSlice{mem.NewBuffer(b, pool)}, nil
}

// pooledBytes is the least size of a buffer that package mem pools.
const pooledBytes = 1<<10 + 1

// Unmarshal decodes into v, a proto.Message, which keeps no reference to data.
func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(proto.Message)
	if !ok {
		return fmt.Errorf("unmarshal into %T: not a protobuf message", v)
	}
	b := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer b.Free()
	return proto.Unmarshal(b.ReadOnlyData(), m)
}
