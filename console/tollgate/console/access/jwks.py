"""The public keys of an identity provider, fetched from its JWKS address and kept."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final
from urllib.request import HTTPRedirectHandler, Request, build_opener

import structlog
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey, import_key

from tollgate.schemas.refusals import Refusal
from tollgate.schemas.strict_json import read_json

log = structlog.get_logger("tollgate.console.access")

_BYTES_MAX: Final = 256 * 1024
_KEYS_MAX: Final = 100
_SECONDS_MAX: Final = 5
# Keys are asked for again after this time, so that one that the provider took back is forgotten.
_FRESH_SECONDS: Final = 600
# Tokens with unknown key ids cannot make us ask the provider more often than this.
_PAUSE_SECONDS: Final = 30
_PAUSE_AFTER_FAULT_SECONDS: Final = 5
# While the provider cannot be reached its last keys hold for this long.
_OLD_SECONDS_MAX: Final = 24 * 3600
_RSA_BITS_MIN: Final = 2048

PublicKey = RSAKey | ECKey | OKPKey


class KeysUnknownError(Exception):
    """The provider could not be asked, and no keys are known."""


class _NoRedirects(HTTPRedirectHandler):
    def redirect_request(self, *given: Any, **_named: Any) -> None:
        _request, _body, status, *_rest = given
        raise OSError(f"the address redirects (status {status})")


class ProviderKeys:
    """The keys behind one address. `seconds` is a clock that never goes back."""

    def __init__(self, url: str, seconds: Callable[[], float] = time.monotonic) -> None:
        self._url, self._seconds = url, seconds
        self._keys: dict[str, PublicKey] = {}
        self._read_at: float | None = None
        self._not_before = 0.0
        self._asking = asyncio.Lock()
        self._renewal: asyncio.Task[None] | None = None

    async def find(self, key_id: str | None) -> PublicKey | None:
        """The key with this id; without an id the only key. Raises KeysUnknownError."""
        if self._pick(key_id) is None or self._age() > _OLD_SECONDS_MAX:
            await self._refresh()
        elif self._age() > _FRESH_SECONDS and (self._renewal is None or self._renewal.done()):
            # Nobody waits for it: what is known still holds.
            self._renewal = asyncio.create_task(self._refresh())
        if self._age() > _OLD_SECONDS_MAX:
            raise KeysUnknownError
        return self._pick(key_id)

    def _pick(self, key_id: str | None) -> PublicKey | None:
        if key_id is None:
            return next(iter(self._keys.values())) if len(self._keys) == 1 else None
        return self._keys.get(key_id)

    def _age(self) -> float:
        return self._seconds() - self._read_at if self._read_at is not None else _OLD_SECONDS_MAX + 1

    async def _refresh(self) -> None:
        """Ask the provider, at most once at a time and once in the pause; whoever waits shares the answer."""
        async with self._asking:
            if self._seconds() < self._not_before:
                return
            try:
                body = await asyncio.wait_for(asyncio.to_thread(_fetch, self._url), 2 * _SECONDS_MAX)
                self._keys = read_keys(body)
            except (OSError, ValueError, TimeoutError) as error:
                self._not_before = self._seconds() + _PAUSE_AFTER_FAULT_SECONDS
                log.warning("the identity provider's keys cannot be read", error=f"{type(error).__name__}: {error}")
            else:
                self._read_at = self._seconds()
                self._not_before = self._read_at + _PAUSE_SECONDS


def _fetch(url: str) -> bytes:
    """The body behind an http(s) address, without redirects. OSError when there is none or it is too large."""
    request = Request(url, headers={"Accept": "application/json"})  # noqa: S310 # settings allow http(s) alone
    with build_opener(_NoRedirects).open(request, timeout=_SECONDS_MAX) as answer:
        body: bytes = answer.read(_BYTES_MAX + 1)
    if len(body) > _BYTES_MAX:
        raise OSError(f"the answer is larger than {_BYTES_MAX} bytes")
    return body


def read_keys(body: bytes) -> dict[str, PublicKey]:
    """The public signing keys of a JWKS by id. Others in it are passed over; ValueError when it is no JWKS."""
    document = read_json(body)
    entries = document.get("keys") if isinstance(document, dict) else None
    if isinstance(document, Refusal) or not isinstance(entries, list):
        raise ValueError("the answer is no JWKS")
    keys: dict[str, PublicKey] = {}
    for number, entry in enumerate(entries[:_KEYS_MAX]):
        key = _signing_key(entry)
        if key is not None:
            keys.setdefault(entry.get("kid") or f"#{number}", key)
    return keys


def _signing_key(entry: Any) -> PublicKey | None:
    if not isinstance(entry, dict) or entry.get("use", "sig") != "sig" or not isinstance(entry.get("kid", ""), str):
        return None
    try:
        key: Key = import_key(entry)
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    # A symmetric key in a public document is known to everybody.
    if isinstance(key, OctKey) or key.is_private:
        return None
    if isinstance(key, RSAKey) and key.public_key.key_size < _RSA_BITS_MIN:
        return None
    return key
