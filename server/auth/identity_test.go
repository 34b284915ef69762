package auth

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// TestMay: a caller may what one of its grants says, by a matcher that knows * and ? in another way.
func TestMay(t *testing.T) {
	names := rapid.StringMatching(`[ab_-]{1,5}`)
	globs := rapid.OneOf(rapid.StringMatching(`[ab*?_-]{1,4}`), rapid.SampledFrom([]string{"*", "**", "***"})) // the last two are not all of a server
	rapid.Check(t, func(t *rapid.T) {
		id := &Identity{Subject: "s"}
		for range rapid.IntRange(0, 4).Draw(t, "grants") {
			role := seguev1.Role(rapid.IntRange(1, 3).Draw(t, "role"))
			id.Grants = append(id.Grants, Grant{role, globs.Draw(t, "glob")})
		}
		role := seguev1.Role(rapid.IntRange(1, 3).Draw(t, "wanted"))
		name := rapid.OneOf(names, rapid.Just("")).Draw(t, "collection")
		want := false
		for _, g := range id.Grants {
			pattern := strings.NewReplacer(`\*`, `.*`, `\?`, `.`).Replace(regexp.QuoteMeta(g.Collections))
			matches := regexp.MustCompile(`^` + pattern + `$`).MatchString(name)
			if name == "" {
				matches = g.Collections == "*" // the whole server
			}
			want = want || matches && g.Role >= role
		}
		if got := id.may(role, name); got != want {
			t.Fatalf("%v may %v %q: %v, want %v", id.Grants, role, name, got, want)
		}
	})
}

// TestGrantsRoundTrip: what a grant is written as is read as that grant.
func TestGrantsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var want []Grant
		var texts []string
		for range rapid.IntRange(1, maxGrants).Draw(t, "grants") {
			g := Grant{seguev1.Role(rapid.IntRange(1, 3).Draw(t, "role")), rapid.StringMatching(`[a-z*?:_-]{1,8}`).Draw(t, "glob")}
			want, texts = append(want, g), append(texts, g.String())
		}
		got, err := ParseGrants(texts)
		if err != nil {
			t.Fatal(err)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("%q was read as %v", texts[i], got[i])
			}
		}
		if _, err := ParseGrants(append(texts, make([]string, maxGrants)...)); err == nil {
			t.Fatal("too many grants are taken")
		}
	})
}

// TestDeniedSays: who needs what, at most some bytes of what a caller sent, and nothing that is not UTF-8.
func TestDeniedSays(t *testing.T) {
	for want, e := range map[string]DeniedError{
		`"ann" needs the role write for collection "tracks"`:                            {"ann", seguev1.Role_ROLE_WRITE, "tracks"},
		`"ann" needs the role admin for all collections (*)`:                            {"ann", seguev1.Role_ROLE_ADMIN, ""},
		`"ann" needs the role read for collection "` + strings.Repeat("x", 64) + `..."`: {"ann", seguev1.Role_ROLE_READ, strings.Repeat("x", 1000)},
		`"a` + "\uFFFD" + `" needs the role read for collection "b"`:                    {"a\xff", seguev1.Role_ROLE_READ, "b"},
	} {
		if got := e.Error(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// TestNewToken: a token is let in by its credential, tokens differ, and none is in the file.
func TestNewToken(t *testing.T) {
	seen := map[string]bool{}
	lines := ""
	for range 50 {
		token, credential := NewToken()
		if seen[token] || len(token) < 40 || strings.Contains(credential, token) {
			t.Fatalf("token %s, credential %s", token, credential)
		}
		seen[token] = true
		lines += "ann read:* " + credential + "\n"
	}
	path := filepath.Join(t.TempDir(), "access")
	write(t, path, lines)
	a, err := OpenAccessFile(path, quiet)
	if err != nil {
		t.Fatal(err)
	}
	for token := range seen {
		accepted(t, a, Credential{Token: token}, "ann", "[read:*]")
		refused(t, a, Credential{Token: token[1:]}, "not known")
	}
}
