package hnsw_test

import (
	"context"
	"fmt"
	"log"

	"github.com/segue-ann/segue/hnsw"
)

func Example() {
	x, err := hnsw.New(hnsw.Options{Dim: 2, Metric: hnsw.L2, MaxSlots: 1000})
	if err != nil {
		log.Fatal(err)
	}
	defer x.Close()
	for i := range 100 {
		if _, err := x.Insert([]float32{float32(i % 10), float32(i / 10)}); err != nil {
			log.Fatal(err)
		}
	}
	if err := x.Delete(33); err != nil { // the point (3, 3)
		log.Fatal(err)
	}

	s := x.Acquire()
	defer s.Release()
	found, _, err := s.Search(context.Background(), []float32{3.1, 3}, hnsw.SearchParams{K: 2, Ef: 64})
	if err != nil {
		log.Fatal(err)
	}
	for _, c := range found {
		fmt.Printf("%v at squared distance %.2f\n", s.Vector(c.Slot), c.Distance)
	}
	// Output:
	// [4 3] at squared distance 0.81
	// [3 2] at squared distance 1.01
}
