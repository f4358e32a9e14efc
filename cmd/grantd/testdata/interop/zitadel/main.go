// Command zitadel is a resource server made with zitadel/oidc that asks grantd
// about tokens, RFC 7662. It is a module of its own because of its dependencies.
package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/zitadel/oidc/v3/pkg/client/rs"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"golang.org/x/oauth2"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := run(ctx, os.Getenv("GRANTD_URL")); err != nil {
		fmt.Fprintln(os.Stderr, "failed:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, base string) error {
	demo := oauth2.Config{ClientID: "demo", ClientSecret: "demo-secret", Endpoint: oauth2.Endpoint{TokenURL: base + "/token"}}
	token, err := demo.PasswordCredentialsToken(ctx, "alice", "secret123")
	if err != nil {
		return err
	}
	// The endpoints are given, since the library's discovery is OpenID Connect's, which grantd doesn't have.
	endpoints := rs.WithStaticEndpoints(base+"/token", base+"/introspect")
	api, err := rs.NewResourceServerClientCredentials(ctx, base, "demo-api", "demo-api-secret", endpoints)
	if err != nil {
		return err
	}
	if err := live(ctx, api, base, token.AccessToken); err != nil {
		return fmt.Errorf("a live token: %w", err)
	}
	fmt.Println("ok: a live token")
	if err := revoke(ctx, base, token.AccessToken); err != nil {
		return err
	}
	if err := dead(ctx, api, token.AccessToken, token.RefreshToken, "made-up"); err != nil {
		return fmt.Errorf("a dead token: %w", err)
	}
	fmt.Println("ok: a revoked and a made-up token")
	if err := refused(ctx, base, endpoints); err != nil {
		return err
	}
	fmt.Println("ok: a wrong secret is an oidc.Error")
	return nil
}

func live(ctx context.Context, api rs.ResourceServer, base, token string) error {
	told, err := rs.Introspect[*oidc.IntrospectionResponse](ctx, api, token)
	switch {
	case err != nil:
		return err
	case !told.Active, told.Username != "alice", told.ClientID != "demo", told.TokenType != "Bearer":
		return fmt.Errorf("introspection tells %+v", told)
	case len(told.Scope) != 1 || told.Scope[0] != "read":
		return fmt.Errorf("scope is %q", told.Scope)
	case told.Issuer != base:
		return fmt.Errorf("iss is %q", told.Issuer)
	case !told.Expiration.AsTime().After(told.IssuedAt.AsTime()):
		return fmt.Errorf("exp is %s, iat %s", told.Expiration.AsTime(), told.IssuedAt.AsTime())
	}
	return nil
}

// dead expects that introspection says of every token that it is inactive, and nothing else.
func dead(ctx context.Context, api rs.ResourceServer, tokens ...string) error {
	for _, token := range tokens {
		told, err := rs.Introspect[map[string]any](ctx, api, token)
		if err != nil {
			return err
		}
		if len(told) != 1 || told["active"] != false {
			return fmt.Errorf("introspection tells %v", told)
		}
	}
	return nil
}

// refused expects the error of RFC 6749 section 5.2 for a wrong secret.
func refused(ctx context.Context, base string, endpoints rs.Option) error {
	api, err := rs.NewResourceServerClientCredentials(ctx, base, "demo-api", "wrong", endpoints)
	if err != nil {
		return err
	}
	_, err = rs.Introspect[*oidc.IntrospectionResponse](ctx, api, "made-up")
	var e *oidc.Error
	if !errors.As(err, &e) || e.ErrorType != oidc.InvalidClient {
		return fmt.Errorf("a wrong secret gets %v", err)
	}
	return nil
}

// revoke ends the grant by RFC 7009. It doesn't use the library's call, which needs a relying party.
func revoke(ctx context.Context, base, token string) error {
	form := url.Values{"token": {token}, "client_id": {"demo"}, "client_secret": {"demo-secret"}}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/revoke", strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("/revoke answers %s", response.Status)
	}
	return nil
}
