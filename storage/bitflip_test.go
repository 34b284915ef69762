package storage

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/segue-ann/segue/internal/crashfs"
)

// image is the content of a store's directory.
type image map[string][]byte

func takeImage(t testing.TB, fsys vfs.FS) image {
	t.Helper()
	names, err := fsys.List(testDir)
	if err != nil {
		t.Fatal(err)
	}
	im := make(image)
	for _, name := range names {
		f, err := fsys.Open(path.Join(testDir, name))
		if err != nil {
			t.Fatal(err)
		}
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		if info.IsDir() {
			f.Close()
			continue
		}
		data, err := io.ReadAll(f)
		if err = errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		im[name] = data
	}
	return im
}

// mount returns a file system that holds the image; change may replace the content of a file, or remove it by
// returning nil.
func (im image) mount(t testing.TB, change func(name string, data []byte) []byte) *vfs.MemFS {
	t.Helper()
	fsys := vfs.NewMem()
	if err := fsys.MkdirAll(testDir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, data := range im {
		if change != nil {
			if data = change(name, data); data == nil {
				continue
			}
		}
		f, err := fsys.Create(path.Join(testDir, name), vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.Write(slices.Clone(data)) // a vfs.File may change what it is given
		if err = errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	return fsys
}

func (im image) names() []string {
	var names []string
	for name := range im {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// openAndRead opens a possibly damaged store for writing and reads all of it.
func openAndRead(fsys vfs.FS) (string, error) {
	s, err := Open(testDir, Options{FS: fsys, MemTableBytes: 64 << 10, OnFatal: func(err error) { panic(err) }})
	if err != nil {
		return "", err
	}
	d, err := dump(s)
	return d, errors.Join(err, s.Close())
}

// namesFault reports whether err is a refusal as promised: typed, and naming a file or a key.
func namesFault(err error) bool {
	var c *CorruptionError
	var f *FormatError
	switch {
	case errors.As(err, &c):
		return c.File != "" || c.Key != ""
	case errors.As(err, &f):
		return f.Where != ""
	}
	return false
}

// images are small stores in the two states in which a damaged one can be found, and what they must answer.
func images(t testing.TB) map[string]image {
	t.Helper()
	steps := workload(300)
	out := make(map[string]image)
	mem := crashfs.New()
	s := mustOpen(t, mem, Options{MemTableBytes: 64 << 10})
	dumps := runWorkload(t, s, steps)
	s.sealTail()
	s.sealer.update()
	out["killed"] = takeImage(t, mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))}))
	mustClose(t, s)
	out["closed"] = takeImage(t, mem)
	for name, im := range out {
		got, err := openAndRead(im.mount(t, nil))
		if err != nil || got != dumps[len(dumps)-1] {
			t.Fatalf("%s: undamaged image does not answer: %v", name, err)
		}
	}
	return out
}

// One bit flips at a sampled offset of every file of a store, closed in order or killed. The store must give
// the right answer, or refuse with an error that names file or key.
func TestBitFlipIsNamedOrHarmless(t *testing.T) {
	perFile := 150
	if seeds(1, 2) == 2 {
		perFile = 5000
	}
	rng := rand.New(rand.NewPCG(7, 7))
	for state, im := range images(t) {
		want, err := openAndRead(im.mount(t, nil))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range im.names() {
			offsets := rng.Perm(len(im[name]))
			named, harmless := 0, 0
			for _, off := range offsets[:min(perFile, len(offsets))] {
				bit := byte(1) << rng.IntN(8)
				fsys := im.mount(t, func(n string, data []byte) []byte {
					if n == name {
						data = slices.Clone(data)
						data[off] ^= bit
					}
					return data
				})
				got, err := openAndRead(fsys)
				switch {
				case err == nil && got == want:
					harmless++
				case err == nil:
					t.Errorf("%s: bit %#x at %d of %s: wrong answer", state, bit, off, name)
				case namesFault(err):
					named++
				default:
					t.Errorf("%s: bit %#x at %d of %s: %v", state, bit, off, name, err)
				}
			}
			t.Logf("%s %-40s %6d bytes: %3d named, %3d harmless", state, name, len(im[name]), named, harmless)
		}
	}
}

// A file of the store disappears.
func TestMissingFileIsNamedOrHarmless(t *testing.T) {
	for state, im := range images(t) {
		want, err := openAndRead(im.mount(t, nil))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range im.names() {
			got, err := openAndRead(im.mount(t, func(n string, data []byte) []byte {
				if n == name {
					return nil
				}
				return data
			}))
			switch {
			case err != nil && namesFault(err):
				t.Logf("%s without %s: %v", state, name, err)
			case err != nil:
				t.Errorf("%s without %s: %v", state, name, err)
			case got != want && (state != "killed" || !strings.HasSuffix(name, ".log")):
				// Of a killed store nothing says which write-ahead logs there were: a known limit.
				t.Errorf("%s without %s: wrong answer", state, name)
			}
		}
	}
}

// Many commits share the last block of the write-ahead log of a killed process. A flipped bit in any of them is
// named; only of the last commit, while its tail is not sealed, it looks like a torn write, and then that commit
// is lost as a whole and nothing else is.
func TestBitFlipInLogOfKilledProcess(t *testing.T) {
	for _, sealed := range []bool{true, false} {
		mem := crashfs.New()
		s := mustOpen(t, mem, Options{})
		var dumps []string
		for lsn := uint64(1); lsn <= 20; lsn++ {
			putItems(t, s.Collection(1, 0), lsn, fmt.Sprint("t", lsn))
			d, err := dump(s)
			if err != nil {
				t.Fatal(err)
			}
			dumps = append(dumps, d)
		}
		if sealed {
			s.sealTail()
		}
		im := takeImage(t, mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))}))
		rng := rand.New(rand.NewPCG(8, 8))
		name, _, err := newestLog(mem, testDir)
		if err != nil {
			t.Fatal(err)
		}
		lost, named, harmless := 0, 0, 0
		for range 300 {
			at, bit := rng.IntN(len(im[name])), byte(1)<<rng.IntN(8)
			got, err := openAndRead(im.mount(t, func(n string, data []byte) []byte {
				if n == name {
					data = slices.Clone(data)
					data[at] ^= bit
				}
				return data
			}))
			switch {
			case err != nil && namesFault(err):
				named++
			case err == nil && got == dumps[len(dumps)-1]:
				harmless++
			case err == nil && got == dumps[len(dumps)-2] && !sealed:
				lost++
			default:
				t.Errorf("sealed %t, bit %#x at %d of %s: wrong answer, %v", sealed, bit, at, name, err)
			}
		}
		t.Logf("sealed %t: %d named, %d harmless, %d lost the last commit", sealed, named, harmless, lost)
		if named < 200 {
			t.Error("too few flips were found")
		}
	}
}
