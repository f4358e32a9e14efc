package main

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/oauth2"

	"github.com/grantd/grantd/authserver/passhash"
)

// defaultServer is the URL at which grantd dev listens.
const defaultServer = "http://127.0.0.1:8080"

// Environment variables of the commands that aren't configuration.
const (
	tokenVariable  = envPrefix + "TOKEN"  // an access token with the scope admin
	serverVariable = envPrefix + "SERVER" // the URL of the server that the token is for
)

// whereItActs is part of the help of all these commands.
const whereItActs = `

The command acts through the server that grantd login signed in at. --server or
GRANTD_SERVER names another server, and GRANTD_TOKEN holds a token for it. With
--config, --data or --redis, or with GRANTD_CONFIG, GRANTD_DATA or
GRANTD_REDIS_URL, the command acts on that store itself, without a server. Flags win
over the environment, and the environment over the login. In the environment a
server wins over a store.`

// addAPIFlags gives the command the flags that choose the API, and their help.
func addAPIFlags(c *cobra.Command) *cobra.Command {
	c.Long = cmp.Or(c.Long, c.Short+".") + whereItActs
	c.Flags().String("server", "", "URL of the server to act through (or GRANTD_SERVER)")
	addConfigFlags(c, "data", "redis")
	return c
}

// addJSONFlag gives the command the flag --json.
func addJSONFlag(c *cobra.Command) *cobra.Command {
	c.Flags().Bool("json", false, "print JSON, as the admin API returns it")
	return c
}

func asJSON(cmd *cobra.Command) bool {
	yes, _ := cmd.Flags().GetBool("json")
	return yes
}

type apiFunc = func(*api, *cobra.Command, []string) error

// withAPI returns a function that opens the API, runs f on it and closes it.
func withAPI(f apiFunc) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		a, err := openAPI(cmd)
		if err != nil {
			return err
		}
		err = f(a, cmd, args)
		if a.local != nil {
			err = a.local.finish(cmd.Context(), err)
		}
		return a.explain(err)
	}
}

// openAPI opens the API that the flags, the environment or the login choose: see
// whereItActs.
func openAPI(cmd *cobra.Command) (*api, error) {
	environ := environment()
	server := cmd.Flags().Lookup("server").Value.String()
	byFlag := anyChanged(cmd, "config", "data", "redis")
	switch {
	case server != "" && byFlag:
		return nil, usagef("--server can't be combined with --config, --data or --redis").
			withHint("--server acts through a server; the others act on a store without one")
	case server != "":
		return onServer("--server", server)
	case byFlag:
		return onStore(cmd)
	case environ[tokenVariable] != "" || environ[serverVariable] != "":
		return onServer(serverVariable, environ[serverVariable])
	case storeInEnvironment(environ):
		return onStore(cmd)
	}
	return onServer("", "")
}

// storeInEnvironment reports whether the environment names a store.
func storeInEnvironment(environ map[string]string) bool {
	return environ[envPrefix+"CONFIG"] != "" || environ[variable("data")] != "" || environ[variable("redis.url")] != ""
}

func anyChanged(cmd *cobra.Command, names ...string) bool {
	for _, name := range names {
		if cmd.Flags().Changed(name) {
			return true
		}
	}
	return false
}

// onServer returns the API of a server: of the named one, or if server is empty, of
// the one that the session is for. from is the flag or the variable that named it.
func onServer(from, server string) (*api, error) {
	base := ""
	if server != "" {
		id, err := serverURL(from, server)
		if err != nil {
			return nil, err
		}
		base = id.Base
	}
	c := newAPIClient()
	if token := environment()[tokenVariable]; token != "" {
		return &api{base: cmp.Or(base, defaultServer), client: withTransport(c, &bearerTransport{c.Transport, token})}, nil
	}
	path, err := sessionPath()
	if err != nil {
		return nil, err
	}
	s, err := loadSession(path)
	if errors.Is(err, errNoSession) {
		return nil, notSignedIn(base)
	}
	if err != nil {
		return nil, err
	}
	at := cmp.Or(s.AdminServer, s.Server)
	if base != "" && base != s.Server && base != at {
		return nil, notSignedIn(base)
	}
	user, _ := passhash.Username(s.Username) // "" is nobody's name
	return &api{base: at, user: user, client: withTransport(c, &signedIn{next: c.Transport, oauth: c, path: path, session: s})}, nil
}

func notSignedIn(server string) error {
	if server == "" {
		return failedf("%w", errNoSession).withHint("sign in at a server with grantd login, or act on a store without one: --config, --data or --redis")
	}
	return failedf("%w at %s", errNoSession, server).withHint("grantd login --server " + server)
}

func withTransport(c *http.Client, t http.RoundTripper) *http.Client {
	return &http.Client{Transport: t, CheckRedirect: c.CheckRedirect}
}

// bearerTransport adds a token to each request.
type bearerTransport struct {
	next  http.RoundTripper
	token string
}

// RoundTrip sends the request with the token.
func (b *bearerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+b.token)
	return b.next.RoundTrip(r)
}

// signedIn adds the token of the session to each request, and renews it if need be.
type signedIn struct {
	next  http.RoundTripper
	oauth *http.Client // renews the session
	path  string

	mu      sync.Mutex // guards session
	session session
}

// RoundTrip sends the request, and repeats it with another token when the token was
// refused: another command may have renewed the session, which ends the old token.
// If many commands run at once, this may happen several times.
func (s *signedIn) RoundTrip(r *http.Request) (*http.Response, error) {
	const tries = 8
	s.mu.Lock()
	current := s.session
	s.mu.Unlock()
	token, err := current.AccessToken, error(nil)
	if !current.fresh() {
		if token, err = s.renewed(r.Context(), token); err != nil {
			return nil, err
		}
	}
	for n := 1; ; n++ {
		resp, err := (&bearerTransport{s.next, token}).RoundTrip(r)
		if err != nil || resp.StatusCode != http.StatusUnauthorized || n == tries {
			return resp, err
		}
		_ = resp.Body.Close() // it only says that the token is refused
		if token, err = s.renewed(r.Context(), token); err != nil {
			return nil, err
		}
		if r, err = again(r); err != nil {
			return nil, err
		}
	}
}

// again returns the request with its body rewound.
func again(r *http.Request) (*http.Request, error) {
	if r.GetBody == nil {
		return r, nil
	}
	body, err := r.GetBody()
	if err != nil {
		return nil, err
	}
	r = r.Clone(r.Context())
	r.Body = body
	return r, nil
}

// renewed returns an access token other than spent. If several commands call it at
// once, one renews the session and the others take the tokens that it saved.
func (s *signedIn) renewed(ctx context.Context, spent string) (string, error) {
	unlock, err := lockSession(s.path)
	if err != nil {
		return "", err
	}
	defer unlock()
	kept, err := loadSession(s.path)
	if err != nil && !errors.Is(err, errNoSession) {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil || kept.Server != s.session.Server || kept.ClientID != s.session.ClientID {
		return "", sessionOver(s.session.Server)
	}
	if kept.AccessToken == spent || !kept.fresh() {
		if err := s.renew(ctx, &kept); err != nil {
			return "", err
		}
	}
	s.session = kept
	return kept.AccessToken, nil
}

// renew renews and saves the session. The end of ctx doesn't interrupt it, because a
// spent refresh token has to be replaced on the disk too.
func (s *signedIn) renew(ctx context.Context, kept *session) error {
	const patience = 30 * time.Second
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	err := kept.renew(ctx, s.oauth)
	var refused *oauth2.RetrieveError
	switch {
	case errors.Is(err, errNoRefresh), errors.As(err, &refused) && refused.ErrorCode == "invalid_grant":
		return sessionOver(kept.Server)
	case err != nil:
		return kept.explainSignIn(err)
	}
	return kept.save(s.path)
}

func sessionOver(server string) error {
	return failedf("the session at %s is over", server).withHint("grantd login --server " + server)
}
