package auth

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// parseWord takes any file that does not begin with "bad".
func parseWord(contents [][]byte) (string, error) {
	if bytes.HasPrefix(contents[0], []byte("bad")) {
		return "", errors.New("bad word")
	}
	return string(contents[0]), nil
}

// TestWatched: whatever happens to a file, its value is that of the last time it was looked at and right, and it is looked at once an
// interval.
func TestWatched(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		path := filepath.Join(dir, "word")
		stamp := time.Unix(1e9, 0)
		put := func(text string) {
			stamp = stamp.Add(time.Second) // a stamp of its own for each content
			if err := errors.Join(os.WriteFile(path, []byte(text), 0o600), os.Chtimes(path, stamp, stamp)); err != nil {
				t.Fatal(err)
			}
		}
		put("first")
		c := newClock()
		w, err := newWatched(quiet, c.now, parseWord, path)
		if err != nil {
			t.Fatal(err)
		}
		there, value := "first", "first" // what the file holds, what should be in force
		lookedAt := c.now()
		t.Repeat(map[string]func(*rapid.T){
			"write": func(t *rapid.T) {
				there = rapid.SampledFrom([]string{"one", "two", "", "bad", "bad too"}).Draw(t, "text")
				put(there)
			},
			"remove": func(t *rapid.T) {
				if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
					t.Fatal(err)
				}
				there = "bad: gone"
			},
			"wait": func(t *rapid.T) {
				c.advance(time.Duration(rapid.IntRange(1, 1500).Draw(t, "ms")) * time.Millisecond)
			},
			"": func(t *rapid.T) {
				if c.now().Sub(lookedAt) >= lookInterval {
					lookedAt = c.now()
					if !strings.HasPrefix(there, "bad") {
						value = there
					}
				}
				if got := *w.get(); got != value {
					t.Fatalf("the value is %q, want %q while the file is %q", got, value, there)
				}
			},
		})
	})
}

// TestWatchedReadsAgain: a file that could not be read is tried again although it looks the same; one that does not parse is not, and
// is complained of once.
func TestWatchedReadsAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "word")
	write(t, path, "first")
	var log bytes.Buffer
	c := newClock()
	w, err := newWatched(slog.New(slog.NewTextHandler(&log, nil)), c.now, parseWord, path)
	if err != nil {
		t.Fatal(err)
	}
	look := func() string {
		c.advance(lookInterval)
		return *w.get()
	}
	// A directory has a size and a time, but cannot be read.
	if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := look(); got != "first" {
		t.Errorf("got %q", got)
	}
	second := strings.Repeat("x", int(info.Size()))
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	write(t, path, second)
	if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if got := look(); got != second {
		t.Errorf("a file that can be read again is not: %.10q", got)
	}
	log.Reset()
	write(t, path, "bad")
	for range 3 {
		if got := look(); got != second {
			t.Errorf("got %q", got)
		}
	}
	if n := strings.Count(log.String(), "level=ERROR"); n != 1 {
		t.Errorf("%d complaints of one bad file:\n%s", n, log.String())
	}
}

// TestWatchedIsBounded: a file too large is refused before it is read, at the start and later.
func TestWatchedIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "word")
	write(t, path, "first")
	c := newClock()
	w, err := newWatched(quiet, c.now, parseWord, path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, maxFileBytes+1); err != nil { // takes no room
		t.Fatal(err)
	}
	c.advance(lookInterval)
	if got := *w.get(); got != "first" {
		t.Errorf("a value of %d bytes", len(got))
	}
	if _, err := newWatched(quiet, c.now, parseWord, path); err == nil || !strings.Contains(err.Error(), "more than the limit") {
		t.Errorf("at the start: %v", err)
	}
	if _, err := newWatched(quiet, c.now, parseWord, path+".none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}
