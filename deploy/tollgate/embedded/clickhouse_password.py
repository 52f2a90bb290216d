"""The password of the embedded ClickHouse server, in every place where ClickHouse's HTTP interface takes one. Pure."""

import base64
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from tollgate.embedded.errors import QueryError

REQUIRED_PASSWORD = 194
AUTHENTICATION_FAILED = 516

USER = "default"


@dataclass(frozen=True, slots=True)
class Credentials:
    """A name and a password; None where the request brought none."""

    user: str
    password: str | None


def credentials_of(headers: Mapping[str, str], parameters: Mapping[str, str]) -> Credentials:
    """From ClickHouse's own headers, else from HTTP's Basic scheme, else from the address. `headers` in lower case."""
    if "x-clickhouse-user" in headers or "x-clickhouse-key" in headers:
        return Credentials(headers.get("x-clickhouse-user", USER), headers.get("x-clickhouse-key"))
    scheme, _, given = headers.get("authorization", "").partition(" ")
    if scheme:
        if scheme.lower() != "basic":
            return Credentials(USER, None)
        try:
            user, _, password = base64.b64decode(given, validate=True).decode().partition(":")
        except ValueError:
            return Credentials(USER, None)
        return Credentials(user or USER, password)
    return Credentials(parameters.get("user") or USER, parameters.get("password"))


def check_credentials(given: Credentials, password: str) -> None:
    """Raise QueryError unless they are those of the server's one user, in a time that tells nothing of the password.

    A server without a password takes requests without one.
    """
    same_password = hmac.compare_digest((given.password or "").encode(), password.encode())
    same_user = hmac.compare_digest(given.user.encode(), USER.encode())
    if same_password and same_user:
        return
    # The name is the client's own text and would stand in logs and terminals, so it is not repeated.
    text = "Authentication failed: password is incorrect, or there is no user with such name."
    if not given.password:
        raise QueryError(REQUIRED_PASSWORD, f"Code: 194. DB::Exception: {text} (REQUIRED_PASSWORD)")
    raise QueryError(AUTHENTICATION_FAILED, f"Code: 516. DB::Exception: {text} (AUTHENTICATION_FAILED)")
