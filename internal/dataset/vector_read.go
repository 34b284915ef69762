package dataset

import (
	"errors"
	"io"
	"io/fs"
)

// ReadFloat32 reads the first limit rows of the matrix at path, all if limit <= 0, and returns them row after row:
// row i is data[i*dim : (i+1)*dim]. Values are converted as [VectorReader.Next] says. Memory follows
// the rows that arrive, not the header's promise: at most twice the result, more for column-major arrays.
func ReadFloat32(path string, limit int) (data []float32, rows, dim int, err error) {
	return readAll(nil, path, limit, nil, decodeFloat32)
}

// ReadFloat32FS is [ReadFloat32] within a file system.
func ReadFloat32FS(fsys fs.FS, name string, limit int) (data []float32, rows, dim int, err error) {
	return readAll(fsys, name, limit, nil, decodeFloat32)
}

// ReadInt32 is [ReadFloat32] for the integer types u1 and i4, such as lists of neighbours; others are a [*FormatError].
func ReadInt32(path string, limit int) (data []int32, rows, dim int, err error) {
	return readAll(nil, path, limit, (*VectorReader).wantInteger, decodeInt32)
}

// ReadInt32FS is [ReadInt32] within a file system.
func ReadInt32FS(fsys fs.FS, name string, limit int) (data []int32, rows, dim int, err error) {
	return readAll(fsys, name, limit, (*VectorReader).wantInteger, decodeInt32)
}

func readAll[T float32 | int32](
	fsys fs.FS, name string, limit int, check func(*VectorReader) error, decode func([]T, []byte, DType),
) (data []T, rows, dim int, err error) {
	r, err := openVectors(fsys, name)
	if err != nil {
		return nil, 0, 0, err
	}
	defer r.Close()
	if check != nil {
		if err := check(r); err != nil {
			return nil, 0, 0, err
		}
	}
	data, rows, err = readRows(r, limit, decode)
	if err != nil {
		return nil, 0, 0, err
	}
	return data, rows, r.header.dim, nil
}

func readRows[T float32 | int32](r *VectorReader, limit int, decode func([]T, []byte, DType)) ([]T, int, error) {
	var (
		dim  = r.header.dim
		want = r.header.rows // -1: unknown
		data []T
		rows int
	)
	if limit > 0 && (want < 0 || want > int64(limit)) {
		want = int64(limit)
	}
	for limit <= 0 || rows < limit {
		err := r.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, 0, err
		}
		data = grow(data, dim, want*int64(dim))
		decode(data[len(data)-dim:], r.buf, r.header.dtype)
		rows++
	}
	return data, rows, nil
}

// grow lengthens s by n values. Capacity doubles with what was read and ends at total exactly if total is right;
// total < 0 is unknown.
func grow[T any](s []T, n int, total int64) []T {
	if len(s)+n > cap(s) {
		c := max(int64(2*cap(s)), int64(len(s)+n), 64<<10)
		if total >= int64(len(s)+n) {
			c = min(c, total)
		}
		bigger := make([]T, len(s), c)
		copy(bigger, s)
		s = bigger
	}
	return s[:len(s)+n]
}
