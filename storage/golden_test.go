package storage

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"
)

// golden compares text with a file under testdata; SEGUE_UPDATE_GOLDEN=1 writes the file instead. The files of
// a released format are never updated: a new format gets new ones, and the old ones keep being read.
func golden(t *testing.T, name, got string) string {
	t.Helper()
	path := filepath.Join("testdata", name)
	if os.Getenv("SEGUE_UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s: the format has changed; if that is meant, see docs/formats/store.md:\n%s", name, diff)
	}
	return string(want)
}

// rowsText renders every row of a store: a comment with the key for people, then key and value in hex.
func rowsText(t *testing.T, s *Store) string {
	t.Helper()
	var b strings.Builder
	err := s.scan([]byte{0}, []byte{0xff}, func(key, value []byte) (bool, error) {
		fmt.Fprintf(&b, "# %s\n%x", formatKeyForPeople(key), key)
		for len(value) > 0 {
			line := value[:min(len(value), 40)]
			value = value[len(line):]
			fmt.Fprintf(&b, "\n  %x", line)
		}
		b.WriteString("\n")
		return true, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// loadRows writes rows that rowsText rendered into a Pebble store, past everything this package does.
func loadRows(t *testing.T, fsys vfs.FS, text string) {
	t.Helper()
	db, err := pebble.Open(testDir, &pebble.Options{FS: fsys, FormatMajorVersion: pebbleFormat, Logger: quiet{}})
	if err != nil {
		t.Fatal(err)
	}
	var key, value []byte
	flush := func() {
		if key != nil {
			if err := db.Set(key, value, pebble.Sync); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		raw, err := hex.DecodeString(strings.TrimSpace(strings.TrimPrefix(line, "#")))
		switch {
		case strings.HasPrefix(line, "#"):
			continue
		case err != nil:
			t.Fatal(err)
		case strings.HasPrefix(line, " "):
			value = append(value, raw...)
		default:
			flush()
			key, value = raw, nil
		}
	}
	flush()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

type quiet struct{}

func (quiet) Infof(string, ...interface{})      {}
func (quiet) Errorf(string, ...interface{})     {}
func (quiet) Fatalf(f string, a ...interface{}) { panic(fmt.Sprintf(f, a...)) }

// The bytes of every kind of row, and what a reader makes of them.
func TestGoldenStore(t *testing.T) {
	s := mustOpen(t, vfs.NewMem(), Options{})
	dumps := runWorkload(t, s, workload(24))
	golden(t, "store-v4.rows", rowsText(t, s))
	golden(t, "store-v4.dump", dumps[len(dumps)-1])
	for _, format := range []string{"v1", "v2", "v3", "v4"} {
		want, err := os.ReadFile(filepath.Join("testdata", "store-"+format+".dump"))
		if err != nil {
			t.Fatal(err)
		}
		rows, err := os.ReadFile(filepath.Join("testdata", "store-"+format+".rows"))
		if err != nil {
			t.Fatal(err)
		}
		fsys := vfs.NewMem()
		loadRows(t, fsys, string(rows))
		for _, readOnly := range []bool{true, false} {
			old := mustOpen(t, fsys, Options{ReadOnly: readOnly})
			got, err := dump(old)
			if err != nil {
				t.Fatal(err)
			}
			// Releases that the format did not have yet are empty.
			if at := strings.Index(got, "release 1/2"); format == "v1" {
				got = got[:at]
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("%s: %s", format, diff)
			}
			if !readOnly {
				if err := writeThreeAfter(old, 20); err != nil {
					t.Errorf("a store of format %s cannot be written: %v", format, err)
				}
			}
			mustClose(t, old)
		}
	}
}

// A store that was opened for writing is of this format from then on, whatever it was: an older program, which
// would not see its releases, refuses it.
func TestOpenUpgradesTheFormat(t *testing.T) {
	fsys := vfs.NewMem()
	s := mustOpen(t, fsys, Options{})
	if err := s.db.Set([]byte(formatKey), encodeFormatRow(1, 1), pebble.Sync); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	for _, tc := range []struct {
		readOnly bool
		want     uint32
	}{{true, 1}, {false, FormatVersion}, {true, FormatVersion}} {
		s := mustOpen(t, fsys, Options{ReadOnly: tc.readOnly})
		v, done, err := s.get([]byte(formatKey))
		if err != nil {
			t.Fatal(err)
		}
		if version, oldest, err := decodeFormatRow(v); version != tc.want || oldest != min(tc.want, OldestReader) || err != nil {
			t.Errorf("read-only %v: format %d, oldest reader %d, %v; want %d", tc.readOnly, version, oldest, err, tc.want)
		}
		done()
		mustClose(t, s)
	}
}

func writeThreeAfter(s *Store, last uint64) error {
	b := s.Collection(1, 0).NewBatch()
	return errors.Join(b.PutItem(item("c", last+1)), b.DeleteItem("c", last+2), b.PutProfile(profile("e", last+3)), b.Commit(), b.Close())
}

// The compressed form depends on the compressor's version, so only its decoding is pinned.
func TestGoldenCompressedSlab(t *testing.T) {
	key := slabKey(1, 0, 7, "links0", 3)
	data := []byte(strings.Repeat("level 0 links ", 20))
	path := filepath.Join("testdata", "slab-zstd-v1.hex")
	if os.Getenv("SEGUE_UPDATE_GOLDEN") != "" {
		enc, err := newSlabEncoder()
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(hex.EncodeToString(encodeSlab(nil, key, data, enc))+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	if stored[5] != codecZstd {
		t.Fatal("the golden slab is not compressed")
	}
	got, err := assemble(key, stored)
	if err != nil || !bytes.Equal(got, data) {
		t.Fatalf("%q, %v", got, err)
	}
}

// assemble decodes a stored slab as if it had been read.
func assemble(key, stored []byte) ([]byte, error) {
	dec, err := newSlabDecoder()
	if err != nil {
		return nil, err
	}
	defer dec.Close()
	a := slabAssembler{key: key}
	for f := 0; len(stored) > 0; f++ {
		part := stored[:min(len(stored), fragmentBytes)]
		stored = stored[len(part):]
		if err := a.add(f, part); err != nil {
			return nil, err
		}
	}
	return a.finish(dec)
}

func TestGoldenSeal(t *testing.T) {
	st := sealState{clean: true,
		manifest: sealedFile{"MANIFEST-000004", 312, 0x0a1b2c3d},
		options:  sealedFile{"OPTIONS-000005", 1834, 1},
		wals:     []sealedFile{{"000003.log", 0, 0}, {"000007.log", 1 << 33, 0xffffffff}}}
	text := golden(t, "seal-v1.txt", string(encodeSeal(st)))
	got, err := decodeSeal([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(st, got, cmp.AllowUnexported(sealState{}, sealedFile{})); diff != "" {
		t.Error(diff)
	}
	for i := range text {
		b := []byte(text)
		b[i] ^= 1
		if _, err := decodeSeal(b); !errors.Is(err, errSealDamaged) {
			t.Errorf("flip at %d: %v", i, err)
		}
	}
	for i := range text {
		if _, err := decodeSeal([]byte(text[:i])); !errors.Is(err, errSealDamaged) {
			t.Errorf("cut at %d: %v", i, err)
		}
	}
}
