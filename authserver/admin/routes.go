package admin

import (
	"net/http"
	"slices"
	"strings"
)

// Root is the beginning of the API's paths, below the issuer's path.
const Root = "/admin/v1"

// Route is a method and a pattern that the API answers.
type Route struct {
	Method  string
	Pattern string   // for http.ServeMux, from Root on, without the issuer's path
	Query   []string // the parameters that it accepts; others are refused
	handle  handlerFunc
}

// handlerFunc answers a request, or returns the error to answer with. The query
// of the request has passed checkQuery.
type handlerFunc func(http.ResponseWriter, *http.Request) error

// routes is everything that the API answers.
func (a *API) routes() []Route {
	return []Route{
		{"GET", Root + "/users", []string{"prefix", "id", "admin", "disabled", "cursor", "limit"}, a.listUsers},
		{"POST", Root + "/users", nil, a.createUser},
		{"GET", Root + "/users/{username}", nil, a.getUser},
		{"PATCH", Root + "/users/{username}", nil, a.patchUser},
		{"DELETE", Root + "/users/{username}", nil, a.deleteUser},
		{"PUT", Root + "/users/{username}/password", nil, a.setPassword},
		{"GET", Root + "/users/{username}/throttle", nil, a.getThrottle},
		{"DELETE", Root + "/users/{username}/throttle", nil, a.liftThrottle},
		{"GET", Root + "/clients", []string{"cursor", "limit"}, a.listClients},
		{"POST", Root + "/clients", nil, a.createClient},
		{"GET", Root + "/clients/{client_id}", nil, a.getClient},
		{"PATCH", Root + "/clients/{client_id}", nil, a.patchClient},
		{"DELETE", Root + "/clients/{client_id}", nil, a.deleteClient},
		{"POST", Root + "/clients/{client_id}/secret", nil, a.rotateSecret},
		{"GET", Root + "/keys", nil, a.listKeys},
		{"POST", Root + "/keys", nil, a.rotateKey},
		{"DELETE", Root + "/keys/{id}", nil, a.deleteKey},
		{"GET", Root + "/grants", []string{"user", "client", "issued_before", "issued_after", "address", "cursor", "limit"}, a.listGrants},
		{"GET", Root + "/grants/{id}", nil, a.getGrant},
		{"DELETE", Root + "/grants/{id}", nil, a.deleteGrant},
		{"GET", Root + "/revocations", []string{"cursor", "limit"}, a.listReceipts},
		{"POST", Root + "/revocations", nil, a.revoke},
		{"GET", Root + "/revocations/{id}", []string{"verify"}, a.getReceipt},
		{"GET", Root + "/audit", []string{"action", "user", "client", "after", "before", "limit", "wait"}, a.listAudit},
		{"POST", Root + "/tokens/inspect", nil, a.inspectToken},
	}
}

// Routes returns the table of routes. A route for GET answers HEAD too.
func (a *API) Routes() []Route { return a.routes() }

// Paths returns the patterns that [API.Handler] answers, for a mux in front of
// it: each pattern of the table, and everything else below Root, at the root
// and below Config.Path. They have no method, because the answer to a wrong
// method is a problem too.
func (a *API) Paths() []string {
	var paths []string
	for _, base := range slices.Compact([]string{"", a.cfg.Path}) {
		paths = append(paths, base+Root, base+Root+"/")
		for _, r := range a.routes() {
			if !slices.Contains(paths, base+r.Pattern) {
				paths = append(paths, base+r.Pattern)
			}
		}
	}
	return paths
}

// Handler serves the API, at Paths, behind its guard.
func (a *API) Handler() http.Handler { return a.cfg.Guard(a.handler) }

// NotFound returns a handler that answers 404 as the API does, for a caller
// that rejects a path below Root itself.
func (a *API) NotFound() http.Handler { return a.resource(nil) }

func (a *API) mux() http.Handler {
	mux := http.NewServeMux()
	resources := map[string][]Route{} // by pattern
	for _, r := range a.routes() {
		resources[r.Pattern] = append(resources[r.Pattern], r)
	}
	for _, path := range a.Paths() {
		mux.Handle(path, a.resource(resources[path[strings.Index(path, Root):]]))
	}
	return mux
}

// resource returns the handler of one pattern, with a route for each method.
func (a *API) resource(routes []Route) http.Handler {
	if len(routes) == 0 {
		return a.endpoint(func(http.ResponseWriter, *http.Request) error { return errNoPath })
	}
	var allow []string
	for _, r := range routes {
		allow = append(allow, r.Method)
		if r.Method == http.MethodGet {
			allow = append(allow, http.MethodHead)
		}
	}
	wrongMethod := errMethod.allowing(allow)
	return a.endpoint(func(w http.ResponseWriter, r *http.Request) error {
		i := slices.IndexFunc(routes, func(route Route) bool { return route.answers(r.Method) })
		if i < 0 {
			return wrongMethod
		}
		if err := checkQuery(r, routes[i].Query); err != nil {
			return err
		}
		return routes[i].handle(w, r)
	})
}

var errNoPath = errNotFound.saying("There is nothing at this path.")

func (r Route) answers(method string) bool {
	return r.Method == method || r.Method == http.MethodGet && method == http.MethodHead
}

// endpoint runs a handler, and writes its error if there is one. Its answers
// may not be cached. It refuses a body whose declared length is too large
// before the body is sent, where that is possible.
func (a *API) endpoint(handle handlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		err := error(errTooLarge)
		if r.ContentLength <= maxBody {
			err = handle(w, r)
		}
		if err != nil {
			p := asProblem(err)
			a.cfg.Note(r.Context(), p)
			a.writeProblem(w, r, p)
		}
	})
}
