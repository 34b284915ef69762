package auth

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strings"
	"time"
)

// AccessFile knows callers by a file of lines
//
//	NAME  GRANT[,GRANT...]  CREDENTIAL
//
// where a grant is ROLE:COLLECTIONS (read:*, write:tracks*), and a credential is sha256:HEX, the SHA-256 of a bearer
// token, or cert:NAME, the common name, a DNS name or a URI (SPIFFE) of a client certificate. # begins a comment. A name may
// have several lines, for example while a token is rotated. The file holds no secret, but whoever can write it decides
// who gets in.
type AccessFile struct{ file *watched[accessList] }

type accessList struct {
	tokens map[[sha256.Size]byte]*Identity
	certs  map[string]*Identity
}

// OpenAccessFile reads the file; the error names the line.
func OpenAccessFile(path string, log *slog.Logger) (*AccessFile, error) {
	return openAccessFile(path, log, time.Now)
}

func openAccessFile(path string, log *slog.Logger, now func() time.Time) (*AccessFile, error) {
	parse := func(contents [][]byte) (accessList, error) { return parseAccess(contents[0]) }
	w, err := newWatched(log, now, parse, path)
	if err != nil {
		return nil, fmt.Errorf("access file %s: %w", path, err)
	}
	return &AccessFile{file: w}, nil
}

// parseAccess reads the lines.
func parseAccess(text []byte) (accessList, error) {
	list := accessList{tokens: map[[sha256.Size]byte]*Identity{}, certs: map[string]*Identity{}}
	number := 0
	for line := range bytes.Lines(text) {
		number++
		content, _, _ := strings.Cut(string(line), "#")
		fields := strings.Fields(content)
		if len(fields) == 0 {
			continue
		}
		if err := list.add(fields); err != nil {
			return accessList{}, fmt.Errorf("line %d: %w", number, err)
		}
	}
	return list, nil
}

func (l *accessList) add(fields []string) error {
	if len(fields) != 3 {
		return fmt.Errorf("auth: has %d fields, must have 3: NAME GRANTS CREDENTIAL", len(fields))
	}
	grants, err := ParseGrants(strings.Split(fields[1], ","))
	if err != nil {
		return err
	}
	id := &Identity{Subject: fields[0], Grants: grants}
	kind, value, _ := strings.Cut(fields[2], ":")
	switch {
	case kind == "sha256":
		sum, err := hex.DecodeString(value)
		if err != nil || len(sum) != sha256.Size {
			return fmt.Errorf("auth: sha256: must have 64 hexadecimal digits")
		}
		key := [sha256.Size]byte(sum)
		if other := l.tokens[key]; other != nil {
			return fmt.Errorf("auth: the token is also that of %q", cut(other.Subject))
		}
		l.tokens[key] = id
	case kind == "cert" && value != "":
		if other := l.certs[value]; other != nil {
			return fmt.Errorf("auth: the certificate is also that of %q", cut(other.Subject))
		}
		l.certs[value] = id
	default:
		return fmt.Errorf("auth: credential %q must be sha256:HEX or cert:NAME", cut(fields[2]))
	}
	return nil
}

// Authenticate implements Authenticator. A token counts before a certificate: whoever sends one means it.
func (a *AccessFile) Authenticate(c Credential) (*Identity, error) {
	list := a.file.get()
	if c.Token != "" {
		if id := list.tokens[sha256.Sum256([]byte(c.Token))]; id != nil {
			return id, nil
		}
		return nil, &UnauthenticatedError{Why: "the token is not known"}
	}
	if c.Certificate == nil {
		return nil, errNotMine
	}
	for _, name := range certificateNames(c.Certificate) {
		if id := list.certs[name]; id != nil {
			return id, nil
		}
	}
	return nil, &UnauthenticatedError{Why: "the client certificate is not known"}
}

// certificateNames lists the names of a certificate: URIs, then DNS names, then the common name.
func certificateNames(c *x509.Certificate) []string {
	var names []string
	for _, u := range c.URIs {
		names = append(names, u.String())
	}
	names = append(names, c.DNSNames...)
	if c.Subject.CommonName != "" {
		names = append(names, c.Subject.CommonName)
	}
	return names
}

// NewToken makes a random bearer token and the credential that an access file holds of it.
func NewToken() (token, credential string) {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	token = "segue_" + base64.RawURLEncoding.EncodeToString(b[:])
	sum := sha256.Sum256([]byte(token))
	return token, "sha256:" + hex.EncodeToString(sum[:])
}
