//go:build linux

package mapped_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/segue-ann/segue/internal/mapped"
)

// used returns how many bytes of the disk the only open file without a name in dir takes.
func used(t *testing.T, dir string) int64 {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		path := filepath.Join("/proc/self/fd", fd.Name())
		if to, err := os.Readlink(path); err == nil && filepath.Dir(to) == dir {
			var st unix.Stat_t
			if err := unix.Stat(path, &st); err != nil {
				t.Fatal(err)
			}
			return st.Blocks * 512
		}
	}
	return 0
}

// TestFile: memory in a file is zero, holds what is written, has no name, and takes the disk before it is written to and gives it
// back.
func TestFile(t *testing.T) {
	dir := t.TempDir()
	const size = 1 << 40 // far more than there is
	f, err := mapped.Create(dir, size)
	if err != nil {
		t.Fatal(err)
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 0 {
		t.Errorf("names in the directory: %v, %v", names, err)
	}
	if n := used(t, dir); n != 0 {
		t.Errorf("%d bytes taken before any is asked for", n)
	}
	const some = 5 << 20
	for range 2 {
		if err := f.Back(some); errors.Is(err, mapped.ErrUnsupported) {
			t.Skip("the file system of the temporary directory cannot")
		} else if err != nil {
			t.Fatal(err)
		}
	}
	before := used(t, dir)
	if before < some || before > 128<<20 {
		t.Errorf("%d bytes taken for %d", before, some)
	}
	for i := 0; i < some; i += 4096 {
		if f.Bytes[i] != 0 {
			t.Fatalf("byte %d is %d", i, f.Bytes[i])
		}
		f.Bytes[i] = byte(i >> 12)
	}
	for i := 0; i < some; i += 4096 {
		if f.Bytes[i] != byte(i>>12) {
			t.Fatalf("byte %d is %d", i, f.Bytes[i])
		}
	}
	if after := used(t, dir); after != before {
		t.Errorf("writing took %d bytes more", after-before)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if n := used(t, dir); n != 0 {
		t.Errorf("%d bytes kept after Close", n)
	}
}

func TestCreateRefused(t *testing.T) {
	if _, err := mapped.Create(filepath.Join(t.TempDir(), "none"), 4096); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("in a directory that is not there: %v", err)
	}
	if _, err := mapped.Create(t.TempDir(), 0); !errors.Is(err, unix.EINVAL) {
		t.Errorf("of no bytes: %v", err)
	}
}
