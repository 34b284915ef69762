package client

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// uploader says how rows of one kind travel.
type uploader[T proto.Message] struct {
	// field is the request's list of rows, with which paths of violations begin.
	field string
	id    func(T) string
	// send writes one batch, all or nothing, as a request that is made once.
	send func(ctx context.Context, request string, rows []T) (written, error)
}

// written is what came of a batch.
type written struct {
	revision int64
	missing  []string // ids of rows that there was nothing to write to
}

// batch is consecutive rows of the sequence.
type batch[T proto.Message] struct {
	first int64 // position of rows[0] in the sequence
	rows  []T
	bytes int
}

// upload runs one upload. One goroutine, the caller's, reads the sequence and forms batches; each batch is
// then sent by a goroutine of its own, at most InFlight of them, all of which have ended when it returns.
//
// Invariant: two batches under way never share an id, so the order in which they are applied does not
// matter. Before a batch departs that has an id in common with one under way, all under way are waited for.
func upload[T proto.Message](
	ctx context.Context, u uploader[T], rows iter.Seq2[T, error], o UpsertOptions,
) (UpsertResult, error) {
	if err := o.Validate(); err != nil {
		return UpsertResult{}, err
	}
	o.ensureDefaults()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	f := &flight[T]{uploader: u, options: o, ctx: ctx, fail: cancel, ids: map[string]bool{}}
	f.slots = make(chan struct{}, o.InFlight)

	var next batch[T]
	for row, err := range rows {
		if err != nil {
			cancel(err)
			break
		}
		size := frameSize(row)
		if len(next.rows) > 0 && (len(next.rows) >= o.BatchRows || next.bytes+size > o.BatchBytes) {
			if !f.depart(next) {
				break
			}
			next = batch[T]{first: next.first + int64(len(next.rows))}
		}
		next.rows = append(next.rows, row)
		next.bytes += size
		if ctx.Err() != nil {
			break
		}
	}
	if len(next.rows) > 0 && ctx.Err() == nil {
		f.depart(next)
	}
	f.group.Wait()
	return f.result, context.Cause(ctx)
}

// frameSize is how many bytes a row adds to its request: itself, a tag of one byte, and its length.
func frameSize(row proto.Message) int {
	n := proto.Size(row)
	size := n + 2
	for ; n >= 0x80; n >>= 7 {
		size++
	}
	return size
}

// flight is the state of one upload.
type flight[T proto.Message] struct {
	uploader[T]
	options UpsertOptions
	ctx     context.Context // of the upload; its cause is the error that ended it
	fail    context.CancelCauseFunc
	slots   chan struct{} // one for each batch under way
	group   sync.WaitGroup

	mu     sync.Mutex      // guards what follows and serialises the callbacks
	ids    map[string]bool // of the rows under way
	result UpsertResult
}

// depart sends b in the background as soon as it may. It returns false when the upload has ended.
func (f *flight[T]) depart(b batch[T]) bool {
	if f.conflicts(b) {
		f.group.Wait()
	}
	select {
	case f.slots <- struct{}{}:
	case <-f.ctx.Done():
		return false
	}
	f.setUnderWay(b, true)
	f.group.Go(func() {
		defer func() {
			f.setUnderWay(b, false)
			<-f.slots
		}()
		if err := f.deliver(b); err != nil {
			last := b.first + int64(len(b.rows)) - 1
			f.fail(fmt.Errorf("rows %d to %d: %w", b.first, last, err))
		}
	})
	return true
}

// conflicts reports whether b has an id in common with a batch under way.
func (f *flight[T]) conflicts(b batch[T]) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.ContainsFunc(b.rows, func(row T) bool { return f.ids[f.id(row)] })
}

func (f *flight[T]) setUnderWay(b batch[T], underWay bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, row := range b.rows {
		if underWay {
			f.ids[f.id(row)] = true
		} else {
			delete(f.ids, f.id(row))
		}
	}
}

// numbered is a row with its position in the sequence.
type numbered[T proto.Message] struct {
	at  int64
	row T
}

// deliver writes a batch but for the rows that the server refuses.
func (f *flight[T]) deliver(b batch[T]) error {
	rows := make([]numbered[T], len(b.rows))
	for i, row := range b.rows {
		rows[i] = numbered[T]{b.first + int64(i), row}
	}
	return f.deliverRows(rows)
}

func (f *flight[T]) deliverRows(rows []numbered[T]) error {
	for len(rows) > 0 {
		w, err := f.sendPatiently(rows)
		if err == nil {
			f.landed(len(rows), w)
			return nil
		}
		bad, culprits := f.blame(rows, err)
		switch {
		case len(bad) > 0:
			f.reject(bad)
			rows = slices.DeleteFunc(rows, func(n numbered[T]) bool { return culprits[n.at] })
		case tooLarge(err) && len(rows) > 1:
			half := len(rows) / 2
			if err := f.deliverRows(rows[:half:half]); err != nil {
				return err
			}
			rows = rows[half:]
		default:
			return err
		}
	}
	return nil
}

// sendPatiently sends rows, again and again while the server is UNAVAILABLE and Patience lasts.
func (f *flight[T]) sendPatiently(rows []numbered[T]) (written, error) {
	ctx, cancel := context.WithTimeout(f.ctx, f.options.Patience)
	defer cancel()
	plain := make([]T, len(rows))
	for i, n := range rows {
		plain[i] = n.row
	}
	request := NewRequestID()
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		w, err := f.send(ctx, request, plain)
		if status.Code(err) != codes.Unavailable {
			return w, err
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return written{}, err
		}
	}
}

// blame says which rows err is about: those named by the violations, the only row of a request too large
// to be received, or those that cannot be encoded. None where err is about something else.
func (f *flight[T]) blame(rows []numbered[T], err error) (bad []Reject, culprits map[int64]bool) {
	culprits = map[int64]bool{}
	add := func(i int, v Violation) {
		n := rows[i]
		if !culprits[n.at] {
			culprits[n.at] = true
			bad = append(bad, Reject{Row: n.at, ID: f.id(n.row)})
		}
		at := slices.IndexFunc(bad, func(r Reject) bool { return r.Row == n.at })
		bad[at].Violations = append(bad[at].Violations, v)
	}
	switch status.Code(err) {
	case codes.InvalidArgument:
		for _, v := range Violations(err) {
			if i, rest, ok := cutIndex(v.Field, f.field); ok && i < len(rows) {
				v.Field = rest
				add(i, v)
			}
		}
	case codes.ResourceExhausted:
		if tooLarge(err) && len(rows) == 1 {
			add(0, Violation{Reason: "TOO_LONG", Rule: "larger than the server receives: " + status.Convert(err).Message()})
		}
	case codes.Internal: // also the answer of the client's own encoder, for text that is not UTF-8
		for i, n := range rows {
			if _, err := proto.Marshal(n.row); err != nil {
				add(i, Violation{Reason: "INVALID_FORMAT", Rule: err.Error()})
			}
		}
	}
	return bad, culprits
}

// tooLarge reports whether gRPC refused to receive a message for its size. Errors of the same code that
// the server itself makes carry a reason.
func tooLarge(err error) bool {
	return status.Code(err) == codes.ResourceExhausted && Reason(err) == ""
}

// cutIndex splits a path "items[3].vector" into 3 and "vector", given "items".
func cutIndex(path, field string) (index int, rest string, ok bool) {
	path, ok = strings.CutPrefix(path, field+"[")
	if !ok {
		return 0, "", false
	}
	number, rest, ok := strings.Cut(path, "]")
	if !ok {
		return 0, "", false
	}
	index, err := strconv.Atoi(number)
	return index, strings.TrimPrefix(rest, "."), err == nil && index >= 0
}

func (f *flight[T]) landed(rows int, w written) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.result.Written += int64(rows - len(w.missing))
	f.result.Missing += int64(len(w.missing))
	f.result.Revision = max(f.result.Revision, w.revision)
	if f.options.OnMissing != nil {
		for _, id := range w.missing {
			f.options.OnMissing(id)
		}
	}
	f.report()
}

func (f *flight[T]) reject(bad []Reject) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.result.Rejected += int64(len(bad))
	if f.options.OnReject != nil {
		for _, r := range bad {
			f.options.OnReject(r)
		}
	}
	f.report()
}

func (f *flight[T]) report() {
	if f.options.OnProgress != nil {
		f.options.OnProgress(f.result)
	}
}
