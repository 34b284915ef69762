package engine

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// stall holds up the syncs of the write-ahead log while it is closed.
type stall struct {
	mu   sync.Mutex
	gate chan struct{} // nil: open
	held chan struct{} // receives once for each sync that is held up
}

func (s *stall) String() string { return "stall" }

// MaybeError implements errorfs.Injector.
func (s *stall) MaybeError(op errorfs.Op) error {
	if op.Kind != errorfs.OpFileSync && op.Kind != errorfs.OpFileSyncData || !strings.HasSuffix(op.Path, ".log") {
		return nil
	}
	s.mu.Lock()
	gate := s.gate
	s.mu.Unlock()
	if gate != nil {
		s.held <- struct{}{}
		<-gate
	}
	return nil
}

// The disk stops answering a sync. Reads and searches go on; a write is not acknowledged, waits, and gives up with its deadline; once the
// disk answers again it is durable and visible, and so is the next.
func TestStalledDisk(t *testing.T) {
	disk := &stall{held: make(chan struct{}, 1000)}
	o := testOptions(nil)
	o.Store.FS = errorfs.Wrap(vfs.NewMem(), disk)
	e := open(t, "store", o)
	c, err := e.CreateCollection(t.Context(), CollectionConfig{Name: "tracks", Dim: 4, Metric: L2})
	if err != nil {
		t.Fatal(err)
	}
	items := randomItems(rand.New(rand.NewPCG(1, 1)), 50, 4)
	before := mustUpsert(t, c, items[:48]...)

	gate := make(chan struct{})
	disk.mu.Lock()
	disk.gate = gate
	disk.mu.Unlock()
	type answer struct {
		lsn LSN
		err error
	}
	written := make(chan answer, 1)
	go func() {
		lsn, err := c.Upsert(context.Background(), items[48:49])
		written <- answer{lsn, err}
	}()
	<-disk.held
	for _, it := range items[:48] {
		r, err := c.Search(t.Context(), SearchRequest{Query: Query{Vector: it.Vector}, K: 1})
		if err != nil || len(r.Neighbors) != 1 || r.Neighbors[0].Score != 0 {
			t.Errorf("a search beside a stalled disk: %v, %v", r.Neighbors, err)
		}
		if _, err := c.Get(t.Context(), it.ID); err != nil {
			t.Errorf("a read beside a stalled disk: %v", err)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(context.DeadlineExceeded)
	if _, err := c.Upsert(ctx, items[49:]); err == nil {
		t.Error("a write was acknowledged by a disk that does not answer")
	}
	if r, err := c.Search(t.Context(), SearchRequest{Query: Query{Vector: items[48].Vector}, K: 1}); err != nil || r.Neighbors[0].ItemID == items[48].ID {
		t.Errorf("a write is visible before it is durable: %v", err)
	}
	select {
	case a := <-written:
		t.Errorf("acknowledged by a disk that does not answer: %+v", a)
	default:
	}
	disk.mu.Lock()
	disk.gate = nil
	disk.mu.Unlock()
	close(gate)
	if a := <-written; a.err != nil || a.lsn <= before {
		t.Errorf("once the disk answers: %+v", a)
	}
	if _, err := c.Get(t.Context(), items[48].ID); err != nil {
		t.Error(err)
	}
	if _, err := c.Upsert(t.Context(), items[49:]); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
