package wellknown

import "net/http"

// Shared by all answers, so that GET /users/me allocates nothing for them. Nobody
// changes a value of a header in place.
var (
	star    = []string{"*"}
	exposed = []string{"WWW-Authenticate, Retry-After"}
)

// AnyOrigin lets scripts of every origin read the answer (Fetch standard, "CORS
// protocol"), and answers the preflight of one that asks whether it may GET: then
// it reports true. It is for what is the same for everybody, or is given for a
// token that the script brings along: cookies mean nothing here, so an origin has no
// rights of its own to lend.
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
