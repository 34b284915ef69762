package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
)

var quiet = slog.New(slog.DiscardHandler)

// clock is a time that tests move.
type clock struct{ t atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.t.Store(time.Now().UnixNano())
	return c
}

func (c *clock) now() time.Time          { return time.Unix(0, c.t.Load()) }
func (c *clock) advance(d time.Duration) { c.t.Add(int64(d)) }

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// refused checks that a credential is not accepted, and why.
func refused(t *testing.T, a Authenticator, c Credential, why string) {
	t.Helper()
	id, err := a.Authenticate(c)
	var want *UnauthenticatedError
	if !errors.As(err, &want) || id != nil || !strings.Contains(want.Why, why) {
		t.Errorf("%.40s...: %v, %v; want a refusal with %q", c.Token, id, err, why)
	}
}

func accepted(t *testing.T, a Authenticator, c Credential, subject, grants string) {
	t.Helper()
	id, err := a.Authenticate(c)
	if err != nil || id.Subject != subject || fmt.Sprint(id.Grants) != grants {
		t.Errorf("%.40s...: %+v, %v; want %s %s", c.Token, id, err, subject, grants)
	}
}

func TestCredentialOf(t *testing.T) {
	for name, c := range map[string]struct {
		header metadata.MD
		token  string
		ok     bool
	}{
		"none":      {metadata.MD{}, "", true},
		"token":     {metadata.Pairs("authorization", "Bearer abc"), "abc", true},
		"case":      {metadata.Pairs("authorization", "bEaReR abc"), "abc", true},
		"two":       {metadata.Pairs("authorization", "Bearer abc", "authorization", "Bearer def"), "", false},
		"basic":     {metadata.Pairs("authorization", "Basic abc"), "", false},
		"bare":      {metadata.Pairs("authorization", "abc"), "", false},
		"empty":     {metadata.Pairs("authorization", "Bearer "), "", false},
		"too large": {metadata.Pairs("authorization", "Bearer "+strings.Repeat("x", maxTokenBytes+1)), "", false},
	} {
		got, err := CredentialOf(t.Context(), c.header)
		if (err == nil) != c.ok || got.Token != c.token || err != nil && !errors.As(err, new(*UnauthenticatedError)) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	// Only a certificate that was verified counts.
	leaf := &x509.Certificate{}
	shown := credentials.TLSInfo{State: tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}}
	if c, err := CredentialOf(peer.NewContext(t.Context(), &peer.Peer{AuthInfo: shown}), nil); err != nil || c.Certificate != nil {
		t.Errorf("an unverified certificate: %+v, %v", c, err)
	}
	shown.State.VerifiedChains = [][]*x509.Certificate{{leaf}}
	if c, err := CredentialOf(peer.NewContext(t.Context(), &peer.Peer{AuthInfo: shown}), nil); err != nil || c.Certificate != leaf {
		t.Errorf("a verified certificate: %+v, %v", c, err)
	}
}

func TestAccessFile(t *testing.T) {
	token, credential := NewToken()
	second, credential2 := NewToken()
	path := filepath.Join(t.TempDir(), "access")
	write(t, path, "# who may do what\n\nradio read:*,write:tracks* "+credential+" # a comment\nops admin:* cert:spiffe://a/ops\nops admin:* cert:ops.internal\n")
	clock := newClock()
	a, err := openAccessFile(path, quiet, clock.now)
	if err != nil {
		t.Fatal(err)
	}
	uri, err := url.Parse("spiffe://a/ops")
	if err != nil {
		t.Fatal(err)
	}
	accepted(t, a, Credential{Token: token}, "radio", "[read:* write:tracks*]")
	accepted(t, a, Credential{Certificate: &x509.Certificate{URIs: []*url.URL{uri}}}, "ops", "[admin:*]")
	accepted(t, a, Credential{Certificate: &x509.Certificate{DNSNames: []string{"ops.internal"}}}, "ops", "[admin:*]")
	accepted(t, a, Credential{Certificate: &x509.Certificate{Subject: pkix.Name{CommonName: "ops.internal"}}}, "ops", "[admin:*]")
	refused(t, a, Credential{}, "no credential")
	refused(t, a, Credential{Token: second}, "not known")
	refused(t, a, Credential{Token: token + "x"}, "not known")
	refused(t, a, Credential{Token: strings.TrimPrefix(credential, "sha256:")}, "not known")
	refused(t, a, Credential{Certificate: &x509.Certificate{DNSNames: []string{"other"}}}, "certificate is not known")
	// A bad token is not made good by a good certificate.
	refused(t, a, Credential{Token: second, Certificate: &x509.Certificate{DNSNames: []string{"ops.internal"}}}, "not known")

	// A change is followed, a broken one is not, a removal locks out.
	write(t, path, "radio2 read:* "+credential2+"\n")
	clock.advance(2 * lookInterval)
	accepted(t, a, Credential{Token: second}, "radio2", "[read:*]")
	refused(t, a, Credential{Token: token}, "not known")
	write(t, path, "radio2 read:*\n")
	clock.advance(2 * lookInterval)
	accepted(t, a, Credential{Token: second}, "radio2", "[read:*]")
	write(t, path, "")
	clock.advance(2 * lookInterval)
	refused(t, a, Credential{Token: second}, "not known")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	clock.advance(2 * lookInterval)
	refused(t, a, Credential{Token: second}, "not known")
}

func TestAccessFileIsRefused(t *testing.T) {
	_, credential := NewToken()
	for text, want := range map[string]string{
		"a read:*":            "line 1: auth: has 2 fields",
		"\na read:* x y":      "line 2: auth: has 4 fields",
		"a root:* cert:x":     "ROLE:COLLECTIONS",
		"a read:* sha256:abc": "64 hexadecimal",
		"a read:* cert:":      "must be sha256:HEX or cert:NAME",
		"a read:* plain:x":    "must be sha256:HEX or cert:NAME",
		"a read:* " + credential + "\nb read:* " + credential: "line 2: auth: the token is also that of \"a\"",
		"a read:* cert:x\nb read:* cert:x":                    "the certificate is also that of",
	} {
		path := filepath.Join(t.TempDir(), "access")
		write(t, path, text)
		if _, err := OpenAccessFile(path, quiet); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := OpenAccessFile(filepath.Join(t.TempDir(), "nothing"), quiet); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// FuzzAccessFile: whatever the file holds, it is refused or every caller in it has at least one grant.
func FuzzAccessFile(f *testing.F) {
	f.Add([]byte("radio read:*,write:tracks* sha256:" + strings.Repeat("0a", 32) + "\n# x\nops admin:* cert:x"))
	f.Fuzz(func(t *testing.T, text []byte) {
		list, err := parseAccess(text)
		if err != nil {
			return
		}
		for _, id := range list.certs {
			if len(id.Grants) == 0 || id.Subject == "" {
				t.Errorf("caller %+v", id)
			}
		}
		for _, id := range list.tokens {
			if len(id.Grants) == 0 || id.Subject == "" {
				t.Errorf("caller %+v", id)
			}
		}
	})
}

func TestAnyoneAndChain(t *testing.T) {
	accepted(t, Anyone{}, Credential{}, "anonymous", "[admin:*]")
	refused(t, Chain{}, Credential{Token: "x"}, "no credential")
	path := filepath.Join(t.TempDir(), "access")
	token, credential := NewToken()
	write(t, path, "a read:x "+credential)
	file, err := OpenAccessFile(path, quiet)
	if err != nil {
		t.Fatal(err)
	}
	issuer := newIssuer(t, "k1")
	j := issuer.open(t, time.Now)
	for _, chain := range []Chain{{file, j}, {j, file}} {
		accepted(t, chain, Credential{Token: token}, "a", "[read:x]")
		accepted(t, chain, Credential{Token: issuer.token(t, nil)}, "radio", "[read:* write:tracks]")
		refused(t, chain, Credential{}, "no credential")
		refused(t, chain, Credential{Token: "x"}, "not known")
	}
}

// issuer signs tokens and publishes its key.
type issuer struct {
	kid  string
	key  *ecdsa.PrivateKey
	path string
}

func newIssuer(t *testing.T, kid string) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i := &issuer{kid: kid, key: key, path: filepath.Join(t.TempDir(), "jwks.json")}
	write(t, i.path, i.jwks(t))
	return i
}

func (i *issuer) jwks(t *testing.T) string {
	t.Helper()
	b, err := i.key.PublicKey.Bytes() // 4, x, y
	if err != nil {
		t.Fatal(err)
	}
	set, err := json.Marshal(map[string]any{"keys": []any{map[string]string{
		"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": i.kid,
		"x": base64.RawURLEncoding.EncodeToString(b[1:33]), "y": base64.RawURLEncoding.EncodeToString(b[33:]),
	}}})
	if err != nil {
		t.Fatal(err)
	}
	return string(set)
}

// token signs good claims with some of them changed; nil removes one.
func (i *issuer) token(t *testing.T, change map[string]any) string {
	t.Helper()
	claims := jwt.MapClaims{
		"iss": "https://id.example", "aud": "segue", "sub": "radio", "exp": time.Now().Add(time.Hour).Unix(), "segue": []string{"read:*", "write:tracks"},
	}
	for k, v := range change {
		claims[k] = v
		if v == nil {
			delete(claims, k)
		}
	}
	token := jwt.NewWithClaims(jwt.SigningMethodES256, claims)
	token.Header["kid"] = i.kid
	s, err := token.SignedString(i.key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (i *issuer) open(t *testing.T, now func() time.Time) *JWT {
	t.Helper()
	j, err := newJWT(t.Context(), JWTOptions{JWKSFile: i.path, Issuer: "https://id.example", Audience: "segue", Logger: quiet}, now)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(j.Close)
	return j
}

func TestJWT(t *testing.T) {
	i := newIssuer(t, "k1")
	clock := newClock()
	j := i.open(t, clock.now)
	for range 2 { // the second time it is remembered
		accepted(t, j, Credential{Token: i.token(t, nil)}, "radio", "[read:* write:tracks]")
	}
	accepted(t, j, Credential{Token: i.token(t, map[string]any{"segue": "read:a  read:b"})}, "radio", "[read:a read:b]")
	accepted(t, j, Credential{Token: i.token(t, map[string]any{"aud": []string{"x", "segue"}})}, "radio", "[read:* write:tracks]")
	for name, c := range map[string]struct {
		change map[string]any
		why    string
	}{
		"expired":         {map[string]any{"exp": clock.now().Add(-time.Minute).Unix()}, "expired"},
		"no expiry":       {map[string]any{"exp": nil}, "required claim"},
		"not yet":         {map[string]any{"nbf": clock.now().Add(time.Hour).Unix()}, "not valid yet"},
		"other issuer":    {map[string]any{"iss": "https://evil.example"}, "another issuer"},
		"no issuer":       {map[string]any{"iss": nil}, "required claim"},
		"other audience":  {map[string]any{"aud": "other"}, "another audience"},
		"no subject":      {map[string]any{"sub": nil}, "subject"},
		"no grants":       {map[string]any{"segue": nil}, "no grants"},
		"grants no list":  {map[string]any{"segue": 7}, "no grants"},
		"grants no texts": {map[string]any{"segue": []any{"read:*", 7}}, "no grants"},
		"unknown role":    {map[string]any{"segue": []string{"root:*"}}, "no grants"},
	} {
		t.Run(name, func(t *testing.T) { refused(t, j, Credential{Token: i.token(t, c.change)}, c.why) })
	}
	refused(t, j, Credential{Token: "a.b.c"}, "malformed")
	refused(t, j, Credential{Token: "opaque"}, "no credential")
	refused(t, j, Credential{Token: newIssuer(t, "k1").token(t, nil)}, "signature")
	refused(t, j, Credential{Token: newIssuer(t, "k2").token(t, nil)}, "signature")

	// The two classic forgeries.
	none := jwt.NewWithClaims(jwt.SigningMethodNone, jwt.MapClaims{"sub": "x"})
	forged, err := none.SignedString(jwt.UnsafeAllowNoneSignatureType)
	if err != nil {
		t.Fatal(err)
	}
	refused(t, j, Credential{Token: forged}, "signature")
	der, err := x509.MarshalPKIXPublicKey(&i.key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	hmac := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sub": "x"})
	hmac.Header["kid"] = "k1"
	if forged, err = hmac.SignedString(der); err != nil {
		t.Fatal(err)
	}
	refused(t, j, Credential{Token: forged}, "signature")

	// What is remembered expires too.
	token := i.token(t, nil)
	accepted(t, j, Credential{Token: token}, "radio", "[read:* write:tracks]")
	clock.advance(2 * time.Hour)
	refused(t, j, Credential{Token: token}, "expired")
}

// TestJWTFollowsItsKeys: a key that was withdrawn opens nothing any more, not even for tokens seen before.
func TestJWTFollowsItsKeys(t *testing.T) {
	old, next := newIssuer(t, "k1"), newIssuer(t, "k2")
	clock := newClock()
	j := old.open(t, clock.now)
	token := old.token(t, nil)
	accepted(t, j, Credential{Token: token}, "radio", "[read:* write:tracks]")
	write(t, old.path, next.jwks(t)+" ")
	clock.advance(2 * lookInterval)
	refused(t, j, Credential{Token: token}, "signature")
	accepted(t, j, Credential{Token: next.token(t, nil)}, "radio", "[read:* write:tracks]")
}

func TestJWTFromURL(t *testing.T) {
	i := newIssuer(t, "k1")
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, i.jwks(t)) }))
	t.Cleanup(s.Close)
	o := JWTOptions{JWKSURL: s.URL, Issuer: "https://id.example", Audience: "segue", Logger: quiet}
	j, err := NewJWT(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(j.Close)
	accepted(t, j, Credential{Token: i.token(t, nil)}, "radio", "[read:* write:tracks]")
	s.Close()
	accepted(t, j, Credential{Token: i.token(t, map[string]any{"sub": "other"})}, "other", "[read:* write:tracks]")
	if _, err := NewJWT(t.Context(), o); err == nil {
		t.Error("keys that cannot be fetched are taken")
	}
	for _, bad := range []JWTOptions{
		{}, {Issuer: "x", Audience: "y"}, {Issuer: "x", Audience: "y", JWKSFile: "a", JWKSURL: "https://b"}, {JWKSURL: "https://b"},
		{Issuer: "x", Audience: "y", JWKSURL: "http://example.com/keys"}, {Issuer: "x", Audience: "y", JWKSURL: "nonsense"},
	} {
		if _, err := NewJWT(t.Context(), bad); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}

// authority signs certificates of one test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{}
	a.cert, a.key = sign(t, nil, "authority")
	return a
}

// sign makes a certificate by parent, or an authority where there is none.
func sign(t *testing.T, parent *authority, name string) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	by, byKey := template, key
	if parent == nil {
		template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
	} else {
		by, byKey = parent.cert, parent.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by, &key.PublicKey, byKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func (a *authority) files(t *testing.T, dir, name string) (cert, key string) {
	t.Helper()
	c, k := sign(t, a, name)
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	write(t, cert, pemText("CERTIFICATE", c.Raw))
	write(t, key, pemText("PRIVATE KEY", der))
	return cert, key
}

func pemText(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// handshake connects with the given client configuration and returns the server's name, or the error.
func handshake(t *testing.T, server, client *tls.Config) (string, error) {
	t.Helper()
	lis, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		defer lis.Close()
		c, err := lis.Accept()
		if err == nil {
			defer c.Close()
			if tc, ok := c.(*tls.Conn); ok {
				err = tc.HandshakeContext(context.Background())
			}
			if err == nil {
				_, err = c.Write([]byte("x"))
			}
		}
		done <- err
	}()
	c, err := tls.Dial("tcp", lis.Addr().String(), client)
	if err != nil {
		<-done
		return "", err
	}
	defer c.Close()
	if err := <-done; err != nil {
		return "", err
	}
	return c.ConnectionState().PeerCertificates[0].Subject.CommonName, nil
}

func TestTLS(t *testing.T) {
	dir, a, clock := t.TempDir(), newAuthority(t), newClock()
	cert, key := a.files(t, dir, "one.test")
	config, err := newTLS(TLSFiles{Certificate: cert, Key: key}, quiet, clock.now)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	if name, err := handshake(t, config, &tls.Config{RootCAs: pool, ServerName: "one.test"}); err != nil || name != "one.test" {
		t.Errorf("%q, %v", name, err)
	}
	old := &tls.Config{RootCAs: pool, ServerName: "one.test", MaxVersion: tls.VersionTLS12} //nolint:gosec // must be refused
	if _, err := handshake(t, config, old); err == nil {
		t.Error("TLS 1.2 is taken")
	}
	a.files(t, dir, "two.test") // renewed in place
	clock.advance(2 * lookInterval)
	if name, err := handshake(t, config, &tls.Config{RootCAs: pool, ServerName: "two.test"}); err != nil || name != "two.test" {
		t.Errorf("after renewal: %q, %v", name, err)
	}
	write(t, key, "broken")
	clock.advance(2 * lookInterval)
	if name, err := handshake(t, config, &tls.Config{RootCAs: pool, ServerName: "two.test"}); err != nil || name != "two.test" {
		t.Errorf("after a broken renewal: %q, %v", name, err)
	}
	if _, err := NewTLS(TLSFiles{Certificate: cert, Key: key}, quiet); err == nil {
		t.Error("a broken key is taken at the start")
	}
}

func TestMutualTLS(t *testing.T) {
	dir, clientDir, a, other := t.TempDir(), t.TempDir(), newAuthority(t), newAuthority(t)
	cert, key := a.files(t, dir, "server.test")
	authorities := filepath.Join(dir, "ca.crt")
	write(t, authorities, pemText("CERTIFICATE", a.cert.Raw))
	config, err := NewTLS(TLSFiles{Certificate: cert, Key: key, ClientAuthorities: authorities}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	for name, c := range map[string]struct {
		by *authority
		ok bool
	}{"ours": {a, true}, "of another authority": {other, false}, "none": {nil, false}} {
		client := &tls.Config{RootCAs: pool, ServerName: "server.test"}
		if c.by != nil {
			pair, err := tls.LoadX509KeyPair(c.by.files(t, clientDir, "radio"))
			if err != nil {
				t.Fatal(err)
			}
			client.Certificates = []tls.Certificate{pair}
		}
		if _, err := handshake(t, config, client); (err == nil) != c.ok {
			t.Errorf("certificate %s: %v", name, err)
		}
	}
	write(t, authorities, "nothing")
	if _, err := NewTLS(TLSFiles{Certificate: cert, Key: key, ClientAuthorities: authorities}, quiet); err == nil {
		t.Error("no authority is taken")
	}
}
