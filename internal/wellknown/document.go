package wellknown

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

// caching lets anybody keep a document for five minutes: so long a client may
// act on outdated metadata (RFC 9728 section 7.10).
const caching = "public, max-age=300"

// Document is a metadata document, encoded. It is immutable.
type Document struct {
	body []byte
	etag string
}

// NewDocument encodes the members, a struct of strings and lists of them.
func NewDocument(members any) Document {
	body, err := json.Marshal(members)
	if err != nil {
		panic(err) // strings and lists of them always encode
	}
	hash := sha256.Sum256(body)
	return Document{body: body, etag: `"` + base64.RawURLEncoding.EncodeToString(hash[:]) + `"`}
}

// ServeHTTP answers GET and HEAD, RFC 8414 section 3.2 and RFC 9728 section
// 3.2. It answers 304 when the client has the document already, and 412 when
// If-Match names another. Call AnyOrigin first.
func (d Document) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", caching)
	h.Set("Content-Type", "application/json")
	h.Set("ETag", d.etag)
	h.Set("X-Content-Type-Options", "nosniff")
	// No other header counts: a part of a document is of no use, and Range would bring
	// errors of its own (RFC 9110 section 14.2 lets it be ignored).
	whole := r.WithContext(r.Context())
	whole.Header = http.Header{}
	for _, name := range []string{"If-Match", "If-None-Match"} {
		whole.Header.Set(name, strings.Join(r.Header[name], ",")) // http.ServeContent looks at the first line only
	}
	http.ServeContent(noRanges{w}, whole, "", time.Time{}, bytes.NewReader(d.body))
}

// noRanges removes the header Accept-Ranges that http.ServeContent sets.
type noRanges struct{ http.ResponseWriter }

func (w noRanges) WriteHeader(status int) {
	w.Header().Del("Accept-Ranges")
	if status == http.StatusPreconditionFailed { // no cache may give this answer to others
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Del("Content-Type")
	}
	w.ResponseWriter.WriteHeader(status)
}
