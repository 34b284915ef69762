package main

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/segue-ann/segue/engine"
)

// TestServeWithTokens walks the way of an operator: make a token, serve with it, be let in with it and not without.
func TestServeWithTokens(t *testing.T) {
	made := runSegue(t.Context(), "token", "--name", "ops", "--grant", "admin:*")
	if made.code != exitOK || !strings.HasPrefix(made.stdout, "segue_") || !strings.HasPrefix(made.stderr, "ops admin:* sha256:") {
		t.Fatalf("token: %+v", made)
	}
	dir := t.TempDir()
	access, token := filepath.Join(dir, "access"), filepath.Join(dir, "token")
	writeText(t, access, made.stderr)
	writeText(t, token, made.stdout)
	s, err := startChild("serve", "--data", t.TempDir(), "--listen", "127.0.0.1:0", "--access-file", access, "--ops-listen", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.kill)
	if r := runSegue(t.Context(), "collection", "list", "--addr", s.addr); r.code != exitFailure || !strings.Contains(r.stderr, "UNAUTHENTICATED") {
		t.Errorf("without a token: %+v", r)
	}
	if r := runSegue(t.Context(), "collection", "list", "--addr", s.addr, "--token-file", token); r.code != exitOK {
		t.Errorf("with the token: %+v", r)
	}
	t.Setenv(tokenVariable, strings.TrimSpace(made.stdout))
	if r := runSegue(t.Context(), "collection", "list", "--addr", s.addr); r.code != exitOK {
		t.Errorf("with the variable: %+v", r)
	}
	if code, err := s.stop(); code != exitOK || err != nil {
		t.Errorf("code %d, %v", code, err)
	}
	if strings.Contains(s.stderr.String(), strings.TrimSpace(made.stdout)) {
		t.Error("the token is in the log")
	}
}

// TestOpsListener: metrics and health are where the log says.
func TestOpsListener(t *testing.T) {
	s, err := startChild("serve", "--data", t.TempDir(), "--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.kill)
	if code, err := s.stop(); code != exitOK || err != nil {
		t.Fatalf("code %d, %v", code, err)
	}
	addr := ""
	for line := range strings.Lines(s.stderr.String()) {
		var record struct {
			Msg string
			Ops string `json:"ops_listen"`
		}
		if err := json.Unmarshal([]byte(line), &record); err == nil && record.Msg == "serving" {
			addr = record.Ops
		}
	}
	if !strings.HasPrefix(addr, "127.0.0.1:") {
		t.Errorf("ops_listen %q is logged", addr)
	}
}

func TestReadiness(t *testing.T) {
	env := &environment{stdout: io.Discard, stderr: io.Discard}
	o := serveOptions{data: t.TempDir(), listen: "127.0.0.1:0", opsListen: "127.0.0.1:0", log: newLogger(env, 0)}
	s, err := startServer(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{"/healthz": 200, "/readyz": 200, "/metrics": 200, "/debug/pprof/": 200, "/x": 404} {
		resp, err := http.Get("http://" + s.ops.Addr() + path)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != want {
			t.Errorf("%s: %d", path, resp.StatusCode)
		}
		resp.Body.Close()
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	if err := s.readiness(); err == nil || err.Error() != "stopping" {
		t.Errorf("after the end: %v", err)
	}
}

// lineWriter gives away each line that is written.
type lineWriter chan string

func (w lineWriter) Write(b []byte) (int, error) {
	w <- string(b)
	return len(b), nil
}

func TestLoadingIsLogged(t *testing.T) {
	lines := make(lineWriter, 1)
	log := slog.New(slog.NewTextHandler(lines, nil))
	stop := reportLoading(log, new(engine.Loading), time.Microsecond)
	if line := <-lines; !strings.Contains(line, `msg=loading progress="opening the store"`) {
		t.Errorf("logged %q", line)
	}
	go func() {
		for range lines { // it may log once more before it ends
		}
	}()
	stop()
	close(lines)
}

// TestServeRefusesOpenDoors: nothing that other machines reach is served in the clear, or to everybody, by accident.
func TestServeRefusesOpenDoors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	writeText(t, file, "")
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"plaintext":            {[]string{"--listen", "0.0.0.0:0"}, "there is no TLS"},
		"everybody":            {[]string{"--listen", "0.0.0.0:0", "--tls-cert", file, "--tls-key", file}, "everybody may do everything"},
		"identity in clear":    {[]string{"--listen", "0.0.0.0:0", "--access-file", file}, "there is no TLS"},
		"half of TLS":          {[]string{"--tls-cert", file}, "belong together"},
		"authorities alone":    {[]string{"--tls-client-ca", file}, "needs --tls-cert"},
		"keys without issuer":  {[]string{"--jwt-jwks-file", file}, "need --jwt-issuer"},
		"no data":              {[]string{"--data", ""}, "--data is required"},
		"negative burst":       {[]string{"--caller-burst", "-1"}, "CallerBurst"},
		"broken certificate":   {[]string{"--tls-cert", file, "--tls-key", file}, "PEM"},
		"issuer without keys":  {[]string{"--jwt-issuer", "x", "--jwt-audience", "y"}, "exactly one of a file and a URL"},
		"ops port is no port":  {[]string{"--ops-listen", "nonsense"}, "nonsense"},
		"access file is wrong": {[]string{"--access-file", "nothing-here"}, "nothing-here"},
	} {
		args := append([]string{"serve", "--data", t.TempDir(), "--listen", "127.0.0.1:0"}, c.args...)
		if r := runSegue(t.Context(), args...); r.code == exitOK || !strings.Contains(r.stderr, c.want) {
			t.Errorf("%s: code %d\n%s", name, r.code, r.stderr)
		}
	}
	for _, args := range [][]string{{"--grant", "read:*"}, {"--name", "a b", "--grant", "read:*"}, {"--name", "a"}, {"--name", "a", "--grant", "root:*"}} {
		if r := runSegue(t.Context(), append([]string{"token"}, args...)...); r.code != exitUsage {
			t.Errorf("token %v: %+v", args, r)
		}
	}
}
