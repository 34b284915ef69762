package storage

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2"
)

var (
	// ErrNotFound is returned for a row, a collection or a snapshot that does not exist.
	ErrNotFound = errors.New("storage: not found")
	// ErrClosed is returned by every call after Close.
	ErrClosed = errors.New("storage: closed")
	// ErrReadOnly is returned by writes to a store opened with Options.ReadOnly.
	ErrReadOnly = errors.New("storage: opened read-only")
	// ErrLocked matches every *LockedError under errors.Is.
	ErrLocked = errors.New("storage: locked by another process")
	// ErrFormat matches every *FormatError under errors.Is.
	ErrFormat = errors.New("storage: unsupported format")
	// ErrNoStore is returned when a directory opened read-only holds no store.
	ErrNoStore = errors.New("storage: no store in this directory")
)

// CorruptionError says which bytes failed a check. File is set where the fault is known by file, Key where it
// is known by row; Section and Slab locate it inside a snapshot.
type CorruptionError struct {
	// File is the path of the damaged file, or empty.
	File string
	// Key is the damaged row in the notation of docs/formats/store.md, such as i/1/0/"track-7", or empty.
	Key string
	// Section and Slab name a slab of a snapshot; Section is empty otherwise.
	Section string
	Slab    int
	// Reason says which check failed.
	Reason string
	// Err is the underlying error, or nil.
	Err error
}

func (e *CorruptionError) Error() string {
	var b strings.Builder
	b.WriteString("storage: corruption")
	if e.File != "" {
		fmt.Fprintf(&b, " in file %s", e.File)
	}
	if e.Key != "" {
		fmt.Fprintf(&b, " at %s", e.Key)
	}
	if e.Section != "" {
		fmt.Fprintf(&b, " (section %s, slab %d)", e.Section, e.Slab)
	}
	b.WriteString(": " + e.problem())
	return b.String()
}

// problem says what is wrong but not where.
func (e *CorruptionError) problem() string {
	switch {
	case e.Err == nil:
		return e.Reason
	case e.Reason == "":
		return e.Err.Error()
	}
	return e.Reason + ": " + e.Err.Error()
}

func (e *CorruptionError) Unwrap() error { return e.Err }

// IsCorruption reports whether err says that stored bytes are damaged or missing. Such an error names what;
// retrying does not help.
func IsCorruption(err error) bool {
	var c *CorruptionError
	return errors.As(err, &c) || pebble.IsCorruptionError(err)
}

// FormatError says that bytes are intact as far as can be told but of a version, or with a flag, that this
// program does not know. The way back is a newer program, or an export by it.
type FormatError struct {
	// What was read: "store", "item row", ...
	What string
	// Where is the directory or the key.
	Where string
	// Found and Newest are the version found and the newest one this program reads. Both are 0 where the
	// fault is not a version number.
	Found, Newest uint32
	// Reason is set where the versions do not say it.
	Reason string
	Err    error
}

func (e *FormatError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "storage: %s at %s: unsupported format", e.What, e.Where)
	if e.Found != 0 || e.Newest != 0 {
		fmt.Fprintf(&b, " version %d, this program reads up to %d", e.Found, e.Newest)
	}
	if e.Reason != "" {
		b.WriteString(": " + e.Reason)
	}
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	return b.String()
}

func (e *FormatError) Unwrap() error { return e.Err }

// Is reports whether target is ErrFormat.
func (e *FormatError) Is(target error) bool { return target == ErrFormat }

// LockedError says that another process, or another Store of this one, has the directory open.
type LockedError struct {
	Dir string
	Err error
}

func (e *LockedError) Error() string {
	return fmt.Sprintf("storage: %s is in use by another process: %v", e.Dir, e.Err)
}

func (e *LockedError) Unwrap() error { return e.Err }

// Is reports whether target is ErrLocked.
func (e *LockedError) Is(target error) bool { return target == ErrLocked }

// LowSpaceError refuses a write because the volume is nearly full. Reads, deletions of whole collections and
// snapshots, and log trims still work; writes are accepted again once space is free.
type LowSpaceError struct {
	Dir string
	// AvailBytes is what the volume had left, NeedBytes the size of the refused write.
	AvailBytes, NeedBytes uint64
	// LowWaterBytes is what must stay free after the write.
	LowWaterBytes uint64
}

func (e *LowSpaceError) Error() string {
	return fmt.Sprintf("storage: %s has %d bytes free; a write of %d bytes must leave %d free",
		e.Dir, e.AvailBytes, e.NeedBytes, e.LowWaterBytes)
}

// LSNError refuses a batch whose LSNs are not the next ones. Nothing was written.
type LSNError struct {
	Collection, Release uint32
	Want, Got           uint64
}

func (e *LSNError) Error() string {
	return fmt.Sprintf("storage: collection %d release %d: LSN %d offered where %d is next",
		e.Collection, e.Release, e.Got, e.Want)
}

// LogTrimmedError says that the log no longer reaches back as far as asked.
type LogTrimmedError struct {
	Collection, Release uint32
	// From is what was asked, First the oldest LSN the log can still serve.
	From, First uint64
}

func (e *LogTrimmedError) Error() string {
	return fmt.Sprintf("storage: collection %d release %d: log starts at LSN %d, %d was asked",
		e.Collection, e.Release, e.First, e.From)
}

// ValueError refuses an argument that the formats cannot hold. Nothing was written.
type ValueError struct {
	Field string
	Rule  string
}

func (e *ValueError) Error() string { return fmt.Sprintf("storage: %s: %s", e.Field, e.Rule) }

// FatalError is what Options.OnFatal receives: the disk failed a write that cannot be retried, or Pebble found
// its own state broken. Nothing is acknowledged after it.
type FatalError struct{ Err error }

func (e *FatalError) Error() string { return fmt.Sprintf("storage: fatal: %v", e.Err) }

func (e *FatalError) Unwrap() error { return e.Err }
