package client_test

import (
	"context"
	"fmt"
	"iter"
	"log"
	"os"

	"github.com/segue-ann/segue/client"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// track pairs an id with its embedding.
type track struct {
	id     string
	vector []float32
}

// items yields tracks in the form they travel in.
func items(tracks []track) iter.Seq2[*seguev1.Item, error] {
	return func(yield func(*seguev1.Item, error) bool) {
		for _, t := range tracks {
			if !yield(&seguev1.Item{Id: t.id, Vector: client.Vector(t.vector)}, nil) {
				return
			}
		}
	}
}

// Create a collection, load it, and ask for more like one item.
func Example() {
	dir, err := os.MkdirTemp("", "segue-example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	served, err := start(dir, "127.0.0.1:0") // in a program of your own: segue serve --data DIR
	if err != nil {
		log.Fatal(err)
	}
	defer served.stop()

	ctx := context.Background()
	c, err := client.Dial(served.addr, client.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	_, err = c.Collections.CreateCollection(ctx, &seguev1.CreateCollectionRequest{
		Collection: &seguev1.Collection{Name: "tracks", Dimension: 2, Metric: seguev1.Metric_METRIC_COSINE},
	})
	if err != nil {
		log.Fatal(err)
	}

	result, err := c.UpsertItems(ctx, "tracks", items([]track{
		{"north", []float32{0, 1}},
		{"north-east", []float32{1, 1}},
		{"east", []float32{1, 0}},
		{"nowhere", []float32{0, 0}},
	}), client.UpsertOptions{
		OnReject: func(r client.Reject) {
			fmt.Printf("row %d, %s: %s: %s\n", r.Row, r.ID, r.Violations[0].Field, r.Violations[0].Reason)
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(result.Written, "written")

	answer, err := c.Retrieval.NearestNeighbors(ctx, &seguev1.NearestNeighborsRequest{
		Collection:    "tracks",
		Query:         &seguev1.Query{Form: &seguev1.Query_ItemId{ItemId: "north"}},
		NeighborCount: 2,
		MinRevision:   result.Revision,
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, n := range answer.GetNeighbors() {
		fmt.Printf("%.2f %s\n", n.GetScore(), n.GetItemId())
	}
	// Output:
	// row 3, nowhere: vector: ZERO_VECTOR
	// 3 written
	// 0.71 north-east
	// 0.00 east
}
