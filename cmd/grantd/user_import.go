package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"

	"github.com/spf13/cobra"

	"github.com/grantd/grantd/authserver/passhash"
	"github.com/grantd/grantd/storage"
)

func userImportCommand() *cobra.Command {
	var format string
	var dryRun bool
	c := &cobra.Command{
		Use:   "import FILE",
		Short: "Import users together with their password hashes",
		Long: `Import users from a file, or from standard input if FILE is -. The file has one JSON
object per line, or it is CSV and its first line names the columns.

  username       compared as in RFC 8265: Alice is alice
  password_hash  the hash of the user's password, see below; empty: the user
                 can't sign in
  disabled       true or false (the default)
  admin          true: the user may be granted the scope "admin"
  created        such as 2026-01-31T12:00:00Z (default: now)
  id             an id that grantd gave, from user export (default: a new one)

These hashes are accepted: argon2id and argon2i, bcrypt, PBKDF2 and scrypt as
Django, passlib and Werkzeug write them, SHA-crypt ($5$, $6$), and hashes with a
prefix of Spring Security or Dovecot, such as {bcrypt} or {argon2}. MD5, plain SHA
and clear text are refused, and so are costs that would make a sign-in take
seconds. At the user's first successful sign-in the hash is replaced by argon2id.

A line that can't be imported is reported and skipped, and the exit code is then 1.
Existing users stay as they are. So the command may be run again, after an
interruption or with corrected lines: it imports the users who are missing.

The command acts on the store that --config, --data or --redis names, not through a
server.`,
		Example: "  grantd user import users.csv --dry-run --config grantd.yaml\n" +
			"  grantd user import users.csv --config grantd.yaml\n" +
			"  jq -c '.[]' users.json | grantd user import - --redis redis://127.0.0.1:6379/0",
		Args: cobra.ExactArgs(1),
		RunE: withNamedStore(func(t *tools, cmd *cobra.Command, args []string) error {
			if format != "" && format != "json" && format != "csv" {
				return usagef("--format must be json or csv")
			}
			im := &importer{store: t.store, format: format, dryRun: dryRun}
			if dryRun {
				return importUsers(cmd, args[0], im)
			}
			return locally(cmd.Context(), t.store, storage.AuditEvent{Action: storage.ActUserImport}, func() error {
				return importUsers(cmd, args[0], im)
			})
		}),
	}
	c.Flags().StringVar(&format, "format", "", "json or csv (default: the first line decides)")
	c.Flags().BoolVar(&dryRun, "dry-run", false, "report what would be imported and what not, but import nothing")
	addConfigFlags(c, "data", "redis")
	return c
}

// importUsers prints how many users were taken, even if it stops before the end.
func importUsers(cmd *cobra.Command, path string, im *importer) error {
	in, size, err := openInput(cmd, path)
	if err != nil {
		return err
	}
	defer in.Close()
	im.progress = newProgress(cmd.ErrOrStderr(), size)
	stop := im.progress.start()
	err = im.run(cmd.Context(), in)
	stop()
	_, printing := fmt.Fprintln(cmd.OutOrStdout(), im.summary())
	return errors.Join(im.verdict(err), printing)
}

// openInput opens the file and returns its size, 0 if that isn't known.
func openInput(cmd *cobra.Command, path string) (io.ReadCloser, int64, error) {
	if path == "-" {
		return io.NopCloser(cmd.InOrStdin()), 0, nil
	}
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, 0, failedf("there is no file %s", path)
	case err != nil:
		return nil, 0, failedf("opening the users: %w", err)
	}
	size := int64(0)
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
		size = info.Size()
	}
	return f, size, nil
}

// importWriters is how many users are written at once. The embedded store commits
// concurrent writes together, and the round trips to Redis overlap.
const importWriters = 256

// importer takes users into the store. One goroutine reads the file and finds the faults
// in it; the others write to the store.
type importer struct {
	store    storage.Store
	format   string // json, csv or empty
	dryRun   bool
	progress *progress

	names   map[string]int    // line of each name so far
	clients map[string]bool   // ids of clients, which no user may have as a name
	ids     map[string]string // name of each id, here and in the store; nil until a line has an id

	mu     sync.Mutex // guards the fields below
	tally  tally
	failed error // the first error of the store
}

// tally counts the lines by their outcome.
type tally struct{ lines, taken, admins, present, bad int }

// candidate is a user whose line has no fault.
type candidate struct {
	line   int
	user   storage.User
	source portableUser
}

// run takes all users that it can. Its error says why it stopped before the end.
func (im *importer) run(ctx context.Context, in io.Reader) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// A signal doesn't interrupt a write that has begun, so that the count is right.
	storeCtx := context.WithoutCancel(ctx)
	candidates := make(chan candidate)
	var writers sync.WaitGroup
	for range importWriters {
		writers.Go(func() {
			for c := range candidates {
				if err := im.take(storeCtx, c); err != nil {
					im.fail(err)
					cancel()
				}
			}
		})
	}
	err := im.feed(ctx, readLines(ctx, im.progress.reader(in)), candidates)
	close(candidates)
	writers.Wait()
	if im.failed != nil {
		return im.failed
	}
	return err
}

func (im *importer) fail(err error) {
	im.mu.Lock()
	defer im.mu.Unlock()
	if im.failed == nil {
		im.failed = err
	}
}

// feed sends the users of all lines without a fault to candidates.
func (im *importer) feed(ctx context.Context, lines <-chan userLine, candidates chan<- candidate) error {
	im.names = map[string]int{}
	if err := im.knowClients(ctx); err != nil {
		return err
	}
	var decode decoder
	for {
		var l userLine
		var more bool
		select {
		case <-ctx.Done():
			return errors.New("interrupted")
		case l, more = <-lines:
		}
		if !more {
			return nil
		}
		if l.broken {
			return fmt.Errorf("reading the file: %w", l.err)
		}
		if decode == nil && l.err == nil {
			var header bool
			var err error
			if decode, header, err = newDecoder(im.format, l.text); err != nil {
				return err
			}
			if header {
				continue
			}
		}
		c, err := im.check(ctx, decode, l)
		if errors.Is(err, storage.ErrUnavailable) {
			return err
		}
		if err != nil {
			im.count(l.number, err, func(*tally) {})
			continue
		}
		select {
		case candidates <- c:
		case <-ctx.Done():
			return errors.New("interrupted")
		}
	}
}

// check reads a line and compares it with those before it.
func (im *importer) check(ctx context.Context, decode decoder, l userLine) (candidate, error) {
	c := candidate{line: l.number}
	if l.err != nil {
		return c, l.err
	}
	var err error
	if c.source, err = decode(l.text); err != nil {
		return c, err
	}
	if c.user, err = c.source.user(); err != nil {
		return c, err
	}
	name := c.user.Name
	if earlier, twice := im.names[name]; twice {
		return c, fmt.Errorf("user %s is on line %d already", name, earlier)
	}
	if im.clients[name] {
		return c, fmt.Errorf("%s is the id of a client: a user of that name could be mistaken for it", name)
	}
	if c.source.ID != "" {
		if err := im.claim(ctx, c.user.ID, name); err != nil {
			return c, err
		}
	}
	im.names[name] = l.number
	return c, nil
}

// knowClients lists the clients: a user must not look like one (RFC 9700 section
// 4.15).
func (im *importer) knowClients(ctx context.Context) error {
	im.clients = map[string]bool{}
	return eachClient(ctx, im.store, func(c storage.Client) bool {
		im.clients[c.ID] = true
		return true
	})
}

// claim keeps two users from having the same id. The store finds users by name only, so
// at the first id claim lists them all.
func (im *importer) claim(ctx context.Context, id, name string) error {
	if im.ids == nil {
		ids := map[string]string{}
		err := eachUser(ctx, im.store, func(u storage.User) bool {
			ids[u.ID] = u.Name
			return true
		})
		if err != nil {
			return err
		}
		im.ids = ids
	}
	if other, taken := im.ids[id]; taken && other != name {
		return fmt.Errorf("the id %s belongs to user %s", id, other)
	}
	im.ids[id] = name
	return nil
}

// take writes the user and counts the outcome. It returns an error when the store can't
// answer, and then counts nothing.
func (im *importer) take(ctx context.Context, c candidate) error {
	there, err := im.create(ctx, c.user)
	switch {
	case err != nil:
		return err
	case there == nil:
		im.count(c.line, nil, func(t *tally) {
			t.taken++
			if c.user.Admin {
				t.admins++
			}
		})
	case c.is(*there):
		im.count(c.line, nil, func(t *tally) { t.present++ })
	default:
		im.count(c.line, fmt.Errorf("user %s exists already and differs from this line (another user, or a changed password): left unchanged", there.Name), func(*tally) {})
	}
	return nil
}

// create makes the user, or returns the user of that name if there is one already. A dry
// run makes none.
func (im *importer) create(ctx context.Context, u storage.User) (*storage.User, error) {
	if !im.dryRun {
		err := im.store.CreateUser(ctx, u)
		if !errors.Is(err, storage.ErrExists) {
			return nil, err
		}
	}
	there, err := im.store.LoadUser(ctx, u.Name)
	if errors.Is(err, storage.ErrNotFound) && im.dryRun {
		return nil, nil
	}
	return &there, err
}

// is reports whether the user in the store, who has the same name, came from this line:
// by the id if the line has one, else by the hash or the time of creation. A user who
// signed in since has a new hash.
func (c candidate) is(there storage.User) bool {
	if c.source.ID != "" {
		return there.ID == c.user.ID
	}
	return there.Password == c.user.Password || c.source.Created != "" && there.Created.Equal(c.user.Created)
}

// count counts a line that is done. why is nil, or the fault of the line.
func (im *importer) count(number int, why error, how func(*tally)) {
	im.progress.count.Add(1)
	im.mu.Lock()
	defer im.mu.Unlock()
	im.tally.lines++
	how(&im.tally)
	if why == nil {
		return
	}
	im.tally.bad++
	reason := why.Error()
	if errors.Is(why, passhash.ErrHash) {
		reason = plain.Replace(reason)
	}
	im.progress.tell(fmt.Sprintf("line %d: %s", number, printable(reason, 300)))
}

// summary says how many users were taken and how many weren't.
func (im *importer) summary() string {
	t, verb := im.tally, "imported"
	if im.dryRun {
		verb = "would be imported"
	}
	text := fmt.Sprintf("%s %s", counted(t.taken, "user"), verb)
	if t.admins > 0 {
		text += fmt.Sprintf(" (%s)", counted(t.admins, "admin"))
	}
	return fmt.Sprintf("%s, %d existed already, %s bad", text, t.present, counted(t.bad, "line"))
}

// verdict returns the error of the command: what stopped it, or that lines were bad.
func (im *importer) verdict(stopped error) error {
	const again = "run the command again: it imports the missing users, and leaves existing ones as they are"
	var known *failure
	switch {
	case errors.As(stopped, &known):
		return stopped
	case stopped != nil:
		return failedf("stopped before the end: %w", stopped).withHint(again)
	case im.tally.bad > 0:
		return failedf("%s couldn't be imported", counted(im.tally.bad, "line")).withHint("correct these lines, and " + again)
	}
	return nil
}
