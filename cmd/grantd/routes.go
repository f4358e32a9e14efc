package main

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
)

// handlers are what a process offers.
type handlers struct {
	health  *health
	metrics http.Handler            // nil when they aren't offered here
	oauth   map[string]http.Handler // by path: the endpoints, the API and their metadata
	admin   map[string]http.Handler // the admin API, where it has a listener of its own

	// escaped are the prefixes of the admin API. Paths below them contain names,
	// which may hold any character in escaped form.
	escaped []string

	// nothing answers untidy paths below one of escaped.
	nothing http.Handler
}

// routes returns the handler of all paths. Health and metrics are not behind guard,
// because probes and Prometheus come by plain http. Handlers refuse wrong methods
// themselves, in JSON.
func (h handlers) routes(guard func(http.Handler) http.Handler) http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, handler http.Handler) { mux.Handle(pattern, boundBody(handler)) }

	handle("/livez", readOnly(h.health.live))
	handle("/readyz", readOnly(h.health.ready))
	if h.metrics != nil {
		handle(metricsPath, readOnly(h.metrics.ServeHTTP))
	}
	for path, handler := range h.oauth {
		if slices.ContainsFunc(h.escaped, func(begin string) bool { return strings.HasPrefix(path, begin) }) {
			mux.Handle(path, guard(handler)) // the admin API bounds bodies itself, with a problem as the error
			continue
		}
		handle(path, guard(handler))
	}
	handle("/", http.HandlerFunc(notFound))
	return plainPaths(mux, h.escaped, h.nothing)
}

// patterns returns the patterns of routes.
func (h handlers) patterns() []string {
	return slices.AppendSeq([]string{"/", "/livez", "/readyz", metricsPath}, maps.Keys(h.oauth))
}

// plainPaths answers 404 where the mux would redirect to a tidied path: a POST with
// a password must not be redirected, and nobody needs //token or /x/../token. It
// also answers 404 to a request without a path, such as OPTIONS *, because the mux
// refuses that without JSON. A path with needless escapes is another path: 404.
// Only below the prefixes in escaped are escapes allowed; there the path has to be
// tidy as spelt.
func plainPaths(mux http.Handler, escaped []string, nothing http.Handler) http.Handler {
	below := func(path string) bool {
		return slices.ContainsFunc(escaped, func(begin string) bool { return strings.HasPrefix(path, begin) })
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, raw := r.URL.Path, r.URL.RawPath
		if raw != "" && below(raw) {
			p, raw = raw, ""
		}
		if p != "/" && (!strings.HasPrefix(p, "/") || path.Clean(p) != p || raw != "") {
			r.Pattern = "/"
			if below(p) && raw == "" {
				nothing.ServeHTTP(w, r)
				return
			}
			notFound(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func notFound(w http.ResponseWriter, _ *http.Request) {
	writeJSONError(w, http.StatusNotFound, "not_found", "There is nothing at this path.")
}

func readOnly(f http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			writeJSONError(w, http.StatusMethodNotAllowed, "invalid_request", "Only GET and HEAD are allowed here.")
			return
		}
		f(w, r)
	})
}

var errPlainHTTP = errors.New("the request came by plain http")

// demandTLS refuses a request that came unprotected before it reads anything of it
// (RFC 6749 section 2.3.1, RFC 6750 section 5.2). The network has seen the request
// by then, but the refusal shows the fault at the first try.
func demandTLS(p proxies) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !p.secure(r) {
				note(r.Context(), errPlainHTTP)
				writeJSONError(w, http.StatusForbidden, "invalid_request",
					"The server accepts only https. A proxy in front of it has to be trusted (trusted_proxies) and to send X-Forwarded-Proto.")
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// maxBody is the largest body that any route takes, in bytes.
const maxBody = 32 << 10

// boundBody refuses bodies larger than maxBody, before they are sent if possible.
func boundBody(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength > maxBody {
			w.Header().Set("Connection", "close")
			writeJSONError(w, http.StatusRequestEntityTooLarge, "invalid_request", "The body is larger than 32 KiB.")
			return
		}
		if r.ContentLength != 0 {
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		}
		next.ServeHTTP(w, r)
	})
}

// closeChunked ends the connection after a request with Transfer-Encoding, which
// net/http would keep. A proxy that disagrees with grantd about where such a request
// ends could let another be smuggled in behind it (RFC 9112 section 6.1).
func closeChunked(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.TransferEncoding) > 0 {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

// writeJSONError answers in the form of RFC 6749 section 5.2, with texts that need
// no escaping.
func writeJSONError(w http.ResponseWriter, status int, code, description string) {
	writeJSON(w, status, `{"error":"`+code+`","error_description":"`+description+`"}`)
}

func writeJSON(w http.ResponseWriter, status int, body string) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	io.WriteString(w, body) // an error means that the client went away
}
