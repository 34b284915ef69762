package server_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/segue-ann/segue/engine"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
	"github.com/segue-ann/segue/server"
)

// Serve a store, write two items, ask what is like one of them, and stop.
func Example() {
	if err := example(context.Background()); err != nil {
		log.Fatal(err)
	}
	// Output: b 0.96
}

func example(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "segue-example")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	quiet := slog.New(slog.DiscardHandler)
	e, err := engine.Open(ctx, dir, engine.Options{Logger: quiet})
	if err != nil {
		return err
	}
	defer e.Close()
	s, err := server.New(e, server.Options{Logger: quiet})
	if err != nil {
		return err
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(lis) }()
	defer func() {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		err = errors.Join(err, s.Shutdown(ctx), <-served)
	}()

	conn, err := grpc.NewClient("passthrough:///"+lis.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = seguev1.NewCollectionServiceClient(conn).CreateCollection(ctx, &seguev1.CreateCollectionRequest{
		Collection: &seguev1.Collection{Name: "tracks", Dimension: 2, Metric: seguev1.Metric_METRIC_COSINE},
	})
	if err != nil {
		return err
	}
	floats := func(v ...float32) *seguev1.Vector {
		return &seguev1.Vector{Encoding: &seguev1.Vector_Floats{Floats: &seguev1.Floats{Values: v}}}
	}
	_, err = seguev1.NewItemServiceClient(conn).BatchUpsertItems(ctx, &seguev1.BatchUpsertItemsRequest{
		Collection: "tracks",
		Items:      []*seguev1.Item{{Id: "a", Vector: floats(3, 4)}, {Id: "b", Vector: floats(4, 3)}},
	})
	if err != nil {
		return err
	}
	found, err := seguev1.NewRetrievalServiceClient(conn).NearestNeighbors(ctx, &seguev1.NearestNeighborsRequest{
		Collection:    "tracks",
		Query:         &seguev1.Query{Form: &seguev1.Query_ItemId{ItemId: "a"}},
		NeighborCount: 10,
	})
	if err != nil {
		return err
	}
	for _, n := range found.GetNeighbors() {
		fmt.Printf("%s %.2f\n", n.GetItemId(), n.GetScore())
	}
	return nil
}
