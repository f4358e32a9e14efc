package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"

	"github.com/grantd/grantd/storage"
)

const passwordWarning = "the client may use the password grant; RFC 9700 section 2.4 advises against it"

func TestProfiles(t *testing.T) {
	dir := t.TempDir()
	env := append([]string{"GRANTD_DATA=grantd.db", "GRANTD_ADMIN_PASSWORD=first-admin-password"}, serveEnv...)
	secret := writeFile(t, "s", secret32)
	must(t, launch{args: []string{"client", "add", "web", "--grant", "password", "--grant", "client_credentials", "--secret-file", secret}, dir: dir, env: env})
	must(t, launch{args: []string{"client", "add", "batch", "--grant", "client_credentials", "--secret-file", secret}, dir: dir, env: env})
	form := passwordForm("admin", "first-admin-password", "")

	t.Run("9700-2.4-01 serve warns of each client with the password grant, which works", func(t *testing.T) {
		g := launch{args: []string{"serve"}, dir: dir, env: env}.start(t)
		if status, answer := tokenFor(t, g.URL, "web", secret32, form); status != 200 {
			t.Errorf("got %d %v", status, answer)
		}
		g.awaitLog(passwordWarning + `","client_id":"web"}`) // the last by id
		g.Stop()
		log := g.Stderr()
		for _, id := range []string{"web", loginClient} {
			if n := strings.Count(log, `"level":"WARN","msg":"`+passwordWarning+`","client_id":"`+id+`"}`); n != 1 {
				t.Errorf("%d warnings of %s, want one:\n%s", n, id, log)
			}
		}
		if n := strings.Count(log, passwordWarning); n != 2 {
			t.Errorf("%d warnings, want two:\n%s", n, log)
		}
		if !strings.Contains(log, `"client_id":"web","grant_type":"password"`) {
			t.Errorf("the use of the password grant isn't logged:\n%s", log)
		}
	})
	t.Run("9700-2.4-01 21-10-01 the strict profile offers no password grant", func(t *testing.T) {
		g := launch{args: []string{"serve"}, dir: dir, env: append(env, "GRANTD_PROFILE=strict")}.start(t)
		for _, f := range []url.Values{form, passwordForm("nobody", "x", "")} {
			if status, answer := tokenFor(t, g.URL, "web", secret32, f); status != 400 || answer["error"] != "unsupported_grant_type" {
				t.Errorf("got %d %v", status, answer)
			}
		}
		if status, answer := tokenFor(t, g.URL, "web", secret32, url.Values{"grant_type": {"client_credentials"}}); status != 200 {
			t.Errorf("client_credentials: %d %v", status, answer)
		}
		g.Stop()
		if strings.Contains(g.Stderr(), passwordWarning) {
			t.Errorf("a warning of what has no effect:\n%s", g.Stderr())
		}
	})
}

// manyClients is a store that lists that many clients, all with the password
// grant, before it fails.
type manyClients struct {
	storage.Store
	n   int
	err error
}

func (m manyClients) ListClients(_ context.Context, after string, limit int) ([]storage.Client, error) {
	first := 0
	if after != "" {
		fmt.Sscanf(after, "c%06d", &first)
		first++
	}
	var page []storage.Client
	for i := first; i < m.n && len(page) < limit; i++ {
		page = append(page, storage.Client{ID: fmt.Sprintf("c%06d", i), Grants: []string{"password"}})
	}
	if len(page) == 0 {
		return nil, m.err
	}
	return page, nil
}

func TestWarningsOfThePasswordGrantAreBounded(t *testing.T) {
	for _, c := range []struct {
		name     string
		store    manyClients
		warnings int
		more     string
	}{
		{"a few", manyClients{n: 3}, 3, ""},
		{"as many as are looked at", manyClients{n: mostClients}, mostClients, ""},
		{"more", manyClients{n: mostClients + 1}, mostClients, "only the first clients were checked"},
		{"a store that fails", manyClients{n: pageSize, err: errors.New("down")}, pageSize, "clients couldn't be checked"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log strings.Builder
			p := &process{store: c.store, log: slog.New(slog.NewTextHandler(&log, nil))}
			p.warnOfPasswords(t.Context())
			if n := strings.Count(log.String(), passwordWarning); n != c.warnings {
				t.Errorf("%d warnings, want %d", n, c.warnings)
			}
			rest := strings.Count(log.String(), "\n") - c.warnings
			if c.more == "" && rest != 0 || c.more != "" && (rest != 1 || !strings.Contains(log.String(), c.more)) {
				t.Errorf("%d other lines, want %q", rest, c.more)
			}
		})
	}
}
