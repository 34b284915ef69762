package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/health" // has connections watch the health of their servers, where the service config says so

	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

// Options configure a connection. The zero value is a plaintext connection to a server on this machine.
type Options struct {
	// Credentials secure the connection, for example credentials.NewTLS(...) towards a proxy that
	// terminates TLS. nil means plaintext.
	Credentials credentials.TransportCredentials

	// AllowPlaintext permits a plaintext connection to another machine: everything sent can be read and
	// changed on the way.
	AllowPlaintext bool

	// Token is sent with every call as a bearer token, where the connection is encrypted or cannot leave this machine. Empty
	// sends none.
	Token string

	// MaxReceiveBytes bounds a message from the server. 0 means 16 MiB; negative is refused.
	MaxReceiveBytes int

	// RoundRobin has calls take turns over all addresses that the name in target has, of those servers that say they serve; for
	// queries of several replicas: dns:///segue.music.svc:7070. Without it all calls go to the first address that answers. Replicas
	// are servers of their own: write to each, and use a min_revision only with the server that gave it.
	RoundRobin bool

	// UserAgent names the program to the server. Empty means gRPC's own.
	UserAgent string

	// DialOptions are applied last and may override anything above: interceptors, keepalive, a dialer.
	DialOptions []grpc.DialOption
}

const defaultMaxReceiveBytes = 16 << 20

// PlaintextError says that a plaintext connection to another machine was asked for without permission.
type PlaintextError struct{ Target string }

func (e *PlaintextError) Error() string {
	return fmt.Sprintf("%q is not on this machine: a plaintext connection to it must be allowed explicitly", e.Target)
}

// ErrOptions is wrapped by errors about bad Options.
var ErrOptions = errors.New("client options")

// Client is a connection to one Segue server. Make one with [Dial].
type Client struct {
	// Conn is the connection below the stubs, for services that have no stub here (health, reflection).
	Conn *grpc.ClientConn

	Retrieval   seguev1.RetrievalServiceClient
	Items       seguev1.ItemServiceClient
	Profiles    seguev1.ProfileServiceClient
	Exclusions  seguev1.ExclusionServiceClient
	Collections seguev1.CollectionServiceClient
	Admin       seguev1.AdminServiceClient
	Imports     seguev1.ImportServiceClient
	Releases    seguev1.ReleaseServiceClient
}

// Dial prepares a connection to target, which is HOST:PORT or any gRPC target such as dns:///segue:7070
// or unix:/run/segue. It does not wait for the server: the first call connects, and after a failure
// connections are tried again with backoff. Errors are [*PlaintextError], [ErrOptions] and gRPC's about
// a malformed target.
func Dial(target string, o Options) (*Client, error) {
	if o.MaxReceiveBytes < 0 {
		return nil, fmt.Errorf("%w: MaxReceiveBytes is %d, must not be negative", ErrOptions, o.MaxReceiveBytes)
	}
	if o.MaxReceiveBytes == 0 {
		o.MaxReceiveBytes = defaultMaxReceiveBytes
	}
	if o.Credentials == nil {
		if !o.AllowPlaintext && !isLocal(target) {
			return nil, &PlaintextError{Target: target}
		}
		o.Credentials = insecure.NewCredentials()
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(o.Credentials),
		grpc.WithDefaultServiceConfig(serviceConfig(o.RoundRobin)),
		grpc.WithChainUnaryInterceptor(identify),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(o.MaxReceiveBytes)),
	}
	if o.Token != "" {
		options = append(options, grpc.WithPerRPCCredentials(bearer{token: o.Token, plaintext: isLocal(target)}))
	}
	if o.UserAgent != "" {
		options = append(options, grpc.WithUserAgent(o.UserAgent))
	}
	conn, err := grpc.NewClient(target, append(options, o.DialOptions...)...)
	if err != nil {
		return nil, fmt.Errorf("dial %q: %w", target, err)
	}
	return New(conn), nil
}

// bearer sends a token with every call.
type bearer struct {
	token     string
	plaintext bool // where the connection cannot leave this machine
}

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + b.token}, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials.
func (b bearer) RequireTransportSecurity() bool { return !b.plaintext }

// New makes a Client of a connection that the caller has configured. Retries are then the caller's affair.
func New(conn *grpc.ClientConn) *Client {
	return &Client{
		Conn:        conn,
		Retrieval:   seguev1.NewRetrievalServiceClient(conn),
		Items:       seguev1.NewItemServiceClient(conn),
		Profiles:    seguev1.NewProfileServiceClient(conn),
		Exclusions:  seguev1.NewExclusionServiceClient(conn),
		Collections: seguev1.NewCollectionServiceClient(conn),
		Admin:       seguev1.NewAdminServiceClient(conn),
		Imports:     seguev1.NewImportServiceClient(conn),
		Releases:    seguev1.NewReleaseServiceClient(conn),
	}
}

// Close ends the connection. Calls under way fail with CANCELLED.
func (c *Client) Close() error { return c.Conn.Close() }

// isLocal reports whether target can only mean this machine: a unix socket, a loopback address, or
// "localhost" (or no host at all, which gRPC takes for it). Any other name could resolve to anything.
func isLocal(target string) bool {
	if strings.HasPrefix(target, "unix:") || strings.HasPrefix(target, "unix-abstract:") {
		return true
	}
	for _, scheme := range []string{"dns:", "passthrough:"} {
		if rest, ok := strings.CutPrefix(target, scheme); ok {
			target = rest
			if authority, ok := strings.CutPrefix(rest, "//"); ok {
				_, target, _ = strings.Cut(authority, "/") // the authority is a name server, not the target
			}
			break
		}
	}
	host, _, err := net.SplitHostPort(target)
	if err != nil {
		host = strings.Trim(target, "[]") // gRPC adds a port
	}
	if host == "" || strings.EqualFold(host, "localhost") {
		return target != ""
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}
