package storage

import (
	"encoding/binary"
	"strconv"
)

// ItemRow is one item. Vector and Attributes are bytes whose meaning is the caller's.
type ItemRow struct {
	// ID is 1..MaxIDBytes bytes.
	ID string
	// LSN is the mutation that wrote the row.
	LSN uint64
	// DType is the caller's code of the component type of Vector, Dim its component count.
	DType uint8
	Dim   uint32
	// Vector and Attributes: see the function that returned the row for who owns them.
	Vector, Attributes []byte
}

// ProfileRow is one user's profile: Count vectors of Dim components each.
type ProfileRow struct {
	// UserID is 1..MaxIDBytes bytes.
	UserID string
	LSN    uint64
	DType  uint8
	Dim    uint32
	// Count is how many vectors Vectors holds.
	Count      uint32
	Vectors    []byte
	Attributes []byte
}

const (
	itemVersion    = 1
	profileVersion = 1

	// rowHeaderLen is the length of what item and profile rows start with (big-endian):
	//
	//	+--------+---------+-------+-------+----------+-----+-----+------------+
	//	| crc32c | version | flags | dtype | reserved | LSN | dim | vector len |
	//	+--------+---------+-------+-------+----------+-----+-----+------------+
	//	  4        1         1       1       1          8     4     4
	//
	// An item's vector and attributes follow; a profile has 4 bytes of vector count before them.
	rowHeaderLen     = 24
	profileHeaderLen = rowHeaderLen + 4
)

func itemValueLen(r *ItemRow) int { return rowHeaderLen + len(r.Vector) + len(r.Attributes) }

// encodeItem fills value, of length itemValueLen(r).
func encodeItem(key, value []byte, r *ItemRow) {
	putRowHeader(value, r.DType, r.LSN, r.Dim, len(r.Vector))
	n := copy(value[rowHeaderLen:], r.Vector)
	copy(value[rowHeaderLen+n:], r.Attributes)
	sealEnvelope(key, value, itemVersion)
}

// decodeItem checks an item row and takes it apart. Vector and Attributes alias value; ID is not set.
func decodeItem(key, value []byte) (r ItemRow, err error) {
	if err := openEnvelope(key, value, "item row", itemVersion, rowHeaderLen); err != nil {
		return r, err
	}
	vecLen, err := checkRowHeader(key, value, "item row", rowHeaderLen)
	if err != nil {
		return r, err
	}
	r.DType, r.LSN, r.Dim = value[6], binary.BigEndian.Uint64(value[8:]), binary.BigEndian.Uint32(value[16:])
	body := value[rowHeaderLen:]
	r.Vector, r.Attributes = body[:vecLen:vecLen], body[vecLen:len(body):len(body)]
	return r, nil
}

func profileValueLen(r *ProfileRow) int { return profileHeaderLen + len(r.Vectors) + len(r.Attributes) }

// encodeProfile fills value, of length profileValueLen(r).
func encodeProfile(key, value []byte, r *ProfileRow) {
	putRowHeader(value, r.DType, r.LSN, r.Dim, len(r.Vectors))
	binary.BigEndian.PutUint32(value[rowHeaderLen:], r.Count)
	n := copy(value[profileHeaderLen:], r.Vectors)
	copy(value[profileHeaderLen+n:], r.Attributes)
	sealEnvelope(key, value, profileVersion)
}

// decodeProfile is decodeItem for profiles; UserID is not set.
func decodeProfile(key, value []byte) (r ProfileRow, err error) {
	if err := openEnvelope(key, value, "profile row", profileVersion, profileHeaderLen); err != nil {
		return r, err
	}
	vecLen, err := checkRowHeader(key, value, "profile row", profileHeaderLen)
	if err != nil {
		return r, err
	}
	r.DType, r.LSN, r.Dim = value[6], binary.BigEndian.Uint64(value[8:]), binary.BigEndian.Uint32(value[16:])
	r.Count = binary.BigEndian.Uint32(value[rowHeaderLen:])
	body := value[profileHeaderLen:]
	r.Vectors, r.Attributes = body[:vecLen:vecLen], body[vecLen:len(body):len(body)]
	return r, nil
}

func putRowHeader(value []byte, dtype uint8, lsn uint64, dim uint32, vecLen int) {
	value[5], value[6], value[7] = 0, dtype, 0
	binary.BigEndian.PutUint64(value[8:], lsn)
	binary.BigEndian.PutUint32(value[16:], dim)
	binary.BigEndian.PutUint32(value[20:], uint32(vecLen))
}

// checkRowHeader refuses flags this version does not know and a vector that reaches beyond the value.
func checkRowHeader(key, value []byte, what string, headerLen int) (vecLen int, err error) {
	if value[5] != 0 || value[7] != 0 {
		return 0, &FormatError{What: what, Where: formatKeyForPeople(key), Reason: "unknown flags"}
	}
	n := binary.BigEndian.Uint32(value[20:])
	if uint64(n) > uint64(len(value)-headerLen) {
		return 0, rowCorruption(key, what+" vector is longer than the row")
	}
	if binary.BigEndian.Uint64(value[8:]) == 0 {
		return 0, rowCorruption(key, what+" has LSN 0")
	}
	return int(n), nil
}

// checkRow refuses what a row cannot hold, before anything is written.
func checkRow(field, id string, lsn uint64, vecLen, attrLen int) error {
	if err := checkID(field, id); err != nil {
		return err
	}
	if lsn == 0 {
		return &ValueError{Field: "lsn", Rule: "must be at least 1"}
	}
	if vecLen > maxRowBytes || attrLen > maxRowBytes {
		return &ValueError{Field: field, Rule: "vector or attributes exceed 16 MiB"}
	}
	return nil
}

// maxRowBytes bounds the vector and the attributes of one row each; far above the engine's limits, far below
// what a Pebble batch can hold.
const maxRowBytes = 16 << 20

func checkID(field, id string) error {
	if len(id) == 0 || len(id) > MaxIDBytes {
		return &ValueError{Field: field, Rule: "must have 1.." + strconv.Itoa(MaxIDBytes) + " bytes, has " + strconv.Itoa(len(id))}
	}
	return nil
}
