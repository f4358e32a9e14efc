package main

import (
	"context"
	"net"
	"os"

	"github.com/spf13/cobra"
)

func serveCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run the authorization server and GET /users/me",
		Long: `Run the authorization server (POST /token, /revoke and /introspect) and
GET /users/me on one listener, with the metadata of both. The listener also has the
admin API below /admin/v1, unless the key admin_addr sets another address for it,
and GET /metrics, unless metrics_addr does. The internet should not reach
/metrics. With tls_cert all listeners use TLS; a renewed certificate is taken into
use without a restart.

serve doesn't start if anything in the configuration is wrong, or if the store has
the users or clients of grantd dev, whose passwords are public. While the store
can't answer, requests are answered with 503.` + aboutTraces,
		Example: "  grantd serve --config grantd.yaml\n  GRANTD_CONFIG=/etc/grantd.yaml grantd serve --addr 127.0.0.1:8080",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := loadConfig(cmd, func(c *config, f *faults) { c.checkServe(f) })
			if err != nil {
				return err
			}
			return serve(cmd.Context(), c)
		},
	}
	addConfigFlags(c, "issuer", "addr", "admin-addr", "metrics-addr", "data", "redis", "log-level", "log-format")
	return c
}

func serve(ctx context.Context, c *config) error {
	p, err := newProcess(ctx, c, os.Stderr)
	if err != nil {
		return err
	}
	p.prepare = func(ctx context.Context) error {
		if err := refuseDemo(ctx, p.store, p.hasher); err != nil {
			return err
		}
		return p.firstAdmin(ctx)
	}
	p.ready = func(ctx context.Context) {
		p.warnOfNobody(ctx)
		if !c.strict() {
			p.warnOfPasswords(ctx)
		}
	}
	return p.run(ctx, c.Addr, func(net.Addr) (handlers, error) { return p.offerAll("") })
}

// warnOfNobody logs a hint when the store has no users. An error of the store is
// ignored.
func (p *process) warnOfNobody(ctx context.Context) {
	users, err := p.store.ListUsers(ctx, "", 1)
	if err == nil && len(users) == 0 {
		p.log.Warn("the store has no users yet", "hint", "grantd init makes the first admin, and so does admin_password_file")
	}
}

// firstAdmin makes the first admin if a password for it is configured.
func (p *process) firstAdmin(ctx context.Context) error {
	if p.config.AdminPassword.IsZero() {
		return nil
	}
	_, made, err := ensureAdmin(ctx, p.store, newAdmin{
		name:     defaultAdmin,
		login:    p.config.offersLogin(),
		password: func() (string, error) { return p.config.AdminPassword.Reveal(), nil },
		hasher:   p.hasher,
	})
	if err == nil && made {
		p.log.Info("made the first admin", "user", defaultAdmin)
	}
	return err
}
