package admin

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// entityTag is a strong validator (RFC 9110 section 8.8.3) of the record that was
// made at that time and has that revision. The time is in it because revisions
// begin anew when a name is deleted and made again.
func entityTag(created time.Time, revision uint64) string {
	return `"` + strconv.FormatInt(created.UnixNano(), 36) + "-" + strconv.FormatUint(revision, 36) + `"`
}

// matches evaluates If-Match, RFC 9110 section 13.1.1, for what has the tag now,
// "" when there is nothing. Weak tags never match. Without the field it's true.
func matches(r *http.Request, tag string) bool {
	fields := r.Header.Values("If-Match")
	return len(fields) == 0 || listed(fields, func(member string) bool { return member == tag }) && tag != ""
}

// known evaluates If-None-Match, RFC 9110 section 13.1.2: whether the field names the
// tag, weak or not, of what is there. Without the field it's false.
func known(r *http.Request, tag string) bool {
	return tag != "" && listed(r.Header.Values("If-None-Match"), func(member string) bool {
		return strings.TrimPrefix(member, "W/") == tag
	})
}

// listed reports whether a list of tags is "*" or has a member that is meant.
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

// nextTag cuts the first entity-tag off a list. A comma may stand in the quotes
// of one (section 8.8.3), so splitting at commas won't do.
func nextTag(list string) (member, rest string) {
	list = strings.TrimLeft(list, ", \t")
	prefix := ""
	if strings.HasPrefix(list, "W/") {
		prefix, list = "W/", list[2:]
	}
	if !strings.HasPrefix(list, `"`) {
		return "", "" // no list of tags: nothing of it counts
	}
	end := strings.IndexByte(list[1:], '"')
	if end < 0 {
		return "", ""
	}
	return prefix + list[:end+2], list[end+2:]
}

// namesTag reports whether the request says of which state it speaks: "*" is any.
func namesTag(r *http.Request) bool {
	return !slices.Contains([]string{"", "*"}, strings.Trim(strings.Join(r.Header.Values("If-Match"), ","), " \t"))
}

// ifThere is precondition for what is there and has no tag: "*" matches it, and no
// tag does.
func ifThere(r *http.Request) error {
	const untagged = "untagged" // without quotes, as no member of a list is
	if !matches(r, untagged) {
		return errStale.saying("It has no ETag, so only If-Match: * can hold.")
	}
	return precondition(r, untagged)
}

// deleted answers the DELETE of what isn't there, which is no error unless a
// precondition says that it is there. It may have been done by an earlier try that was
// answered with 503 because too few replicas had it in time, so confirm, unless it is
// nil, has the store wait for them again: that it is gone isn't said before.
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

// precondition is the error of a request whose precondition what has the tag now, ""
// when there is nothing, doesn't meet: in the order of RFC 9110 section 13.2.2. That a
// reader knows the tag is none: see writeTagged.
func precondition(r *http.Request, tag string) error {
	if !matches(r, tag) {
		return errStale
	}
	if known(r, tag) && !reads(r) {
		return errStale.saying("It is there, which If-None-Match rules out.")
	}
	return nil
}

func reads(r *http.Request) bool { return r.Method == http.MethodGet || r.Method == http.MethodHead }

// writeTagged answers a reader with what has the tag now, or, with 304, that it is
// what the reader has (RFC 9110 section 15.4.5).
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
