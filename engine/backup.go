package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/segue-ann/segue/storage/backup"
)

// Backup writes a copy of the whole store, all collections and releases, to a target (see backup.Open): everything that was
// acknowledged before the call, and of each release nothing after one LSN. Reads and writes go on. One at a time: *BusyError,
// also where another process commits to the target meanwhile. Other errors: *backup.TargetError, and corruption of the store, of which no backup is made.
//
// Cost: the store is read once; what the target's newest backup lacks is checked and sent.
func (e *Engine) Backup(ctx context.Context, target string) (info backup.Info, err error) {
	if e.closed.Load() {
		return info, ErrClosed
	}
	if !e.backingUp.CompareAndSwap(false, true) {
		return info, &BusyError{Operation: "backup"}
	}
	defer e.backingUp.Store(false)
	t, err := backup.Open(ctx, target, e.opts.Logger)
	if err != nil {
		return info, err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	dir, remove, err := e.store.Checkpoint()
	if err != nil {
		return info, fmt.Errorf("make a checkpoint: %w", err)
	}
	defer func() { err = errors.Join(err, remove()) }()
	info, err = t.Create(ctx, backup.Source{FS: e.opts.Store.FS, Dir: dir})
	if errors.Is(err, backup.ErrConflict) {
		err = fmt.Errorf("%w: %w", &BusyError{Operation: "another backup into the same target"}, err)
	}
	return info, err
}
