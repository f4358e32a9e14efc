package main

import (
	"cmp"
	"errors"
	"io"
	"runtime"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"
)

func configCommand() *cobra.Command {
	check := &cobra.Command{
		Use:   "check",
		Short: "Print the configuration that is in effect, or everything wrong with it",
		Long: `Print the configuration that results from flags, environment, file and defaults,
with secrets redacted, and a last line that says that it is right. If anything is
wrong, print every fault and exit with 2.

The command reads the files that the configuration names, but it neither opens the
store nor asks Redis. grantd init does, and so does GET /readyz of a server, which
grantd healthcheck asks.`,
		Example: "  grantd config check --config grantd.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := loadConfig(cmd, func(c *config, f *faults) { c.checkServe(f) })
			var wrong *failure
			if errors.As(err, &wrong) {
				wrong.hint = "" // the hint names this very command
			}
			if err != nil {
				return err
			}
			c.warnUnknown(cmd.ErrOrStderr())
			enc := yaml.NewEncoder(cmd.OutOrStdout())
			enc.SetIndent(2)
			if err := enc.Encode(c.redacted()); err != nil {
				return err
			}
			if err := enc.Close(); err != nil {
				return err
			}
			_, err = io.WriteString(cmd.OutOrStdout(), "# The configuration is right. The store was not asked.\n")
			return err
		},
	}
	addConfigFlags(check, "issuer", "addr", "admin-addr", "metrics-addr", "data", "redis", "log-level", "log-format")
	return noun("config", "Check the configuration", check)
}

// defaultQueue is the default of passhash.
const defaultQueue = 64

// redacted returns a copy of c for printing: without the secrets in URLs, and with
// the effective values where zero or empty stands for a default.
func (c *config) redacted() config {
	shown := *c
	shown.Resource, _ = c.resources()
	shown.Redis.URL = redactURL(c.Redis.URL)
	shown.PasswordHash.Slots = cmp.Or(c.PasswordHash.Slots, runtime.GOMAXPROCS(0))
	shown.PasswordHash.Queue = cmp.Or(c.PasswordHash.Queue, defaultQueue)
	return shown
}
