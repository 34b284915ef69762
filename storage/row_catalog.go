package storage

import (
	"encoding/binary"
	"strconv"
)

// CollectionRow is the catalog entry of one collection.
type CollectionRow struct {
	// ID is never reused, not even after DropCollection.
	ID uint32
	// Name is 1..MaxNameBytes bytes. Uniqueness is the caller's rule.
	Name string
	// Config is the caller's encoding of everything else.
	Config []byte
}

const (
	// FormatVersion is the version of the layout that this program writes.
	FormatVersion = 4
	// OldestReader is the oldest program version that may open a store written by this one.
	OldestReader = 3

	catalogVersion     = 1
	collectionsVersion = 1
	formatVersion      = 1

	// catalogHeaderLen: envelope, 1 byte of flags, 2 bytes of name length.
	catalogHeaderLen = 8
	// collectionsLen: envelope, 3 reserved bytes, 4 bytes of id.
	collectionsLen = 12
	// formatLen: envelope, 3 reserved bytes, 4 bytes of version, 4 bytes of oldest reader.
	formatLen = 16

	maxConfigBytes = 16 << 20
)

func encodeCollection(key []byte, r *CollectionRow) []byte {
	v := make([]byte, catalogHeaderLen+len(r.Name)+len(r.Config))
	binary.BigEndian.PutUint16(v[6:], uint16(len(r.Name)))
	n := copy(v[catalogHeaderLen:], r.Name)
	copy(v[catalogHeaderLen+n:], r.Config)
	sealEnvelope(key, v, catalogVersion)
	return v
}

// decodeCollection checks a catalog row. Config is a copy; ID is not set.
func decodeCollection(key, value []byte) (r CollectionRow, err error) {
	const what = "catalog row"
	if err := openEnvelope(key, value, what, catalogVersion, catalogHeaderLen+1); err != nil {
		return r, err
	}
	if value[5] != 0 {
		return r, &FormatError{What: what, Where: formatKeyForPeople(key), Reason: "unknown flags"}
	}
	n := int(binary.BigEndian.Uint16(value[6:]))
	body := value[catalogHeaderLen:]
	if n == 0 || n > MaxNameBytes || n > len(body) {
		return r, rowCorruption(key, "catalog row has a name of impossible length")
	}
	r.Name = string(body[:n])
	r.Config = append([]byte(nil), body[n:]...)
	return r, nil
}

func checkCollectionRow(r *CollectionRow) error {
	if len(r.Name) == 0 || len(r.Name) > MaxNameBytes {
		return &ValueError{Field: "name", Rule: "must have 1.." + strconv.Itoa(MaxNameBytes) + " bytes"}
	}
	if len(r.Config) > maxConfigBytes {
		return &ValueError{Field: "config", Rule: "exceeds 16 MiB"}
	}
	if r.ID == 0 {
		return &ValueError{Field: "id", Rule: "must be at least 1"}
	}
	return nil
}

func encodeCollectionsRow(highest uint32) []byte {
	v := make([]byte, collectionsLen)
	binary.BigEndian.PutUint32(v[8:], highest)
	sealEnvelope([]byte(collectionsKey), v, collectionsVersion)
	return v
}

func decodeCollectionsRow(value []byte) (highest uint32, err error) {
	key := []byte(collectionsKey)
	if err := openEnvelope(key, value, "collection counter", collectionsVersion, collectionsLen); err != nil {
		return 0, err
	}
	if len(value) != collectionsLen {
		return 0, rowCorruption(key, "collection counter has trailing bytes")
	}
	return binary.BigEndian.Uint32(value[8:]), nil
}

func encodeFormatRow(version, oldestReader uint32) []byte {
	v := make([]byte, formatLen)
	binary.BigEndian.PutUint32(v[8:], version)
	binary.BigEndian.PutUint32(v[12:], oldestReader)
	sealEnvelope([]byte(formatKey), v, formatVersion)
	return v
}

// decodeFormatRow reads the one row that no version may lay out differently. Longer rows are accepted: a
// later version may append to it.
func decodeFormatRow(value []byte) (version, oldestReader uint32, err error) {
	key := []byte(formatKey)
	if err := openEnvelope(key, value, "format row", formatVersion, formatLen); err != nil {
		return 0, 0, err
	}
	version, oldestReader = binary.BigEndian.Uint32(value[8:]), binary.BigEndian.Uint32(value[12:])
	if version == 0 || oldestReader == 0 || oldestReader > version {
		return 0, 0, rowCorruption(key, "format row has impossible versions")
	}
	return version, oldestReader, nil
}
