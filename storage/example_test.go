package storage_test

import (
	"fmt"
	"log"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/segue-ann/segue/storage"
)

// A store on a file system in memory; leave out FS to use the disk.
func Example() {
	s, err := storage.Open("store", storage.Options{FS: vfs.NewMem()})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	if err := s.PutCollection(storage.CollectionRow{ID: 1, Name: "tracks"}); err != nil {
		log.Fatal(err)
	}
	c := s.Collection(1, 0)
	b := c.NewBatch()
	defer b.Close()
	if err := b.PutItem(storage.ItemRow{ID: "track-1", LSN: 1, Dim: 2, Vector: []byte("8 bytes.")}); err != nil {
		log.Fatal(err)
	}
	if err := b.DeleteItem("track-0", 2); err != nil {
		log.Fatal(err)
	}
	if err := b.Commit(); err != nil { // durable from here on
		log.Fatal(err)
	}
	for row, err := range c.Items("", 10) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s %d %s\n", row.ID, row.LSN, row.Vector)
	}
	if err := c.Log(1, func(r storage.LogRecord) error {
		fmt.Println(r.LSN, r.Kind, r.ID)
		return nil
	}); err != nil {
		log.Fatal(err)
	}
	// Output:
	// track-1 1 8 bytes.
	// 1 put item track-1
	// 2 delete item track-0
}
