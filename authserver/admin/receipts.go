package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/grantd/grantd/storage"
)

// receiptList is a page of receipts.
type receiptList struct {
	Revocations []Receipt `json:"revocations"`
	Next        string    `json:"next,omitempty"`
}

// listReceipts lists the receipts, the newest first.
func (a *API) listReceipts(w http.ResponseWriter, r *http.Request) error {
	after, limit, err := pageOf(r.URL.Query(), "revocations")
	if err != nil {
		return err
	}
	page, err := a.cfg.Store.ListReceipts(r.Context(), after, limit+1)
	if err != nil {
		return err
	}
	answer := receiptList{Revocations: []Receipt{}}
	if len(page) > limit {
		page = page[:limit]
		answer.Next = newCursor("revocations", page[limit-1].ID)
	}
	for _, receipt := range page {
		answer.Revocations = append(answer.Revocations, shownReceipt(receipt))
	}
	return writeJSON(w, http.StatusOK, answer)
}

var errNoReceipt = errNotFound.saying("There is no such receipt. Receipts are kept for some weeks.")

// getReceipt shows how far a revocation has come. With verify=true it looks
// again for grants that survived it.
func (a *API) getReceipt(w http.ResponseWriter, r *http.Request) error {
	verify, err := queryBool(r.URL.Query(), "verify")
	if err != nil {
		return err
	}
	id := r.PathValue("id")
	if !storage.ValidReceiptID(id) {
		return errNoReceipt
	}
	receipt, err := a.cfg.Store.LoadReceipt(r.Context(), id)
	if errors.Is(err, storage.ErrNotFound) {
		return errNoReceipt
	}
	if err != nil {
		return err
	}
	if verify != nil && *verify {
		if receipt, err = a.verify(r.Context(), receipt); err != nil {
			return err
		}
	}
	return writeJSON(w, http.StatusOK, shownReceipt(receipt))
}

// maxVerify is how long a request waits for a verification.
const maxVerify = 20 * time.Second

var (
	// errVerifying: the verification goes on after its request.
	errVerifying = later("The verification goes on, because there are many grants to look at. Read the receipt later: it will have the result.")

	// errAsked: nothing was begun.
	errAsked = later("Too many receipts are being verified. Nothing was begun. Repeat the request later.")
)

func later(detail string) *problem {
	p := errUnavailable.saying(detail)
	p.retryAfter = 10
	return p
}

// verify looks for survivors in the background, because that may take longer
// than a request may.
func (a *API) verify(ctx context.Context, r storage.Receipt) (storage.Receipt, error) {
	v := a.sweeper.ask(r)
	if v == nil {
		return r, errAsked
	}
	select {
	case <-v.done:
		return v.receipt, v.err
	case <-time.After(maxVerify):
		return r, errVerifying
	case <-ctx.Done():
		return r, fmt.Errorf("verifying: %w", ctx.Err())
	}
}
