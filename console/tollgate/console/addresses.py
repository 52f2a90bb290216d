"""Paths of the console: which are the API's, and where a login may lead."""

import re
from typing import Final
from urllib.parse import quote

API: Final = "/api/v1"

_PATH_CHARS_MAX: Final = 2048
# Browsers read a backslash as a slash and drop tabs and line breaks: `/\evil` and `/<tab>/evil` are other hosts.
_LOCAL: Final = re.compile(r"/(?![/\\])[^\\\x00-\x20\x7f-\x9f]*")


def is_api(path: str) -> bool:
    """Whether the path belongs to the REST API, whose answers are never pages."""
    return path == API or path.startswith(f"{API}/")


def local_path(text: str | None, otherwise: str = "/") -> str:
    """The text when it is a path of this host with perhaps a query, else `otherwise`.

    `/budgets?x=1` stays; `//evil.example`, `https://evil.example` and `/\\evil.example` do not.
    """
    if text and len(text) <= _PATH_CHARS_MAX and _LOCAL.fullmatch(text):
        return text
    return otherwise


def login_path(wanted: str) -> str:
    """The login page that leads to `wanted` afterwards."""
    path = local_path(wanted)
    return "/login" if path == "/" else f"/login?next={quote(path, safe='/')}"
