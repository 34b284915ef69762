package engine

import (
	"errors"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/segue-ann/segue/internal/mapped"
)

// inFile is the configuration of a collection whose vectors lie in a file.
func inFile(name string, dim int) CollectionConfig {
	return CollectionConfig{Name: name, Dim: dim, Metric: L2, VectorStorage: VectorsInFile}
}

// TestVectorsInFile: a collection whose vectors lie in a file of the data directory answers as the oracle does through upserts,
// replacements, deletions, a snapshot and a restart, counts the file apart from its memory, and leaves no name behind.
func TestVectorsInFile(t *testing.T) {
	notUnderRace(t)
	const n, dim = 1500, 32 // enough for codes, so that walks leave the file alone
	dir := t.TempDir()
	e, err := Open(t.Context(), dir, testOptions(nil))
	if err != nil {
		t.Fatal(err)
	}
	c, err := e.CreateCollection(t.Context(), inFile("tracks", dim))
	if errors.Is(err, mapped.ErrUnsupported) {
		t.Skip(errors.Join(err, e.Close()))
	}
	if err != nil {
		t.Fatal(err)
	}
	plain, err := e.CreateCollection(t.Context(), CollectionConfig{Name: "plain", Dim: dim, Metric: L2})
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(83, 83))
	items := randomItems(rng, n, dim)
	mustUpsert(t, c, items...)
	mustUpsert(t, plain, items...)
	here, there := statistics(t, c), statistics(t, plain)
	// Levels are other ones in another collection, and with them the rows of links above level 0.
	if off := here.IndexBytes + here.FileBytes - there.IndexBytes; here.FileBytes != int64(4*dim*n) || max(off, -off) > there.IndexBytes/100 || there.FileBytes != 0 {
		t.Errorf("%d bytes and %d in a file; in memory %d and %d", here.IndexBytes, here.FileBytes, there.IndexBytes, there.FileBytes)
	}
	var gone []string
	for i := range 100 {
		gone = append(gone, items[i].ID)
		items[i+100].Vector = randomVector(rng, dim)
	}
	mustUpsert(t, c, items[100:200]...)
	if _, err := c.CreateSnapshot(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Delete(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	want := oracleOf(L2, items[100:])
	for _, when := range []string{"before", "after"} {
		for range 30 {
			q := randomVector(rng, dim)
			res, err := c.Search(t.Context(), SearchRequest{Query: Query{Vector: q}, K: 10, Ef: 600})
			if err != nil {
				t.Fatal(err)
			}
			if err := want.agrees(q, 10, "", res.Neighbors); err != nil {
				t.Errorf("%s the restart: %v", when, err)
			}
		}
		if err := c.published.Load().index.Check(); err != nil {
			t.Error(err)
		}
		if s := statistics(t, c); s.FileBytes < int64(4*dim*n) || s.Items != n-100 {
			t.Errorf("%s the restart: %+v", when, s)
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		names, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if strings.HasPrefix(name.Name(), "vectors-") {
				t.Errorf("%s is left behind", name.Name())
			}
		}
		if when == "before" {
			if e, err = Open(t.Context(), dir, testOptions(nil)); err != nil {
				t.Fatal(err)
			}
			if c, err = e.Collection("tracks"); err != nil {
				t.Fatal(err)
			}
			if c.Config().VectorStorage != VectorsInFile {
				t.Error("the configuration is forgotten")
			}
		}
	}
}

func statistics(t *testing.T, c *Collection) Statistics {
	t.Helper()
	s, err := c.Statistics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestVectorsInFileRefused: where the directory cannot hold the file, there is no collection, and its name is free.
func TestVectorsInFileRefused(t *testing.T) {
	e := open(t, "no such directory", testOptions(vfs.NewMem()))
	_, err := e.CreateCollection(t.Context(), inFile("tracks", 8))
	if err == nil || runtime.GOOS == "linux" && !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("created in a directory that is not there: %v", err)
	}
	if _, err := e.CreateCollection(t.Context(), CollectionConfig{Name: "tracks", Dim: 8, Metric: L2}); err != nil {
		t.Error(err)
	}
}
