"""The console's REST API, as what a client knows and reserves is read from it."""

import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
import msgspec

from tollgate.sdk.errors import UnavailableError

log = logging.getLogger("tollgate.sdk")

_PREFIX: Final = "/api/v1"
_ANSWER_SECONDS_MAX: Final = 20.0
_ANSWER_BYTES_MAX: Final = 16 * 1024 * 1024
# A frame of the stream has at most 500 items of a few hundred bytes.
_LINE_BYTES_MAX: Final = 4 * 1024 * 1024
PAGE: Final = 1000
"""How many items of a list are asked for at once: what the API gives at most."""


class _Page(msgspec.Struct):
    items: list[msgspec.Raw]
    next_cursor: str | None = None


_page: Final = msgspec.json.Decoder(_Page).decode


class HttpApi:
    """One connection to the console. To be used on one loop, and closed there."""

    def __init__(self, url: str, token: str | None) -> None:
        self._url = url.rstrip("/") + _PREFIX
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._session: aiohttp.ClientSession | None = None

    async def post(self, path: str, body: Mapping[str, Any]) -> tuple[int, bytes]:
        """The status and the body of the answer. UnavailableError when the console cannot be reached."""
        try:
            async with self._open().post(
                self._url + path, data=msgspec.json.encode(body), headers={"Content-Type": "application/json"},
                allow_redirects=False, timeout=aiohttp.ClientTimeout(total=_ANSWER_SECONDS_MAX),
            ) as answer:  # fmt: skip
                return answer.status, await answer.content.read(_ANSWER_BYTES_MAX)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise UnavailableError(f"the console cannot be reached: {type(error).__name__}") from error

    async def items(self, path: str) -> AsyncIterator[bytes]:
        """Every item of a list, page by page. UnavailableError as soon as a page cannot be read."""
        cursor: str | None = ""
        while cursor is not None:
            query = urlencode({"limit": PAGE, "cursor": cursor})
            try:
                async with self._open().get(
                    f"{self._url}{path}?{query}", allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(total=_ANSWER_SECONDS_MAX),
                ) as answer:  # fmt: skip
                    body = await _whole(answer)
                if answer.status != 200:
                    raise unavailable(answer.status)
                page = _page(body)
            except (aiohttp.ClientError, OSError, TimeoutError, msgspec.MsgspecError, UnicodeDecodeError) as error:
                raise UnavailableError(f"the console cannot be read: {type(error).__name__}") from error
            for item in page.items:
                yield bytes(item)
            cursor = page.next_cursor

    async def frames(self, path: str, silent_seconds_max: float) -> AsyncIterator[tuple[str, bytes]]:
        """Name and data of each server-sent event. Ends when the console says so or the connection ends.

        UnavailableError when the stream cannot be opened or read, or is silent for so long.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_ANSWER_SECONDS_MAX, sock_read=silent_seconds_max)
        try:
            async with self._open().get(self._url + path, allow_redirects=False, timeout=timeout) as answer:
                if answer.status != 200:
                    raise unavailable(answer.status)
                event = ""
                async for line in answer.content:
                    if line.startswith(b"event: "):
                        event = line[7:].strip().decode("utf-8", "replace")
                    elif line.startswith(b"data: "):
                        yield event, line[6:]
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise UnavailableError(f"the stream of the console has ended: {type(error).__name__}") from error

    async def close(self) -> None:
        """Close the connection. A further request opens one anew."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            # Proxies as the environment says, as other clients do.
            self._session = aiohttp.ClientSession(headers=self._headers, trust_env=True, read_bufsize=_LINE_BYTES_MAX)
        return self._session


async def _whole(answer: aiohttp.ClientResponse) -> bytes:
    """The body. ValueError when it is larger than any page of a list."""
    parts, size = [], 0
    async for part in answer.content.iter_chunked(64 * 1024):
        parts.append(part)
        size += len(part)
        if size > _ANSWER_BYTES_MAX:
            raise OSError("the answer is too large")
    return b"".join(parts)


def unavailable(status: int) -> UnavailableError:
    """What an answer that was not expected means."""
    if status in (401, 403):
        return UnavailableError(f"the console answers {status}: give token=… of the role `service`")
    if status == 404 or 300 <= status < 400:
        return UnavailableError(f"the console answers {status}: is url=… its address?")
    return UnavailableError(f"the console answers {status}")
