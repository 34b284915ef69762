package server

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestPageTokenRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		scope := rapid.String().Draw(t, "scope")
		cursor := rapid.StringN(1, 256, 256).Draw(t, "cursor")
		token := encodePageToken(scope, cursor)
		d := testDecoder(0)
		if got := d.pageToken(scope, token, 256); got != cursor || d.err() != nil {
			t.Fatalf("%q: %v", got, d.err())
		}
		// Of another list, cut, or with one character changed it is no token.
		at := rapid.IntRange(0, len(token)-1).Draw(t, "at")
		other := map[byte]string{'A': "B"}[token[at]]
		if other == "" {
			other = "A"
		}
		for _, bad := range []struct{ scope, token string }{
			{scope + "x", token},
			{scope, token[:at]},
			{scope, token[:at] + other + token[at+1:]},
			{scope, token + "A"},
		} {
			if bad.token == "" {
				continue
			}
			d := testDecoder(0)
			if got := d.pageToken(bad.scope, bad.token, 256); got != "" || d.err() == nil {
				t.Fatalf("%q is taken for a token: %q", bad.token, got)
			}
			if v := d.violations[0]; v.Field != "page_token" || v.Reason != reasonInvalidPageToken {
				t.Fatal(v)
			}
		}
	})
}

func TestPageTokenEdges(t *testing.T) {
	d := testDecoder(0)
	if got := d.pageToken("s", "", 256); got != "" || d.err() != nil {
		t.Errorf("the empty token: %q, %v", got, d.err())
	}
	for _, bad := range []string{
		encodePageToken("s", ""),                       // no cursor: would begin again for ever
		encodePageToken("s", strings.Repeat("x", 257)), // longer than any key
		strings.Repeat("A", 10<<20),
		"====", "\n", "AAAAAAAA", " " + encodePageToken("s", "k"),
	} {
		d := testDecoder(0)
		if got := d.pageToken("s", bad, 256); got != "" || d.err() == nil {
			t.Errorf("%.40q is taken for a token: %q", bad, got)
		}
	}
}

// FuzzPageToken: what decodes is exactly what was encoded; everything else is refused.
func FuzzPageToken(f *testing.F) {
	f.Add(encodePageToken("items/tracks", "0VjIjW4GlUZAMYd2vXMi3b"))
	f.Add(encodePageToken("collections", "tracks"))
	f.Add("")
	f.Add("AAAA")
	f.Fuzz(func(t *testing.T, token string) {
		d := testDecoder(0)
		cursor := d.pageToken("items/tracks", token, 256)
		switch {
		case token == "":
		case cursor == "" && d.err() == nil:
			t.Errorf("%q is neither taken nor refused", token)
		case cursor != "" && encodePageToken("items/tracks", cursor) != token:
			t.Errorf("%q has a second form %q", cursor, token)
		}
	})
}
