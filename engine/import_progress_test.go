package engine

import (
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestFinishedImportKeepsItsNumbers: what an import took and built is told when it is ready, when it is published, and after a
// restart.
func TestFinishedImportKeepsItsNumbers(t *testing.T) {
	fs := vfs.NewMem()
	e := open(t, "store", testOptions(fs))
	c, err := e.CreateCollection(t.Context(), CollectionConfig{Name: "tracks", Dim: 4, Metric: L2})
	if err != nil {
		t.Fatal(err)
	}
	const job = "night"
	if _, err := c.StartImport(t.Context(), ImportOptions{JobID: job}); err != nil {
		t.Fatal(err)
	}
	for seq, rows := range []ImportRows{
		{Items: []Item{{ID: "a", Vector: make1(4)}, {ID: "b", Vector: make1(4)}, {ID: "bad", Vector: make1(3)}}},
		{Items: []Item{{ID: "b", Vector: make1(4)}}, Profiles: []Profile{{UserID: "u", Interests: []Interest{{Vector: make1(4)}}}}},
	} {
		rows.Sequence = uint64(seq + 1)
		if _, err := c.WriteImport(t.Context(), job, rows, false); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.CommitImport(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	expect := func(info ImportInfo, err error) {
		t.Helper()
		if err != nil || info.Sequence != 2 || info.Accepted != 4 || info.Rejected != 1 || info.Duplicates != 1 || info.Built != 2 || info.Total != 2 {
			t.Fatalf("%+v, %v", info, err)
		}
	}
	info, err := c.WaitImport(t.Context(), job)
	expect(info, err)
	mustPublish(t, c, info.Release)
	expect(c.Import(t.Context(), job))
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if c, err = open(t, "store", testOptions(fs)).Collection("tracks"); err != nil {
		t.Fatal(err)
	}
	expect(c.Import(t.Context(), job))
}

// TestProgressDoesNotWaitForAChunk: who asks how far an import is, metrics among them, does not wait for the disk.
func TestProgressDoesNotWaitForAChunk(t *testing.T) {
	e := open(t, "store", testOptions(vfs.NewMem()))
	c, err := e.CreateCollection(t.Context(), CollectionConfig{Name: "tracks", Dim: 4, Metric: L2})
	if err != nil {
		t.Fatal(err)
	}
	const job = "night"
	if _, err := c.StartImport(t.Context(), ImportOptions{JobID: job, ExpectedItems: 7}); err != nil {
		t.Fatal(err)
	}
	rows := ImportRows{Sequence: 1, Items: []Item{{ID: "a", Vector: make1(4)}, {ID: "bad"}}}
	if _, err := c.WriteImport(t.Context(), job, rows, true); err != nil {
		t.Fatal(err)
	}
	c.jobsMu.Lock()
	j := c.jobs[job]
	c.jobsMu.Unlock()
	j.mu.Lock() // as while a chunk is written
	defer j.mu.Unlock()
	told := make(chan ImportInfo, 1)
	go func() {
		info, err := c.Import(t.Context(), job)
		if err != nil {
			t.Error(err)
		}
		told <- info
	}()
	select {
	case info := <-told:
		if info.Sequence != 1 || info.Accepted != 1 || info.Rejected != 1 || info.Total != 7 {
			t.Errorf("%+v", info)
		}
	case <-time.After(30 * time.Second):
		t.Error("waits for the chunk")
	}
}
