package storage

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"testing"
)

// crashDirEnv makes the test binary a writer that TestProcessCrash kills.
const crashDirEnv = "SEGUE_STORAGE_CRASH_DIR"

// TestMain is the entry of both the tests and the writer.
func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDirEnv); dir != "" {
		fmt.Fprintln(os.Stderr, crashWriter(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// crashWriter writes until it is killed, and prints each LSN once it is acknowledged. LSN x writes item t(x mod 50).
func crashWriter(dir string) error {
	s, err := Open(dir, Options{MemTableBytes: 64 << 10, LowWaterBytes: -1})
	if err != nil {
		return err
	}
	c := s.Collection(1, 0)
	last, err := c.LastLSN()
	if err != nil {
		return err
	}
	if last == 0 {
		if err := s.PutCollection(CollectionRow{ID: 1, Name: "tracks"}); err != nil {
			return err
		}
	}
	fmt.Println(last)
	for gen := last + 1; ; gen++ {
		for range 20 {
			b := c.NewBatch()
			for range 3 {
				last++
				if err := b.PutItem(item(fmt.Sprint("t", last%50), last)); err != nil {
					return err
				}
			}
			if err := errors.Join(b.Commit(), b.Close()); err != nil {
				return err
			}
			fmt.Println(last)
		}
		if err := writeSnapshot(c, gen, last, 5000); err != nil {
			return err
		}
		if err := c.DropSnapshot(gen); err != nil {
			return err
		}
	}
}

// A writing process is killed with SIGKILL, again and again, on the real file system. While it runs nobody else
// can open the store; after its death Check finds no fault, and what it printed as acknowledged is there.
func TestProcessCrash(t *testing.T) {
	dir := t.TempDir() + "/store"
	for round := range int(seeds(4, 40)) {
		acked := runAndKill(t, dir, 1+round*17%70)
		if err := Check(dir, Options{}, func(f Finding) {
			if f.Severity == Fault {
				t.Errorf("round %d: %v", round, f)
			}
		}); err != nil {
			t.Fatal(err)
		}
		s, err := Open(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		last, err := s.Collection(1, 0).LastLSN()
		if err != nil || last < acked || last%3 != 0 {
			t.Errorf("round %d: last LSN %d, acknowledged %d, %v", round, last, acked, err)
		}
		for r, err := range s.Collection(1, 0).Items("", 0) {
			if err != nil {
				t.Fatal(err)
			}
			if r.LSN+50 <= last || r.ID != fmt.Sprint("t", r.LSN%50) {
				t.Errorf("round %d: item %s has LSN %d of %d", round, r.ID, r.LSN, last)
			}
		}
		if err := errors.Join(leftovers(s), s.Close()); err != nil {
			t.Error(err)
		}
	}
}

// runAndKill starts a writer, kills it after n acknowledged batches and returns the last LSN it printed.
func runAndKill(t *testing.T, dir string, n int) (acked uint64) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crashDirEnv+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for i := 0; lines.Scan(); i++ {
		if acked, err = strconv.ParseUint(lines.Text(), 10, 64); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			if _, err := Open(dir, Options{}); !errors.Is(err, ErrLocked) {
				t.Errorf("a second process opened the store: %v", err)
			}
		}
		if i == n {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil {
		t.Fatal("the writer ended by itself")
	}
	return acked
}
