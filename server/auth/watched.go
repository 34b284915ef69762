package auth

import (
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// maxFileBytes bounds every file that is read here.
const maxFileBytes = 16 << 20

// watched is a value made of files, made anew when one of them changes.
type watched[T any] struct {
	paths []string
	parse func(contents [][]byte) (T, error)
	log   *slog.Logger
	now   func() time.Time

	value   atomic.Pointer[T]
	nextAt  atomic.Int64 // unix nanoseconds before which the files are not looked at
	looking sync.Mutex   // guards stamp; whoever holds it looks, others go on with what there is
	stamp   string
}

// lookInterval is how often files are looked at.
const lookInterval = time.Second

// newWatched reads the files, which must be right at the start.
func newWatched[T any](log *slog.Logger, now func() time.Time, parse func([][]byte) (T, error), paths ...string) (*watched[T], error) {
	w := &watched[T]{paths: paths, parse: parse, log: log, now: now}
	if err := w.read(); err != nil {
		return nil, err
	}
	return w, nil
}

// get returns the current value. Cost: a clock and two loads; once a second, a stat of each file.
func (w *watched[T]) get() *T {
	if now := w.now().UnixNano(); now >= w.nextAt.Load() && w.looking.TryLock() {
		defer w.looking.Unlock()
		w.nextAt.Store(now + int64(lookInterval))
		if stamp, err := w.stampNow(); err != nil || stamp != w.stamp {
			if err := w.readLocked(); err != nil {
				w.log.Error("a changed file is not used, what was read before stays in force", "files", w.paths, "err", err)
			} else {
				w.log.Info("read again", "files", w.paths)
			}
		}
	}
	return w.value.Load()
}

func (w *watched[T]) read() error {
	w.looking.Lock()
	defer w.looking.Unlock()
	w.nextAt.Store(w.now().UnixNano() + int64(lookInterval))
	return w.readLocked()
}

func (w *watched[T]) readLocked() error {
	stamp, err := w.stampNow()
	if err != nil {
		return err
	}
	contents := make([][]byte, len(w.paths))
	for i, path := range w.paths {
		if contents[i], err = os.ReadFile(path); err != nil {
			return err
		}
	}
	w.stamp = stamp // a file that does not parse is not tried again until it changes; one that could not be read is
	v, err := w.parse(contents)
	if err != nil {
		return err
	}
	w.value.Store(&v)
	return nil
}

// stampNow names the state of the files by size and time, through symbolic links as Kubernetes mounts them.
func (w *watched[T]) stampNow() (string, error) {
	stamp := ""
	for _, path := range w.paths {
		info, err := os.Stat(path)
		if err != nil {
			return "", err
		}
		if info.Size() > maxFileBytes {
			return "", fmt.Errorf("auth: %s has %d bytes, more than the limit of %d", path, info.Size(), maxFileBytes)
		}
		stamp += fmt.Sprintf("%d %d\n", info.Size(), info.ModTime().UnixNano())
	}
	return stamp, nil
}
