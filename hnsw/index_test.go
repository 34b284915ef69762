package hnsw_test

import (
	"testing"

	"github.com/segue-ann/segue/hnsw"
)

// newIndex returns an index that is closed when the test ends.
func newIndex(t testing.TB, o hnsw.Options) *hnsw.Index {
	t.Helper()
	x, err := hnsw.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	})
	return x
}
