package main

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"testing/fstest"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/segue-ann/segue/client"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

func TestContainerMemory(t *testing.T) {
	const v2, v1 = "sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"
	for name, c := range map[string]struct {
		files map[string]string
		want  int64
		ok    bool
	}{
		"v2":           {map[string]string{v2: "4294967296\n"}, 4 << 30, true},
		"v2, no limit": {map[string]string{v2: "max\n"}, 0, false},
		"v1":           {map[string]string{v1: "1073741824\n"}, 1 << 30, true},
		"v1, no limit": {map[string]string{v1: "9223372036854771712\n"}, 0, false},
		"both":         {map[string]string{v2: "1024", v1: "2048"}, 1024, true},
		"nonsense":     {map[string]string{v2: "4G"}, 0, false},
		"zero":         {map[string]string{v2: "0"}, 0, false},
		"no groups":    {nil, 0, false},
	} {
		root := fstest.MapFS{}
		for path, text := range c.files {
			root[path] = &fstest.MapFile{Data: []byte(text)}
		}
		if got, ok := containerMemory(root); ok != c.ok || ok && got != c.want {
			t.Errorf("%s: %d, %v", name, got, ok)
		}
	}
}

func TestAnonymousMemory(t *testing.T) {
	if n, ok := anonymousMemory([]byte("Name:\tsegue\nVmRSS:\t  9 kB\nRssAnon:\t  121644 kB\nRssFile:\t 27528 kB\n")); !ok || n != 121644<<10 {
		t.Errorf("%d, %v", n, ok)
	}
	for _, text := range []string{"", "RssAnon:", "RssAnon:\tmany kB\n", "VmRSS: 1 kB\n"} {
		if n, ok := anonymousMemory([]byte(text)); ok {
			t.Errorf("%q: %d", text, n)
		}
	}
	if runtime.GOOS != "linux" {
		return
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	if n, ok := anonymousMemory(status); !ok || n < 1<<20 || n > 1<<40 {
		t.Errorf("this process: %d, %v", n, ok)
	}
}

// TestGoLimit: heap and index together stay below the container's limit, whatever the index takes.
func TestGoLimit(t *testing.T) {
	for name, c := range map[string]struct{ container, anonymous, held, want int64 }{
		"nothing outside":             {10 << 30, 1 << 30, 1 << 30, 9 << 30},
		"an index":                    {10 << 30, 7 << 30, 1 << 30, 3 << 30},
		"held, but not resident":      {10 << 30, 1 << 30, 2 << 30, 9 << 30},
		"an index as large as it all": {10 << 30, 12 << 30, 1 << 30, 64 << 20},
		"a small server":              {100 << 20, 120 << 20, 10 << 20, 25 << 20},
	} {
		if got := goLimit(c.container, c.anonymous, c.held); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
	if held := goMemory(); held < 1<<20 || held > 1<<40 {
		t.Errorf("the runtime holds %d", held)
	}
}

// TestInUse: what a collection would give back does not count; what the collector is never asked to go below does, so that the limit of
// writes and that of the runtime never add up to more than nine tenths.
func TestInUse(t *testing.T) {
	for name, c := range map[string]struct{ limit, anonymous, held, garbage, want int64 }{
		"no limit":              {0, 3 << 30, 1 << 30, 1 << 29, 3<<30 - 1<<29},
		"much garbage":          {10 << 30, 3 << 30, 2 << 30, 2<<30 - 1<<20, 1<<30 + 64<<20},
		"a small heap":          {100 << 20, 60 << 20, 10 << 20, 0, 50<<20 + 25<<20},
		"held, but not present": {10 << 30, 1 << 30, 2 << 30, 0, 1 << 30},
	} {
		if got := inUse(c.limit, c.anonymous, c.held, c.garbage); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
	for limit := int64(leastMemory); limit < 1<<40; limit += limit / 7 {
		for outside := int64(0); outside < limit; outside += limit / 64 {
			if inUse(limit, outside, 0, 0) <= limit/20*17 && outside+goLimit(limit, outside, 0) > limit/10*9 {
				t.Fatalf("limit %d, %d outside: writes are taken, and the heap may grow to %d", limit, outside, goLimit(limit, outside, 0))
			}
		}
	}
}

// TestServerLeavesTheLimit as it was, and heeds one that somebody set.
func TestServerLeavesTheLimit(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	newMemoryGovernor(1 << 40).govern(slog.New(slog.DiscardHandler))()
	if got := debug.SetMemoryLimit(-1); got != before {
		t.Errorf("%d afterwards, %d before", got, before)
	}
	t.Setenv("GOMEMLIMIT", "1GiB")
	stop := newMemoryGovernor(1 << 40).govern(slog.New(slog.DiscardHandler))
	defer stop()
	if got := debug.SetMemoryLimit(-1); got != before {
		t.Errorf("GOMEMLIMIT is set, and the limit becomes %d", got)
	}
}

// TestGarbageIsNotUsed: what the collector would give back does not count, what lives does.
func TestGarbageIsNotUsed(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("resident memory is read from /proc")
	}
	const size = 64 << 20
	use := func() int64 {
		var g memoryGovernor // without a limit: a floor would hide a small heap
		return int64(g.use().Used)
	}
	touched := func() []byte {
		b := make([]byte, size)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		return b
	}
	runtime.GC()
	before := use()
	live := touched()
	runtime.GC()
	with := use()
	runtime.KeepAlive(live)
	runtime.GC()
	after := use()
	if with < before+size*9/10 || with > before+2*size {
		t.Errorf("%d bytes with %d live ones, %d before", with, size, before)
	}
	if after > before+size/2 {
		t.Errorf("%d bytes after they died, %d before", after, before)
	}
}

// TestMemoryLimitOfAProcess: a server with a memory limit is filled until it refuses. It says so by code, reason and numbers, has
// held less than the limit all the time, has lost nothing that it acknowledged, goes on answering and deleting, and takes writes again
// once there are slots to reuse. After a SIGKILL it opens, at its limit as it is.
func TestMemoryLimitOfAProcess(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("resident memory is read from /proc")
	}
	if os.Getenv("SEGUE_LONG") == "" {
		t.Skip("fills a process with 100 MB: SEGUE_LONG=1 (make faults) runs it")
	}
	const limit, dim, batch = 160 << 20, 4096, 50 // 20 KB an item
	dir := t.TempDir()
	s, err := serveChild(dir, "--memory-limit", fmt.Sprint(limit))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.kill() })
	c := singleTryClient(t, s.addr)
	ctx := t.Context()
	_, err = c.Collections.CreateCollection(ctx, &seguev1.CreateCollectionRequest{Collection: &seguev1.Collection{
		Name: "tracks", Dimension: dim, Metric: seguev1.Metric_METRIC_L2, IndexConfig: &seguev1.IndexConfig{M: 4, EfConstruction: 8},
	}})
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	values, written := make([]float32, dim), 0
	write := func(n int) error {
		req := &seguev1.BatchUpsertItemsRequest{Collection: "tracks"}
		for i := range n {
			for j := range values {
				values[j] = random.Float32()
			}
			req.Items = append(req.Items, &seguev1.Item{Id: fmt.Sprint(written + i), Vector: client.Vector(values)})
		}
		if _, err := c.Items.BatchUpsertItems(ctx, req); err != nil {
			return err
		}
		written += n
		return nil
	}
	most := func(field string) (bytes int64) {
		t.Helper()
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		bytes, ok := anonymousMemory([]byte(strings.ReplaceAll(string(text), field+":", "RssAnon:")))
		if !ok {
			t.Fatalf("no %s in %s", field, text)
		}
		return bytes
	}
	for err = nil; err == nil && written < limit/dim; err = write(batch) {
		if n := most("RssAnon"); n > limit {
			t.Fatalf("%d bytes after %d items", n, written)
		}
	}
	st := status.Convert(err)
	if st.Code() != codes.ResourceExhausted || len(st.Details()) != 1 {
		t.Fatalf("after %d items: %v", written, err)
	}
	info, _ := st.Details()[0].(*errdetails.ErrorInfo)
	if m := info.GetMetadata(); info.GetReason() != "MEMORY_LIMIT" || m["limit_bytes"] != fmt.Sprint(limit/20*17) || m["used_bytes"] == "" || m["need_bytes"] == "" {
		t.Errorf("refused with %v", info)
	}
	t.Logf("%d items; %s; %d bytes resident", written, st.Message(), most("RssAnon"))
	if written < 1000 {
		t.Errorf("only %d items fit", written)
	}
	answers := func() {
		t.Helper()
		answer, err := c.Collections.GetCollection(ctx, &seguev1.GetCollectionRequest{Name: "tracks"})
		if err != nil || answer.GetCollection().GetItemCount() != int64(written) {
			t.Errorf("%d items, %d were acknowledged: %v", answer.GetCollection().GetItemCount(), written, err)
		}
		found, err := c.Retrieval.NearestNeighbors(ctx, &seguev1.NearestNeighborsRequest{Collection: "tracks", NeighborCount: 10,
			Query: &seguev1.Query{Form: &seguev1.Query_ItemId{ItemId: fmt.Sprint(written - 1)}}})
		if err != nil || len(found.GetNeighbors()) != 10 {
			t.Errorf("%d neighbors, %v", len(found.GetNeighbors()), err)
		}
	}
	answers()
	s.kill()
	if s, err = serveChild(dir, "--memory-limit", fmt.Sprint(limit)); err != nil {
		t.Fatal(err)
	}
	c = singleTryClient(t, s.addr)
	answers()
	ids := make([]string, written/2)
	for i := range ids {
		ids[i] = fmt.Sprint(i)
	}
	if _, err := c.Items.BatchDeleteItems(ctx, &seguev1.BatchDeleteItemsRequest{Collection: "tracks", ItemIds: ids}); err != nil {
		t.Errorf("delete: %v", err)
	}
	if err := write(batch); err != nil {
		t.Errorf("upsert into slots that are free: %v", err)
	}
}
