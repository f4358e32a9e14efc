package main

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// override is a flag that overrides a key of the configuration.
type override struct {
	usage string
	set   func(*config, string)
}

// overrides are all such flags by name. A flag that names a store replaces the
// store, of either kind, of the layers below.
var overrides = map[string]override{
	"issuer":        {"URL at which clients reach the server", func(c *config, v string) { c.Issuer = v }},
	"data":          {"file of the embedded store", func(c *config, v string) { c.Data, c.Redis = v, redisConfig{} }},
	"redis":         {"URL of the Redis to use as the store", func(c *config, v string) { c.Data, c.Redis.URL = "", v }},
	"from":          {"URL of the Redis of the stock go-oauth2 server", func(c *config, v string) { c.MigrateFrom = newSecret(v) }},
	"log-level":     {"lowest level to log: debug, info, warn or error", func(c *config, v string) { c.Log.Level = v }},
	"log-format":    {"format of the log: json or text", func(c *config, v string) { c.Log.Format = v }},
	"addr":          {"address to listen on, host:port", func(c *config, v string) { c.Addr = v }},
	"admin-addr":    {"separate address for the admin API, host:port", func(c *config, v string) { c.AdminAddr = v }},
	"metrics-addr":  {"separate address for GET /metrics, host:port", func(c *config, v string) { c.MetricsAddr = v }},
	"resource-addr": {"address to listen on, host:port", func(c *config, v string) { c.ResourceAddr = v }},
}

// addConfigFlags gives the command the flag --config and the named overrides.
func addConfigFlags(cmd *cobra.Command, names ...string) {
	cmd.Flags().String("config", "", "configuration file, YAML (or GRANTD_CONFIG)")
	for _, name := range names {
		cmd.Flags().String(name, "", overrides[name].usage)
	}
}

// loadConfig returns the configuration of a command with the flags of
// addConfigFlags, or one error that lists all faults, including those of check.
func loadConfig(cmd *cobra.Command, check func(*config, *faults)) (*config, error) {
	if file := configFile(cmd); file != "" {
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			return nil, usagef("there is no file %s", file)
		}
	}
	f := &faults{}
	c := readLayers(cmd, f)
	c.Unknown = unknownVariables(environment())
	check(c, f)
	if err := f.err(); err != nil {
		c.warnUnknown(cmd.ErrOrStderr()) // a misspelt variable may be the reason
		return nil, err
	}
	return c, nil
}

// configFile returns the configuration file for the command, or "".
func configFile(cmd *cobra.Command) string {
	if cmd.Flags().Changed("config") {
		return cmd.Flags().Lookup("config").Value.String()
	}
	return environment()[envPrefix+"CONFIG"]
}

func readLayers(cmd *cobra.Command, f *faults) *config {
	flags := cmd.Flags()
	environ := environment()
	if flags.Changed("data") && flags.Changed("redis") {
		f.addf("--data", "can't be combined with --redis: name one of them")
	}
	c := layers{file: configFile(cmd), environ: environ, flags: func(c *config) {
		for name, o := range overrides {
			if flags.Changed(name) {
				o.set(c, flags.Lookup(name).Value.String())
			}
		}
	}}.load(f)
	return &c
}

// environment returns the variables of the process that begin with GRANTD_.
func environment() map[string]string {
	found := map[string]string{}
	for _, pair := range os.Environ() {
		if name, value, ok := strings.Cut(pair, "="); ok && strings.HasPrefix(name, envPrefix) {
			found[name] = value
		}
	}
	return found
}
