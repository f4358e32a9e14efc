package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/rogpeppe/go-internal/lockedfile"
)

// session is what grantd login saves: who is signed in, where, and the tokens. Only the
// user of the command may read the file.
type session struct {
	Server             string `json:"server"`                 // the issuer
	AdminServer        string `json:"admin_server,omitempty"` // where /admin/v1 is; empty: at Server
	TokenEndpoint      string `json:"token_endpoint"`
	RevocationEndpoint string `json:"revocation_endpoint,omitempty"`

	Username         string `json:"username,omitempty"`
	ClientID         string `json:"client_id"`
	ClientSecretFile string `json:"client_secret_file,omitempty"` // absolute path; read to renew the session

	AccessToken  string    `json:"access_token,omitempty"`
	RefreshToken string    `json:"refresh_token,omitempty"`
	Expires      time.Time `json:"expires,omitzero"` // of the access token
}

// errNoSession: nobody is signed in. Callers decide whether that is a failure.
var errNoSession = errors.New("you are not signed in")

// who returns the user, or the client if it signed in for itself.
func (s session) who() string {
	if s.Username != "" {
		return s.Username
	}
	return s.ClientID
}

// where returns the session without its tokens.
func (s session) where() session {
	s.AccessToken, s.RefreshToken, s.Expires = "", "", time.Time{}
	return s
}

// fresh reports whether the access token is good for a request that begins now.
func (s session) fresh() bool {
	const margin = 10 * time.Second
	return s.Expires.IsZero() || time.Until(s.Expires) > margin
}

// sessionPath returns the path of the session's file.
func sessionPath() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", failedf("finding a place for the session: %w", err).withHint("set HOME or XDG_CONFIG_HOME")
	}
	return filepath.Join(dir, "grantd", "session.json"), nil
}

// loadSession reads the session. It returns errNoSession when there is none.
func loadSession(path string) (session, error) {
	var s session
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, errNoSession
	}
	if err != nil {
		return s, failedf("reading the session: %w", err)
	}
	if json.Unmarshal(b, &s) != nil || s.Server == "" || s.AccessToken == "" {
		return s, failedf("the session in %s can't be read", path).withHint("grantd login makes a new one")
	}
	return s, nil
}

// save replaces the file in one step, so that nobody ever reads half of it.
func (s session) save(path string) error {
	b, err := json.MarshalIndent(s, "", "  ") //nolint:gosec // G117: the tokens are what the file is for
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".session-*") // of mode 0600
	if err != nil {
		return failedf("saving the session: %w", err)
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // it is still there if something failed
	_, err = tmp.Write(append(b, '\n'))
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return failedf("saving the session: %w", err)
	}
	return nil
}

// lockSession makes the directory, and locks it so that only one command at a time
// changes the session: a refresh token is spent once, and its successor must not get
// lost.
func lockSession(path string) (unlock func(), err error) {
	const private fs.FileMode = 0o700
	dir := filepath.Dir(path)
	if err = os.MkdirAll(dir, private); err == nil {
		err = os.Chmod(dir, private)
	}
	if err == nil {
		unlock, err = lockedfile.MutexAt(filepath.Join(dir, "session.lock")).Lock()
	}
	if err != nil {
		return nil, failedf("saving the session: %w", err)
	}
	return unlock, nil
}

// forgetSession removes the file.
func forgetSession(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return failedf("deleting the session: %w", err)
	}
	return nil
}
