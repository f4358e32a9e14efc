package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/grantd/grantd/authserver/passhash"
	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/embedded"
	"github.com/grantd/grantd/storage/redisstore"
	"github.com/grantd/grantd/storage/stockredis"
)

// tools are what commands need that act on the store itself.
type tools struct {
	config *config
	store  storage.Store
	stock  *stockredis.Store // nil without migrate_from
	hasher *passhash.Hasher
}

// openTools opens the store that the configuration of the command names. It checks only
// the part of the configuration that such commands need. mayCreate allows it to make a
// new store.
func openTools(cmd *cobra.Command, mayCreate bool) (*tools, error) {
	c, err := loadConfig(cmd, func(c *config, f *faults) {
		c.checkStore(f)
		c.checkProfile(f)
		c.checkMigrateFrom(f)
		c.checkScopes(f)
		c.checkPasswords(f)
	})
	if err != nil {
		return nil, err
	}
	c.warnUnknown(cmd.ErrOrStderr())
	hasher, err := passhash.New(c.PasswordHash.params())
	if err != nil {
		return nil, usagef("password_hash: %w", err)
	}
	// add and import may be the first to write to a store, so they may make the file that
	// the configuration names. If --data names no existing file, that is more likely a
	// mistake.
	adds := cmd.Name() == "add" || cmd.Name() == "import"
	if c.Redis.URL == "" && !mayCreate && (!adds || cmd.Flags().Changed("data")) {
		if err := storeExists(c.Data); err != nil {
			return nil, err
		}
	}
	store, stock, err := openStores(c)
	if err != nil {
		return nil, err
	}
	if c.Data != embedded.Memory && !mayCreate && !adds && !wasUsed(cmd.Context(), store) {
		none := failedf("the store is empty").withHint("check that it is the store that the server uses; in a new store, grantd init makes the first admin")
		return nil, errors.Join(none, store.Close())
	}
	return &tools{config: c, store: store, stock: stock, hasher: hasher}, nil
}

// storeExists returns a failure if there is no file at path. Without it a misspelt name
// would make a new, empty store.
func storeExists(path string) error {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) || path == embedded.Memory {
		return nil // other errors of the file show when it is opened
	}
	return failedf("there is no store at %s", path).withHint("check the path; grantd init and grantd serve make a new store")
}

// wasUsed reports whether there is anything in the store. In an empty Redis, or in a wrong
// database of Redis, a revocation would succeed without ending anything. wasUsed returns
// true for a store that doesn't answer: the command's own calls will fail.
func wasUsed(ctx context.Context, s storage.Store) bool {
	keys, err := s.ListKeys(ctx)
	if err != nil || len(keys) > 0 {
		return true
	}
	users, err := s.ListUsers(ctx, "", 1)
	if err != nil || len(users) > 0 {
		return true
	}
	clients, err := s.ListClients(ctx, "", 1)
	return err != nil || len(clients) > 0
}

type toolFunc = func(*tools, *cobra.Command, []string) error

// withTools returns a function that opens the store, runs f on it and closes it.
func withTools(f toolFunc) func(*cobra.Command, []string) error { return withStore(f, false) }

// withNewStore is withTools for a command that makes the store if there is none.
func withNewStore(f toolFunc) func(*cobra.Command, []string) error { return withStore(f, true) }

// withNamedStore is withTools for a command among others that act through a server. The
// call or the environment has to name the store.
func withNamedStore(f toolFunc) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if !anyChanged(cmd, "config", "data", "redis") && !storeInEnvironment(environment()) {
			return usagef("%s acts on a store, not through a server", cmd.Name()).
				withHint("name it with --config, --data or --redis")
		}
		return withTools(f)(cmd, args)
	}
}

func withStore(f toolFunc, mayCreate bool) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		t, err := openTools(cmd, mayCreate)
		if err != nil {
			return err
		}
		return t.explain(errors.Join(f(t, cmd, args), t.store.Close()))
	}
}

// locally calls do, which acts on the store without a server. Before, it stores the event,
// in which the caller sets what is done and to whom. If that fails, do isn't called.
func locally(ctx context.Context, s storage.Audit, e storage.AuditEvent, do func() error) error {
	e.Local, e.Time, e.Outcome = true, time.Now().UTC(), storage.Accepted
	if err := s.AppendAudit(ctx, e); err != nil {
		return fmt.Errorf("nothing was done, because the audit event couldn't be stored: %w", err)
	}
	err := do()
	if err != nil {
		e.Time, e.Outcome = time.Now().UTC(), storage.Failure
		// The caller gets err, which matters more than the loss of this event.
		_ = s.AppendAudit(context.WithoutCancel(ctx), e)
	}
	return err
}

// explain adds a hint to the error of a Redis that can't be reached.
func (t *tools) explain(err error) error {
	if t.config.Redis.URL == "" && t.stock == nil {
		return err
	}
	return hintRedis(t.config.Redis.URL, err)
}

// redisHints are the hints for error answers of Redis that contain a text.
var redisHints = []struct{ answer, hint string }{
	{"NOAUTH", "give the password of Redis in redis.password_file or GRANTD_REDIS_PASSWORD_FILE; to grantd dev, in the URL"},
	{"WRONGPASS", "Redis has another password; the wrong one comes from redis.password_file, GRANTD_REDIS_PASSWORD_FILE or the URL"},
	{"NOPERM", "the ACL of Redis has to let this user read and write the keys grantd:*"},
	{"OOM command not allowed", "Redis has reached its maxmemory: raise it, or free memory"},
	{"READONLY", "this Redis is a replica: name its master in the URL"},
	{"DB index is out of range", "Redis has no database with the number at the end of the URL"},
	{"cluster support disabled", "this Redis is not a node of a Cluster: its URL begins with redis://"},
	{"redis: nil", "the Sentinels know no master with the name in the path of the URL"},
	{"unknown command 'sentinel'", "this server is not a Sentinel: if it is Redis itself, its URL begins with redis://"},
}

// hintRedis adds a hint to an error of the Redis at the URL: that it can't be reached, or
// that it answers with an error. It returns any other err, and one that is a failure
// already, as it is.
func hintRedis(url string, err error) error {
	var known *failure
	if !errors.Is(err, storage.ErrUnavailable) || errors.As(err, &known) {
		return err
	}
	text := err.Error()
	stock := strings.Contains(text, "stock tokens: ")
	answered := redisstore.Answered(err)
	if answered {
		text = answers.Replace(text)
	}
	told := failedf("%s", text)
	for _, h := range redisHints {
		if strings.Contains(text, h.answer) && !stock {
			return told.withHint(h.hint)
		}
	}
	switch {
	case answered && !strings.Contains(text, "NOAUTH") && !strings.Contains(text, "WRONGPASS"):
		return told
	case stock:
		return told.withHint("is the stock server's Redis running, and are its URL and password right? They come from migrate_from, GRANTD_MIGRATE_FROM or --from")
	case strings.HasPrefix(url, "rediss"):
		return told.withHint("is Redis running, does it speak TLS there, and is its URL right? It comes from redis.url, GRANTD_REDIS_URL or --redis")
	}
	return told.withHint("is Redis running, and is its URL right? It comes from redis.url, GRANTD_REDIS_URL or --redis")
}

// answers rewrites the texts of errors that a store answered with, so that they don't say
// that it is unavailable.
var answers = strings.NewReplacer(
	"storage: unavailable: stock tokens: ", "the stock server's Redis answers: ",
	"storage: unavailable: ", "the store answers: ",
)
