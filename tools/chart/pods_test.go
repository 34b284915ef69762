package chart

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"
)

// pod is the template of a pod, or a pod.
type pod struct {
	name string
	meta metav1.ObjectMeta
	spec corev1.PodSpec
}

// pods are all that a rendering would start.
func pods(all objects) []pod {
	var out []pod
	for _, s := range kinds[*appsv1.StatefulSet](all) {
		p := pod{"StatefulSet " + s.Name, s.Spec.Template.ObjectMeta, *s.Spec.Template.Spec.DeepCopy()}
		for _, claim := range s.Spec.VolumeClaimTemplates { // volumes as well
			p.spec.Volumes = append(p.spec.Volumes, corev1.Volume{Name: claim.Name, VolumeSource: corev1.VolumeSource{
				PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim.Name}}})
		}
		out = append(out, p)
	}
	for _, c := range kinds[*batchv1.CronJob](all) {
		template := c.Spec.JobTemplate.Spec.Template
		out = append(out, pod{"CronJob " + c.Name, template.ObjectMeta, template.Spec})
	}
	for _, p := range kinds[*corev1.Pod](all) {
		out = append(out, pod{"Pod " + p.Name, p.ObjectMeta, p.Spec})
	}
	return out
}

// TestRestricted: no pod asks for more than the profile "restricted" of Kubernetes' pod security standards allows.
func TestRestricted(t *testing.T) {
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	each(t, func(t *testing.T, all objects) {
		if len(pods(all)) < 2 {
			t.Fatal("no pods")
		}
		for _, p := range pods(all) {
			results := evaluator.EvaluatePod(api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}, &p.meta, &p.spec)
			if sum := policy.AggregateCheckResults(results); !sum.Allowed {
				t.Errorf("%s: %s", p.name, sum.ForbiddenDetail())
			}
			if p.spec.AutomountServiceAccountToken == nil || *p.spec.AutomountServiceAccountToken {
				t.Errorf("%s holds a token of the cluster, for which it has no use", p.name)
			}
			if p.spec.EnableServiceLinks == nil || *p.spec.EnableServiceLinks {
				t.Errorf("%s: a service named segue-x would set SEGUE_X_PORT", p.name)
			}
		}
	})
	bad := corev1.PodSpec{Containers: []corev1.Container{{Name: "root"}}}
	results := evaluator.EvaluatePod(api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}, &metav1.ObjectMeta{}, &bad)
	if policy.AggregateCheckResults(results).Allowed {
		t.Error("the evaluator allows everything")
	}
}

// TestContainers: what containers name exists in their pod, their root file system is read only, and the memory they ask for
// is theirs.
func TestContainers(t *testing.T) {
	each(t, func(t *testing.T, all objects) {
		for _, p := range pods(all) {
			volumes := map[string]bool{}
			for _, v := range p.spec.Volumes {
				volumes[v.Name] = false
			}
			for _, c := range slices.Concat(p.spec.InitContainers, p.spec.Containers) {
				ports := map[string]bool{}
				for _, port := range c.Ports {
					ports[port.Name] = true
				}
				for _, probe := range []*corev1.Probe{c.StartupProbe, c.ReadinessProbe, c.LivenessProbe} {
					if probe != nil && (probe.HTTPGet == nil || !ports[probe.HTTPGet.Port.String()]) {
						t.Errorf("%s: a probe of a port that is not one of %v", p.name, ports)
					}
				}
				for _, m := range c.VolumeMounts {
					if _, ok := volumes[m.Name]; !ok {
						t.Errorf("%s: mounts %s, which is no volume", p.name, m.Name)
					}
					volumes[m.Name] = true
				}
				// A file that an argument names is below a mount.
				for _, arg := range c.Args {
					if _, file, ok := strings.Cut(arg, "=/"); ok && !mounted(c, "/"+file) {
						t.Errorf("%s: %s is below no mount", p.name, arg)
					}
				}
				if r := c.SecurityContext.ReadOnlyRootFilesystem; r == nil || !*r {
					t.Errorf("%s: the root file system can be written", p.name)
				}
				memory, limit := c.Resources.Requests[corev1.ResourceMemory], c.Resources.Limits[corev1.ResourceMemory]
				if memory.IsZero() || memory.Cmp(limit) != 0 {
					t.Errorf("%s: requests %v of memory, limit %v", p.name, &memory, &limit)
				}
				if cpu := c.Resources.Requests[corev1.ResourceCPU]; cpu.IsZero() {
					t.Errorf("%s: requests no CPU", p.name)
				}
			}
			for name, used := range volumes {
				if !used {
					t.Errorf("%s: nobody mounts %s", p.name, name)
				}
			}
		}
	})
}

// mounted says whether a file lies on a volume of the container.
func mounted(c corev1.Container, file string) bool {
	return slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool {
		return strings.HasPrefix(file, m.MountPath+"/") || file == m.MountPath
	})
}

// server is the only StatefulSet and its container.
func server(t *testing.T, all objects) (*appsv1.StatefulSet, corev1.Container) {
	t.Helper()
	sets := kinds[*appsv1.StatefulSet](all)
	if len(sets) != 1 || len(sets[0].Spec.Template.Spec.Containers) != 1 {
		t.Fatal("not one server with one container")
	}
	return sets[0], sets[0].Spec.Template.Spec.Containers[0]
}

// settings are the file of settings that the server is started with.
func settings(t *testing.T, all objects) map[string]any {
	t.Helper()
	set, c := server(t, all)
	if len(c.Args) != 2 || c.Args[0] != "serve" || c.Args[1] != "--config=/config/segue.yaml" {
		t.Fatalf("started as %v", c.Args)
	}
	maps := kinds[*corev1.ConfigMap](all)
	i := slices.IndexFunc(maps, func(m *corev1.ConfigMap) bool { return m.Name == set.Spec.Template.Spec.Volumes[0].ConfigMap.Name })
	if i < 0 {
		t.Fatal("the settings are nowhere")
	}
	var out map[string]any
	if err := yaml.UnmarshalStrict([]byte(maps[i].Data["segue.yaml"]), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestSettings: the files that settings name are on volumes, the ports are those of the container, and the pod is given time to
// drain and to end.
func TestSettings(t *testing.T) {
	each(t, func(t *testing.T, all objects) {
		set, c := server(t, all)
		s := settings(t, all)
		for name, value := range s {
			file, ok := value.(string)
			if ok && strings.HasPrefix(file, "/") && !mounted(c, file) {
				t.Errorf("%s: %s is below no mount", name, file)
			}
		}
		for name, port := range map[string]string{"listen": "grpc", "ops-listen": "ops"} {
			i := slices.IndexFunc(c.Ports, func(p corev1.ContainerPort) bool { return p.Name == port })
			if want := fmt.Sprintf("0.0.0.0:%d", c.Ports[i].ContainerPort); s[name] != want {
				t.Errorf("%s is %v, the port %s", name, s[name], want)
			}
		}
		shutdown, err := time.ParseDuration(s["shutdown-timeout"].(string))
		if err != nil {
			t.Fatal(err)
		}
		grace := time.Duration(*set.Spec.Template.Spec.TerminationGracePeriodSeconds) * time.Second
		drain := time.Duration(c.Lifecycle.PreStop.Sleep.Seconds) * time.Second
		if grace < drain+shutdown+20*time.Second {
			t.Errorf("%v to end: %v of draining, %v of calls under way, and the store", grace, drain, shutdown)
		}
		if insecure, _ := s["insecure"].(bool); !insecure && (s["tls-cert"] == nil || s["access-file"] == nil && s["jwt-issuer"] == nil) {
			t.Error("anybody may call")
		}
		if budget := c.StartupProbe.PeriodSeconds * c.StartupProbe.FailureThreshold; budget < 600 {
			t.Errorf("a store may take only %d s to load", budget)
		}
	})
}

// TestConfigRestarts: other settings make other pods, other secrets do not.
func TestConfigRestarts(t *testing.T) {
	sum := func(values string) string {
		set, _ := server(t, decode(t, mustRender(t, parse(t, values))))
		return set.Spec.Template.Annotations["checksum/config"]
	}
	base := sum("")
	if base == "" || base == sum("config: {max-streams: 9}") {
		t.Error("changed settings restart nothing")
	}
	if base != sum("replicaCount: 3") || base != sum("tls: {secretName: other}") {
		t.Error("what is no setting restarts the pods")
	}
}

// TestHTTPPort: the port of HTTP is open in the container, the service and the policy where the setting names it, and nowhere else.
func TestHTTPPort(t *testing.T) {
	seen := 0
	each(t, func(t *testing.T, all objects) {
		_, c := server(t, all)
		want := []string{}
		config := settings(t, all)
		if listen, ok := config["http-listen"].(string); ok {
			want, seen = append(want, listen[strings.LastIndex(listen, ":")+1:]), seen+1
		}
		container, service, policy := []string{}, []string{}, []string{}
		for _, p := range c.Ports {
			if p.Name == "http" {
				container = append(container, fmt.Sprint(p.ContainerPort))
			}
		}
		for _, p := range kinds[*corev1.Service](all)[0].Spec.Ports {
			if p.Name != "http" {
				continue
			}
			service = append(service, fmt.Sprint(p.Port))
			if _, encrypted := config["tls-cert"]; (*p.AppProtocol == "https") != encrypted {
				t.Errorf("the service says %s", *p.AppProtocol)
			}
		}
		if !slices.Equal(container, want) || !slices.Equal(service, want) {
			t.Errorf("container has %v, service %v, want %v", container, service, want)
		}
		for _, n := range kinds[*networkingv1.NetworkPolicy](all) {
			for _, rule := range n.Spec.Ingress {
				for _, p := range rule.Ports {
					if p.Port.String() == "http" {
						policy = append(policy, want...)
					}
				}
			}
			if !slices.Equal(policy, want) {
				t.Errorf("the policy has %d ports of HTTP, want %d", len(policy), len(want))
			}
		}
	})
	if seen == 0 {
		t.Error("no case sets http-listen")
	}
}

// TestSelectors: service, budget and policy mean the server's pods and no others, and jobs are let in.
func TestSelectors(t *testing.T) {
	each(t, func(t *testing.T, all objects) {
		set, c := server(t, all)
		selectors := map[string]map[string]string{"StatefulSet": set.Spec.Selector.MatchLabels}
		for _, s := range kinds[*corev1.Service](all) {
			selectors["Service"] = s.Spec.Selector
			if s.Name != set.Spec.ServiceName || s.Spec.ClusterIP != corev1.ClusterIPNone {
				t.Errorf("service %s is not the headless one of the server", s.Name)
			}
			for _, p := range s.Spec.Ports {
				if !slices.ContainsFunc(c.Ports, func(port corev1.ContainerPort) bool { return port.Name == p.TargetPort.String() }) {
					t.Errorf("service port %s leads to no port", p.Name)
				}
			}
			for _, m := range kinds[*monitoringv1.ServiceMonitor](all) {
				if !labels.SelectorFromSet(m.Spec.Selector.MatchLabels).Matches(labels.Set(s.Labels)) {
					t.Error("the monitor does not find the service")
				}
				if i := slices.IndexFunc(s.Spec.Ports, func(p corev1.ServicePort) bool { return p.Name == m.Spec.Endpoints[0].Port }); i < 0 || s.Spec.Ports[i].Name != "ops" {
					t.Error("the monitor reads no port of the service")
				}
				if s.Labels[m.Spec.JobLabel] != "segue" {
					t.Errorf("metrics get the job %q, which no alert rule knows", s.Labels[m.Spec.JobLabel])
				}
			}
		}
		for _, b := range kinds[*policyv1.PodDisruptionBudget](all) {
			selectors["PodDisruptionBudget"] = b.Spec.Selector.MatchLabels
		}
		for _, n := range kinds[*networkingv1.NetworkPolicy](all) {
			selectors["NetworkPolicy"] = n.Spec.PodSelector.MatchLabels
			if len(n.Spec.PolicyTypes) != 2 {
				t.Errorf("the policy is about %v only", n.Spec.PolicyTypes)
			}
			for _, rule := range n.Spec.Ingress {
				if len(rule.From) == 0 || len(rule.Ports) == 0 {
					t.Error("a rule lets everybody in, or everywhere")
				}
			}
		}
		for _, constraint := range set.Spec.Template.Spec.TopologySpreadConstraints {
			selectors["spread over "+constraint.TopologyKey] = constraint.LabelSelector.MatchLabels
		}
		for _, p := range pods(all) {
			for what, s := range selectors {
				isServer := strings.HasPrefix(p.name, "StatefulSet")
				if labels.SelectorFromSet(s).Matches(labels.Set(p.meta.Labels)) != isServer {
					t.Errorf("%s %v: matches %s: %v", what, s, p.name, !isServer)
				}
			}
			if !strings.HasPrefix(p.name, "StatefulSet") && p.meta.Labels["segue-client"] != "true" {
				t.Errorf("%s calls the server, and the policy does not let it in", p.name)
			}
		}
	})
}

// TestJobs: a job for each replica, each known by the run it belongs to, by variables that exist.
func TestJobs(t *testing.T) {
	each(t, func(t *testing.T, all objects) {
		set, _ := server(t, all)
		for _, c := range kinds[*batchv1.CronJob](all) {
			job := c.Spec.JobTemplate.Spec
			if *job.Completions != *set.Spec.Replicas || *job.CompletionMode != batchv1.IndexedCompletion || c.Spec.ConcurrencyPolicy != batchv1.ForbidConcurrent {
				t.Errorf("%s: %d completions for %d replicas, %s, %s", c.Name, *job.Completions, *set.Spec.Replicas, *job.CompletionMode, c.Spec.ConcurrencyPolicy)
			}
		}
		for _, p := range pods(all) {
			for _, c := range slices.Concat(p.spec.InitContainers, p.spec.Containers) {
				for _, arg := range c.Args {
					for _, rest := range strings.Split(arg, "$(")[1:] {
						name, _, _ := strings.Cut(rest, ")")
						i := slices.IndexFunc(c.Env, func(e corev1.EnvVar) bool { return e.Name == name })
						if i < 0 || c.Env[i].ValueFrom == nil {
							t.Errorf("%s: %s names a variable that nobody sets", p.name, arg)
						}
					}
				}
			}
		}
	})
}

// TestRules: the rules of the operator are those of deploy/prometheus.
func TestRules(t *testing.T) {
	found := 0
	each(t, func(t *testing.T, all objects) {
		for _, r := range kinds[*monitoringv1.PrometheusRule](all) {
			for _, g := range r.Spec.Groups {
				found += len(g.Rules)
			}
		}
		for _, m := range kinds[*corev1.ConfigMap](all) {
			for name, text := range m.Data {
				if path.Ext(name) == ".json" {
					found++
					if board := parse(t, text); len(board) == 0 {
						t.Error("the dashboard is empty")
					}
				}
			}
		}
	})
	if found < 6 {
		t.Errorf("only %d rules and dashboards", found)
	}
}
