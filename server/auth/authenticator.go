package auth

import (
	"context"
	"crypto/x509"
	"errors"
	"strings"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// Credential is what came with a call that can say who calls.
type Credential struct {
	// Token is the bearer token, without "Bearer "; empty where none was sent.
	Token string
	// Certificate is the client's, verified against the configured authorities; nil where none was asked for.
	Certificate *x509.Certificate
}

// maxTokenBytes bounds a bearer token before anything is computed of it.
const maxTokenBytes = 8 << 10

// CredentialOf reads the credential of a call: header "authorization: Bearer TOKEN" and the verified certificate of the
// connection. A malformed header is *UnauthenticatedError.
func CredentialOf(ctx context.Context, header metadata.MD) (Credential, error) {
	var c Credential
	switch values := header.Get("authorization"); {
	case len(values) > 1:
		return c, &UnauthenticatedError{Why: "more than one authorization header was sent"}
	case len(values) == 1:
		scheme, token, ok := strings.Cut(values[0], " ")
		if !ok || !strings.EqualFold(scheme, "bearer") || token == "" {
			return c, &UnauthenticatedError{Why: "the authorization header is not of the form \"Bearer TOKEN\""}
		}
		if len(token) > maxTokenBytes {
			return c, &UnauthenticatedError{Why: "the token is too long"}
		}
		c.Token = token
	}
	if p, ok := peer.FromContext(ctx); ok {
		if info, ok := p.AuthInfo.(credentials.TLSInfo); ok && len(info.State.VerifiedChains) > 0 {
			c.Certificate = info.State.VerifiedChains[0][0]
		}
	}
	return c, nil
}

// Authenticator says who a credential belongs to.
type Authenticator interface {
	// Authenticate returns the caller, or *UnauthenticatedError. It does not block on the network, is safe for
	// concurrent use, and what it returns is not changed.
	Authenticate(Credential) (*Identity, error)
}

// Anyone takes everybody for an administrator.
type Anyone struct{}

// Authenticate implements Authenticator; it never fails.
func (Anyone) Authenticate(Credential) (*Identity, error) { return &anonymous, nil }

var anonymous = Identity{Subject: "anonymous", Grants: []Grant{{Role: seguev1.Role_ROLE_ADMIN, Collections: "*"}}}

// Chain asks one authenticator after the other; the first that knows the caller decides.
type Chain []Authenticator

// Authenticate implements Authenticator. Where nobody knows the caller it returns what the last one said that had
// something to say; an empty chain knows nobody.
func (c Chain) Authenticate(cred Credential) (*Identity, error) {
	var last error = &UnauthenticatedError{Why: "no credential was sent"}
	for _, a := range c {
		id, err := a.Authenticate(cred)
		if err == nil {
			return id, nil
		}
		if !errors.Is(err, errNotMine) {
			last = err
		}
	}
	return nil, last
}

// errNotMine says that a credential has nothing that an authenticator could judge.
var errNotMine = &UnauthenticatedError{Why: "no credential was sent"}
