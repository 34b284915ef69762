package storage

import (
	"encoding/binary"
	"hash/crc32"
)

// envelopeLen is the length of what every value starts with:
//
//	+--------+---------+
//	| crc32c | version |
//	+--------+---------+
//	  4        1
//
// The checksum covers the key and everything after the checksum. These five bytes never change their meaning,
// whatever the version: a program that meets a newer row can tell "newer" from "damaged".
const envelopeLen = 5

// castagnoli is a read-only table; SSE4.2 and ARMv8 have instructions for this polynomial.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func envelopeSum(key, value []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, value[4:])
}

// sealEnvelope writes version and checksum into value, whose other bytes are final.
func sealEnvelope(key, value []byte, version byte) {
	value[4] = version
	binary.BigEndian.PutUint32(value, envelopeSum(key, value))
}

// openEnvelope checks the checksum, then the version, then that value has at least minLen bytes.
func openEnvelope(key, value []byte, what string, newest byte, minLen int) error {
	if len(value) < envelopeLen {
		return rowCorruption(key, what+" is shorter than its envelope")
	}
	if sum := envelopeSum(key, value); sum != binary.BigEndian.Uint32(value) {
		return rowCorruption(key, what+" checksum mismatch")
	}
	version := value[4]
	if version == 0 || version > newest {
		return &FormatError{What: what, Where: formatKeyForPeople(key), Found: uint32(version), Newest: uint32(newest)}
	}
	if len(value) < minLen {
		return rowCorruption(key, what+" is shorter than its header")
	}
	return nil
}

func rowCorruption(key []byte, reason string) error {
	return &CorruptionError{Key: formatKeyForPeople(key), Reason: reason}
}
