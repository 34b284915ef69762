package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/bits"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// The format of Pebble's write-ahead log since FormatWALSyncChunks, from the package comment of its record
// package: 32 KiB blocks of chunks, little-endian, a chunk being
//
//	+-------+------+------+------------+-------------+---------+
//	| crc32 | size | type | log number | sync offset | payload |
//	+-------+------+------+------------+-------------+---------+
//	  4       2      1      4            8             size
//
// where the checksum covers all that follows size, and the sync offset promises that the log was synced up to
// there when the chunk was written.
const (
	walBlockLen  = 32 << 10
	walHeaderLen = 19
	walTypeFirst = 9 // full, first, middle, last
	walTypeLast  = 12
)

// checkLogTail looks for damage in the newest write-ahead log that Pebble v2.1.7 takes for a torn tail. On a bad
// chunk its reader looks for a later sync offset in later blocks only, so damage in the last 32 KiB takes away
// every acknowledged commit behind it without a word; and a chunk with the next log's number ends the log
// unchecked. Here a bad chunk is damage if any valid chunk behind it, in its own block too, promises that the
// bytes were synced. Older logs need no check: Pebble insists that those end cleanly, and what it cannot see
// there is a gap in the LSNs.
func checkLogTail(fsys vfs.FS, dir string) error {
	name, number, err := newestLog(fsys, dir)
	if err != nil || name == "" {
		return err
	}
	path := fsys.PathJoin(dir, name)
	f, err := fsys.Open(path, vfs.SequentialReadsOption)
	if err != nil {
		return err
	}
	defer f.Close()
	damaged, witness, err := scanLog(f, number)
	if err != nil || damaged < 0 {
		return err
	}
	return &CorruptionError{File: path,
		Reason: fmt.Sprintf("bytes at offset %d are damaged; the record at %d says they were synced", damaged, witness)}
}

// newestLog returns the log with the highest number, name "" if there is none.
func newestLog(fsys vfs.FS, dir string) (name string, number uint32, err error) {
	names, err := fsys.List(dir)
	if err != nil {
		return "", 0, err
	}
	for _, n := range names {
		base, ok := strings.CutSuffix(n, ".log")
		if !ok {
			continue
		}
		v, err := strconv.ParseUint(base, 10, 32)
		if err == nil && (name == "" || uint32(v) > number) {
			name, number = n, uint32(v)
		}
	}
	return name, number, nil
}

// scanLog returns the offset of the first damaged byte and of the chunk that proves it, or -1.
func scanLog(r io.Reader, number uint32) (damaged, witness int64, err error) {
	block := make([]byte, walBlockLen)
	bad := int64(-1) // offset of the first bad chunk
	for base := int64(0); ; base += walBlockLen {
		n, err := io.ReadFull(r, block)
		if errors.Is(err, io.EOF) {
			return -1, -1, nil
		}
		last := errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !last {
			return -1, -1, err
		}
		at := 0
		if bad < 0 {
			var ok bool
			if at, ok = skipChunks(block[:n], number); !ok {
				bad = base + int64(at)
			}
		}
		if bad >= 0 {
			if p := findPromise(block[:n], at, number, bad); p >= 0 {
				return bad, base + int64(p), nil
			}
		}
		if last {
			return -1, -1, nil
		}
	}
}

// skipChunks returns where the valid chunks of a block end. ok says that the rest is the zeros of a block with
// no room for another chunk.
func skipChunks(block []byte, number uint32) (at int, ok bool) {
	for {
		size, _, valid := walChunk(block[at:], number)
		if !valid {
			rest := block[at:]
			return at, len(rest) < walHeaderLen && len(strings.Trim(string(rest), "\x00")) == 0
		}
		at += size
	}
}

// findPromise looks for a valid chunk at or behind at, at any byte, whose sync offset is beyond bad.
func findPromise(block []byte, at int, number uint32, bad int64) int {
	for p := at; p+walHeaderLen <= len(block); p++ {
		if _, sync, ok := walChunk(block[p:], number); ok && sync > uint64(bad) {
			return p
		}
	}
	return -1
}

// walChunk reports whether b starts with a valid chunk of this log, with its length and its sync offset.
func walChunk(b []byte, number uint32) (size int, sync uint64, ok bool) {
	if len(b) < walHeaderLen || b[6] < walTypeFirst || b[6] > walTypeLast || binary.LittleEndian.Uint32(b[7:]) != number {
		return 0, 0, false
	}
	size = walHeaderLen + int(binary.LittleEndian.Uint16(b[4:]))
	if size > len(b) {
		return 0, 0, false
	}
	// The masked form of crc32c that LevelDB introduced.
	sum := bits.RotateLeft32(crc32.Checksum(b[6:size], castagnoli), 17) + 0xa282ead8
	return size, binary.LittleEndian.Uint64(b[11:]), sum == binary.LittleEndian.Uint32(b)
}
