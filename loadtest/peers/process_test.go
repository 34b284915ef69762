package peers

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func startScript(t *testing.T, script string) (*process, error) {
	t.Helper()
	p, _, err := start(t.Context(), "script", t.TempDir(), "sh", "-c", script)
	return p, err
}

// TestDriverFaults: whatever a driver does wrong is an error that names it, and it does not stay behind.
func TestDriverFaults(t *testing.T) {
	for _, tt := range []struct{ name, script, want string }{
		{"no greeting", "exit 3", "exit status 3"},
		{"ends at the command", "echo {}; read -r line", "ended without a reply"},
		{"garbage", "echo {}; read -r line; echo garbage", `reply "garbage"`},
		{"error", `echo {}; read -r line; echo '{"error":"no memory"}'`, "no memory"},
		{"unsupported", `echo {}; read -r line; echo '{"unsupported":true,"error":"ip"}'`, "script does not support ip"},
	} {
		p, err := startScript(t, tt.script)
		if err == nil {
			_, err = p.ask(t.Context(), time.Minute, "build")
			if closed := p.close(); closed != nil {
				t.Errorf("%s: closing: %v", tt.name, closed)
			}
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
	if _, _, err := start(t.Context(), "none", t.TempDir(), "./no-such-program"); err == nil {
		t.Error("started a program that is not there")
	}
}

// TestDriverDeadline: a driver that does not answer is given up on, and ended by force.
func TestDriverDeadline(t *testing.T) {
	p, err := startScript(t, "echo {}; trap '' TERM; while :; do sleep 1; done")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.ask(t.Context(), time.Millisecond, "build"); err == nil || !strings.Contains(err.Error(), "no reply within 1ms") {
		t.Errorf("got %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.ask(ended, time.Minute, "build"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	p.stop()
	if err := p.close(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("closing: %v", err)
	}
}

// TestDriverAnswersMuch: lines that nobody asked for do not keep close from ending.
func TestDriverAnswersMuch(t *testing.T) {
	p, err := startScript(t, "for i in 1 2 3 4 5; do echo {}; done; read -r line")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.close(); err != nil && !strings.Contains(err.Error(), "exit status 1") { // read at the end of input
		t.Error(err)
	}
}
