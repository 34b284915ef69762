package engine

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/segue-ann/segue/storage"
)

// rewriteSnapshot writes the newest snapshot of a release of tracks once more, as a newer one, with slabs as change makes them: every
// checksum is right, and of what it says change is to blame. It returns the bytes before and after.
func rewriteSnapshot(t *testing.T, fs vfs.FS, release uint32, change func(section string, n int, data []byte) []byte) {
	t.Helper()
	s, err := storage.Open("store", storage.Options{FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	rows := s.Collection(1, release)
	kept, err := rows.Snapshots()
	if err != nil || len(kept) == 0 {
		t.Fatal(len(kept), err)
	}
	reader, err := rows.OpenSnapshot(kept[0].Generation)
	if err != nil {
		t.Fatal(err)
	}
	w, err := rows.NewSnapshot(kept[0].Generation + 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, sec := range reader.Header().Sections {
		for n := range sec.Slabs {
			data, err := reader.ReadSlab(sec.Name, n, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := w.Slab(sec.Name, n, false, change(sec.Name, n, data)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Commit(reader.Header()); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// itemRows cuts the section of items into its rows, sizes included.
func itemRows(t *testing.T, data []byte) (rows [][]byte) {
	t.Helper()
	for len(data) > 0 {
		n := 4 + int(binary.LittleEndian.Uint32(data))
		if n > len(data) {
			t.Fatalf("a row of %d bytes in %d", n, len(data))
		}
		rows, data = append(rows, bytes.Clone(data[:n])), data[n:]
	}
	return rows
}

// TestCheckFindsPlantedSnapshots: a snapshot whose checksums are right and whose table of items says what is not so is named, also
// where recovery would pass it over.
func TestCheckFindsPlantedSnapshots(t *testing.T) {
	fs := vfs.NewMem()
	plantedStore(t, fs)
	const header = 4 + 8 + 2 // size, LSN, length of the id
	live := func(t *testing.T, rows [][]byte, from int) int {
		for i := from; i < len(rows); i++ {
			if len(rows[i]) > header {
				return i
			}
		}
		t.Fatal("no live item")
		return 0
	}
	for name, c := range map[string]struct {
		change func(t *testing.T, rows [][]byte)
		want   string
	}{
		"nothing":     {func(*testing.T, [][]byte) {}, ""},
		"another LSN": {func(t *testing.T, rows [][]byte) { rows[live(t, rows, 0)][4]++ }, "in the graph at"},
		"another id":  {func(t *testing.T, rows [][]byte) { rows[live(t, rows, 0)][header+6] = 'x' }, "is stored but not in the graph"},
		"an id twice": {func(t *testing.T, rows [][]byte) { i := live(t, rows, 0); rows[live(t, rows, i+1)] = rows[i] }, "stands twice"},
		"two items in other slots": {func(t *testing.T, rows [][]byte) {
			i := live(t, rows, 0)
			j := live(t, rows, i+1)
			rows[i], rows[j] = rows[j], rows[i]
		}, "in the graph, "},
		"an item missing":           {func(t *testing.T, rows [][]byte) { rows[live(t, rows, 0)] = make([]byte, 4) }, "does not match the image"},
		"other attributes":          {func(t *testing.T, rows [][]byte) { r := rows[live(t, rows, 0)]; r[len(r)-1] ^= 2 }, "other attributes in memory"},
		"an id longer than the row": {func(t *testing.T, rows [][]byte) { rows[live(t, rows, 0)][13] = 0x70 }, "does not match the image"},
	} {
		t.Run(name, func(t *testing.T) {
			damaged := copyOf(t, fs)
			rewriteSnapshot(t, damaged, 1, func(section string, _ int, data []byte) []byte {
				if section != sectionItems {
					return data
				}
				rows := itemRows(t, data)
				c.change(t, rows)
				return bytes.Join(rows, nil)
			})
			got := strings.Join(findings(t, damaged), "\n")
			if c.want == "" {
				if got != "" {
					t.Errorf("found %s", got)
				}
				return
			}
			if !strings.Contains(got, c.want) || !strings.Contains(got, "release 1, snapshot 3") {
				t.Errorf("no %q of snapshot 3 in:\n%s", c.want, got)
			}
		})
	}
}

// TestCheckOrRightAnswers changes bytes of every section of a snapshot whose checksums are right. Either Check names the snapshot, or
// the store opens and answers as before: exactly by every vector, and with every item that is asked for itself first.
func TestCheckOrRightAnswers(t *testing.T) {
	const each = 12
	fs := vfs.NewMem()
	plantedStore(t, fs)
	sections := make(map[string]int) // bytes of the first slab
	rewriteSnapshot(t, copyOf(t, fs), 2, func(section string, n int, data []byte) []byte {
		if n == 0 && len(data) > 0 {
			sections[section] = len(data)
		}
		return data
	})
	if len(sections) < 3 {
		t.Fatalf("sections %v", sections)
	}
	answers := func(fs vfs.FS) string {
		var b strings.Builder
		e, err := Open(t.Context(), "store", testOptions(fs))
		if err != nil {
			return err.Error()
		}
		defer e.Close()
		c, err := e.Collection("tracks")
		if err != nil {
			return err.Error()
		}
		rng := rand.New(rand.NewPCG(1, 8))
		for range 20 {
			result, err := c.Search(t.Context(), SearchRequest{Query: Query{Vector: randomVector(rng, 8)}, K: 60, Exact: true})
			if err != nil {
				return err.Error()
			}
			for _, n := range result.Neighbors {
				b.WriteString(n.ItemID + " ")
			}
		}
		return b.String()
	}
	want := answers(copyOf(t, fs))
	rng := rand.New(rand.NewPCG(5, 5))
	for section, size := range sections {
		named, harmless := 0, 0
		for range each {
			at, bit := rng.IntN(size), byte(1)<<rng.IntN(8)
			damaged := copyOf(t, fs)
			rewriteSnapshot(t, damaged, 2, func(s string, n int, data []byte) []byte {
				if s == section && n == 0 {
					data[at] ^= bit
				}
				return data
			})
			if len(findings(t, damaged)) > 0 {
				named++
				continue
			}
			harmless++
			if got := answers(damaged); got != want {
				t.Errorf("section %s, byte %d, bit %#x: not named, and another answer:\n%s\nwant\n%s", section, at, bit, got, want)
			}
		}
		t.Logf("section %s of %d bytes: %d named, %d harmless", section, size, named, harmless)
	}
}
