package admin

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// entityTag returns a strong validator (RFC 9110 section 8.8.3) of the record that was
// created at that time and has that revision. It holds the time because revisions begin
// anew when a name is deleted and created again.
func entityTag(created time.Time, revision uint64) string {
	return `"` + strconv.FormatInt(created.UnixNano(), 36) + "-" + strconv.FormatUint(revision, 36) + `"`
}

// matches evaluates If-Match, RFC 9110 section 13.1.1. tag is the present tag of the
// resource, "" if the resource doesn't exist. Weak tags never match. Without the field
// the result is true.
func matches(r *http.Request, tag string) bool {
	fields := r.Header.Values("If-Match")
	return len(fields) == 0 || listed(fields, func(member string) bool { return member == tag }) && tag != ""
}

// known reports whether If-None-Match, RFC 9110 section 13.1.2, names the present tag of
// the resource, weak or not. Without the field the result is false.
func known(r *http.Request, tag string) bool {
	return tag != "" && listed(r.Header.Values("If-None-Match"), func(member string) bool {
		return strings.TrimPrefix(member, "W/") == tag
	})
}

// listed reports whether a list of tags is "*" or has a member for which meant is true.
func listed(fields []string, meant func(member string) bool) bool {
	list := strings.Trim(strings.Join(fields, ","), " \t")
	if list == "*" {
		return true
	}
	for list != "" {
		var member string
		if member, list = nextTag(list); member != "" && meant(member) {
			return true
		}
	}
	return false
}

// nextTag cuts the first entity-tag off a list. It can't split at commas, because a tag
// may have commas inside its quotes (section 8.8.3).
func nextTag(list string) (member, rest string) {
	list = strings.TrimLeft(list, ", \t")
	prefix := ""
	if strings.HasPrefix(list, "W/") {
		prefix, list = "W/", list[2:]
	}
	if !strings.HasPrefix(list, `"`) {
		return "", "" // not a list of tags: all of it is ignored
	}
	end := strings.IndexByte(list[1:], '"')
	if end < 0 {
		return "", ""
	}
	return prefix + list[:end+2], list[end+2:]
}

// namesTag reports whether If-Match names one state of the resource; "*" means any.
func namesTag(r *http.Request) bool {
	return !slices.Contains([]string{"", "*"}, strings.Trim(strings.Join(r.Header.Values("If-Match"), ","), " \t"))
}

// ifThere is precondition for a resource that exists and has no tag: only "*" matches.
func ifThere(r *http.Request) error {
	const untagged = "untagged" // without quotes, as no member of a list is
	if !matches(r, untagged) {
		return errStale.saying("This resource has no ETag. Send If-Match: *, or leave If-Match out.")
	}
	return precondition(r, untagged)
}

// deleted answers the DELETE of a resource that doesn't exist. That is no error, unless a
// precondition requires that the resource exists. An earlier attempt may have deleted it
// and been answered with 503, because too few replicas confirmed in time. So confirm, if
// it isn't nil, makes the store wait for the replicas again before the answer.
func deleted(w http.ResponseWriter, r *http.Request, confirm func(context.Context) error) error {
	if confirm != nil {
		if err := confirm(r.Context()); err != nil {
			return err
		}
	}
	if err := precondition(r, ""); err != nil {
		return err
	}
	return writeNothing(w)
}

// precondition returns an error if the resource doesn't meet the preconditions of the
// request, in the order of RFC 9110 section 13.2.2. tag is the present tag of the
// resource, "" if it doesn't exist. If-None-Match of a reader is no error here:
// writeTagged answers it.
func precondition(r *http.Request, tag string) error {
	if !matches(r, tag) {
		return errStale
	}
	if known(r, tag) && !reads(r) {
		return errStale.saying("The resource exists, and If-None-Match rules that out. Repeat the request without If-None-Match.")
	}
	return nil
}

func reads(r *http.Request) bool { return r.Method == http.MethodGet || r.Method == http.MethodHead }

// writeTagged answers a reader with the resource that has the tag, or with 304 if the
// reader has it already (RFC 9110 section 15.4.5).
func writeTagged(w http.ResponseWriter, r *http.Request, tag string, body any) error {
	if err := precondition(r, tag); err != nil {
		return err
	}
	w.Header().Set("ETag", tag)
	if known(r, tag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	return writeJSON(w, http.StatusOK, body)
}
