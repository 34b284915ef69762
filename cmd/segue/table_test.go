package main

import (
	"bytes"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"pgregory.net/rapid"
)

func draw(t *testing.T, tb *table) string {
	t.Helper()
	var b bytes.Buffer
	if err := tb.write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestTableAligns(t *testing.T) {
	tb := &table{columns: []column{{title: "RANK", right: true}, {title: "TITLE", most: 12}, {title: "ARTISTS"}}}
	tb.add("1", "Blinding Lights", "The Weeknd")
	tb.add("10", "愛", "ROSALÍA")
	tb.add("100", "", "nobody")
	tb.add("7", "x\x1b[2Jy\n")
	want := `
RANK  TITLE         ARTISTS
   1  Blinding Li…  The Weeknd
  10  愛            ROSALÍA
 100                nobody
   7  x` + "\uFFFD" + `[2Jy
`
	// The newline inside the last title became a space, and no line ends with spaces.
	want = strings.Replace(want, "[2Jy\n", "[2Jy \n", 1)
	if got := "\n" + draw(t, tb); got != want {
		t.Errorf("got:%s\nwant:%s", got, want)
	}
}

// Property: whatever the cells hold, there is a line for the head and each row, columns begin at the same
// place in each, no column is wider than allowed, and nothing can steer the terminal.
func TestTableIsSafeForAnyText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.IntRange(1, 20).Draw(t, "most")
		tb := &table{columns: []column{{title: "A", most: most}, {title: "|"}}}
		runes := rapid.RuneFrom([]rune("a |é愛…\t\n\x1b"), unicode.Latin, unicode.Han, unicode.Hangul, unicode.Mn, unicode.Cc, unicode.Bidi_Control)
		rows := rapid.SliceOfN(rapid.StringOf(runes), 0, 8).Draw(t, "cells")
		for _, cell := range rows {
			tb.add(cell, "|")
		}
		var b bytes.Buffer
		if err := tb.write(&b); err != nil {
			t.Fatal(err)
		}
		text := b.String()
		lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
		if len(lines) != len(rows)+1 {
			t.Fatalf("%d lines of %d rows: %q", len(lines), len(rows), text)
		}
		at := -1
		for _, line := range lines {
			end := cells().StringWidth(line[:strings.LastIndexByte(line, '|')])
			if at < 0 {
				at = end
			}
			if end != at || end > most+2 {
				t.Fatalf("second column at %d, in the head at %d, widest %d: %q", end, at, most, text)
			}
		}
		for _, r := range text {
			if r != '\n' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)) {
				t.Fatalf("control character %U in %q", r, text)
			}
		}
	})
}

func TestTableDrop(t *testing.T) {
	tb := &table{columns: []column{{title: "A"}, {title: "B"}, {title: "C"}}}
	tb.add("1", "2", "3")
	tb.add("1")
	tb.drop("B")
	tb.drop("absent")
	if got, want := draw(t, tb), "A  C\n1  3\n1\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Property: thousands adds commas only, one in front of every third digit.
func TestThousands(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64().Draw(t, "n")
		got := thousands(n)
		if plain := strings.ReplaceAll(got, ",", ""); plain != strconv.FormatInt(n, 10) {
			t.Fatalf("thousands(%d) = %q", n, got)
		}
		groups := strings.Split(strings.TrimPrefix(got, "-"), ",")
		for i, g := range groups {
			if len(g) > 3 || len(g) == 0 || i > 0 && len(g) != 3 {
				t.Fatalf("thousands(%d) = %q", n, got)
			}
		}
	})
	if got := plural(1, "item") + plural(0, "item") + plural(1234, "item"); got != "1 item0 items1,234 items" {
		t.Error(got)
	}
}
