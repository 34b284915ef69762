package storage

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
)

// Kinds: the first byte of every key.
const (
	kindMeta       = 'm'
	kindCollection = 'c'
	kindItem       = 'i'
	kindProfile    = 'p'
	kindLog        = 'l'
	kindSnapshot   = 's'
	kindPending    = 'w'
	kindImport     = 'j'
	kindExclusion  = 'x'
	kindRequest    = 'q'
	kindAlias      = 'a'
)

// Sub-kinds of snapshot keys, before the generation: the headers of a release are a range of their own, so
// that generations can be listed without touching a slab, which may be damaged.
const (
	snapshotHeader = 'h'
	snapshotSlab   = 's'
)

// Sub-kinds of import keys.
const (
	importGraph    = 'g'
	importProgress = 'p'
	importReject   = 'r'
)

const (
	// prefixLen is the length of kind, collection and release.
	prefixLen = 1 + 4 + 4
	// MaxIDBytes bounds item and user ids. They may be any bytes; at least one.
	MaxIDBytes = 4096
	// MaxNameBytes bounds collection names.
	MaxNameBytes = 1024
	// MaxSectionBytes bounds the name of a snapshot section.
	MaxSectionBytes = 64
)

// logHeadLSN is the LSN under which the log's start is kept; real LSNs start at 1.
const logHeadLSN = 0

// Fixed keys.
const (
	formatKey      = "m/format"
	collectionsKey = "m/collections"
)

func collectionKey(id uint32) []byte {
	return binary.BigEndian.AppendUint32([]byte{kindCollection}, id)
}

// appendPrefix appends kind, collection and release.
func appendPrefix(dst []byte, kind byte, collection, release uint32) []byte {
	dst = append(dst, kind)
	dst = binary.BigEndian.AppendUint32(dst, collection)
	return binary.BigEndian.AppendUint32(dst, release)
}

// rowKey is the key of an item or a profile.
func rowKey(kind byte, collection, release uint32, id string) []byte {
	return append(appendPrefix(make([]byte, 0, prefixLen+len(id)), kind, collection, release), id...)
}

func logKey(collection, release uint32, lsn uint64) []byte {
	k := appendPrefix(make([]byte, 0, prefixLen+8), kindLog, collection, release)
	return binary.BigEndian.AppendUint64(k, lsn)
}

// pendingKey is the key of the mark that slabs of a generation may exist while its header does not. The marks
// of all collections are one range: Open lists them without touching a slab.
func pendingKey(collection, release uint32, gen uint64) []byte {
	k := appendPrefix(make([]byte, 0, prefixLen+8), kindPending, collection, release)
	return binary.BigEndian.AppendUint64(k, gen)
}

// aliasKey is the key of another name of a collection.
func aliasKey(name string) []byte { return append([]byte{kindAlias}, name...) }

// requestKey is the key of what is remembered of a request that wrote up to an LSN. It is of a collection, as LSNs are.
func requestKey(collection uint32, lsn uint64) []byte {
	k := binary.BigEndian.AppendUint32([]byte{kindRequest}, collection)
	return binary.BigEndian.AppendUint64(k, lsn)
}

// progressKey is the key of how far the import that fills a release has come.
func progressKey(collection, release uint32) []byte {
	return append(appendPrefix(make([]byte, 0, prefixLen+1), kindImport, collection, release), importProgress)
}

// rejectKey is the key of the n-th row that an import refused, from 0.
func rejectKey(collection, release uint32, n uint64) []byte {
	k := append(appendPrefix(make([]byte, 0, prefixLen+1+8), kindImport, collection, release), importReject)
	return binary.BigEndian.AppendUint64(k, n)
}

// graphKey is the key of the n-th piece of a graph that an import brought, from 0.
func graphKey(collection, release uint32, n uint64) []byte {
	k := append(appendPrefix(make([]byte, 0, prefixLen+1+8), kindImport, collection, release), importGraph)
	return binary.BigEndian.AppendUint64(k, n)
}

// snapshotKey is the key of a header, or the prefix of the slabs of one generation.
func snapshotKey(collection, release uint32, sub byte, gen uint64) []byte {
	k := appendPrefix(make([]byte, 0, prefixLen+1+8), kindSnapshot, collection, release)
	return binary.BigEndian.AppendUint64(append(k, sub), gen)
}

// slabKey orders the slabs of a generation by section length, section name and number. The length byte keeps
// a name that is a prefix of another one from interleaving with it.
func slabKey(collection, release uint32, gen uint64, section string, n uint32) []byte {
	k := append(snapshotKey(collection, release, snapshotSlab, gen), byte(len(section)))
	k = append(k, section...)
	return binary.BigEndian.AppendUint32(k, n)
}

// fragmentKey is the key of one value of a slab. slab is the slab's key, which is also what all of its
// fragments and nothing else start with.
func fragmentKey(slab []byte, fragment int) []byte {
	k := append(make([]byte, 0, len(slab)+2), slab...)
	return binary.BigEndian.AppendUint16(k, uint16(fragment))
}

// keySpan returns the half-open range of all keys that start with prefix.
func keySpan(prefix []byte) (start, end []byte) {
	end = bytes.Clone(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i] != math.MaxUint8 {
			end[i]++
			return prefix, end[:i+1]
		}
	}
	return prefix, nil
}

// releaseKinds are the kinds whose keys go on with collection and release.
func releaseKinds() []byte {
	return []byte{kindItem, kindImport, kindLog, kindProfile, kindSnapshot, kindPending}
}

// releaseSpans returns the ranges of every row of one release.
func releaseSpans(id releaseID) [][2][]byte {
	var spans [][2][]byte
	for _, kind := range releaseKinds() {
		start, end := keySpan(appendPrefix(nil, kind, id.collection, id.release))
		spans = append(spans, [2][]byte{start, end})
	}
	return spans
}

// collectionSpans returns the ranges of every row of one collection over all its releases; its catalog row is
// not among them.
func collectionSpans(id uint32) [][2][]byte {
	var spans [][2][]byte
	for _, kind := range releaseKinds() {
		start, end := keySpan(binary.BigEndian.AppendUint32([]byte{kind}, id))
		spans = append(spans, [2][]byte{start, end})
	}
	for _, kind := range []byte{kindExclusion, kindRequest} {
		start, end := keySpan(binary.BigEndian.AppendUint32([]byte{kind}, id))
		spans = append(spans, [2][]byte{start, end})
	}
	return spans
}

// parsedKey is a key taken apart. Which fields are set follows from kind.
type parsedKey struct {
	kind                byte
	collection, release uint32
	id                  []byte // item, profile, exclusion
	set                 []byte // exclusion
	lsn                 uint64 // log, request
	gen                 uint64 // snapshot, pending
	sub                 byte   // snapshot: header or slab; import: graph, progress or reject
	number              uint64 // import: number of the reject or the piece of the graph
	section             []byte // slab
	slab                uint32 // slab
	fragment            int    // slab: its fragment, or -1 for the key of the slab itself
	name                []byte // meta: the whole key; alias: its name
}

// parseKey takes a key apart. It allocates nothing and returns slices of key. ok is false for any key that
// this package cannot have written.
func parseKey(key []byte) (k parsedKey, ok bool) {
	if len(key) == 0 {
		return k, false
	}
	k.kind = key[0]
	switch k.kind {
	case kindMeta:
		k.name = key
		return k, string(key) == formatKey || string(key) == collectionsKey
	case kindCollection:
		if len(key) != 5 {
			return k, false
		}
		k.collection = binary.BigEndian.Uint32(key[1:])
		return k, true
	case kindAlias:
		k.name = key[1:]
		return k, len(k.name) >= 1 && len(k.name) <= MaxNameBytes
	case kindExclusion:
		return parseExclusionKey(k, key[1:])
	case kindRequest:
		if len(key) != 13 {
			return k, false
		}
		k.collection, k.lsn = binary.BigEndian.Uint32(key[1:]), binary.BigEndian.Uint64(key[5:])
		return k, true
	}
	if len(key) < prefixLen {
		return k, false
	}
	k.collection = binary.BigEndian.Uint32(key[1:])
	k.release = binary.BigEndian.Uint32(key[5:])
	rest := key[prefixLen:]
	switch k.kind {
	case kindItem, kindProfile:
		k.id = rest
		return k, len(rest) >= 1 && len(rest) <= MaxIDBytes
	case kindLog:
		if len(rest) != 8 {
			return k, false
		}
		k.lsn = binary.BigEndian.Uint64(rest)
		return k, true
	case kindPending:
		if len(rest) != 8 {
			return k, false
		}
		k.gen = binary.BigEndian.Uint64(rest)
		return k, true
	case kindImport:
		if len(rest) == 0 {
			return k, false
		}
		k.sub = rest[0]
		if (k.sub == importReject || k.sub == importGraph) && len(rest) == 9 {
			k.number = binary.BigEndian.Uint64(rest[1:])
			return k, true
		}
		return k, k.sub == importProgress && len(rest) == 1
	case kindSnapshot:
		return parseSnapshotKey(k, rest)
	}
	return k, false
}

func parseExclusionKey(k parsedKey, rest []byte) (parsedKey, bool) {
	if len(rest) < 6 {
		return k, false
	}
	k.collection = binary.BigEndian.Uint32(rest)
	n := int(binary.BigEndian.Uint16(rest[4:]))
	if rest = rest[6:]; n < 1 || n > MaxIDBytes || n > len(rest) {
		return k, false
	}
	k.set, k.id = rest[:n], rest[n:]
	return k, len(k.id) >= 1 && len(k.id) <= MaxIDBytes
}

func parseSnapshotKey(k parsedKey, rest []byte) (parsedKey, bool) {
	if len(rest) < 9 {
		return k, false
	}
	k.sub, k.gen = rest[0], binary.BigEndian.Uint64(rest[1:])
	rest = rest[9:]
	switch k.sub {
	case snapshotHeader:
		return k, len(rest) == 0
	case snapshotSlab:
		if len(rest) < 1 {
			return k, false
		}
		n := int(rest[0])
		if n < 1 || n > MaxSectionBytes || len(rest) != 1+n+4 && len(rest) != 1+n+4+2 {
			return k, false
		}
		k.section, rest = rest[1:1+n], rest[1+n:]
		k.slab, k.fragment = binary.BigEndian.Uint32(rest), -1
		if len(rest) > 4 {
			k.fragment = int(binary.BigEndian.Uint16(rest[4:]))
		}
		return k, true
	}
	return k, false
}

// formatKeyForPeople renders a key in the notation of docs/formats/store.md.
func formatKeyForPeople(key []byte) string {
	k, ok := parseKey(key)
	if !ok {
		return fmt.Sprintf("unknown key %x", key)
	}
	switch k.kind {
	case kindMeta:
		return string(k.name)
	case kindCollection:
		return fmt.Sprintf("c/%d", k.collection)
	case kindLog:
		return fmt.Sprintf("l/%d/%d/%d", k.collection, k.release, k.lsn)
	case kindPending:
		return fmt.Sprintf("w/%d/%d/%d", k.collection, k.release, k.gen)
	case kindAlias:
		return fmt.Sprintf("a/%q", k.name)
	case kindRequest:
		return fmt.Sprintf("q/%d/%d", k.collection, k.lsn)
	case kindExclusion:
		return fmt.Sprintf("x/%d/%q/%q", k.collection, k.set, k.id)
	case kindImport:
		if k.sub == importProgress {
			return fmt.Sprintf("j/%d/%d/p", k.collection, k.release)
		}
		return fmt.Sprintf("j/%d/%d/%c/%d", k.collection, k.release, k.sub, k.number)
	case kindSnapshot:
		if k.sub == snapshotHeader {
			return fmt.Sprintf("s/%d/%d/h/%d", k.collection, k.release, k.gen)
		}
		s := fmt.Sprintf("s/%d/%d/s/%d/%q/%d", k.collection, k.release, k.gen, k.section, k.slab)
		if k.fragment >= 0 {
			s += fmt.Sprintf("+%d", k.fragment)
		}
		return s
	default:
		return fmt.Sprintf("%c/%d/%d/%q", k.kind, k.collection, k.release, k.id)
	}
}
