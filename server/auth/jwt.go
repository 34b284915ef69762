package auth

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
)

// JWTOptions say which tokens are accepted. Issuer, Audience and one of JWKSFile and JWKSURL are required.
type JWTOptions struct {
	// JWKSFile holds the keys as a JSON Web Key Set (RFC 7517); it is followed.
	JWKSFile string
	// JWKSURL is where an OpenID provider publishes the same; https, or http on loopback. It is fetched at the start, and
	// again every RefreshInterval.
	JWKSURL string
	// Issuer and Audience must be what the token says ("iss", "aud").
	Issuer, Audience string
	// Claim names the claim that holds the grants, a list of strings or one string with spaces between:
	// ["read:*", "write:tracks"]. Default "segue".
	Claim string
	// RefreshInterval is 5 minutes by default.
	RefreshInterval time.Duration
	Logger          *slog.Logger
}

// Validate reports every field that is missing or wrong.
func (o JWTOptions) Validate() error {
	var errs []error
	if o.Issuer == "" || o.Audience == "" {
		errs = append(errs, errors.New("auth: JWT: issuer and audience must be set"))
	}
	if (o.JWKSFile == "") == (o.JWKSURL == "") {
		errs = append(errs, errors.New("auth: JWT: exactly one of a file and a URL of keys must be set"))
	}
	if o.JWKSURL != "" {
		u, err := url.Parse(o.JWKSURL)
		if err != nil || u.Host == "" || u.Scheme != "https" && !(u.Scheme == "http" && isLoopback(u.Hostname())) {
			errs = append(errs, errors.New("auth: JWT: the URL of keys must be https (http only on loopback)"))
		}
	}
	return errors.Join(errs...)
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// JWT accepts signed JSON Web Tokens (RFC 7519).
type JWT struct {
	parser *jwt.Parser
	keys   func() *keyfunc.Keyfunc // another pointer once the keys have changed
	claim  string
	now    func() time.Time
	stop   context.CancelFunc // ends what fetches the keys

	mu   sync.Mutex // guards seen
	seen map[[sha256.Size]byte]verified
}

// verified is a token that was verified once: it is not verified again before it expires, or the keys change.
type verified struct {
	id      *Identity
	keys    *keyfunc.Keyfunc
	expires time.Time
}

// maxSeen bounds the tokens remembered.
const maxSeen = 10_000

// clockSkew is how far the issuer's clock may be off.
const clockSkew = 30 * time.Second

// NewJWT reads the keys. Close ends what it started.
func NewJWT(ctx context.Context, o JWTOptions) (*JWT, error) { return newJWT(ctx, o, time.Now) }

func newJWT(ctx context.Context, o JWTOptions, now func() time.Time) (*JWT, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if o.Claim == "" {
		o.Claim = "segue"
	}
	if o.RefreshInterval == 0 {
		o.RefreshInterval = 5 * time.Minute
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	ctx, stop := context.WithCancel(ctx)
	keys, err := readKeys(ctx, o, now)
	if err != nil {
		stop()
		return nil, fmt.Errorf("JWT keys: %w", err)
	}
	return &JWT{
		keys: keys, claim: o.Claim, now: now, stop: stop, seen: map[[sha256.Size]byte]verified{},
		parser: jwt.NewParser(
			// Signatures with public keys only: "none", and an HMAC with a public key as its secret, are how tokens are forged.
			jwt.WithValidMethods([]string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}),
			jwt.WithIssuer(o.Issuer), jwt.WithAudience(o.Audience), jwt.WithExpirationRequired(), jwt.WithLeeway(clockSkew), jwt.WithTimeFunc(now),
		),
	}, nil
}

func readKeys(ctx context.Context, o JWTOptions, now func() time.Time) (func() *keyfunc.Keyfunc, error) {
	if o.JWKSFile != "" {
		parse := func(contents [][]byte) (keyfunc.Keyfunc, error) {
			return keyfunc.NewJWKSetJSON(json.RawMessage(contents[0]))
		}
		w, err := newWatched(o.Logger, now, parse, o.JWKSFile)
		if err != nil {
			return nil, err
		}
		return w.get, nil
	}
	storage, err := jwkset.NewStorageFromHTTP(o.JWKSURL, jwkset.HTTPClientStorageOptions{
		Ctx: ctx, RefreshInterval: o.RefreshInterval, HTTPTimeout: 10 * time.Second,
		Client: &http.Client{Timeout: 10 * time.Second},
		RefreshErrorHandler: func(ctx context.Context, err error) {
			o.Logger.ErrorContext(ctx, "the keys of tokens could not be fetched, those fetched before stay in force", "url", o.JWKSURL, "err", err)
		},
	})
	if err != nil {
		return nil, err
	}
	k, err := keyfunc.New(keyfunc.Options{Ctx: ctx, Storage: storage})
	if err != nil {
		return nil, err
	}
	return func() *keyfunc.Keyfunc { return &k }, nil
}

// Close ends the fetching of keys.
func (j *JWT) Close() { j.stop() }

// Authenticate implements Authenticator. Cost: a signature for a token not seen before, else a hash.
func (j *JWT) Authenticate(c Credential) (*Identity, error) {
	if strings.Count(c.Token, ".") != 2 {
		return nil, errNotMine
	}
	sum, keys, now := sha256.Sum256([]byte(c.Token)), j.keys(), j.now()
	j.mu.Lock()
	known, ok := j.seen[sum]
	j.mu.Unlock()
	if ok && known.keys == keys && now.Before(known.expires) {
		return known.id, nil
	}
	id, expires, err := j.verify(c.Token, *keys)
	if err != nil {
		return nil, err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.seen) >= maxSeen {
		clear(j.seen)
	}
	// A key fetched from a URL may be withdrawn without keys changing: nothing is remembered for long.
	j.seen[sum] = verified{id, keys, earlier(expires.Add(clockSkew), now.Add(maxRemembered))}
	return id, nil
}

const maxRemembered = time.Minute

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func (j *JWT) verify(token string, keys keyfunc.Keyfunc) (*Identity, time.Time, error) {
	claims := jwt.MapClaims{}
	if _, err := j.parser.ParseWithClaims(token, claims, keys.Keyfunc); err != nil {
		return nil, time.Time{}, &UnauthenticatedError{Why: "the token is not accepted: " + whyNot(err)}
	}
	subject, err := claims.GetSubject()
	if err != nil || subject == "" || len(subject) > 256 {
		return nil, time.Time{}, &UnauthenticatedError{Why: "the token names no subject of 1 to 256 bytes"}
	}
	grants, err := ParseGrants(stringList(claims[j.claim]))
	if err != nil {
		return nil, time.Time{}, &UnauthenticatedError{Why: fmt.Sprintf("claim %q of the token holds no grants: %v", j.claim, err)}
	}
	expires, err := claims.GetExpirationTime()
	if err != nil || expires == nil {
		return nil, time.Time{}, &UnauthenticatedError{Why: "the token has no time of expiry"}
	}
	return &Identity{Subject: subject, Grants: grants}, expires.Time, nil
}

// whyNot names the reason in words that tell nothing about keys.
func whyNot(err error) string {
	for _, known := range []struct {
		err error
		why string
	}{
		{jwt.ErrTokenExpired, "it has expired"},
		{jwt.ErrTokenNotValidYet, "it is not valid yet"},
		{jwt.ErrTokenInvalidIssuer, "it is of another issuer"},
		{jwt.ErrTokenInvalidAudience, "it is for another audience"},
		{jwt.ErrTokenRequiredClaimMissing, "a required claim is missing"},
		{jwt.ErrTokenMalformed, "it is malformed"},
	} {
		if errors.Is(err, known.err) {
			return known.why
		}
	}
	return "its signature is not one of ours"
}

// stringList reads a claim that is a list of strings, or one string with spaces between.
func stringList(claim any) []string {
	switch c := claim.(type) {
	case string:
		return strings.Fields(c)
	case []any:
		var out []string
		for _, v := range c {
			s, ok := v.(string)
			if !ok {
				return nil
			}
			out = append(out, s)
		}
		return out
	}
	return nil
}
