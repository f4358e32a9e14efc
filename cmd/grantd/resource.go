package main

import (
	"net"
	"os"

	"github.com/spf13/cobra"

	"github.com/grantd/grantd/storage/opaque"
)

func resourceCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "resource",
		Short: "Run GET /users/me alone, as a resource server beside serve",
		Long: `Run GET /users/me alone, with its metadata, as a resource server beside serve.
Clients reach it at the URL in the key resource of the configuration. The listener
also has GET /metrics, unless the key metrics_addr sets another address for it.
With tls_cert all listeners use TLS; a renewed certificate is taken into use without
a restart. The server isn't ready until serve has run on the store, and doesn't start
if data names no file: only serve and init make one.` + aboutTraces,
		Example: "  grantd resource --config grantd.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := loadConfig(cmd, func(c *config, f *faults) { c.check(f, "resource_addr", c.ResourceAddr) })
			if err != nil {
				return err
			}
			if c.Redis.URL == "" {
				if err := storeExists(c.Data); err != nil {
					return err
				}
			}
			p, err := newProcess(cmd.Context(), c, os.Stderr, opaque.ReadOnly())
			if err != nil {
				return err
			}
			return p.run(cmd.Context(), c.ResourceAddr, func(net.Addr) (handlers, error) { return p.offerResource() })
		},
	}
	addConfigFlags(c, "issuer", "resource-addr", "metrics-addr", "data", "redis", "log-level", "log-format")
	return c
}
