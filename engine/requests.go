package engine

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash"
	"time"

	"github.com/segue-ann/segue/storage"
)

// A write that carries a request id is made once: what its answer was is committed in the batch that makes it, and answers whoever
// comes with that id again, also after a restart and after another release was published. A request that failed, or came to nothing,
// is not remembered: it may be tried again.

// MaxRequestIDBytes bounds a request id.
const MaxRequestIDBytes = 64

// How many requests of a collection are remembered, and for how long; beyond the one or the other they are forgotten, many at a time.
const (
	MaxRequests    = 1 << 16
	RequestTime    = time.Hour
	requestsSlack  = MaxRequests / 16
	requestTimeLag = RequestTime / 16
)

// request is what is remembered of a request.
type request struct {
	ID string `json:"id"`
	// Digest is of everything that the request asked for.
	Digest []byte `json:"digest"`
	// Time is when it was made, in microseconds since 1970 UTC.
	Time    int64    `json:"time"`
	Missing []string `json:"missing,omitempty"`

	lsn LSN
}

// requests are those of a collection that are remembered. The writer owns it.
type requests struct {
	byID  map[string]*request
	order []*request // ascending by LSN
}

// loadRequests reads what is remembered.
func loadRequests(store *storage.Store, collection uint32) (*requests, error) {
	q := &requests{byID: make(map[string]*request)}
	for row, err := range store.Requests(collection) {
		if err != nil {
			return nil, fmt.Errorf("read requests: %w", err)
		}
		r := &request{lsn: LSN(row.LSN)}
		if err := json.Unmarshal(row.Data, r); err != nil {
			return nil, fmt.Errorf("read request at LSN %d: %w", row.LSN, err)
		}
		q.add(r)
	}
	return q, nil
}

func (q *requests) add(r *request) {
	q.byID[r.ID] = r
	q.order = append(q.order, r)
}

// get returns what is remembered of a request, or nil.
func (q *requests) get(id string, now int64) *request {
	r := q.byID[id]
	if r != nil && now-r.Time > RequestTime.Microseconds() {
		return nil
	}
	return r
}

// stale returns the LSN below which requests are to be forgotten, 0 where there is nothing to do yet.
func (q *requests) stale(now int64) (below LSN) {
	n := 0
	if len(q.order) > MaxRequests+requestsSlack {
		n = len(q.order) - MaxRequests
	}
	for first := now - RequestTime.Microseconds(); n < len(q.order) && q.order[0].Time < first-requestTimeLag.Microseconds() && q.order[n].Time < first; {
		n++
	}
	if n == 0 {
		return 0
	}
	return q.order[n-1].lsn + 1
}

// forget drops the requests below an LSN.
func (q *requests) forget(below LSN) {
	n := 0
	for ; n < len(q.order) && q.order[n].lsn < below; n++ {
		if r := q.order[n]; q.byID[r.ID] == r {
			delete(q.byID, r.ID)
		}
	}
	q.order = append([]*request(nil), q.order[n:]...)
}

// remember returns what is to be remembered of a write that was made.
func (w *write) remember(now int64) *request {
	return &request{ID: w.request.ID, Digest: w.request.Digest, Time: now, Missing: w.missing, lsn: w.rev}
}

func (r *request) encode() ([]byte, error) {
	b, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	return b, nil
}

// reused says that a request id came with another request.
func reused(id string) error {
	var p problems
	p.add(ReasonRequestIDReused, "request_id", "was used for another request: %q", clip(id))
	return p.err()
}

// requestID checks a request id; empty means none.
func (p *problems) requestID(id string, l Limits) {
	if id != "" {
		l.MaxIDBytes = MaxRequestIDBytes
		p.id("request_id", id, l)
	}
}

// identify gives the write a request id, with the digest of what it asks for.
func (w *write) identify(id string) {
	if id == "" {
		return
	}
	d := digest{sha256.New()}
	d.text(w.model.Name)
	d.text(w.model.Version)
	for i := range w.mutations {
		m := &w.mutations[i]
		d.number(uint64(m.kind))
		d.text(m.id)
		d.bytes(m.row)
		d.bytes(m.attributes)
		d.revision(m.guard)
	}
	for i := range w.updates {
		u := &w.updates[i]
		d.text(u.ID)
		d.bytes(appendAttributes(nil, u.Set))
		d.number(uint64(len(u.Remove)))
		for _, name := range u.Remove {
			d.text(name)
		}
		if d.flag(u.ReplaceAll); d.flag(u.ExpireTime != nil) {
			d.number(uint64(expiryMicros(*u.ExpireTime)))
		}
		d.revision(u.IfRevision)
	}
	w.request = &request{ID: id, Digest: d.Sum(nil)[:16]}
}

// digest writes values so that no two lists of them are the same bytes.
type digest struct{ hash.Hash }

func (d digest) number(v uint64) { _, _ = d.Write(binary.BigEndian.AppendUint64(nil, v)) }

func (d digest) bytes(b []byte) {
	d.number(uint64(len(b)))
	_, _ = d.Write(b)
}

func (d digest) text(s string) { d.bytes([]byte(s)) }

func (d digest) flag(v bool) bool {
	if v {
		d.number(1)
	} else {
		d.number(0)
	}
	return v
}

func (d digest) revision(at *LSN) {
	if d.flag(at != nil) {
		d.number(uint64(*at))
	}
}
