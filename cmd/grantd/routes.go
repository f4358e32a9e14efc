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

// handlers are the handlers that a process offers.
type handlers struct {
	health  *health
	metrics http.Handler            // nil where they aren't
	oauth   map[string]http.Handler // by path: the endpoints, the API and their metadata
	admin   map[string]http.Handler // the admin API, where it has a listener of its own

	// escaped are the beginnings of the admin API's paths: below them paths have
	// names, which may hold any character.
	escaped []string

	// nothing answers untidy paths below one of escaped.
	nothing http.Handler
}

// routes returns the handler of all routes. Health and metrics are outside
// guard, because probes and Prometheus come by plain http. Handlers answer
// wrong methods themselves, in JSON.
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
			mux.Handle(path, guard(handler)) // the admin API bounds bodies itself, and says so as a problem
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

// plainPaths answers 404 where the mux would redirect to a tidied path: a POST
// with a password must not be sent on, and nobody needs //token or /x/../token.
// It also answers 404 to requests without a path, such as OPTIONS *, which the
// mux would refuse without JSON. A path with needless escapes counts as another
// path, except below one of escaped; there a path is tidy when its escaped form
// is.
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

// demandTLS refuses unprotected requests before anything in them is read (RFC
// 6749 section 2.3.1, RFC 6750 section 5.2). By then the network has seen what
// was sent, but the refusal shows the fault at the first try.
func demandTLS(p proxies) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !p.secure(r) {
				note(r.Context(), errPlainHTTP)
				writeJSONError(w, http.StatusForbidden, "invalid_request",
					"The server is reached by https alone. A proxy before it has to be trusted and to send X-Forwarded-Proto.")
				return
			}
			next.ServeHTTP(w, r)
		})
	}
}

// maxBody is the largest body that any route takes, in bytes.
const maxBody = 32 << 10

// boundBody refuses larger bodies, before they are sent where that is possible.
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

// closeChunked ends the connection after a request with Transfer-Encoding.
// Proxies that disagree with us about where such a request ends could smuggle
// another behind it (RFC 9112 section 6.1); net/http keeps the connection.
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
	io.WriteString(w, body) // a client that went away is no fault of ours
}
