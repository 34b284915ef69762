package main

import (
	"bufio"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/mattn/go-runewidth"
)

// column is one column of a table.
type column struct {
	title string
	// right aligns numbers.
	right bool
	// most is the widest a cell may be, in terminal cells; longer ones are cut. 0 means any width.
	most int
}

// table is text in aligned columns. Cells may hold anything: control characters, which could steer a
// terminal, are shown as U+FFFD.
type table struct {
	columns []column
	rows    [][]string
}

// cells measures text in terminal cells. Characters of ambiguous width count as narrow whatever the
// locale, so that the same table always looks the same.
func cells() *runewidth.Condition {
	return &runewidth.Condition{EastAsianWidth: false, StrictEmojiNeutral: true}
}

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// write draws the table with two spaces between columns and none at the end of a line.
func (t *table) write(w io.Writer) error {
	measure := cells()
	lines := make([][]string, 0, len(t.rows)+1)
	head := make([]string, len(t.columns))
	for i, c := range t.columns {
		head[i] = c.title
	}
	lines = append(lines, head)
	for _, row := range t.rows {
		line := make([]string, len(t.columns))
		for i := range t.columns {
			if i < len(row) {
				line[i] = fit(printable(row[i]), t.columns[i].most)
			}
		}
		lines = append(lines, line)
	}
	widths := make([]int, len(t.columns))
	for _, line := range lines {
		for i, cell := range line {
			widths[i] = max(widths[i], measure.StringWidth(cell))
		}
	}

	b := bufio.NewWriter(w)
	for _, line := range lines {
		owed := 0 // spaces before the next text; dropped at the end of the line
		for i, cell := range line {
			if i > 0 {
				owed += 2
			}
			space := widths[i] - measure.StringWidth(cell)
			if t.columns[i].right {
				owed, space = owed+space, 0
			}
			if cell != "" {
				b.WriteString(strings.Repeat(" ", owed))
				b.WriteString(cell)
				owed = 0
			}
			owed += space
		}
		b.WriteByte('\n')
	}
	return b.Flush()
}

// fit cuts s to most cells, marking the cut.
func fit(s string, most int) string {
	if most <= 0 {
		return s
	}
	return cells().Truncate(s, most, "…")
}

// printable replaces what could move the cursor, change the terminal's state or reorder the line.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' || r == '\n' || r == '\r' {
			return ' '
		}
		if unicode.Is(unicode.Cc, r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029' {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// thousands writes n with commas: 63468 is 63,468.
func thousands(n int64) string {
	digits := []byte(strconv.FormatInt(n, 10))
	neg := digits[0] == '-'
	if neg {
		digits = digits[1:]
	}
	var b strings.Builder
	if neg {
		b.WriteByte('-')
	}
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteByte(d)
	}
	return b.String()
}

// drop removes the column of that title.
func (t *table) drop(title string) {
	at := slices.IndexFunc(t.columns, func(c column) bool { return c.title == title })
	if at < 0 {
		return
	}
	t.columns = slices.Delete(t.columns, at, at+1)
	for i, row := range t.rows {
		if at < len(row) {
			t.rows[i] = slices.Delete(row, at, at+1)
		}
	}
}
