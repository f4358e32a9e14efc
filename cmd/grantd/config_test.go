package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var equalSecrets = cmp.Comparer(func(a, b Secret) bool { return a.Reveal() == b.Reveal() })

// secret32 has the shortest length that a deployment secret may have.
const secret32 = "0123456789abcdef0123456789abcdef"

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// loaded loads and checks a configuration as serve does.
func loaded(l layers) (config, map[string]string) {
	f := &faults{}
	c := l.load(f)
	c.check(f, "addr", c.Addr)
	found := map[string]string{}
	for _, one := range f.all {
		found[one.key] += one.text
	}
	return c, found
}

const goodYAML = `
issuer: https://login.example.com
addr: 127.0.0.1:8080
data: /var/lib/grantd/grantd.db
secret: ` + secret32 + "\n"

func TestGoodFileIsLoadedOverTheDefaults(t *testing.T) {
	path := writeFile(t, "grantd.yaml", `
issuer: https://login.example.com/tenant
resource: https://api.example.com
addr: 127.0.0.1:9000
admin_addr: 127.0.0.1:9002
metrics_addr: 127.0.0.1:9003
resource_addr: 127.0.0.1:9001
redis:
  url: redis+cluster://a:1,b:2
  password: hunter2
  wait_replicas: 2
secret: `+secret32+`
profile: strict
scopes: [read, photos]
default_scopes: [photos]
access_lifetime: 15m
refresh_idle: 24h
refresh_absolute: 48h
retry_window: 0s
trusted_proxies: [10.0.0.0/8, 192.168.1.1]
log: {level: warn, format: text}
password_hash: {memory: 47104, time: 1, threads: 1, slots: 4, queue: 16}
password_min_length: 15
audit_retention: 2160h
audit_events: 5000
shutdown_delay: 5s
shutdown_timeout: 30s
admin_password: first-admin-password
`)
	want := config{
		Issuer:          "https://login.example.com/tenant",
		Resource:        "https://api.example.com",
		Addr:            "127.0.0.1:9000",
		AdminAddr:       "127.0.0.1:9002",
		MetricsAddr:     "127.0.0.1:9003",
		ResourceAddr:    "127.0.0.1:9001",
		Profile:         "strict",
		Redis:           redisConfig{URL: "redis+cluster://a:1,b:2", Password: newSecret("hunter2"), WaitReplicas: 2},
		Secret:          newSecret(secret32),
		Scopes:          list{"read", "photos"},
		DefaultScopes:   list{"photos"},
		AccessLifetime:  15 * time.Minute,
		RefreshIdle:     24 * time.Hour,
		RefreshAbsolute: 48 * time.Hour,
		TrustedProxies:  list{"10.0.0.0/8", "192.168.1.1"},
		Log:             logConfig{Level: "warn", Format: "text"},
		PasswordHash:    hashConfig{Memory: 47104, Time: 1, Threads: 1, Slots: 4, Queue: 16},
		AuditRetention:  2160 * time.Hour,
		AuditEvents:     5000,
		ShutdownDelay:   5 * time.Second,
		ShutdownTimeout: 30 * time.Second,
		AdminPassword:   newSecret("first-admin-password"),

		PasswordMinLength: 15,
	}
	got, faults := loaded(layers{file: path})
	if len(faults) > 0 {
		t.Fatalf("faults: %v", faults)
	}
	if d := cmp.Diff(want, got, equalSecrets); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

func TestDefaults(t *testing.T) {
	c, faults := loaded(layers{file: writeFile(t, "grantd.yaml", goodYAML)})
	if len(faults) > 0 {
		t.Fatalf("faults: %v", faults)
	}
	got := []any{
		c.ResourceAddr, c.Scopes, c.DefaultScopes, c.AccessLifetime, c.RefreshIdle, c.RefreshAbsolute,
		c.RetryWindow, c.ShutdownDelay, c.ShutdownTimeout, c.Log, c.TrustedProxies, defaultConfig().Addr, c.PasswordMinLength, c.Profile,
		c.AuditRetention, c.AuditEvents,
	}
	want := []any{
		":8081", list{"read", "write", "admin"}, list{"read"}, time.Hour, 336 * time.Hour, 2160 * time.Hour,
		10 * time.Second, time.Duration(0), 10 * time.Second, logConfig{"info", "json"}, list(nil), ":8080", 8, "default",
		720 * time.Hour, 100_000,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

func TestEveryFaultOfAFileIsListedWithItsKey(t *testing.T) {
	path := writeFile(t, "grantd.yaml", `
isuer: https://typo.example.com
issuer: http://login.example.com
resource: https://api.example.com/?a=b
addr: 8080
data: grantd.db
redis:
  url: redis://localhost
  passwd: oops
secret: short-and-secret
profile: lax
scopes: [read, 'two words']
default_scopes: [other]
access_lifetime: 90
refresh_idle: 48h
refresh_absolute: 24h
retry_window: 31s
tls_cert: cert.pem
trusted_proxies: [10.0.0.0/8, proxy.internal]
log: {level: loud, format: xml}
password_hash: {memory: lots}
password_min_length: 7
audit_retention: 59m
audit_events: 999
shutdown_delay: 61s
shutdown_timeout: soon
admin_password: short
`)
	_, faults := loaded(layers{file: path})
	for key, hint := range map[string]string{
		"isuer":                "not a known key",
		"issuer":               "https",
		"resource":             "query",
		"addr":                 "host:port",
		"data":                 "redis.url",
		"redis.passwd":         "not a known key",
		"secret":               "32 bytes",
		"profile":              "default or strict",
		"scopes":               "entry 2",
		"default_scopes":       "other",
		"access_lifetime":      `duration such as "15m"`,
		"refresh_absolute":     "refresh_idle",
		"retry_window":         "30s",
		"tls_key":              "tls_cert",
		"trusted_proxies":      "entry 2",
		"log.level":            "debug, info, warn or error",
		"log.format":           "json or text",
		"password_hash.memory": "whole number",
		"shutdown_delay":       "to 1m0s",
		"shutdown_timeout":     "duration",
		"password_min_length":  "8 to 64",
		"audit_retention":      "from 1h0m0s",
		"audit_events":         "1000 to 10000000",
		"admin_password":       "8",
	} {
		if !strings.Contains(faults[key], hint) {
			t.Errorf("%s: %q, want it to tell %q", key, faults[key], hint)
		}
		delete(faults, key)
	}
	for key, text := range faults {
		t.Errorf("unexpected fault %s: %s", key, text)
	}
}

func TestFaultsTellNoSecret(t *testing.T) {
	path := writeFile(t, "grantd.yaml", "secret: {value: tell-nobody}\naccess_lifetime: tell-nobody\nredis: {url: 'redis://u:tell-nobody@h:x'}\nadmin_password: [tell-nobody]\n")
	f := &faults{}
	c := layers{file: path}.load(f)
	c.check(f, "addr", c.Addr)
	if text := f.err().Error(); strings.Contains(text, "tell-nobody") || strings.Contains(text, "tell-no") {
		t.Errorf("a secret is told: %s", text)
	}
}

func TestUnreadableFiles(t *testing.T) {
	for name, text := range map[string]string{
		"bad syntax":    "issuer: [",
		"two documents": goodYAML + "---\nissuer: x\n",
		"repeated key":  goodYAML + "issuer: https://other.example.com\n",
	} {
		if _, faults := loaded(layers{file: writeFile(t, "grantd.yaml", text)}); len(faults) == 0 {
			t.Errorf("%s: no fault", name)
		}
	}
	if _, faults := loaded(layers{file: "/does/not/exist.yaml"}); faults["config"] == "" {
		t.Error("a missing file is no fault")
	}
	if _, faults := loaded(layers{file: writeFile(t, "empty.yaml", "")}); faults["issuer"] == "" {
		t.Error("an empty file leaves the issuer missing")
	}
}

func TestWhatCannotBeReadIsNotMissing(t *testing.T) {
	for name, path := range map[string]string{
		"bad syntax": writeFile(t, "grantd.yaml", "issuer: https://login.example.com\n secret: [\n"),
		"no file":    "/does/not/exist.yaml",
	} {
		if _, faults := loaded(layers{file: path, environ: map[string]string{"GRANTD_REDIS_PASSWORD": "p"}}); len(faults) != 1 {
			t.Errorf("%s: want the one fault, got %v", name, faults)
		}
	}
	for name, l := range map[string]layers{
		"secret":        {file: writeFile(t, "grantd.yaml", "issuer: https://a.example\naddr: 127.0.0.1:0\ndata: x\nsecret_file: /does/not/exist\n")},
		"GRANTD_SECRET": {file: writeFile(t, "grantd.yaml", "issuer: https://a.example\naddr: 127.0.0.1:0\ndata: x\n"), environ: map[string]string{"GRANTD_SECRET_FILE": "/does/not/exist"}},
	} {
		if _, faults := loaded(l); len(faults) != 1 || !strings.Contains(faults[name], "can't be read") || strings.Contains(faults[name], "is missing") {
			t.Errorf("%s: %v", name, faults)
		}
	}
}

func TestReplicasThatCanNotBeWaitedFor(t *testing.T) {
	for store, n := range map[string]string{"GRANTD_DATA": "1", "GRANTD_REDIS_URL": "9"} {
		_, faults := loaded(layers{file: writeFile(t, "grantd.yaml", "issuer: https://a.example\naddr: 127.0.0.1:0\nsecret: "+secret32+"\n"),
			environ: map[string]string{store: "redis://r", "GRANTD_REDIS_WAIT_REPLICAS": n}})
		if len(faults) != 1 || faults["redis.wait_replicas"] == "" {
			t.Errorf("%s of %s: %v", n, store, faults)
		}
	}
}

func TestEachMissingFileIsAFault(t *testing.T) {
	_, faults := loaded(layers{file: writeFile(t, "grantd.yaml", goodYAML+"tls_cert: /no/tls.crt\ntls_key: /no/tls.key\n")})
	if !strings.Contains(faults["tls_cert"], "/no/tls.crt") || !strings.Contains(faults["tls_key"], "/no/tls.key") || len(faults) != 2 {
		t.Errorf("faults: %v", faults)
	}
}

func TestFlagBeatsEnvironmentBeatsFileBeatsDefault(t *testing.T) {
	file := writeFile(t, "grantd.yaml", goodYAML+"log: {level: warn}\naccess_lifetime: 10m\n")
	environ := map[string]string{"GRANTD_ACCESS_LIFETIME": "20m", "GRANTD_ADDR": "127.0.0.1:1", "GRANTD_LOG_FORMAT": ""}
	flags := func(c *config) { c.Addr = "127.0.0.1:2" }

	c, faults := loaded(layers{file: file, environ: environ, flags: flags})
	if len(faults) > 0 {
		t.Fatalf("faults: %v", faults)
	}
	got := []any{c.Addr, c.AccessLifetime, c.Log.Level, c.Log.Format}
	want := []any{"127.0.0.1:2", 20 * time.Minute, "warn", "json"} // flag, environment, file, default
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

func TestAStoreInTheEnvironmentReplacesThatOfTheFile(t *testing.T) {
	const rest = "issuer: https://a.example\naddr: 127.0.0.1:0\nsecret: " + secret32 + "\n"
	onRedis := writeFile(t, "grantd.yaml", rest+"redis: {url: redis://r, password: p}\n")
	onFile := writeFile(t, "grantd.yaml", rest+"data: d\n")

	c, faults := loaded(layers{file: onRedis, environ: map[string]string{"GRANTD_DATA": "e"}})
	if len(faults) > 0 || c.Data != "e" || c.Redis.URL != "" {
		t.Errorf("GRANTD_DATA over redis.url: %q, %q, %v", c.Data, c.Redis.URL, faults)
	}
	c, faults = loaded(layers{file: onFile, environ: map[string]string{"GRANTD_REDIS_URL": "redis://e"}})
	if len(faults) > 0 || c.Data != "" || c.Redis.URL != "redis://e" {
		t.Errorf("GRANTD_REDIS_URL over data: %q, %q, %v", c.Data, c.Redis.URL, faults)
	}
	if _, faults = loaded(layers{file: onFile, environ: map[string]string{"GRANTD_REDIS_URL": "redis://e", "GRANTD_DATA": "e"}}); faults["data"] == "" {
		t.Error("both in one layer are no fault")
	}
}

func TestSecretsComeFromFiles(t *testing.T) {
	fromFile := strings.Repeat("f", 32)
	secretFile := writeFile(t, "secret", fromFile+"\n\n") // only one newline is trimmed
	yaml := "issuer: https://a.example\naddr: 127.0.0.1:0\ndata: x\n"
	tests := []struct {
		name    string
		yaml    string
		environ map[string]string
		want    string
		fault   string
	}{
		{"file in YAML", "secret_file: " + secretFile, nil, fromFile + "\n", ""},
		{"file in the environment", "", map[string]string{"GRANTD_SECRET_FILE": secretFile}, fromFile + "\n", ""},
		{"environment over file in YAML", "secret_file: " + secretFile, map[string]string{"GRANTD_SECRET": secret32}, secret32, ""},
		{"file in the environment over YAML", "secret: " + secret32, map[string]string{"GRANTD_SECRET_FILE": secretFile}, fromFile + "\n", ""},
		{"both in YAML", "secret: " + secret32 + "\nsecret_file: " + secretFile, nil, secret32, "secret"},
		{"both in the environment", "", map[string]string{"GRANTD_SECRET": secret32, "GRANTD_SECRET_FILE": secretFile}, secret32, "GRANTD_SECRET"},
		{"missing file", "secret_file: /does/not/exist", nil, "", "secret"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, faults := loaded(layers{file: writeFile(t, "grantd.yaml", yaml+tt.yaml+"\n"), environ: tt.environ})
			if c.Secret.Reveal() != tt.want {
				t.Errorf("secret %q, want %q", c.Secret.Reveal(), tt.want)
			}
			if _, found := faults[tt.fault]; found != (tt.fault != "") || tt.fault == "" && len(faults) > 0 {
				t.Errorf("faults %v, want one of %q", faults, tt.fault)
			}
		})
	}
}

func TestEveryKeyHasItsVariable(t *testing.T) {
	environ := map[string]string{
		"GRANTD_ISSUER": "http://localhost:1", "GRANTD_RESOURCE": "http://localhost:2", "GRANTD_ADDR": ":1", "GRANTD_RESOURCE_ADDR": ":2", "GRANTD_ADMIN_ADDR": ":3", "GRANTD_METRICS_ADDR": ":4",
		"GRANTD_DATA": "d", "GRANTD_REDIS_URL": "redis://r", "GRANTD_REDIS_PASSWORD": "rp", "GRANTD_REDIS_WAIT_REPLICAS": "1", "GRANTD_SECRET": "s", "GRANTD_PROFILE": "strict",
		"GRANTD_SCOPES": "a b", "GRANTD_DEFAULT_SCOPES": "a,b", "GRANTD_ACCESS_LIFETIME": "1s",
		"GRANTD_REFRESH_IDLE": "2s", "GRANTD_REFRESH_ABSOLUTE": "3s", "GRANTD_RETRY_WINDOW": "4s",
		"GRANTD_TLS_CERT": "c", "GRANTD_TLS_KEY": "k", "GRANTD_TRUSTED_PROXIES": "::1", "GRANTD_LOG_LEVEL": "error",
		"GRANTD_LOG_FORMAT": "text", "GRANTD_PASSWORD_HASH_MEMORY": "5", "GRANTD_PASSWORD_HASH_TIME": "6",
		"GRANTD_PASSWORD_HASH_THREADS": "7", "GRANTD_PASSWORD_HASH_SLOTS": "8", "GRANTD_PASSWORD_HASH_QUEUE": "9",
		"GRANTD_PASSWORD_MIN_LENGTH": "11", "GRANTD_AUDIT_RETENTION": "12s", "GRANTD_AUDIT_EVENTS": "13",
		"GRANTD_SHUTDOWN_DELAY": "14s", "GRANTD_SHUTDOWN_TIMEOUT": "10s", "GRANTD_ADMIN_PASSWORD": "ap",
		"GRANTD_SERVICE_HOST": "10.0.0.1", // an orchestrator's, not ours
	}
	want := config{
		Issuer: "http://localhost:1", Resource: "http://localhost:2", Addr: ":1", ResourceAddr: ":2", AdminAddr: ":3", MetricsAddr: ":4", Data: "d",
		Redis:  redisConfig{URL: "redis://r", Password: newSecret("rp"), WaitReplicas: 1},
		Secret: newSecret("s"), Profile: "strict", Scopes: list{"a", "b"}, DefaultScopes: list{"a", "b"},
		AccessLifetime: time.Second, RefreshIdle: 2 * time.Second, RefreshAbsolute: 3 * time.Second,
		RetryWindow: 4 * time.Second, TLSCert: "c", TLSKey: "k", TrustedProxies: list{"::1"},
		Log: logConfig{"error", "text"}, PasswordHash: hashConfig{5, 6, 7, 8, 9}, PasswordMinLength: 11,
		AuditRetention: 12 * time.Second, AuditEvents: 13,
		ShutdownDelay: 14 * time.Second, ShutdownTimeout: 10 * time.Second, AdminPassword: newSecret("ap"),
	}
	f := &faults{}
	got := layers{environ: environ}.load(f)
	if len(f.all) > 0 {
		t.Fatal(f.err())
	}
	if d := cmp.Diff(want, got, equalSecrets); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

func TestFaultsOfTheEnvironmentNameTheVariable(t *testing.T) {
	_, faults := loaded(layers{environ: map[string]string{
		"GRANTD_ACCESS_LIFETIME": "90", "GRANTD_PASSWORD_HASH_THREADS": "300", "GRANTD_SECRET_FILE": "/does/not/exist",
	}})
	for _, name := range []string{"GRANTD_ACCESS_LIFETIME", "GRANTD_PASSWORD_HASH_THREADS", "GRANTD_SECRET"} {
		if faults[name] == "" {
			t.Errorf("no fault for %s in %v", name, faults)
		}
	}
}

func TestUnknownVariables(t *testing.T) {
	got := unknownVariables(map[string]string{
		"GRANTD_ADRR": "x", "GRANTD_REDIS_PASWORD": "x", "GRANTD_EMPTY": "",
		"GRANTD_ADDR": "x", "GRANTD_CONFIG": "x", "GRANTD_SECRET_FILE": "x",
		"GRANTD_SERVICE_HOST": "x", "GRANTD_SERVICE_PORT_HTTP": "x", "GRANTD_PORT": "x",
		"GRANTD_PORT_8080_TCP": "x", "GRANTD_REDIS_PORT_6379_TCP_ADDR": "x",
	})
	if d := cmp.Diff([]string{"GRANTD_ADRR", "GRANTD_REDIS_PASWORD"}, got); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

// variables relies on this.
func TestNoTwoFieldsOfTheConfigurationShareAName(t *testing.T) {
	seen := map[string]bool{}
	var walk func(reflect.Type)
	walk = func(s reflect.Type) {
		for field := range s.Fields() {
			if field.Tag.Get("envPrefix") != "" {
				walk(field.Type)
				continue
			}
			if seen[field.Name] {
				t.Errorf("two fields are called %s", field.Name)
			}
			seen[field.Name] = true
		}
	}
	walk(reflect.TypeFor[config]())
}

func TestIssuer(t *testing.T) {
	for issuer, good := range map[string]bool{
		"https://login.example.com":      true,
		"https://login.example.com/a":    true,
		"https://login.example.com/a/":   true,
		"http://127.0.0.1:8080":          true,
		"http://[::1]:8080":              true,
		"http://localhost":               true,
		"http://login.example.com":       false,
		"http://localhost.example.com":   false,
		"http://10.0.0.1":                false,
		"https://login.example.com/?a=b": false,
		"https://login.example.com/#a":   false,
		"https://login.example.com?":     false,
		"https://login.example.com#":     false,
		"https://login.example.com//a":   false,
		"https://login.example.com/{a}":  false,
		"HTTPS://login.example.com":      false,
		"https://user@login.example.com": false,
		"login.example.com":              false,
		"ftp://login.example.com":        false,
		"https://":                       false,
		"":                               false,
	} {
		f := &faults{}
		(&config{Issuer: issuer}).checkIssuer(f)
		if (len(f.all) == 0) != good {
			t.Errorf("issuer %q: good is %v, want %v", issuer, len(f.all) == 0, good)
		}
	}
}

// RFC 9728 section 1.2. The resource server is known by its own URL, or by the issuer's.
func TestResource(t *testing.T) {
	for _, tt := range []struct{ issuer, resource, base string }{
		{"https://login.example.com", "", "https://login.example.com"},
		{"https://login.example.com/a/", "", "https://login.example.com/a"},
		{"https://login.example.com", "https://api.example.com", "https://api.example.com"},
		{"https://login.example.com", "https://api.example.com/v1", "https://api.example.com/v1"},
		{"http://localhost:8080", "http://127.0.0.1:8081", "http://127.0.0.1:8081"},
		{"https://login.example.com", "http://127.0.0.1:8081", ""}, // the same listener may serve both
		{"http://localhost:8080", "https://api.example.com", ""},
		{"http://localhost:8080", "http://api.example.com", ""},
		{"https://login.example.com", "https://api.example.com/", ""},
		{"https://login.example.com", "https://api.example.com?x", ""},
		{"https://login.example.com", "https://api.example.com/#x", ""},
		{"https://login.example.com", "api.example.com", ""},
	} {
		f := &faults{}
		c := config{Issuer: tt.issuer, Resource: tt.resource}
		c.checkResource(f)
		if good := tt.base != ""; (len(f.all) == 0) != good {
			t.Errorf("%q beside %q: faults %v", tt.resource, tt.issuer, f.all)
		} else if base, me := c.resources(); good && (base != tt.base || me != tt.base+"/users/me") {
			t.Errorf("%q beside %q: %q and %q, want %q", tt.resource, tt.issuer, base, me, tt.base)
		}
	}
}

func TestPlainHTTPBehindAnHTTPSIssuer(t *testing.T) {
	tests := []struct {
		issuer, addr string
		proxies      list
		good         bool
	}{
		{"https://login.example.com", ":8080", nil, false},
		{"https://login.example.com", "10.0.0.1:8080", nil, false},
		{"https://login.example.com", "127.0.0.1:8080", nil, true},
		{"https://login.example.com", ":8080", list{"10.0.0.0/8"}, true},
		{"http://localhost:8080", ":8080", nil, true},
	}
	for _, tt := range tests {
		f := &faults{}
		(&config{Issuer: tt.issuer, TrustedProxies: tt.proxies}).checkTLS(f, "addr", tt.addr)
		if (len(f.all) == 0) != tt.good {
			t.Errorf("%+v: faults %v", tt, f.all)
		}
	}
}

func TestRedisPasswordIsPutIntoTheURL(t *testing.T) {
	const password = "p@ss:w/rd?%"
	const escaped = "p%40ss%3Aw%2Frd%3F%25"
	for url, want := range map[string]string{
		"redis://h:1/2":               "redis://:" + escaped + "@h:1/2",
		"rediss://app@h":              "rediss://app:" + escaped + "@h",
		"redis+cluster://a:1,b:2":     "redis+cluster://:" + escaped + "@a:1,b:2",
		"redis+sentinel://s/m?db=1":   "redis+sentinel://:" + escaped + "@s/m?db=1",
		"redis://:already@h":          "",
		"redis://app:already@h/0?x=y": "",
	} {
		got, err := (&config{Redis: redisConfig{URL: url, Password: newSecret(password)}}).redisURL()
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v, want %q", url, got, err, want)
		}
	}
}

func TestRedactURL(t *testing.T) {
	for url, want := range map[string]string{
		"redis://h:1/2":        "redis://h:1/2",
		"redis://u:p@ss@h:1/2": "redis://u:[redacted]@h:1/2",
		"redis://u@h":          "redis://u@h",
		"redis+sentinel://h/m?sentinel_password=p@": "redis+sentinel://h/m?[redacted]",
	} {
		if got := redactURL(url); got != want {
			t.Errorf("%s: %s, want %s", url, got, want)
		}
	}
}

func TestABrokenFileIsNotQuoted(t *testing.T) {
	for name, text := range map[string]string{
		"an alias":              "secret: *Hunter2Hunter2\n",
		"a tab":                 "secret: \"x\"\n\tHunter2: y\n",
		"a list across lines":   "scopes: {a: \"Hunter2\\nHunter2\"}\n",
		"a number across lines": "password_hash:\n  memory: \"Hunter2\\nHunter2\"\n",
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "grantd.yaml")
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			code, stdout, stderr := launch{args: []string{"config", "check", "--config", path}}.run(t)
			if code != 2 || strings.Contains(stdout+stderr, "Hunter2") {
				t.Errorf("exit %d, and says %s%s", code, stdout, stderr)
			}
		})
	}
}
