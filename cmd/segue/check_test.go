package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/segue-ann/segue/engine"
)

// checkedStore makes a store with a snapshot, items before and after it, and a profile.
func checkedStore(t *testing.T, dir string) {
	t.Helper()
	e := openQuietly(t, dir)
	c, err := e.CreateCollection(t.Context(), engine.CollectionConfig{Name: "c", Dim: 4, Metric: engine.L2})
	if err != nil {
		t.Fatal(err)
	}
	write := func(from, to int) {
		var items []engine.Item
		for i := from; i < to; i++ {
			items = append(items, engine.Item{ID: fmt.Sprint("item ", i), Vector: []float32{float32(i), float32(i * i % 97), 1, 2},
				Attributes: engine.Attributes{{Name: "n", Value: engine.Value{Type: engine.Int, Int: int64(i)}}}})
		}
		if _, err := c.Upsert(t.Context(), items); err != nil {
			t.Fatal(err)
		}
	}
	write(0, 300)
	if _, err := c.CreateSnapshot(t.Context()); err != nil {
		t.Fatal(err)
	}
	write(250, 330)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
}

func openQuietly(t *testing.T, dir string) *engine.Engine {
	t.Helper()
	e, err := engine.Open(t.Context(), dir, engine.Options{Logger: slog.New(slog.DiscardHandler), ReserveBytes: 16 << 20, SnapshotTail: -1})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// content is all that a store answers, as text.
func content(t *testing.T, dir string) string {
	t.Helper()
	e := openQuietly(t, dir)
	defer e.Close()
	c, err := e.Collection("c")
	if err != nil {
		return err.Error()
	}
	items, _, err := c.List(t.Context(), "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(items)
}

// Property: whichever file of a store is damaged, and however, check either names a problem and ends with exit code 3, or the store
// answers as before.
func TestCheckOfDamagedFiles(t *testing.T) {
	whole := filepath.Join(t.TempDir(), "store")
	checkedStore(t, whole)
	want := content(t, whole)
	var files []string
	err := filepath.WalkDir(whole, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			name, _ := filepath.Rel(whole, path)
			files = append(files, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	damages := map[string]func(path string, b []byte) error{
		"removed": func(path string, _ []byte) error { return os.Remove(path) },
		"cut":     func(path string, b []byte) error { return os.WriteFile(path, b[:len(b)/2], 0o644) },
		"flipped": func(path string, b []byte) error {
			if len(b) > 0 {
				b[len(b)/2] ^= 0x10
			}
			return os.WriteFile(path, b, 0o644)
		},
	}
	found := 0
	for _, file := range files {
		for how, damage := range damages {
			dir := filepath.Join(t.TempDir(), "store")
			if err := os.CopyFS(dir, os.DirFS(whole)); err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(filepath.Join(dir, file))
			if err != nil {
				t.Fatal(err)
			}
			if err := damage(filepath.Join(dir, file), b); err != nil {
				t.Fatal(err)
			}
			r := runSegue(t.Context(), "check", dir, "-o", "json")
			var doc struct {
				OK       bool
				Findings []findingJSON
			}
			err = json.Unmarshal([]byte(r.stdout), &doc)
			switch r.code {
			case exitBadData:
				if found++; err != nil || doc.OK || len(doc.Findings) == 0 || doc.Findings[0].Where == "" || doc.Findings[0].Problem == "" {
					t.Errorf("%s %s: %v\n%s%s", file, how, err, r.stdout, r.stderr)
				}
			case exitOK:
				if err != nil || !doc.OK || len(doc.Findings) > 0 {
					t.Errorf("%s %s: %v\n%s", file, how, err, r.stdout)
				}
				if content(t, dir) != want {
					t.Errorf("%s %s: no problem is found, and the store answers otherwise", file, how)
				}
			default:
				t.Errorf("%s %s: code %d\n%s", file, how, r.code, r.stderr)
			}
		}
	}
	if found < 3 {
		t.Errorf("only %d of %d damages were found", found, 3*len(files))
	}
}
