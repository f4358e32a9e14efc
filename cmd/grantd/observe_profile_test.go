package main

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/grantd/grantd/storage/redisstore/redistest"
)

// observeDir has the files that the profile "observe" of the compose file
// mounts.
const observeDir = "../../.observe"

// The services of the profile can be reached from this machine only, and have
// no more rights than the others.
func TestComposeObserves(t *testing.T) {
	all := readCompose(t).Services
	for _, name := range []string{"prometheus", "grafana"} {
		s := all[name]
		if !slices.Equal(s.Profiles, []string{"observe"}) {
			t.Errorf("%s is in the profiles %q", name, s.Profiles)
		}
		if !regexp.MustCompile(`:v?\d+\.\d+\.\d+$`).MatchString(s.Image) {
			t.Errorf("%s isn't pinned: %s", name, s.Image)
		}
		if len(s.Ports) != 1 || !strings.HasPrefix(s.Ports[0], "127.0.0.1:") {
			t.Errorf("%s is published on %q", name, s.Ports)
		}
		if len(s.Networks) != 1 || !slices.Contains(slices.Collect(maps.Keys(s.Networks)), "outside") {
			t.Errorf("%s is in the networks %v, and needs no Redis", name, s.Networks)
		}
		mounted := 0
		for _, v := range s.Volumes {
			from, rest, _ := strings.Cut(v, ":")
			if !strings.Contains(from, "/") {
				continue // a volume of its own
			}
			mounted++
			if _, err := os.Stat(from); err != nil || !strings.HasSuffix(rest, ":ro") {
				t.Errorf("%s mounts %s: %v", name, v, err)
			}
		}
		if mounted != 2 {
			t.Errorf("%s mounts %q", name, s.Volumes)
		}
	}
	grafana := all["grafana"].Environment
	if grafana["GF_AUTH_ANONYMOUS_ORG_ROLE"] != "Viewer" || grafana["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] != "true" || grafana["GF_AUTH_BASIC_ENABLED"] != "false" {
		t.Errorf("whoever reaches Grafana may do more than look: %v", grafana)
	}

	var prometheus struct {
		Jobs []struct {
			Name   string `yaml:"job_name"`
			Static []struct {
				Targets []string `yaml:"targets"`
			} `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
	}
	readObserved(t, "prometheus.yml", &prometheus)
	want := []string{"authserver" + all["authserver"].Environment["GRANTD_ADDR"], "resource" + all["resource"].Environment["GRANTD_RESOURCE_ADDR"]}
	if got := prometheus.Jobs[0]; got.Name != "grantd" || !slices.Equal(got.Static[0].Targets, want) {
		t.Errorf("Prometheus scrapes %+v, want %q", got, want)
	}
}

func readObserved(t *testing.T, name string, into any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(observeDir, name))
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, into); err != nil {
		t.Fatal(err)
	}
}

// alerts are the expressions of the rules, by name.
func alerts(t *testing.T) map[string]string {
	t.Helper()
	var file struct {
		Groups []struct {
			Rules []struct {
				Alert string `yaml:"alert"`
				Expr  string `yaml:"expr"`
			} `yaml:"rules"`
		} `yaml:"groups"`
	}
	readObserved(t, "alerts.yml", &file)
	found := map[string]string{}
	for _, r := range file.Groups[0].Rules {
		found[r.Alert] = r.Expr
	}
	return found
}

// panels are the expressions of the dashboard, by the panel's title.
func panels(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(observeDir, "grafana/dashboards/grantd.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		UID    string `json:"uid"`
		Panels []struct {
			ID      int    `json:"id"`
			Title   string `json:"title"`
			Targets []struct {
				Expr string `json:"expr"`
			} `json:"targets"`
		} `json:"panels"`
	}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	found, ids := map[string]string{}, map[int]bool{}
	for _, p := range file.Panels {
		if ids[p.ID] {
			t.Errorf("two panels have the id %d", p.ID)
		}
		ids[p.ID] = true
		for i, target := range p.Targets {
			found[fmt.Sprint(p.Title, " ", i)] = target.Expr
		}
	}
	return found
}

var (
	metricNamed   = regexp.MustCompile(`\b((?:grantd|go|process)_[a-z_]+)(?:\{([^}]*)\})?`)
	labelMatched  = regexp.MustCompile(`([a-z_]+)(=~|!=|=)"([^"]*)"`)
	labelsGrouped = regexp.MustCompile(`by \(([a-z_, ]+)\)`)
)

// Every metric, label and value in the rules and the dashboard is in the
// metrics of a server that has done everything once.
func TestObservedMetricsExist(t *testing.T) {
	server := redistest.Single(t)
	g := startDev(t, "--redis", server.URL())
	exercise(t, g.URL)
	scrapeUntil(t, g.URL, "grantd_audit_events_written_total", 1)
	server.Kill()
	postForm(t, g.URL+"/token", "demo", "demo-secret", url.Values{"grant_type": {"client_credentials"}})
	time.Sleep(checkLife) // for so long a ping counts
	get(t, g.URL+"/readyz")
	there := scrape(t, g.URL)
	maps.Copy(there, secureSeries(t))

	expressions := panels(t)
	maps.Copy(expressions, alerts(t))
	used := map[string]bool{}
	for where, expr := range expressions {
		for _, m := range metricNamed.FindAllStringSubmatch(expr, -1) {
			used[m[1]] = true
			labels := strings.Split(strings.Join(grouped(expr), ","), ",")
			for _, l := range labelMatched.FindAllStringSubmatch(m[2], -1) {
				if l[2] == "=" {
					labels = append(labels, l[1]+`="`+l[3]+`"`)
				} else {
					labels = append(labels, l[1])
				}
			}
			if !there.has(m[1], labels) {
				t.Errorf("%s: there is no %s with %q", where, m[1], labels)
			}
		}
	}
	for name := range there {
		name, _, _ := strings.Cut(name, "{")
		base := regexp.MustCompile(`_(sum|count|bucket)$`).ReplaceAllString(name, "")
		shown := used[name] || used[base+"_bucket"] || used[base+"_count"]
		if strings.HasPrefix(name, "grantd_") && !shown {
			t.Errorf("nobody looks at %s", name)
		}
	}
}

// secureSeries has the metric of a server with TLS that tells when its
// certificate ends.
func secureSeries(t *testing.T) series {
	cert, key, pool := certificate(t)
	g := launch{args: []string{"serve"}, dir: t.TempDir(), env: append([]string{
		"GRANTD_DATA=grantd.db", "GRANTD_TLS_CERT=" + cert, "GRANTD_TLS_KEY=" + key}, serveEnv...)}.start(t)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	defer client.CloseIdleConnections()
	response, err := client.Get(strings.Replace(g.URL, "http:", "https:", 1) + metricsPath)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	const name = "grantd_tls_certificate_not_after_seconds"
	end := readSeries(t, string(text))[name]
	if ahead := time.Until(time.Unix(int64(end), 0)); ahead < 50*time.Minute || ahead > time.Hour {
		t.Errorf("the certificate ends in %v, want an hour", ahead)
	}
	return series{name: end}
}

// grouped are the labels that the expression groups by.
func grouped(expr string) (labels []string) {
	for _, m := range labelsGrouped.FindAllStringSubmatch(expr, -1) {
		labels = append(labels, strings.ReplaceAll(m[1], " ", ""))
	}
	return labels
}

// has reports whether there is a series of that metric with all the labels; a
// label is a name, or a name with a value. Prometheus itself adds job and
// instance.
func (s series) has(metric string, labels []string) bool {
	for name := range s {
		found, of, _ := strings.Cut(name, "{")
		if found != metric {
			continue
		}
		if !slices.ContainsFunc(labels, func(l string) bool {
			key, _, valued := strings.Cut(l, "=")
			known := key == "" || key == "job" || key == "instance"
			return !known && (valued && !strings.Contains(of, l) || !valued && !strings.Contains(of, l+`="`))
		}) {
			return true
		}
	}
	return false
}

// promtool runs the tool that comes with Prometheus.
func promtool(t *testing.T, stdin string, args ...string) {
	t.Helper()
	redistest.Need(t, "promtool")
	cmd := exec.CommandContext(t.Context(), "promtool", args...)
	cmd.Dir = observeDir
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %q: %v\n%s", args, err, out)
	}
}

func TestAlertRules(t *testing.T) {
	promtool(t, "", "check", "config", "--syntax-only", "prometheus.yml")
	promtool(t, "", "check", "rules", "alerts.yml")
	promtool(t, "", "test", "rules", "alerts_test.yml")

	var file struct {
		Tests []struct {
			Rules []struct {
				Alert string `yaml:"alertname"`
				Want  []any  `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		} `yaml:"tests"`
	}
	readObserved(t, "alerts_test.yml", &file)
	fires := map[string]bool{}
	for _, test := range file.Tests {
		for _, r := range test.Rules {
			fires[r.Alert] = fires[r.Alert] || len(r.Want) > 0
		}
	}
	for name := range alerts(t) {
		if !fires[name] {
			t.Errorf("no test shows that %s fires", name)
		}
	}
}

// Prometheus's own tool checks the names of the metrics.
func TestMetricsAreNamedWell(t *testing.T) {
	g := startDev(t, "--memory")
	exercise(t, g.URL)
	_, text := get(t, g.URL+metricsPath)
	promtool(t, text, "check", "metrics")
}
