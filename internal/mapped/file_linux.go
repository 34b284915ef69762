package mapped

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// backStep is how much more of the disk is taken at a time.
const backStep = 64 << 20

// File is zero memory in a file without a name. Bytes may be used by many goroutines; Back and Close by one at a time.
type File struct {
	// Bytes are the memory, aligned to pages. Only what Back was called for may be written to.
	Bytes  []byte
	file   *os.File
	backed int64
}

// Create maps size bytes, positive, of a new file in dir, on whose disk they will lie. None is taken yet. Errors: ErrUnsupported, those of
// the file system. Cost: address space.
func Create(dir string, size int64) (*File, error) {
	f, err := os.CreateTemp(dir, "vectors-*.tmp")
	if err != nil {
		return nil, fmt.Errorf("create scratch file: %w", err)
	}
	fail := func(what string, err error) (*File, error) {
		return nil, errors.Join(fmt.Errorf("%s scratch file of %d bytes: %w", what, size, err), f.Close())
	}
	if err := os.Remove(f.Name()); err != nil {
		return fail("remove the name of", err)
	}
	if err := f.Truncate(size); err != nil {
		return fail("extend", err)
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fail("map", err)
	}
	// Rows are read from anywhere; reading ahead would fetch a hundred for one. A kernel that takes no advice works all the same.
	_ = unix.Madvise(mem, unix.MADV_RANDOM)
	return &File{Bytes: mem, file: f}, nil
}

// Back takes space on the disk for the first n bytes, at most len(Bytes). Errors: ErrUnsupported, ENOSPC and the like; what was
// backed before stays so.
func (f *File) Back(n int64) error {
	if n <= f.backed {
		return nil
	}
	to := min((n+backStep-1)/backStep*backStep, int64(len(f.Bytes)))
	err := unix.Fallocate(int(f.file.Fd()), 0, f.backed, to-f.backed)
	for errors.Is(err, unix.EINTR) {
		err = unix.Fallocate(int(f.file.Fd()), 0, f.backed, to-f.backed)
	}
	if errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	if err != nil {
		return fmt.Errorf("take %d bytes of disk for vectors: %w", to-f.backed, err)
	}
	f.backed = to
	return nil
}

// Close gives memory and disk back. Nobody may touch Bytes afterwards.
func (f *File) Close() error {
	return errors.Join(unix.Munmap(f.Bytes), f.file.Close())
}
