package querylog

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// Options configure a Log. The zero value of a field means its documented default.
type Options struct {
	// Dir is where the files are; it is made where it is missing. Required.
	Dir string
	// Share is how many of the queries are kept, above 0 and at most 1. Required.
	Share float64
	// Redact lists what is not kept of queries. Default DefaultRedaction; nothing where it is empty and not nil.
	Redact []Redaction
	// FileBytes bounds one file, 1 KiB or more. Default 64 MiB.
	FileBytes int64
	// TotalBytes bounds all files together, at least two of FileBytes. Default 1 GiB.
	TotalBytes int64
	// Logger hears of errors of the disk. Default slog.Default().
	Logger *slog.Logger
	// Count is told what became of each query that was drawn; nil counts for nobody. It is called by Offer and by the
	// goroutine that writes.
	Count func(Outcome)
}

// Outcome is what became of a query.
type Outcome string

// The outcomes. Withheld is of queries that are left out by the rules of the package.
const (
	Written       Outcome = "written"
	Withheld      Outcome = "withheld"
	DroppedQueue  Outcome = "dropped_queue"
	DroppedTooBig Outcome = "dropped_too_big"
	DroppedDisk   Outcome = "dropped_disk"
)

// Outcomes lists all of them.
func Outcomes() []Outcome {
	return []Outcome{Written, Withheld, DroppedQueue, DroppedTooBig, DroppedDisk}
}

const (
	defaultFileBytes  = 64 << 20
	defaultTotalBytes = 1 << 30
	leastFileBytes    = 1 << 10
	// queueLength and queueBytes bound what waits to be written.
	queueLength = 1024
	queueBytes  = 8 << 20
	// retryAfter is how long nothing is written after an error of the disk.
	retryAfter = 10 * time.Second
)

// EnsureDefaults replaces zero values by the defaults.
func (o *Options) EnsureDefaults() {
	if o.FileBytes == 0 {
		o.FileBytes = defaultFileBytes
	}
	if o.TotalBytes == 0 {
		o.TotalBytes = max(defaultTotalBytes, 2*o.FileBytes)
	}
	if o.Redact == nil {
		o.Redact = DefaultRedaction()
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Count == nil {
		o.Count = func(Outcome) {}
	}
}

// Validate reports every field that is out of range.
func (o Options) Validate() error {
	var errs []error
	if o.Dir == "" {
		errs = append(errs, errors.New("querylog: Dir is required"))
	}
	if !(o.Share > 0 && o.Share <= 1) { // also NaN
		errs = append(errs, fmt.Errorf("querylog: Share must be above 0 and at most 1, is %v", o.Share))
	}
	if o.FileBytes < leastFileBytes {
		errs = append(errs, fmt.Errorf("querylog: FileBytes must be at least %d, is %d", leastFileBytes, o.FileBytes))
	}
	if o.TotalBytes/2 < o.FileBytes {
		errs = append(errs, fmt.Errorf("querylog: TotalBytes must be at least two files of %d, is %d", o.FileBytes, o.TotalBytes))
	}
	for _, r := range o.Redact {
		if !slices.Contains(redactions, r) {
			errs = append(errs, fmt.Errorf("querylog: Redact must be of %q, has %q", redactions, r))
		}
	}
	return errors.Join(errs...)
}

// Log keeps a sample of queries. nil is one that keeps none.
type Log struct {
	o      Options
	queue  chan []byte
	queued atomic.Int64 // bytes in queue

	closing sync.RWMutex // held to read while a query is put into the queue
	closed  bool         // guarded by closing
	stopped chan struct{}
}

// Open starts a log; Close ends it. Errors: those of Validate, and of a directory that cannot be made or written to.
func Open(o Options) (*Log, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("querylog: %w", err)
	}
	w := &writer{dir: o.Dir, fileBytes: o.FileBytes, totalBytes: o.TotalBytes}
	if err := w.begin(time.Now()); err != nil { // a directory that cannot be written to is known at the start
		return nil, err
	}
	l := &Log{o: o, queue: make(chan []byte, queueLength), stopped: make(chan struct{})}
	go l.run(w)
	return l, nil
}

// Offer keeps the query, by chance, after it was answered from the collection. It never waits. It costs a random number where the
// query is not kept, else a copy; the request is not referred to afterwards.
func (l *Log) Offer(req *seguev1.NearestNeighborsRequest, collection string) {
	if l == nil || rand.Float64() >= l.o.Share { //nolint:gosec // a sample
		return
	}
	m := kept(req, collection, l.o.Redact)
	if m == nil {
		l.o.Count(Withheld)
		return
	}
	record, err := proto.Marshal(m)
	if err != nil || int64(len(record)) > min(MaxRecordBytes, l.o.FileBytes-maxLengthBytes) {
		l.o.Count(DroppedTooBig)
		return
	}
	l.closing.RLock()
	defer l.closing.RUnlock()
	if l.closed || l.queued.Add(int64(len(record))) > queueBytes {
		l.queued.Add(-int64(len(record)))
		l.o.Count(DroppedQueue)
		return
	}
	select {
	case l.queue <- record:
	default:
		l.queued.Add(-int64(len(record)))
		l.o.Count(DroppedQueue)
	}
}

// Close writes what is queued and ends the log. It may be called more than once.
func (l *Log) Close() {
	if l == nil {
		return
	}
	l.closing.Lock()
	if !l.closed {
		l.closed = true
		close(l.queue)
	}
	l.closing.Unlock()
	<-l.stopped
}

func (l *Log) run(w *writer) {
	defer close(l.stopped)
	var failed time.Time // when the disk last failed; zero while it works
	for record := range l.queue {
		l.queued.Add(-int64(len(record)))
		if now := time.Now(); !failed.IsZero() && now.Sub(failed) < retryAfter {
			l.o.Count(DroppedDisk)
			continue
		}
		if err := w.write(record, len(l.queue) == 0); err != nil {
			failed = time.Now()
			l.o.Count(DroppedDisk)
			l.o.Logger.Warn("the query log cannot be written; queries are lost", "dir", l.o.Dir, "err", err)
			continue
		}
		failed = time.Time{}
		l.o.Count(Written)
	}
	if err := w.end(); err != nil {
		l.o.Logger.Warn("the end of the query log was not written", "dir", l.o.Dir, "err", err)
	}
}
