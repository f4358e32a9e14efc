package admin

import (
	"context"
	"net/http"
	"net/url"

	"github.com/grantd/grantd/authserver/passhash"
	"github.com/grantd/grantd/storage"
)

// userList is a page of users. A page may hold fewer than the limit, even none,
// although there is a next page.
type userList struct {
	Users []User `json:"users"`
	Next  string `json:"next,omitempty"`
}

// maxScan bounds how many users are read for one page, so that a filter that
// hardly any user passes costs no more than others.
const maxScan = 5000

func (a *API) listUsers(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	after, limit, err := pageOf(q, "users")
	if err != nil {
		return err
	}
	f, err := userFilterOf(q)
	if err != nil {
		return err
	}
	users, next, err := a.findUsers(r.Context(), f, after, limit)
	if err != nil {
		return err
	}
	answer := userList{Users: []User{}}
	for _, u := range users {
		answer.Users = append(answer.Users, shownUser(u))
	}
	if next != "" {
		answer.Next = newCursor("users", next)
	}
	return writeJSON(w, http.StatusOK, answer)
}

// userFilter says which users are listed. A nil or empty field filters nothing.
type userFilter struct {
	prefix          string // of the name
	id              string
	admin, disabled *bool
}

func userFilterOf(q url.Values) (f userFilter, err error) {
	if given := q.Get("prefix"); given != "" {
		if f.prefix, err = passhash.Username(given); err != nil {
			return f, wrong("prefix", "isn't valid as the beginning of a username")
		}
	}
	if f.admin, err = queryBool(q, "admin"); err != nil {
		return f, err
	}
	f.disabled, err = queryBool(q, "disabled")
	f.id = q.Get("id")
	return f, err
}

func (f userFilter) passes(u storage.User) bool {
	return (f.id == "" || f.id == u.ID) &&
		(f.admin == nil || *f.admin == u.Admin) && (f.disabled == nil || *f.disabled == u.Disabled)
}

// start returns a text just below every name with the prefix, and above all
// names before them. It ends in a byte that is in no UTF-8 text.
func (f userFilter) start() string {
	last := len(f.prefix) - 1
	if last < 0 {
		return ""
	}
	return f.prefix[:last] + string([]byte{f.prefix[last] - 1, 0xff})
}

// ended reports whether no name from this one on has the prefix.
func (f userFilter) ended(name string) bool {
	return len(name) < len(f.prefix) && name > f.prefix || len(name) >= len(f.prefix) && name[:len(f.prefix)] > f.prefix
}

// findUsers returns up to limit users with a name greater than after, and the
// name after which the next page begins, "" when there is none.
func (a *API) findUsers(ctx context.Context, f userFilter, after string, limit int) (found []storage.User, next string, err error) {
	size := limit + 1
	if f.id != "" || f.admin != nil || f.disabled != nil {
		size = maxLimit
	}
	after = max(after, f.start())
	for looked := 0; looked < maxScan; looked += size {
		page, err := a.cfg.Store.ListUsers(ctx, after, size)
		if err != nil {
			return nil, "", err
		}
		for _, u := range page {
			switch {
			case f.ended(u.Name), f.id != "" && len(found) > 0: // nobody else has the id
				return found, "", nil
			case !f.passes(u):
			case len(found) == limit:
				return found, after, nil
			default:
				found = append(found, u)
			}
			after = u.Name
		}
		if len(page) < size {
			return found, "", nil
		}
	}
	return found, after, nil
}
