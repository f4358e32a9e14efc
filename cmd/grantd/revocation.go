package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/grantd/grantd/authserver/admin"
)

func revocationCommand() *cobra.Command {
	return noun("revocation", "See the receipts of revocations",
		revocationListCommand(), revocationShowCommand())
}

// receiptComplete is the status of a receipt whose sweep is done.
const receiptComplete = "complete"

func receiptTarget(r admin.Receipt) string {
	switch {
	case r.Target.All:
		return "all"
	case r.Target.User != "":
		return "user " + r.Target.User
	case r.Target.Client != "":
		return "client " + r.Target.Client
	}
	return "grant " + r.Target.Grant
}

// receiptFields returns the fields of the receipt, to be printed one per line.
func receiptFields(r admin.Receipt) [][]any {
	fields := [][]any{{"id", r.ID}, {"target", receiptTarget(r)}}
	if !r.IssuedBefore.IsZero() {
		fields = append(fields, []any{"issued_before", r.IssuedBefore})
	}
	fields = append(fields, []any{"requested", r.Requested}, []any{"by", r.By}, []any{"cause", r.Cause}, []any{"status", r.Status},
		[]any{"grants_ended", r.Grants.Ended})
	if !r.Grants.Oldest.IsZero() {
		fields = append(fields, []any{"oldest", r.Grants.Oldest}, []any{"newest", r.Grants.Newest})
	}
	if !r.Completed.IsZero() {
		fields = append(fields, []any{"completed", r.Completed})
	}
	if r.Verified != nil {
		fields = append(fields, []any{"verified", r.Verified.At}, []any{"survivors", r.Verified.Survivors})
	}
	return fields
}

func showReceipt(cmd *cobra.Command, document json.RawMessage) error {
	var r admin.Receipt
	if err := understand(document, &r); err != nil {
		return err
	}
	return showOne(cmd, document, receiptFields(r))
}

func revocationPath(id string) string { return "/revocations/" + segment(id) }

// awaitSweep waits until the sweep is complete, and returns the complete receipt.
func awaitSweep(a *api, cmd *cobra.Command, document json.RawMessage) (json.RawMessage, error) {
	shown := newProgress(cmd.ErrOrStderr(), 0)
	shown.noun = "grants"
	stop := shown.start()
	defer stop()
	const longestPause = time.Second
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, longestPause) {
		var r admin.Receipt
		if err := understand(document, &r); err != nil {
			return nil, err
		}
		if r.Status == receiptComplete {
			return document, nil
		}
		shown.count.Store(int64(r.Grants.Ended))
		if r.Grants.Expected != nil {
			shown.total.Store(int64(*r.Grants.Expected))
			shown.read.Store(int64(r.Grants.Ended))
		}
		err := pauseFor(cmd.Context(), pause)
		if err == nil {
			err = a.get(cmd.Context(), revocationPath(r.ID), nil, &document)
		}
		if err != nil {
			return nil, failedf("the grants are ended, but it isn't known whether their records are deleted yet: %w", err).
				withHint("grantd revocation show " + printable(r.ID, longestCell) + " tells")
		}
	}
}

func pauseFor(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return failedf("interrupted")
	case <-time.After(d):
		return nil
	}
}

func revocationListCommand() *cobra.Command {
	var limit int
	c := addJSONFlag(addAPIFlags(&cobra.Command{
		Use:     "list",
		Short:   "List the receipts, the newest first",
		Example: "  grantd revocation list --limit 20",
		Args:    cobra.NoArgs,
		RunE: withAPI(func(a *api, cmd *cobra.Command, _ []string) error {
			return listing[admin.Receipt]{
				path: "/revocations", member: "revocations", limit: limit,
				heading: []any{"ID", "TARGET", "REQUESTED", "BY", "STATUS", "GRANTS ENDED", "COMPLETED"},
				row: func(r admin.Receipt) []any {
					return []any{r.ID, receiptTarget(r), r.Requested, r.By, r.Status, r.Grants.Ended, r.Completed}
				},
			}.show(a, cmd)
		}),
	}))
	addLimitFlag(c, &limit)
	return c
}

func revocationShowCommand() *cobra.Command {
	var verify bool
	c := addJSONFlag(addAPIFlags(&cobra.Command{
		Use:   "show ID",
		Short: "Show a receipt",
		Long: `Show a receipt: whose grants were ended, how many, and whether their records are
deleted. --verify looks for grants that survived; there must be none.`,
		Example: "  grantd revocation show rev_0123456789 --verify",
		Args:    cobra.ExactArgs(1),
		RunE: withAPI(func(a *api, cmd *cobra.Command, args []string) error {
			document, err := getReceipt(a, cmd, args[0], verify)
			if isProblem(err, "not_found") {
				return failedf("there is no such receipt").withHint("grantd revocation list shows the receipts")
			}
			if err != nil {
				return err
			}
			return errors.Join(showReceipt(cmd, document), survived(document))
		}),
	}))
	c.Flags().BoolVar(&verify, "verify", false, "look for grants that survived")
	return c
}

// getReceipt reads the receipt. If verify, the server first looks for grants that
// survived. If there are many grants the server goes on in the background, and
// getReceipt waits until the receipt has the result.
func getReceipt(a *api, cmd *cobra.Command, id string, verify bool) (document json.RawMessage, err error) {
	ctx, path := cmd.Context(), revocationPath(id)
	var before admin.Receipt
	if err = a.get(ctx, path, nil, &document); err == nil {
		err = understand(document, &before)
	}
	if err != nil || !verify {
		return document, err
	}
	err = a.get(ctx, path, url.Values{"verify": {"true"}}, &document)
	if !isProblem(err, "unavailable") {
		return document, err
	}
	const patience, pause = 15 * time.Minute, 2 * time.Second
	for range patience / pause {
		if err := pauseFor(ctx, pause); err != nil {
			return nil, err
		}
		if err := a.get(ctx, path, nil, &document); err != nil {
			return nil, err
		}
		var r admin.Receipt
		if err := understand(document, &r); err != nil {
			return nil, err
		}
		if r.Verified != nil && (before.Verified == nil || !r.Verified.At.Equal(before.Verified.At)) {
			return document, nil
		}
	}
	return nil, err
}

// survived returns a failure when the receipt tells of grants that survived.
func survived(document json.RawMessage) error {
	var r admin.Receipt
	if err := understand(document, &r); err != nil || r.Verified == nil || r.Verified.Survivors == 0 {
		return err
	}
	return failedf("%s survived", counted(r.Verified.Survivors, "grant")).withHint("repeat the revocation: grantd grant revoke")
}
