package server

import (
	"bytes"
	"fmt"
	"testing"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// manyAttributes is an item whose map would be encoded in a random order by default.
func manyAttributes(n int) *seguev1.Item {
	it := item("a", 1, 2)
	it.Attributes = map[string]*seguev1.AttributeValue{}
	for i := range n {
		it.Attributes[fmt.Sprintf("attribute_%d", i)] = keywords("some", "words")
	}
	return it
}

// TestCodecIsDeterministic: below and above the size from which buffers are pooled.
func TestCodecIsDeterministic(t *testing.T) {
	for _, n := range []int{0, 20, 2000} {
		m := manyAttributes(n)
		var first []byte
		for range 20 {
			data, err := codec{}.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			b := bytes.Clone(data.Materialize())
			data.Free()
			if first == nil {
				first = b
			}
			if !bytes.Equal(first, b) {
				t.Fatalf("%d attributes: two encodings of one message", n)
			}
		}
		back := &seguev1.Item{}
		half := len(first) / 2
		split := mem.BufferSlice{mem.SliceBuffer(first[:half]), mem.SliceBuffer(first[half:])}
		if err := (codec{}).Unmarshal(split, back); err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(m, back) {
			t.Errorf("%d attributes: another message comes back", n)
		}
	}
}

func TestCodecRefusesOthers(t *testing.T) {
	if _, err := (codec{}).Marshal("text"); err == nil {
		t.Error("a string was encoded")
	}
	if err := (codec{}).Unmarshal(nil, new(string)); err == nil {
		t.Error("a string was decoded")
	}
	if err := (codec{}).Unmarshal(mem.BufferSlice{mem.SliceBuffer("\xff\xff")}, &seguev1.Item{}); err == nil {
		t.Error("rubbish was decoded")
	}
}
