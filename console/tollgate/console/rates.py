"""How many requests a caller may make: counted in memory, by each process for itself."""

import math
import time
from hashlib import blake2b
from secrets import token_bytes
from typing import Final

from fastapi import Request
from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from tollgate.console.access.callers import Caller, Role
from tollgate.console.problems import Problem
from tollgate.runtime.settings import Settings

# A page asks for its parts with requests of its own, and people have several open.
_SESSION_FACTOR: Final = 10
# Attempts to log in, from one address.
_LOGINS_PER_MINUTE: Final = 30
# Addresses are counted in this many groups, so that a flood from many of them takes no memory. Two that share a group
# share its count.
_GROUPS: Final = 4096
_WINDOW_SECONDS: Final = 60


class Rates:
    """Counts over a sliding minute."""

    def __init__(self, settings: Settings) -> None:
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        usual = settings.console_requests_per_minute
        self._usual = RateLimitItemPerMinute(usual)
        self._service = RateLimitItemPerMinute(settings.console_service_requests_per_minute)
        self._session = RateLimitItemPerMinute(usual * _SESSION_FACTOR)
        self._logins = RateLimitItemPerMinute(_LOGINS_PER_MINUTE)
        # Which addresses share a group is not known outside.
        self._salt = token_bytes(16)

    async def count(self, request: Request, caller: Caller) -> None:
        """Count a caller's request, by their token, their session, or their name in the identity provider."""
        own = self._service if caller.role is Role.SERVICE else self._usual
        item = self._session if caller.session else own
        await self._hit(request, item, "caller", caller.token_id or caller.name)

    async def count_unknown(self, request: Request, address: str) -> None:
        """Count a request without a valid caller."""
        await self._hit(request, self._usual, "address", self._group(address))

    async def count_login(self, request: Request, address: str) -> None:
        """Count an attempt to log in."""
        await self._hit(request, self._logins, "login", self._group(address))

    def _group(self, address: str) -> str:
        digest = blake2b(address.encode(), digest_size=8, key=self._salt).digest()
        return str(int.from_bytes(digest) % _GROUPS)

    async def _hit(self, request: Request, item: RateLimitItemPerMinute, kind: str, name: str) -> None:
        """Raises Problem 429. The answer to the request says what is left, in the fields of the RateLimit draft."""
        admitted = await self._limiter.hit(item, kind, name)
        stats = await self._limiter.get_window_stats(item, kind, name)
        # Of a minute that has not ended yet; at most two, until the count of this one no longer weighs.
        wait = max(1, min(2 * _WINDOW_SECONDS, math.ceil(stats.reset_time - time.time())))
        request.state.answer_headers = {
            "RateLimit-Policy": f'"{kind}";q={item.amount};w={_WINDOW_SECONDS}',
            "RateLimit": f'"{kind}";r={max(0, stats.remaining)};t={wait}',
        }
        if not admitted:
            detail = f"More than {item.amount} requests in a minute. Wait {wait} s."
            raise Problem(429, "too_many_requests", detail, headers={"Retry-After": str(wait)})
