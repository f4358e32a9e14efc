package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/grantd/grantd/authserver/admin"
)

func grantCommand() *cobra.Command {
	return noun("grant", "See who holds access, and end it",
		grantListCommand(), grantShowCommand(), grantRevokeCommand())
}

// grantFields returns the fields of the grant, to be printed one per line.
func grantFields(g admin.Grant) [][]any {
	return [][]any{
		{"id", g.ID}, {"grant_type", g.Type}, {"username", g.Username}, {"user_id", g.UserID},
		{"client_id", g.ClientID}, {"scope", g.Scope}, {"audience", g.Audience}, {"created", g.Created},
		{"issued", g.Issued}, {"access_expires", g.AccessExpires}, {"refresh_expires", g.RefreshExpires},
		{"expires", g.Expires}, {"address", g.Address}, {"user_agent", g.UserAgent},
	}
}

type grantFilter struct {
	user, client, address string
	older, newer          time.Duration
	limit                 int
}

func grantListCommand() *cobra.Command {
	var f grantFilter
	c := addJSONFlag(addAPIFlags(&cobra.Command{
		Use:   "list",
		Short: "List the grants: the sign-ins that hold access",
		Example: "  grantd grant list --user alice\n" +
			"  grantd grant list --client web --older-than 720h --json\n" +
			"  grantd grant list --address 192.0.2.0/24",
		Args: cobra.NoArgs,
		RunE: withAPI(func(a *api, cmd *cobra.Command, _ []string) error {
			query, err := f.query(cmd)
			if err != nil {
				return err
			}
			err = listing[admin.Grant]{
				path: "/grants", query: query, member: "grants", limit: f.limit,
				heading: []any{"ID", "USERNAME", "CLIENT ID", "GRANT TYPE", "SCOPE", "CREATED", "EXPIRES", "ADDRESS"},
				row: func(g admin.Grant) []any {
					return []any{g.ID, g.Username, g.ClientID, g.Type, g.Scope, g.Created, g.Expires, g.Address}
				},
			}.show(a, cmd)
			if isProblem(err, "not_found") {
				err = cmp.Or(unknown(a, cmd, f.user, f.client), err)
			}
			return err
		}),
	}))
	c.Flags().StringVar(&f.user, "user", "", "only grants of this user")
	c.Flags().StringVar(&f.client, "client", "", "only grants of this client")
	c.Flags().DurationVar(&f.older, "older-than", 0, "only grants whose sign-in is longer ago than this, such as 24h")
	c.Flags().DurationVar(&f.newer, "newer-than", 0, "only grants whose sign-in is at most this long ago, such as 1h")
	c.Flags().StringVar(&f.address, "address", "", "only grants whose sign-in came from this address or network, such as 192.0.2.0/24")
	addLimitFlag(c, &f.limit)
	completeFlags(c)
	return c
}

// unknown returns a failure if the user or the client doesn't exist. Empty names aren't
// looked up.
func unknown(a *api, cmd *cobra.Command, user, client string) error {
	var err error
	if user != "" {
		_, _, err = loadUser(a, cmd, user)
	}
	if err == nil && client != "" {
		_, _, err = loadClient(a, cmd, client)
	}
	if errors.As(err, new(none)) {
		return err
	}
	return nil
}

func (f grantFilter) query(cmd *cobra.Command) (url.Values, error) {
	query := url.Values{}
	if cmd.Flags().Changed("user") {
		name, err := username(f.user)
		if err != nil {
			return nil, err
		}
		query.Set("user", name)
	}
	if cmd.Flags().Changed("client") {
		if !visibleASCII(f.client) {
			return nil, usagef("%q can't be a client's id: an id consists of visible ASCII characters", f.client)
		}
		query.Set("client", f.client)
	}
	if f.address != "" {
		query.Set("address", f.address)
	}
	for name, ago := range map[string]struct {
		flag string
		d    time.Duration
	}{"issued_before": {"older-than", f.older}, "issued_after": {"newer-than", f.newer}} {
		if !cmd.Flags().Changed(ago.flag) {
			continue
		}
		if ago.d < 0 {
			return nil, usagef("--%s must not be negative", ago.flag)
		}
		query.Set(name, time.Now().UTC().Add(-ago.d).Format(time.RFC3339))
	}
	return query, nil
}

func grantShowCommand() *cobra.Command {
	return addJSONFlag(addAPIFlags(&cobra.Command{
		Use:   "show GRANT-ID",
		Short: "Show a grant",
		Example: "  grantd grant show Adn58IbbI6QK8QwC4JQdlQ\n" +
			"  grantd grant show -- -muHsie4c-0lXlhHD5aICQ  # two hyphens before an id that begins with one",
		Args: cobra.ExactArgs(1),
		RunE: withAPI(func(a *api, cmd *cobra.Command, args []string) error {
			var document json.RawMessage
			var g admin.Grant
			err := a.get(cmd.Context(), "/grants/"+segment(args[0]), nil, &document)
			if isProblem(err, "not_found") {
				return noGrant()
			}
			if err == nil {
				err = understand(document, &g)
			}
			if err != nil {
				return err
			}
			return showOne(cmd, document, grantFields(g))
		}),
	}))
}

func noGrant() error {
	return failedf("there is no such grant, or it has ended").withHint("grantd grant list shows the grants")
}

type revokeFlags struct {
	user, client, before string
	all, noWait          bool
}

func grantRevokeCommand() *cobra.Command {
	var f revokeFlags
	c := addJSONFlag(addAPIFlags(addYesFlag(&cobra.Command{
		Use:   "revoke [GRANT-ID]",
		Short: "End one grant, the grants of a user or a client, or all grants",
		Long: `End one grant, the grants of a user or a client, or all grants. From the next
request on, all servers refuse their tokens. The command then waits until the
records of the grants are deleted, and prints the receipt.`,
		Example: "  grantd grant revoke --user alice\n" +
			"  grantd grant revoke --client web --issued-before 2026-11-25T00:00:00Z\n" +
			"  grantd grant revoke --all --yes\n" +
			"  grantd grant revoke Adn58IbbI6QK8QwC4JQdlQ",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			body, err := f.body(cmd, args)
			if err != nil {
				return err
			}
			if f.all {
				if err := confirm(cmd, "End all grants of everybody, yours included?"); err != nil {
					return err
				}
			}
			return withAPI(func(a *api, cmd *cobra.Command, _ []string) error {
				return revoke(a, cmd, body, !f.noWait)
			})(cmd, args)
		},
	})))
	c.Flags().StringVar(&f.user, "user", "", "end all grants of this user")
	c.Flags().StringVar(&f.client, "client", "", "end all grants of this client")
	c.Flags().BoolVar(&f.all, "all", false, "end all grants of everybody")
	c.Flags().StringVar(&f.before, "issued-before", "", "end only those of them whose sign-in is before this time, such as 2026-01-31T12:00:00Z")
	c.Flags().Lookup("yes").Usage = "don't ask for confirmation of --all; needed with --all if there is no terminal"
	c.Flags().BoolVar(&f.noWait, "no-wait", false, "don't wait until the records of the grants are deleted")
	completeFlags(c)
	return c
}

// body returns the revocation to ask for. It has exactly one target.
func (f revokeFlags) body(cmd *cobra.Command, args []string) (map[string]any, error) {
	body := map[string]any{}
	if len(args) > 0 {
		if tokenText(args[0]) {
			return nil, tokenArgument().withHint("grantd token revoke --token-file FILE ends the sign-in that a token belongs to")
		}
		body["grant"] = args[0]
	}
	if cmd.Flags().Changed("user") {
		name, err := username(f.user)
		if err != nil {
			return nil, err
		}
		body["user"] = name
	}
	if cmd.Flags().Changed("client") {
		body["client"] = f.client
	}
	if f.all {
		body["all"] = true
	}
	if len(body) != 1 {
		return nil, usagef("exactly one of GRANT-ID, --user, --client and --all is needed").
			withHint("grantd grant list shows the grants")
	}
	if f.before == "" {
		return body, nil
	}
	before, err := time.Parse(time.RFC3339, f.before)
	if err != nil || len(args) > 0 {
		return nil, usagef("--issued-before must be a time such as 2026-01-31T12:00:00Z, together with --user, --client or --all")
	}
	body["issued_before"] = before.UTC().Format(time.RFC3339Nano)
	return body, nil
}

// revoke asks for the revocation and, if wait, waits until the sweep has deleted the
// records.
func revoke(a *api, cmd *cobra.Command, body map[string]any, wait bool) error {
	var document json.RawMessage
	status, err := a.exchange(cmd.Context(), http.MethodPost, "/revocations", body, &document)
	switch {
	case isProblem(err, "not_found") && body["user"] != nil:
		return noUser(body["user"].(string))
	case isProblem(err, "not_found") && body["client"] != nil:
		return noClient(body["client"].(string))
	case isProblem(err, "not_found") && body["grant"] != nil:
		return noGrant()
	case isProblem(err, "invalid_field") && body["grant"] != nil:
		return usagef("%q isn't the id of a grant", body["grant"]).withHint("grantd grant list shows the grants")
	case err != nil:
		return err
	}
	if status == http.StatusAccepted && wait {
		if document, err = awaitSweep(a, cmd, document); err != nil {
			return err
		}
	}
	return showReceipt(cmd, document)
}
