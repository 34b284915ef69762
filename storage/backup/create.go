package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sync/errgroup"

	"github.com/segue-ann/segue/storage"
)

// Source is a store that nobody writes to: a checkpoint, or one that no server has open.
type Source struct {
	// FS is the file system that holds it; nil is the operating system's.
	FS  vfs.FS
	Dir string
}

// Create backs up a store. It reads all of it, and sends the files that the newest backup does not have. A table is
// checked, block by block, before it is sent, and the store is opened to see that it can be: what is damaged already is not
// backed up as if it were whole.
//
// Errors: ErrConflict, *storage.CorruptionError and others of storage.Open, and what the target says. After an error the
// target has no new backup; what was sent is used by the next one.
func (t *Target) Create(ctx context.Context, src Source) (info Info, err error) {
	if src.FS == nil {
		src.FS = vfs.Default
	}
	begun := time.Now().UTC().Truncate(time.Second)
	// Open until the end: it holds the directory's lock.
	store, err := storage.Open(src.Dir, storage.Options{FS: src.FS, ReadOnly: true, CacheBytes: 8 << 20, Logger: t.log})
	if err != nil {
		return Info{}, fmt.Errorf("backup: %w", err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	positions, err := store.Positions()
	if err != nil {
		return Info{}, fmt.Errorf("backup: %w", err)
	}
	c := &creation{Target: t, src: src, m: manifest{Info: Info{Number: 1, CreateTime: begun}}}
	for _, p := range positions {
		c.m.Positions = append(c.m.Positions, Position{Collection: p.Name, Release: p.Release, LSN: p.LSN})
	}
	if err := c.findSent(ctx); err != nil {
		return Info{}, err
	}
	names, err := store.Files()
	if err != nil {
		return Info{}, fmt.Errorf("backup: %w", err)
	}
	if err := c.send(ctx, names); err != nil {
		return Info{}, err
	}
	return c.commit(ctx)
}

// creation is one backup being made.
type creation struct {
	*Target
	src Source
	m   manifest
	// sent are files that need not be sent, by checksum.
	sent map[string]file
}

// findSent sets the number of the backup, and finds what the target has: files of the newest backup, and those that failed
// attempts at this number sent.
func (c *creation) findSent(ctx context.Context) error {
	c.sent = make(map[string]file)
	ns, err := c.numbers(ctx)
	if err != nil {
		return err
	}
	stored, err := c.list(ctx, filesDir)
	if err != nil {
		return fmt.Errorf("backup: list: %w", err)
	}
	sizes := make(map[string]int64, len(stored))
	for _, o := range stored {
		sizes[o.name] = o.size
	}
	if len(ns) > 0 {
		newest := ns[len(ns)-1]
		c.m.Number = newest + 1
		m, err := c.manifest(ctx, newest)
		var damage *DamageError
		switch {
		case errors.As(err, &damage):
			c.log.Warn("backup: the newest backup is damaged, so everything is sent anew", "err", err)
			m = &manifest{}
		case err != nil:
			return err
		}
		for _, f := range m.Files {
			if size, ok := sizes[f.object()]; ok && size == f.Size {
				c.sent[f.SHA256] = f
			} else {
				c.log.Warn("backup: a file of the newest backup is missing or cut short, and is sent anew", "backup", newest, "object", f.object(), "file", f.Name)
			}
		}
	}
	for name, size := range sizes {
		_, sum := splitLast(name)
		if n, ok := numberOf(name); ok && n == c.m.Number && hexSum.MatchString(sum) {
			c.sent[sum] = file{Size: size, SHA256: sum, Backup: n}
		}
	}
	return nil
}

// send sends the files that are not there.
func (c *creation) send(ctx context.Context, names []string) error {
	g, sending := errgroup.WithContext(ctx)
	g.SetLimit(c.transfers())
	for _, name := range names {
		if sending.Err() != nil {
			break
		}
		sum, size, err := sumFile(ctx, c.src.FS, c.src.FS.PathJoin(c.src.Dir, name))
		if err != nil {
			return errors.Join(fmt.Errorf("backup: read %s: %w", name, err), g.Wait())
		}
		f := file{Name: name, Size: size, SHA256: sum, Backup: c.m.Number}
		if have, ok := c.sent[f.SHA256]; ok && have.Size == f.Size {
			f.Backup = have.Backup
		} else {
			c.sent[f.SHA256] = f
			c.m.SentBytes += f.Size
			g.Go(func() error { return c.sendFile(sending, f) })
		}
		c.m.Files = append(c.m.Files, f)
		c.m.SizeBytes += f.Size
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}

func (c *creation) sendFile(ctx context.Context, f file) error {
	path := c.src.FS.PathJoin(c.src.Dir, f.Name)
	if err := storage.CheckFile(c.src.FS, path); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	err := c.create(ctx, f.object(), false, func(w io.Writer) error {
		h := sha256.New()
		if _, err := copyFile(ctx, io.MultiWriter(h, w), c.src.FS, path); err != nil {
			return err
		}
		if hex.EncodeToString(h.Sum(nil)) != f.SHA256 {
			return &storage.CorruptionError{File: path, Reason: "two reads of the file differ"}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("backup: send %s: %w", f.Name, err)
	}
	return nil
}

// commit writes the manifest.
func (c *creation) commit(ctx context.Context) (Info, error) {
	data, err := c.m.encode()
	if err != nil {
		return Info{}, err
	}
	err = c.create(ctx, manifestObject(c.m.Number), true, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
	if errors.Is(err, fs.ErrExist) {
		return Info{}, fmt.Errorf("%w: it is number %d", ErrConflict, c.m.Number)
	}
	if err != nil {
		return Info{}, fmt.Errorf("backup: commit: %w", err)
	}
	c.m.Info.Files = len(c.m.Files)
	return c.m.Info, nil
}

// sumFile returns the SHA-256 of a file, in hex, and its size.
func sumFile(ctx context.Context, fsys vfs.FS, path string) (sum string, size int64, err error) {
	h := sha256.New()
	size, err = copyFile(ctx, h, fsys, path)
	return hex.EncodeToString(h.Sum(nil)), size, err
}

// copyFile copies a file, until ctx ends.
func copyFile(ctx context.Context, w io.Writer, fsys vfs.FS, path string) (int64, error) {
	f, err := fsys.Open(path, vfs.SequentialReadsOption)
	if err != nil {
		return 0, err
	}
	// Not io.Copy, which would hand the file to a destination that reads it without looking at ctx.
	buf := make([]byte, 256<<10)
	var total int64
	for err == nil {
		if err = ctx.Err(); err != nil {
			break
		}
		var n int
		n, err = f.Read(buf)
		total += int64(n)
		if n > 0 {
			if _, werr := w.Write(buf[:n]); werr != nil {
				err = werr
			}
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return total, errors.Join(err, f.Close())
}
