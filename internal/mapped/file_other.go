//go:build !linux

package mapped

// File is what Create would return.
type File struct {
	Bytes []byte
}

// Create returns ErrUnsupported.
func Create(string, int64) (*File, error) { return nil, ErrUnsupported }

// Back returns ErrUnsupported.
func (*File) Back(int64) error { return ErrUnsupported }

// Close does nothing.
func (*File) Close() error { return nil }
