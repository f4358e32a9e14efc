package redisstore

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

const (
	redisPort    = "6379"
	sentinelPort = "26379"
)

// location is a URL taken apart. Errors never quote the URL, because any part
// of it may be a piece of a password with an unescaped character.
type location struct {
	scheme    string
	userinfo  string
	authority string // without userinfo
	path      string // without the leading slash
	query     url.Values
}

// parseURL reads the URL that [Open] describes.
func parseURL(raw string) (*redis.UniversalOptions, error) {
	o, err := readURL(raw)
	if err != nil {
		return nil, fmt.Errorf("redisstore: bad URL: %w", err)
	}
	return o, nil
}

func readURL(raw string) (*redis.UniversalOptions, error) {
	l, err := split(raw)
	if err != nil {
		return nil, err
	}
	o := &redis.UniversalOptions{}
	if o.Username, o.Password, err = credentials(l.userinfo); err != nil {
		return nil, err
	}
	kind, secure := l.scheme, false
	if after, ok := strings.CutPrefix(l.scheme, "rediss"); ok {
		kind, secure = "redis"+after, true
	}
	if secure {
		o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	switch kind {
	case "redis":
		err = l.single(o)
	case "unix":
		err = l.socket(o)
	case "redis+sentinel":
		err = l.sentinel(o)
	case "redis+cluster":
		err = l.cluster(o)
	default:
		err = errors.New("the scheme must be redis, rediss, unix, redis+sentinel, rediss+sentinel, redis+cluster or rediss+cluster")
	}
	return o, err
}

// split takes a URL apart. url.Parse would refuse several hosts, and quote the
// whole URL in its errors.
func split(raw string) (location, error) {
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok {
		return location{}, errors.New("the scheme is missing; a URL looks like redis://host:6379/0")
	}
	l := location{scheme: strings.ToLower(scheme)}
	rest, query, _ := strings.Cut(rest, "?")
	values, err := url.ParseQuery(query)
	if err != nil {
		return location{}, errors.New("the query is not correctly percent-encoded")
	}
	l.query = values
	l.authority, l.path, _ = strings.Cut(rest, "/")
	if i := strings.LastIndexByte(l.authority, '@'); i >= 0 {
		l.userinfo, l.authority = l.authority[:i], l.authority[i+1:]
	}
	return l, nil
}

func credentials(userinfo string) (user, password string, err error) {
	user, password, _ = strings.Cut(userinfo, ":")
	user, errUser := url.PathUnescape(user)
	password, errPassword := url.PathUnescape(password)
	if errors.Join(errUser, errPassword) != nil {
		return "", "", errors.New("user or password is not correctly percent-encoded")
	}
	return user, password, nil
}

func (l location) single(o *redis.UniversalOptions) (err error) {
	if o.Addrs, err = addresses(l.authority, redisPort); err != nil {
		return err
	}
	if len(o.Addrs) != 1 {
		return errors.New("several hosts need redis+sentinel:// or redis+cluster://")
	}
	if o.DB, err = database(l.path); err != nil {
		return err
	}
	return l.knows()
}

func (l location) socket(o *redis.UniversalOptions) (err error) {
	if l.authority != "" || l.path == "" {
		return errors.New("a socket needs an absolute path, as in unix:///run/redis.sock")
	}
	path, err := url.PathUnescape(l.path)
	if err != nil {
		return errors.New("the path is not correctly percent-encoded")
	}
	o.Addrs = []string{"/" + path}
	if o.DB, err = database(l.query.Get("db")); err != nil {
		return err
	}
	return l.knows("db")
}

func (l location) sentinel(o *redis.UniversalOptions) (err error) {
	if o.Addrs, err = addresses(l.authority, sentinelPort); err != nil {
		return err
	}
	o.MasterName = l.path
	if o.MasterName == "" || strings.Contains(o.MasterName, "/") {
		return errors.New("the path must name the master, as in redis+sentinel://host:26379/mymaster")
	}
	if o.DB, err = database(l.query.Get("db")); err != nil {
		return err
	}
	o.SentinelUsername = l.query.Get("sentinel_username")
	o.SentinelPassword = l.query.Get("sentinel_password")
	return l.knows("db", "sentinel_username", "sentinel_password")
}

func (l location) cluster(o *redis.UniversalOptions) (err error) {
	if l.path != "" {
		return errors.New("the URL of a cluster must have no path: its only database is 0")
	}
	o.IsClusterMode = true
	if o.Addrs, err = addresses(l.authority, redisPort); err != nil {
		return err
	}
	return l.knows()
}

// knows refuses parameters other than those named, and repeated ones.
func (l location) knows(names ...string) error {
	known := 0
	for _, name := range names {
		if n := len(l.query[name]); n > 1 {
			return fmt.Errorf("the parameter %s is given twice", name)
		} else if n == 1 {
			known++
		}
	}
	if known != len(l.query) {
		return fmt.Errorf("there is an unknown parameter; known for this scheme: %s", cmp.Or(strings.Join(names, ", "), "none"))
	}
	return nil
}

func addresses(hosts, port string) ([]string, error) {
	var addrs []string
	for h := range strings.SplitSeq(hosts, ",") {
		addr, err := address(h, port)
		if err != nil {
			return nil, err
		}
		addrs = append(addrs, addr)
	}
	return addrs, nil
}

func address(host, port string) (string, error) {
	bare, ip6 := strings.CutPrefix(host, "[")
	if bracketed := strings.TrimSuffix(bare, "]"); ip6 && bracketed != bare {
		bare = bracketed // without a port
	} else if strings.Contains(host, ":") {
		h, p, err := net.SplitHostPort(host)
		if err != nil {
			return "", errors.New("a host isn't of the form host:port or [address]:port")
		}
		bare, port = h, p
	}
	if bare == "" {
		return "", errors.New("a host is missing")
	}
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return "", errors.New("a port isn't a number from 1 to 65535")
	}
	return net.JoinHostPort(bare, port), nil
}

func database(text string) (int, error) {
	n, err := strconv.Atoi(cmp.Or(text, "0"))
	if err != nil || n < 0 {
		return 0, errors.New("the database isn't a number")
	}
	return n, nil
}
