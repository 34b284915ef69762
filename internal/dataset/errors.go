package dataset

import "fmt"

// FormatError says that a file is not what its name or header claims. It ends the reading of that file.
type FormatError struct {
	File   string
	Row    int64  // row counted from 0; -1 when it is about the header or the file as a whole
	Column string // column of a Parquet file that it is about; empty if none
	Rule   string // what does not hold
	Err    error  // cause, if one lies below (I/O, decompressor); may be nil
}

func (e *FormatError) Error() string {
	s := e.File
	if e.Row >= 0 {
		s += fmt.Sprintf(": row %d", e.Row)
	}
	if e.Column != "" {
		s += fmt.Sprintf(": column %q", e.Column)
	}
	s += ": " + e.Rule
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *FormatError) Unwrap() error { return e.Err }

// RowError says that one JSON line, or row of a Parquet file, cannot be used. The reader stands after it.
type RowError struct {
	File   string
	Row    int64 // row counted from 0
	Reason string
}

func (e *RowError) Error() string { return fmt.Sprintf("%s: row %d: %s", e.File, e.Row, e.Reason) }
