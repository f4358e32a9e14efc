package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
)

type loginFlags struct {
	server, adminServer    string
	username, passwordFile string
	client, secretFile     string
}

func loginCommand() *cobra.Command {
	var f loginFlags
	c := &cobra.Command{
		Use:   "login",
		Short: "Sign in at a server, to manage it from here",
		Long: `Sign in at a server as an admin. The password is asked for. Until grantd logout the
other commands act through that server, and renew the session by themselves. The
session is a file that nobody else can read, in the directory grantd of the user's
configuration directory.

login uses the client grantd-cli, which grantd init and grantd dev make. This client
is public, and may use the password grant for the scope admin. If the server doesn't
have it, or if the profile is strict, let a client sign in for itself: use
--client-id and --client-secret-file, without --username.`,
		Example: "  grantd login\n" +
			"  grantd login --server https://auth.example.com --username root\n" +
			"  grantd login --server https://auth.example.com --client-id batch --client-secret-file batch.secret",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.login(cmd) },
	}
	c.Flags().StringVar(&f.server, "server", "", "URL of the server (or GRANTD_SERVER; default "+defaultServer+", that of grantd dev)")
	c.Flags().StringVar(&f.adminServer, "admin-server", "", "URL of the admin API, if admin_addr gives it another address (default: --server)")
	c.Flags().StringVar(&f.username, "username", "", "name of the user who signs in (default: asked for)")
	addPasswordFlag(c, &f.passwordFile)
	c.Flags().StringVar(&f.client, "client-id", loginClient, "client to sign in with")
	c.Flags().StringVar(&f.secretFile, "client-secret-file", "", "file with the client's secret; it is read again when the session is renewed")
	return addJSONFlag(c)
}

// login makes the session and saves it. It ends the session that was there before.
func (f *loginFlags) login(cmd *cobra.Command) error {
	ctx := cmd.Context()
	path, err := sessionPath()
	if err != nil {
		return err
	}
	c := newAPIClient()
	s, err := f.session(cmd)
	if err != nil {
		return err
	}
	secret, err := s.secret()
	if err != nil {
		return err
	}
	server, err := serverURL("--server", s.Server)
	if err != nil {
		return err
	}
	endpoints, err := readMetadata(ctx, c, server)
	if err != nil {
		return unreachable(s.Server, err)
	}
	s.TokenEndpoint, s.RevocationEndpoint = endpoints.TokenEndpoint, endpoints.RevocationEndpoint
	password, err := f.password(cmd, s)
	if err != nil {
		return err
	}
	if err := s.begin(ctx, c, credentials{s.Username, password, secret}); err != nil {
		return s.explainSignIn(err)
	}
	unlock, err := lockSession(path)
	if err != nil {
		return err
	}
	defer unlock()
	before, none := loadSession(path)
	if err := s.save(path); err != nil {
		return err
	}
	if none == nil {
		_ = before.end(ctx, c) // this machine has forgotten it anyway
	}
	return say(cmd, s.where(), "signed in at %s as %s", s.Server, s.who())
}

// session returns a session without tokens: who is to sign in, and where.
func (f *loginFlags) session(cmd *cobra.Command) (session, error) {
	s := session{ClientID: f.client, Username: f.username}
	if s.Server = f.server; s.Server == "" {
		s.Server = environment()[serverVariable]
	}
	if s.Server == "" {
		s.Server = defaultServer
	}
	for from, text := range map[string]*string{"--server": &s.Server, "--admin-server": &f.adminServer} {
		if *text == "" {
			continue
		}
		id, err := serverURL(from, *text)
		if err != nil {
			return s, err
		}
		*text = id.Base
	}
	s.AdminServer = f.adminServer
	if f.secretFile != "" {
		file, err := filepath.Abs(f.secretFile)
		if err != nil {
			return s, failedf("finding the client's secret: %w", err)
		}
		s.ClientSecretFile = file
		return s, nil
	}
	if s.Username == "" {
		var err error
		s.Username, err = askUsername(cmd)
		return s, err
	}
	return s, nil
}

func askUsername(cmd *cobra.Command) (string, error) {
	if !isTerminal(os.Stdin) {
		return "", usagef("there is no terminal to ask for a name on").
			withHint("use --username NAME, or --client-secret-file for a client that signs in for itself")
	}
	fmt.Fprint(cmd.ErrOrStderr(), "Username: ")
	name, err := readAnswer(cmd.Context(), cmd.InOrStdin())
	if err == nil && name == "" {
		err = failedf("the username is empty")
	}
	return name, err
}

// password returns the password of the user, or "" when the client signs in for
// itself.
func (f *loginFlags) password(cmd *cobra.Command, s session) (string, error) {
	switch {
	case s.Username == "" && f.passwordFile != "":
		return "", usagef("--password-file needs --username")
	case s.Username == "":
		return "", nil
	case f.passwordFile == "" && !isTerminal(os.Stdin):
		return "", usagef("there is no terminal to ask for a password on").
			withHint("use --password-file FILE, or --password-file - for standard input")
	case f.passwordFile == "":
		return typePassword(cmd.Context(), "Password of "+printable(s.Username, longestCell)+" at "+s.Server+": ")
	}
	return readPassword(cmd, "password", f.passwordFile)
}

func logoutCommand() *cobra.Command {
	return addJSONFlag(&cobra.Command{
		Use:     "logout",
		Short:   "End the session of grantd login",
		Long:    "End the session of grantd login at the server, and forget it here.",
		Example: "  grantd logout",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return logout(cmd) },
	})
}

// logout deletes the session here even if the server doesn't end it.
func logout(cmd *cobra.Command) error {
	path, err := sessionPath()
	if err != nil {
		return err
	}
	unlock, err := lockSession(path)
	if err != nil {
		return err
	}
	defer unlock()
	s, err := loadSession(path)
	if errors.Is(err, errNoSession) {
		return say(cmd, map[string]string{}, "nobody is signed in")
	}
	if forgetting := forgetSession(path); err != nil || forgetting != nil {
		return errors.Join(err, forgetting)
	}
	const patience = 15 * time.Second
	ctx, cancel := context.WithTimeout(cmd.Context(), patience)
	defer cancel()
	if err := s.end(ctx, newAPIClient()); err != nil {
		return failedf("the session is deleted here, but could not be ended at %s: %w", s.Server, plainNetwork(err)).
			withHint("another admin can end it there: grantd grant revoke")
	}
	return say(cmd, s.where(), "signed out at %s", s.Server)
}
