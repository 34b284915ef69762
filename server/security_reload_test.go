package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
	"github.com/segue-ann/segue/server/auth"
)

// writePair writes a fresh certificate and its key, one after the other as an operator does, and returns who trusts it.
func writePair(t *testing.T, files auth.TLSFiles) *x509.CertPool {
	t.Helper()
	cert, pool := selfSigned(t)
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{
		files.Certificate: {Type: "CERTIFICATE", Bytes: cert.Certificate[0]}, files.Key: {Type: "PRIVATE KEY", Bytes: key},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return pool
}

// TestRotationUnderTraffic: while a caller goes on calling, the certificate is renewed and another caller's token is withdrawn. No
// call of the first fails; new connections see the new certificate; the withdrawn token is refused.
func TestRotationUnderTraffic(t *testing.T) {
	quiet := slog.New(slog.DiscardHandler)
	dir := t.TempDir()
	files := auth.TLSFiles{Certificate: filepath.Join(dir, "tls.crt"), Key: filepath.Join(dir, "tls.key")}
	before := writePair(t, files)
	config, err := auth.NewTLS(files, quiet)
	if err != nil {
		t.Fatal(err)
	}
	access := filepath.Join(dir, "access")
	stays, staysLine := auth.NewToken()
	goes, goesLine := auth.NewToken()
	writeAccess := func(text string) {
		if err := os.WriteFile(access, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	writeAccess("radio read:* " + staysLine + "\nguest read:* " + goesLine + "\n")
	file, err := auth.OpenAccessFile(access, quiet)
	if err != nil {
		t.Fatal(err)
	}
	f := start(t, Options{TLS: config, Authenticator: auth.Chain{file}})
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	dialTLS := func(pool *x509.CertPool) *grpc.ClientConn {
		conn, err := grpc.NewClient("passthrough:///"+f.addr, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13})))
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	list := func(conn *grpc.ClientConn, token string) error {
		_, err := seguev1.NewCollectionServiceClient(conn).ListCollections(
			metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token), &seguev1.ListCollectionsRequest{})
		return err
	}
	radio := dialTLS(before)
	defer radio.Close()
	if err := list(radio, goes); err != nil {
		t.Fatalf("before: %v", err)
	}

	// The traffic, until it is told to stop.
	stop, failed := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				failed <- nil
				return
			default:
			}
			if err := list(radio, stays); err != nil {
				failed <- err
				return
			}
		}
	}()

	after := writePair(t, files)
	for err := status.Error(codes.Unavailable, ""); err != nil; {
		conn := dialTLS(after)
		err = list(conn, stays)
		conn.Close()
		if ctx.Err() != nil {
			t.Fatalf("the new certificate is not shown: %v", err)
		}
	}
	writeAccess("radio read:* " + staysLine + "\n")
	for err := error(nil); status.Code(err) != codes.Unauthenticated; {
		err = list(radio, goes)
		if ctx.Err() != nil {
			t.Fatalf("the withdrawn token is taken: %v", err)
		}
	}
	close(stop)
	if err := <-failed; err != nil {
		t.Errorf("traffic meanwhile: %v", err)
	}
	old := dialTLS(before)
	defer old.Close()
	if err := list(old, stays); err == nil {
		t.Error("the old certificate is still shown")
	}
}
