package main

import (
	"fmt"
	"io"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// serviceLink matches what an orchestrator tells a container of services whose
// names begin with grantd, such as GRANTD_SERVICE_HOST and
// GRANTD_REDIS_PORT_6379_TCP_ADDR.
var serviceLink = regexp.MustCompile(`_SERVICE_HOST$|_SERVICE_PORT(_[A-Z0-9_]+)?$|_PORT(_\d+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?)?$`)

// unknownVariables are the names, sorted, that look like ours and mean nothing:
// mostly slips of the pen.
func unknownVariables(environ map[string]string) []string {
	known := variables(reflect.TypeFor[config](), envPrefix)
	known["CONFIG"] = envPrefix + "CONFIG"
	known["TOKEN"], known["SERVER"] = tokenVariable, serverVariable
	all := slices.Collect(maps.Values(known))
	var unknown []string
	for name, value := range environ {
		if value != "" && !slices.Contains(all, name) && !serviceLink.MatchString(name) {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	return unknown
}

// warnUnknown is for commands without a log.
func (c *config) warnUnknown(w io.Writer) {
	if len(c.Unknown) > 0 {
		fmt.Fprintf(w, "grantd: warning: unknown variables: %s\n", strings.Join(c.Unknown, ", "))
	}
}
