"""A console in the test's own process: real access, real bounds, and requests without a socket."""

import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import httpx
from fastapi import FastAPI
from tests.support.control_in_memory import ControlInMemory

from tollgate.console.access.gate import Access
from tollgate.console.app import create_app
from tollgate.console.price_books import PriceBooks
from tollgate.console.room import Room
from tollgate.control import ControlStore
from tollgate.runtime.settings import Settings
from tollgate.schemas.tokens import TOKEN_KEY_PREFIX, Role, TokenKind, new_token_text, token_record

BASE = "http://127.0.0.1:8080"


def now_ms() -> int:
    """The time in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


async def make_token(
    control: ControlStore,
    role: Role,
    *,
    kind: TokenKind = TokenKind.API,
    user: str = "",
    org: str = "",
    name: str = "",
    lifetime_ms: int | None = None,
    created_ms: int | None = None,
) -> str:
    """The text of a new token (or of a login link's code) that the store knows."""
    text = new_token_text()
    made = created_ms if created_ms is not None else now_ms()
    record = token_record(text, role, made, kind=kind, lifetime_ms=lifetime_ms, name=name, user=user, org=org)
    await control.change(TOKEN_KEY_PREFIX + record.id, record.model_dump(mode="json"), actor="test", expect_version=0)
    return str(text)


class ConsoleUnderTest:
    """An application of these rooms, and a client that calls it."""

    def __init__(
        self, rooms: Sequence[Room], control: ControlStore | None = None, *, parts: Any = None, **settings: Any
    ) -> None:
        self.settings = Settings.model_validate(settings)
        self.control = control or ControlInMemory(self.settings)
        self.access = Access(self.settings, self.control)
        given = vars(parts) if parts is not None else {}
        made: Any = SimpleNamespace(
            **{
                "settings": self.settings,
                "control": self.control,
                "access": self.access,
                "prices": PriceBooks(self.settings, self.control),
                **given,
            }
        )
        self.app: FastAPI = create_app(made, rooms)

    def client(self, *, base: str = BASE, address: str = "127.0.0.1", **options: Any) -> httpx.AsyncClient:
        """A client with its own cookies that calls from this address and follows no redirects."""
        transport = httpx.ASGITransport(self.app, client=(address, 4711))
        return httpx.AsyncClient(transport=transport, base_url=base, **options)


def bearer(token: str) -> dict[str, str]:
    """The header that shows a token."""
    return {"Authorization": f"Bearer {token}"}
