package main

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/grantd/grantd/storage"
)

func clientCommand() *cobra.Command {
	return noun("client", "Manage clients", clientAddCommand(), clientListCommand(), clientDeleteCommand())
}

// listedClient is a client for people and scripts: without the secret's hash.
type listedClient struct {
	ID             string    `json:"id"`
	Public         bool      `json:"public"`
	Grants         []string  `json:"grants"`
	PasswordGrant  bool      `json:"password_grant"`     // RFC 9700 section 2.4 advises against it
	PasswordOff    bool      `json:"password_grant_off"` // it has the grant, but the profile is strict
	Scopes         []string  `json:"scopes"`
	RedirectURIs   []string  `json:"redirect_uris"`
	Audiences      []string  `json:"audiences"`  // resource servers that it may ask for, RFC 8707
	Origins        []string  `json:"origins"`    // of pages that may call as this client
	Introspect     bool      `json:"introspect"` // may learn of access tokens, RFC 7662
	AccessLifetime string    `json:"access_lifetime,omitempty"`
	Created        time.Time `json:"created"`
}

func listed(c storage.Client, strict bool) listedClient {
	l := listedClient{
		ID:            c.ID,
		Public:        c.Public,
		Grants:        append([]string{}, c.Grants...),
		PasswordGrant: mayUsePasswords(c),
		PasswordOff:   mayUsePasswords(c) && strict,
		Scopes:        append([]string{}, c.Scopes...),
		RedirectURIs:  append([]string{}, c.RedirectURIs...),
		Audiences:     append([]string{}, c.Audiences...),
		Origins:       append([]string{}, c.Origins...),
		Introspect:    c.Introspect,
		Created:       c.Created,
	}
	if c.AccessLifetime > 0 {
		l.AccessLifetime = c.AccessLifetime.String()
	}
	return l
}

func clientListCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "list",
		Short: "List the clients",
		Long: `List the clients. PASSWORD marks those that may use the password grant: they
see their users' passwords, which RFC 9700 section 2.4 advises against. Off
means that it has no effect, because the profile is strict.`,
		Example: "  grantd client list --config grantd.yaml --json",
		Args:    cobra.NoArgs,
		RunE: withTools(func(t *tools, cmd *cobra.Command, _ []string) error {
			clients := []listedClient{}
			err := eachClient(cmd.Context(), t.store, func(c storage.Client) bool {
				clients = append(clients, listed(c, t.config.strict()))
				return true
			})
			if err != nil {
				return err
			}
			if asJSON, _ := cmd.Flags().GetBool("json"); asJSON {
				return writeIndented(cmd.OutOrStdout(), clients)
			}
			return writeTable(cmd.OutOrStdout(), clientRows(clients))
		}),
	}
	c.Flags().Bool("json", false, "print JSON")
	addConfigFlags(c, "data", "redis")
	return c
}

func clientRows(clients []listedClient) [][]any {
	rows := [][]any{{"ID", "KIND", "PASSWORD", "GRANTS", "SCOPES", "AUDIENCES", "INTROSPECT", "ACCESS LIFETIME", "ORIGINS"}}
	for _, c := range clients {
		kind := "confidential"
		if c.Public {
			kind = "public"
		}
		rows = append(rows, []any{
			c.ID, kind, c.password(), spaced(c.Grants), spaced(c.Scopes), spaced(c.Audiences), yesNo(c.Introspect),
			cmp.Or(c.AccessLifetime, "default"), spaced(c.Origins),
		})
	}
	return rows
}

// password says whether the client may use the password grant.
func (c listedClient) password() string {
	if c.PasswordOff {
		return "off"
	}
	return yesNo(c.PasswordGrant)
}

func spaced(s []string) string { return cmp.Or(strings.Join(s, " "), "-") }

// clientDeleteCommand takes the client's rights away first and forgets it last,
// for the reason that userDeleteCommand gives.
func clientDeleteCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "delete ID",
		Short:   "Delete a client and end all its grants",
		Example: "  grantd client delete web --config grantd.yaml --yes",
		Args:    cobra.ExactArgs(1),
		RunE: withTools(func(t *tools, cmd *cobra.Command, args []string) error {
			ctx, id := cmd.Context(), args[0]
			c, err := t.store.LoadClient(ctx, id)
			if errors.Is(err, storage.ErrNotFound) {
				return failedf("there is no client %q", id).withHint("grantd client list shows which there are")
			}
			if err != nil {
				return err
			}
			if err := confirm(cmd, "Delete client "+id+" and end all its grants?"); err != nil {
				return err
			}
			c.Grants, c.Secret = nil, storage.SecretVerifier{}
			if err := t.store.UpdateClient(ctx, c); err != nil {
				return err
			}
			n, err := endGrants(ctx, t.store, storage.Target{ClientID: id})
			if err != nil {
				return err
			}
			if err := t.store.DeleteClient(ctx, id); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "client %s is deleted, %s ended\n", id, counted(n, "grant"))
			return err
		}),
	}
	c.Flags().Bool("yes", false, "don't ask; needed without a terminal")
	addConfigFlags(c, "data", "redis")
	return c
}
