package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sync/errgroup"

	"github.com/segue-ann/segue/storage"
)

// numbers returns the numbers of all backups, in ascending order.
func (t *Target) numbers(ctx context.Context) ([]uint64, error) {
	all, err := t.list(ctx, manifestDir)
	if err != nil {
		return nil, fmt.Errorf("backup: list: %w", err)
	}
	var out []uint64
	for _, o := range all {
		if n, ok := numberOf(o.name); ok && manifestObject(n) == o.name {
			out = append(out, n)
		}
	}
	return out, nil
}

// manifest reads one. ErrNoBackup if there is none of that number.
func (t *Target) manifest(ctx context.Context, n uint64) (*manifest, error) {
	name := manifestObject(n)
	r, err := t.open(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %d", ErrNoBackup, n)
	}
	if err != nil {
		return nil, fmt.Errorf("backup: read %s: %w", name, err)
	}
	data, err := io.ReadAll(io.LimitReader(r, maxManifestBytes+1))
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, fmt.Errorf("backup: read %s: %w", name, err)
	}
	if len(data) > maxManifestBytes {
		return nil, &DamageError{Object: name, Reason: "too large for a manifest"}
	}
	return decodeManifest(name, data)
}

// Entry is a backup in a list. Err is set where its manifest cannot be read; only Number is then known.
type Entry struct {
	Info
	Err error
}

// List returns the backups of the target, oldest first.
func (t *Target) List(ctx context.Context) ([]Entry, error) {
	ns, err := t.numbers(ctx)
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, len(ns))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(t.transfers())
	for i, n := range ns {
		g.Go(func() error {
			entries[i].Number = n
			m, err := t.manifest(ctx, n)
			if err != nil {
				entries[i].Err = err
				return ctx.Err()
			}
			entries[i].Info = m.Info
			return nil
		})
	}
	return entries, g.Wait()
}

// fetch reads a file's object, checks size and checksum, and copies it to w.
func (t *Target) fetch(ctx context.Context, f file, w io.Writer) error {
	r, err := t.open(ctx, f.object())
	if errors.Is(err, fs.ErrNotExist) {
		return &DamageError{Object: f.object(), File: f.Name, Reason: "the object is missing"}
	}
	if err != nil {
		return fmt.Errorf("backup: read %s: %w", f.object(), err)
	}
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(h, w), io.LimitReader(r, f.Size+1))
	if err = errors.Join(err, r.Close()); err != nil {
		return fmt.Errorf("backup: read %s (%s): %w", f.object(), f.Name, err)
	}
	if n != f.Size {
		return &DamageError{Object: f.object(), File: f.Name, Reason: fmt.Sprintf("has not the %d bytes that were sent", f.Size)}
	}
	if hex.EncodeToString(h.Sum(nil)) != f.SHA256 {
		return &DamageError{Object: f.object(), File: f.Name, Reason: "checksum mismatch"}
	}
	return nil
}

// Verify reads every byte of the backups of these numbers, all where there are none, and reports what is damaged or
// missing; a file that several backups share is read once. The error says why it could not be finished.
func (t *Target) Verify(ctx context.Context, numbers []uint64, report func(*DamageError)) error {
	if len(numbers) == 0 {
		var err error
		if numbers, err = t.numbers(ctx); err != nil {
			return err
		}
		if len(numbers) == 0 {
			return ErrNoBackup
		}
	}
	seen := make(map[string]bool)
	var files []file
	for _, n := range numbers {
		m, err := t.manifest(ctx, n)
		var damage *DamageError
		switch {
		case errors.As(err, &damage):
			report(damage)
			continue
		case err != nil:
			return err
		}
		for _, f := range m.Files {
			if !seen[f.object()] {
				seen[f.object()] = true
				files = append(files, f)
			}
		}
	}
	found := make([]*DamageError, len(files))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(t.transfers())
	for i, f := range files {
		g.Go(func() error {
			if err := t.fetch(ctx, f, io.Discard); err != nil && !errors.As(err, &found[i]) {
				return err
			}
			return nil
		})
	}
	err := g.Wait()
	for _, d := range found {
		if d != nil {
			report(d)
		}
	}
	return err
}

// Restore puts the store of a backup, the newest one if number is 0, into dir of fsys (nil is the operating system's), which must be
// missing or empty. Every byte is verified. The store appears as a whole: until then storage.Open refuses the directory, and
// Restore can be called again, which goes on where it was.
//
// Errors: ErrNoBackup, *DamageError, and those of storage.Restore.
func (t *Target) Restore(ctx context.Context, number uint64, fsys vfs.FS, dir string) (info Info, err error) {
	if fsys == nil {
		fsys = vfs.Default
	}
	if number == 0 {
		ns, err := t.numbers(ctx)
		if err != nil {
			return Info{}, err
		}
		if len(ns) == 0 {
			return Info{}, ErrNoBackup
		}
		number = ns[len(ns)-1]
	}
	m, err := t.manifest(ctx, number)
	if err != nil {
		return Info{}, err
	}
	r, err := storage.Restore(fsys, dir)
	if err != nil {
		return Info{}, err
	}
	if err := t.restoreFiles(ctx, m, r, fsys, dir); err != nil {
		return Info{}, errors.Join(err, r.Close())
	}
	return m.Info, r.Finish()
}

func (t *Target) restoreFiles(ctx context.Context, m *manifest, r *storage.Restoration, fsys vfs.FS, dir string) error {
	keep := make(map[string]bool, len(m.Files))
	for _, f := range m.Files {
		keep[f.Name] = true
	}
	if err := r.Keep(keep); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(t.transfers())
	for _, f := range m.Files {
		g.Go(func() error { return t.restoreFile(ctx, f, fsys, fsys.PathJoin(dir, f.Name)) })
	}
	return g.Wait()
}

// restoreFile writes a file, unless it is there already.
func (t *Target) restoreFile(ctx context.Context, f file, fsys vfs.FS, path string) error {
	sum, size, err := sumFile(ctx, fsys, path)
	if err == nil && size == f.Size && sum == f.SHA256 {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	out, err := fsys.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	err = t.fetch(ctx, f, out)
	if err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close(), ctx.Err())
}

// Pruned says what Prune removed.
type Pruned struct {
	// Backups are the numbers of the backups removed, in ascending order.
	Backups []uint64
	// Objects and SizeBytes are the files removed, those of failed attempts included.
	Objects   int
	SizeBytes int64
}

// Prune removes all backups but the newest keep, at least 1, and every file that none of those needs. It can be interrupted and called
// again, and may run while a backup is made. One whose manifest cannot be read keeps everything: the error names it.
func (t *Target) Prune(ctx context.Context, keep int) (p Pruned, err error) {
	if keep < 1 {
		return p, &storage.ValueError{Field: "keep", Rule: fmt.Sprintf("is %d, must be at least 1", keep)}
	}
	ns, err := t.numbers(ctx)
	if err != nil || len(ns) == 0 {
		return p, err
	}
	newest := ns[len(ns)-1]
	cut := max(0, len(ns)-keep)
	needed := make(map[string]bool)
	for _, n := range ns[cut:] {
		m, err := t.manifest(ctx, n)
		if err != nil {
			return p, err
		}
		for _, f := range m.Files {
			needed[f.object()] = true
		}
	}
	// Manifests first: a manifest whose files are gone would be a broken promise.
	for _, n := range ns[:cut] {
		if err := t.remove(ctx, manifestObject(n)); err != nil {
			return p, fmt.Errorf("backup: remove %s: %w", manifestObject(n), err)
		}
		p.Backups = append(p.Backups, n)
	}
	return p, t.sweep(ctx, newest, needed, &p)
}

// sweep removes what nobody needs up to backup newest: files of backups that are gone, and what failed attempts left.
func (t *Target) sweep(ctx context.Context, newest uint64, needed map[string]bool, p *Pruned) error {
	parts, err := t.list(ctx, manifestDir)
	if err != nil {
		return fmt.Errorf("backup: list: %w", err)
	}
	parts = slices.DeleteFunc(parts, func(o object) bool { return !strings.Contains(o.name, partSuffix) })
	files, err := t.list(ctx, filesDir)
	if err != nil {
		return fmt.Errorf("backup: list: %w", err)
	}
	for _, o := range append(parts, files...) {
		if n, ok := numberOf(o.name); !ok || n > newest || needed[o.name] {
			continue
		}
		if err := t.remove(ctx, o.name); err != nil {
			return fmt.Errorf("backup: remove %s: %w", o.name, err)
		}
		p.Objects++
		p.SizeBytes += o.size
	}
	return nil
}
