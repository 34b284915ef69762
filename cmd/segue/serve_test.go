package main

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/segue-ann/segue/client"
	seguev1 "github.com/segue-ann/segue/proto/segue/v1"
)

func TestIsLoopback(t *testing.T) {
	for addr, want := range map[string]bool{
		"127.0.0.1:0": true, "localhost:7070": true, "[::1]:7070": true, "127.1.2.3:1": true,
		":7070": false, "0.0.0.0:7070": false, "[::]:7070": false, "192.168.1.1:7070": false, "segue:7070": false,
	} {
		if got := isLoopback(addr); got != want {
			t.Errorf("isLoopback(%q) = %v", addr, got)
		}
	}
}

// The line on stdout has the real port, everything else goes to stderr as JSON, and SIGTERM ends it well.
func TestServeAnswersAndEnds(t *testing.T) {
	s, err := startChild("serve", "--data", t.TempDir(), "--listen", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.kill)
	if _, port, err := net.SplitHostPort(s.addr); err != nil || port == "0" {
		t.Errorf("address %q", s.addr)
	}
	c, err := client.Dial(s.addr, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	answer, err := healthpb.NewHealthClient(c.Conn).Check(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil || answer.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("health %v, %v", answer, err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if code, err := s.stop(); code != exitOK || err != nil {
		t.Errorf("code %d, %v", code, err)
	}
	messages := ""
	for line := range strings.Lines(s.stderr.String()) {
		var record struct{ Level, Msg string }
		if err := json.Unmarshal([]byte(line), &record); err != nil || record.Level == "" {
			t.Errorf("log line %q: %v", line, err)
		}
		messages += record.Msg + "\n"
	}
	if !strings.Contains(messages, "serving\n") || !strings.HasSuffix(messages, "stopping\nstopped\n") {
		t.Errorf("logged %q", messages)
	}
}

// stuckCall begins a call whose request never comes, and returns once the server waits for it.
func stuckCall(t *testing.T, c *client.Client) (result chan error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	stream, err := c.Conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true}, seguev1.CollectionService_ListCollections_FullMethodName)
	if err != nil {
		t.Fatal(err)
	}
	result = make(chan error, 1)
	go func() { result <- stream.RecvMsg(&seguev1.ListCollectionsResponse{}) }()
	// The frames of one connection are read in order: when a later call is answered, this one has begun.
	if _, err := c.Collections.ListCollections(t.Context(), &seguev1.ListCollectionsRequest{}); err != nil {
		t.Fatal(err)
	}
	return result
}

func TestShutdownCutsOffWhatDoesNotEnd(t *testing.T) {
	s, err := startChild("serve", "--data", t.TempDir(), "--listen", "127.0.0.1:0", "--log-level", "warn", "--shutdown-timeout", "50ms")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.kill)
	c := singleTryClient(t, s.addr)
	defer c.Close()
	result := stuckCall(t, c)
	if code, err := s.stop(); code != exitOK || err != nil {
		t.Errorf("code %d, %v", code, err)
	}
	if err := <-result; err == nil {
		t.Error("the stuck call was answered")
	}
	if !strings.Contains(s.stderr.String(), "calls were cut off") {
		t.Errorf("logged %q", s.stderr)
	}
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	s, err := startChild("serve", "--data", t.TempDir(), "--listen", "127.0.0.1:0", "--shutdown-timeout", "1m")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.kill)
	c := singleTryClient(t, s.addr)
	defer c.Close()
	result := stuckCall(t, c)
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	// It is shutting down once it takes no connection any more.
	for {
		conn, err := net.DialTimeout("tcp", s.addr, time.Second)
		if err != nil {
			break
		}
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = s.cmd.Wait()
	if w, ok := s.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || !w.Signaled() || w.Signal() != syscall.SIGTERM {
		t.Errorf("ended with %v", s.cmd.ProcessState)
	}
	if err := <-result; status.Code(err) != codes.Unavailable {
		t.Errorf("the stuck call ended with %v", err)
	}
}

func TestServeSaysWhatIsInItsWay(t *testing.T) {
	dir := t.TempDir()
	s, err := serveChild(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.kill)
	file := dir + "/file"
	writeText(t, file, "not a directory")
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"port taken":    {[]string{"--data", t.TempDir(), "--listen", s.addr}, "address already in use"},
		"store taken":   {[]string{"--data", dir, "--listen", "127.0.0.1:0"}, "another process"},
		"not a store":   {[]string{"--data", file, "--listen", "127.0.0.1:0"}, "file"},
		"not an addr":   {[]string{"--data", t.TempDir(), "--listen", "nonsense"}, "nonsense"},
		"not this host": {[]string{"--data", t.TempDir(), "--listen", "192.0.2.1:0", "--insecure"}, "192.0.2.1"},
	} {
		r := runSegue(t.Context(), append([]string{"serve"}, tc.args...)...)
		if r.code != exitFailure || !strings.Contains(r.stderr, tc.want) {
			t.Errorf("%s: code %d\n%s", name, r.code, r.stderr)
		}
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
}

// TestServeHTTP: --http-listen serves the API as JSON, and an address that others reach needs what --listen needs.
func TestServeHTTP(t *testing.T) {
	s, err := startProcess("serve", "--data", t.TempDir(), "--listen", "127.0.0.1:0", "--ops-listen", "", "--http-listen", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.kill)
	line, err := s.stdout.ReadString('\n')
	addr, ok := strings.CutPrefix(strings.TrimSpace(line), "http on ")
	if err != nil || !ok {
		t.Fatalf("%q, %v", line, err)
	}
	if _, err := s.stdout.ReadString('\n'); err != nil { // it answers
		t.Fatal(err)
	}
	resp, err := http.Get("http://" + addr + "/v1/collections")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK || string(b) != "{}" {
		t.Errorf("status %d, %q, %v", resp.StatusCode, b, err)
	}
	http.DefaultClient.CloseIdleConnections()
	if code, err := s.stop(); code != exitOK || err != nil {
		t.Errorf("code %d, %v", code, err)
	}
	for want, args := range map[string][]string{
		"--http-listen 0.0.0.0:0 can be reached": {"--http-listen", "0.0.0.0:0"},
		"--http-origins needs --http-listen":     {"--http-origins", "https://tools.example"},
		"is not SCHEME://HOST":                   {"--http-listen", "127.0.0.1:0", "--http-origins", "tools"},
	} {
		r := runSegue(t.Context(), append([]string{"serve", "--data", t.TempDir(), "--listen", "127.0.0.1:0", "--ops-listen", ""}, args...)...)
		if r.code == exitOK || !strings.Contains(r.stderr, want) {
			t.Errorf("%v: code %d: %s", args, r.code, r.stderr)
		}
	}
}
