"""Where a request may carry the password, and what comes of a wrong one."""

import base64

import pytest

from tollgate.embedded.clickhouse_password import Credentials, check_credentials, credentials_of
from tollgate.embedded.errors import QueryError

RIGHT = Credentials("default", "pässword:1")


def basic(text: str) -> dict[str, str]:
    """HTTP's Basic scheme."""
    return {"authorization": "Basic " + base64.b64encode(text.encode()).decode()}


@pytest.mark.parametrize(
    ("headers", "parameters"),
    [
        ({"x-clickhouse-user": "default", "x-clickhouse-key": "pässword:1"}, {}),
        ({"x-clickhouse-key": "pässword:1"}, {"user": "ignored"}),
        (basic("default:pässword:1"), {}),
        (basic(":pässword:1"), {"password": "ignored"}),
        ({}, {"user": "default", "password": "pässword:1"}),
        ({}, {"password": "pässword:1"}),
    ],
)
def test_the_password_is_found_in_every_place(headers: dict[str, str], parameters: dict[str, str]) -> None:
    assert credentials_of(headers, parameters) == RIGHT
    check_credentials(RIGHT, "pässword:1")


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, 194),
        (basic("default:"), 194),
        ({"authorization": "Bearer x"}, 194),
        ({"authorization": "Basic ***"}, 194),
        (basic("default:wrong"), 516),
        (basic("admin:pässword:1"), 516),
        ({"x-clickhouse-key": "pässword:"}, 516),
    ],
)
def test_a_wrong_one_is_refused_as_clickhouse_does(headers: dict[str, str], code: int) -> None:
    with pytest.raises(QueryError, match="Authentication failed") as caught:
        check_credentials(credentials_of(headers, {}), "pässword:1")
    assert caught.value.code == code


def test_a_server_without_a_password_takes_none() -> None:
    check_credentials(Credentials("default", None), "")
    check_credentials(Credentials("default", ""), "")
    with pytest.raises(QueryError):
        check_credentials(Credentials("default", "x"), "")
