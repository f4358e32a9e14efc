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

// serviceLink matches the variables in which an orchestrator describes services
// whose names begin with grantd, such as GRANTD_SERVICE_HOST and
// GRANTD_REDIS_PORT_6379_TCP_ADDR.
var serviceLink = regexp.MustCompile(`_SERVICE_HOST$|_SERVICE_PORT(_[A-Z0-9_]+)?$|_PORT(_\d+_(TCP|UDP|SCTP)(_(ADDR|PORT|PROTO))?)?$`)

// unknownVariables returns the sorted names of the GRANTD_ variables that grantd
// doesn't know: mostly misspelt ones.
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

// warnUnknown prints a warning of unknown variables, for commands without a log.
func (c *config) warnUnknown(w io.Writer) {
	if len(c.Unknown) > 0 {
		fmt.Fprintf(w, "grantd: warning: unknown environment variables are ignored: %s\n", strings.Join(c.Unknown, ", "))
	}
}
