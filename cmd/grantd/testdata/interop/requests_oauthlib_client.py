"""requests-oauthlib, and oauthlib beneath it, against grantd."""

import os
import time

import requests
from oauthlib import oauth2
from requests.auth import HTTPBasicAuth
from requests_oauthlib import OAuth2Session

from grantd import INTROSPECT, ME, ODD_ID, ODD_PASSWORD, ODD_SECRET, ODD_USER, REVOKE, TOKEN, equal, raises, step

os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"  # plain http, on loopback
os.environ["OAUTHLIB_STRICT_TOKEN_TYPE"] = "1"


def password_grant(client_id="demo", scope=None, username="alice", password="secret123", **kwargs):
    """Sign in and return the session. Both get the scope: the client asks for it, the session compares it."""
    session = OAuth2Session(client=oauth2.LegacyApplicationClient(client_id=client_id, scope=scope), scope=scope)
    session.fetch_token(TOKEN, username=username, password=password, **kwargs)
    return session


def introspect(token):
    """Ask about the token: neither library has a call for it."""
    answer = requests.post(INTROSPECT, data={"token": token}, auth=("demo-api", "demo-api-secret"))
    answer.raise_for_status()
    return answer.json()


@step("password grant, RFC 6749 section 4.3")
def _():
    session = password_grant(client_secret="demo-secret", scope=["read", "write"])
    equal(session.token["token_type"], "Bearer")
    equal(session.token["expires_in"], 3600)
    equal(session.token["scope"], ["read", "write"])
    equal(session.get(ME).json()["username"], "alice")


@step("client_secret_post, a public client, and names full of what has to be encoded")
def _():
    password_grant(client_secret="demo-secret", include_client_id=True)
    password_grant("demo-public", include_client_id=True)
    password_grant("demo-public")  # Basic with an empty password
    odd = {"username": ODD_USER, "password": ODD_PASSWORD}
    password_grant(ODD_ID, client_secret=ODD_SECRET, include_client_id=True, **odd)
    # As bytes, since requests encodes text as Latin-1, which can't hold every name.
    password_grant(ODD_ID, auth=HTTPBasicAuth(ODD_ID.encode(), ODD_SECRET.encode()), **odd)


@step("refresh, RFC 6749 section 6")
def _():
    session = password_grant(client_secret="demo-secret", scope=["read"])
    old = session.token
    new = session.refresh_token(TOKEN, auth=HTTPBasicAuth("demo", "demo-secret"))
    equal(new["access_token"] != old["access_token"], True)
    equal(new["refresh_token"] != old["refresh_token"], True)
    equal(session.get(ME).status_code, 200)


@step("a session refreshes by itself when its token has expired")
def _():
    first = password_grant("demo-short", client_secret="demo-short-secret").token
    equal(first["expires_in"], 2)
    saved = []
    session = OAuth2Session(
        "demo-short",
        token=first,
        auto_refresh_url=TOKEN,
        auto_refresh_kwargs={"client_id": "demo-short", "client_secret": "demo-short-secret"},
        token_updater=saved.append,
    )
    time.sleep(2.1)
    stale = {"Authorization": "Bearer " + first["access_token"]}
    equal(requests.get(ME, headers=stale).status_code, 401)
    equal(session.get(ME).json()["username"], "alice")
    equal(len(saved), 1)
    equal(saved[0]["refresh_token"] != first["refresh_token"], True)


@step("client credentials, RFC 6749 section 4.4")
def _():
    session = OAuth2Session(client=oauth2.BackendApplicationClient(client_id="demo", scope=["write"]), scope=["write"])
    token = session.fetch_token(TOKEN, client_secret="demo-secret")
    equal(token["scope"], ["write"])
    equal("refresh_token" in token, False)
    equal(session.get(ME).json()["sub"], "demo")


@step("errors of RFC 6749 section 5.2 have their class")
def _():
    ok = {"client_secret": "demo-secret"}
    equal(raises(oauth2.InvalidGrantError, password_grant, password="wrong", **ok).error, "invalid_grant")
    equal(raises(oauth2.InvalidClientError, password_grant, client_secret="wrong").error, "invalid_client")
    equal(raises(oauth2.InvalidScopeError, password_grant, scope=["nosuch"], **ok).error, "invalid_scope")
    raises(oauth2.UnauthorizedClientError, password_grant, "demo-admin", client_secret="demo-admin-secret")
    code = OAuth2Session("demo")
    raises(oauth2.UnsupportedGrantTypeError, code.fetch_token, TOKEN, code="x", client_secret="demo-secret")


@step("revocation, RFC 7009")
def _():
    session = password_grant(client_secret="demo-secret")
    access = session.token["access_token"]
    equal(introspect(access)["username"], "alice")
    client = oauth2.LegacyApplicationClient(client_id="demo")
    for token, hint in [(session.token["refresh_token"], "refresh_token"), ("made-up", "access_token")]:
        url, headers, body = client.prepare_token_revocation_request(REVOKE, token, hint)
        equal(requests.post(url, body, headers=headers, auth=("demo", "demo-secret")).status_code, 200)
    equal(introspect(access), {"active": False})
    equal(session.get(ME).status_code, 401)
    raises(oauth2.InvalidGrantError, session.refresh_token, TOKEN, auth=HTTPBasicAuth("demo", "demo-secret"))
