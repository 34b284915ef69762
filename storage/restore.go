package storage

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// restoreMark is the file that says that a store is being put into its directory from elsewhere. While it is there, Open
// refuses the directory.
const restoreMark = "RESTORING"

// IncompleteRestoreError says that a restore into the directory began and did not end. It can be run again; what it
// has put there already is not fetched again.
type IncompleteRestoreError struct{ Dir string }

func (e *IncompleteRestoreError) Error() string {
	return fmt.Sprintf("storage: a restore into %s did not finish: run it again, or empty the directory", e.Dir)
}

// NotEmptyError refuses to restore into a directory that holds something.
type NotEmptyError struct{ Dir, Name string }

func (e *NotEmptyError) Error() string {
	return fmt.Sprintf("storage: %s is not empty, it holds %q: restore into a new directory", e.Dir, e.Name)
}

// Restoration fills a directory with the files of a store. Until Finish, Open refuses the directory, whatever happens;
// after it, the store is there as a whole. For one goroutine at a time.
type Restoration struct {
	fs   vfs.FS
	dir  string
	lock interface{ Close() error }
}

// Restore begins to restore into dir, which must be missing or empty, but for what an interrupted restore left. It holds the
// directory's LOCK until Finish or Close. Errors: *NotEmptyError, *LockedError, or the file system's.
func Restore(fsys vfs.FS, dir string) (_ *Restoration, err error) {
	if fsys == nil {
		fsys = vfs.Default
	}
	if err := makeDir(fsys, dir); err != nil {
		return nil, err
	}
	mark := fsys.PathJoin(dir, restoreMark)
	_, err = fsys.Stat(mark)
	again := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if !again {
		names, err := fsys.List(dir)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			// A new ext4 volume has the one, an attempt that ended before its mark the other.
			if name != "lost+found" && name != lockName {
				return nil, &NotEmptyError{Dir: dir, Name: name}
			}
		}
	}
	r := &Restoration{fs: fsys, dir: dir}
	if r.lock, err = fsys.Lock(fsys.PathJoin(dir, lockName)); err != nil {
		return nil, &LockedError{Dir: dir, Err: err}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.lock.Close())
		}
	}()
	if again {
		return r, nil
	}
	f, err := fsys.Create(mark, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return nil, err
	}
	return r, syncDir(fsys, dir)
}

// Keep removes what an earlier attempt left beside the files named.
func (r *Restoration) Keep(names map[string]bool) error {
	list, err := r.fs.List(r.dir)
	if err != nil {
		return err
	}
	for _, name := range list {
		if names[name] || name == restoreMark || name == lockName || name == "lost+found" {
			continue
		}
		if err := r.fs.RemoveAll(r.fs.PathJoin(r.dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// Finish makes the store appear: everything is durable before it does.
func (r *Restoration) Finish() error {
	if err := syncDir(r.fs, r.dir); err != nil {
		return errors.Join(err, r.Close())
	}
	if err := r.fs.Remove(r.fs.PathJoin(r.dir, restoreMark)); err != nil {
		return errors.Join(err, r.Close())
	}
	return errors.Join(syncDir(r.fs, r.dir), r.Close())
}

// Close leaves the directory as it is.
func (r *Restoration) Close() error { return r.lock.Close() }

// checkRestored refuses a directory into which a restore did not finish.
func checkRestored(fsys vfs.FS, dir string) error {
	switch _, err := fsys.Stat(fsys.PathJoin(dir, restoreMark)); {
	case err == nil:
		return &IncompleteRestoreError{Dir: dir}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	return nil
}
