package storage

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// fullVolumeEnv makes TestFullVolume the process that runs on the volume.
const fullVolumeEnv = "SEGUE_FULL_VOLUME_DIR"

// A volume of 24 MiB, a real one, fills up: with the store's own writes, and then to the last byte by somebody else. Writes are refused with the
// numbers before the write-ahead log meets the end; reads go on; what was acknowledged is there, also after a restart on the full volume
// read-only; and once there is space writes are taken again. The volume is a tmpfs in a mount namespace of the test's own.
func TestFullVolume(t *testing.T) {
	if dir := os.Getenv(fullVolumeEnv); dir != "" {
		onFullVolume(t, dir)
		return
	}
	dir := t.TempDir()
	mount := exec.Command("unshare", "--user", "--map-root-user", "--mount", "sh", "-c",
		`mount -t tmpfs -o size=24m segue "$1" && shift && exec "$@"`, "sh", dir, os.Args[0],
		"-test.run", "^TestFullVolume$", "-test.v", "-test.timeout", "2m")
	mount.Env = append(os.Environ(), fullVolumeEnv+"="+dir)
	out, err := mount.CombinedOutput()
	if !bytes.Contains(out, []byte("TestFullVolume")) {
		t.Skipf("no tmpfs can be mounted here: %v, %s", err, out)
	}
	if err != nil || !bytes.Contains(out, []byte("--- PASS: TestFullVolume")) {
		t.Errorf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

func onFullVolume(t *testing.T, volume string) {
	dir := filepath.Join(volume, "store")
	o := Options{MemTableBytes: 256 << 10, CacheBytes: 1 << 20, LowWaterBytes: 4 << 20, OnFatal: func(err error) { t.Errorf("fatal: %v", err) }}
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	c := s.Collection(1, 0)
	acked := uint64(0)
	write := func() error {
		b := c.NewBatch()
		defer b.Close()
		it := item(fmt.Sprintf("t%d", acked+1), acked+1)
		it.Attributes = slabBytes(acked, "noise", 0, 16<<10)
		if err := errors.Join(b.PutItem(it), b.Commit()); err != nil {
			return err
		}
		acked++
		return nil
	}
	fill := func() {
		t.Helper()
		var low *LowSpaceError
		for {
			if err := write(); errors.As(err, &low) {
				if low.LowWaterBytes != 4<<20 || low.AvailBytes > 5<<20 || low.Dir != dir {
					t.Errorf("%+v", low)
				}
				return
			} else if err != nil {
				t.Fatal(err)
			}
			if acked > 100_000 {
				t.Fatal("the volume does not fill up")
			}
		}
	}
	check := func(c *Collection, when string) {
		t.Helper()
		n := uint64(0)
		for _, err := range c.Items("", 0) {
			if err != nil {
				t.Fatalf("%s: %v", when, err)
			}
			n++
		}
		if n != acked {
			t.Errorf("%s: %d items, %d were acknowledged", when, n, acked)
		}
	}
	fill()
	if acked < 200 {
		t.Errorf("full after %d writes", acked)
	}
	check(c, "refused")

	// What the store has begun it ends; below the mark it has room for that. What it would begin with nothing left ends the process, by intent.
	for idle := false; !idle; runtime.Gosched() {
		m := s.db.Metrics()
		idle = !s.sealer.armed.Load() && m.Compact.NumInProgress == 0 && m.Flush.NumInProgress == 0
	}
	ballast := filepath.Join(volume, "ballast")
	f, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	for chunk := make([]byte, 4096); err == nil; {
		_, err = f.Write(chunk)
	}
	f.Close()
	var low *LowSpaceError
	if err := write(); !errors.As(err, &low) || low.AvailBytes > 64<<10 {
		t.Errorf("on a volume with nothing left: %v", err)
	}
	if _, _, err := s.Checkpoint(); !errors.As(err, &low) {
		t.Errorf("a checkpoint on a volume with nothing left: %v", err)
	}
	check(c, "nothing left")
	reader, err := c.Item("t1")
	if err != nil || reader.LSN != 1 {
		t.Errorf("a read with nothing left: %v, %v", reader.LSN, err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	before := acked
	fill() // what the store itself keeps below the low-water mark is for compactions
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d writes before the volume was full, %d after the ballast was gone", before, acked-before)
	if s, err = Open(dir, o); err != nil {
		t.Fatal(err)
	}
	check(s.Collection(1, 0), "after a restart")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
