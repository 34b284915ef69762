package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
)

// TestUnreachable: there are none after inserts, replacements and deletes, with idle threads and without; it ends with its context, and its errors are
// those of reads.
func TestUnreachable(t *testing.T) {
	for _, idle := range []bool{false, true} {
		e, err := Open(t.Context(), t.TempDir(), Options{Logger: slog.New(slog.DiscardHandler), IdleThreads: idle})
		if err != nil {
			t.Fatal(err)
		}
		c, err := e.CreateCollection(t.Context(), CollectionConfig{Name: "tracks", Dim: 2, Metric: L2})
		if err != nil {
			t.Fatal(err)
		}
		count := func(when string) {
			t.Helper()
			if n, err := c.Unreachable(t.Context()); n != 0 || err != nil {
				t.Errorf("%s: %d, %v", when, n, err)
			}
		}
		count("empty")
		for round := range 3 {
			var items []Item
			for i := range 200 {
				items = append(items, Item{ID: fmt.Sprint(i), Vector: []float32{float32(i * (round + 1) % 37), float32(i % 11)}})
			}
			if _, err := c.Upsert(t.Context(), items); err != nil {
				t.Fatal(err)
			}
			count("written")
			if _, _, err := c.Delete(t.Context(), []string{"1", "2", "3"}); err != nil {
				t.Fatal(err)
			}
			count("deleted")
		}
		ended, end := context.WithCancel(t.Context())
		end()
		if _, err := c.Unreachable(ended); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
		if err := e.DeleteCollection(t.Context(), "tracks"); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Unreachable(t.Context()); !errors.As(err, new(*NotFoundError)) {
			t.Errorf("of a deleted collection: %v", err)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Unreachable(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("of a closed engine: %v", err)
		}
	}
}
