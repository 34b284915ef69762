package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// ImportRow is an item or a profile: exactly one is set.
type ImportRow struct {
	Item    *seguev1.Item
	Profile *seguev1.Profile
}

// WriteImportOptions configure WriteImport. The zero value is usable.
type WriteImportOptions struct {
	// BatchRows is how many rows a message holds, 1..10,000. 0 means 500. An import that goes on must use the number that it
	// was begun with: batches are counted, not rows.
	BatchRows int
	// Retries is how often in a row a broken stream is begun again. 0 means 8; negative means never.
	Retries int
	// OnProgress, where it is set, is called after each batch with the rows read so far.
	OnProgress func(rows int64)
}

const (
	defaultImportBatch   = 500
	defaultImportRetries = 8
	importRetryDelay     = 200 * time.Millisecond
)

// WriteImport streams rows into an import that was started, and returns once all are durable. It goes on where the import
// stands: batches that are durable are read and not sent. A stream that breaks with UNAVAILABLE is begun again and what was not
// acknowledged is sent again. The order of rows must be the same whenever an import goes on. An error of rows ends it.
func (c *Client) WriteImport(ctx context.Context, collection, job string, rows iter.Seq2[ImportRow, error], o WriteImportOptions) error {
	if o.BatchRows == 0 {
		o.BatchRows = defaultImportBatch
	}
	if o.BatchRows < 1 || o.BatchRows > 10_000 {
		return fmt.Errorf("%w: BatchRows is %d, must be 1..10,000", ErrOptions, o.BatchRows)
	}
	var count int64
	batches := func(yield func(*seguev1.WriteImportRequest, error) bool) {
		var next *seguev1.WriteImportRequest
		seq := int64(0)
		for row, err := range rows {
			if err != nil {
				yield(nil, err)
				return
			}
			if next == nil {
				seq++
				next = &seguev1.WriteImportRequest{Collection: collection, JobId: job, Sequence: seq}
			}
			if row.Item != nil {
				next.Items = append(next.Items, row.Item)
			} else {
				next.Profiles = append(next.Profiles, row.Profile)
			}
			if count++; len(next.Items)+len(next.Profiles) == o.BatchRows {
				if !yield(next, nil) {
					return
				}
				next = nil
			}
		}
		if next != nil {
			yield(next, nil)
		}
	}
	return c.writeBatches(ctx, collection, job, o.Retries, batches, func() {
		if o.OnProgress != nil {
			o.OnProgress(count)
		}
	})
}

// writeBatches sends batches, numbered from 1 on, but those that are durable already, and returns once all are. read is called
// for each one. An error of batches ends it.
func (c *Client) writeBatches(ctx context.Context, collection, job string, retries int, batches iter.Seq2[*seguev1.WriteImportRequest, error], read func()) error {
	if retries == 0 {
		retries = defaultImportRetries
	}
	got, err := c.Imports.GetImport(ctx, &seguev1.GetImportRequest{Collection: collection, JobId: job})
	if err != nil {
		return err
	}
	before := got.GetImport().GetSequence()
	w := &importWriter{client: c, retries: retries, acked: before}
	defer w.hangUp()
	last := int64(0)
	for b, err := range batches {
		if err != nil {
			return err
		}
		read()
		if last = b.GetSequence(); last <= before {
			continue
		}
		if err := w.send(ctx, b); err != nil {
			return err
		}
	}
	return w.finish(ctx, last)
}

// importWriter is a stream and what was sent on it and not acknowledged.
type importWriter struct {
	client  *Client
	retries int

	stream seguev1.ImportService_WriteImportClient
	cancel context.CancelFunc
	ended  chan struct{} // closed when the stream's receiver has ended

	mu      sync.Mutex // guards what follows
	acked   int64
	pending []*seguev1.WriteImportRequest
	err     error // how the stream ended; io.EOF is the good way
}

// send sends a batch, on a new stream where the old one broke.
func (w *importWriter) send(ctx context.Context, b *seguev1.WriteImportRequest) error {
	w.mu.Lock()
	w.pending = append(w.pending, b)
	w.mu.Unlock()
	if w.stream != nil && w.stream.Send(b) == nil {
		return nil
	}
	return w.again(ctx, func() error { return nil })
}

// finish ends the stream and waits until the server has acknowledged batch last.
func (w *importWriter) finish(ctx context.Context, last int64) error {
	end := func() error {
		if w.stream == nil {
			return nil
		}
		if err := w.stream.CloseSend(); err != nil {
			return err
		}
		<-w.ended
		w.mu.Lock()
		defer w.mu.Unlock()
		if !errors.Is(w.err, io.EOF) {
			return w.err
		}
		return nil
	}
	if err := end(); err != nil {
		if err := w.again(ctx, end); err != nil {
			return err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.acked < last {
		return fmt.Errorf("the server acknowledged batch %d of %d", w.acked, last)
	}
	return nil
}

// again begins a stream, sends what is pending, and calls then; where the server is away it tries again after a while.
func (w *importWriter) again(ctx context.Context, then func() error) error {
	delay := importRetryDelay
	for try := 0; ; try++ {
		err := w.failure()
		if err == nil || status.Code(err) == codes.Unavailable {
			if err = w.begin(ctx); err == nil {
				err = then()
			}
		}
		if err == nil {
			return nil
		}
		if status.Code(err) != codes.Unavailable || try >= w.retries {
			return err
		}
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return ctx.Err()
		}
		delay *= 2
	}
}

// failure waits for the end of a broken stream and returns why it ended, or nil where there is none.
func (w *importWriter) failure() error {
	if w.stream == nil {
		return nil
	}
	<-w.ended
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// begin opens a stream and sends everything that is pending.
func (w *importWriter) begin(ctx context.Context) error {
	w.hangUp()
	ctx, w.cancel = context.WithCancel(ctx)
	stream, err := w.client.Imports.WriteImport(ctx)
	if err != nil {
		return err
	}
	w.stream, w.ended = stream, make(chan struct{})
	w.mu.Lock()
	w.err = nil
	pending := append([]*seguev1.WriteImportRequest(nil), w.pending...)
	w.mu.Unlock()
	go w.receive(stream, w.ended)
	for _, b := range pending {
		if stream.Send(b) != nil {
			return w.failure()
		}
	}
	return nil
}

// receive takes acknowledgements until the stream ends.
func (w *importWriter) receive(stream seguev1.ImportService_WriteImportClient, ended chan struct{}) {
	defer close(ended)
	for {
		m, err := stream.Recv()
		w.mu.Lock()
		if err != nil {
			w.err = err
			w.mu.Unlock()
			return
		}
		w.acked = max(w.acked, m.GetSequence())
		n := 0
		for n < len(w.pending) && w.pending[n].GetSequence() <= w.acked {
			n++
		}
		w.pending = w.pending[n:]
		w.mu.Unlock()
	}
}

// hangUp ends the stream, if there is one, and waits for its receiver.
func (w *importWriter) hangUp() {
	if w.cancel != nil {
		w.cancel()
	}
	if w.stream != nil {
		<-w.ended
		w.stream = nil
	}
}
