package storage

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/klauspost/compress/zstd"
)

// ErrSnapshotExists is returned by NewSnapshot for a generation that exists or is being written.
var ErrSnapshotExists = errors.New("storage: snapshot exists")

// errSnapshotDone is returned for a SnapshotWriter that is used after Commit or Abort.
var errSnapshotDone = errors.New("storage: snapshot writer is finished")

// maxSnapshotFileBytes is where a snapshot file is cut. Smaller files would only cost opens; larger ones
// would only be slower to drop.
const maxSnapshotFileBytes = 128 << 20

// snapshotID names one generation.
type snapshotID struct {
	releaseID
	gen uint64
}

// SnapshotWriter writes one generation of slabs and makes it visible with Commit. Exactly one of Commit and
// Abort ends it; Abort after Commit does nothing, so that it can be deferred. Not safe for concurrent use, but
// any number of writers may be open beside each other and beside all other work of the store.
//
// The slabs go into files of Pebble's table format, which Pebble takes over at Commit (Ingest): written
// once, in order, past the write-ahead log. Steps, each durable before the next: pending mark, files, their
// adoption, and one batch that replaces the mark with the header. A crash before the last leaves a mark; Open
// removes what it stands for.
type SnapshotWriter struct {
	c        *Collection
	id       snapshotID
	enc      *zstd.Encoder
	buf      []byte
	sections []section
	index    map[string]int // into sections

	table *sstable.Writer // open file, or nil
	bytes int             // written into table
	tail  string          // section at the end of table
	paths []string        // of all files, the open one included
	done  bool
	err   error // the first failure; every later call returns it
}

// writers is the set of generations being written.
type writers struct {
	mu   sync.Mutex
	open map[snapshotID]bool
}

func (w *writers) add(id snapshotID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.open[id] {
		return false
	}
	if w.open == nil {
		w.open = make(map[snapshotID]bool)
	}
	w.open[id] = true
	return true
}

func (w *writers) remove(id snapshotID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.open, id)
}

// NewSnapshot starts generation gen. ErrSnapshotExists.
func (c *Collection) NewSnapshot(gen uint64) (*SnapshotWriter, error) {
	s := c.s
	if err := s.enterWrite(); err != nil {
		return nil, err
	}
	defer s.leave()
	if err := s.checkSpace(0); err != nil {
		return nil, err
	}
	id := snapshotID{releaseID{c.id, c.release}, gen}
	if !s.writers.add(id) {
		return nil, ErrSnapshotExists
	}
	w, err := c.newSnapshot(id)
	if err != nil {
		s.writers.remove(id)
		return nil, err
	}
	return w, nil
}

func (c *Collection) newSnapshot(id snapshotID) (*SnapshotWriter, error) {
	s := c.s
	_, done, err := s.get(id.headerKey())
	if err == nil {
		done()
		return nil, ErrSnapshotExists
	}
	if !errors.Is(err, ErrNotFound) {
		return nil, err
	}
	// A mark that is there already is of an Abort that failed.
	if err := s.discardPending(id); err != nil {
		return nil, err
	}
	enc, err := newSlabEncoder()
	if err != nil {
		return nil, err
	}
	b := s.db.NewBatch()
	defer b.Close()
	key := id.pendingKey()
	if err := b.Set(key, encodePending(key), nil); err != nil {
		return nil, err
	}
	if err := s.apply(b); err != nil {
		return nil, err
	}
	return &SnapshotWriter{c: c, id: id, enc: enc, index: make(map[string]int)}, nil
}

func (id snapshotID) headerKey() []byte {
	return snapshotKey(id.collection, id.release, snapshotHeader, id.gen)
}

func (id snapshotID) pendingKey() []byte { return pendingKey(id.collection, id.release, id.gen) }

// Slab writes slab n of a section; data is copied. The slabs of a section come in order from 0; sections
// should come one after another, since each change of section starts a new file. compress asks for zstd.
// An error is final for the writer.
func (w *SnapshotWriter) Slab(section string, n int, compress bool, data []byte) error {
	return w.run(func() error { return w.slab(section, n, compress, data) })
}

func (w *SnapshotWriter) slab(name string, n int, compress bool, data []byte) error {
	if err := checkSection(name); err != nil {
		return err
	}
	if len(data) > MaxSlabBytes {
		return &ValueError{Field: "data", Rule: fmt.Sprintf("slab of %d bytes exceeds %d", len(data), MaxSlabBytes)}
	}
	i, ok := w.index[name]
	if !ok {
		if len(w.sections) == maxSections {
			return &ValueError{Field: "section", Rule: fmt.Sprintf("more than %d sections", maxSections)}
		}
		i = len(w.sections)
		w.index[name] = i
		w.sections = append(w.sections, section{name: name})
	}
	sec := &w.sections[i]
	if n != len(sec.sums) {
		return &ValueError{Field: "n", Rule: fmt.Sprintf("slab %d of section %q offered where %d is next", n, name, len(sec.sums))}
	}
	if err := w.c.s.checkSpace(len(data)); err != nil {
		return err
	}
	if err := w.ensureTable(name); err != nil {
		return err
	}
	var enc *zstd.Encoder
	if compress {
		enc = w.enc
	}
	key := slabKey(w.c.id, w.c.release, w.id.gen, name, uint32(n))
	w.buf = encodeSlab(w.buf, key, data, enc)
	for f, rest := 0, w.buf; len(rest) > 0; f++ {
		part := rest[:min(len(rest), fragmentBytes)]
		rest = rest[len(part):]
		if err := w.table.Set(fragmentKey(key, f), part); err != nil {
			return err
		}
	}
	w.bytes += len(w.buf)
	sec.sums = append(sec.sums, binary.BigEndian.Uint32(w.buf))
	sec.stored += uint64(len(w.buf))
	return nil
}

// ensureTable makes sure that the open file may take a slab of this section.
func (w *SnapshotWriter) ensureTable(section string) error {
	if w.table != nil && (w.tail != section || w.bytes >= maxSnapshotFileBytes) {
		if err := w.closeTable(); err != nil {
			return err
		}
	}
	if w.table != nil {
		return nil
	}
	s := w.c.s
	dir := s.fs.PathJoin(s.dir, ingestDir)
	if err := s.fs.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	path := s.fs.PathJoin(dir, fmt.Sprintf("%d-%d-%d-%d.sst", w.id.collection, w.id.release, w.id.gen, len(w.paths)))
	f, err := s.fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	f = vfs.NewSyncingFile(f, vfs.SyncingFileOptions{BytesPerSync: 4 << 20})
	w.paths = append(w.paths, path)
	w.table = sstable.NewWriter(objstorageprovider.NewFileWritable(f), s.tableOptions())
	w.bytes, w.tail = 0, section
	return nil
}

// tableOptions are those of a level-0 table, the conservative choice for one made elsewhere, uncompressed:
// slabs are compressed by us or not worth it.
func (s *Store) tableOptions() sstable.WriterOptions {
	po := s.pebbleOptions()
	po.EnsureDefaults()
	wo := po.MakeWriterOptions(0, s.db.TableFormat())
	wo.Compression = sstable.NoCompression
	return wo
}

// closeTable finishes and syncs the open file.
func (w *SnapshotWriter) closeTable() error {
	t := w.table
	w.table = nil
	return t.Close()
}

// Commit makes the generation visible; it is durable when Commit returns nil. h.Sections must list exactly
// the sections and slab counts that were written; sections without slabs are allowed.
func (w *SnapshotWriter) Commit(h SnapshotHeader) error {
	err := w.run(func() error { return w.commit(&h) })
	if err == nil {
		w.finish()
	}
	return err
}

func (w *SnapshotWriter) commit(h *SnapshotHeader) error {
	sections, err := w.match(h.Sections)
	if err != nil {
		return err
	}
	if len(h.Engine) > maxRowBytes || len(h.Index) > maxRowBytes {
		return &ValueError{Field: "header", Rule: "engine or index bytes exceed 16 MiB"}
	}
	if w.table != nil {
		if err := w.closeTable(); err != nil {
			return err
		}
	}
	s := w.c.s
	if len(w.paths) > 0 {
		if err := s.ingest(w.paths); err != nil {
			return err
		}
	}
	b := s.db.NewBatch()
	defer b.Close()
	key := w.id.headerKey()
	if err := b.Set(key, encodeSnapshotHeader(key, h, sections), nil); err != nil {
		return err
	}
	if err := b.Delete(w.id.pendingKey(), nil); err != nil {
		return err
	}
	return s.apply(b)
}

func (s *Store) ingest(paths []string) error {
	defer s.fatal.guard()
	return s.wrap(s.db.Ingest(context.Background(), paths))
}

// match checks the caller's list of sections against what was written and puts the latter in that order.
func (w *SnapshotWriter) match(infos []SectionInfo) ([]section, error) {
	if len(infos) > maxSections {
		return nil, &ValueError{Field: "sections", Rule: fmt.Sprintf("more than %d sections", maxSections)}
	}
	seen := make(map[string]bool)
	var sections []section
	left := len(w.sections)
	for _, info := range infos {
		if err := checkSection(info.Name); err != nil {
			return nil, err
		}
		if seen[info.Name] {
			return nil, &ValueError{Field: "sections", Rule: fmt.Sprintf("section %q is listed twice", info.Name)}
		}
		seen[info.Name] = true
		sec := section{name: info.Name}
		if i, ok := w.index[info.Name]; ok {
			sec = w.sections[i]
			left--
		}
		if len(sec.sums) != info.Slabs {
			return nil, &ValueError{Field: "sections",
				Rule: fmt.Sprintf("section %q is listed with %d slabs, %d were written", info.Name, info.Slabs, len(sec.sums))}
		}
		sections = append(sections, sec)
	}
	if left != 0 {
		return nil, &ValueError{Field: "sections", Rule: fmt.Sprintf("%d written sections are not listed", left)}
	}
	return sections, nil
}

// Abort removes what was written. It is safe to call at any time. What it cannot remove, the next Open will.
func (w *SnapshotWriter) Abort() error {
	if w.done {
		return nil
	}
	defer w.finish()
	s := w.c.s
	var errs []error
	if w.table != nil {
		errs = append(errs, w.closeTable()) // also in a closed store: it holds a file and a goroutine
	}
	if err := s.enterWrite(); err != nil {
		return errors.Join(append(errs, err)...)
	}
	defer s.leave()
	for _, p := range w.paths {
		_ = s.fs.Remove(p) // Pebble removed those it adopted.
	}
	return errors.Join(append(errs, s.discardPending(w.id))...)
}

func (w *SnapshotWriter) finish() {
	w.done = true
	w.buf = nil
	w.c.s.writers.remove(w.id)
}

// run admits a call and remembers its failure.
func (w *SnapshotWriter) run(fn func() error) error {
	if w.done {
		return errSnapshotDone
	}
	if w.err != nil {
		return w.err
	}
	if err := w.c.s.enterWrite(); err != nil {
		return err
	}
	defer w.c.s.leave()
	w.err = fn()
	return w.err
}

// discardPending removes the slabs of a generation that has a pending mark, then the mark.
func (s *Store) discardPending(id snapshotID) error {
	key := id.pendingKey()
	_, done, err := s.get(key)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	done()
	if err := s.removeSlabs(id); err != nil {
		return err
	}
	b := s.db.NewBatch()
	defer b.Close()
	if err := b.Delete(key, nil); err != nil {
		return err
	}
	return s.apply(b)
}

// removeSlabs removes the slabs of a generation.
func (s *Store) removeSlabs(id snapshotID) error {
	return s.removeSpan(keySpan(snapshotKey(id.collection, id.release, snapshotSlab, id.gen)))
}

// removeSpan removes a span that holds nothing else, so that Excise drops whole files; a range deletion does it where
// Excise cannot.
func (s *Store) removeSpan(start, end []byte) error {
	defer s.fatal.guard()
	err := s.db.Excise(context.Background(), pebble.KeyRange{Start: start, End: end})
	if err == nil {
		return nil
	}
	s.log.Warn("storage: deleting rows one by one", "from", formatKeyForPeople(start), "err", err)
	b := s.db.NewBatch()
	defer b.Close()
	if err := b.DeleteRange(start, end, nil); err != nil {
		return err
	}
	return s.apply(b)
}
