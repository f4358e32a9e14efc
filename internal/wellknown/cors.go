package wellknown

import "net/http"

// Header values that all answers share, so that GET /users/me allocates nothing
// for them. Nobody may change them in place.
var (
	star    = []string{"*"}
	exposed = []string{"WWW-Authenticate, Retry-After"}
)

// AnyOrigin lets scripts of every origin read the answer (Fetch standard, "CORS
// protocol"). If the request is a preflight for GET, it answers the request and
// returns true. Use it for answers that are the same for everybody, or that
// need a token which the script brings along. Cookies mean nothing here, so the
// browser of a user lends a script no rights.
func AnyOrigin(w http.ResponseWriter, r *http.Request) (answered bool) {
	h := w.Header()
	h["Access-Control-Allow-Origin"] = star
	methods := r.Header["Access-Control-Request-Method"]
	if r.Method != http.MethodOptions || len(r.Header["Origin"]) != 1 || len(methods) != 1 {
		h["Access-Control-Expose-Headers"] = exposed
		return false
	}
	h.Set("Access-Control-Allow-Methods", "GET, HEAD")
	h.Set("Access-Control-Allow-Headers", "Authorization, *") // the star leaves Authorization out
	h.Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
	return true
}
