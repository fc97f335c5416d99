// Package helm tests the chart in this folder: Helm renders it with several values, and
// a Kubernetes API server must accept the objects. The tests decode them strictly into
// the types of the API, and validate them with the server's own code. This is a module of
// its own, so that the exporter's module does not depend on that code.
package helm

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	releasev1 "helm.sh/helm/v4/pkg/release/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/validation/field"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/apis/apps"
	_ "k8s.io/kubernetes/pkg/apis/apps/install"
	appsvalidation "k8s.io/kubernetes/pkg/apis/apps/validation"
	"k8s.io/kubernetes/pkg/apis/batch"
	_ "k8s.io/kubernetes/pkg/apis/batch/install"
	batchvalidation "k8s.io/kubernetes/pkg/apis/batch/validation"
	"k8s.io/kubernetes/pkg/apis/core"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/kubernetes/pkg/apis/networking"
	_ "k8s.io/kubernetes/pkg/apis/networking/install"
	networkingvalidation "k8s.io/kubernetes/pkg/apis/networking/validation"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"

	"vbaws_exporter/internal/apptest"
	"vbaws_exporter/internal/config"
)

const (
	chartDir = "vbaws-exporter"
	// archive is an environment variable with the path of a packed chart, to test that
	// instead of the folder.
	archive   = "VBAWS_EXPORTER_CHART"
	release   = "backups"
	namespace = "monitoring"
	// kubernetes is the oldest supported version.
	kubernetes = "v1.27.0"
)

func TestMain(m *testing.M) { apptest.Main(m) }

func readValues(t *testing.T, path string) map[string]any {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return parseValues(t, string(data))
}

func parseValues(t *testing.T, text string) map[string]any {
	t.Helper()
	values := map[string]any{}
	if err := yaml.UnmarshalStrict([]byte(text), &values); err != nil {
		t.Fatal(err)
	}
	return values
}

// render renders the chart like helm template, and returns the documents.
func render(values map[string]any) (documents [][]byte, notes string, err error) {
	chart, err := loader.Load(cmp.Or(os.Getenv(archive), chartDir))
	if err != nil {
		return nil, "", err
	}
	install := action.NewInstall(&action.Configuration{})
	install.DryRunStrategy = action.DryRunClient
	install.KubeVersion, err = common.ParseKubeVersion(kubernetes)
	if err != nil {
		return nil, "", err
	}
	install.ReleaseName, install.Namespace = release, namespace
	result, err := install.Run(chart, values)
	if err != nil {
		return nil, "", err
	}
	r := result.(*releasev1.Release)
	text := r.Manifest
	for _, hook := range r.Hooks {
		text += "\n---\n" + hook.Manifest
	}
	reader := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text)))
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return documents, r.Info.Notes, nil
		}
		if err != nil {
			return nil, "", err
		}
		if len(bytes.TrimSpace(document)) > 0 {
			documents = append(documents, document)
		}
	}
}

// objects are the rendered objects, in the API's own types.
type objects struct {
	StatefulSets    map[string]*appsv1.StatefulSet
	Services        map[string]*corev1.Service
	ServiceAccounts map[string]*corev1.ServiceAccount
	ConfigMaps      map[string]*corev1.ConfigMap
	Pods            map[string]*corev1.Pod
	Jobs            map[string]*batchv1.Job
	Claims          map[string]*corev1.PersistentVolumeClaim
	NetworkPolicies map[string]*networkingv1.NetworkPolicy
	ServiceMonitors map[string]*monitoringv1.ServiceMonitor
	PrometheusRules map[string]*monitoringv1.PrometheusRule
}

// decode decodes documents strictly and validates them as an API server does.
func decode(t *testing.T, documents [][]byte) objects {
	t.Helper()
	o := objects{
		map[string]*appsv1.StatefulSet{}, map[string]*corev1.Service{}, map[string]*corev1.ServiceAccount{}, map[string]*corev1.ConfigMap{},
		map[string]*corev1.Pod{}, map[string]*batchv1.Job{}, map[string]*corev1.PersistentVolumeClaim{},
		map[string]*networkingv1.NetworkPolicy{}, map[string]*monitoringv1.ServiceMonitor{}, map[string]*monitoringv1.PrometheusRule{},
	}
	for _, document := range documents {
		var meta metav1.TypeMeta
		if err := yaml.Unmarshal(document, &meta); err != nil {
			t.Fatalf("%v\n%s", err, document)
		}
		var err error
		switch meta.APIVersion + " " + meta.Kind {
		case "apps/v1 StatefulSet":
			err = put(document, o.StatefulSets, validate)
		case "v1 Service":
			err = put(document, o.Services, validate)
		case "v1 ServiceAccount":
			err = put(document, o.ServiceAccounts, validate)
		case "v1 ConfigMap":
			err = put(document, o.ConfigMaps, validate)
		case "v1 Pod":
			err = put(document, o.Pods, validate)
		case "batch/v1 Job":
			err = put(document, o.Jobs, validate)
		case "v1 PersistentVolumeClaim":
			err = put(document, o.Claims, validate)
		case "networking.k8s.io/v1 NetworkPolicy":
			err = put(document, o.NetworkPolicies, validate)
		case "monitoring.coreos.com/v1 ServiceMonitor":
			err = put(document, o.ServiceMonitors, nil)
		case "monitoring.coreos.com/v1 PrometheusRule":
			err = put(document, o.PrometheusRules, nil)
		default:
			err = errors.New("of no expected kind")
		}
		if err != nil {
			t.Errorf("%v\n%s", err, document)
		}
	}
	return o
}

// put decodes a document strictly and puts it into a map by its name.
func put[T any, P interface {
	*T
	metav1.Object
}](document []byte, into map[string]P, validate func([]byte) error) error {
	object := P(new(T))
	if err := yaml.UnmarshalStrict(document, object); err != nil {
		return err
	}
	if into[object.GetName()] != nil {
		return fmt.Errorf("there is another %s", object.GetName())
	}
	into[object.GetName()] = object
	if got := object.GetLabels()["app.kubernetes.io/managed-by"]; got != "Helm" {
		return fmt.Errorf("is managed by %q", got)
	}
	if validate != nil {
		return validate(document)
	}
	return nil
}

var strict = serializer.NewCodecFactory(legacyscheme.Scheme, serializer.EnableStrict).UniversalDecoder()

// validate decodes a document with its defaults, and validates it, as an API server does.
func validate(document []byte) error {
	object, err := runtime.Decode(strict, document)
	if err != nil {
		return err
	}
	// The server takes the namespace from the request.
	accessor := object.(metav1.Object)
	accessor.SetNamespace(namespace)
	var wrong field.ErrorList
	switch object := object.(type) {
	case *apps.StatefulSet:
		wrong = appsvalidation.ValidateStatefulSet(object, appsvalidation.StatefulSetValidationOptions{}, corevalidation.PodValidationOptions{})
	case *core.Service:
		// The server does this to old clients' services before it validates them.
		object.Spec.ClusterIPs = []string{object.Spec.ClusterIP}
		wrong = corevalidation.ValidateServiceCreate(object)
	case *core.ServiceAccount:
		wrong = corevalidation.ValidateServiceAccount(object)
	case *core.ConfigMap:
		wrong = corevalidation.ValidateConfigMap(object)
	case *core.Pod:
		wrong = corevalidation.ValidatePodCreate(object, corevalidation.PodValidationOptions{})
	case *core.PersistentVolumeClaim:
		wrong = corevalidation.ValidatePersistentVolumeClaim(object, corevalidation.PersistentVolumeClaimSpecValidationOptions{})
	case *batch.Job:
		wrong = validateJob(object)
	case *networking.NetworkPolicy:
		wrong = networkingvalidation.ValidateNetworkPolicy(object, networkingvalidation.NetworkPolicyValidationOptions{})
	default:
		return fmt.Errorf("nothing validates a %T", object)
	}
	return wrong.ToAggregate()
}

// validateJob validates a job after adding the labels that the server adds.
func validateJob(job *batch.Job) field.ErrorList {
	const uid = "e9b4a5a6-6c1d-4a55-9d3e-0c2e7f2a1b3c"
	job.UID = uid
	own := map[string]string{batch.ControllerUidLabel: uid, batch.JobNameLabel: job.Name, batch.LegacyControllerUidLabel: uid, batch.LegacyJobNameLabel: job.Name}
	maps.Copy(own, job.Spec.Template.Labels)
	job.Spec.Template.Labels = own
	job.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{batch.ControllerUidLabel: uid}}
	return batchvalidation.ValidateJobCreate(job, batchvalidation.JobValidationOptions{RequirePrefixedLabels: true})
}

// restricted checks a pod against the strictest of the Pod Security Standards.
func restricted(t *testing.T, name string, meta *metav1.ObjectMeta, spec *corev1.PodSpec) {
	t.Helper()
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range evaluator.EvaluatePod(api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}, meta, spec) {
		if !r.Allowed {
			t.Errorf("%s: %s: %s", name, r.ForbiddenReason, r.ForbiddenDetail)
		}
	}
	if spec.AutomountServiceAccountToken == nil || *spec.AutomountServiceAccountToken {
		t.Errorf("%s mounts a token of its service account", name)
	}
	for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
		if s := c.SecurityContext; s == nil || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem {
			t.Errorf("%s: container %s can write to its root file system", name, c.Name)
		}
	}
}

func TestRendered(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(paths) < 3 {
		t.Fatal(paths, err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".yaml"), func(t *testing.T) {
			values := readValues(t, path)
			documents, notes, err := render(values)
			if err != nil {
				t.Fatal(err)
			}
			o := decode(t, documents)
			for _, s := range o.StatefulSets {
				if *s.Spec.Replicas > 0 && !strings.Contains(notes, s.Name+"-0 10105") {
					t.Errorf("the notes say %q", notes)
				}
			}
			for name := range o.StatefulSets {
				checkExporter(t, &o, name)
			}
			if want := exporters(values); !slices.Equal(want, suffixes(t, &o)) {
				t.Errorf("exporters %v, want %v", suffixes(t, &o), want)
			}
			for name, pod := range o.Pods {
				restricted(t, name, &pod.ObjectMeta, &pod.Spec)
			}
			for name, job := range o.Jobs {
				restricted(t, name, &job.Spec.Template.ObjectMeta, &job.Spec.Template.Spec)
			}
			for name, monitor := range o.ServiceMonitors {
				checkMonitor(t, &o, name, monitor)
			}
		})
	}
}

// exporters returns the names of the exporters in values.
func exporters(values map[string]any) []string {
	var names []string
	for name, e := range values["exporters"].(map[string]any) {
		if e != nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// suffixes returns the names of the exporters in the objects.
func suffixes(t *testing.T, o *objects) []string {
	t.Helper()
	var names []string
	for name, s := range o.StatefulSets {
		suffix, ok := strings.CutPrefix(name, s.Spec.ServiceName+"-")
		if !ok {
			t.Errorf("%s does not begin with the name of the service %s", name, s.Spec.ServiceName)
		}
		names = append(names, suffix)
	}
	slices.Sort(names)
	return names
}

// checkExporter checks that the objects of an exporter fit together.
func checkExporter(t *testing.T, o *objects, name string) {
	t.Helper()
	s := o.StatefulSets[name]
	pod := &s.Spec.Template.Spec
	restricted(t, name, &s.Spec.Template.ObjectMeta, pod)
	if *s.Spec.Replicas > 1 {
		t.Errorf("%s: %d pods would poll the same appliances", name, *s.Spec.Replicas)
	}
	if r := s.Spec.PersistentVolumeClaimRetentionPolicy; r.WhenDeleted != appsv1.RetainPersistentVolumeClaimRetentionPolicyType || r.WhenScaled != r.WhenDeleted {
		t.Errorf("%s: its volume can be deleted: %v", name, r)
	}
	// The selector of an exporter selects its own pods only.
	for other, o := range o.StatefulSets {
		selector, err := metav1.LabelSelectorAsSelector(s.Spec.Selector)
		if err != nil {
			t.Fatal(err)
		}
		if got := selector.Matches(labels.Set(o.Spec.Template.Labels)); got != (name == other) {
			t.Errorf("%s selects pods of %s: %v", name, other, got)
		}
	}
	service := o.Services[s.Spec.ServiceName]
	if service == nil || service.Spec.ClusterIP != corev1.ClusterIPNone || !selects(service.Spec.Selector, s.Spec.Template.Labels) {
		t.Errorf("%s: its service is %v", name, service)
	}
	if a := pod.ServiceAccountName; a != "default" && o.ServiceAccounts[a] == nil {
		t.Errorf("%s: there is no account %s", name, a)
	}

	c := &pod.Containers[0]
	if !slices.Contains(c.Args, "--storage.path=/data") || c.Args[0] != "serve" {
		t.Errorf("%s: arguments %v", name, c.Args)
	}
	for _, probe := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe} {
		authenticated := slices.ContainsFunc(pod.Volumes, func(v corev1.Volume) bool { return v.Name == "web" })
		switch {
		case authenticated && (probe.Exec == nil || !slices.Equal(probe.Exec.Command, []string{"/bin/vbaws_exporter", "healthcheck"})):
			t.Errorf("%s: with authentication, the probe is %v", name, probe)
		case !authenticated && (probe.HTTPGet == nil || !strings.HasPrefix(probe.HTTPGet.Path, "/-/") || probe.HTTPGet.Port.String() != c.Ports[0].Name):
			t.Errorf("%s: probe %v", name, probe)
		}
	}
	mounts := map[string]string{}
	for _, m := range c.VolumeMounts {
		mounts[m.MountPath] = m.Name
		if m.ReadOnly == (m.Name == "data") {
			t.Errorf("%s: %s is read-only: %v", name, m.MountPath, m.ReadOnly)
		}
	}
	if len(s.Spec.VolumeClaimTemplates) != 1 || mounts["/data"] != s.Spec.VolumeClaimTemplates[0].Name {
		t.Errorf("%s: no volume of its own at /data: %v", name, mounts)
	}

	if *s.Spec.Replicas == 0 {
		return
	}
	// The exporter's own code reads the configuration.
	configMap := o.ConfigMaps[name]
	if configMap == nil || mounts["/config"] != "config" || pod.Volumes[0].ConfigMap.Name != name {
		t.Fatalf("%s: no configuration is mounted", name)
	}
	dir := t.TempDir()
	for file, text := range configMap.Data {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := config.Load(filepath.Join(dir, "config.yml"))
	if err != nil {
		t.Errorf("%s: %v\n%s", name, err, configMap.Data["config.yml"])
		return
	}
	network := o.NetworkPolicies[name]
	for _, a := range cfg.Appliances {
		// Each password is in a Secret that is mounted.
		at := slices.IndexFunc(slices.Collect(maps.Keys(mounts)), func(path string) bool {
			return strings.HasPrefix(path, "/secrets/") && strings.Contains(configMap.Data["config.yml"], "password_file: "+path+"/"+a.Name)
		})
		if at < 0 {
			t.Errorf("%s: the password of %s is not mounted: %v", name, a.Name, mounts)
		}
	}
	if network != nil && !selects(network.Spec.PodSelector.MatchLabels, s.Spec.Template.Labels) {
		t.Errorf("%s: its network policy is for %v", name, network.Spec.PodSelector)
	}
}

func selects(selector, of map[string]string) bool {
	return len(selector) > 0 && labels.SelectorFromSet(selector).Matches(labels.Set(of))
}

func checkMonitor(t *testing.T, o *objects, name string, m *monitoringv1.ServiceMonitor) {
	t.Helper()
	var found int
	for _, service := range o.Services {
		if selects(m.Spec.Selector.MatchLabels, service.Labels) {
			found++
			if m.Spec.Endpoints[0].Port != service.Spec.Ports[0].Name {
				t.Errorf("%s: there is no port %s", name, m.Spec.Endpoints[0].Port)
			}
		}
	}
	if found != 1 || !slices.Equal(m.Spec.NamespaceSelector.MatchNames, []string{namespace}) {
		t.Errorf("%s selects %d services", name, found)
	}
	var job, instance, endpoint bool
	for _, r := range m.Spec.Endpoints[0].RelabelConfigs {
		job = job || r.TargetLabel == "job" && *r.Replacement == "vbaws"
		instance = instance || r.TargetLabel == "instance" && slices.Equal(r.SourceLabels, []monitoringv1.LabelName{"__meta_kubernetes_pod_name"})
		// The operator adds a label of that name, which would rename the exporter's.
		endpoint = endpoint || r.Action == "labeldrop" && r.Regex == "endpoint"
	}
	if !job || !instance || !endpoint {
		t.Errorf("%s: relabelling %v", name, m.Spec.Endpoints[0].RelabelConfigs)
	}
}

// TestSettings checks the objects for values of all kinds.
func TestSettings(t *testing.T) {
	documents, _, err := render(readValues(t, "testdata/full.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	o := decode(t, documents)
	var eu, us map[string]any
	for name, into := range map[string]*map[string]any{"vbaws-eu": &eu, "vbaws-us": &us} {
		if err := yaml.Unmarshal([]byte(o.ConfigMaps[name].Data["config.yml"]), into); err != nil {
			t.Fatal(err)
		}
	}
	if eu["poll_interval"] != "30s" || us["poll_interval"] != "5m" || us["backfill"] != "7d" || us["watermark"] != "from_utc" || eu["watermark"] != nil {
		t.Errorf("settings of eu and us: %v, %v", eu, us)
	}
	if *o.StatefulSets["vbaws-eu"].Spec.Replicas != 1 || *o.StatefulSets["vbaws-us"].Spec.Replicas != 0 {
		t.Error("the wrong exporter is stopped")
	}
	for name, want := range map[string][]string{"vbaws-eu": {"11005", "3128", "443"}, "vbaws-us": {"11005"}} {
		var got []string
		for _, p := range o.NetworkPolicies[name].Spec.Egress[1].Ports {
			got = append(got, p.Port.String())
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s can reach ports %v, want %v", name, got, want)
		}
	}
	image := o.StatefulSets["vbaws-eu"].Spec.Template.Spec.Containers[0].Image
	if !strings.HasPrefix(image, "registry.example.com/monitoring/vbaws_exporter@sha256:") {
		t.Errorf("image %s", image)
	}
	if args := o.Pods["vbaws-test"].Spec.Containers[0].Args; !slices.Equal(args, []string{"healthcheck", "--web.listen-address=vbaws-eu-0.vbaws.monitoring.svc:10105"}) {
		t.Errorf("the test asks %v", args)
	}
	m := o.ServiceMonitors["vbaws"]
	if m.Labels["release"] != "prometheus" || m.Spec.ScrapeNativeHistograms == nil || !*m.Spec.ScrapeNativeHistograms || !*m.Spec.ScrapeClassicHistograms {
		t.Errorf("service monitor %v", m)
	}

	// A setting of one exporter can be 0 or empty.
	documents, _, err = render(parseValues(t, `
settings: {backfill: 7d, new_series_hold: 2m, types: {exclude: [Task]}}
networkPolicy: {enabled: true, dnsPorts: []}
exporters:
  main: {settings: {backfill: 0, types: {exclude: []}}, appliances: [{name: a, url: 'https://a:11005', username: u, password_file: /secrets/s/a}]}
  '123456789012': {appliances: [{name: b, url: 'https://b:11005', username: u, password_file: /secrets/s/b}]}
`))
	if err != nil {
		t.Fatal(err)
	}
	own := decode(t, documents)
	var main map[string]any
	if err := yaml.Unmarshal([]byte(own.ConfigMaps[release+"-vbaws-exporter-main"].Data["config.yml"]), &main); err != nil {
		t.Fatal(err)
	}
	if main["backfill"] != 0.0 || main["new_series_hold"] != "2m" || len(main["types"].(map[string]any)["exclude"].([]any)) != 0 {
		t.Errorf("settings of its own: %v", main)
	}
	if own.StatefulSets[release+"-vbaws-exporter-123456789012"] == nil {
		t.Error("the name of an exporter became a number")
	}
	for name, p := range own.NetworkPolicies {
		for _, rule := range p.Spec.Egress {
			if len(rule.Ports) == 0 {
				t.Errorf("%s can reach all ports", name)
			}
		}
	}

	// A pod is replaced when its configuration changes, and only then.
	values := readValues(t, "testdata/full.yaml")
	values["exporters"].(map[string]any)["us"].(map[string]any)["settings"].(map[string]any)["poll_interval"] = "6m"
	documents, _, err = render(values)
	if err != nil {
		t.Fatal(err)
	}
	changed := decode(t, documents)
	for name, want := range map[string]bool{"vbaws-eu": false, "vbaws-us": true} {
		a, b := o.StatefulSets[name].Spec.Template.Annotations, changed.StatefulSets[name].Spec.Template.Annotations
		if got := a["checksum/config"] != b["checksum/config"]; got != want || a["checksum/config"] == "" {
			t.Errorf("%s is replaced: %v", name, got)
		}
	}
}

// TestMove: the job reads and writes the volumes of the exporters, and no exporter selects
// its pod.
func TestMove(t *testing.T) {
	documents, _, err := render(readValues(t, "testdata/move.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	o := decode(t, documents)
	const fullname = release + "-vbaws-exporter"
	job := o.Jobs[fullname+"-move"]
	if job == nil {
		t.Fatal("no job")
	}
	claims := map[string]string{}
	for _, v := range job.Spec.Template.Spec.Volumes {
		if v.PersistentVolumeClaim != nil {
			claims[v.Name] = v.PersistentVolumeClaim.ClaimName
		}
	}
	claim := o.Claims["data-"+fullname+"-world-0"]
	if want := map[string]string{"from": "data-" + fullname + "-eu-0", "to": "data-" + fullname + "-world-0"}; !maps.Equal(claims, want) || claim == nil {
		t.Errorf("volumes %v, want %v; claim %v", claims, want, claim)
	}
	world := o.StatefulSets[fullname+"-world"]
	if diff := gocmp.Diff(world.Spec.VolumeClaimTemplates[0].Spec, claim.Spec); diff != "" {
		t.Errorf("the claim differs from the StatefulSet's: %s", diff)
	}
	for name, s := range o.StatefulSets {
		if selects(s.Spec.Selector.MatchLabels, job.Spec.Template.Labels) || *s.Spec.Replicas != 0 {
			t.Errorf("%s selects the job's pod, or runs", name)
		}
	}
}

// TestArguments runs the exporter with the arguments of the containers. Its status shows
// that it accepts the flags, and that a file is missing.
func TestArguments(t *testing.T) {
	var tried int
	for _, file := range []string{"testdata/full.yaml", "testdata/move.yaml", "testdata/tls.yaml"} {
		documents, _, err := render(readValues(t, file))
		if err != nil {
			t.Fatal(err)
		}
		o := decode(t, documents)
		var containers []corev1.Container
		for _, s := range o.StatefulSets {
			containers = append(containers, s.Spec.Template.Spec.Containers...)
		}
		for _, j := range o.Jobs {
			containers = append(containers, slices.Concat(j.Spec.Template.Spec.InitContainers, j.Spec.Template.Spec.Containers)...)
		}
		for _, p := range o.Pods {
			containers = append(containers, p.Spec.Containers...)
		}
		for _, c := range containers {
			// The image's entrypoint has this flag too. The file does not exist, and all
			// other paths are in the test's folder.
			args := []string{"--config.file=" + filepath.Join(t.TempDir(), "config.yml")}
			for _, a := range c.Args {
				args = append(args, strings.NewReplacer("=/", "="+t.TempDir()+"/").Replace(a))
			}
			if status, stdout, stderr := apptest.Once(t, args...); status != 1 {
				t.Errorf("%s: status %d: %s%s", args, status, stdout, stderr)
			}
			tried++
		}
	}
	if tried < 7 {
		t.Errorf("found only %d containers", tried)
	}
}

// TestFiles compares the rules and dashboards that the chart renders with those of the
// repository, to which the chart has links.
func TestFiles(t *testing.T) {
	documents, _, err := render(readValues(t, "testdata/full.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	o := decode(t, documents)
	linked := func(source, link string) []byte {
		t.Helper()
		want, err := os.ReadFile(filepath.Join("..", "..", source))
		if err != nil {
			t.Fatal(err)
		}
		link = filepath.Join(chartDir, "files", link)
		target, err := os.Readlink(link)
		if err != nil || filepath.Join(filepath.Dir(link), target) != filepath.Join("..", "..", source) {
			t.Errorf("%s does not link to %s: %q, %v", link, source, target, err)
		}
		return want
	}
	for _, name := range []string{"alerts", "rules"} {
		source := linked("prometheus/"+name+".yml", name+".yml")
		var want monitoringv1.PrometheusRuleSpec
		text := strings.ReplaceAll(string(source), "runbook_url: docs/", "runbook_url: https://git.example.com/vbaws_exporter/blob/main/docs/")
		if err := yaml.UnmarshalStrict([]byte(text), &want); err != nil {
			t.Fatal(err)
		}
		if name == "alerts" && (len(want.Groups) == 0 || text == string(source)) {
			t.Error("no alerts, or none with a runbook")
		}
		rule := o.PrometheusRules["vbaws-"+name]
		if rule == nil || rule.Labels["release"] != "prometheus" {
			t.Fatalf("no PrometheusRule of %s", name)
		}
		if diff := gocmp.Diff(want, rule.Spec); diff != "" {
			t.Error(diff)
		}
	}
	paths, err := filepath.Glob("../../grafana/vbaws-*.json")
	if err != nil || len(paths) == 0 {
		t.Fatal(paths, err)
	}
	for _, path := range paths {
		file := filepath.Base(path)
		source := linked("grafana/"+file, "dashboards/"+file)
		name := "vbaws-" + strings.TrimSuffix(strings.TrimPrefix(file, "vbaws-"), ".json") + "-dashboard"
		c := o.ConfigMaps[name]
		if c == nil || c.Data[file] != string(source) || !json.Valid([]byte(c.Data[file])) || c.Labels["grafana_dashboard"] != "1" {
			t.Errorf("%s differs from %s", name, file)
		}
	}
	links, err := filepath.Glob(chartDir + "/files/dashboards/*")
	if err != nil || len(links) != len(paths) {
		t.Errorf("the chart has %v, want links to %v", links, paths)
	}
}

// TestPackage compares the objects that Helm renders from the folder, in which files are
// links, with those from the archive that helm package makes of it.
func TestPackage(t *testing.T) {
	values := readValues(t, "testdata/full.yaml")
	want, _, err := render(values)
	if err != nil {
		t.Fatal(err)
	}
	pack := action.NewPackage()
	pack.Destination = t.TempDir()
	path, err := pack.Run(chartDir, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv(archive, path)
	got, _, err := render(values)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(want, got); diff != "" || len(want) == 0 {
		t.Error(diff)
	}
}

// TestExtra checks the values that add to the pods and the manifests.
func TestExtra(t *testing.T) {
	documents, _, err := render(readValues(t, "testdata/full.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	o := decode(t, documents)
	pod := o.StatefulSets["vbaws-eu"].Spec.Template.Spec
	if env := pod.Containers[0].Env; len(env) != 1 || env[0].Name != "HTTPS_PROXY" || env[0].Value != "http://proxy.example.com:3128" {
		t.Errorf("environment %v", env)
	}
	if v := pod.Volumes[len(pod.Volumes)-1]; v.Name != "certificates" || v.ConfigMap == nil || v.ConfigMap.Name != "company-certificates" {
		t.Errorf("volume %v", v)
	}
	if m := pod.Containers[0].VolumeMounts; m[len(m)-1].Name != "certificates" || m[len(m)-1].MountPath != "/etc/ssl/certs" {
		t.Errorf("mounts %v", m)
	}
	for _, name := range []string{"backups-object", "backups-text"} {
		if c := o.ConfigMaps[name]; c == nil || c.Data["namespace"] != namespace {
			t.Errorf("%s is %v", name, c)
		}
	}
}

func TestLint(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(paths) == 0 {
		t.Fatal(err)
	}
	for _, path := range paths {
		lint := action.NewLint()
		lint.Strict, lint.Namespace = true, namespace
		if lint.KubeVersion, err = common.ParseKubeVersion(kubernetes); err != nil {
			t.Fatal(err)
		}
		result := lint.Run([]string{chartDir}, readValues(t, path))
		for _, err := range result.Errors {
			t.Errorf("%s: %v", path, err)
		}
		for _, m := range result.Messages {
			if m.Severity > support.InfoSev {
				t.Errorf("%s: %s", path, m)
			}
		}
		if result.TotalChartsLinted != 1 {
			t.Errorf("%s: %d charts", path, result.TotalChartsLinted)
		}
	}
}

// TestRefused: the chart refuses wrong values with a message.
func TestRefused(t *testing.T) {
	const appliance = "{name: a, url: 'https://a:11005', username: u, password_file: /secrets/s/a}"
	const good = "exporters: {main: {appliances: [" + appliance + "]}}\n"
	if _, _, err := render(parseValues(t, good)); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ values, want string }{
		{"{}", "exporters.main.appliances is empty"},
		{"exporters: {main: null}", "minProperties: got 0, want 1"},
		{"exporters: {x: {appliances: [" + appliance + "]}}", "exporters.main.appliances is empty"},
		{"exporters: {main: {appliances: [" + appliance + "]}, x: {appliances: [" + appliance + "]}}", `appliance "a" is in exporters.main and in exporters.x`},
		{"exporters: {main: {appliances: [{name: a, url: 'https://a', username: u, password: hunter2}]}}", "'not' failed"},
		{"exporters: {main: {appliances: [{name: a, url: a, username: u}]}}", "does not match pattern"},
		{"exporters: {Main: {appliances: [" + appliance + "]}}", "Main"},
		{"exporters: {main: {running: false, appliances: []}}\nmove: {appliance: a, from: main, to: x}", `there is no exporter "x"`},
		{good + "move: {appliance: a, from: main, to: main}", "set exporters.main.running to false"},
		{"exporters: {main: {running: false, appliances: []}}\nmove: {appliance: a, from: main, to: main}", `appliance "a" is not in exporters.main`},
		{good + "polling: 1m", "polling"},
		{good + "fullnameOverride: '123'", "fullnameOverride"},
		{"exporters: {main: null, eu-central-north-1: {appliances: [" + appliance + "]}}\nfullnameOverride: monitoring-production-veeam-backup", "longer than the 52 characters"},
		{good + "persistence: {accessModes: [ReadWriteMany]}", "accessModes"},
		{good + "args: [--storage.path=/tmp]", "args"},
		{good + "extraVolumes: [{name: data, emptyDir: {}}]", "extraVolumes"},
		{good + "extraVolumeMounts: [{name: x, mountPath: /data/x}]", "extraVolumeMounts"},
		{good + "extraEnv: [{value: x}]", "extraEnv"},
		{good + "files: {config.yml: x}", "invalid propertyName 'config.yml'"},
		{good + "serviceMonitor: {endpoint: {scheme: https}}", "endpoint"},
	} {
		if _, _, err := render(parseValues(t, test.values)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %s", test.values, err, test.want)
		}
	}
}
