package storage

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/segue-ann/segue/internal/crashfs"
)

// killedAfter commits n batches of one item each into a store and returns its files as a killed process leaves
// them, with the dump after each commit; dumps[0] is that of the empty store.
func killedAfter(t *testing.T, n uint64) (im image, dumps []string) {
	t.Helper()
	mem := crashfs.New()
	s := mustOpen(t, mem, Options{})
	for lsn := uint64(0); lsn <= n; lsn++ {
		if lsn > 0 {
			putItems(t, s.Collection(1, 0), lsn, fmt.Sprint("t", lsn%4))
		}
		d, err := dump(s)
		if err != nil {
			t.Fatal(err)
		}
		dumps = append(dumps, d)
	}
	return takeImage(t, mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})), dumps
}

// The newest write-ahead log is torn at every length, as a power loss leaves what was not synced. The store opens
// with a prefix of the commits, the longer the more of the log is there, and goes on from there.
func TestPowerLossTornLogAtEveryLength(t *testing.T) {
	im, dumps := killedAfter(t, 6)
	mem := im.mount(t, nil)
	name, _, err := newestLog(mem, testDir)
	if err != nil {
		t.Fatal(err)
	}
	index := make(map[string]int)
	for i, d := range dumps {
		index[d] = i
	}
	before := 0
	for cut := 0; cut <= len(im[name]); cut++ {
		fsys := im.mount(t, func(n string, data []byte) []byte {
			if n == name {
				return append([]byte{}, data[:cut]...)
			}
			return data
		})
		got, err := openAndRead(fsys)
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		i, ok := index[got]
		if !ok || i < before {
			t.Fatalf("cut at %d: neither a prefix nor longer than one byte less gave: %d commits, then %d", cut, before, i)
		}
		before = i
		s := mustOpen(t, fsys, Options{})
		putItems(t, s.Collection(1, 0), uint64(i)+1, "next")
		mustClose(t, s)
	}
	if before != len(dumps)-1 {
		t.Errorf("the whole log holds %d of %d commits", before, len(dumps)-1)
	}
}

// A table file is cut at sampled lengths: the store refuses and names the file.
func TestCutTableIsNamed(t *testing.T) {
	im := images(t)["closed"]
	rng := rand.New(rand.NewPCG(9, 9))
	for _, name := range im.names() {
		if !strings.HasSuffix(name, ".sst") {
			continue
		}
		for range 20 {
			cut := rng.IntN(len(im[name]))
			_, err := openAndRead(im.mount(t, func(n string, data []byte) []byte {
				if n == name {
					return append([]byte{}, data[:cut]...)
				}
				return data
			}))
			if err == nil || !namesFault(err) || !strings.Contains(err.Error(), strings.TrimSuffix(name, ".sst")) {
				t.Errorf("%s cut at %d of %d: %v", name, cut, len(im[name]), err)
			}
		}
	}
}

// A MANIFEST is cut anywhere below what the seal covers, of a closed store and of a killed one.
func TestCutManifestIsNamed(t *testing.T) {
	for state, im := range images(t) {
		for _, name := range im.names() {
			if !strings.HasPrefix(name, "MANIFEST-") {
				continue
			}
			for cut := 0; cut < len(im[name]); cut += 7 {
				_, err := openAndRead(im.mount(t, func(n string, data []byte) []byte {
					if n == name {
						return append([]byte{}, data[:cut]...)
					}
					return data
				}))
				if err == nil || !namesFault(err) || !strings.Contains(err.Error(), name) {
					t.Errorf("%s: %s cut at %d: %v", state, name, cut, err)
				}
			}
		}
	}
}
