package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/grantd/grantd/storage"
)

func userExportCommand() *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "export",
		Short: "Write all users with their password hashes, for user import",
		Long: `Write all users as JSON lines, which grantd user import reads: the id, the name, the
password hash, the flags and the time of creation. Clients, keys and sign-ins
aren't part of it.

Whoever has the hashes can guess at the passwords at leisure: protect the file as
you protect the store. With --output only the user who runs the command can read it.

The command acts on the store that --config, --data or --redis names, not through a
server.`,
		Example: "  grantd user export --config grantd.yaml --output users.jsonl\n" +
			"  grantd user export --data old.db | grantd user import - --redis redis://127.0.0.1:6379/0",
		Args: cobra.NoArgs,
		RunE: withNamedStore(func(t *tools, cmd *cobra.Command, _ []string) error {
			if err := absent(output); err != nil {
				return err
			}
			fmt.Fprintln(cmd.ErrOrStderr(), "The export contains the password hashes of all users: protect it as you protect the store.")
			n := 0
			fill := func(w io.Writer) error {
				return locally(cmd.Context(), t.store, storage.AuditEvent{Action: storage.ActUserExport}, func() (err error) {
					n, err = t.exportUsers(cmd, w)
					return err
				})
			}
			if output == "" {
				return fill(cmd.OutOrStdout())
			}
			if err := fillNew(output, fill); err != nil {
				return err
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s written to %s\n", counted(n, "user"), output)
			return err
		}),
	}
	c.Flags().StringVar(&output, "output", "", "new file to write to, of mode 0600 (default: standard output)")
	addConfigFlags(c, "data", "redis")
	return c
}

// absent returns a failure if the path exists; an empty path is no file. It is called
// before the export, which can take a while.
func absent(path string) error {
	if _, err := os.Lstat(path); path == "" || err != nil {
		return nil
	}
	return existsAlready(path)
}

func existsAlready(path string) error {
	return failedf("%s exists already", path).withHint("choose another name, or remove it first")
}

// fillNew makes a new file of mode 0600.
func fillNew(path string, fill func(io.Writer) error) error {
	const private fs.FileMode = 0o600
	made, err := fillFile(path, private, fill)
	if err != nil {
		return failedf("writing %s: %w", path, err)
	}
	if !made {
		return existsAlready(path)
	}
	return nil
}

// exportUsers writes all users, and returns how many.
func (t *tools) exportUsers(cmd *cobra.Command, w io.Writer) (int, error) {
	out := bufio.NewWriter(w)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	n := 0
	var failed error
	err := eachUser(cmd.Context(), t.store, func(u storage.User) bool {
		failed = enc.Encode(portable(u))
		n++
		return failed == nil
	})
	if err == nil {
		err = failed
	}
	if err == nil {
		err = out.Flush()
	}
	return n, err
}

// portableUser is a user in the file that export writes and import reads.
type portableUser struct {
	ID           string `json:"id,omitempty"`
	Username     string `json:"username"`
	PasswordHash string `json:"password_hash"`
	Disabled     bool   `json:"disabled,omitempty"`
	Admin        bool   `json:"admin,omitempty"`
	Created      string `json:"created,omitempty"` // RFC 3339
}

func portable(u storage.User) portableUser {
	return portableUser{
		ID:           u.ID,
		Username:     u.Name,
		PasswordHash: u.Password,
		Disabled:     u.Disabled,
		Admin:        u.Admin,
		Created:      u.Created.Format(time.RFC3339Nano),
	}
}
