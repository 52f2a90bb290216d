"""Own tokens, login links and sessions: control records `token/<id>`, read and changed through the control store."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from pydantic import ValidationError

from tollgate.console.access.callers import Caller
from tollgate.control import ControlStore, NoRecordError, VersionConflictError
from tollgate.schemas.text_rules import NAME_CHARS_MAX
from tollgate.schemas.tokens import (
    TOKEN_KEY_PREFIX,
    TokenKind,
    TokenRecord,
    new_token_text,
    parse_token_text,
    token_record,
)

# A token that was made a moment ago may not have reached this process yet.
_ARRIVAL_SECONDS: Final = 1


class Sessions:
    """Who stands behind a token's text, and the life of sessions. `now_ms` is the time in milliseconds since 1970."""

    def __init__(self, control: ControlStore, now_ms: Callable[[], int] | None = None) -> None:
        self._control = control
        self._awaited: dict[str, asyncio.Event] = {}
        control.on_change(self._note)
        self._now_ms = now_ms or (lambda: time.time_ns() // 1_000_000)

    async def find(self, text: str, kind: TokenKind) -> TokenRecord | None:
        """The record of a token of this kind that exists, has this secret and has not expired."""
        parts = parse_token_text(text)
        if parts is None:
            return None
        key = TOKEN_KEY_PREFIX + parts.id
        if self._control.get(key) is None:
            await self._arrival(key)
        record = self._read(key)
        if record is None or not record.matches(parts.secret) or record.kind is not kind:
            return None
        return record if self._is_valid(record) else None

    def holds(self, token_id: str) -> bool:
        """Whether this token or session is still there and has not expired."""
        record = self._read(TOKEN_KEY_PREFIX + token_id)
        return record is not None and self._is_valid(record)

    def caller(self, record: TokenRecord) -> Caller:
        """The caller that a token or session stands for."""
        session = record.kind is TokenKind.SESSION
        name = record.name if session else f"token:{record.name or record.id}"
        return Caller(name[:NAME_CHARS_MAX], record.role, record.user, record.org, record.id, session=session)

    async def begin(self, caller: Caller, lifetime_ms: int) -> str:
        """A new session of a caller who has shown a token, ended with that token: the text of its cookie."""
        text = new_token_text()
        record = token_record(
            text,
            caller.role,
            self._now_ms(),
            kind=TokenKind.SESSION,
            lifetime_ms=lifetime_ms,
            name=caller.name,
            user=caller.user,
            org=caller.org,
            parent=caller.token_id,
        )
        await self._control.change(
            TOKEN_KEY_PREFIX + record.id,
            record.model_dump(mode="json"),
            actor=caller.name,
            reason="login",
            expect_version=0,
        )
        return str(text)

    async def consume(self, text: str) -> Caller | None:
        """Take a login link's code, once: of two processes that take it one gets the caller, and the other None."""
        record = await self.find(text, TokenKind.LOGIN)
        held = self._control.get(TOKEN_KEY_PREFIX + record.id) if record is not None else None
        if record is None or held is None:
            return None
        caller = Caller(record.name or f"login:{record.id}", record.role, record.user, record.org)
        try:
            await self._control.change(
                held.key, None, actor=caller.name, reason="login link used", expect_version=held.version
            )
        except (VersionConflictError, NoRecordError):
            return None
        return caller

    async def end(self, caller: Caller) -> None:
        """Remove a session, in all processes. Raises `tollgate.control.UnreachableError`."""
        with suppress(NoRecordError):
            await self._control.change(TOKEN_KEY_PREFIX + caller.token_id, None, actor=caller.name, reason="logout")

    def _is_valid(self, record: TokenRecord) -> bool:
        """Whether it has not expired, and neither has nor was removed the token that began it."""
        now_ms = self._now_ms()
        if not record.holds_at(now_ms):
            return False
        if not record.parent:
            return True
        parent = self._read(TOKEN_KEY_PREFIX + record.parent)
        return parent is not None and parent.holds_at(now_ms)

    def _read(self, key: str) -> TokenRecord | None:
        held = self._control.get(key)
        if held is None:
            return None
        try:
            return TokenRecord.model_validate(held.value)
        except ValidationError:
            return None

    async def _arrival(self, key: str) -> None:
        """Wait for the record, for a moment."""
        arrived = self._awaited.setdefault(key, asyncio.Event())
        with suppress(TimeoutError):
            async with asyncio.timeout(_ARRIVAL_SECONDS):
                await arrived.wait()
        self._awaited.pop(key, None)

    def _note(self, key: str) -> None:
        arrived = self._awaited.pop(key, None)
        if arrived is not None:
            arrived.set()
