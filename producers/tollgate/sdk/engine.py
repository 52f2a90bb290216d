"""The inside of a client: one daemon thread with a loop of its own, which writes the spool and sends it."""

from collections.abc import Mapping
from concurrent.futures import Future
from datetime import datetime
from decimal import Decimal
from typing import Any

from tollgate.sdk.decision import Decision
from tollgate.sdk.faces import AsyncHeld, Held
from tollgate.sdk.stats import Stats


class Engine:
    """Being written: the public calls of `client` end here."""

    source: str
    knowledge_age_ms: int | None

    @classmethod
    def of(cls, **settings: Any) -> "Engine":
        raise NotImplementedError

    def record(
        self,
        user: str,
        usage: Mapping[str, Any],
        provider: str | None,
        model: str | None,
        time: datetime | str | None,
        event_id: str | None,
        fields: Mapping[str, Any],
    ) -> str:
        raise NotImplementedError

    def check(self, user: str, estimate_usd: str | Decimal | None, names: Mapping[str, str | None]) -> Decision:
        raise NotImplementedError

    def reserve(self, *given: Any) -> Held:
        raise NotImplementedError

    def reserve_async(self, *given: Any) -> AsyncHeld:
        raise NotImplementedError

    def stats(self) -> Stats:
        raise NotImplementedError

    def flush(self, timeout_seconds: float) -> "Future[bool]":
        raise NotImplementedError

    def close(self, timeout_seconds: float) -> None:
        raise NotImplementedError
