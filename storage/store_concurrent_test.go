package storage

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Everything at once on one store, with Close in the middle of it: meant for the race detector. After Close each
// call fails with ErrClosed, and what was acknowledged is there.
func TestConcurrentUseAndClose(t *testing.T) {
	mem := vfs.NewMem()
	s := mustOpen(t, mem, Options{MemTableBytes: 64 << 10})
	c := s.Collection(1, 0)
	putItems(t, c, 1, "seed")
	var wg sync.WaitGroup
	closed := make(chan struct{})
	loop := func(fn func(i int) error) {
		wg.Go(func() {
			for i := 0; ; i++ {
				err := fn(i)
				if errors.Is(err, ErrClosed) {
					return
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	var acked uint64
	loop(func(i int) error {
		b := c.NewBatch()
		defer b.Close()
		lsn := uint64(i) + 2
		if err := errors.Join(b.PutItem(item(fmt.Sprint("t", lsn%20), lsn)), b.Commit()); err != nil {
			return err
		}
		acked = lsn
		if i == 200 {
			close(closed)
		}
		return nil
	})
	other := s.Collection(2, 0)
	loop(func(i int) error {
		b := other.NewBatch()
		defer b.Close()
		return errors.Join(b.PutProfile(profile("u", uint64(i)+1)), b.Commit())
	})
	loop(func(int) error { _, err := c.Item("seed"); return err })
	loop(func(int) error {
		for _, err := range c.Items("", 5) {
			if err != nil {
				return err
			}
		}
		return nil
	})
	loop(func(int) error {
		var trimmed *LogTrimmedError
		first, err := c.FirstLSN()
		if err != nil {
			return err
		}
		if err := c.Log(first, func(LogRecord) error { return nil }); !errors.As(err, &trimmed) {
			return err
		}
		return nil
	})
	loop(func(int) error {
		last, err := c.LastLSN()
		if err != nil {
			return err
		}
		return c.TrimLog(last)
	})
	loop(func(i int) error {
		gen := uint64(i) + 1
		w, err := c.NewSnapshot(gen)
		if err != nil {
			return err
		}
		defer w.Abort()
		if err := errors.Join(writeSlabs(w, gen, 2000), w.Commit(testHeader(gen, 1))); err != nil {
			return err
		}
		if err := checkSnapshot(c, gen, 1, 2000); err != nil {
			return err
		}
		return c.DropSnapshot(gen)
	})
	loop(func(i int) error {
		if m := s.Metrics(); m.DiskBytes == 0 && s.enter() == nil {
			s.leave()
			return fmt.Errorf("metrics: %+v", m)
		}
		_, err := c.DiskBytes()
		return err
	})
	<-closed
	mustClose(t, s)
	wg.Wait()
	s = mustOpen(t, mem, Options{})
	if last, err := s.Collection(1, 0).LastLSN(); err != nil || last < acked {
		t.Errorf("last LSN %d, acknowledged %d, %v", last, acked, err)
	}
	if got := findingsAfterClose(t, s, mem); strings.Contains(got, "fault") && !strings.Contains(got, "catalog does not know") {
		t.Error(got)
	}
}

func findingsAfterClose(t *testing.T, s *Store, fsys vfs.FS) string {
	t.Helper()
	mustClose(t, s)
	return strings.Join(findings(t, fsys), "\n")
}

// An iteration that its callback outlives Close does not dead-lock: the callback's own calls fail.
func TestCloseDuringIteration(t *testing.T) {
	s := mustOpen(t, vfs.NewMem(), Options{})
	c := s.Collection(1, 0)
	putItems(t, c, 1, "a", "b", "c")
	done := make(chan error, 1)
	n := 0
	for r, err := range c.Items("", 0) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n == 1 {
			started := make(chan struct{})
			go func() { close(started); done <- s.Close() }()
			<-started
			for !errors.Is(s.enterAndLeave(), ErrClosed) {
			}
		}
		if _, err := c.Item(r.ID); !errors.Is(err, ErrClosed) {
			t.Errorf("inside of an iteration over a closing store: %v", err)
		}
	}
	if err := <-done; err != nil || n != 3 {
		t.Fatal(n, err)
	}
}

func (s *Store) enterAndLeave() error {
	if err := s.enter(); err != nil {
		return err
	}
	s.leave()
	return nil
}

func TestBatchMisuse(t *testing.T) {
	s := mustOpen(t, vfs.NewMem(), Options{})
	c := s.Collection(1, 0)
	var v *ValueError
	for name, put := range map[string]func(b *Batch) error{
		"empty id":      func(b *Batch) error { return b.PutItem(ItemRow{LSN: 1}) },
		"long id":       func(b *Batch) error { return b.PutItem(ItemRow{ID: strings.Repeat("x", MaxIDBytes+1), LSN: 1}) },
		"LSN 0":         func(b *Batch) error { return b.PutItem(ItemRow{ID: "a"}) },
		"huge vector":   func(b *Batch) error { return b.PutItem(ItemRow{ID: "a", LSN: 1, Vector: make([]byte, maxRowBytes+1)}) },
		"empty user":    func(b *Batch) error { return b.PutProfile(ProfileRow{LSN: 1}) },
		"delete LSN 0":  func(b *Batch) error { return b.DeleteItem("a", 0) },
		"delete no one": func(b *Batch) error { return b.DeleteProfile("", 1) },
	} {
		b := c.NewBatch()
		if err := put(b); !errors.As(err, &v) {
			t.Errorf("%s: %v", name, err)
		}
		if err := b.Commit(); !errors.As(err, &v) {
			t.Errorf("%s: commit: %v", name, err)
		}
		b.Close()
	}
	b := c.NewBatch()
	if err := b.wait(); err == nil {
		t.Error("Wait before Start")
	}
	if b.Len() != 0 {
		t.Error(b.Len())
	}
	if err := errors.Join(b.PutItem(item("a", 1)), b.DeleteItem("b", 2)); err != nil || b.Len() != 2 || b.Bytes() < 50 {
		t.Fatal(err, b.Len(), b.Bytes())
	}
	if err := errors.Join(b.Commit(), b.wait()); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{b.Commit(), b.PutItem(item("c", 3)), b.DeleteItem("c", 3)} {
		if !errors.Is(err, errBatchUsed) {
			t.Error(err)
		}
	}
	b.Close()
	empty := c.NewBatch()
	if err := errors.Join(empty.Commit(), empty.Close()); err != nil {
		t.Error(err)
	}
	started := c.NewBatch()
	if err := errors.Join(started.PutItem(item("d", 3)), started.start(), started.Close()); err != nil {
		t.Error("Close of a started batch waits for it", err)
	}
	if r, err := c.Item("d"); err != nil || r.LSN != 3 {
		t.Error(r, err)
	}
	huge := c.NewBatch()
	defer huge.Close()
	big := item("big", 4)
	big.Vector = make([]byte, DefaultMemTableBytes)
	big.Vector[len(big.Vector)-1] = 7
	big.Vector = big.Vector[:maxRowBytes]
	if err := errors.Join(huge.PutItem(big), huge.Commit()); err != nil {
		t.Fatal(err)
	}
	if r, err := c.Item("big"); err != nil || len(r.Vector) != maxRowBytes {
		t.Error(len(r.Vector), err)
	}
}

func TestOptionsValidate(t *testing.T) {
	_, err := Open(testDir, Options{FS: vfs.NewMem(), CacheBytes: 1, MemTableBytes: -5})
	if err == nil || !strings.Contains(err.Error(), "CacheBytes") || !strings.Contains(err.Error(), "MemTableBytes") {
		t.Error(err)
	}
}
