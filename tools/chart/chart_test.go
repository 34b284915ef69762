package chart

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

var write = flag.Bool("write", false, "write the manifests of deploy/kubernetes instead of comparing them")

const (
	deploy    = "../../deploy"
	chartPath = deploy + "/helm/segue"
)

// loadOnce reads the chart; renderings only read it.
var loadOnce = sync.OnceValues(func() (*chart.Chart, error) { return loader.Load(chartPath) })

func load(t *testing.T) *chart.Chart {
	t.Helper()
	c, err := loadOnce()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func parse(t *testing.T, text string) map[string]any {
	t.Helper()
	var values map[string]any
	if err := yaml.Unmarshal([]byte(text), &values); err != nil {
		t.Fatal(err)
	}
	return values
}

// cases are the values that the chart is rendered with: the default, and those of its directory ci.
func cases(t *testing.T) map[string]map[string]any {
	t.Helper()
	all := map[string]map[string]any{"default": nil}
	files, err := filepath.Glob(chartPath + "/ci/*-values.yaml")
	if err != nil || len(files) < 3 {
		t.Fatalf("only %d files of values, %v", len(files), err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all[strings.TrimSuffix(filepath.Base(f), "-values.yaml")] = parse(t, string(text))
	}
	return all
}

func mustRender(t *testing.T, values map[string]any) []document {
	t.Helper()
	documents, _, err := render(load(t), values)
	if err != nil {
		t.Fatal(err)
	}
	return documents
}

// objects are the decoded documents of a rendering.
type objects map[string]metav1.Object // by kind and name

// decode decodes strictly: a field that the type does not have, or that stands there twice, is an error.
func decode(t *testing.T, documents []document) objects {
	t.Helper()
	out := objects{}
	for _, d := range documents {
		var head metav1.TypeMeta
		if err := yaml.Unmarshal([]byte(d.Text), &head); err != nil {
			t.Fatal(err)
		}
		kind := head.APIVersion + " " + head.Kind
		fresh, ok := map[string]func() metav1.Object{
			"v1 ConfigMap":                            func() metav1.Object { return new(corev1.ConfigMap) },
			"v1 Pod":                                  func() metav1.Object { return new(corev1.Pod) },
			"v1 Service":                              func() metav1.Object { return new(corev1.Service) },
			"v1 ServiceAccount":                       func() metav1.Object { return new(corev1.ServiceAccount) },
			"apps/v1 StatefulSet":                     func() metav1.Object { return new(appsv1.StatefulSet) },
			"batch/v1 CronJob":                        func() metav1.Object { return new(batchv1.CronJob) },
			"policy/v1 PodDisruptionBudget":           func() metav1.Object { return new(policyv1.PodDisruptionBudget) },
			"networking.k8s.io/v1 NetworkPolicy":      func() metav1.Object { return new(networkingv1.NetworkPolicy) },
			"monitoring.coreos.com/v1 ServiceMonitor": func() metav1.Object { return new(monitoringv1.ServiceMonitor) },
			"monitoring.coreos.com/v1 PrometheusRule": func() metav1.Object { return new(monitoringv1.PrometheusRule) },
		}[kind]
		if !ok {
			t.Fatalf("%s: no type for %s", d.Template, kind)
		}
		o := fresh()
		if err := yaml.UnmarshalStrict([]byte(d.Text), o); err != nil {
			t.Errorf("%s: %v\n%s", d.Template, err, d.Text)
		}
		key := head.Kind + " " + o.GetName()
		if _, twice := out[key]; twice || o.GetName() == "" {
			t.Errorf("%s: %q is there twice, or has no name", d.Template, key)
		}
		out[key] = o
	}
	return out
}

// each gives the test a rendering of every case.
func each(t *testing.T, test func(t *testing.T, all objects)) {
	t.Helper()
	for name, values := range cases(t) {
		t.Run(name, func(t *testing.T) { test(t, decode(t, mustRender(t, values))) })
	}
}

// kinds are the objects of one type, by name.
func kinds[T metav1.Object](all objects) []T {
	var out []T
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if o, ok := all[key].(T); ok {
			out = append(out, o)
		}
	}
	return out
}

// TestEveryTemplateIsUsed: what no case renders, no test has seen.
func TestEveryTemplateIsUsed(t *testing.T) {
	seen := map[string]bool{}
	for _, values := range cases(t) {
		for _, d := range mustRender(t, values) {
			seen[d.Template] = true
		}
	}
	for _, f := range load(t).Templates {
		name := strings.TrimPrefix(f.Name, "templates/")
		if !seen[name] && !strings.HasPrefix(name, "_") && name != "NOTES.txt" {
			t.Errorf("no case renders %s", name)
		}
	}
}

func TestLint(t *testing.T) {
	for name, values := range cases(t) {
		for _, m := range lint.RunAll(chartPath, values, "music").Messages {
			// Helm wants a picture for the web.
			if m.Severity > support.InfoSev {
				t.Errorf("%s: %v", name, m)
			}
		}
	}
}

// TestRefused: values that make no sense are refused before anything reaches a cluster, with words that name them.
func TestRefused(t *testing.T) {
	for values, want := range map[string]string{
		"replicas: 3":                                 "replicas",
		"replicaCount: 0":                             "replicaCount",
		"config: {max-stream: 5}":                     "config",
		"config: {data: /elsewhere}":                  "config",
		"config: {max-streams: [5]}":                  "config",
		"image: {digest: latest}":                     "digest",
		"resources: {cpu: '1', memory: lots}":         "memory",
		"tls: {secretName: ''}":                       "tls.secretName",
		"access: {secretName: ''}":                    "access.secretName",
		"import: {publish: {min-recal: '0.9'}}":       "publish",
		"import: {schedule: nightly}":                 "schedule",
		"import: {args: [segue]}":                     "args",
		"persistence: {accessModes: [ReadWriteMany]}": "accessModes",
		"backup: {to: s3://all-in-one-place}":         "to",
		"drainSeconds: 0":                             "drainSeconds",
	} {
		_, _, err := render(load(t), parse(t, values))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error about %s", values, err, want)
		}
	}
}

// TestNotes: they name the address and every secret that has to be there.
func TestNotes(t *testing.T) {
	for name, values := range cases(t) {
		_, notes, err := render(load(t), values)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(notes, ":7070") {
			t.Errorf("%s: no address in\n%s", name, notes)
		}
		for _, s := range kinds[*appsv1.StatefulSet](decode(t, mustRender(t, values))) {
			for _, v := range s.Spec.Template.Spec.Volumes {
				if v.Secret != nil && !strings.Contains(notes, v.Secret.SecretName) {
					t.Errorf("%s: secret %s is not in\n%s", name, v.Secret.SecretName, notes)
				}
			}
		}
	}
}

// plain are the manifests of deploy/kubernetes: what they are for, their values, and the templates they hold.
var plain = []struct {
	file, head, values string
	templates          []string
}{
	{
		"segue.yaml",
		"One Segue server with a volume of its own. kubectl apply -n NAMESPACE -f segue.yaml, after making the secrets that it names:\n" +
			"\n" +
			"  kubectl create secret generic segue-tls --type kubernetes.io/tls --from-file=tls.crt --from-file=tls.key --from-file=ca.crt\n" +
			"  kubectl create secret generic segue-access --from-file=access\n",
		"", []string{"configmap.yaml", "networkpolicy.yaml", "poddisruptionbudget.yaml", "service.yaml", "serviceaccount.yaml", "statefulset.yaml"},
	},
	{
		"import.yaml",
		"A nightly job that fills a new release and publishes it where it is good. It reads the volume claim \"embeddings\", and calls with\n" +
			"a token of its own: kubectl create secret generic segue-operator --from-file=token\n",
		"import: {enabled: true}", []string{"import.yaml"},
	},
	{
		"backup.yaml",
		"A nightly backup. Give the server its target as well: --set backup.enabled=true does both; here the StatefulSet needs a variable\n" +
			"SEGUE_BACKUP_TO of the same URL.\n",
		"backup: {enabled: true}", []string{"backup.yaml"},
	},
	{
		"monitoring.yaml",
		"For the Prometheus operator. Alert rules: deploy/prometheus.\n",
		"monitoring: {serviceMonitor: true}", []string{"monitoring.yaml"},
	},
}

// TestManifests: the plain manifests are what the chart renders.
func TestManifests(t *testing.T) {
	known := map[string]bool{}
	for _, p := range plain {
		text := ""
		for line := range strings.Lines(p.head + "\nRendered from deploy/helm/segue by `make manifests`.\n") {
			text += strings.TrimRight("# "+line, " \n") + "\n"
		}
		sections := 0
		for _, d := range mustRender(t, parse(t, p.values)) {
			if slices.Contains(p.templates, d.Template) {
				if sections > 0 {
					text += "---\n"
				}
				text += d.Text
				sections++
			}
		}
		if sections < len(p.templates) {
			t.Errorf("%s: %d objects of %d templates", p.file, sections, len(p.templates))
		}
		path := filepath.Join(deploy, "kubernetes", p.file)
		known[p.file] = true
		if *write {
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		got, err := os.ReadFile(path)
		if err != nil || string(got) != text {
			t.Errorf("%s is not what the chart renders (%v): run make manifests", path, err)
		}
	}
	files, err := os.ReadDir(deploy + "/kubernetes")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !known[f.Name()] {
			t.Errorf("deploy/kubernetes/%s comes from nowhere", f.Name())
		}
	}
}

// managed are the settings of `segue serve` that the chart sets itself.
var managed = []string{"data", "listen", "ops-listen", "shutdown-timeout", "tls-cert", "tls-key", "tls-client-ca", "access-file"}

// TestSchemaKnowsSettings: values.config takes every setting of the program but those that the chart sets.
func TestSchemaKnowsSettings(t *testing.T) {
	c := exec.CommandContext(t.Context(), "go", "run", "./cmd/segue", "config", "print")
	c.Dir = "../.."
	printed, err := c.Output()
	if err != nil {
		t.Fatalf("segue config print: %v", err)
	}
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(parse(t, string(printed)))) {
		if !slices.Contains(managed, name) {
			lines = append(lines, fmt.Sprintf("        %q: {\"$ref\": \"#/definitions/setting\"}", name))
		}
	}
	path := chartPath + "/values.schema.json"
	schema, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	list := regexp.MustCompile(`( {8}"[a-z-]+": \{"\$ref": "#/definitions/setting"\},?\n)+`)
	got := list.Find(schema)
	want := strings.Join(lines, ",\n") + "\n"
	if string(got) == want {
		return
	}
	if !*write {
		t.Fatalf("%s takes the settings\n%s\nand the program has\n%s\nrun make manifests", path, got, want)
	}
	at := list.FindIndex(schema)
	if err := os.WriteFile(path, slices.Concat(schema[:at[0]], []byte(want), schema[at[1]:]), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestDefaultsAreDocumented: every value of values.yaml is in the schema, and the other way round.
func TestDefaultsAreDocumented(t *testing.T) {
	c := load(t)
	schema := parse(t, string(c.Schema))
	for _, name := range compare(c.Values, schema, "") {
		t.Error(name)
	}
}

// compare walks values and their schema together where both name their properties.
func compare(values, schema map[string]any, at string) []string {
	properties, ok := schema["properties"].(map[string]any)
	if !ok || at == "config." || at == "import.publish." { // flags of the program, which has the defaults
		return nil
	}
	var out []string
	for name, value := range values {
		inner, known := properties[name].(map[string]any)
		if !known {
			out = append(out, fmt.Sprintf("values.schema.json does not know %s%s", at, name))
			continue
		}
		if object, is := value.(map[string]any); is {
			out = append(out, compare(object, inner, at+name+".")...)
		}
	}
	for name := range properties {
		if _, known := values[name]; !known && at+name != "global" {
			out = append(out, fmt.Sprintf("values.yaml has no default for %s%s", at, name))
		}
	}
	return out
}
