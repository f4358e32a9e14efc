package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// readme returns the README, which is in the directory above the commands.
func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// blocks returns the code blocks in that language under the heading, or those
// of the whole text if the heading is empty.
func blocks(t *testing.T, text, heading, language string) []string {
	t.Helper()
	if heading != "" {
		_, after, found := strings.Cut(text, "\n## "+heading+"\n")
		if !found {
			t.Fatalf("README has no heading %q", heading)
		}
		text, _, _ = strings.Cut(after, "\n## ")
	}
	var found []string
	for _, m := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(text, -1) {
		found = append(found, m[1])
	}
	if len(found) == 0 {
		t.Fatalf("README has no %s under %q", language, heading)
	}
	return found
}

// shell runs a line of the README and returns what it prints.
func shell(t *testing.T, line string, env ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "-c", strings.Replace(line, "curl ", "curl -sS ", 1))
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return string(out)
}

// members are the names in a JSON object.
func members(t *testing.T, text string) (names []string, object map[string]any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &object); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return slices.Sorted(maps.Keys(object)), object
}

// TestReadmeSession runs the curl lines of the section Start, and compares the
// members of the answers with those in the README.
func TestReadmeSession(t *testing.T) {
	g := startDev(t, "--memory")
	session := blocks(t, readme(t), "Start", "console")
	if strings.TrimSpace(session[0]) != "$ make run" {
		t.Errorf("the first command is %q", session[0])
	}
	var env []string
	ran := 0
	for step := range strings.SplitSeq(strings.TrimSpace(session[1]), "\n\n") {
		line, shown, _ := strings.Cut(step, "\n")
		line = strings.ReplaceAll(strings.TrimPrefix(line, "$ "), "http://127.0.0.1:8080", g.URL)
		wantNames, _ := members(t, shown)
		answer := shell(t, line+`; printf '\n%s' "$ACCESS_TOKEN"`, env...)
		end := strings.LastIndex(answer, "\n")
		gotNames, got := members(t, answer[:end])
		if !slices.Equal(gotNames, wantNames) {
			t.Errorf("%s: got the members %q, README shows %q", line, gotNames, wantNames)
		}
		if env == nil {
			if answer[end+1:] != got["access_token"] {
				t.Errorf("ACCESS_TOKEN is %q of %s", answer[end+1:], answer[:end])
			}
			env = []string{fmt.Sprint("ACCESS_TOKEN=", got["access_token"]), fmt.Sprint("REFRESH_TOKEN=", got["refresh_token"])}
		}
		ran++
	}
	if ran != 4 {
		t.Errorf("ran %d lines, want 4", ran)
	}
}

// TestReadmeGoCompiles builds the README's programs as a user would who copies
// them into a module of their own.
func TestReadmeGoCompiles(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	for i, program := range blocks(t, readme(t), "", "go") {
		t.Run(fmt.Sprint("program ", i+1), func(t *testing.T) {
			dir := t.TempDir()
			mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
			if err != nil {
				t.Fatal(err)
			}
			own := strings.Replace(string(mod), "module github.com/grantd/grantd", "module example.org/readme", 1) +
				"\nrequire github.com/grantd/grantd v0.0.0\nreplace github.com/grantd/grantd => " + root + "\n"
			sum, err := os.ReadFile(filepath.Join(root, "go.sum"))
			if err != nil {
				t.Fatal(err)
			}
			for name, text := range map[string]string{"go.mod": own, "go.sum": string(sum), "main.go": program} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			cmd := exec.CommandContext(t.Context(), "go", "build", "-mod=mod", "-o", os.DevNull, ".")
			cmd.Dir = dir
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("does not compile: %v\n%s", err, out)
			}
		})
	}
}

// TestReadmeConfiguration checks the example of the configuration file, and
// that the table has exactly the keys that exist.
func TestReadmeConfiguration(t *testing.T) {
	text := readme(t)
	dir := t.TempDir()
	code, _, stderr := launch{args: []string{"secrets", dir}}.run(t)
	if code != 0 {
		t.Fatalf("secrets: exit %d\n%s", code, stderr)
	}
	certFile, keyFile, _ := certificate(t)
	for from, to := range map[string]string{certFile: "tls.crt", keyFile: "tls.key"} {
		if err := os.Rename(from, filepath.Join(dir, to)); err != nil {
			t.Fatal(err)
		}
	}
	for i, example := range blocks(t, text, "Run it for real", "yaml") {
		example = strings.NewReplacer("/etc/grantd", dir, "/var/lib/grantd", dir).Replace(example)
		if err := os.WriteFile(filepath.Join(dir, "grantd.yaml"), []byte(example), 0o600); err != nil {
			t.Fatal(err)
		}
		if code, out, stderr := (launch{args: []string{"config", "check", "--config", "grantd.yaml"}, dir: dir}).run(t); code != 0 {
			t.Errorf("config check of example %d: exit %d\n%s%s", i+1, code, out, stderr)
		}
	}

	for key, value := range map[string]list{"scopes": defaultConfig().Scopes, "default_scopes": defaultConfig().DefaultScopes} {
		t.Run("6749-3.3-05 the table tells the default of "+key, func(t *testing.T) {
			if row := fmt.Sprintf("| `%s` | `GRANTD_%s` | `%s` |", key, strings.ToUpper(key), strings.Join(value, " ")); !strings.Contains(text, row) {
				t.Errorf("README lacks %q", row)
			}
		})
	}

	defaults := shell(t, "grep -hoE 'yaml:\"[a-z_]+' config.go | cut -d'\"' -f2")
	for key := range strings.FieldsSeq(defaults) {
		group := key == "redis" || key == "log" || key == "password_hash"
		if !group && !strings.HasSuffix(key, "_file") && !strings.Contains(text, key+"`") {
			t.Errorf("README's table lacks the key %q", key)
		}
	}
}

// TestReadmeWorksWith compares the versions in the table of clients with those
// that make interop uses.
func TestReadmeWorksWith(t *testing.T) {
	_, table, _ := strings.Cut(readme(t), "\n## Works with\n")
	table, _, _ = strings.Cut(table, "\n## ")
	for file, pin := range map[string]string{
		"../../go.mod":                    `\t(golang\.org/x/oauth2) v([0-9.]+)\n`,
		"testdata/interop/zitadel/go.mod": `\tgithub\.com/(zitadel/oidc)/v3 v([0-9.]+)\n`,
		"testdata/interop/package.json":   `"(oauth4webapi|openid-client)": "([0-9.]+)"`,
		"testdata/interop/fastapi.mjs":    `forms of (Swagger UI) are those of version ([0-9.]+):`,
	} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		pins := regexp.MustCompile(pin).FindAllStringSubmatch(string(text), -1)
		if len(pins) == 0 {
			t.Errorf("%s pins nothing", file)
		}
		for _, p := range pins {
			if !regexp.MustCompile(`(?m)^\|.*` + p[1] + `.*\| ` + p[2] + `( of .*)? \|.*\|$`).MatchString(table) {
				t.Errorf("README doesn't name %s %s", p[1], p[2])
			}
		}
	}
}

// TestReadmeOwnPassword runs the line that changes bob's password.
func TestReadmeOwnPassword(t *testing.T) {
	g := startDev(t, "--memory")
	line := strings.TrimPrefix(blocks(t, readme(t), "Users' own password", "console")[0], "$ ")
	_, answer := tokenFor(t, g.URL, "demo", "demo-secret", passwordForm("bob", "builder456", ""))
	shell(t, strings.ReplaceAll(line, "http://127.0.0.1:8080", g.URL), fmt.Sprint("ACCESS_TOKEN=", answer["access_token"]))
	if status, _ := tokenFor(t, g.URL, "demo", "demo-secret", passwordForm("bob", "correct horse battery", "")); status != http.StatusOK {
		t.Errorf("signing in with the new password: %d", status)
	}
}

// TestReadmeRefused runs the commands that tell why a request was refused, and
// the one that makes the client for a login form without a client secret.
func TestReadmeRefused(t *testing.T) {
	m, text := newMachine(t, false), readme(t)
	add := regexp.MustCompile("`grantd (client add app .*)`").FindStringSubmatch(text)
	if add == nil {
		t.Fatal("README adds no client app")
	}
	m.grantd(strings.Fields(add[1])...)
	form := passwordForm("alice", "wrong", "")
	form.Set("client_id", "app")
	if status, body := postForm(t, m.node.URL+"/token", "", "", form); status != http.StatusBadRequest {
		t.Errorf("a wrong password: %d %s", status, body)
	}
	_, section, _ := strings.Cut(text, "\n### Why was it refused\n")
	config := []string{"--config", m.path("etc/grantd.yaml")}
	commands := strings.Split(strings.TrimSpace(blocks(t, section, "", "console")[0]), "\n")
	for i, want := range []string{"wrong password", "has_password", "alice may sign in again"} {
		// The trail is written within a second.
		await(t, 5*time.Second, commands[i]+" prints "+want, func() bool {
			return strings.Contains(must(t, launch{args: append(strings.Fields(commands[i])[2:], config...)}), want)
		})
	}
	form.Set("password", "correct horse battery")
	if status, body := postForm(t, m.node.URL+"/token", "", "", form); status != http.StatusOK {
		t.Errorf("the form: %d %s", status, body)
	}
}

// TestReadmeDjango imports what psql writes for the columns that the README
// selects, with a time and booleans in PostgreSQL's format.
func TestReadmeDjango(t *testing.T) {
	copied := regexp.MustCompile(`\\copy \(select (.*) from auth_user\) to 'users\.csv' csv header`).FindStringSubmatch(readme(t))
	if copied == nil {
		t.Fatal("README has no copy of auth_user")
	}
	value := map[string]string{
		"username": "ann@example.com", "password as password_hash": "pbkdf2_sha256$1000$saltsalt$KSXROiZ1c32chJvwjSkJtZsg22+Z3uxuiwsqVwiWjw4=",
		"date_joined as created": "2021-03-04 05:06:07.123456+00", "not is_active as disabled": "t",
	}
	var header, row []string
	for column := range strings.SplitSeq(copied[1], ", ") {
		header = append(header, column[strings.LastIndex(column, " ")+1:])
		row = append(row, value[column])
	}
	store := inMemory(t)
	imp, reported := importing(store)
	file := strings.Join(header, ",") + "\n" + strings.Join(row, ",") + "\n"
	if err := imp.run(t.Context(), strings.NewReader(file)); err != nil {
		t.Fatalf("%v\n%s%s", err, file, reported)
	}
	users := allUsers(t, store)
	want := time.Date(2021, time.March, 4, 5, 6, 7, 123456000, time.UTC)
	if len(users) != 1 || users[0].Password != value["password as password_hash"] || !users[0].Disabled || users[0].Created.Sub(want).Abs() >= time.Second {
		t.Errorf("%s is taken as %+v", file, users)
	}
}
