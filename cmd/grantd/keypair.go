package main

import (
	"crypto/tls"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// lookEvery is the least time between two checks whether the certificate was renewed.
const lookEvery = 5 * time.Second

// keyPair is a certificate and its key. When the files hold another pair, a handshake
// notices and loads it. It is safe for concurrent use.
type keyPair struct {
	certFile, keyFile string
	log               *slog.Logger
	now               func() time.Time

	current atomic.Pointer[tls.Certificate]

	looking sync.Mutex // held by the one handshake that looks; guards the fields below
	looked  time.Time
	files   [2]os.FileInfo // from which current was read
	fault   string         // why the last renewal failed; empty if it didn't
}

// loadKeyPair reads the two PEM files.
func loadKeyPair(certFile, keyFile string, log *slog.Logger) (*keyPair, error) {
	k := &keyPair{certFile: certFile, keyFile: keyFile, log: log, now: time.Now}
	k.looked = k.now()
	return k, k.load(k.stat())
}

// get is tls.Config.GetCertificate. One handshake at a time reads files. The others
// don't wait for it, and use the current certificate.
func (k *keyPair) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if k.looking.TryLock() {
		if now := k.now(); now.Sub(k.looked) >= lookEvery {
			k.looked = now
			k.renew()
		}
		k.looking.Unlock()
	}
	return k.current.Load(), nil
}

// renew loads the files if they have changed. If they can't be used, for example
// because only one of the two is written yet, the next look reads them again even if
// they seem unchanged: a file that has become readable looks the same.
func (k *keyPair) renew() {
	files := k.stat()
	if k.fault == "" && sameFile(files[0], k.files[0]) && sameFile(files[1], k.files[1]) {
		return
	}
	if err := k.load(files); err != nil {
		if k.fault != err.Error() {
			k.fault = err.Error()
			k.log.Warn("the new certificate can't be loaded; the previous one stays in use",
				"tls_cert", k.certFile, "tls_key", k.keyFile, "error", printable(k.fault, 300))
		}
		return
	}
	k.fault = ""
	k.log.Info("the new certificate was loaded", "tls_cert", k.certFile, "not_after", k.notAfter())
}

// notAfter returns the time when the certificate in use expires.
func (k *keyPair) notAfter() time.Time { return k.current.Load().Leaf.NotAfter }

// load reads the pair. files must be from before this call, so that a file written
// meanwhile is read again later.
func (k *keyPair) load(files [2]os.FileInfo) error {
	pair, err := tls.LoadX509KeyPair(k.certFile, k.keyFile)
	if err != nil {
		return err
	}
	k.current.Store(&pair)
	k.files = files
	if now := k.now(); now.Before(pair.Leaf.NotBefore) || now.After(pair.Leaf.NotAfter) {
		k.log.Warn("the certificate isn't valid now: clients will refuse it",
			"tls_cert", k.certFile, "not_before", pair.Leaf.NotBefore, "not_after", pair.Leaf.NotAfter)
	}
	return nil
}

// stat returns the state of both files. It follows symbolic links, since certbot and
// Kubernetes replace the links and not the files.
func (k *keyPair) stat() (files [2]os.FileInfo) {
	for i, name := range []string{k.certFile, k.keyFile} {
		files[i], _ = os.Stat(name) // load returns the error
	}
	return files
}

// sameFile reports whether nobody has written to the file or replaced it. Nil stands
// for a file that stat failed on.
func sameFile(a, b os.FileInfo) bool {
	return a != nil && b != nil && os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}
