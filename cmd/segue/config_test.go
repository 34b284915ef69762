package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// serveFlags are the flags of serve, parsed from a command line.
func serveFlags(t *testing.T, args ...string) *pflag.FlagSet {
	t.Helper()
	flags := newServeCommand(&environment{}).Flags()
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	return flags
}

// TestSettings: the command line beats variables, which beat the file, which beats defaults.
func TestSettings(t *testing.T) {
	path := filepath.Join(t.TempDir(), "segue.yaml")
	writeText(t, path, "# settings\ndata: /from/file\nmax-streams: 7\nslow-call: 1s\nlog-level: warn\ninsecure: true\ncaller-rate: 2.5\n")
	flags := serveFlags(t, "--config", path, "--max-streams", "9")
	variables := map[string]string{"SEGUE_SLOW_CALL": "2s", "SEGUE_MAX_STREAMS": "8", "SEGUE_PORT": "tcp://10.0.0.1:7070"}
	if err := settle(flags, func(name string) (string, bool) { v, ok := variables[name]; return v, ok }); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"data": "/from/file", "max-streams": "9", "slow-call": "2s", "log-level": "WARN", "insecure": "true", "caller-rate": "2.5", "listen": defaultAddr,
	} {
		if got := flags.Lookup(name).Value.String(); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

func TestWrongSettings(t *testing.T) {
	for text, want := range map[string]string{
		"listne: x":          ":1: there is no setting \"listne\"",
		"\nmax-streams: x":   ":2: invalid argument",
		"data: [a]":          "data must have one value",
		"config: x":          "there is no setting \"config\"",
		"- a":                "cannot unmarshal",
		"data: a\ndata: b\n": "already defined",
	} {
		path := filepath.Join(t.TempDir(), "segue.yaml")
		writeText(t, path, text)
		r := runSegue(t.Context(), "serve", "--data", t.TempDir(), "--listen", "127.0.0.1:0", "--config", path)
		if r.code == exitOK || !strings.Contains(r.stderr, want) {
			t.Errorf("%q: code %d, %s", text, r.code, r.stderr)
		}
	}
	if r := runSegue(t.Context(), "serve", "--data", t.TempDir(), "--config", "nothing-here"); r.code == exitOK || !strings.Contains(r.stderr, "nothing-here") {
		t.Errorf("no file: %+v", r)
	}
	err := settle(serveFlags(t), func(name string) (string, bool) { return "x", name == "SEGUE_MAX_STREAMS" })
	if err == nil || !strings.Contains(err.Error(), "SEGUE_MAX_STREAMS") {
		t.Errorf("a wrong variable: %v", err)
	}
}

// TestConfigPrint: what is printed is a file that says the same again, and holds every flag.
func TestConfigPrint(t *testing.T) {
	first := runSegue(t.Context(), "config", "print", "--data", "/srv: #1", "--slow-call", "3s")
	path := filepath.Join(t.TempDir(), "segue.yaml")
	writeText(t, path, first.stdout)
	second := runSegue(t.Context(), "config", "print", "--config", path)
	if first.code != exitOK || second.code != exitOK || first.stdout != second.stdout {
		t.Errorf("%s%s\nand again\n%s%s", first.stdout, first.stderr, second.stdout, second.stderr)
	}
	serveFlags(t).VisitAll(func(f *pflag.Flag) {
		if f.Name != configFlag && f.Name != "help" && !strings.Contains("\n"+first.stdout, "\n"+f.Name+": ") {
			t.Errorf("%s is not printed", f.Name)
		}
	})
}

// TestConfigPrintHidesSecrets: what files hold is not read, and what URLs hold is not shown.
func TestConfigPrintHidesSecrets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access")
	writeText(t, path, "radio read:* sha256:9f86d081")
	r := runSegue(t.Context(), "config", "print", "--access-file", path, "--jwt-jwks-url", "https://me:hunter2@id.example/keys")
	if r.code != exitOK || strings.Contains(r.stdout, "hunter2") || strings.Contains(r.stdout, "9f86") {
		t.Errorf("%s%s", r.stdout, r.stderr)
	}
	if !strings.Contains(r.stdout, "jwt-jwks-url: https://me:xxxxx@id.example/keys\n") {
		t.Errorf("the rest of the URL is not in\n%s", r.stdout)
	}
	for value, want := range map[string]string{ //nolint:gosec // nobody's passwords
		"s3://key:hunter2@bucket/path":          "s3://key:xxxxx@bucket/path",
		"https://me:hunter2%@id.example/keys":   "https://me:xxxxx@id.example/keys", // these are no URLs, but hold
		"https://me:hunter/2@id.example/keys":   "https://me:xxxxx@id.example/keys", // a password all the same
		"https://me:@hunter2 x@id.example/keys": "https://me:xxxxx@id.example/keys",
		"https://id.example:443/a@b":            "https://id.example:443/a@b",
		"https://id.example/?mail=a:b@c":        "https://id.example/?mail=a:b@c",
		"127.0.0.1:7071":                        "127.0.0.1:7071",
		":7071":                                 ":7071",
		"users,exclusions":                      "users,exclusions",
		"/srv/a:b@c":                            "/srv/a:b@c",
		"":                                      "",
	} {
		if got := redacted(value); got != want {
			t.Errorf("%q is printed as %q, want %q", value, got, want)
		}
	}
}

// deployed reads a file of deploy/.
func deployed(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../../deploy", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// manifests are the objects of deploy/kubernetes, which tools/chart holds to the chart.
func manifests(t *testing.T) []map[string]any {
	t.Helper()
	files, err := filepath.Glob("../../deploy/kubernetes/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no manifests", err)
	}
	var out []map[string]any
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for d := yaml.NewDecoder(bytes.NewReader(text)); ; {
			var object map[string]any
			err := d.Decode(&object)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", f, err)
			}
			out = append(out, object)
		}
	}
	return out
}

// find gives every mapping below v that has the key.
func find(v any, key string, each func(map[string]any)) {
	switch v := v.(type) {
	case map[string]any:
		if _, ok := v[key]; ok {
			each(v)
		}
		for _, inner := range v {
			find(inner, key, each)
		}
	case []any:
		for _, inner := range v {
			find(inner, key, each)
		}
	}
}

// TestDeployedSettingsExist: every setting, variable, verb and flag that the manifests name is one.
func TestDeployedSettingsExist(t *testing.T) {
	known := map[string]bool{tokenVariable: true}
	serveFlags(t).VisitAll(func(f *pflag.Flag) { known[variable(f.Name)] = true })
	files, commands := 0, 0
	for _, object := range manifests(t) {
		find(object, "segue.yaml", func(data map[string]any) {
			files++
			if err := settleFrom(serveFlags(t), "deploy", []byte(data["segue.yaml"].(string))); err != nil {
				t.Error(err)
			}
		})
		find(object, "args", func(container map[string]any) {
			commands++
			var args []string
			for _, a := range container["args"].([]any) {
				args = append(args, regexp.MustCompile(`\$\(\w+\)`).ReplaceAllString(a.(string), "0"))
			}
			c, rest, err := newRootCommand(&environment{}).Find(args)
			if err == nil {
				err = c.ParseFlags(rest)
			}
			if err != nil || c.Flags().NArg() > 0 || !c.Runnable() {
				t.Errorf("segue %v: %v", args, err)
			}
		})
		find(object, "env", func(container map[string]any) {
			for _, e := range container["env"].([]any) {
				if name := e.(map[string]any)["name"].(string); strings.HasPrefix(name, "SEGUE_") && !known[name] {
					t.Errorf("the manifests set %s, which nothing reads", name)
				}
			}
		})
	}
	if files != 1 || commands < 2 {
		t.Errorf("%d files of settings, %d commands", files, commands)
	}
}

// TestChartNamesSettings: every setting and condition that the chart takes is one; that it takes them all is for tools/chart to say.
func TestChartNamesSettings(t *testing.T) {
	var schema struct {
		Properties struct {
			Config struct{ Properties map[string]any }
			Import struct {
				Properties struct {
					Publish struct{ Properties map[string]any }
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(deployed(t, "helm/segue/values.schema.json")), &schema); err != nil {
		t.Fatal(err)
	}
	settings := serveFlags(t)
	for name := range schema.Properties.Config.Properties {
		if settings.Lookup(name) == nil || slices.Contains(notSettings, name) {
			t.Errorf("segue serve has no --%s", name)
		}
	}
	settings.VisitAll(func(f *pflag.Flag) {
		if f.Usage == "" {
			t.Errorf("--%s says nothing about itself", f.Name)
		}
	})
	flags := newImportCommand(&environment{}).Flags()
	for name := range schema.Properties.Import.Properties.Publish.Properties {
		if flags.Lookup(name) == nil {
			t.Errorf("segue import has no --%s", name)
		}
	}
}

// TestDeployedFilesParse: every document of every file is one, and the dashboard's panels have a query each.
func TestDeployedFilesParse(t *testing.T) {
	for _, name := range []string{"prometheus/rules.yaml"} {
		d := yaml.NewDecoder(strings.NewReader(deployed(t, name)))
		n := 0
		for ; ; n++ {
			var doc map[string]any
			err := d.Decode(&doc)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil || len(doc) == 0 {
				t.Fatalf("%s: document %d: %v, %v", name, n, doc, err)
			}
		}
		if n == 0 {
			t.Errorf("%s is empty", name)
		}
	}
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(deployed(t, "grafana/segue.json")), &board); err != nil || len(board.Panels) == 0 {
		t.Fatalf("%d panels, %v", len(board.Panels), err)
	}
	for _, p := range board.Panels {
		if len(p.Targets) == 0 || p.Targets[0].Expr == "" {
			t.Errorf("panel %q asks nothing", p.Title)
		}
	}
}

// TestDeployedMetricsExist: every metric that an alert or a panel names is served, and every alert has its runbook.
func TestDeployedMetricsExist(t *testing.T) {
	served := ""
	sources, err := filepath.Glob("../../server/ops/*.go")
	if err != nil || len(sources) == 0 {
		t.Fatal(err)
	}
	for _, path := range sources {
		if b, err := os.ReadFile(path); err == nil && !strings.HasSuffix(path, "_test.go") {
			served += string(b)
		}
	}
	metric := regexp.MustCompile(`\bsegue_[a-z_]+`)
	for _, name := range []string{"prometheus/rules.yaml", "grafana/segue.json"} {
		found := metric.FindAllString(deployed(t, name), -1)
		if len(found) < 8 {
			t.Errorf("%s names only %d metrics", name, len(found))
		}
		for _, m := range found {
			base := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(m, "")
			if !strings.Contains(served, `"`+m+`"`) && !strings.Contains(served, `"`+base+`"`) {
				t.Errorf("%s names %s, which is not served", name, m)
			}
		}
	}
	operations, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	alerts := regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(deployed(t, "prometheus/rules.yaml"), -1)
	if len(alerts) < 6 {
		t.Errorf("only %d alerts", len(alerts))
	}
	for _, a := range alerts {
		if !strings.Contains(string(operations), "\n### "+a[1]+"\n") {
			t.Errorf("docs/operations.md has no runbook for %s", a[1])
		}
	}
}

// TestAlertsFire by their own unit tests, where promtool is (Debian: apt-get install prometheus).
func TestAlertsFire(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("no promtool: Debian's package prometheus has it")
	}
	if out, err := exec.CommandContext(t.Context(), promtool, "test", "rules", "../../deploy/prometheus/rules_test.yaml").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
