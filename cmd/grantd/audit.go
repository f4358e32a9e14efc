package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/grantd/grantd/storage"
)

func auditCommand() *cobra.Command {
	return noun("audit", "Read the audit trail: who did what", auditListCommand(), auditTailCommand())
}

// auditPage is a page of the audit trail, in order of time.
type auditPage struct {
	Events   []json.RawMessage `json:"events"`
	Next     string            `json:"next"`     // where later events begin
	Previous string            `json:"previous"` // cursor of the page before
}

type auditFilter struct{ action, user, client string }

func (f *auditFilter) addTo(c *cobra.Command) {
	c.Flags().StringVar(&f.action, "action", "", "only events with this action, such as signin or user.update")
	c.Flags().StringVar(&f.user, "user", "", "only events that this user caused, or that concern this user")
	c.Flags().StringVar(&f.client, "client", "", "only events that this client caused, or that concern this client")
	completeFlags(c)
	if err := c.RegisterFlagCompletionFunc("action", cobra.FixedCompletions(auditActions, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the command has no such flag
	}
}

func (f auditFilter) query() (url.Values, error) {
	query := url.Values{}
	if f.action != "" && !slices.Contains(auditActions, f.action) {
		return nil, usagef("there is no action %q", f.action).withHint("the actions are " + strings.Join(auditActions, ", "))
	}
	if f.user != "" {
		name, err := username(f.user)
		if err != nil {
			return nil, err
		}
		query.Set("user", name)
	}
	for name, value := range map[string]string{"action": f.action, "client": f.client} {
		if value != "" {
			query.Set(name, value)
		}
	}
	return query, nil
}

// warnOfUnknown warns if the user or the client doesn't exist, of which no event was
// found. It is no failure: the trail has events of deleted users and clients too.
func (f auditFilter) warnOfUnknown(a *api, cmd *cobra.Command) {
	user := f.user
	if strings.HasPrefix(user, storage.UserIDPrefix) {
		user = "" // an id, not a name
	}
	if err := unknown(a, cmd, user, f.client); err != nil {
		fmt.Fprintf(cmd.ErrOrStderr(), "grantd: warning: %v, and the trail has no such event of a deleted one\n", err)
	}
}

// auditTrail reads the audit trail.
type auditTrail struct {
	api   *api
	query url.Values
}

func (t auditTrail) page(ctx context.Context, params map[string]string) (auditPage, error) {
	query := maps.Clone(t.query)
	for name, value := range params {
		query.Set(name, value)
	}
	var p auditPage
	err := t.api.get(ctx, "/audit", query, &p)
	return p, err
}

// newest returns the last n events, and the position of the events after them.
func (t auditTrail) newest(ctx context.Context, n int) (events []json.RawMessage, next string, err error) {
	params := map[string]string{}
	for {
		params["limit"] = strconv.Itoa(min(n-len(events), largestPage))
		p, err := t.page(ctx, params)
		if err != nil {
			return nil, "", err
		}
		events = append(slices.Clone(p.Events), events...)
		next = cmp.Or(next, p.Next)
		if p.Previous == "" || len(events) >= n {
			return events, next, nil
		}
		params["before"] = p.Previous
	}
}

// auditActions are the actions that --action takes.
var auditActions = []string{
	string(storage.ActSignIn), string(storage.ActRefresh), string(storage.ActRetry), string(storage.ActReuse),
	string(storage.ActRevoke), string(storage.ActClientAuth), string(storage.ActThrottleOn), string(storage.ActThrottleOff),
	string(storage.ActPasswordChange), string(storage.ActUserCreate), string(storage.ActUserUpdate), string(storage.ActUserPassword),
	string(storage.ActUserDelete), string(storage.ActUserImport), string(storage.ActUserExport), string(storage.ActClientCreate),
	string(storage.ActClientUpdate), string(storage.ActClientSecret), string(storage.ActClientDelete), string(storage.ActGrantEnd),
	string(storage.ActRevocation), string(storage.ActKeyRotate), string(storage.ActKeyDelete), string(storage.ActMigrate),
}

// whatIsAudited returns the part of the help that lists the actions.
func whatIsAudited() string {
	const perLine = 6
	lines := "\n\nThe actions are"
	for some := range slices.Chunk(auditActions, perLine) {
		lines += "\n  " + strings.Join(some, " ")
	}
	return lines
}

func auditListCommand() *cobra.Command {
	var f auditFilter
	var limit int
	c := addJSONFlag(addAPIFlags(&cobra.Command{
		Use:     "list",
		Short:   "List the newest events of the audit trail, the newest last",
		Long:    "List the newest events of the audit trail, the newest last." + whatIsAudited(),
		Example: "  grantd audit list --limit 1000 --json\n  grantd audit list --user alice --action signin",
		Args:    cobra.NoArgs,
		RunE: withAPI(func(a *api, cmd *cobra.Command, _ []string) error {
			query, err := f.query()
			if err != nil {
				return err
			}
			if limit < 1 {
				return usagef("--limit must be at least 1")
			}
			events, _, err := auditTrail{a, query}.newest(cmd.Context(), limit)
			if err != nil {
				return err
			}
			if len(events) == 0 {
				f.warnOfUnknown(a, cmd)
			}
			if asJSON(cmd) {
				list := &jsonList{w: cmd.OutOrStdout()}
				if err := list.add(events); err != nil {
					return err
				}
				return list.end()
			}
			rows := [][]any{auditHeading}
			for _, document := range events {
				row, err := auditRow(document)
				if err != nil {
					return err
				}
				rows = append(rows, row)
			}
			return writeTable(cmd.OutOrStdout(), rows)
		}),
	}))
	f.addTo(c)
	const usual = 100
	c.Flags().IntVar(&limit, "limit", usual, "list at most this many events")
	return c
}

var auditHeading = []any{"TIME", "ACTION", "OUTCOME", "BY", "USER", "CLIENT", "OBJECT", "ADDRESS", "DETAIL"}

func auditRow(document json.RawMessage) ([]any, error) {
	var e storage.AuditEvent
	if err := understand(document, &e); err != nil {
		return nil, err
	}
	by := cmp.Or(e.ActorUser, e.ActorClient)
	if by == "" && e.Local {
		by = "(local)"
	}
	address := ""
	if e.Address.IsValid() {
		address = e.Address.String()
	}
	user, client := cmp.Or(e.Username, e.ActorUser), cmp.Or(e.ClientID, e.ActorClient)
	return []any{
		e.Time, e.Action, e.Outcome, by, user, client, cmp.Or(e.GrantID, e.Object), address, e.Detail,
	}, nil
}

func auditTailCommand() *cobra.Command {
	var f auditFilter
	var lines int
	var follow bool
	c := addJSONFlag(addAPIFlags(&cobra.Command{
		Use:     "tail",
		Short:   "Print the last events of the audit trail, with --follow also new ones",
		Long:    "Print the last events of the audit trail. With --follow, go on to print new events\nas they come. With --json, each line is a JSON document." + whatIsAudited(),
		Example: "  grantd audit tail --follow\n  grantd audit tail --follow --user alice --json",
		Args:    cobra.NoArgs,
		RunE: withAPI(func(a *api, cmd *cobra.Command, _ []string) error {
			query, err := f.query()
			if err != nil {
				return err
			}
			if lines < 0 || lines == 0 && !follow {
				return usagef("--lines must be at least 1, or 0 with --follow")
			}
			t := auditTrail{a, query}
			events, next, err := t.newest(cmd.Context(), max(lines, 1))
			if err != nil {
				return err
			}
			if len(events) == 0 {
				f.warnOfUnknown(a, cmd)
			}
			if lines == 0 {
				events = nil
			}
			show := eventPrinter(cmd)
			if err := show(events); err != nil || !follow {
				return err
			}
			return t.follow(cmd.Context(), next, show)
		}),
	}))
	f.addTo(c)
	const usual = 10
	c.Flags().IntVarP(&lines, "lines", "n", usual, "print this many of the last events")
	c.Flags().BoolVarP(&follow, "follow", "f", false, "go on to print new events, until interrupted")
	return c
}

// follow calls take with the events after the position as they come, until ctx ends.
func (t auditTrail) follow(ctx context.Context, position string, take func([]json.RawMessage) error) error {
	const wait = "25" // seconds
	for {
		p, err := t.page(ctx, map[string]string{"after": position, "wait": wait, "limit": strconv.Itoa(largestPage)})
		switch {
		case ctx.Err() != nil:
			return nil // the user interrupted the command
		case err != nil:
			return err
		}
		if err := take(p.Events); err != nil {
			return err
		}
		position = cmp.Or(p.Next, position)
	}
}

// eventPrinter returns a function that prints events as they come: a JSON document
// per line, or columns of fixed widths that suit most values.
func eventPrinter(cmd *cobra.Command) func([]json.RawMessage) error {
	w := cmd.OutOrStdout()
	if asJSON(cmd) {
		return func(events []json.RawMessage) error {
			for _, document := range events {
				if err := writeLine(w, document); err != nil {
					return err
				}
			}
			return nil
		}
	}
	writeColumns(w, auditHeading)
	return func(events []json.RawMessage) error {
		for _, document := range events {
			row, err := auditRow(document)
			if err != nil {
				return err
			}
			writeColumns(w, row)
		}
		return nil
	}
}

func writeColumns(w io.Writer, row []any) {
	texts := make([]any, len(row))
	for i, cell := range row {
		texts[i] = cellText(cell)
	}
	fmt.Fprintf(w, "%-20s  %-15s  %-8s  %-12s  %-12s  %-12s  %-30s  %-15s  %s\n", texts...)
}
