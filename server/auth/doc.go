// Package auth says who calls and what they may do.
//
// # Vocabulary
//
// An Identity is a caller: a subject, which is a name for logs and rate limits, and its grants. A Grant is a role
// (read, write, admin; each includes those before it) for the collections whose names match a glob. A Rule is what
// one method asks; the Table holds one for every method that the server answers, and is built from the option
// (segue.v1.access) of the .proto files. A method without a rule is refused, and one of segue.v1 without the
// option keeps the table from being built.
//
// An Authenticator turns what came with a call (a bearer token, a client certificate) into an Identity:
//
//   - AccessFile: lines of names, grants, and the SHA-256 of a token or the name of a certificate;
//   - JWT: signed tokens, verified with the keys of a JWKS file or URL;
//   - Anyone: everybody is an administrator. Only for loopback and --insecure.
//
// # Invariants
//
// Deny by default: no credential, an unknown one, and one that two authenticators could claim but neither accepts
// are *UnauthenticatedError; a known caller without the grant is *DeniedError, which does not tell whether the
// collection exists.
//
// Tokens are compared by their SHA-256: they are random and long, so a fast hash is enough, and a lookup in a map of
// hashes tells nothing by its timing that helps to find a token.
//
// # Concurrency
//
// Everything is safe for concurrent use. Files are looked at again at most once a second, by whichever call comes
// first; a file that does not parse any more is logged, and what was read before stays in force.
//
// Non-goals: sessions, passwords, making tokens for others than this server.
package auth
