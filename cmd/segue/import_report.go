package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"sort"
	"strconv"
	"sync"
	"time"

	"github.com/segue-ann/segue/client"
)

// rejectedRow is a row that was not written, and why.
type rejectedRow struct {
	Row     int64  `json:"row"` // in its file, from 0
	ID      string `json:"id"`
	Field   string `json:"field"`
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// How many rejects a report lists; all are counted.
const (
	maxListedRejects = 10_000
	maxShownRejects  = 50
)

// importReport counts what became of the rows of one kind.
type importReport struct {
	Rows     int64         `json:"rows"`
	Written  int64         `json:"written"`
	Rejected int64         `json:"rejected"`
	Revision int64         `json:"revision"`
	Seconds  float64       `json:"seconds"`
	Rejects  []rejectedRow `json:"rejects"` // by row; at most maxListedRejects
}

// ledger gathers a report while rows are read, by one goroutine, and refused by the server, in the
// callbacks of an upload.
type ledger struct {
	progress progress
	started  time.Time

	mu sync.Mutex
	// faults are the rows that were never sent, ascending: the upload counts without them.
	faults  []int64
	report  importReport
	refused int64 // by the server
}

func newLedger(p progress) *ledger {
	return &ledger{progress: p, started: time.Now(), report: importReport{Rejects: []rejectedRow{}}}
}

// fault notes a row that is not sent.
func (l *ledger) fault(r row, f *rowError) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faults = append(l.faults, r.number)
	l.list(rejectedRow{Row: r.number, ID: r.record.ID, Field: f.Field, Reason: f.Reason, Message: f.Rule})
	l.show()
}

// refuse notes a row that the server did not take.
func (l *ledger) refuse(r client.Reject) {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := r.Violations[0]
	l.list(rejectedRow{Row: l.rowOf(r.Row), ID: r.ID, Field: v.Field, Reason: v.Reason, Message: v.Rule})
}

// rowOf translates a position among the rows sent to a row of the file: the position plus the faults before
// that row. Faults noted after the row was sent lie behind it and do not matter.
func (l *ledger) rowOf(position int64) int64 {
	before := sort.Search(len(l.faults), func(i int) bool { return l.faults[i]-int64(i) > position })
	return position + int64(before)
}

// update takes the running totals of the upload.
func (l *ledger) update(r client.UpsertResult) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.report.Written, l.report.Revision, l.refused = r.Written, r.Revision, r.Rejected
	l.show()
}

func (l *ledger) list(r rejectedRow) {
	if len(l.report.Rejects) < maxListedRejects {
		l.report.Rejects = append(l.report.Rejects, r)
	}
}

func (l *ledger) show() {
	rejected := l.refused + int64(len(l.faults))
	l.progress.set(l.report.Written+rejected, rejected)
}

// close ends the progress and returns the report.
func (l *ledger) close() importReport {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.progress.finish()
	l.report.Rejected = l.refused + int64(len(l.faults))
	l.report.Rows = l.report.Written + l.report.Rejected
	l.report.Seconds = time.Since(l.started).Seconds()
	slices.SortFunc(l.report.Rejects, func(a, b rejectedRow) int { return cmp.Compare(a.Row, b.Row) })
	return l.report
}

// write says in words what became of the rows, thing being "item" or "profile".
func (r importReport) write(w io.Writer, thing string) error {
	took := time.Duration(r.Seconds * float64(time.Second))
	_, err := fmt.Fprintf(w, "imported %s in %.1f s (%s/s), %s rejected\n", plural(r.Written, thing), r.Seconds,
		thousands(perSecond(r.Written, took)), thousands(r.Rejected))
	if err != nil || len(r.Rejects) == 0 {
		return err
	}
	t := table{columns: []column{
		{title: "ROW", right: true}, {title: "ID", most: 40}, {title: "FIELD", most: 40}, {title: "REASON"}, {title: "RULE", most: 120},
	}}
	for _, reject := range r.Rejects[:min(len(r.Rejects), maxShownRejects)] {
		t.add(strconv.FormatInt(reject.Row, 10), reject.ID, reject.Field, reject.Reason, reject.Message)
	}
	if err := t.write(w); err != nil {
		return err
	}
	if more := r.Rejected - maxShownRejects; more > 0 {
		_, err = fmt.Fprintf(w, "and %s more (-o json lists up to %s)\n", thousands(more), thousands(maxListedRejects))
	}
	return err
}
