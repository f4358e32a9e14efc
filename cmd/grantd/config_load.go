package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/caarlos0/env/v11"
	"go.yaml.in/yaml/v3"
)

// fault is one thing wrong with the configuration.
type fault struct {
	key  string // of the configuration, or the name of a variable or file
	text string // holds no secret
}

// faults collects everything that is wrong with a configuration. It isn't an error
// itself: err makes one.
type faults struct {
	all []fault

	// unread: the file couldn't be read in full, so it isn't known which keys it
	// lacks.
	unread bool
}

func (f *faults) addf(key, format string, args ...any) {
	f.all = append(f.all, fault{key, fmt.Sprintf(format, args...)})
}

// missing adds the fault of a key without a value. It adds nothing if the key has
// a fault already, or if the file couldn't be read.
func (f *faults) missing(key, text string) {
	known := func(one fault) bool { return one.key == key || one.key == variable(key) }
	if !f.unread && !slices.ContainsFunc(f.all, known) {
		f.addf(key, "is missing%s", text)
	}
}

// err returns one usage error that lists all faults, or nil if there are none.
func (f *faults) err() error {
	if len(f.all) == 0 {
		return nil
	}
	var b strings.Builder
	fmt.Fprintf(&b, "the configuration is wrong in %s", counted(len(f.all), "place"))
	for _, one := range f.all {
		fmt.Fprintf(&b, "\n  %s: %s", one.key, one.text)
	}
	return usagef("%s", b.String()).withHint("grantd config check --config FILE shows what is in effect")
}

// layers are the sources of a configuration, weakest first.
type layers struct {
	file    string            // YAML; may be empty
	environ map[string]string // GRANTD_…
	flags   func(*config)     // applies the flags; may be nil
}

// load applies the layers to the defaults, one after another.
func (l layers) load(f *faults) config {
	c := defaultConfig()
	if l.file != "" {
		overlaySecrets(&c, f, "", func(c *config) { overlayFile(c, l.file, f) })
	}
	forgetStore(&c, l.environ)
	overlaySecrets(&c, f, envPrefix, func(c *config) { overlayEnviron(c, l.environ, f) })
	if l.flags != nil {
		l.flags(&c)
	}
	return c
}

// forgetStore removes the store of the file if the environment names one of the
// other kind. A flag replaces the store in the same way.
func forgetStore(c *config, environ map[string]string) {
	data, redis := environ[variable("data")] != "", environ[variable("redis.url")] != ""
	if data && !redis {
		c.Redis = redisConfig{}
	}
	if redis && !data {
		c.Data = ""
	}
}

// overlaySecrets calls overlay to apply one layer. A secret of this layer, given as
// a value or as a file, replaces that of the layers below in either form. prefix is
// envPrefix for the environment, else empty.
func overlaySecrets(c *config, f *faults, prefix string, overlay func(*config)) {
	fields := c.secretFields()
	below := make([]Secret, len(fields))
	for i, s := range fields {
		below[i], *s.value = *s.value, Secret{}
	}
	overlay(c)
	for i, s := range fields {
		key := s.key
		if prefix != "" {
			key = variable(key)
		}
		switch {
		case *s.file != "" && !s.value.IsZero():
			f.addf(key, "is given both as a value and as a file")
		case *s.file != "":
			*s.value = secretFromFile(*s.file, key, f)
		case s.value.IsZero():
			*s.value = below[i]
		}
		*s.file = ""
	}
}

func secretFromFile(path, key string, f *faults) Secret {
	text, err := readSecretFile(path)
	if err != nil {
		f.addf(key, "its file can't be read: %v", err)
	} else if text == "" {
		f.addf(key, "its file %s is empty", path)
	}
	return newSecret(text)
}

// readSecretFile reads a file and removes the last newline, which editors and echo
// add.
func readSecretFile(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r"), nil
}

func overlayFile(c *config, path string, f *faults) {
	b, err := os.ReadFile(path)
	if err != nil {
		f.unread = true
		f.addf("config", "%v", err)
		return
	}
	keys := keysByLine(b)
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	err = d.Decode(c)
	var wrong *yaml.TypeError
	switch {
	case errors.Is(err, io.EOF): // an empty file
		return
	case errors.As(err, &wrong):
		for _, text := range wrong.Errors {
			f.all = append(f.all, yamlFault(path, text, keys))
			f.unread = f.unread || yamlTwice.MatchString(text) // yaml then skips the whole group
		}
	case err != nil:
		f.unread = true
		f.addf(path, "%s", syntaxFault(b, err))
		return
	}
	if d.Decode(&yaml.Node{}) == nil {
		f.addf(path, "contains more than one YAML document")
	}
}

// syntaxFault says where the file isn't YAML. It uses only the line number of the
// error, since the rest may quote the file, which holds secrets.
func syntaxFault(file []byte, err error) string {
	if tab := yamlTab.FindIndex(file); tab != nil && yamlAtTab.MatchString(err.Error()) {
		line := 1 + bytes.Count(file[:tab[0]], []byte("\n"))
		return fmt.Sprintf("is not YAML: line %d is indented with a tab; use spaces", line)
	}
	line := yamlSyntax.FindStringSubmatch(err.Error())
	if line == nil {
		return "is not YAML; " + quoteYAML
	}
	return "is not YAML near line " + line[1] + "; " + quoteYAML
}

// quoteYAML names the usual reasons why a value breaks the syntax. The parser often
// doesn't tell which it was.
const quoteYAML = "put a value in quotes if it contains a colon and a space, ends in a colon or begins with an asterisk"

var (
	yamlSyntax  = regexp.MustCompile(`^yaml: line (\d+): `)
	yamlTab     = regexp.MustCompile(`(?m)^ *\t`)
	yamlAtTab   = regexp.MustCompile(`found (a tab character|character that cannot start any token)`)
	yamlTwice   = regexp.MustCompile(`mapping key .* already defined at line (\d+)$`)
	yamlLine    = regexp.MustCompile(`(?s)^line (\d+): (.*)$`)
	yamlUnknown = regexp.MustCompile(`^field (\S+) not found in type`)
	yamlWrong   = regexp.MustCompile(`(?s)^cannot unmarshal .* into (\S+)$`)
)

// yamlFault describes a fault that yaml found. It doesn't quote the value in the
// file, which may be a secret in the wrong place.
func yamlFault(path, text string, keys map[int]string) fault {
	at := yamlLine.FindStringSubmatch(text)
	if at == nil {
		return fault{path, text}
	}
	line, _ := strconv.Atoi(at[1]) // the expression matched digits
	key := keys[line]
	if key == "" {
		key = path
	}
	if unknown := yamlUnknown.FindStringSubmatch(at[2]); unknown != nil {
		return fault{key, "is not a known key (line " + at[1] + ")" + nested(unknown[1])}
	}
	if wrong := yamlWrong.FindStringSubmatch(at[2]); wrong != nil {
		text := "must be " + kindOf(wrong[1]) + " (line " + at[1] + ")"
		if hours := inHours(at[2]); hours != "" && wrong[1] == "time.Duration" {
			text += "; " + hours
		}
		return fault{key, text}
	}
	if twice := yamlTwice.FindStringSubmatch(at[2]); twice != nil {
		return fault{key, "appears twice (lines " + twice[1] + " and " + at[1] + ")"}
	}
	return fault{key, at[2] + " (line " + at[1] + ")"}
}

// nested explains how to write a key in YAML that was given with a dot. It returns
// "" for a name without a dot.
func nested(name string) string {
	group, key, dotted := strings.Cut(name, ".")
	if !dotted {
		return ""
	}
	return fmt.Sprintf("; keys nest: write %q, and %q indented below it", group+":", key+":")
}

var inDays = regexp.MustCompile("[`\"](\\d{1,4})d[`\"]")

// inHours advises to use hours if text quotes a duration in days. Else it returns
// "".
func inHours(text string) string {
	days := inDays.FindStringSubmatch(text)
	if days == nil {
		return ""
	}
	n, _ := strconv.Atoi(days[1]) // the expression matched digits
	return fmt.Sprintf("use hours: %dh", 24*n)
}

// kindOf describes the values that a Go type takes.
func kindOf(goType string) string {
	switch {
	case goType == "time.Duration":
		return `a duration such as "15m"`
	case strings.HasPrefix(goType, "uint"), goType == "int":
		return "a whole number in the allowed range"
	case goType == "main.list", goType == "[]string":
		return "a list"
	case strings.HasPrefix(goType, "main."):
		return "a group of keys"
	}
	return "a string"
}

// keysByLine returns the key on each line, because errors of yaml name only lines.
func keysByLine(b []byte) map[int]string {
	keys := map[int]string{}
	var doc yaml.Node
	if yaml.Unmarshal(b, &doc) == nil && len(doc.Content) == 1 {
		collectKeys(doc.Content[0], "", keys)
	}
	return keys
}

func collectKeys(n *yaml.Node, prefix string, keys map[int]string) {
	if n.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		path := prefix + key.Value
		keys[key.Line] = path
		if _, taken := keys[value.Line]; !taken {
			keys[value.Line] = path
		}
		if isGroup(path) { // no other key has keys of the configuration below it
			collectKeys(value, path+".", keys)
		}
	}
}

// isGroup reports whether the key is a group of other keys.
func isGroup(key string) bool {
	for field := range reflect.TypeFor[config]().Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		if name == key && field.Tag.Get("envPrefix") != "" {
			return true
		}
	}
	return false
}

const envPrefix = "GRANTD_"

// variable returns the environment variable of a key.
func variable(key string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// overlayEnviron applies the environment variables. An empty variable counts as
// absent.
func overlayEnviron(c *config, environ map[string]string, f *faults) {
	err := env.ParseWithOptions(c, env.Options{Prefix: envPrefix, Environment: environ})
	var all env.AggregateError
	if err == nil || !errors.As(err, &all) {
		return
	}
	names := variables(reflect.TypeOf(*c), envPrefix)
	for _, one := range all.Errors {
		var wrong env.ParseError
		if errors.As(one, &wrong) {
			text := "must be " + kindOf(wrong.Type.String())
			if hours := inHours(wrong.Err.Error()); hours != "" {
				text += "; " + hours
			}
			f.addf(names[wrong.Name], "%s", text)
		} else {
			f.addf("environment", "%v", one)
		}
	}
}

// variables maps the names of Go fields, as errors of env give them, to environment
// variables. No two fields of config share a name.
func variables(t reflect.Type, prefix string) map[string]string {
	names := map[string]string{}
	for field := range t.Fields() {
		if group := field.Tag.Get("envPrefix"); group != "" {
			for name, variable := range variables(field.Type, prefix+group) {
				names[name] = variable
			}
		}
		if name := field.Tag.Get("env"); name != "" {
			names[field.Name] = prefix + name
		}
	}
	return names
}
