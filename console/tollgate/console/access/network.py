"""Where a request came from: its address, whether it came over TLS, and which hosts and origins are ours."""

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any, Final
from urllib.parse import urlsplit

from tollgate.runtime.settings import Settings

Scope = Mapping[str, Any]
Address = IPv4Address | IPv6Address

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_ANY_INTERFACE: Final = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 # compared with, not bound to
# One customer of a provider has at least a /64 of IPv6.
_IPV6_PREFIX: Final = 64
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
UNKNOWN_ADDRESS: Final = "unknown"


def header(scope: Scope, name: bytes) -> str | None:
    """A header's value; None when it is missing or given twice."""
    values = [value for key, value in scope["headers"] if key == name]
    return values[0].decode("latin-1") if len(values) == 1 else None


def has_header(scope: Scope, name: bytes) -> bool:
    """Whether the header is there at least once."""
    return any(key == name for key, _ in scope["headers"])


class Network:
    """What the settings say of hosts, origins and proxies. ValueError when a proxy is no address or network."""

    def __init__(self, settings: Settings) -> None:
        self._proxies = [ip_network(text, strict=False) for text in words(settings.console_trusted_proxies)]
        self._hosts = _LOOPBACK | {text.lower() for text in words(settings.console_hosts)}
        self._any_address = settings.console_host in _ANY_INTERFACE
        if not self._any_address:
            self._hosts |= {settings.console_host.lower()}
        self._cookies = settings.console_secure_cookies

    def address(self, scope: Scope) -> str:
        """The client's address, that of the last proxy that is not trusted; an IPv6 address as its /64 network."""
        client = scope.get("client")
        found = _address(client[0]) if client else None
        if found is None:
            return UNKNOWN_ADDRESS
        for hop in reversed(_hops(scope)):
            if not self._is_proxy(found):
                break
            behind = _address(hop)
            if behind is None:
                break
            found = behind
        if isinstance(found, IPv6Address):
            return str(ip_network((found, _IPV6_PREFIX), strict=False))
        return str(found)

    def is_secure(self, scope: Scope) -> bool:
        """Whether the browser's connection is TLS: our own, or the trusted proxy says so."""
        if self._cookies != "auto":
            return self._cookies == "always"
        client = scope.get("client")
        peer = _address(client[0]) if client else None
        if peer is not None and self._is_proxy(peer):
            told = header(scope, b"x-forwarded-proto")
            if told is not None:
                return told.rpartition(",")[2].strip().lower() == "https"
        return bool(scope.get("scheme") == "https")

    def knows_host(self, scope: Scope) -> bool:
        """Whether the Host header names this console.

        A page of another site whose name was pointed at this address still sends its own name. An address is no name:
        it is accepted when the console listens on every interface.
        """
        host = header(scope, b"host")
        if host is None:
            return False
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name in self._hosts or host.lower() in self._hosts:
            return _is_authority(host)
        return self._any_address and _address(name) is not None and _is_authority(host)

    def is_same_origin(self, scope: Scope) -> bool:
        """Whether a request that changes something comes from our own pages, or from no browser at all.

        `Sec-Fetch-Site` decides where the browser sends it. Browsers leave it away on plain http; then `Origin` does,
        which they send with every such request. A request with a bearer token needs neither: no browser adds one by
        itself. Without these headers a request with cookies is refused.
        """
        if scope["method"] in _SAFE_METHODS or has_header(scope, b"authorization"):
            return True
        if has_header(scope, b"sec-fetch-site"):
            return header(scope, b"sec-fetch-site") == "same-origin"
        if has_header(scope, b"origin"):
            return self._is_own(scope, header(scope, b"origin"))
        return not has_header(scope, b"cookie")

    def _is_own(self, scope: Scope, origin: str | None) -> bool:
        scheme, separator, authority = (origin or "").partition("://")
        schemes = {"https"} if self.is_secure(scope) else {"http", "https"}
        return bool(separator) and scheme in schemes and authority.lower() == (header(scope, b"host") or "").lower()

    def _is_proxy(self, address: Address) -> bool:
        return any(address in network for network in self._proxies)


def words(text: str) -> list[str]:
    """The words of a setting that is a list separated by commas."""
    return [word.strip() for word in text.split(",") if word.strip()]


def _hops(scope: Scope) -> list[str]:
    """What the proxies say of whom they were called by, the nearest last."""
    values = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
    return words(",".join(values))


def _address(text: str) -> Address | None:
    try:
        found = ip_address(text)
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found


def _is_authority(host: str) -> bool:
    """Whether this is a host with perhaps a port, and nothing that could be a path or a user's name."""
    return not any(char in host for char in "/\\@?# \t,")
