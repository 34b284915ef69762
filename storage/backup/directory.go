package backup

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// directory keeps objects as files. gocloud's own driver for directories does not sync, so that a power loss can keep
// a manifest and lose what it names.
type directory struct {
	fs   vfs.FS
	root string
}

// partSuffix is in the name of a file that is not an object yet.
const partSuffix = ".part-"

func (d *directory) path(name string) string {
	return d.fs.PathJoin(append([]string{d.root}, strings.Split(name, "/")...)...)
}

// list implements objects. Parts are listed, so that they can be removed.
func (d *directory) list(_ context.Context, prefix string) ([]object, error) {
	var all []object
	dir, _ := splitLast(prefix)
	if err := d.walk(dir, prefix, &all); err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b object) int { return strings.Compare(a.name, b.name) })
	return all, nil
}

// walk appends the files below dir, "" for the root, whose name starts with prefix.
func (d *directory) walk(dir, prefix string, all *[]object) error {
	names, err := d.fs.List(d.path(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, base := range names {
		name := base
		if dir != "" {
			name = dir + "/" + base
		}
		info, err := d.fs.Stat(d.path(name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return err
		}
		switch {
		case info.IsDir():
			if err := d.walk(name, prefix, all); err != nil {
				return err
			}
		case strings.HasPrefix(name, prefix):
			*all = append(*all, object{name, info.Size()})
		}
	}
	return nil
}

// splitLast cuts a name at its last slash.
func splitLast(name string) (dir, base string) {
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		return name[:i], name[i+1:]
	}
	return "", name
}

func (d *directory) open(_ context.Context, name string) (io.ReadCloser, error) {
	return d.fs.Open(d.path(name), vfs.SequentialReadsOption)
}

func (d *directory) create(ctx context.Context, name string, exclusive bool, write func(io.Writer) error) (err error) {
	path := d.path(name)
	dir := d.fs.PathDir(path)
	if err := makeDir(d.fs, dir); err != nil {
		return err
	}
	part := path + partSuffix + rand.Text()[:8]
	f, err := d.fs.Create(part, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, ignoreMissing(d.fs.Remove(part)))
		}
	}()
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close(), ctx.Err()); err != nil {
		return err
	}
	if !exclusive {
		if err := d.fs.Rename(part, path); err != nil {
			return err
		}
		return syncDir(d.fs, dir)
	}
	if err := d.fs.Link(part, path); err != nil { // unlike a rename it does not replace
		return err
	}
	if err := syncDir(d.fs, dir); err != nil {
		return err
	}
	// It is there; the part is garbage, which Prune removes too.
	return ignoreMissing(d.fs.Remove(part))
}

func (d *directory) remove(_ context.Context, name string) error {
	return ignoreMissing(d.fs.Remove(d.path(name)))
}

// transfers is 1: a disk gains nothing by more.
func (d *directory) transfers() int { return 1 }

func (d *directory) Close() error { return nil }

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func syncDir(fsys vfs.FS, dir string) error {
	f, err := fsys.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// makeDir makes dir and its missing parents, durably.
func makeDir(fsys vfs.FS, dir string) error {
	if _, err := fsys.Stat(dir); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := fsys.PathDir(dir)
	if parent == dir {
		return nil
	}
	if err := makeDir(fsys, parent); err != nil {
		return err
	}
	if err := fsys.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return syncDir(fsys, parent)
}
