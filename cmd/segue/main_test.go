package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"google.golang.org/grpc"

	"github.com/segue-ann/segue/client"
)

// TestMain makes the command "segue" available to scripts, and to every test through exec: it is this test
// binary under another name.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"segue": main})
}

// child is a running `segue serve` (or demo) in a process of its own.
type child struct {
	cmd    *exec.Cmd
	addr   string
	stdout *bufio.Reader
	stderr *bytes.Buffer
}

// startProcess starts a command line without waiting for anything.
func startProcess(args ...string) (*child, error) {
	return startOther(exec.Command("segue", args...))
}

// startOther starts another command that runs segue.
func startOther(cmd *exec.Cmd) (*child, error) {
	c := &child{cmd: cmd, stderr: new(bytes.Buffer)}
	c.cmd.Stderr = c.stderr
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.stdout = bufio.NewReader(out)
	return c, c.cmd.Start()
}

// startChild starts a command line that ends with serving, and waits for the line that says where.
func startChild(args ...string) (*child, error) { return startCommand(exec.Command("segue", args...)) }

func startCommand(cmd *exec.Cmd) (*child, error) {
	c, err := startOther(cmd)
	if err != nil {
		return nil, err
	}
	for {
		line, err := c.stdout.ReadString('\n')
		if err != nil {
			c.kill()
			return nil, fmt.Errorf("segue %s ended before it served: %w\n%s", strings.Join(cmd.Args[1:], " "), err, c.stderr)
		}
		if addr, ok := strings.CutPrefix(line, "listening on "); ok {
			c.addr = strings.TrimSpace(addr)
			return c, nil
		}
	}
}

// serveChild serves dir on a free port.
func serveChild(dir string, more ...string) (*child, error) {
	return startChild(append([]string{"serve", "--data", dir, "--listen", "127.0.0.1:0", "--log-level", "warn"}, more...)...)
}

// kill ends the process as a crash would, and reaps it.
func (c *child) kill() {
	_ = c.cmd.Process.Kill() // fails only where it has ended already
	_ = c.cmd.Wait()
}

// stop asks the process to end, reads what it still had to say, and returns its exit code.
func (c *child) stop() (code int, err error) {
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return 0, err
	}
	if _, err := io.Copy(io.Discard, c.stdout); err != nil {
		return 0, err
	}
	err = c.cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// singleTryClient does not retry: a call is sent once, so that a test knows what was under way.
func singleTryClient(t *testing.T, addr string) *client.Client {
	t.Helper()
	c, err := client.Dial(addr, client.Options{DialOptions: []grpc.DialOption{grpc.WithDisableRetry()}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// result is what one command line in this process left behind.
type result struct {
	code           int
	stdout, stderr string
}

func runSegue(ctx context.Context, args ...string) result {
	var out, errOut bytes.Buffer
	code := run(ctx, args, &environment{stdin: strings.NewReader(""), stdout: &out, stderr: &errOut})
	return result{code, out.String(), errOut.String()}
}

func TestCommandLineMistakesAreUsageErrors(t *testing.T) {
	for _, line := range []string{
		"nonsense",
		"--nonsense",
		"collection",
		"collection nonsense",
		"snapshot",
		"collection create",
		"collection create x --dim 3",
		"collection create x --dim three --metric l2",
		"collection create x --dim 3 --metric hamming",
		"collection create x --dim 9999999999 --metric l2",
		"collection create x --dim 3 --metric l2 --attribute title",
		"collection delete x",
		"collection list extra",
		"collection list -o yaml",
		"collection list --addr 10.0.0.1:7070",
		"import --collection x",
		"import --items a.jsonl",
		"import --collection x --vectors a.npy",
		"import --collection x --items a.jsonl --profile-vectors b.npy",
		"import --collection x --items a.jsonl --create",
		"import --collection x --items a.jsonl --metric l2",
		"import --collection x --items a.jsonl --max-rejects -1",
		"import --collection x --items a.jsonl --batch 10001",
		"neighbors --item a",
		"neighbors --collection x",
		"neighbors --collection x --item",
		"neighbors --collection x --item a --user b",
		"neighbors --collection x --item a --ef 10 --exact",
		"neighbors --collection x --item a -k 9999999999",
		"neighbors --collection x --vector a.npy --row -1",
		"serve",
		"serve --data",
		"serve --data d --listen 0.0.0.0:0",
		"serve --data d --log-level loud",
		"demo --data d --listen :0",
		"check",
		"version extra",
		"check a b",
		"check a -o xml",
		"import --collection x --items a.jsonl --in-flight 65",
		"import --collection x --items a.jsonl --profile-vectors a.npy",
		"import --collection x --items a.jsonl --min-recall 0.9",
		"import --collection x --items a.jsonl --embedding-model m",
		"import --collection x --items a.jsonl --attribute n:int",
		"import --collection x --profiles a.jsonl --id-field v --profile-id-field vector",
		"import --collection x --release a.segue",
		"import --collection x --release a.segue --job a --batch 5",
		"import --collection x --release a.segue --job a --create --metric l2",
		"build --metric l2 --items a.jsonl",
		"build --out a.segue --items a.jsonl",
		"build --out a.segue --metric l2",
		"release",
		"release publish x 1.5",
		"release publish x -- -1",
		"release publish x 4294967296",
		"release delete x latest",
		"release delete x",
		"release export x",
		"release report x --release -1",
		"restore --from f --data d --number 0",
		"restore --from f",
		"restore --data d",
		"backup",
		"backup create --to f",
		"backup create --data d",
		"backup list",
		"backup verify --from f --number -1",
		"backup prune --from f",
		"backup prune --from f --keep 0",
		"neighbors --collection x --user ",
		"neighbors --collection x --item a --unlike b",
		"neighbors --collection x --item a --weights 1",
		"neighbors --collection x --like a --strategy worst",
		"neighbors --collection x --item a --max-per artists",
		"neighbors --collection x --item a --max-per artists=one",
		"neighbors --collection x --item a --exclude-value artists",
		"neighbors --collection x --item a --exclude-bitmap number",
		"neighbors --collection x --item a --boost plays",
		"neighbors --collection x --item a --ef 10 --target-recall 0.9",
		"neighbors --collection x --item a --candidates 4294967296",
		"explain --collection x",
		"score --collection x --item a",
		"score --collection x a",
		"batch --collection x",
		"batch --collection x --items a --users b",
		"batch --collection x --items a --size 0",
		"item update x a",
		"item delete x",
		"exclusions add --collection x set",
		"exclusions list --collection x",
		"exclusions delete set",
		"measure",
		"measure recall x --ef many",
		"loadtest --collection x --rates 0",
		"loadtest --collection x --rates fast",
		"loadtest --collection x --rates nan",
		"loadtest --collection x --rates +inf",
		"replay",
		"replay --log a --versus b --against c",
		"replay --log a --workers -1",
		"bench",
		"bench playlists -o xml",
		"bench playlists --hold-out 1.5",
		"bench playlists --k -1",
		"token --grant read:*",
		"config",
		"config print extra",
		"config print --max-streams many",
		"serve --data d --memory-limit 1000",
		"serve --data d --memory-limit -1",
		"serve --data d --http-origins https://a.example",
		"serve --data d --tls-key k",
	} {
		t.Chdir(t.TempDir())
		r := runSegue(t.Context(), strings.Split(line, " ")...)
		if r.code != exitUsage || !strings.Contains(r.stderr, "--help' for usage") || r.stdout != "" {
			t.Errorf("segue %s: code %d\n%s%s", line, r.code, r.stdout, r.stderr)
		}
		if left, err := os.ReadDir("."); err != nil || len(left) > 0 {
			t.Errorf("segue %s left %v, %v", line, left, err)
		}
	}
}

func TestHelpOfEveryCommand(t *testing.T) {
	root := newRootCommand(systemEnvironment())
	queue := []string{""}
	for len(queue) > 0 {
		line := queue[0]
		queue = queue[1:]
		c, _, err := root.Find(strings.Fields(line))
		if err != nil {
			t.Fatal(err)
		}
		for _, sub := range c.Commands() {
			if sub.Short == "" {
				t.Errorf("%s has no description", sub.CommandPath())
			}
			queue = append(queue, line+" "+sub.Name())
		}
		if r := runSegue(t.Context(), append(strings.Fields(line), "--help")...); r.code != exitOK || !strings.Contains(r.stdout, "Usage:") {
			t.Errorf("segue%s --help: code %d\n%s%s", line, r.code, r.stdout, r.stderr)
		}
	}
}

func TestServerThatIsNotThere(t *testing.T) {
	r := runSegue(t.Context(), "collection", "list", "--addr", "127.0.0.1:1", "--timeout", "300ms")
	if r.code != exitFailure || !strings.Contains(r.stderr, "127.0.0.1:1") {
		t.Errorf("code %d: %s", r.code, r.stderr)
	}
}

func TestInterruptedCommand(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := runSegue(ctx, "collection", "list", "--addr", "127.0.0.1:1")
	if r.code != exitFailure || r.stderr != "segue: interrupted\n" {
		t.Errorf("code %d: %s", r.code, r.stderr)
	}
}

// What a connection is secured with is read before anything is sent, and what is missing or wrong is named.
func TestConnectionFlags(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	writeText(t, empty, "no certificate")
	for args, want := range map[string]string{
		"--token-file nothing-here":                   "nothing-here",
		"--tls-ca nothing-here":                       "nothing-here",
		"--tls-ca " + empty:                           "holds no certificate",
		"--tls-cert " + empty + " --tls-key " + empty: "PEM",
		"--tls-cert " + empty:                         "no such file", // its key
		"--tls":                                       "127.0.0.1:1",  // nobody is there
	} {
		r := runSegue(t.Context(), strings.Fields("collection list --addr 127.0.0.1:1 --timeout 300ms "+args)...)
		if r.code == exitOK || r.stdout != "" || !strings.Contains(r.stderr, want) {
			t.Errorf("%s: code %d\n%s", args, r.code, r.stderr)
		}
	}
}
