package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/grantd/grantd/authserver/passhash"
	"github.com/grantd/grantd/storage"
)

// minClientSecret is the least length of a secret that is brought along: secrets
// are kept as a fast hash, so they must not be guessable.
const minClientSecret = 24

type clientFlags struct {
	public         bool
	introspect     bool
	grants         []string
	scopes         []string
	redirects      []string
	audiences      []string
	origins        []string
	accessLifetime time.Duration
	secretFile     string
}

func clientAddCommand() *cobra.Command {
	var f clientFlags
	c := &cobra.Command{
		Use:   "add ID",
		Short: "Add a client",
		Long: `Add a client. A confidential client's secret is made and printed, once, unless
--secret-file brings one of at least 24 characters. A public client has none.`,
		Example: `  grantd client add web --grant password --grant refresh_token --scope read
  grantd client add batch --grant client_credentials --scope write --secret-file batch.secret
  grantd client add app --public --grant password --grant refresh_token --origin https://app.example
  grantd client add orders-api --introspect --audience https://orders.example.com`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			secret, err := f.secret(args[0])
			if err != nil {
				return err
			}
			return withTools(func(t *tools, cmd *cobra.Command, args []string) error {
				return f.add(t, cmd, args[0], secret)
			})(cmd, args)
		},
	}
	c.Flags().BoolVar(&f.public, "public", false, "the client can't keep a secret (RFC 6749 section 2.1)")
	c.Flags().StringArrayVar(&f.grants, "grant", nil, "grant_type it may use: password, refresh_token or client_credentials; repeatable")
	c.Flags().StringArrayVar(&f.scopes, "scope", nil, "scope it may be granted; repeatable (default: default_scopes)")
	c.Flags().StringArrayVar(&f.redirects, "redirect-uri", nil, "redirection URI; repeatable")
	c.Flags().StringArrayVar(&f.audiences, "audience", nil,
		"resource server its tokens are for (RFC 8707), and whose tokens it may introspect; repeatable (default: every one)")
	c.Flags().StringArrayVar(&f.origins, "origin", nil, "origin of a page in browsers that may call /token and /revoke as this client, such as https://app.example; repeatable")
	c.Flags().DurationVar(&f.accessLifetime, "access-lifetime", 0, "how long its access tokens live, such as 5m (default: access_lifetime)")
	c.Flags().BoolVar(&f.introspect, "introspect", false, "it may ask POST /introspect about access tokens (RFC 7662), as a resource server does")
	c.Flags().StringVar(&f.secretFile, "secret-file", "", "file with the client's secret")
	addConfigFlags(c, "data", "redis")
	return c
}

// secret checks the flags and returns the client's secret, "" for a public one.
func (f *clientFlags) secret(id string) (string, error) {
	if err := f.check(id); err != nil {
		return "", err
	}
	if f.public {
		return "", nil
	}
	if f.secretFile == "" {
		return randomText(32), nil
	}
	secret, err := readSecretFile(f.secretFile)
	if err != nil {
		return "", failedf("reading the client's secret: %w", err)
	}
	if len(secret) < minClientSecret || !visibleASCII(secret) {
		return "", usagef("the client's secret needs at least %d characters, all visible ASCII", minClientSecret)
	}
	return secret, nil
}

func (f *clientFlags) check(id string) error {
	const longestID = 128
	switch {
	case !visibleASCII(id) || len(id) > longestID:
		return usagef("a client's id is at most %d characters, all visible ASCII", longestID)
	case strings.HasPrefix(id, storage.UserIDPrefix):
		return usagef("an id that begins with %s is a user's (RFC 9700 section 2.6)", storage.UserIDPrefix)
	case len(f.grants) == 0 && !f.introspect:
		return usagef("the client needs a --grant, or --introspect")
	case f.public && f.introspect:
		return usagef("a public client may not introspect: anybody can use its name (RFC 7662 section 2.1)")
	case f.public && f.secretFile != "":
		return usagef("a public client has no secret")
	case f.public && slices.Contains(f.grants, "client_credentials"):
		return usagef("a public client may not use client_credentials (RFC 6749 section 4.4)")
	case f.accessLifetime < 0 || f.accessLifetime > 24*time.Hour || f.accessLifetime%time.Second != 0:
		return usagef("--access-lifetime must be whole seconds, at most 24h")
	}
	return f.checkLists()
}

func (f *clientFlags) checkLists() error {
	for _, g := range f.grants {
		if g == "authorization_code" {
			return usagef("the server doesn't offer the grant authorization_code").
				withHint("password, refresh_token or client_credentials")
		}
		if !slices.Contains(demoGrants, g) {
			return usagef("unknown grant %q", g).withHint("password, refresh_token or client_credentials")
		}
	}
	for _, r := range f.redirects {
		u, err := url.Parse(r)
		if err != nil || !u.IsAbs() || strings.Contains(r, "#") {
			return usagef("%q is no absolute URI without a fragment (RFC 6749 section 3.1.2)", r)
		}
		if u.Scheme == "http" && (!f.public || !loopbackIP(u.Hostname())) {
			return usagef("%q must be https; plain http is for apps on the user's own device, which are public (RFC 9700 section 2.6)", r).
				withHint("such an app uses http://127.0.0.1 or http://[::1], not localhost (RFC 8252 section 8.3)")
		}
	}
	for _, a := range f.audiences {
		if !storage.ValidResource(a) {
			return usagef("%q is no absolute URI without a fragment (RFC 8707 section 2)", a)
		}
	}
	for _, o := range f.origins {
		if !originText(o) {
			return usagef("%q is no origin as browsers spell it", o).
				withHint("scheme://host, and :port unless it is the scheme's own, such as https://app.example; http is for loopback hosts only")
		}
	}
	return nil
}

func loopbackIP(host string) bool {
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}

// refuseUsername keeps a client from looking like a user (RFC 9700 section 2.6).
func refuseUsername(ctx context.Context, s storage.Users, id string) error {
	name, notAName := passhash.Username(id)
	if notAName != nil {
		return nil
	}
	_, err := s.LoadUser(ctx, name)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return nil
	case err != nil:
		return err
	}
	return failedf("there is a user %s: a client of that name could be taken for the user (RFC 9700 section 2.6)", name).
		withHint("choose another id")
}

var originForm = regexp.MustCompile(`^([a-z][a-z0-9+.-]*)://([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::([1-9][0-9]{0,4}))?$`)

// originText reports whether a browser could spell an origin so in the header
// Origin (RFC 6454 section 6.2): in lower case, without a path, and without the
// port that goes without saying. Plain http is for this machine alone: what the
// network can write must not read tokens.
func originText(s string) bool {
	parts := originForm.FindStringSubmatch(s)
	if parts == nil {
		return false
	}
	scheme, host, port := parts[1], strings.Trim(parts[2], "[]"), parts[3]
	if a, err := netip.ParseAddr(host); host != parts[2] && (err != nil || !a.Is6() || a.String() != host) {
		return false // brackets hold an IPv6 address, in its shortest form
	}
	if _, err := strconv.ParseUint(cmp.Or(port, "1"), 10, 16); err != nil {
		return false
	}
	switch scheme {
	case "http":
		return port != "80" && loopbackHost(host)
	case "https":
		return port != "443"
	}
	return true
}

func (f *clientFlags) add(t *tools, cmd *cobra.Command, id, secret string) error {
	if t.config.strict() && slices.Contains(f.grants, string(storage.Password)) {
		return usagef("the profile is strict: the server doesn't offer the password grant").
			withHint("profile: default offers it, though RFC 9700 section 2.4 advises against it")
	}
	scopes := f.scopes
	if len(scopes) == 0 && len(f.grants) > 0 {
		scopes = t.config.DefaultScopes
	}
	for _, s := range scopes {
		if !slices.Contains(t.config.Scopes, s) {
			return usagef("unknown scope %q", s).withHint("the configuration's scopes are " + strings.Join(t.config.Scopes, ", "))
		}
	}
	if err := refuseUsername(cmd.Context(), t.store, id); err != nil {
		return err
	}
	c := storage.Client{
		ID:             id,
		Public:         f.public,
		Grants:         f.grants,
		Scopes:         scopes,
		RedirectURIs:   f.redirects,
		Audiences:      f.audiences,
		Origins:        f.origins,
		Introspect:     f.introspect,
		AccessLifetime: f.accessLifetime,
		Created:        time.Now().UTC(),
	}
	if !f.public {
		c.Secret = storage.NewSecretVerifier(secret)
	}
	err := t.store.CreateClient(cmd.Context(), c)
	if errors.Is(err, storage.ErrExists) {
		return failedf("client %s exists already", id).withHint("grantd client delete " + id + " removes it with its grants")
	}
	if err != nil {
		return err
	}
	return f.printAdded(cmd, id, secret)
}

// printAdded prints the secret if it was made here: it is not kept, only its
// hash is.
func (f *clientFlags) printAdded(cmd *cobra.Command, id, secret string) error {
	out := cmd.OutOrStdout()
	fmt.Fprintf(out, "client_id      %s\n", id)
	if f.public || f.secretFile != "" {
		return nil
	}
	fmt.Fprintf(out, "client_secret  %s\n", secret)
	fmt.Fprintln(cmd.ErrOrStderr(), "The secret can't be shown again.")
	return nil
}
