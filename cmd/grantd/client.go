package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/grantd/grantd/authserver/admin"
	"github.com/grantd/grantd/storage"
)

func clientCommand() *cobra.Command {
	return noun("client", "Manage clients",
		clientListCommand(), clientShowCommand(), clientAddCommand(), clientUpdateCommand(),
		clientRotateSecretCommand(), clientDeleteCommand())
}

func clientKind(c admin.Client) string {
	if c.Public {
		return "public"
	}
	return "confidential"
}

// passwordGrant tells whether the client may use the password grant. off means that
// the profile is strict.
func passwordGrant(c admin.Client, off bool) string {
	if !slices.Contains(c.GrantTypes, string(storage.Password)) {
		return "no"
	}
	if off {
		return "off"
	}
	return "yes"
}

func accessLifetime(c admin.Client) string {
	if c.AccessLifetime == 0 {
		return "default"
	}
	return (time.Duration(c.AccessLifetime) * time.Second).String()
}

// clientVerb returns a command on one client.
func clientVerb(verb, short string, run apiFunc) *cobra.Command {
	return addAPIFlags(&cobra.Command{
		Use:               verb + " ID",
		Short:             short,
		Example:           "  grantd client " + verb + " web",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeClients,
		RunE:              withAPI(run),
	})
}

func clientPath(id string) string { return "/clients/" + segment(id) }

// loadClient returns the client, and the JSON document of it.
func loadClient(a *api, cmd *cobra.Command, id string) (c admin.Client, document json.RawMessage, err error) {
	if !visibleASCII(id) {
		return c, nil, usagef("%q can't be a client's id: an id consists of visible ASCII characters", id)
	}
	err = a.get(cmd.Context(), clientPath(id), nil, &document)
	if isProblem(err, "not_found") {
		return c, nil, noClient(id)
	}
	if err == nil {
		err = understand(document, &c)
	}
	return c, document, err
}

func visibleASCII(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

func noClient(id string) error {
	return failedf("%w", none(fmt.Sprintf("there is no client %q", id))).withHint("grantd client list shows the clients")
}

func clientListCommand() *cobra.Command {
	var limit int
	c := &cobra.Command{
		Use:   "list",
		Short: "List the clients",
		Long: `List the clients. The column PASSWORD tells whether a client may use the password
grant. Such clients see the passwords of their users, which RFC 9700 section 2.4
advises against. "off" means that the client has this grant but can't use it,
because the profile is strict.`,
		Example: "  grantd client list\n  grantd client list --json",
		Args:    cobra.NoArgs,
		RunE: withAPI(func(a *api, cmd *cobra.Command, _ []string) error {
			off := !asJSON(cmd) && a.passwordsOff(cmd.Context())
			return listing[admin.Client]{
				path: "/clients", member: "clients", limit: limit,
				heading: []any{"CLIENT ID", "KIND", "PASSWORD", "GRANT TYPES", "SCOPES", "AUDIENCES", "INTROSPECT", "ACCESS LIFETIME", "ORIGINS"},
				row: func(c admin.Client) []any {
					return []any{
						c.ClientID, clientKind(c), passwordGrant(c, off), c.GrantTypes, c.Scopes, c.Audiences, c.Introspect,
						accessLifetime(c), c.Origins,
					}
				},
			}.show(a, cmd)
		}),
	}
	addJSONFlag(addAPIFlags(c))
	addLimitFlag(c, &limit)
	return c
}

func clientShowCommand() *cobra.Command {
	return addJSONFlag(clientVerb("show", "Show a client", func(a *api, cmd *cobra.Command, args []string) error {
		c, document, err := loadClient(a, cmd, args[0])
		if err != nil {
			return err
		}
		fields := [][]any{
			{"client_id", c.ClientID}, {"kind", clientKind(c)}, {"grant_types", c.GrantTypes}, {"scopes", c.Scopes},
			{"redirect_uris", c.RedirectURIs}, {"audiences", c.Audiences}, {"origins", c.Origins},
			{"introspect", c.Introspect}, {"access_lifetime", accessLifetime(c)}, {"created", c.Created},
		}
		if !c.PreviousSecretExpires.IsZero() {
			fields = append(fields, []any{"previous_secret_expires", c.PreviousSecretExpires})
		}
		return showOne(cmd, document, fields)
	}))
}

func clientRotateSecretCommand() *cobra.Command {
	var overlap time.Duration
	var file string
	c := clientVerb("rotate-secret", "Give a client a new secret", func(a *api, cmd *cobra.Command, args []string) error {
		if overlap%time.Second != 0 {
			return usagef("--overlap must be whole seconds")
		}
		c, _, err := loadClient(a, cmd, args[0])
		if err != nil {
			return err
		}
		body := map[string]any{"overlap": int64(overlap / time.Second)}
		if file != "" {
			if body["client_secret"], err = broughtSecret(file); err != nil {
				return err
			}
		}
		if overlap == 0 {
			if err := confirm(cmd, "Replace the secret of client "+c.ClientID+" at once and end all its grants?"); err != nil {
				return err
			}
		}
		var document json.RawMessage
		if err := a.send(cmd.Context(), http.MethodPost, clientPath(c.ClientID)+"/secret", body, &document); err != nil {
			return (&clientFlags{}).explain(err)
		}
		return showSecret(cmd, c.ClientID, document, file == "")
	})
	c.Long = `Give a client a new secret. It is made and printed once, unless --secret-file has
one. With --overlap the old secret stays valid for that time, and the client's
grants don't end. Without --overlap the old secret and all grants of the client end
at once. While two secrets are valid, another rotation with --overlap is refused.` + whereItActs
	c.Example = "  grantd client rotate-secret web --overlap 24h\n  grantd client rotate-secret web --yes"
	c.Flags().DurationVar(&overlap, "overlap", 0, "how long the old secret stays valid, such as 24h (default: it ends at once)")
	c.Flags().StringVar(&file, "secret-file", "", "file with the new secret (default: a secret is made)")
	return addJSONFlag(addYesFlag(c))
}

func clientDeleteCommand() *cobra.Command {
	c := clientVerb("delete", "Delete a client and end all its grants", func(a *api, cmd *cobra.Command, args []string) error {
		c, _, err := loadClient(a, cmd, args[0])
		if err != nil {
			return a.surely(cmd.Context(), err, clientPath(args[0]))
		}
		if err := confirm(cmd, "Delete client "+c.ClientID+" and end all its grants?"); err != nil {
			return err
		}
		if err := a.send(cmd.Context(), http.MethodDelete, clientPath(c.ClientID), nil, nil); err != nil {
			return err
		}
		return say(cmd, map[string]string{"client_id": c.ClientID}, "client %s is deleted, and all its grants are ended", c.ClientID)
	})
	c.Example = "  grantd client delete web\n  grantd client delete web --yes"
	return addJSONFlag(addYesFlag(c))
}
