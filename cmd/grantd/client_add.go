package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/grantd/grantd/authserver/admin"
)

// clientFlags are the flags for the properties of a client.
type clientFlags struct {
	public         bool
	introspect     bool
	grants         []string
	scopes         []string
	redirects      []string
	audiences      []string
	origins        []string
	accessLifetime time.Duration
	secretFile     string
}

func clientAddCommand() *cobra.Command {
	var f clientFlags
	c := &cobra.Command{
		Use:   "add ID",
		Short: "Add a client",
		Long: `Add a client. The secret of a confidential client is made and printed once, unless
--secret-file has one of at least 24 characters. A public client has no secret.`,
		Example: `  grantd client add web --grant password --grant refresh_token --scope read
  grantd client add batch --grant client_credentials --scope write --secret-file batch.secret
  grantd client add app --public --grant password --grant refresh_token --origin https://app.example
  grantd client add orders-api --introspect --audience https://orders.example.com`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			body, err := f.body(cmd, args[0])
			if err != nil {
				return err
			}
			return withAPI(func(a *api, cmd *cobra.Command, args []string) error {
				return f.add(a, cmd, args[0], body)
			})(cmd, args)
		},
	}
	c.Flags().BoolVar(&f.public, "public", false, "the client can't keep a secret (RFC 6749 section 2.1)")
	c.Flags().StringVar(&f.secretFile, "secret-file", "", "file with the client's secret (default: a secret is made)")
	f.addTo(c)
	for flag, value := range map[string]string{"scope": "default_scopes", "audience": "all", "access-lifetime": "access_lifetime"} {
		c.Flags().Lookup(flag).Usage += " (default: " + value + ")"
	}
	return addJSONFlag(addAPIFlags(c))
}

// addTo gives the command the flags that client add and client update share. Their help
// names no defaults, because update leaves alone what no flag names.
func (f *clientFlags) addTo(c *cobra.Command) {
	c.Flags().StringArrayVar(&f.grants, "grant", nil, "grant type that the client may use: password, refresh_token or client_credentials; repeatable")
	c.Flags().StringArrayVar(&f.scopes, "scope", nil, "scope that the client may be granted; repeatable")
	c.Flags().StringArrayVar(&f.redirects, "redirect-uri", nil, "redirection URI; stored for the authorization code grant, which isn't offered yet; repeatable")
	c.Flags().StringArrayVar(&f.audiences, "audience", nil,
		"resource server that the client's tokens are for (RFC 8707), and whose tokens it may introspect; repeatable")
	c.Flags().StringArrayVar(&f.origins, "origin", nil, "origin of web pages that may call /token and /revoke as this client, such as https://app.example; repeatable")
	c.Flags().DurationVar(&f.accessLifetime, "access-lifetime", 0, "lifetime of the client's access tokens, such as 5m")
	c.Flags().BoolVar(&f.introspect, "introspect", false, "the client may ask POST /introspect about access tokens (RFC 7662), as a resource server does")
}

// changed returns the members of the API's client for which flags were given. A
// single empty value, as in --origin "", empties a list.
func (f *clientFlags) changed(cmd *cobra.Command) (map[string]any, error) {
	body := map[string]any{}
	for flag, list := range map[string]struct {
		member string
		values []string
	}{
		"grant":        {"grant_types", f.grants},
		"scope":        {"scopes", f.scopes},
		"redirect-uri": {"redirect_uris", f.redirects},
		"audience":     {"audiences", f.audiences},
		"origin":       {"origins", f.origins},
	} {
		if !cmd.Flags().Changed(flag) {
			continue
		}
		values := list.values
		if len(values) == 1 && values[0] == "" {
			values = []string{}
		}
		body[list.member] = values
	}
	if cmd.Flags().Changed("introspect") {
		body["introspect"] = f.introspect
	}
	if cmd.Flags().Changed("access-lifetime") {
		if f.accessLifetime < 0 || f.accessLifetime%time.Second != 0 {
			return nil, usagef("--access-lifetime must be whole seconds")
		}
		body["access_lifetime"] = int64(f.accessLifetime / time.Second)
	}
	return body, nil
}

// body returns the client to make.
func (f *clientFlags) body(cmd *cobra.Command, id string) (map[string]any, error) {
	body, err := f.changed(cmd)
	if err != nil {
		return nil, err
	}
	body["client_id"], body["public"] = id, f.public
	if f.secretFile != "" {
		if body["client_secret"], err = broughtSecret(f.secretFile); err != nil {
			return nil, err
		}
	}
	return body, nil
}

func broughtSecret(file string) (string, error) {
	secret, err := readSecretFile(file)
	if err != nil {
		return "", failedf("reading the client's secret: %w", err)
	}
	return secret, nil
}

func (f *clientFlags) add(a *api, cmd *cobra.Command, id string, body map[string]any) error {
	var document json.RawMessage
	err := a.send(cmd.Context(), http.MethodPost, "/clients", body, &document)
	if isProblem(err, "already_exists") {
		return failedf("client %s exists already", id).withHint("grantd client update changes it, grantd client delete removes it with its grants")
	}
	if err != nil {
		return f.explain(err)
	}
	if f.public || f.secretFile != "" {
		return say(cmd, document, "client %s added", id)
	}
	return showSecret(cmd, id, document, true)
}

// explain rewrites a refusal in terms of the flags. The server names fields of the
// API and never repeats their values.
func (f *clientFlags) explain(err error) error {
	var p *problem
	if !errors.As(err, &p) {
		return err
	}
	flags := map[string]struct {
		name   string
		values []string
	}{
		"client_id": {"the client's id", nil}, "client_secret": {"the client's secret", nil},
		"grant_types": {"--grant", f.grants}, "scopes": {"--scope", f.scopes}, "redirect_uris": {"--redirect-uri", f.redirects},
		"audiences": {"--audience", f.audiences}, "origins": {"--origin", f.origins},
		"introspect": {"--introspect", nil}, "access_lifetime": {"--access-lifetime", nil}, "overlap": {"--overlap", nil},
	}
	for i, e := range p.Errors {
		name, index, listed := strings.Cut(strings.TrimSuffix(e.Field, "]"), "[")
		flag, known := flags[name]
		if !known {
			continue
		}
		p.Errors[i].Field = flag.name
		p.Errors[i].Detail = strings.Replace(e.Detail, "or introspect", "or --introspect", 1)
		if n, err := strconv.Atoi(index); listed && err == nil && n >= 0 && n < len(flag.values) {
			p.Errors[i].Field += " " + strconv.Quote(flag.values[n])
		}
	}
	return err
}

// showSecret prints the secret if the server made it. The store keeps only its hash.
func showSecret(cmd *cobra.Command, id string, document json.RawMessage, made bool) error {
	var told admin.NewSecret
	if err := understand(document, &told); err != nil {
		return err
	}
	fields := [][]any{{"client_id", id}}
	if made {
		fields = append(fields, []any{"client_secret", told.Secret})
	}
	if !told.PreviousExpires.IsZero() {
		fields = append(fields, []any{"previous_expires", told.PreviousExpires})
	}
	err := showOne(cmd, document, fields)
	if err != nil && made {
		return failedf("client %s has a new secret, which couldn't be printed: %w", id, err).
			withHint("grantd client rotate-secret " + id + " gives the client another secret and prints it")
	}
	if err != nil || !made {
		return err
	}
	_, err = cmd.ErrOrStderr().Write([]byte("The secret can't be shown again.\n"))
	return err
}

func clientUpdateCommand() *cobra.Command {
	var f clientFlags
	c := clientVerb("update", "Change a client", func(a *api, cmd *cobra.Command, args []string) error {
		body, err := f.changed(cmd)
		if err != nil {
			return err
		}
		if len(body) == 0 {
			return usagef("nothing to change").withHint("grantd client update --help lists what may be changed")
		}
		id := args[0]
		var document json.RawMessage
		err = a.send(cmd.Context(), http.MethodPatch, clientPath(id), body, &document)
		if isProblem(err, "not_found") {
			return noClient(id)
		}
		if err != nil {
			return f.explain(err)
		}
		ended := ""
		if anyChanged(cmd, "grant", "scope", "audience") {
			ended = "; if it lost a right, its grants are ended"
		}
		return say(cmd, document, "client %s is changed%s", printable(id, longestCell), ended)
	})
	c.Long = `Change a client. What no flag names stays as it is. A list given by flags replaces
the client's list; an empty value, such as --origin "", empties it. With
--access-lifetime 0s the client has the server's access_lifetime. The client's grants
end if a scope, a grant type or an audience is taken away, or if a client without
audiences gets its first one.` + whereItActs
	c.Example = "  grantd client update web --scope read --scope write\n  grantd client update web --access-lifetime 5m --origin \"\""
	f.addTo(c)
	return addJSONFlag(c)
}
