package admin

import (
	"cmp"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/grantd/grantd/storage"
)

// The rules for clients. A value that a client has already stays allowed. So a
// client that was made under other rules, or with scopes that are no longer
// configured, can be changed in its other fields.

const (
	longestClientID = 128
	leastSecret     = 24 // characters: the hash of a secret is fast, so the secret must not be guessable
	longestSecret   = 512

	maxAccessLifetime = 24 * time.Hour
)

// offeredGrants are the values of grant_type that a client may be given.
var offeredGrants = []string{string(storage.Password), "refresh_token", string(storage.ClientCredentials)}

func validClientID(id string) bool { return visibleASCII(id) && len(id) <= longestClientID }

func visibleASCII(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

func clientIDFaults(id string) []FieldError {
	fault := ""
	switch {
	case id == "":
		fault = "is missing"
	case !validClientID(id):
		fault = fmt.Sprintf("has to be at most %d characters, all visible ASCII (RFC 6749 appendix A.1)", longestClientID)
	case strings.HasPrefix(id, storage.UserIDPrefix):
		fault = "can't begin with " + storage.UserIDPrefix + ", as the ids of users do (RFC 9700 section 4.15)"
	case strings.Contains(id, ":"):
		fault = "can't contain a colon, which would end the user-id in Basic credentials (RFC 7617 section 2)"
	case id == "." || id == "..":
		fault = "can't be . or .., which the path of a URL can't name"
	default:
		return nil
	}
	return []FieldError{{"client_id", fault}}
}

func secretFaults(c storage.Client, secret string) []FieldError {
	fault := ""
	switch {
	case c.Public:
		fault = "has to be left out: a public client has no secret (RFC 6749 section 2.1)"
	case len(secret) < leastSecret || len(secret) > longestSecret || !visibleASCII(secret):
		fault = fmt.Sprintf("has to be at least %d characters and at most %d, all visible ASCII", leastSecret, longestSecret)
	default:
		return nil
	}
	return []FieldError{{"client_secret", fault}}
}

func rotationFaults(c storage.Client, overlap int64, brought *string) (faults []FieldError) {
	if overlap < 0 || overlap > maxOverlap {
		faults = append(faults, FieldError{"overlap", fmt.Sprintf("has to be a number of seconds from 0 to %d", maxOverlap)})
	}
	if brought != nil {
		faults = append(faults, secretFaults(c, *brought)...)
	}
	return faults
}

// clientFaults returns what is wrong with the client after the change p.
func (a *API) clientFaults(before, after storage.Client, p clientPatch) []FieldError {
	var faults []FieldError
	for _, l := range []struct {
		field         string
		before, after []string
		fault         func(string) string // of one value; "" when there is none
	}{
		{"grant_types", before.Grants, after.Grants, a.grantFault},
		{"scopes", before.Scopes, after.Scopes, a.scopeFault},
		{"redirect_uris", before.RedirectURIs, after.RedirectURIs, func(s string) string { return redirectFault(after, s) }},
		{"audiences", before.Audiences, after.Audiences, audienceFault},
		{"origins", before.Origins, after.Origins, originFault},
	} {
		faults = append(faults, listFaults(l.field, l.before, l.after, l.fault)...)
	}
	if s := p.accessLifetime; s != nil && (*s < 0 || *s > int64(maxAccessLifetime/time.Second)) {
		faults = append(faults, FieldError{"access_lifetime", fmt.Sprintf("has to be a number of seconds, at most %d h; 0 means the server's access_lifetime", maxAccessLifetime/time.Hour)})
	}
	return append(faults, kindFaults(after)...)
}

// kindFaults returns what a client of its kind may not have.
func kindFaults(c storage.Client) (faults []FieldError) {
	if len(c.Grants) == 0 && !c.Introspect {
		faults = append(faults, FieldError{"grant_types", "is empty: a client needs a grant type, or introspect"})
	}
	if c.Public && slices.Contains(c.Grants, string(storage.ClientCredentials)) {
		faults = append(faults, FieldError{"grant_types", "contains client_credentials, which a public client may not use (RFC 6749 section 4.4)"})
	}
	if c.Public && c.Introspect {
		faults = append(faults, FieldError{"introspect", "is true, but a public client may not introspect: anybody can use its name (RFC 7662 section 2.1)"})
	}
	return faults
}

func listFaults(field string, before, after []string, fault func(string) string) (faults []FieldError) {
	if slices.Equal(before, after) {
		return nil
	}
	for i, s := range after {
		f := ""
		switch {
		case slices.Contains(after[:i], s):
			f = "is given more than once"
		case !slices.Contains(before, s):
			f = fault(s)
		}
		if f != "" {
			faults = append(faults, FieldError{element(field, i), f})
		}
	}
	return faults
}

func (a *API) grantFault(s string) string {
	switch {
	case !slices.Contains(offeredGrants, s):
		return "isn't one that the server offers: " + strings.Join(offeredGrants, ", ")
	case a.cfg.Strict && s == string(storage.Password):
		return "isn't offered in the strict profile (RFC 9700 section 2.4)"
	}
	return ""
}

func (a *API) scopeFault(s string) string {
	if slices.Contains(a.cfg.Scopes, s) {
		return ""
	}
	return "isn't one that the server knows: " + strings.Join(a.cfg.Scopes, ", ")
}

// redirectFault returns what is wrong with a redirection URI. It must be
// absolute and without a fragment (RFC 6749 section 3.1.2). Plain http is only
// for apps on the user's own device (RFC 9700 section 2.6). An app's own scheme
// must have a dot in it (RFC 8252 section 8.4), which rules out javascript and
// data.
func redirectFault(c storage.Client, s string) string {
	u, err := url.Parse(s)
	switch {
	case err != nil || !u.IsAbs() || !visibleASCII(s) || strings.Contains(s, "#"):
		return "has to be an absolute URI without a fragment (RFC 6749 section 3.1.2)"
	case u.Scheme == "http" && (!c.Public || !loopbackIP(u.Hostname())):
		return "has to be https; plain http is only for public clients, at 127.0.0.1 or [::1] (RFC 8252 section 8.3)"
	case (u.Scheme == "http" || u.Scheme == "https") && u.Host == "":
		return "has no host"
	case u.Scheme != "http" && u.Scheme != "https" && !strings.Contains(u.Scheme, "."):
		return "needs a scheme with a dot in it, such as com.example.app (RFC 8252 section 7.1)"
	}
	return ""
}

func loopbackIP(host string) bool {
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}

func audienceFault(s string) string {
	if storage.ValidResource(s) {
		return ""
	}
	return fmt.Sprintf("has to be an absolute URI without a fragment, of at most %d bytes (RFC 8707 section 2)", storage.MaxResource)
}

func originFault(s string) string {
	if validOrigin(s) {
		return ""
	}
	return "isn't an origin as browsers write it: scheme://host, with :port unless it is the scheme's default; http is only for loopback hosts"
}

var originForm = regexp.MustCompile(`^([a-z][a-z0-9+.-]*)://([a-z0-9._-]+|\[[0-9a-f:.]+\])(?::([1-9][0-9]{0,4}))?$`)

// validOrigin reports whether s is an origin as browsers write it in the header
// Origin (RFC 6454 section 6.2): in lower case, without a path, and without the
// scheme's default port. Plain http is allowed for loopback hosts only: a page
// that the network can change must not read tokens.
func validOrigin(s string) bool {
	parts := originForm.FindStringSubmatch(s)
	if parts == nil {
		return false
	}
	scheme, host, port := parts[1], strings.Trim(parts[2], "[]"), parts[3]
	if a, err := netip.ParseAddr(host); host != parts[2] && (err != nil || !a.Is6() || a.String() != host) {
		return false // brackets hold an IPv6 address, in its shortest form
	}
	if _, err := strconv.ParseUint(cmp.Or(port, "1"), 10, 16); err != nil {
		return false
	}
	switch scheme {
	case "http":
		return port != "80" && (host == "localhost" || loopbackIP(host))
	case "https":
		return port != "443"
	}
	return true
}
