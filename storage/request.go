package storage

import (
	"bytes"
	"encoding/binary"
	"iter"
)

// RequestRow is what is remembered of a request whose last mutation had an LSN. Data is the caller's.
type RequestRow struct {
	LSN  uint64
	Data []byte
}

const requestVersion = 1

// PutRequest adds what is to be remembered of a request whose mutations are in the batch, the last of them at lsn: the request is
// remembered if and only if it was made.
func (b *Batch) PutRequest(lsn uint64, data []byte) error {
	if b.started {
		return errBatchUsed
	}
	if lsn < b.first || lsn > b.last || b.first == 0 {
		return &ValueError{Field: "lsn", Rule: "must be that of a mutation of the batch"}
	}
	if len(data) > maxRowBytes {
		return &ValueError{Field: "data", Rule: "exceeds 16 MiB"}
	}
	b.set(len(requestKey(0, 0)), envelopeLen+len(data), func(key, value []byte) {
		copy(key, requestKey(b.c.id, lsn))
		copy(value[envelopeLen:], data)
		sealEnvelope(key, value, requestVersion)
	})
	return nil
}

// DropRequests forgets the requests of the collection below an LSN, with the batch.
func (b *Batch) DropRequests(below uint64) error {
	if b.started {
		return errBatchUsed
	}
	return b.b.DeleteRange(requestKey(b.c.id, 0), requestKey(b.c.id, below), nil)
}

// Requests yields what is remembered of the requests of a collection, ascending by LSN. Data is the caller's to keep. An error is
// yielded once, last.
func (s *Store) Requests(collection uint32) iter.Seq2[RequestRow, error] {
	return func(yield func(RequestRow, error) bool) {
		if err := s.enter(); err != nil {
			yield(RequestRow{}, err)
			return
		}
		defer s.leave()
		stopped := false
		start, end := keySpan(binary.BigEndian.AppendUint32([]byte{kindRequest}, collection))
		err := s.scan(start, end, func(key, value []byte) (bool, error) {
			r, err := decodeRequest(key, value)
			if err != nil {
				return false, err
			}
			stopped = !yield(r, nil)
			return !stopped, nil
		})
		if err != nil && !stopped {
			yield(RequestRow{}, err)
		}
	}
}

func decodeRequest(key, value []byte) (RequestRow, error) {
	k, ok := parseKey(key)
	if !ok {
		return RequestRow{}, rowCorruption(key, "malformed key")
	}
	if err := openEnvelope(key, value, "request", requestVersion, envelopeLen); err != nil {
		return RequestRow{}, err
	}
	return RequestRow{LSN: k.lsn, Data: bytes.Clone(value[envelopeLen:])}, nil
}

// checkRequests verifies every request: it is in the batch of its mutations, so that it is not beyond the log of every release.
func (c *checker) checkRequests() {
	ends, damaged := make(map[uint32]uint64), make(map[uint32]bool)
	for id, r := range c.releases {
		ends[id.collection] = max(ends[id.collection], r.last)
		damaged[id.collection] = damaged[id.collection] || r.bad
	}
	start, end := keySpan([]byte{kindRequest})
	c.scan(start, end, func(key, value []byte) {
		k, ok := parseKey(key)
		switch r, err := decodeRequest(key, value); {
		case err != nil:
			c.report(faultOf("", err))
		case ok && !c.collections[k.collection]:
			c.find(Fault, formatKeyForPeople(key), "request of a collection that the catalog does not know")
		case r.LSN == 0 || r.LSN > ends[k.collection] && !damaged[k.collection]:
			c.find(Fault, formatKeyForPeople(key), "request at LSN %d, the log ends at %d", r.LSN, ends[k.collection])
		}
	})
}
