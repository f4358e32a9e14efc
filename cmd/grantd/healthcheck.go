package main

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/spf13/cobra"
)

func healthcheckCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "healthcheck",
		Short: "Ask the server on this machine whether it is ready",
		Long: `Ask GET /readyz of the server on this machine. Exit with 0 if the server is ready,
else with 1. The address is the one in addr of the configuration or in --addr, as
for serve; with tls_cert the request uses TLS. The command is for scripts, and for
health checks in containers that have no other HTTP client.`,
		Example: "  grantd healthcheck --config grantd.yaml\n  grantd healthcheck --addr 127.0.0.1:8082\n  grantd healthcheck --url http://127.0.0.1:8081/readyz",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if asked := cmd.Flags().Lookup("url").Value.String(); asked != "" {
				if cmd.Flags().Changed("addr") {
					return usagef("--addr can't be combined with --url")
				}
				u, err := url.Parse(asked)
				if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
					return usagef("--url must be a URL such as http://127.0.0.1:8081/readyz")
				}
				return healthcheck(cmd.Context(), http.DefaultTransport, asked)
			}
			f := &faults{}
			c := readLayers(cmd, f)
			checkAddr(f, "addr", c.Addr)
			if err := f.err(); err != nil {
				return err
			}
			return healthcheck(cmd.Context(), localTransport, localURL(c))
		},
	}
	c.Flags().String("url", "", "URL to ask instead, such as http://127.0.0.1:8081/readyz")
	c.Flags().String("addr", "", "address that the server listens on, host:port")
	addConfigFlags(c)
	return c
}

// localTransport doesn't verify the certificate, which is for the name of the issuer
// and not for the loopback address that healthcheck asks.
var localTransport = &http.Transport{
	TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // no secret is sent, and the peer is this machine
}

// localURL returns the URL of /readyz for a request from the machine of the server.
func localURL(c *config) string {
	host, port, _ := net.SplitHostPort(c.Addr) // checkAddr has parsed it
	if a, err := netip.ParseAddr(host); host == "" || err == nil && a.IsUnspecified() {
		host = "127.0.0.1"
	}
	scheme := "http"
	if c.TLSCert != "" {
		scheme = "https"
	}
	return scheme + "://" + net.JoinHostPort(host, port) + "/readyz"
}

func healthcheck(ctx context.Context, t http.RoundTripper, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return usagef("--url: %w", err)
	}
	resp, err := (&http.Client{Transport: t}).Do(req)
	if err != nil {
		return failedf("the server does not answer: %w", err).withHint(hintCA(err))
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return failedf("the server is not ready: %s", resp.Status)
	}
	return nil
}
