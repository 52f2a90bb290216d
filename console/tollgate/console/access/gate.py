"""Who calls: the ways in, one after the other, and how many requests each caller may make."""

import time
from dataclasses import replace
from typing import Final

import structlog
from fastapi import Request

from tollgate.console.access.callers import Caller, Role
from tollgate.console.access.cookies import read_cookie
from tollgate.console.access.jwks import KeysUnknownError
from tollgate.console.access.jwts import Jwts
from tollgate.console.access.network import Network
from tollgate.console.access.sessions import Sessions
from tollgate.console.problems import Problem
from tollgate.console.rates import Rates
from tollgate.console.streams import Streams
from tollgate.control import ControlStore
from tollgate.runtime.settings import Settings
from tollgate.schemas.tokens import TokenKind

log = structlog.get_logger("tollgate.console.access")

# The page that another site may show in a frame, with a JWT in its address.
EMBEDDED_PATH: Final = "/me"
_AUTHORIZATION_CHARS_MAX: Final = 8300


class Access:
    """Who calls the console, by the records in the control store and the settings."""

    def __init__(self, settings: Settings, control: ControlStore) -> None:
        self.settings = settings
        self.network = Network(settings)
        self.sessions = Sessions(control)
        self.rates = Rates(settings)
        self.streams = Streams()
        self._jwts = Jwts(settings)

    async def identify(self, request: Request) -> Caller | None:
        """Who calls, by exactly one of: a bearer token, the token of an embedded page, the session's cookie.

        None when what was shown is not valid; another way in is not tried then. Raises Problem 503 when a JWT cannot
        be checked because the identity provider is away.
        """
        if "authorization" in request.headers:
            return await self._bearer(request)
        if request.method == "GET" and request.url.path == EMBEDDED_PATH and "token" in request.query_params:
            return await self._embedded(request.query_params["token"])
        text = read_cookie(request, self.network.is_secure(request.scope))
        record = await self.sessions.find(text, TokenKind.SESSION) if text else None
        return self.sessions.caller(record) if record is not None else None

    async def admit(self, request: Request, caller: Caller | None) -> None:
        """Count the request of a caller, or of an address whose caller is not known. Raises Problem 429."""
        if caller is None:
            await self.rates.count_unknown(request, self.network.address(request.scope))
        else:
            await self.rates.count(request, caller)

    def holds(self, caller: Caller) -> bool:
        """Whether a caller who was identified before still would be: neither expired nor revoked since then."""
        if caller.expires_at is not None and time.time() >= caller.expires_at:
            return False
        return not caller.token_id or self.sessions.holds(caller.token_id)

    async def log_in(self, request: Request, *, code: str = "", token: str = "") -> tuple[str, Caller, int] | None:
        """Begin a session by a login link's code or by a token: the cookie's text, the caller, and how long in seconds.

        None when neither is valid. Raises Problem 429 after too many attempts from this address, and
        `tollgate.control.UnreachableError`.
        """
        await self.rates.count_login(request, self.network.address(request.scope))
        seconds = self.settings.console_session_hours * 3600
        caller: Caller | None
        if code:
            caller = await self.sessions.consume(code)
        else:
            caller = await self._by_token(token)
            if caller is not None and caller.expires_at is not None:
                seconds = min(seconds, caller.expires_at - int(time.time()))
        if caller is None or seconds <= 0:
            return None
        log.info("a session began", caller=caller.name, role=caller.role.value)
        return await self.sessions.begin(caller, seconds * 1000), caller, seconds

    async def _bearer(self, request: Request) -> Caller | None:
        values = request.headers.getlist("authorization")
        if len(values) != 1 or len(values[0]) > _AUTHORIZATION_CHARS_MAX:
            return None
        scheme, _, text = values[0].partition(" ")
        if scheme.lower() != "bearer":
            return None
        return await self._by_token(text.strip())

    async def _by_token(self, text: str) -> Caller | None:
        """The caller behind an own token or a JWT."""
        if text.startswith("tg_"):
            record = await self.sessions.find(text, TokenKind.API)
            return self.sessions.caller(record) if record is not None else None
        return await self._jwt(text)

    async def _embedded(self, text: str) -> Caller | None:
        caller = await self._jwt(text)
        return replace(caller, embedded=True) if caller is not None and caller.role is Role.USER else None

    async def _jwt(self, text: str) -> Caller | None:
        try:
            return await self._jwts.read(text)
        except KeysUnknownError:
            detail = "The identity provider's keys cannot be read. Try again later."
            raise Problem(503, "identity_provider_unreachable", detail, headers={"Retry-After": "10"}) from None
