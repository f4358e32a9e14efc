"""What the scripts in this directory need to know of the server under test, see interop_test.go."""

import os

URL = os.environ["GRANTD_URL"]
TOKEN = URL + "/token"
REVOKE = URL + "/revoke"
INTROSPECT = URL + "/introspect"
ME = URL + "/users/me"

ODD_ID = os.environ["ODD_ID"]
ODD_SECRET = os.environ["ODD_SECRET"]
ODD_USER = os.environ["ODD_USER"]
ODD_PASSWORD = os.environ["ODD_PASSWORD"]


def step(name):
    """Run the decorated function at once and print whether it succeeded."""

    def run(function):
        try:
            function()
        except BaseException:
            print("failed:", name)
            raise
        print("ok:", name)

    return run


def equal(got, want):
    """Fail unless both are equal. Unlike assert it also runs under python -O."""
    if got != want:
        raise AssertionError(f"got {got!r}, want {want!r}")


def raises(error, function, *args, **kwargs):
    """Return the error of that class that the call raises; fail if it raises none."""
    try:
        got = function(*args, **kwargs)
    except error as e:
        return e
    raise AssertionError(f"no {error.__name__}, but {got!r}")
