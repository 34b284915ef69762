package storage

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// releaseCheck is what the log of a release says about its rows.
type releaseCheck struct {
	first, last uint64
	// bad says that the log itself is damaged; nothing is compared with it then.
	bad bool
	// newest is the newest operation on each id in the log, by the kind of row.
	items, profiles map[string]logOp
}

type logOp struct {
	lsn     uint64
	deleted bool
}

// release returns what is known of a release, reading its log at first sight.
func (c *checker) release(id releaseID) *releaseCheck {
	r := c.releases[id]
	if r == nil {
		r = c.readLog(id)
		c.releases[id] = r
	}
	return r
}

// readLog walks the log of a release. It does not use Collection.Log, to report every gap and not the first.
func (c *checker) readLog(id releaseID) *releaseCheck {
	r := &releaseCheck{items: make(map[string]logOp), profiles: make(map[string]logOp)}
	h := c.s.Collection(id.collection, id.release)
	first, err := h.logHead()
	if err != nil {
		c.report(faultOf("", err))
		r.bad = true
		first = 0
	}
	r.first, r.last = first, first-1
	next := first
	_, end := keySpan(appendPrefix(nil, kindLog, id.collection, id.release))
	c.scan(logKey(id.collection, id.release, logHeadLSN+1), end, func(key, value []byte) {
		k, ok := parseKey(key)
		if !ok {
			c.find(Fault, formatKeyForPeople(key), "malformed key")
			return
		}
		switch {
		case r.first == 0: // unknown, since the head is damaged
			next, r.first = k.lsn, k.lsn
		case k.lsn < r.first:
			c.find(Fault, formatKeyForPeople(key), "log record below the start of the log, %d", r.first)
			return
		}
		if k.lsn != next {
			c.find(Fault, formatKeyForPeople(logKey(id.collection, id.release, next)), "log records %d..%d are missing", next, k.lsn-1)
			r.bad = true
		}
		next, r.last = k.lsn+1, k.lsn
		rec, err := decodeLog(key, value, k.lsn)
		if err != nil {
			c.report(faultOf("", err))
			r.bad = true
			return
		}
		op := logOp{lsn: rec.LSN, deleted: rec.Kind != LogPutItem && rec.Kind != LogPutProfile}
		switch rec.Kind {
		case LogPutItem, LogDeleteItem, LogExpireItem:
			r.items[rec.ID] = op
		case LogPutProfile, LogDeleteProfile, LogExpireProfile:
			r.profiles[rec.ID] = op
		case LogSkip:
		}
	})
	return r
}

// checkLogs reads the log of every release that has one.
func (c *checker) checkLogs() {
	start, end := keySpan([]byte{kindLog})
	for start != nil {
		var id releaseID
		found := false
		err := c.s.scan(start, end, func(key, _ []byte) (bool, error) {
			k, ok := parseKey(key)
			if !ok {
				return false, rowCorruption(key, "malformed key")
			}
			id, found = releaseID{k.collection, k.release}, true
			return false, nil
		})
		if err != nil {
			c.report(faultOf(formatKeyForPeople(start), err))
			return
		}
		if !found {
			return
		}
		c.owned(kindLog, id)
		c.release(id)
		_, start = keySpan(appendPrefix(nil, kindLog, id.collection, id.release))
	}
}

// owned reports rows of a collection that the catalog does not know, once for each kind and release.
func (c *checker) owned(kind byte, id releaseID) {
	if !c.collections[id.collection] {
		c.find(Fault, fmt.Sprintf("%c/%d/%d", kind, id.collection, id.release), "rows of a collection that the catalog does not know")
	}
}

// checkRows decodes every item and profile and compares it with the log: a row is from no later than the end of
// the log, and the newest log record of an id, while the log still has one, is the one that made the row.
func (c *checker) checkRows() {
	for _, kind := range []byte{kindItem, kindProfile} {
		start, end := keySpan([]byte{kind})
		var id releaseID
		var r *releaseCheck
		var ops map[string]logOp
		leave := func() {
			if r != nil && !r.bad {
				c.missingRows(kind, id, ops)
			}
		}
		c.scan(start, end, func(key, value []byte) {
			k, ok := parseKey(key)
			if !ok {
				c.find(Fault, formatKeyForPeople(key), "malformed key")
				return
			}
			if at := (releaseID{k.collection, k.release}); r == nil || at != id {
				leave()
				id, r = at, c.release(at)
				c.owned(kind, id)
				ops = maps.Clone(r.ops(kind))
			}
			c.checkRow(kind, key, value, r, ops)
			delete(ops, string(k.id))
		})
		leave()
	}
	// Releases of which no row was seen at all.
	for id, r := range c.releases {
		for _, kind := range []byte{kindItem, kindProfile} {
			if !r.bad && !c.hasRows(kind, id) {
				c.missingRows(kind, id, r.ops(kind))
			}
		}
	}
}

func (r *releaseCheck) ops(kind byte) map[string]logOp {
	if kind == kindItem {
		return r.items
	}
	return r.profiles
}

func (c *checker) checkRow(kind byte, key, value []byte, r *releaseCheck, ops map[string]logOp) {
	var lsn uint64
	var err error
	if kind == kindItem {
		var row ItemRow
		row, err = decodeItem(key, value)
		lsn = row.LSN
	} else {
		var row ProfileRow
		row, err = decodeProfile(key, value)
		lsn = row.LSN
	}
	if err != nil {
		c.report(faultOf("", err))
		return
	}
	if r.bad {
		return
	}
	op, ok := ops[string(key[prefixLen:])]
	switch {
	case lsn > r.last:
		c.find(Fault, formatKeyForPeople(key), "LSN %d is beyond the end of the log, %d", lsn, r.last)
	case ok && op.deleted:
		c.find(Fault, formatKeyForPeople(key), "the log deleted it at LSN %d", op.lsn)
	case ok && op.lsn != lsn:
		c.find(Fault, formatKeyForPeople(key), "has LSN %d, the log wrote it last at %d", lsn, op.lsn)
	case !ok && lsn >= r.first:
		c.find(Fault, formatKeyForPeople(key), "LSN %d is of another row's log record", lsn)
	}
}

// missingRows reports ids that the log wrote last and that have no row; ops holds the ids that were not seen. A
// point read tells a missing row from one in a damaged table, which was reported with the table.
func (c *checker) missingRows(kind byte, id releaseID, ops map[string]logOp) {
	for _, name := range slices.Sorted(maps.Keys(ops)) {
		op := ops[name]
		if op.deleted {
			continue
		}
		key := rowKey(kind, id.collection, id.release, name)
		_, done, err := c.s.get(key)
		switch {
		case err == nil:
			done()
		case errors.Is(err, ErrNotFound):
			c.find(Fault, formatKeyForPeople(key), "missing, the log wrote it at LSN %d", op.lsn)
		}
	}
}

func (c *checker) hasRows(kind byte, id releaseID) (found bool) {
	start, end := keySpan(appendPrefix(nil, kind, id.collection, id.release))
	err := c.s.scan(start, end, func(_, _ []byte) (bool, error) {
		found = true
		return false, nil
	})
	return found || err != nil
}

// checkHeaders reads snapshot headers and pending marks.
func (c *checker) checkHeaders() {
	c.headers, c.pending = make(map[snapshotID]*storedHeader), make(map[snapshotID]bool)
	start, end := keySpan([]byte{kindPending})
	c.scan(start, end, func(key, value []byte) {
		k, ok := parseKey(key)
		if !ok {
			c.find(Fault, formatKeyForPeople(key), "malformed key")
			return
		}
		id := snapshotID{releaseID{k.collection, k.release}, k.gen}
		c.pending[id] = true
		c.find(Note, formatKeyForPeople(key), "unfinished snapshot; the next start removes it")
		if err := openEnvelope(key, value, "pending mark", pendingVersion, envelopeLen); err != nil {
			c.report(faultOf("", err))
		} else if len(value) != envelopeLen {
			c.find(Fault, formatKeyForPeople(key), "pending mark is too long")
		}
		c.owned(kindPending, id.releaseID)
		// Either appears in the batch in which the other goes: the next start would remove a whole snapshot.
		if _, done, err := c.s.get(id.headerKey()); err == nil {
			done()
			c.find(Fault, formatKeyForPeople(key), "mark of a snapshot that has its header")
		}
	})
}

// checkSlabs verifies that every snapshot is complete, and that there are no slabs that belong to none.
func (c *checker) checkSlabs() {
	start, end := keySpan([]byte{kindSnapshot})
	orphans := make(map[snapshotID]bool)
	c.scan(start, end, func(key, value []byte) {
		k, ok := parseKey(key)
		id := snapshotID{releaseID{k.collection, k.release}, k.gen}
		h := c.headers[id]
		switch {
		case !ok:
			c.find(Fault, formatKeyForPeople(key), "malformed key")
		case k.sub == snapshotHeader:
			c.checkHeader(id, key, value)
		case h != nil:
			if !h.lists(k) {
				c.find(Fault, formatKeyForPeople(key), "the snapshot's header does not list this slab")
			}
		case !c.pending[id] && !orphans[id]:
			orphans[id] = true
			c.find(Fault, formatKeyForPeople(key), "slabs of a snapshot without an intact header")
		}
	})
	for id, h := range c.headers {
		for _, sec := range h.sections {
			for n, sum := range sec.sums {
				key := slabKey(id.collection, id.release, id.gen, sec.name, uint32(n))
				if _, err := c.s.readSlab(key, nil, sum); errors.Is(err, errSlabMissing) {
					c.find(Fault, formatKeyForPeople(key), "slab is missing")
				} else if err != nil {
					c.report(faultOf(formatKeyForPeople(key), err))
				}
			}
		}
	}
}

// lists reports whether the header knows the slab of a key.
func (h *storedHeader) lists(k parsedKey) bool {
	for _, s := range h.sections {
		if s.name == string(k.section) {
			return int(k.slab) < len(s.sums) && k.fragment >= 0
		}
	}
	return false
}

func (c *checker) checkHeader(id snapshotID, key, value []byte) {
	c.owned(kindSnapshot, id.releaseID)
	h, err := decodeSnapshotHeader(key, value)
	if err != nil {
		c.report(faultOf("", err))
		return
	}
	c.headers[id] = h
	if r := c.release(id.releaseID); !r.bad {
		switch {
		case h.LSN > r.last:
			c.find(Fault, formatKeyForPeople(key), "snapshot of LSN %d, the log ends at %d", h.LSN, r.last)
		case h.LSN+1 < r.first:
			c.find(Fault, formatKeyForPeople(key), "snapshot of LSN %d, the log was trimmed up to %d", h.LSN, r.first)
		}
	}
}
