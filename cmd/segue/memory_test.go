package main

import (
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"testing"
	"testing/fstest"
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
		"an index as large as it all": {10 << 30, 12 << 30, 1 << 30, minGoMemory},
	} {
		if got := goLimit(c.container, c.anonymous, c.held); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
	if held := goMemory(); held < 1<<20 || held > 1<<40 {
		t.Errorf("the runtime holds %d", held)
	}
}

// TestServerLeavesTheLimit as it was, and heeds one that somebody set.
func TestServerLeavesTheLimit(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	governMemory(slog.New(slog.DiscardHandler))()
	if got := debug.SetMemoryLimit(-1); got != before {
		t.Errorf("%d afterwards, %d before", got, before)
	}
	t.Setenv("GOMEMLIMIT", "1GiB")
	stop := governMemory(slog.New(slog.DiscardHandler))
	defer stop()
	if got := debug.SetMemoryLimit(-1); got != before {
		t.Errorf("GOMEMLIMIT is set, and the limit becomes %d", got)
	}
}
