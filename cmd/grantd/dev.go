package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/grantd/grantd/storage/embedded"
	"github.com/grantd/grantd/storage/opaque"
)

// devDir is where dev keeps its store and its deployment secret.
const devDir = ".grantd"

// The values of --throttle.
const (
	throttleOn  = "on"
	throttleOff = "off"
)

type devFlags struct {
	addr, redis, throttle string
	memory                bool
}

func devCommand() *cobra.Command {
	var f devFlags
	c := &cobra.Command{
		Use:   "dev",
		Short: "Run a server to try things with, on this machine only",
		Long: `Run a server to try things with. It has demo users and clients, uses plain http and
listens on loopback only. It reads no configuration file, and no environment
variables but those of OpenTelemetry. Users, clients and tokens are kept in
./.grantd/grantd.db, unless --redis or --memory is given.` + aboutTraces,
		Example: "  grantd dev\n  grantd dev --memory --addr 127.0.0.1:0\n  grantd dev --redis redis://127.0.0.1:6379/0\n  grantd dev --throttle off",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(); err != nil {
				return err
			}
			return dev(cmd.Context(), f, cmd.OutOrStdout())
		},
	}
	c.Flags().StringVar(&f.addr, "addr", "127.0.0.1:8080", "loopback address to listen on; port 0 picks a free one")
	c.Flags().StringVar(&f.redis, "redis", "", "URL of a Redis to use instead of the file")
	c.Flags().BoolVar(&f.memory, "memory", false, "keep everything in memory; it is lost at the end")
	c.Flags().StringVar(&f.throttle, "throttle", throttleOn, "limit guesses at passwords and client secrets: on, or off for tests that guess freely")
	return c
}

func (f devFlags) check() error {
	_, _, err := net.SplitHostPort(f.addr)
	switch {
	case err != nil:
		return usagef("--addr must be a loopback host and a port, not %q", f.addr).
			withHint("use --addr 127.0.0.1:8080")
	case !loopbackAddr(f.addr):
		return usagef("dev listens on loopback only, not on %q: its passwords are public", f.addr).
			withHint("use --addr 127.0.0.1:8080, or grantd serve for others to reach")
	case f.memory && f.redis != "":
		return usagef("--memory can't be combined with --redis")
	case f.throttle != throttleOn && f.throttle != throttleOff:
		return usagef("--throttle must be on or off, not %q", f.throttle)
	}
	return nil
}

// devSecret is where the deployment secret of dev is kept.
var devSecret = filepath.Join(devDir, "secret")

// config returns the configuration of dev. madeSecret reports whether this call made the
// deployment secret.
func (f devFlags) config() (_ *config, madeSecret bool, err error) {
	c := defaultConfig()
	c.Addr = f.addr
	c.Log.Format = "text"
	if f.memory {
		c.Data = embedded.Memory
		c.Secret = newSecret(randomText(32))
		return &c, false, nil
	}
	c.Redis.URL = f.redis
	if f.redis == "" {
		c.Data = filepath.Join(devDir, "grantd.db")
	}
	// The secret is kept for Redis too, so that the next run can read the keys that
	// this one leaves there.
	if err := os.MkdirAll(devDir, 0o700); err != nil {
		return nil, false, failedf("making the directory %s: %w", devDir, err)
	}
	if madeSecret, err = createFile(devSecret, 0o600, randomText(32)+"\n"); err != nil {
		return nil, false, failedf("writing the deployment secret: %w", err)
	}
	text, err := readSecretFile(devSecret)
	if err == nil {
		_, err = opaque.NewSealer([]byte(text))
	}
	if err != nil {
		return nil, false, failedf("reading %s: %w", devSecret, err).withHint(f.lostSecret())
	}
	c.Secret = newSecret(text)
	return &c, madeSecret, nil
}

// lostSecret returns the hint for a secret that isn't the one of the store.
func (f devFlags) lostSecret() string {
	anew := "delete " + devDir
	if f.redis != "" {
		anew = "name an empty database in --redis"
	}
	return "put back the " + devSecret + " that the store was first used with; or begin anew: " + anew
}

func dev(ctx context.Context, f devFlags, out io.Writer) error {
	c, madeSecret, err := f.config()
	if err != nil {
		return err
	}
	p, err := newProcess(ctx, c, os.Stderr)
	if err != nil {
		return err
	}
	p.sealedHint = f.lostSecret()
	if f.throttle == throttleOff {
		p.throttle = nil
	}
	p.prepare = func(ctx context.Context) error { return seedDemo(ctx, p.store, p.hasher) }
	p.announce = func(net.Addr) {
		printDev(out, c.Issuer)
		if !p.health.started.Load() {
			fmt.Fprintln(out, "\nThe store can't be reached yet. Until it can, requests are answered with 503. Then the users and clients are made.")
		}
	}
	err = p.run(ctx, c.Addr, func(a net.Addr) (handlers, error) {
		c.Issuer = f.issuer(a)
		return p.offerAll(demoPublicClient)
	})
	if madeSecret && errors.Is(err, opaque.ErrSealed) {
		_ = os.Remove(devSecret) // no store uses it, and it would look like the lost one
	}
	return err
}

// issuer returns the URL of the listener, with the host as --addr names it.
func (f devFlags) issuer(a net.Addr) string {
	host, _, _ := net.SplitHostPort(f.addr) // check has parsed it
	_, port, _ := net.SplitHostPort(a.String())
	return "http://" + net.JoinHostPort(host, port)
}

// selfAdmins returns the clients that can get the scope admin for themselves. A client
// has the same scopes for all its grant types, and most demo clients have admin only so
// that users can be granted it.
func selfAdmins() (ids []string) {
	for _, c := range demoClients {
		if slices.Contains(c.grants, "client_credentials") && slices.Contains(c.scopes, "admin") {
			ids = append(ids, c.id)
		}
	}
	return ids
}

// printDev prints examples that are ready to paste. Other programs read the address
// from the first line.
func printDev(w io.Writer, url string) {
	fmt.Fprintf(w, "grantd dev is listening on %s\n\nusers\n", url)
	for _, u := range demoUsers {
		fmt.Fprintf(w, "  %-12s %s\n", u.name, u.password)
	}
	fmt.Fprintf(w, "\nclients\n")
	for _, c := range demoClients {
		secret := c.secret
		if secret == "" {
			secret = "(public)"
		}
		fmt.Fprintf(w, "  %-12s %s\n", c.id, secret)
	}
	fmt.Fprintf(w, "\nThe clients %s get the scope admin with client_credentials if they ask for it.\n", strings.Join(selfAdmins(), ", "))
	fmt.Fprintln(w, "Clients with the password grant see passwords, which RFC 9700 section 2.4 advises against.")
	fmt.Fprintf(w, `
try
  curl -u demo:demo-secret -d grant_type=password -d username=alice -d password=secret123 %[1]s/token
  curl -u demo:demo-secret -d grant_type=refresh_token -d refresh_token=grt_... %[1]s/token
  curl -u demo:demo-secret -d grant_type=client_credentials %[1]s/token
  curl -u demo-admin:demo-admin-secret -d grant_type=client_credentials -d scope=admin %[1]s/token
  curl -H "Authorization: Bearer gat_..." %[1]s/users/me
  curl -u demo-api:demo-api-secret -d token=gat_... %[1]s/introspect
  curl -u demo:demo-secret -d token=grt_... %[1]s/revoke
  curl %[1]s/.well-known/oauth-authorization-server
  grantd login --username admin --server %[1]s
`, url)
}
