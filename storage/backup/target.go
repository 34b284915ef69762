package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
	"gocloud.dev/blob"
)

// object is a stored object as a listing shows it.
type object struct {
	name string
	size int64
}

// objects is what a target needs of the place where it keeps its objects. Names are paths with slashes.
type objects interface {
	// list returns all objects whose name starts with prefix, in ascending order of name.
	list(ctx context.Context, prefix string) ([]object, error)
	// open reads an object. A missing one is fs.ErrNotExist.
	open(ctx context.Context, name string) (io.ReadCloser, error)
	// create makes an object of what write writes. It appears as a whole and is durable on return, or, after an error,
	// not at all. One that exists is replaced, unless exclusive: then the error is fs.ErrExist.
	create(ctx context.Context, name string, exclusive bool, write func(io.Writer) error) error
	// remove removes an object; a missing one is no error.
	remove(ctx context.Context, name string) error
	// transfers says how many objects to move at a time.
	transfers() int
	Close() error
}

// Target is a place where backups are kept. Safe for concurrent use.
type Target struct {
	objects
	log *slog.Logger
}

// Open opens a target: a directory, by its path or as file:///path, or an object store by a URL whose scheme a driver of
// gocloud.dev/blob has registered. Nothing is read yet. logger may be nil.
func Open(ctx context.Context, target string, logger *slog.Logger) (*Target, error) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	if !strings.Contains(target, "://") {
		if target == "" {
			return nil, &TargetError{Target: target, Rule: "must be a directory or a URL"}
		}
		return &Target{objects: &directory{fs: vfs.Default, root: target}, log: logger}, nil
	}
	u, err := url.Parse(target)
	if err != nil {
		return nil, &TargetError{Target: target, Rule: "must be a directory or a URL", Err: err}
	}
	if u.Scheme == "file" {
		if u.Host != "" || u.Path == "" || u.RawQuery != "" {
			return nil, &TargetError{Target: target, Rule: "must be of the form file:///path"}
		}
		return &Target{objects: &directory{fs: vfs.Default, root: u.Path}, log: logger}, nil
	}
	if mux := blob.DefaultURLMux(); !mux.ValidBucketScheme(u.Scheme) {
		return nil, &TargetError{Target: target, Rule: fmt.Sprintf("scheme %q is none of file, %s", u.Scheme, strings.Join(mux.BucketSchemes(), ", "))}
	}
	b, err := blob.OpenBucket(ctx, target)
	if err != nil {
		return nil, &TargetError{Target: target, Rule: "cannot be opened", Err: err}
	}
	return &Target{objects: &bucket{b}, log: logger}, nil
}

// TargetError says why a target cannot be used.
type TargetError struct {
	Target string
	Rule   string
	Err    error
}

func (e *TargetError) Error() string {
	s := fmt.Sprintf("backup: target %q %s", e.Target, e.Rule)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *TargetError) Unwrap() error { return e.Err }

var (
	// ErrNoBackup is returned where a target has no backup, or not the one asked for.
	ErrNoBackup = errors.New("backup: no such backup")
	// ErrConflict is returned by Create when another backup was committed to the target meanwhile.
	ErrConflict = errors.New("backup: another backup was made into this target meanwhile")
)

// DamageError says which object of a target is not what it should be.
type DamageError struct {
	// Object is its name in the target; File what it is in the store, empty for a manifest.
	Object, File string
	Reason       string
	Err          error
}

func (e *DamageError) Error() string {
	s := "backup: " + e.Object
	if e.File != "" {
		s += " (" + e.File + ")"
	}
	s += ": " + e.Reason
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *DamageError) Unwrap() error { return e.Err }
