package seguev1_test

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// A request in protobuf's JSON: ten tracks like one track, with title and album.
func Example() {
	req := &seguev1.NearestNeighborsRequest{
		Collection:    "tracks",
		Query:         &seguev1.Query{Form: &seguev1.Query_ItemId{ItemId: "0VjIjW4GlUZAMYd2vXMi3b"}},
		NeighborCount: 10,
		ReadMask:      &fieldmaskpb.FieldMask{Paths: []string{"attributes.title", "attributes.album_id"}},
	}
	text := `{"collection":"tracks","query":{"item_id":"0VjIjW4GlUZAMYd2vXMi3b"},"neighbor_count":10,"read_mask":"attributes.title,attributes.albumId"}`
	parsed := &seguev1.NearestNeighborsRequest{}
	if err := protojson.Unmarshal([]byte(text), parsed); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(proto.Equal(req, parsed))
	// Output: true
}
