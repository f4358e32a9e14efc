"""Authlib's client for requests, and its parser of metadata, against grantd."""

import os
import time

os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"  # plain http, on loopback

import requests
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata, get_well_known_url

from grantd import INTROSPECT, ME, ODD_ID, ODD_PASSWORD, ODD_SECRET, ODD_USER, REVOKE, TOKEN, URL, equal, raises, step


def session(client_id="demo", secret="demo-secret", **kwargs):
    return OAuth2Session(client_id, secret, token_endpoint=TOKEN, **kwargs)


def password_grant(s, username="alice", password="secret123", **kwargs):
    return s.fetch_token(TOKEN, username=username, password=password, **kwargs)


def introspect(token):
    with session("demo-api", "demo-api-secret") as api:
        answer = api.introspect_token(INTROSPECT, token=token, token_type_hint="access_token", withhold_token=True)
        answer.raise_for_status()
        return answer.json()


@step("metadata, RFC 8414")
def _():
    document = requests.get(get_well_known_url(URL, external=True))
    document.raise_for_status()
    metadata = AuthorizationServerMetadata(document.json())
    # Without an authorization endpoint there are no response types, and section 3.2 forbids an empty list.
    for name in set(metadata.REGISTRY_KEYS) - {"response_types_supported"}:
        getattr(metadata, "validate_" + name)()
    equal(metadata.issuer, URL)
    equal(metadata.token_endpoint, TOKEN)


@step("password grant, RFC 6749 section 4.3")
def _():
    with session(scope="read write") as s:
        token = password_grant(s)
        equal(token["token_type"], "Bearer")
        equal(token["expires_in"], 3600)
        equal(token["scope"], "read write")
        equal(s.get(ME).json()["username"], "alice")


@step("client_secret_post, a public client, and names full of what has to be encoded")
def _():
    password_grant(session(token_endpoint_auth_method="client_secret_post"))
    password_grant(session("demo-public", None))
    # Not by Basic: Authlib encodes it as Latin-1, which can't hold every name.
    odd = session(ODD_ID, ODD_SECRET, token_endpoint_auth_method="client_secret_post")
    password_grant(odd, ODD_USER, ODD_PASSWORD)


@step("refresh, RFC 6749 section 6")
def _():
    with session() as s:
        old = password_grant(s)
        new = s.refresh_token(TOKEN)
        equal(new["access_token"] != old["access_token"], True)
        equal(new["refresh_token"] != old["refresh_token"], True)
        equal(s.get(ME).status_code, 200)


@step("a session refreshes by itself when its token has expired")
def _():
    saved = []
    s = session("demo-short", "demo-short-secret", update_token=lambda token, refresh_token: saved.append(token))
    first = password_grant(s)
    equal(first["expires_in"], 2)
    time.sleep(2.1)
    equal(s.get(ME).json()["username"], "alice")
    equal(len(saved), 1)
    equal(saved[0]["access_token"] != first["access_token"], True)


@step("client credentials, RFC 6749 section 4.4")
def _():
    with session(scope="write") as s:
        token = s.fetch_token(TOKEN)
        equal(token["scope"], "write")
        equal("refresh_token" in token, False)
        equal(s.get(ME).json()["sub"], "demo")


@step("errors of RFC 6749 section 5.2 are an OAuthError with their code")
def _():
    def fails(s, **kwargs):
        error = raises(OAuthError, password_grant, s, **kwargs)
        equal(bool(error.description), True)
        return error.error

    equal(fails(session(), password="wrong"), "invalid_grant")
    equal(fails(session(secret="wrong")), "invalid_client")
    equal(fails(session(scope="nosuch")), "invalid_scope")
    equal(fails(session("demo-admin", "demo-admin-secret")), "unauthorized_client")
    equal(fails(session(), grant_type="urn:example:nosuch"), "unsupported_grant_type")


@step("revocation, RFC 7009, and introspection, RFC 7662")
def _():
    with session() as s:
        token = password_grant(s)
        told = introspect(token["access_token"])
        equal((told["active"], told["username"], told["client_id"]), (True, "alice", "demo"))
        equal(told["iss"], URL)
        for given, hint in [(token["refresh_token"], "refresh_token"), ("made-up", None)]:
            equal(s.revoke_token(REVOKE, given, hint).status_code, 200)
        equal(introspect(token["access_token"]), {"active": False})
        equal(s.get(ME).status_code, 401)
        equal(raises(OAuthError, s.refresh_token, TOKEN).error, "invalid_grant")
