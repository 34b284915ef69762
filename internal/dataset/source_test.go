package dataset

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/fstest"
)

// TestStreamsThatDoNotBegin: whichever way a compressed file is opened, one that does not begin as its name says is the same typed error,
// and an error of the disk below is the cause.
func TestStreamsThatDoNotBegin(t *testing.T) {
	dir := t.TempDir()
	for name, of := range map[string]struct {
		file func(string) error
		fs   func(fs.FS, string) error
		r    func(string, io.Reader) error
	}{
		"a.npy": {
			func(path string) error { _, err := OpenVectors(path); return err },
			func(fsys fs.FS, name string) error { _, err := OpenVectorsFS(fsys, name); return err },
			func(name string, r io.Reader) error { _, err := NewVectorReader(name, r); return err },
		},
		"a.jsonl": {
			func(path string) error { _, err := OpenItems(path); return err },
			func(fsys fs.FS, name string) error { _, err := OpenItemsFS(fsys, name); return err },
			func(name string, r io.Reader) error { _, err := NewItemReader(name, r); return err },
		},
	} {
		name += ".gz"
		for what, data := range map[string][]byte{"empty": nil, "no gzip": []byte(`{"id":"a"}`), "cut": {0x1f, 0x8b, 8}} {
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
			for way, err := range map[string]error{
				path: of.file(path), name: of.fs(fstest.MapFS{name: {Data: data}}, name), "r" + name: of.r("r"+name, bytes.NewReader(data)),
			} {
				var fault *FormatError
				if !errors.As(err, &fault) || fault.File != way || fault.Row != -1 || fault.Rule != "compressed stream does not begin well" || errors.Is(err, io.EOF) {
					t.Errorf("%s, %s: %v", way, what, err)
				}
			}
		}
		if err := of.r(name, &failing{}); !errors.Is(err, errDisk) {
			t.Errorf("%s: the disk fails: %v", name, err)
		}
		if err := of.file(filepath.Join(dir, "none")); !errors.As(err, new(*FormatError)) {
			t.Errorf("a name that tells no format: %v", err)
		}
		if err := of.file(filepath.Join(dir, "none-"+name)); !errors.Is(err, fs.ErrNotExist) || errors.As(err, new(*FormatError)) {
			t.Errorf("a file that is not there: %v", err)
		}
	}
}

// TestFilesAreClosed: whatever becomes of a file, who opened it closes it, once.
func TestFilesAreClosed(t *testing.T) {
	files := wholeFiles(t)
	for name, data := range wholeFiles(t) {
		files["cut-"+name] = data[:len(data)/2]
		files["garbled-"+name] = append([]byte("garbage"), data...)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		counted := &countedFS{fs: fstest.MapFS{name: {Data: files[name]}}}
		r, err := OpenVectorsFS(counted, name)
		if err == nil {
			if _, err := readRowsOf(r); err == nil && name[0] == 'g' {
				t.Errorf("%s is read", name)
			}
			for range 2 {
				if err := r.Close(); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
		if counted.opened != 1 || counted.closed != 1 {
			t.Errorf("%s: opened %d times, closed %d times (%v)", name, counted.opened, counted.closed, err)
		}
	}
	for name, data := range map[string]string{"a.jsonl": `{"id":"a"}`, "a.parquet": "PAR1 is not all", "a.hnsw": "short", "a.jsonl.gz": "no"} {
		counted := &countedFS{fs: fstest.MapFS{name: {Data: []byte(data)}}}
		r, err := OpenItemsFS(counted, name)
		if err == nil {
			_, _ = r.Next()
			if err := r.Close(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if (err == nil) != (name == "a.jsonl") || counted.opened != 1 || counted.closed != 1 {
			t.Errorf("%s: opened %d times, closed %d times (%v)", name, counted.opened, counted.closed, err)
		}
	}
}

// countedFS counts files that are opened and closed.
type countedFS struct {
	fs             fs.FS
	opened, closed int
}

func (c *countedFS) Open(name string) (fs.File, error) {
	f, err := c.fs.Open(name)
	if err == nil {
		c.opened++
	}
	return &countedFile{f, c}, err
}

type countedFile struct {
	fs.File
	of *countedFS
}

func (f *countedFile) Close() error {
	f.of.closed++
	return f.File.Close()
}
