package querylog

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// maxLengthBytes bounds the varint before a record.
const maxLengthBytes = binary.MaxVarintLen64

// Names of files: a time in UTC whose text sorts as it does.
const (
	filePattern = "queries-*.binpb"
	fileLayout  = "queries-20060102T150405.000000000Z.binpb"
)

// writer writes records to files. Only one goroutine uses it.
type writer struct {
	dir                   string
	fileBytes, totalBytes int64

	file *os.File // nil after an error: the next record begins another
	buf  *bufio.Writer
	size int64 // of the file with what buf holds
}

// write appends a record; flush says that nothing else is waiting. After an error the file ends where it may, and the next record
// begins another one.
func (w *writer) write(record []byte, flush bool) error {
	var length [maxLengthBytes]byte
	n := binary.PutUvarint(length[:], uint64(len(record)))
	size := int64(n + len(record))
	if w.file == nil || w.size+size > w.fileBytes {
		if err := errors.Join(w.end(), w.begin(time.Now())); err != nil {
			return err
		}
	}
	w.size += size
	_, err := w.buf.Write(length[:n])
	if err == nil {
		_, err = w.buf.Write(record)
	}
	if err == nil && flush {
		err = w.buf.Flush()
	}
	if err != nil {
		_ = w.file.Close() // it is damaged already
		w.file = nil
		return err
	}
	return nil
}

// begin removes the oldest files, so that there is room for a whole one, and makes the next.
func (w *writer) begin(now time.Time) error {
	if err := w.makeRoom(); err != nil {
		return err
	}
	file, err := os.OpenFile(filepath.Join(w.dir, now.UTC().Format(fileLayout)), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("querylog: %w", err)
	}
	w.file, w.buf, w.size = file, bufio.NewWriterSize(file, 64<<10), 0
	return nil
}

func (w *writer) makeRoom() error {
	names, err := Files(w.dir)
	if err != nil {
		return err
	}
	sizes, total := make([]int64, len(names)), int64(0)
	for i, name := range names {
		if info, err := os.Lstat(name); err == nil { // else somebody else removed it
			sizes[i] = info.Size()
			total += sizes[i]
		}
	}
	for i, name := range names {
		// One that is empty holds nothing: servers that start and stop leave no heap of them.
		if total+w.fileBytes <= w.totalBytes && sizes[i] > 0 {
			continue
		}
		if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("querylog: %w", err)
		}
		total -= sizes[i]
	}
	return nil
}

// end ends the file.
func (w *writer) end() error {
	if w.file == nil {
		return nil
	}
	err := errors.Join(w.buf.Flush(), w.file.Close())
	w.file = nil
	return err
}

// Files lists the files of a log, oldest first.
func Files(dir string) ([]string, error) {
	names, err := filepath.Glob(filepath.Join(escape(dir), filePattern)) // ascending
	if err != nil {
		return nil, fmt.Errorf("querylog: %w", err)
	}
	return names, nil
}

// escape makes a path mean itself in a pattern.
func escape(path string) string {
	var out []byte
	for i := range len(path) {
		switch path[i] {
		case '*', '?', '[', '\\':
			out = append(out, '\\')
		}
		out = append(out, path[i])
	}
	return string(out)
}
