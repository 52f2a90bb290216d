"""Which requests may come from a browser."""

import pytest

from tollgate.embedded.http_origin import refuse_web_page

PORT = 8123


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"host": "127.0.0.1:8123"},
        {"host": "localhost:8123"},
        {"host": "LOCALHOST:8123"},
        {"host": "[::1]:8123"},
        {"host": "127.0.0.1:8123", "sec-fetch-site": "none"},
        {"host": "127.0.0.1:8123", "sec-fetch-site": "same-origin", "origin": "http://127.0.0.1:8123"},
        {"host": "localhost:8123", "origin": "http://localhost:8123"},
    ],
)
def test_programs_and_a_persons_own_window_are_taken(headers: dict[str, str]) -> None:
    assert refuse_web_page(headers, PORT) is None


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example:8123"},
        {"host": "127.0.0.1"},
        {"host": "127.0.0.1:8124"},
        {"host": "127.0.0.1.evil.example:8123"},
        {"host": "x@127.0.0.1:8123"},
        {"host": "127.0.0.1:no"},
        {"host": "[::1"},
        {"host": ""},
        {"host": "127.0.0.1:8123", "sec-fetch-site": "cross-site"},
        {"host": "127.0.0.1:8123", "sec-fetch-site": "same-site"},
        {"host": "127.0.0.1:8123", "sec-fetch-site": "anything new"},
        {"host": "127.0.0.1:8123", "origin": "null"},
        {"host": "127.0.0.1:8123", "origin": "http://127.0.0.1:9000"},
        {"host": "127.0.0.1:8123", "origin": "http://localhost:8123"},
        {"host": "127.0.0.1:8123", "origin": "https://127.0.0.1:8123"},
        {"origin": "http://evil.example"},
    ],
)
def test_web_pages_are_refused(headers: dict[str, str]) -> None:
    assert refuse_web_page(headers, PORT)


def test_port_80_may_be_left_out() -> None:
    assert refuse_web_page({"host": "127.0.0.1"}, 80) is None
