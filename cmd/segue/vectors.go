package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strconv"
	"strings"

	"github.com/segue-ann/segue/client"
	"github.com/segue-ann/segue/internal/dataset"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

const (
	// maxVectorText bounds a vector given as text: the largest dimension in the longest usual notation.
	maxVectorText = 4 << 20
	// maxInterestRows bounds what of a file is sent as interests: enough for the server to say how many may be.
	maxInterestRows = 64
	// maxBitmapFile bounds a file of --exclude-bitmap; as numbers in text it is some times as large as what is sent.
	maxBitmapFile = 64 << 20
)

// readVector reads one row of a file in any format that import reads, or a JSON array of numbers.
func readVector(name string, row int, stdin io.Reader) ([]float32, error) {
	if row < 0 {
		return nil, usagef("--row must not be negative")
	}
	if name == "-" {
		return readVectorText("standard input", stdin)
	}
	if strings.HasSuffix(strings.ToLower(name), ".json") {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return readVectorText(name, f)
	}
	i := 0
	for v, err := range vectorRows(name) {
		if i == row {
			return v, err
		}
		if err != nil && !errors.As(err, new(*dataset.RowError)) {
			return nil, err
		}
		i++
	}
	return nil, fmt.Errorf("%s has no row %d", name, row)
}

// readVectors reads all rows of a file, of which there are 1 to most.
func readVectors(name string, most int) ([][]float32, error) {
	var out [][]float32
	for v, err := range vectorRows(name) {
		if err != nil {
			return nil, err
		}
		if len(out) == most {
			return nil, fmt.Errorf("%s has more than %d rows", name, most)
		}
		out = append(out, v)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s has no rows", name)
	}
	return out, nil
}

// vectorRows yields the rows of a file in any format that import reads; each belongs to the caller. A row that is not as it should be
// is a *dataset.RowError, after which the rows go on; other errors end them.
func vectorRows(name string) iter.Seq2[[]float32, error] {
	return func(yield func([]float32, error) bool) {
		if dataset.HoldsItems(name) {
			lines, err := dataset.OpenItems(name)
			if err != nil {
				yield(nil, err)
				return
			}
			defer lines.Close()
			rowsOfLines(name, lines, yield)
			return
		}
		m, err := dataset.OpenVectors(name)
		if err != nil {
			yield(nil, err)
			return
		}
		defer m.Close()
		for {
			v := make([]float32, m.Dim())
			switch err := m.Next(v); {
			case errors.Is(err, io.EOF):
				return
			case err != nil:
				yield(nil, err)
				return
			case !yield(v, nil):
				return
			}
		}
	}
}

func rowsOfLines(name string, lines *dataset.ItemReader, yield func([]float32, error) bool) {
	for i := int64(0); ; i++ {
		r, err := lines.Next()
		switch {
		case errors.Is(err, io.EOF):
			return
		case err != nil:
			if !yield(nil, err) || !errors.As(err, new(*dataset.RowError)) {
				return
			}
		case r.Vector == nil:
			if !yield(nil, &dataset.RowError{File: name, Row: i, Reason: "it has no field \"vector\""}) {
				return
			}
		case !yield(r.Vector, nil):
			return
		}
	}
}

func readVectorText(name string, r io.Reader) ([]float32, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxVectorText+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxVectorText {
		return nil, fmt.Errorf("%s is longer than %d bytes", name, maxVectorText)
	}
	var list []*float32 // pointers, because null would read as 0
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("%s is not a JSON array of numbers: %w", name, err)
	}
	v := make([]float32, len(list))
	for i, x := range list {
		if x == nil {
			return nil, fmt.Errorf("%s is not a JSON array of numbers: element %d is null", name, i)
		}
		v[i] = *x
	}
	return v, nil
}

// readBitmap reads the file of --exclude-bitmap NAME=FILE. A file of digits and white space is numbers as text; any other is a bitmap,
// for the server to judge: the portable format begins with a byte that is neither, ':' or ';'.
func readBitmap(flag string) (*seguev1.BitmapExclusion, error) {
	attribute, name, ok := strings.Cut(flag, "=")
	if !ok {
		return nil, usagef("--exclude-bitmap %q is not of the form NAME=FILE", flag)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxBitmapFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxBitmapFile {
		return nil, fmt.Errorf("%s is longer than %d bytes", name, maxBitmapFile)
	}
	if len(data) > 0 && (data[0] == ':' || data[0] == ';') {
		return &seguev1.BitmapExclusion{Attribute: attribute, Roaring: data}, nil
	}
	var values []uint32
	for word := range strings.FieldsSeq(string(data)) {
		v, err := strconv.ParseUint(word, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("%s is neither a Roaring bitmap nor numbers from 0 to 4294967295: number %d is %.20q", name, len(values)+1, word)
		}
		values = append(values, uint32(v))
	}
	return client.ExcludeValues(attribute, values), nil
}
