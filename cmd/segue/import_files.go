package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/segue-ann/segue/internal/dataset"
)

// rowFiles names the files of one kind of row (items, profiles): JSON lines, and beside them perhaps a
// matrix whose row i is the vector of line i.
type rowFiles struct {
	// fsys holds the files; nil is the operating system's.
	fsys    fs.FS
	lines   string
	vectors string // empty: the lines have vector fields
	fields  dataset.ItemFields
	// rows is the number of lines where the caller knows it; 0 where check has to count.
	rows int64
}

// profileVectorSuffixes are tried in this order on the name of a file of profiles without its ".jsonl".
var profileVectorSuffixes = [...]string{".npy", ".f32.npy", ".f16.npy", ".fvecs"}

// besideProfiles finds the matrix that belongs to a file of profiles by its name: for users.jsonl.gz the
// first that exists of users.npy, users.f32.npy, users.f16.npy, users.fvecs, each also with .gz or .zst.
// Empty where there is none.
func besideProfiles(lines string) string {
	stem := lines
	for _, suffix := range []string{".gz", ".zst"} {
		stem = strings.TrimSuffix(stem, suffix)
	}
	stem = strings.TrimSuffix(stem, filepath.Ext(stem))
	for _, suffix := range profileVectorSuffixes {
		for _, compression := range []string{"", ".gz", ".zst"} {
			name := stem + suffix + compression
			if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() {
				return name
			}
		}
	}
	return ""
}

func (f rowFiles) openLines() (*dataset.ItemReader, error) {
	return f.fields.Open(f.fsys, f.lines)
}

func (f rowFiles) openVectors() (*dataset.VectorReader, error) {
	if f.fsys != nil {
		return dataset.OpenVectorsFS(f.fsys, f.vectors)
	}
	return dataset.OpenVectors(f.vectors)
}

// rowCountError says that lines and vectors do not belong together.
type rowCountError struct {
	lines, vectors       string
	lineRows, vectorRows int64
}

func (e *rowCountError) Error() string {
	return fmt.Sprintf("%s has %s rows but %s has %s: row i of the one must belong to row i of the other",
		e.lines, thousands(e.lineRows), e.vectors, thousands(e.vectorRows))
}

// check reads the files through as far as needed to know that they belong together, and returns the number
// of rows (-1 where it was not counted, and the file does not say it) and the dimension of the vectors (0 where unknown). Where there is
// a matrix, its rows and the lines are counted, so that a mismatch is known before anything is written.
func (f rowFiles) check() (rows int64, dim int, err error) {
	if f.vectors == "" {
		return f.firstDim()
	}
	v, err := f.openVectors()
	if err != nil {
		return 0, 0, err
	}
	defer v.Close()
	vectorRows := v.Rows()
	if vectorRows < 0 {
		vectorRows = 0
		row := make([]float32, v.Dim())
		for {
			err := v.Next(row)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return 0, 0, err
			}
			vectorRows++
		}
	}
	lineRows := f.rows
	if lineRows == 0 {
		if lineRows, err = f.countLines(); err != nil {
			return 0, 0, err
		}
	}
	if lineRows != vectorRows {
		return 0, 0, &rowCountError{f.lines, f.vectors, lineRows, vectorRows}
	}
	return lineRows, v.Dim(), nil
}

// checkIfNamed is check where there are files, and -1 and 0 where there are none.
func (f rowFiles) checkIfNamed() (rows int64, dim int, err error) {
	if f.lines == "" {
		return -1, 0, nil
	}
	return f.check()
}

func (f rowFiles) countLines() (rows int64, err error) {
	lines, err := f.openLines()
	if err != nil {
		return 0, err
	}
	defer lines.Close()
	if rows = lines.Rows(); rows >= 0 {
		return rows, nil
	}
	rows = 0
	err = eachOf(lines, func(dataset.Record, *dataset.RowError) (bool, error) {
		rows++
		return true, nil
	})
	return rows, err
}

// firstDim returns how many rows the file says it has, -1 where it does not, and the length of the first vector field, 0 where no line
// has one.
func (f rowFiles) firstDim() (rows int64, dim int, err error) {
	lines, err := f.openLines()
	if err != nil {
		return 0, 0, err
	}
	defer lines.Close()
	err = eachOf(lines, func(r dataset.Record, _ *dataset.RowError) (bool, error) {
		dim = len(r.Vector)
		return dim == 0, nil
	})
	return lines.Rows(), dim, err
}

// eachLine calls visit with every line, a good or a bad one, until it returns false or an error.
func (f rowFiles) eachLine(visit func(dataset.Record, *dataset.RowError) (bool, error)) error {
	lines, err := f.openLines()
	if err != nil {
		return err
	}
	defer lines.Close()
	return eachOf(lines, visit)
}

func eachOf(lines *dataset.ItemReader, visit func(dataset.Record, *dataset.RowError) (bool, error)) error {
	for {
		r, err := lines.Next()
		var bad *dataset.RowError
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && !errors.As(err, &bad):
			return err
		}
		if more, err := visit(r, bad); err != nil || !more {
			return err
		}
	}
}

// row is one line with its vector.
type row struct {
	number int64
	record dataset.Record
	// vector is the matrix's row or the line's field; nil where there is neither. Valid until the next row.
	vector []float32
	// bad says why the line cannot be used; record and vector then mean nothing.
	bad *rowError
}

// each calls visit with every row, in order, until it returns false or an error. A matrix that ends before
// the lines or after them is a [*rowCountError].
func (f rowFiles) each(visit func(row) (bool, error)) error {
	var v *dataset.VectorReader
	var buffer []float32
	if f.vectors != "" {
		var err error
		if v, err = f.openVectors(); err != nil {
			return err
		}
		defer v.Close()
		buffer = make([]float32, v.Dim())
	}
	n, stopped := int64(0), false
	err := f.eachLine(func(record dataset.Record, bad *dataset.RowError) (bool, error) {
		r := row{number: n, record: record, vector: record.Vector}
		if v != nil {
			if err := v.Next(buffer); errors.Is(err, io.EOF) {
				return false, &rowCountError{f.lines, f.vectors, n + 1, n}
			} else if err != nil {
				return false, err
			}
			r.vector = buffer
		}
		switch {
		case bad != nil:
			r.bad = fault("INVALID_FORMAT", "line", "%s", bad.Reason)
		case v != nil && record.Vector != nil:
			r.bad = fault("INVALID_FORMAT", "vector", "the line has a vector field although %s has its vector", f.vectors)
		}
		n++
		more, err := visit(r)
		stopped = !more
		return more, err
	})
	if err != nil || stopped || v == nil {
		return err
	}
	if err := v.Next(buffer); err == nil {
		return &rowCountError{f.lines, f.vectors, n, n + 1}
	} else if !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}
