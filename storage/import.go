package storage

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// ImportChunk is a part of a bulk load: rows, and what is to be known of the load once they are there.
type ImportChunk struct {
	// Rows and Profiles replace rows of the same id; of two with one id the later stands.
	Rows     []ItemRow
	Profiles []ProfileRow
	// Progress replaces what Collection.ImportProgress returns.
	Progress []byte
	// Rejects are appended to those from FirstReject on.
	Rejects     [][]byte
	FirstReject uint64
	// Graph are pieces of a graph over the rows, appended to those from FirstGraph on; each has at most MaxGraphBytes.
	Graph      [][]byte
	FirstGraph uint64
}

// MaxGraphBytes bounds a piece of a graph: that of a snapshot's fragment, for the same reason.
const MaxGraphBytes = fragmentBytes

const importVersion = 1

// Import makes a chunk durable, whole or not at all, past the write-ahead log and the log of the release: rows and
// bookkeeping are written into files of Pebble's table format, which Pebble adopts in one step. It sorts the rows.
//
// It is for releases that are being filled: rows that are written through a Batch at the same time may be shadowed
// by older imported ones. Not safe for concurrent use on one release.
func (c *Collection) Import(chunk ImportChunk) error {
	size := len(chunk.Progress)
	for i := range chunk.Rows {
		r := &chunk.Rows[i]
		if err := checkRow("id", r.ID, r.LSN, len(r.Vector), len(r.Attributes)); err != nil {
			return err
		}
		size += itemValueLen(r) + len(r.ID)
	}
	for i := range chunk.Profiles {
		r := &chunk.Profiles[i]
		if err := checkRow("user id", r.UserID, r.LSN, len(r.Vectors), len(r.Attributes)); err != nil {
			return err
		}
		size += profileValueLen(r) + len(r.UserID)
	}
	for _, b := range chunk.Rejects {
		size += len(b)
	}
	for _, b := range chunk.Graph {
		if len(b) > MaxGraphBytes {
			return &ValueError{Field: "graph", Rule: fmt.Sprintf("piece of %d bytes exceeds %d", len(b), MaxGraphBytes)}
		}
		size += len(b)
	}
	s := c.s
	if err := s.enterWrite(); err != nil {
		return err
	}
	defer s.leave()
	if err := s.checkSpace(size); err != nil {
		return err
	}
	var files importFiles
	err := c.writeImport(&files, &chunk)
	if err == nil {
		err = s.ingest(files.paths)
	}
	if err != nil {
		return errors.Join(err, files.remove(s.fs))
	}
	return nil
}

// importFiles are the files of a chunk that Pebble has not adopted yet.
type importFiles struct{ paths []string }

func (f *importFiles) remove(fsys vfs.FS) error {
	var errs []error
	for _, p := range f.paths {
		if err := fsys.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// writeImport writes items, profiles, pieces of a graph and bookkeeping into a file each: kept apart, none spans keys of anybody else,
// so that adopting them never has to wait for a memtable.
func (c *Collection) writeImport(files *importFiles, chunk *ImportChunk) error {
	slices.SortStableFunc(chunk.Rows, func(a, b ItemRow) int { return strings.Compare(a.ID, b.ID) })
	slices.SortStableFunc(chunk.Profiles, func(a, b ProfileRow) int { return strings.Compare(a.UserID, b.UserID) })
	err := c.writeRows(files, kindItem, len(chunk.Rows),
		func(i int) (string, int) { return chunk.Rows[i].ID, itemValueLen(&chunk.Rows[i]) },
		func(key, value []byte, i int) { encodeItem(key, value, &chunk.Rows[i]) })
	if err != nil {
		return err
	}
	err = c.writeRows(files, kindProfile, len(chunk.Profiles),
		func(i int) (string, int) { return chunk.Profiles[i].UserID, profileValueLen(&chunk.Profiles[i]) },
		func(key, value []byte, i int) { encodeProfile(key, value, &chunk.Profiles[i]) })
	if err != nil {
		return err
	}
	if len(chunk.Graph) > 0 {
		err = c.writeTable(files, func(t *sstable.Writer) error {
			for i, b := range chunk.Graph {
				key := graphKey(c.id, c.release, chunk.FirstGraph+uint64(i))
				if err := t.Set(key, encodeImport(key, b)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return c.writeTable(files, func(t *sstable.Writer) error {
		key := progressKey(c.id, c.release)
		if err := t.Set(key, encodeImport(key, chunk.Progress)); err != nil {
			return err
		}
		for i, b := range chunk.Rejects {
			key := rejectKey(c.id, c.release, chunk.FirstReject+uint64(i))
			if err := t.Set(key, encodeImport(key, b)); err != nil {
				return err
			}
		}
		return nil
	})
}

// writeRows writes n rows of one kind, which ascend by id, into a file; of rows with the same id only the last.
func (c *Collection) writeRows(files *importFiles, kind byte, n int, row func(i int) (id string, size int), encode func(key, value []byte, i int)) error {
	if n == 0 {
		return nil
	}
	return c.writeTable(files, func(t *sstable.Writer) error {
		var value []byte
		for i := range n {
			id, size := row(i)
			if i+1 < n {
				if next, _ := row(i + 1); next == id {
					continue
				}
			}
			key := rowKey(kind, c.id, c.release, id)
			value = append(value[:0], make([]byte, size)...)
			encode(key, value, i)
			if err := t.Set(key, value); err != nil {
				return err
			}
		}
		return nil
	})
}

// writeTable writes one file of rows in key order, synced when it returns.
func (c *Collection) writeTable(files *importFiles, fill func(*sstable.Writer) error) error {
	s := c.s
	dir := s.fs.PathJoin(s.dir, ingestDir)
	if err := s.fs.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	path := s.fs.PathJoin(dir, fmt.Sprintf("import-%d-%d-%d.sst", c.id, c.release, s.count.imports.Add(1)))
	f, err := s.fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	files.paths = append(files.paths, path)
	f = vfs.NewSyncingFile(f, vfs.SyncingFileOptions{BytesPerSync: 4 << 20})
	t := sstable.NewWriter(objstorageprovider.NewFileWritable(f), s.tableOptions())
	return cmp.Or(fill(t), t.Close())
}

func encodeImport(key, b []byte) []byte {
	v := make([]byte, envelopeLen, envelopeLen+len(b))
	v = append(v, b...)
	sealEnvelope(key, v, importVersion)
	return v
}

// decodeImport returns a copy of the caller's bytes.
func decodeImport(key, value []byte) ([]byte, error) {
	if err := openEnvelope(key, value, "import row", importVersion, envelopeLen); err != nil {
		return nil, err
	}
	return append([]byte(nil), value[envelopeLen:]...), nil
}

// ImportProgress returns what the last Import of this release set. ErrNotFound.
func (c *Collection) ImportProgress() ([]byte, error) {
	if err := c.s.enter(); err != nil {
		return nil, err
	}
	defer c.s.leave()
	key := progressKey(c.id, c.release)
	value, done, err := c.s.get(key)
	if err != nil {
		return nil, err
	}
	defer done()
	return decodeImport(key, value)
}

// ImportRejects yields the rejects from number n on, in order. An error is yielded once, last. The caller owns the
// bytes.
func (c *Collection) ImportRejects(n uint64) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) { c.importRows(rejectKey(c.id, c.release, n), yield) }
}

// ImportGraph yields the pieces of the graph that the import brought, in order. An error is yielded once, last. The caller owns
// the bytes.
func (c *Collection) ImportGraph() iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) { c.importRows(graphKey(c.id, c.release, 0), yield) }
}

// DropImportGraph removes the pieces of the graph, durably when it returns.
func (c *Collection) DropImportGraph() error {
	s := c.s
	if err := s.enterWrite(); err != nil {
		return err
	}
	defer s.leave()
	key := graphKey(c.id, c.release, 0)
	return s.removeSpan(keySpan(key[:prefixLen+1]))
}

// importRows yields the rows of an import of one kind, from a key on.
func (c *Collection) importRows(start []byte, yield func([]byte, error) bool) {
	if err := c.s.enter(); err != nil {
		yield(nil, err)
		return
	}
	defer c.s.leave()
	_, end := keySpan(start[:prefixLen+1])
	stopped := false
	err := c.s.scan(start, end, func(key, value []byte) (bool, error) {
		b, err := decodeImport(key, value)
		if err != nil {
			return false, err
		}
		stopped = !yield(b, nil)
		return !stopped, nil
	})
	if err != nil && !stopped {
		yield(nil, err)
	}
}

// checkImports verifies every import row: rejects, and pieces of a graph, are numbered from 0 without a gap; rejects come in chunks,
// which have progress.
func (c *checker) checkImports() {
	var at releaseID
	var progress, began bool
	var next, piece uint64
	start, end := keySpan([]byte{kindImport})
	c.scan(start, end, func(key, value []byte) {
		k, ok := parseKey(key)
		if !ok {
			c.find(Fault, formatKeyForPeople(key), "malformed key")
			return
		}
		if id := (releaseID{k.collection, k.release}); id != at || !began {
			at, progress, began, next, piece = id, false, true, 0, 0
			c.owned(kindImport, id)
		}
		if _, err := decodeImport(key, value); err != nil {
			c.report(faultOf("", err))
		}
		switch k.sub {
		case importProgress:
			progress = true
			return
		case importGraph:
			if k.number != piece {
				c.find(Fault, formatKeyForPeople(graphKey(k.collection, k.release, piece)), "pieces %d..%d of the graph are missing", piece, k.number-1)
			}
			piece = k.number + 1
			return
		}
		if !progress && next == 0 {
			c.find(Fault, formatKeyForPeople(key), "reject of an import without progress")
		}
		if k.number != next {
			c.find(Fault, formatKeyForPeople(rejectKey(k.collection, k.release, next)), "rejects %d..%d are missing", next, k.number-1)
		}
		next = k.number + 1
	})
}
