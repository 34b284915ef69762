package client

import (
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// TestIdentified: a request that may have an id gets one of its own and else stays as it is; the caller's message, an id that is there,
// and messages without the field are left alone.
func TestIdentified(t *testing.T) {
	mine := &seguev1.BatchDeleteItemsRequest{Collection: "c", ItemIds: []string{"a", "b"}}
	first, _ := identified(mine.ProtoReflect()).Interface().(*seguev1.BatchDeleteItemsRequest)
	second, _ := identified(mine.ProtoReflect()).Interface().(*seguev1.BatchDeleteItemsRequest)
	if mine.GetRequestId() != "" || first.GetRequestId() == "" || len(first.GetRequestId()) > 64 || first.GetRequestId() == second.GetRequestId() {
		t.Errorf("ids %q, %q and %q", mine.GetRequestId(), first.GetRequestId(), second.GetRequestId())
	}
	if first.RequestId = ""; !proto.Equal(first, mine) {
		t.Errorf("%v became %v", mine, first)
	}
	own := &seguev1.UpsertItemRequest{RequestId: "mine"}
	if got := identified(own.ProtoReflect()); got != own.ProtoReflect() {
		t.Errorf("an id that was there became %v", got.Interface())
	}
	search := &seguev1.NearestNeighborsRequest{}
	if got := identified(search.ProtoReflect()); got != search.ProtoReflect() {
		t.Errorf("a search became %v", got.Interface())
	}
}

// TestEveryServiceIsRetried: no service of the API is left out of the retry policy, and no stream is in it.
func TestEveryServiceIsRetried(t *testing.T) {
	listed := map[string]bool{}
	for _, f := range services() {
		listed[f.Path()] = true
	}
	protoregistry.GlobalFiles.RangeFilesByPackage("segue.v1", func(f protoreflect.FileDescriptor) bool {
		if f.Services().Len() > 0 && !listed[f.Path()] {
			t.Errorf("%s is not listed", f.Path())
		}
		for i := range f.Services().Len() {
			methods := f.Services().Get(i).Methods()
			for j := range methods.Len() {
				if m := methods.Get(j); m.IsStreamingClient() && retryable(m) {
					t.Errorf("the stream %s is repeated", m.FullName())
				}
			}
		}
		return true
	})
}
