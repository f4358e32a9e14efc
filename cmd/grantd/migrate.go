package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/stockredis"
)

func migrateCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "migrate --dry-run|--now",
		Short: "Count or move the sign-ins that a stock go-oauth2 server left in Redis",
		Long: `Count or move the sign-ins that a stock go-oauth2 server left in Redis, through
go-oauth2/redis. The URL of that Redis is in migrate_from or --from.

With migrate_from in its configuration, grantd serve honours the stock tokens that
clients present, and moves a sign-in over when it is refreshed. --now moves all
remaining sign-ins at once. The tokens that clients hold stay valid, and Redis no
longer holds them in clear text.

--now deletes sign-ins that have expired, or are older than refresh_absolute, and
those of users and clients whose sign-ins were all ended. It leaves sign-ins of users
and clients that don't exist here, records that it can't read, and keys that aren't
the stock server's. It may run beside servers, and may be run again after an error.
Leave migrate_from in the configuration until all tokens of the stock server have
expired.`,
		Example: `  grantd migrate --dry-run --config grantd.yaml
  grantd migrate --dry-run --config grantd.yaml --from 'redis://stock.internal:6379/0?prefix=oauth:'
  grantd migrate --now --config grantd.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("dry-run") == cmd.Flags().Changed("now") {
				return usagef("either --dry-run or --now is needed").withHint("grantd migrate --dry-run changes nothing")
			}
			return withTools(migrate)(cmd, args)
		},
	}
	c.Flags().Bool("dry-run", false, "count the sign-ins and change nothing")
	c.Flags().Bool("now", false, "move the sign-ins")
	c.Flags().Bool("json", false, "print JSON")
	addConfigFlags(c, "data", "redis", "from")
	return c
}

func migrate(t *tools, cmd *cobra.Command, _ []string) error {
	if t.stock == nil {
		return usagef("migrate_from is missing").withHint("name the stock server's Redis in migrate_from, GRANTD_MIGRATE_FROM or --from")
	}
	if err := t.store.Ping(cmd.Context()); err != nil { // so that it fails before the work begins
		return err
	}
	tally, err := t.walk(cmd)
	if err != nil && tally.Keys == 0 {
		return err
	}
	if asJSON(cmd) {
		return errors.Join(err, writeIndented(cmd.OutOrStdout(), tally))
	}
	if e := printTally(cmd.OutOrStdout(), tally); e != nil {
		return errors.Join(err, e)
	}
	return interrupted(cmd.Context(), err)
}

// walk counts the stock tokens, or moves them, which makes an audit event.
func (t *tools) walk(cmd *cobra.Command) (tally stockredis.Tally, err error) {
	ctx, report := cmd.Context(), reportTo(cmd.ErrOrStderr())
	if now, _ := cmd.Flags().GetBool("now"); !now {
		return t.stock.Count(ctx, report)
	}
	err = locally(ctx, t.store, storage.AuditEvent{Action: storage.ActMigrate}, func() (err error) {
		tally, err = t.stock.Move(ctx, report)
		return err
	})
	return tally, err
}

// interrupted adds a hint to the error of a walk that a signal ended.
func interrupted(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return failedf("interrupted; these are the counts so far").withHint("run the command again: what was moved stays moved")
	}
	return err
}

// reportTo returns a function that prints every few seconds how far a walk is.
func reportTo(w io.Writer) func(stockredis.Tally) {
	const pause = 2 * time.Second
	told := time.Now()
	return func(t stockredis.Tally) {
		if time.Since(told) < pause {
			return
		}
		told = time.Now()
		fmt.Fprintf(w, "%s looked at, %d moved, %d deleted\n", counted(t.Keys, "key"), t.Moved, t.Deleted)
	}
}

// printTally prints the tally without the lines whose count is zero.
func printTally(w io.Writer, t stockredis.Tally) error {
	rows := [][]any{{"CLIENT", "ACCESS TOKENS", "REFRESH TOKENS"}}
	for _, id := range slices.Sorted(maps.Keys(t.Clients)) {
		rows = append(rows, []any{id, t.Clients[id].Access, t.Clients[id].Refresh})
	}
	if err := writeTable(w, rows); err != nil {
		return err
	}
	for _, line := range []struct {
		n    int
		text string
	}{
		{t.NoUser, "sign-ins of users who don't exist here, or are disabled"},
		{t.NoClient, "sign-ins of clients that don't exist here"},
		{t.NoScope, "sign-ins whose client may have none of their scopes"},
		{t.Ended, "sign-ins of users or clients whose sign-ins were all ended"},
		{t.Expired, "sign-ins that have expired, or are older than refresh_absolute"},
		{t.Future, "sign-ins dated in the future, by the clock of this machine"},
		{t.Eternal, "keys without an expiry"},
		{t.Codes, "authorization codes, which are not honoured"},
		{t.Malformed, "records that can't be read"},
		{t.Foreign, "keys that aren't the stock server's"},
		{t.Markers, "tokens that were moved earlier"},
		{t.Moved, "sign-ins moved now"},
		{t.Deleted, "sign-ins deleted now"},
	} {
		if line.n == 0 {
			continue
		}
		if _, err := fmt.Fprintf(w, "%8d  %s\n", line.n, line.text); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "%8d  keys looked at\n", t.Keys)
	return err
}
