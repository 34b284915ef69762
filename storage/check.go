package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Severity grades a Finding.
type Severity uint8

const (
	// Note is a leftover that the next Open for writing removes.
	Note Severity = iota + 1
	// Warning is lost redundancy: the rows are intact.
	Warning
	// Fault is damaged, missing or contradicting data.
	Fault
)

func (s Severity) String() string {
	switch s {
	case Note:
		return "note"
	case Warning:
		return "warning"
	case Fault:
		return "fault"
	}
	return "unknown"
}

// Finding is one thing that Check found.
type Finding struct {
	Severity Severity
	// Where is a file or a key in the notation of docs/formats/store.md.
	Where string
	// Problem says what is wrong, in words.
	Problem string
}

func (f Finding) String() string { return fmt.Sprintf("%s: %s: %s", f.Severity, f.Where, f.Problem) }

// Check examines the store in dir, which no process may have open, and reports what it finds, in the order in
// which it finds it. It changes no file but LOCK, and works on the store of a process that was killed. It reads
// everything: the checksum of every block of every table, every row, each log for gaps and against the rows
// it speaks of, every slab of every snapshot. Damage does not stop it; what a damaged table holds cannot be
// examined further.
//
// The error is about the examination: no store, locked, or an error of the operating system. A store that
// cannot be opened for its damage is a Finding. Memory: one entry for each id in the log.
func Check(dir string, o Options, report func(Finding)) error {
	o.ReadOnly = true
	s, err := Open(dir, o)
	if IsCorruption(err) || errors.Is(err, ErrFormat) {
		report(faultOf(dir, err))
		return nil
	}
	if err != nil {
		return err
	}
	c := &checker{s: s, report: report, releases: make(map[releaseID]*releaseCheck)}
	return errors.Join(c.run(), s.Close())
}

// checker is one run of Check.
type checker struct {
	s      *Store
	report func(Finding)

	collections map[uint32]bool
	releases    map[releaseID]*releaseCheck
	headers     map[snapshotID]*storedHeader
	pending     map[snapshotID]bool
}

func (c *checker) find(sev Severity, where, format string, args ...any) {
	c.report(Finding{Severity: sev, Where: where, Problem: fmt.Sprintf(format, args...)})
}

// faultOf takes file or key from an error, where if it has none.
func faultOf(where string, err error) Finding {
	f := Finding{Severity: Fault, Where: where, Problem: err.Error()}
	var ce *CorruptionError
	var fe *FormatError
	switch {
	case errors.As(err, &ce):
		f.Problem = ce.problem()
		if ce.File != "" {
			f.Where = ce.File
			if ce.Key != "" {
				f.Problem = "at " + ce.Key + ": " + f.Problem
			}
		} else if ce.Key != "" {
			f.Where = ce.Key
		}
	case errors.As(err, &fe):
		f.Where = fe.Where
	}
	return f
}

func (c *checker) run() error {
	if err := c.checkSeal(); err != nil {
		return err
	}
	if err := c.checkTables(); err != nil {
		return err
	}
	if err := c.s.db.CheckLevels(nil); err != nil {
		c.report(faultOf(c.s.dir, c.s.wrap(err)))
	}
	// Catalog, headers and marks first: they say what the other rows belong to.
	c.checkCatalog()
	c.checkHeaders()
	c.checkLogs()
	c.checkRows()
	c.checkImports()
	c.checkExclusions()
	c.checkRequests()
	c.checkAliases()
	c.checkSlabs()
	return nil
}

func (c *checker) checkSeal() error {
	desc, err := pebble.Peek(c.s.dir, c.s.fs)
	if err != nil {
		return err
	}
	_, ok, err := checkSeal(c.s.fs, c.s.dir, desc)
	if err == nil && !ok {
		c.find(Warning, c.s.fs.PathJoin(c.s.dir, sealName), "missing or damaged: damage at the end of the MANIFEST could not be told from a torn write")
	}
	return err
}

// checkTables verifies every block of every table file in use.
func (c *checker) checkTables() error {
	levels, err := c.s.db.SSTables()
	if err != nil {
		return err
	}
	po := c.s.pebbleOptions()
	po.EnsureDefaults()
	seen := make(map[string]bool)
	for _, level := range levels {
		for _, t := range level {
			path := c.s.fs.PathJoin(c.s.dir, t.BackingSSTNum.String()+".sst")
			if seen[path] {
				continue // two parts of a table that an excise cut
			}
			seen[path] = true
			if err := checkTable(c.s.fs, path, po.MakeReaderOptions()); err != nil {
				c.find(Fault, path, "%v", err)
			}
		}
	}
	return nil
}

func checkTable(fsys vfs.FS, path string, o sstable.ReaderOptions) error {
	f, err := fsys.Open(path, vfs.SequentialReadsOption)
	if err != nil {
		return err
	}
	readable, err := sstable.NewSimpleReadable(f)
	if err != nil {
		return errors.Join(err, f.Close())
	}
	r, err := sstable.NewReader(context.Background(), readable, o) // closes readable on error
	if err != nil {
		return err
	}
	return errors.Join(r.ValidateBlockChecksums(), r.Close())
}

// scan calls fn for every row of [start, end) that can be read. Where a table is damaged it goes on behind the
// table.
func (c *checker) scan(start, end []byte, fn func(key, value []byte)) {
	for start != nil {
		err := c.s.scan(start, end, func(key, value []byte) (bool, error) {
			fn(key, value)
			return true, nil
		})
		if err == nil {
			return
		}
		f := faultOf(formatKeyForPeople(start), err)
		info := pebble.ExtractDataCorruptionInfo(err)
		if info == nil || bytes.Compare(info.Bounds.End.Key, start) < 0 {
			f.Problem += "; the rows from here on were not examined"
			c.report(f)
			return
		}
		f.Problem += "; rows of this file were not examined"
		c.report(f)
		start = append(bytes.Clone(info.Bounds.End.Key), 0)
		if end != nil && bytes.Compare(start, end) >= 0 {
			return
		}
	}
}

// checkCatalog reads the rows that are about the store and its collections, and reports keys of no kind.
func (c *checker) checkCatalog() {
	c.collections = make(map[uint32]bool)
	highest, err := c.s.highestCollection()
	if err != nil {
		c.report(faultOf(collectionsKey, err))
	}
	start, end := keySpan([]byte{kindCollection})
	c.scan(start, end, func(key, value []byte) {
		k, ok := parseKey(key)
		if !ok {
			c.find(Fault, formatKeyForPeople(key), "malformed key")
			return
		}
		c.collections[k.collection] = true
		if _, err := decodeCollection(key, value); err != nil {
			c.report(faultOf("", err))
		}
		if k.collection > highest {
			c.find(Fault, formatKeyForPeople(key), "above the highest collection id ever used, %d", highest)
		}
	})
	known := []byte{kindAlias, kindCollection, kindItem, kindImport, kindLog, kindMeta, kindProfile, kindRequest, kindSnapshot, kindPending, kindExclusion} // ascending
	next := []byte{0}
	for _, kind := range append(known, 0xff) {
		c.scan(next, []byte{kind}, func(key, _ []byte) {
			c.find(Fault, formatKeyForPeople(key), "key of an unknown kind")
		})
		next = []byte{kind + 1}
	}
	start, end = keySpan([]byte{kindMeta})
	c.scan(start, end, func(key, _ []byte) {
		if _, ok := parseKey(key); !ok {
			c.find(Fault, formatKeyForPeople(key), "malformed key")
		}
	})
}
