"""Recorded events to the console's API, for services that do not reach Kafka."""

import email.utils
import logging
import time
from collections.abc import Sequence
from typing import Any, Final

import aiohttp
import msgspec

from tollgate.sdk.segment import Events
from tollgate.sdk.sending import RefusedEvent, TroubleError

log = logging.getLogger("tollgate.sdk")

_PATH: Final = "/api/v1/usage"
# The console answers within 10 s, with what it knows by then.
_TIMEOUT: Final = aiohttp.ClientTimeout(total=20, connect=5)
_ANSWER_BYTES_MAX: Final = 1024 * 1024
_RETRY_SECONDS_MAX: Final = 300.0
_TOO_LARGE: Final = 413
_NOT_AS_EXPECTED: Final = frozenset((400, 415, 422))


class _Refused(msgspec.Struct):
    index: int
    reason: str = ""
    error: str = ""


class _Answer(msgspec.Struct):
    refused: list[_Refused] = []


_decode: Final = msgspec.json.Decoder(_Answer).decode


class HttpSender:
    """See `Sender`. Events have ids of their own, so a request that is repeated counts once."""

    # What the API takes in one request.
    events_max = 1000
    bytes_max = 1024 * 1024

    def __init__(self, url: str, token: str | None) -> None:
        self._url = url + _PATH
        self._headers = {"Content-Type": "application/json"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._session: aiohttp.ClientSession | None = None

    async def send(self, events: Events) -> Sequence[RefusedEvent]:
        session = self._session
        if session is None:
            # Proxies as the environment says, as other clients do.
            session = self._session = aiohttp.ClientSession(timeout=_TIMEOUT, headers=self._headers, trust_env=True)
        body = b"[" + b",".join([value for _, value in events]) + b"]"
        try:
            async with session.post(self._url, data=body, allow_redirects=False) as response:
                answer = await response.content.read(_ANSWER_BYTES_MAX)
                status, headers = response.status, response.headers
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            await self.close()
            raise TroubleError(f"the console cannot be reached: {type(error).__name__}") from error
        if status == 202:
            return _refused(answer, len(events))
        if status == _TOO_LARGE or status in _NOT_AS_EXPECTED:
            return await self._in_halves(events, status)
        raise TroubleError(_sentence(status), _retry_seconds(headers))

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _in_halves(self, events: Events, status: int) -> Sequence[RefusedEvent]:
        """Find what is not taken, so that the rest is."""
        if len(events) == 1:
            return [RefusedEvent(0, f"the console answers {status} to it")]
        half = len(events) // 2
        first = await self.send(events[:half])
        second = await self.send(events[half:])
        return [*first, *(RefusedEvent(refused.place + half, refused.error) for refused in second)]


def _refused(answer: bytes, count: int) -> Sequence[RefusedEvent]:
    try:
        refused = _decode(answer).refused
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise TroubleError("the console's answer cannot be read: is the address right?") from None
    return [RefusedEvent(one.index, f"{one.reason}: {one.error}") for one in refused if 0 <= one.index < count]


def _sentence(status: int) -> str:
    if status in (401, 403):
        return f"the console answers {status}: give token=… of a role that may record usage (`service`)"
    if status == 404 or 300 <= status < 400:
        return f"the console answers {status}: is url=… its address?"
    return f"the console answers {status}"


def _retry_seconds(headers: Any) -> float | None:
    """What `Retry-After` says, as seconds or as a date; None when it says nothing that can be read."""
    text = headers.get("Retry-After", "")
    if text.isascii() and text.isdigit():
        return min(float(text[:6]), _RETRY_SECONDS_MAX)
    date = email.utils.parsedate_to_datetime(text) if _is_date(text) else None
    return None if date is None else min(max(0.0, date.timestamp() - time.time()), _RETRY_SECONDS_MAX)


def _is_date(text: str) -> bool:
    try:
        return email.utils.parsedate_to_datetime(text).tzinfo is not None
    except (ValueError, TypeError, IndexError):
        return False
