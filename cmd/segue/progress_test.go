package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestLinesAreWrittenNowAndThen(t *testing.T) {
	var b bytes.Buffer
	now := time.Unix(1000, 0)
	l := newLines(&b, "items", 2000, func() time.Time { return now }, 2*time.Second)
	for i := range 20 {
		now = now.Add(500 * time.Millisecond)
		l.set(int64(i+1)*100, int64(i/10))
	}
	l.finish()
	want := `items: 400 of 2,000 (20%), 200/s, 8s left
items: 800 of 2,000 (40%), 200/s, 6s left
items: 1,200 of 2,000 (60%), 200/s, 4s left, 1 rejected
items: 1,600 of 2,000 (80%), 200/s, 2s left, 1 rejected
items: 2,000 of 2,000 (100%), 200/s, 1 rejected
items: 2,000 of 2,000 (100%), 200/s, 1 rejected
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestLinesOfUnknownTotal(t *testing.T) {
	var b bytes.Buffer
	now := time.Unix(1000, 0)
	newLines(&b, "items", -1, func() time.Time { return now }, time.Second).finish()
	l := newLines(&b, "users", 0, func() time.Time { return now }, time.Second)
	l.finish()
	if got, want := b.String(), "items: 0, 0/s\nusers: 0 of 0, 0/s\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// A bar ends whether its work was finished, cut short or never counted; on a pipe it draws its last state.
func TestBarEnds(t *testing.T) {
	for name, tc := range map[string]struct {
		total, done int64
		want        string
	}{
		"finished":      {total: 1000, done: 1000, want: "1,000 of 1,000"},
		"cut short":     {total: 1000, done: 10, want: "10 of 1,000"},
		"unknown total": {total: -1, done: 1234, want: "1,234"},
		"nothing":       {total: 0, done: 0, want: "0 of 0"},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			p := newProgress(t.Context(), &environment{stderr: &b, stderrTTY: true}, "items", tc.total)
			p.set(tc.done, 3)
			p.finish()
			if got := b.String(); !strings.Contains(got, tc.want) || !strings.Contains(got, "3 rejected") {
				t.Errorf("drew %q, want %q", got, tc.want)
			}
		})
	}
}

// The time left is known once something is done and until everything is, of a total that is known.
func TestTimeLeft(t *testing.T) {
	for _, tc := range []struct {
		done, total int64
		since, want time.Duration
	}{
		{0, 100, time.Minute, 0},
		{1, 100, time.Second, 99 * time.Second},
		{50, 100, time.Hour, time.Hour},
		{3, 4, 10 * time.Second, 3 * time.Second},
		{100, 100, time.Hour, 0},
		{101, 100, time.Hour, 0}, // more came than was said
		{5, -1, time.Hour, 0},
		{5, 0, time.Hour, 0},
		{1, 1 << 40, 24 * time.Hour, 0}, // beyond what a duration holds
	} {
		if got := timeLeft(tc.done, tc.total, tc.since); got != tc.want {
			t.Errorf("%d of %d in %s: %s, want %s", tc.done, tc.total, tc.since, got, tc.want)
		}
	}
}
