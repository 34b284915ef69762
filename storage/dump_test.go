package storage

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"testing"
)

// dumped are the releases that dump looks at.
var dumped = []releaseID{{1, 0}, {1, 1}, {2, 0}, {1, 2}, {1, 3}}

// dump renders everything a reader can see, one fact a line. Two stores with equal dumps answer alike.
func dump(s *Store) (string, error) {
	var b strings.Builder
	rows, err := s.Collections()
	if err != nil {
		return "", err
	}
	for _, r := range rows {
		fmt.Fprintf(&b, "collection %d %q %q\n", r.ID, r.Name, r.Config)
	}
	next, err := s.NextCollectionID()
	if err != nil {
		return "", err
	}
	fmt.Fprintf(&b, "next id %d\n", next)
	for _, id := range dumped {
		if err := dumpRelease(&b, s.Collection(id.collection, id.release)); err != nil {
			return "", err
		}
	}
	for _, r := range rows {
		if err := dumpExclusions(&b, s, r.ID); err != nil {
			return "", err
		}
		for q, err := range s.Requests(r.ID) {
			if err != nil {
				return "", err
			}
			fmt.Fprintf(&b, "request %d %d %q\n", r.ID, q.LSN, q.Data)
		}
	}
	aliases, err := s.Aliases()
	if err != nil {
		return "", err
	}
	for _, a := range aliases {
		fmt.Fprintf(&b, "alias %q %d\n", a.Name, a.Collection)
	}
	return b.String(), nil
}

// dumpExclusions writes the sets that the workload writes.
func dumpExclusions(b *strings.Builder, s *Store, collection uint32) error {
	for _, set := range []string{"user-1", "user-10"} {
		for r, err := range s.Exclusions(collection, set, "", 0) {
			if err != nil {
				return err
			}
			fmt.Fprintf(b, "exclusion %d %q %q %d\n", collection, set, r.ItemID, r.ExpireTime)
		}
	}
	return nil
}

func dumpRelease(b *strings.Builder, c *Collection) error {
	fmt.Fprintf(b, "release %d/%d\n", c.ID(), c.Release())
	for r, err := range c.Items("", 0) {
		if err != nil {
			return err
		}
		one, err := c.Item(r.ID)
		if err != nil {
			return fmt.Errorf("point read: %w", err)
		}
		if itemLine(one) != itemLine(r) {
			return fmt.Errorf("scan sees %s, point read %s", itemLine(r), itemLine(one))
		}
		b.WriteString(itemLine(r))
	}
	for r, err := range c.Profiles("", 0) {
		if err != nil {
			return err
		}
		fmt.Fprintf(b, " profile %q lsn %d %d/%d/%d %08x %q\n", r.UserID, r.LSN, r.DType, r.Dim, r.Count, crc32.ChecksumIEEE(r.Vectors), r.Attributes)
	}
	first, err := c.FirstLSN()
	if err != nil {
		return err
	}
	last, err := c.LastLSN()
	if err != nil {
		return err
	}
	fmt.Fprintf(b, " log %d..%d\n", first, last)
	if err := c.Log(first, func(r LogRecord) error {
		fmt.Fprintf(b, "  %d %v %q\n", r.LSN, r.Kind, r.ID)
		return nil
	}); err != nil {
		return err
	}
	return errors.Join(dumpImport(b, c), dumpSnapshots(b, c))
}

func dumpImport(b *strings.Builder, c *Collection) error {
	progress, err := c.ImportProgress()
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	if err == nil {
		fmt.Fprintf(b, " import %q\n", progress)
	}
	for r, err := range c.ImportRejects(0) {
		if err != nil {
			return err
		}
		fmt.Fprintf(b, "  %q\n", r)
	}
	for g, err := range c.ImportGraph() {
		if err != nil {
			return err
		}
		fmt.Fprintf(b, "  graph %q\n", g)
	}
	return nil
}

func itemLine(r ItemRow) string {
	return fmt.Sprintf(" item %q lsn %d %d/%d %08x %q\n", r.ID, r.LSN, r.DType, r.Dim, crc32.ChecksumIEEE(r.Vector), r.Attributes)
}

func dumpSnapshots(b *strings.Builder, c *Collection) error {
	infos, err := c.Snapshots()
	if err != nil {
		return err
	}
	for _, info := range infos {
		if info.Err != nil {
			return info.Err
		}
		r, err := c.OpenSnapshot(info.Generation)
		if err != nil {
			return err
		}
		fmt.Fprintf(b, " snapshot %d lsn %d %v %q %q\n", info.Generation, info.LSN, info.CreateTime.UnixMicro(), r.Header().Engine, r.Header().Index)
		for _, sec := range r.Header().Sections {
			for n := range sec.Slabs {
				data, err := r.ReadSlab(sec.Name, n, nil)
				if err != nil {
					return err
				}
				fmt.Fprintf(b, "  slab %s/%d %d %08x\n", sec.Name, n, len(data), crc32.ChecksumIEEE(data))
			}
		}
	}
	return nil
}

// step is one logical change of a store: after a crash it is there whole or not at all.
type step struct {
	name string
	do   func(s *Store) error
}

// workload touches every kind of row and every way a store changes its files. Flushes and compactions are
// asked for, so that the table files and the MANIFEST change too. size is the length of vectors and slabs.
func workload(size int) []step {
	commit := func(coll, release uint32, first uint64, fill func(b *Batch, lsn uint64) error, n uint64) func(*Store) error {
		return func(s *Store) error {
			b := s.Collection(coll, release).NewBatch()
			defer b.Close()
			for lsn := first; lsn < first+n; lsn++ {
				if err := fill(b, lsn); err != nil {
					return err
				}
			}
			return b.Commit()
		}
	}
	put := func(b *Batch, lsn uint64) error {
		id := fmt.Sprintf("track-%d", lsn%7)
		return b.PutItem(ItemRow{ID: id, LSN: lsn, DType: 1, Dim: uint32(size / 4), Vector: slabBytes(lsn, id, 0, size), Attributes: []byte(id)})
	}
	drop := func(b *Batch, lsn uint64) error { return b.DeleteItem(fmt.Sprintf("track-%d", lsn%7), lsn) }
	user := func(b *Batch, lsn uint64) error {
		if lsn%3 == 0 {
			return b.DeleteProfile("user-1", lsn)
		}
		return b.PutProfile(ProfileRow{UserID: fmt.Sprintf("user-%d", lsn%3), LSN: lsn, DType: 1, Dim: 2, Count: 2, Vectors: slabBytes(lsn, "u", 0, 16)})
	}
	request := func(lsn, below uint64) func(*Store) error {
		return func(s *Store) error {
			b := s.Collection(1, 2).NewBatch()
			defer b.Close()
			if err := put(b, lsn); err != nil {
				return err
			}
			return errors.Join(b.PutRequest(lsn, []byte(fmt.Sprint("request ", lsn))), b.DropRequests(below), b.Commit())
		}
	}
	load := func(release uint32, from, to int, reject uint64, rejects int) func(*Store) error {
		return func(s *Store) error {
			c := ImportChunk{Progress: []byte(fmt.Sprintf("up to %d", to)), FirstReject: reject}
			for i := to - 1; i >= from; i-- {
				id := fmt.Sprintf("track-%d", i)
				c.Rows = append(c.Rows, ItemRow{ID: id, LSN: 4, DType: 1, Dim: uint32(size / 4), Vector: slabBytes(uint64(to), id, 0, size)})
			}
			for i := range rejects {
				c.Rejects = append(c.Rejects, []byte(fmt.Sprintf("reject %d", i)))
			}
			return s.Collection(1, release).Import(c)
		}
	}
	graph := func(release uint32, from, to uint64) func(*Store) error {
		return func(s *Store) error {
			c := ImportChunk{Progress: []byte(fmt.Sprintf("graph up to %d", to)), FirstGraph: from}
			for i := from; i < to; i++ {
				c.Graph = append(c.Graph, []byte(fmt.Sprintf("piece %d", i)))
			}
			return s.Collection(1, release).Import(c)
		}
	}
	catalog := func(id uint32, config string) func(*Store) error {
		return func(s *Store) error {
			return s.PutCollection(CollectionRow{ID: id, Name: fmt.Sprint("c", id), Config: []byte(config)})
		}
	}
	return []step{
		{"create collection 1", catalog(1, "a")},
		{"items", commit(1, 0, 1, put, 5)},
		{"more items", commit(1, 0, 6, put, 4)},
		{"create collection 2", catalog(2, "b")},
		{"items of 2", commit(2, 0, 1, put, 3)},
		{"flush", func(s *Store) error { return s.db.Flush() }},
		{"exclusions", func(s *Store) error {
			return s.PutExclusions(1, "user-1", []ExclusionRow{{"track-1", 0}, {"track-2", 5}})
		}},
		{"exclusions of 2", func(s *Store) error { return s.PutExclusions(2, "user-1", []ExclusionRow{{"track-1", 0}}) }},
		{"deletions", commit(1, 0, 10, drop, 2)},
		{"profiles", commit(1, 0, 12, user, 4)},
		{"items of release 1", commit(1, 1, 1, put, 2)},
		{"snapshot 1", func(s *Store) error { return writeSnapshot(s.Collection(1, 0), 1, 15, size) }},
		{"items over the snapshot", commit(1, 0, 16, put, 3)},
		{"compact", func(s *Store) error { return s.db.Compact(context.Background(), []byte{0}, []byte{0xff}, false) }},
		{"snapshot 2", func(s *Store) error { return writeSnapshot(s.Collection(1, 0), 2, 18, size) }},
		{"more exclusions", func(s *Store) error {
			return s.PutExclusions(1, "user-1", []ExclusionRow{{"track-2", 7}, {"track-3", 0}})
		}},
		{"fewer exclusions", func(s *Store) error { return s.DeleteExclusions(1, "user-1", []string{"track-1", "nothing"}) }},
		{"another set", func(s *Store) error { return s.PutExclusions(1, "user-10", []ExclusionRow{{"track-1", 0}}) }},
		{"drop set", func(s *Store) error { return s.DropExclusionSet(1, "user-10") }},
		{"change collection 1", catalog(1, "a2")},
		{"trim", func(s *Store) error { return s.Collection(1, 0).TrimLog(14) }},
		{"drop snapshot 1", func(s *Store) error { return s.Collection(1, 0).DropSnapshot(1) }},
		{"alias", func(s *Store) error { return s.PutAlias(AliasRow{"live", 2}) }},
		{"another alias", func(s *Store) error { return s.PutAlias(AliasRow{"old", 1}) }},
		{"a third", func(s *Store) error { return s.PutAlias(AliasRow{"dropped", 2}) }},
		{"alias moved", func(s *Store) error { return s.PutAlias(AliasRow{"live", 1}) }},
		{"alias deleted", func(s *Store) error { return errors.Join(s.DeleteAlias("old"), s.DeleteAlias("none")) }},
		{"drop collection 2", func(s *Store) error { return s.DropCollection(2) }},
		{"start release 2", func(s *Store) error { return s.Collection(1, 2).StartLog(5) }},
		{"import", load(2, 0, 5, 0, 2)},
		{"import more", load(2, 3, 9, 2, 1)},
		{"items over the import", commit(1, 2, 5, put, 2)},
		{"skipped", commit(1, 2, 7, func(b *Batch, lsn uint64) error { return b.Skip("job", lsn) }, 1)},
		{"expired", commit(1, 2, 8, func(b *Batch, lsn uint64) error {
			if lsn == 8 {
				return b.ExpireItem("track-5", lsn)
			}
			return b.ExpireProfile("user-1", lsn)
		}, 2)},
		{"a request", request(10, 0)},
		{"another request", request(11, 0)},
		{"requests forgotten", request(12, 11)},
		{"import into release 3", load(3, 0, 2, 0, 0)},
		{"graph of release 3", graph(3, 0, 2)},
		{"drop release 3", func(s *Store) error { return s.DropRelease(1, 3) }},
		{"graph", graph(2, 0, 3)},
		{"no graph", func(s *Store) error { return s.Collection(1, 2).DropImportGraph() }},
		{"another graph", graph(2, 0, 2)},
		{"more of it", graph(2, 2, 3)},
		{"last items", commit(1, 0, 19, put, 2)},
	}
}

// runWorkload does every step and returns the dumps: the first of the empty store, then one after each step.
func runWorkload(t testing.TB, s *Store, steps []step) []string {
	t.Helper()
	var dumps []string
	for i := -1; i < len(steps); i++ {
		if i >= 0 {
			if err := steps[i].do(s); err != nil {
				t.Fatalf("%s: %v", steps[i].name, err)
			}
		}
		d, err := dump(s)
		if err != nil {
			t.Fatal(err)
		}
		dumps = append(dumps, d)
	}
	return dumps
}

// leftovers returns an error if a store that was just opened holds rows that belong to no visible state.
func leftovers(s *Store) error {
	ids, err := s.pending()
	if err != nil {
		return err
	}
	if len(ids) != 0 {
		return fmt.Errorf("pending snapshots after Open: %v", ids)
	}
	headers := make(map[snapshotID]bool)
	var errs []error
	err = s.scan([]byte{0}, []byte{0xff}, func(key, _ []byte) (bool, error) {
		k, ok := parseKey(key)
		id := snapshotID{releaseID{k.collection, k.release}, k.gen}
		switch {
		case !ok:
			errs = append(errs, fmt.Errorf("unknown key %x", key))
		case k.kind == kindSnapshot && k.sub == snapshotHeader:
			headers[id] = true
		case k.kind == kindSnapshot && !headers[id]:
			errs = append(errs, fmt.Errorf("slab without header: %s", formatKeyForPeople(key)))
		}
		return true, nil
	})
	return errors.Join(append(errs, err)...)
}
