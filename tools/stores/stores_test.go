package stores

import (
	"bufio"
	"context"
	"fmt"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fsouza/fake-gcs-server/fakestorage"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// objectStore is where backups go: a URL for segue, the environment it needs, and a hand on the objects.
type objectStore struct {
	target string
	env    []string
	damage func(name string) error // flips a byte
	names  func() []string
}

const bucket = "backups"

func newS3(t *testing.T) *objectStore {
	backend := s3mem.New()
	if err := backend.CreateBucket(bucket); err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(s.Close)
	o := &objectStore{
		target: "s3://" + bucket + "?" + url.Values{"region": {"us-east-1"}, "endpoint": {s.URL}, "use_path_style": {"true"}, "prefix": {"segue/"}}.Encode(),
		env:    []string{"AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b"},
	}
	o.names = func() (names []string) {
		list, err := backend.ListBucket(bucket, &gofakes3.Prefix{}, gofakes3.ListBucketPage{})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range list.Contents {
			names = append(names, c.Key)
		}
		return names
	}
	o.damage = func(name string) error {
		object, err := backend.GetObject(bucket, name, nil)
		if err != nil {
			return err
		}
		data, err := gofakes3.ReadAll(object.Contents, object.Size)
		if err != nil {
			return err
		}
		data[len(data)/2] ^= 1
		_, err = backend.PutObject(bucket, name, map[string]string{}, strings.NewReader(string(data)), int64(len(data)), nil)
		return err
	}
	return o
}

func newGCS(t *testing.T) *objectStore {
	// Objects are read at the server's name, which it has to know before.
	listening := httptest.NewUnstartedServer(nil)
	addr := listening.Listener.Addr().String()
	s, err := fakestorage.NewServerWithOptions(fakestorage.Options{NoListener: true, PublicHost: addr, ExternalURL: "http://" + addr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	listening.Config.Handler = s.HTTPHandler()
	listening.Start()
	t.Cleanup(listening.Close)
	s.CreateBucketWithOpts(fakestorage.CreateBucketOpts{Name: bucket})
	o := &objectStore{
		target: "gs://" + bucket + "?anonymous=true&prefix=segue/",
		env:    []string{"STORAGE_EMULATOR_HOST=" + addr},
	}
	o.names = func() (names []string) {
		list, _, err := s.ListObjectsWithOptions(bucket, fakestorage.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range list {
			names = append(names, a.Name)
		}
		return names
	}
	o.damage = func(name string) error {
		object, err := s.GetObject(bucket, name)
		if err != nil {
			return err
		}
		object.Content[len(object.Content)/2] ^= 1
		s.CreateObject(fakestorage.Object{ObjectAttrs: fakestorage.ObjectAttrs{BucketName: bucket, Name: name}, Content: object.Content})
		return nil
	}
	return o
}

// TestObjectStores: over the protocol of each store a backup is made, the next one sends only what is new, each restores the state
// of its moment, a flipped byte is named and not restored, and pruning leaves what is needed.
func TestObjectStores(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "segue")
	build := exec.Command("go", "build", "-tags", "gcs", "-o", binary, "./cmd/segue")
	build.Dir, build.Env = filepath.Join("..", ".."), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for scheme, open := range map[string]func(*testing.T) *objectStore{"s3": newS3, "gs": newGCS} {
		t.Run(scheme, func(t *testing.T) {
			o := open(t)
			c := &command{t: t, binary: binary, env: o.env}
			store := filepath.Join(t.TempDir(), "store")
			c.fill(store, 0, 300)
			first := c.items(store)
			c.run("backup", "create", "--data", store, "--to", o.target)
			c.fill(store, 200, 500)
			second := c.items(store)
			if out := c.run("backup", "create", "--data", store, "--to", o.target, "-o", "json"); strings.Contains(out, `"sent_bytes": 0`) {
				t.Errorf("nothing was sent: %s", out)
			}
			if out := c.run("backup", "create", "--data", store, "--to", o.target, "-o", "json"); !strings.Contains(out, `"sent_bytes": 0`) {
				t.Errorf("what is there was sent again: %s", out)
			}
			c.run("backup", "verify", "--from", o.target)
			for i, want := range []string{first, second, second} {
				number, dir := i+1, filepath.Join(t.TempDir(), "restored")
				c.run("restore", "--from", o.target, "--number", fmt.Sprint(number), "--data", dir)
				c.run("check", dir)
				if got := c.items(dir); got != want {
					t.Errorf("backup %d holds\n%s\nwant\n%s", number, got, want)
				}
			}
			before := len(o.names())
			c.run("backup", "prune", "--from", o.target, "--keep", "1")
			if names := o.names(); len(names) >= before || len(names) < 2 {
				t.Errorf("%d objects before pruning, then %v", before, names)
			}
			c.run("backup", "verify", "--from", o.target)
			damaged := false
			for _, name := range o.names() {
				if strings.Contains(name, "/files/") && !damaged && !strings.HasSuffix(name, "b855") { // the sum of nothing
					damaged = true
					if err := o.damage(name); err != nil {
						t.Fatal(err)
					}
					dir := filepath.Join(t.TempDir(), "damaged")
					want := name[strings.LastIndex(name, "/")+1:]
					for _, args := range [][]string{{"backup", "verify", "--from", o.target}, {"restore", "--from", o.target, "--data", dir}} {
						if out, err := c.try(args...); err == nil || !strings.Contains(out, want) {
							t.Errorf("%v says nothing of %s: %v\n%s", args, want, err, out)
						}
					}
				}
			}
			if !damaged {
				t.Errorf("no file among %v", o.names())
			}
			if out, err := c.try("backup", "list", "--from", strings.Replace(o.target, bucket, "elsewhere", 1)); err == nil {
				t.Errorf("a bucket that does not exist: %s", out)
			}
		})
	}
}

// command runs segue.
type command struct {
	t      *testing.T
	binary string
	env    []string
}

func (c *command) start(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.binary, args...)
	cmd.Env = append(os.Environ(), c.env...)
	return cmd
}

func (c *command) try(args ...string) (string, error) {
	out, err := c.start(c.t.Context(), args...).CombinedOutput()
	return string(out), err
}

func (c *command) run(args ...string) string {
	c.t.Helper()
	out, err := c.try(args...)
	if err != nil {
		c.t.Fatalf("segue %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// serve has a server of a store answer while fn runs.
func (c *command) serve(store string, fn func(addr string)) {
	c.t.Helper()
	s := c.start(c.t.Context(), "serve", "--data", store, "--listen", "127.0.0.1:0", "--ops-listen", "", "--log-level", "error")
	out, err := s.StdoutPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		c.t.Fatal(err)
	}
	addr := ""
	for lines := bufio.NewScanner(out); addr == "" && lines.Scan(); {
		addr, _ = strings.CutPrefix(lines.Text(), "listening on ")
	}
	if addr == "" {
		c.t.Fatal("the server does not say where it listens")
	}
	fn(addr)
	if err := s.Process.Signal(os.Interrupt); err != nil {
		c.t.Fatal(err)
	}
	if err := s.Wait(); err != nil {
		c.t.Fatal(err)
	}
}

// fill writes items of these numbers.
func (c *command) fill(store string, from, to int) {
	c.t.Helper()
	var rows strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&rows, `{"id": "item-%d", "vector": [%d, %d, 1]}`+"\n", i, i, to)
	}
	file := filepath.Join(c.t.TempDir(), "items.jsonl")
	if err := os.WriteFile(file, []byte(rows.String()), 0o644); err != nil {
		c.t.Fatal(err)
	}
	c.serve(store, func(addr string) {
		c.run("import", "--addr", addr, "--collection", "tracks", "--create", "--metric", "l2", "--items", file)
	})
}

// items is what a store answers.
func (c *command) items(store string) (text string) {
	c.t.Helper()
	c.serve(store, func(addr string) {
		for _, item := range []string{"item-0", "item-250"} {
			text += c.run("neighbors", "--addr", addr, "--collection", "tracks", "--item", item, "-k", "500", "--exact")
		}
	})
	return text
}
