"""The control store without Kafka: the same rules for changes, in one process, and nothing is kept."""

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any

from tollgate.control import Changed, ControlStore, UnreachableError
from tollgate.control.change import OutRecord, new_change, plan
from tollgate.runtime.settings import Settings
from tollgate.schemas.topics import Topic


class ControlInMemory(ControlStore):
    """Makes changes at once. What is planned and held is the real store's own code."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._heard: list[Callable[[str], None]] = []

    async def start(self) -> None:
        """Nothing to read."""

    async def stop(self) -> None:
        """Nothing to close."""

    def on_change(self, call: Callable[[str], None]) -> None:
        """As the real one."""
        self._heard.append(call)

    async def change(
        self,
        key: str,
        value: dict[str, Any] | None,
        *,
        actor: str,
        reason: str = "",
        expect_version: int | None = None,
        idempotency_key: str = "",
        request: str | None = None,
    ) -> Changed:
        """As the real one. Others run first, so that two changes that are asked for at once do race."""
        now_ms = time.time_ns() // 1_000_000
        change = new_change(
            secrets.token_hex(8),
            key,
            value,
            actor=actor,
            reason=reason,
            expect_version=expect_version,
            idempotency_key=idempotency_key,
            request=request,
        )
        await asyncio.sleep(0)
        state = self._follower.state
        made = plan(state, change, now_ms)
        for record in made.records:
            if record.topic is Topic.CONTROL:
                state.take(record.key.decode(), record.value, record.headers)
                for call in self._heard:
                    call(record.key.decode())
        return made.changed

    async def grant(self, records: Sequence[OutRecord]) -> None:
        """As the real one without Kafka: nobody here would take the credits."""
        raise UnreachableError(f"Kafka cannot be reached: {len(records)} records were not written.")
