"""Who may ask a server on this machine: programs, and a person's own browser window, but no web page. Pure.

A web page that someone has open can send requests to any port of their machine. It cannot hide that from the server:
browsers tell the page's site in `Sec-Fetch-Site` and `Origin`, which no script can change, and a page whose own name
was pointed to 127.0.0.1 sends that name as `Host`.
"""

from collections.abc import Mapping
from urllib.parse import urlsplit

from tollgate.embedded.ports import HOST

_OWN_NAMES = frozenset({HOST, "localhost", "::1"})
# `none` is an address that a person typed or a bookmark.
_OWN_SITES = frozenset({"same-origin", "none"})

# On every answer: whatever it contains, a browser neither guesses a type for it nor runs or embeds it.
ANSWER_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
}


def refuse_web_page(headers: Mapping[str, str], port: int) -> str | None:
    """Why a request to the server on this port is refused, or None. `headers` have lower-case names."""
    host = headers.get("host")
    if host is not None and not _is_own_host(host, port):
        return f"The embedded server answers to 127.0.0.1:{port} and localhost:{port} only.\n"
    site = headers.get("sec-fetch-site")
    if site is not None and site.lower() not in _OWN_SITES:
        return "The embedded server takes no requests from web pages.\n"
    origin = headers.get("origin")
    if origin is not None and (host is None or origin.lower() != f"http://{host}".lower()):
        return "The embedded server takes no requests from web pages.\n"
    return None


def _is_own_host(host: str, port: int) -> bool:
    try:
        address = urlsplit(f"//{host}")
        return address.hostname in _OWN_NAMES and (address.port or 80) == port and "@" not in host
    except ValueError:
        return False
