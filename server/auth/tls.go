package auth

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"time"
)

// TLSFiles name the files of a server's TLS, all in PEM.
type TLSFiles struct {
	// Certificate holds the chain, the server's own first; Key its private key.
	Certificate, Key string
	// ClientAuthorities, where not empty, makes every client show a certificate that one of these authorities signed.
	ClientAuthorities string
}

// NewTLS returns a configuration for TLS 1.3 that follows changes of the files within a second or so, for connections
// made after that.
func NewTLS(files TLSFiles, log *slog.Logger) (*tls.Config, error) {
	return newTLS(files, log, time.Now)
}

func newTLS(files TLSFiles, log *slog.Logger, now func() time.Time) (*tls.Config, error) {
	paths := []string{files.Certificate, files.Key}
	if files.ClientAuthorities != "" {
		paths = append(paths, files.ClientAuthorities)
	}
	w, err := newWatched(log, now, parseTLS, paths...)
	if err != nil {
		return nil, fmt.Errorf("TLS: %w", err)
	}
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return *w.get(), nil },
	}, nil
}

// parseTLS makes a configuration of a certificate, its key and, as a third, authorities of clients.
func parseTLS(contents [][]byte) (*tls.Config, error) {
	cert, err := tls.X509KeyPair(contents[0], contents[1])
	if err != nil {
		return nil, err
	}
	c := &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"}}
	if len(contents) > 2 {
		c.ClientAuth = tls.RequireAndVerifyClientCert
		c.ClientCAs = x509.NewCertPool()
		if !c.ClientCAs.AppendCertsFromPEM(contents[2]) {
			return nil, fmt.Errorf("auth: no certificate in the file of client authorities")
		}
	}
	return c, nil
}
