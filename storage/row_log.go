package storage

import "encoding/binary"

// LogKind says what a log record did.
type LogKind uint8

// Kinds of log records; the numbers are on disk.
const (
	LogPutItem LogKind = iota + 1
	LogDeleteItem
	LogPutProfile
	LogDeleteProfile
	// LogSkip is a mutation that does not concern this release, or none at all: it keeps the LSNs dense.
	LogSkip
	// LogExpireItem and LogExpireProfile removed what had expired. They are kinds of their own because a release that follows
	// the log has what is in its rows expire by itself: there it may have been given more time.
	LogExpireItem
	LogExpireProfile
)

func (k LogKind) String() string {
	switch k {
	case LogPutItem:
		return "put item"
	case LogDeleteItem:
		return "delete item"
	case LogPutProfile:
		return "put profile"
	case LogDeleteProfile:
		return "delete profile"
	case LogSkip:
		return "skip"
	case LogExpireItem:
		return "expire item"
	case LogExpireProfile:
		return "expire profile"
	}
	return "unknown"
}

// LogRecord is one mutation. It holds no vector: replay reads the newest row, so a tail that touches one id
// many times collapses to one read.
type LogRecord struct {
	LSN  uint64
	Kind LogKind
	// ID is the item's id or the user's.
	ID string
}

const (
	logVersion = 1
	// logHeaderLen: envelope, then 1 byte of kind; the id follows and ends the value.
	logHeaderLen = envelopeLen + 1
	// logHeadLen: envelope, 3 reserved bytes, 8 bytes of the first LSN the log still holds.
	logHeadLen = 16
)

func encodeLog(key, value []byte, kind LogKind, id string) {
	value[5] = byte(kind)
	copy(value[logHeaderLen:], id)
	sealEnvelope(key, value, logVersion)
}

// decodeLog checks a log record and takes it apart. lsn is from the key.
func decodeLog(key, value []byte, lsn uint64) (r LogRecord, err error) {
	if err := openEnvelope(key, value, "log record", logVersion, logHeaderLen+1); err != nil {
		return r, err
	}
	r.LSN, r.Kind = lsn, LogKind(value[5])
	if r.Kind < LogPutItem || r.Kind > LogExpireProfile {
		return r, &FormatError{What: "log record", Where: formatKeyForPeople(key), Reason: "unknown kind"}
	}
	id := value[logHeaderLen:]
	if len(id) > MaxIDBytes {
		return r, rowCorruption(key, "log record has an oversized id")
	}
	r.ID = string(id)
	return r, nil
}

func encodeLogHead(key []byte, first uint64) []byte {
	v := make([]byte, logHeadLen)
	binary.BigEndian.PutUint64(v[8:], first)
	sealEnvelope(key, v, logVersion)
	return v
}

// decodeLogHead returns the first LSN the log still holds, at least 1.
func decodeLogHead(key, value []byte) (first uint64, err error) {
	if err := openEnvelope(key, value, "log head", logVersion, logHeadLen); err != nil {
		return 0, err
	}
	first = binary.BigEndian.Uint64(value[8:])
	if len(value) != logHeadLen || first == 0 {
		return 0, rowCorruption(key, "log head is malformed")
	}
	return first, nil
}
