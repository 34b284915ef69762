package crashfs_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/segue-ann/segue/internal/crashfs"
)

// What locks twice runs beside clones, and all of it ends. With a vfs.MemFS in its place nearly every run of this test stands still.
func TestClonesBesideWhatLocksTwice(t *testing.T) {
	fs := crashfs.New()
	write := func(fs vfs.FS, name, content string) {
		f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Error(err)
			return
		}
		if _, err := f.Write([]byte(content)); err != nil {
			t.Error(err)
		}
		if err := f.Sync(); err != nil {
			t.Error(err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	const users, rounds = 4, 500
	var work sync.WaitGroup
	for u := range users {
		name := func(what string, i int) string { return fmt.Sprintf("%s-%d-%d", what, u, i) }
		write(fs, name("log", 0), "x")
		work.Go(func() {
			for i := range rounds {
				if err := fs.Link(name("log", i), name("link", i)); err != nil {
					t.Error(err)
				}
				f, err := fs.ReuseForWrite(name("log", i), name("log", i+1), vfs.WriteCategoryUnspecified)
				if err != nil {
					t.Error(err)
					return
				}
				if err := f.Close(); err != nil {
					t.Error(err)
				}
				l, err := fs.Lock(name("lock", i))
				if err != nil {
					t.Error(err)
					return
				}
				if err := l.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	ended := make(chan struct{})
	go func() { work.Wait(); close(ended) }()
	for clones := 0; ; clones++ {
		clone := fs.CrashClone(vfs.CrashCloneCfg{})
		names, err := clone.List("")
		if err != nil || len(names) != 0 { // nobody synced the directory
			t.Fatal(names, err)
		}
		select {
		case <-ended:
			t.Log(clones, "clones")
			return
		default:
		}
	}
}

// A clone holds what was synced before it and nothing since, and is a file system of its own.
func TestCrashClone(t *testing.T) {
	fs := crashfs.New()
	f, err := fs.Create("a", vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := fs.OpenDir("")
	if err != nil {
		t.Fatal(err)
	}
	sizes := func(fs *crashfs.FS) (size int64) {
		info, err := fs.Stat("a")
		if err != nil {
			return -1
		}
		return info.Size()
	}
	loss := func(percent int) int64 { return sizes(fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent})) }
	if got := loss(0); got != -1 {
		t.Error("a file that nobody synced:", got)
	}
	if _, err := f.Write([]byte("one")); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := dir.Sync(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write([]byte("two")); err != nil {
		t.Fatal(err)
	}
	if got := loss(0); got != 3 {
		t.Error("after a sync of 3 bytes:", got)
	}
	clone := fs.CrashClone(vfs.CrashCloneCfg{})
	if err := clone.Remove("a"); err != nil {
		t.Fatal(err)
	}
	if sizes(fs) != 6 || sizes(clone) != -1 {
		t.Error(sizes(fs), sizes(clone))
	}
}
