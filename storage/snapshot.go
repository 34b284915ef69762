package storage

import (
	"encoding/binary"
	"fmt"
	"time"
)

// SectionInfo says how many slabs a section has: 0..Slabs-1.
type SectionInfo struct {
	// Name is 1..MaxSectionBytes bytes.
	Name  string
	Slabs int
}

// SnapshotHeader describes a generation. Engine and Index are the caller's bytes.
type SnapshotHeader struct {
	// LSN is the log position the snapshot holds: replay starts above it.
	LSN uint64
	// CreateTime is kept with microsecond resolution, in UTC.
	CreateTime    time.Time
	Engine, Index []byte
	// Sections lists every section that was written, in any order.
	Sections []SectionInfo
}

const (
	snapshotVersion = 1
	pendingVersion  = 1
	// snapshotHeaderLen is the length of what a header starts with (big-endian):
	//
	//	+--------+---------+----------+-----+-------------+------------+-----------+----------+----------+
	//	| crc32c | version | reserved | LSN | create time | engine len | index len | sections | reserved |
	//	+--------+---------+----------+-----+-------------+------------+-----------+----------+----------+
	//	  4        1         3          8     8 (us, UTC)   4            4           2          2
	//
	// Engine bytes, index bytes and the sections follow, each section as
	//
	//	+----------+------+-------+--------------+-----------------+
	//	| name len | name | slabs | stored bytes | crc32c per slab |
	//	+----------+------+-------+--------------+-----------------+
	//	  1                 4       8              4 each
	//
	// The checksums are those that the slabs start with: a slab that is intact but not the one this header
	// was committed with is found out.
	snapshotHeaderLen = 36
	sectionHeaderLen  = 1 + 4 + 8
	maxSections       = 1024
)

// section is a section as a header stores it.
type section struct {
	name   string
	stored uint64   // bytes of all stored slabs
	sums   []uint32 // checksum of each stored slab
}

// storedHeader is a decoded snapshot header.
type storedHeader struct {
	SnapshotHeader
	sections []section // in the order of Sections
}

func (h *storedHeader) bytes() (n int64) {
	for _, s := range h.sections {
		n += int64(s.stored)
	}
	return n
}

func encodeSnapshotHeader(key []byte, h *SnapshotHeader, sections []section) []byte {
	v := make([]byte, snapshotHeaderLen, snapshotHeaderLen+len(h.Engine)+len(h.Index)+1024)
	binary.BigEndian.PutUint64(v[8:], h.LSN)
	binary.BigEndian.PutUint64(v[16:], uint64(h.CreateTime.UnixMicro()))
	binary.BigEndian.PutUint32(v[24:], uint32(len(h.Engine)))
	binary.BigEndian.PutUint32(v[28:], uint32(len(h.Index)))
	binary.BigEndian.PutUint16(v[32:], uint16(len(sections)))
	v = append(append(v, h.Engine...), h.Index...)
	for _, s := range sections {
		v = append(append(v, byte(len(s.name))), s.name...)
		v = binary.BigEndian.AppendUint32(v, uint32(len(s.sums)))
		v = binary.BigEndian.AppendUint64(v, s.stored)
		for _, sum := range s.sums {
			v = binary.BigEndian.AppendUint32(v, sum)
		}
	}
	sealEnvelope(key, v, snapshotVersion)
	return v
}

// decodeSnapshotHeader checks a header and takes it apart; the result shares no memory with value. No count
// is believed before the bytes it counts are known to be there.
func decodeSnapshotHeader(key, value []byte) (*storedHeader, error) {
	const what = "snapshot header"
	if err := openEnvelope(key, value, what, snapshotVersion, snapshotHeaderLen); err != nil {
		return nil, err
	}
	if value[5]|value[6]|value[7]|value[34]|value[35] != 0 {
		return nil, &FormatError{What: what, Where: formatKeyForPeople(key), Reason: "unknown flags"}
	}
	h := &storedHeader{}
	h.LSN = binary.BigEndian.Uint64(value[8:])
	h.CreateTime = time.UnixMicro(int64(binary.BigEndian.Uint64(value[16:]))).UTC()
	engineLen, indexLen := binary.BigEndian.Uint32(value[24:]), binary.BigEndian.Uint32(value[28:])
	count := int(binary.BigEndian.Uint16(value[32:]))
	rest := value[snapshotHeaderLen:]
	if uint64(engineLen)+uint64(indexLen) > uint64(len(rest)) {
		return nil, rowCorruption(key, "snapshot header is cut short")
	}
	h.Engine = append([]byte(nil), rest[:engineLen]...)
	h.Index = append([]byte(nil), rest[engineLen:engineLen+indexLen]...)
	rest = rest[engineLen+indexLen:]
	for range count {
		s, tail, ok := decodeSection(rest)
		if !ok {
			return nil, rowCorruption(key, "snapshot header has a malformed section")
		}
		rest = tail
		h.sections = append(h.sections, s)
		h.Sections = append(h.Sections, SectionInfo{Name: s.name, Slabs: len(s.sums)})
	}
	if len(rest) != 0 {
		return nil, rowCorruption(key, "snapshot header has trailing bytes")
	}
	return h, nil
}

func decodeSection(b []byte) (s section, rest []byte, ok bool) {
	if len(b) < sectionHeaderLen {
		return s, nil, false
	}
	n := int(b[0])
	if n < 1 || n > MaxSectionBytes || len(b) < sectionHeaderLen+n {
		return s, nil, false
	}
	s.name = string(b[1 : 1+n])
	slabs := binary.BigEndian.Uint32(b[1+n:])
	s.stored = binary.BigEndian.Uint64(b[5+n:])
	rest = b[sectionHeaderLen+n:]
	if uint64(slabs)*4 > uint64(len(rest)) {
		return s, nil, false
	}
	s.sums = make([]uint32, slabs)
	for i := range s.sums {
		s.sums[i] = binary.BigEndian.Uint32(rest[4*i:])
	}
	return s, rest[4*slabs:], true
}

// encodePending is the value of a pending mark: an envelope and nothing else.
func encodePending(key []byte) []byte {
	v := make([]byte, envelopeLen)
	sealEnvelope(key, v, pendingVersion)
	return v
}

func checkSection(name string) error {
	if len(name) < 1 || len(name) > MaxSectionBytes {
		return &ValueError{Field: "section", Rule: fmt.Sprintf("must have 1..%d bytes, has %d", MaxSectionBytes, len(name))}
	}
	return nil
}
