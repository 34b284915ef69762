package querylog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/google/go-cmp/cmp"

	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tally counts outcomes.
type tally struct {
	mu     sync.Mutex
	counts map[Outcome]int
}

func (c *tally) count(o Outcome) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts == nil {
		c.counts = map[Outcome]int{}
	}
	c.counts[o]++
}

func (c *tally) of(o Outcome) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counts[o]
}

func open(t *testing.T, o Options) (*Log, *tally) {
	t.Helper()
	c := &tally{}
	if o.Count == nil {
		o.Count = c.count
	}
	if o.Share == 0 {
		o.Share = 1
	}
	o.Logger = slog.New(slog.DiscardHandler)
	l, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l, c
}

func byItem(id string) *seguev1.NearestNeighborsRequest {
	return &seguev1.NearestNeighborsRequest{Collection: "tracks", NeighborCount: 10, Query: &seguev1.Query{Form: &seguev1.Query_ItemId{ItemId: id}}}
}

// readAll reads every file of a directory, oldest first.
func readAll(t *testing.T, dir string) []*seguev1.NearestNeighborsRequest {
	t.Helper()
	names, err := Files(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []*seguev1.NearestNeighborsRequest
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for r := NewReader(bytes.NewReader(b)); ; {
			m, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			out = append(out, m)
		}
	}
	return out
}

// TestRoundTrip: what is offered comes back, in order, over many files.
func TestRoundTrip(t *testing.T) {
	dir := t.TempDir()
	l, c := open(t, Options{Dir: dir, FileBytes: 2 << 10})
	var want []*seguev1.NearestNeighborsRequest
	for i := range 500 {
		req := byItem(fmt.Sprint("item", i))
		req.FilterExpression = strings.Repeat("x", i%100)
		want = append(want, req)
		l.Offer(req, "tracks")
	}
	l.Close()
	if diff := cmp.Diff(want, readAll(t, dir), protocmp.Transform()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	names, err := Files(dir)
	if err != nil || len(names) < 10 || !slices.IsSorted(names) {
		t.Errorf("%d files, %v", len(names), err)
	}
	for _, name := range names {
		if info, err := os.Stat(name); err != nil || info.Size() > 2<<10 || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if c.of(Written) != 500 {
		t.Errorf("%v", c.counts)
	}
	l.Offer(byItem("late"), "tracks")
	if c.of(DroppedQueue) != 1 {
		t.Error("a closed log says nothing of what it drops")
	}
	l.Close()
}

// TestDiskIsBounded: the newest queries are kept, all files together stay within bounds, and files of others stay.
func TestDiskIsBounded(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a [b] *") // a path that is also a pattern
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(dir, "notes.txt")
	if err := os.WriteFile(other, make([]byte, 100<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	const most = 16 << 10
	for run := range 3 { // a restart counts what the run before left
		l, _ := open(t, Options{Dir: dir, FileBytes: 2 << 10, TotalBytes: most})
		for i := range 900 {
			l.Offer(byItem(fmt.Sprintf("item %d %d %s", run, i, strings.Repeat("x", 40))), "tracks")
		}
		l.Close()
		names, err := Files(dir)
		if err != nil {
			t.Fatal(err)
		}
		total := int64(0)
		for _, name := range names {
			info, err := os.Stat(name)
			if err != nil {
				t.Fatal(err)
			}
			total += info.Size()
		}
		if total > most || total < most/2 {
			t.Errorf("run %d: %d bytes in %d files, at most %d are allowed", run, total, len(names), most)
		}
		got := readAll(t, dir)
		for i, m := range got {
			if want := fmt.Sprintf("item %d %d ", run, 900-len(got)+i); !strings.HasPrefix(m.GetQuery().GetItemId(), want) {
				t.Fatalf("run %d: query %d of %d is %q, want %q...", run, i, len(got), m.GetQuery().GetItemId(), want)
			}
		}
	}
	if _, err := os.Stat(other); err != nil {
		t.Error(err)
	}
	// Servers that start and stop without a query leave one file at most.
	empty := t.TempDir()
	for range 5 {
		l, _ := open(t, Options{Dir: empty})
		l.Close()
	}
	if names, err := Files(empty); err != nil || len(names) != 1 {
		t.Errorf("%d files of nothing, %v", len(names), err)
	}
}

// TestNothingWaits: while nothing can be written, offers return, and every query is accounted for.
func TestNothingWaits(t *testing.T) {
	release, c := make(chan struct{}), &tally{}
	l, _ := open(t, Options{Dir: t.TempDir(), Count: func(o Outcome) {
		if o == Written {
			<-release
		}
		c.count(o)
	}})
	const goroutines, each = 8, 400
	var group sync.WaitGroup
	for range goroutines {
		group.Go(func() {
			for i := range each {
				l.Offer(byItem(fmt.Sprint(i)), "tracks")
			}
		})
	}
	group.Wait() // would not end if an offer waited
	dropped := c.of(DroppedQueue)
	if dropped < goroutines*each-queueLength-1 {
		t.Errorf("%d of %d were dropped", dropped, goroutines*each)
	}
	// Many bytes count as many queries do.
	big := byItem(strings.Repeat("x", queueBytes))
	l.Offer(big, "tracks")
	if c.of(DroppedQueue) != dropped+1 {
		t.Error("a query as large as the queue was taken")
	}
	close(release)
	l.Close()
	if got := c.of(Written) + c.of(DroppedQueue); got != goroutines*each+1 || l.queued.Load() != 0 {
		t.Errorf("%d of %d queries are accounted for, %d bytes left", got, goroutines*each+1, l.queued.Load())
	}
}

func TestShare(t *testing.T) {
	l, c := open(t, Options{Dir: t.TempDir(), Share: 0.1})
	page := byItem("a")
	page.PageToken = "x" // withheld: costs no disk
	const n = 20_000
	for range n {
		l.Offer(page, "tracks")
	}
	if got := float64(c.of(Withheld)) / n; got < 0.085 || got > 0.115 { // 7 standard errors
		t.Errorf("share %v", got)
	}
	var off *Log
	if n := testing.AllocsPerRun(100, func() { off.Offer(page, "tracks") }); n > 0 {
		t.Errorf("off: %v allocations", n)
	}
	off.Close()
}

func TestTooBig(t *testing.T) {
	dir := t.TempDir()
	l, c := open(t, Options{Dir: dir, FileBytes: 1 << 10})
	l.Offer(byItem(strings.Repeat("x", 2<<10)), "tracks")
	l.Offer(byItem("a"), "tracks")
	l.Close()
	if got := readAll(t, dir); c.of(DroppedTooBig) != 1 || len(got) != 1 {
		t.Errorf("%v, %d queries", c.counts, len(got))
	}
}

// TestDiskErrors: a directory that goes away costs queries and nothing else, and writing goes on when it is back.
func TestDiskErrors(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	w := &writer{dir: dir, fileBytes: 1 << 10, totalBytes: 4 << 10}
	record, err := proto.Marshal(byItem("a"))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.write(record, true); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	failed := false
	for range 200 { // beyond the end of the file
		failed = w.write(record, true) != nil || failed
	}
	if !failed {
		t.Error("writing into a directory that is gone succeeded")
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.write(record, true), w.end()); err != nil {
		t.Error(err)
	}
	if got := readAll(t, dir); len(got) != 1 {
		t.Errorf("%d queries", len(got))
	}
	// A file that fails in the middle is left, and another begun.
	if err := w.write(record, false); err != nil {
		t.Fatal(err)
	}
	if err := w.file.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.write(record, true); err == nil {
		t.Error("writing to a closed file succeeded")
	}
	if err := errors.Join(w.write(record, true), w.end()); err != nil {
		t.Error(err)
	}
	l, c := open(t, Options{Dir: dir, FileBytes: 1 << 10, TotalBytes: 1 << 20})
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	for range 300 {
		l.Offer(byItem("a"), "tracks")
	}
	l.Close()
	if c.of(DroppedDisk) == 0 || c.of(Written)+c.of(DroppedDisk) != 300 {
		t.Errorf("%v", c.counts)
	}
}

func TestOptions(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for want, o := range map[string]Options{
		"Dir":        {Share: 1},
		"Share":      {Dir: "x", Share: 1.5},
		"FileBytes":  {Dir: "x", Share: 1, FileBytes: 10},
		"TotalBytes": {Dir: "x", Share: 1, FileBytes: 1 << 20, TotalBytes: 1 << 20},
		"directory":  {Dir: file, Share: 1},
	} {
		if l, err := Open(o); err == nil || !strings.Contains(err.Error(), want) {
			l.Close()
			t.Errorf("%s: %v", want, err)
		}
	}
	if err := (Options{Share: 2, FileBytes: 1}).Validate(); err == nil || strings.Count(err.Error(), "\n") != 3 {
		t.Errorf("not every field is reported: %v", err)
	}
}
