package storage

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
)

// fatality is the store's one-way switch to "nothing may be acknowledged any more".
type fatality struct {
	log *slog.Logger
	on  func(error)

	once sync.Once
	done chan struct{} // closed once err is set
	err  *FatalError
}

func newFatality(o Options) *fatality {
	return &fatality{log: o.Logger, on: o.OnFatal, done: make(chan struct{})}
}

// fail never returns. Pebble relies on that: its Fatalf callers go on as if the write had succeeded.
func (f *fatality) fail(err error) {
	f.once.Do(func() {
		f.err = &FatalError{Err: err}
		close(f.done)
		f.log.Error("storage: fatal", "err", err)
		if f.on == nil {
			os.Exit(ExitFatal)
		}
		f.on(f.err)
	})
	select {}
}

// check returns the FatalError if there was one.
func (f *fatality) check() error {
	select {
	case <-f.done:
		return f.err
	default:
		return nil
	}
}

// guard turns a panic of Pebble's commit path, which is how it reports some write-ahead log errors, into fail.
// To be deferred.
func (f *fatality) guard() {
	if r := recover(); r != nil {
		f.fail(fmt.Errorf("panic in the storage engine: %v", r))
	}
}

// pebbleLogger adapts slog to Pebble.
type pebbleLogger struct {
	log   *slog.Logger
	fatal *fatality
}

func (l pebbleLogger) Infof(format string, args ...interface{}) {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		l.log.Debug("pebble: " + fmt.Sprintf(format, args...))
	}
}

func (l pebbleLogger) Errorf(format string, args ...interface{}) {
	l.log.Error("pebble: " + fmt.Sprintf(format, args...))
}

// Fatalf never returns.
func (l pebbleLogger) Fatalf(format string, args ...interface{}) {
	l.fatal.fail(fmt.Errorf(format, args...))
}
