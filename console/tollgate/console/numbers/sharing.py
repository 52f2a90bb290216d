"""One answer for all who ask the same at the same time, and for a second or two after."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

Answer = TypeVar("Answer")

# A dashboard asks again every few seconds, in every tab. Changes show sooner by the stream than by asking.
FRESH_SECONDS: Final = 1.5
ANSWERS_MAX: Final = 500


@dataclass(slots=True)
class _Asked:
    task: asyncio.Task[Any]
    waiting: int = 0
    answered_at: float = 0.0


class SharedAnswers:
    """Answers by what was asked. A question is cancelled when the last who waits for it has gone; an error is told to
    those who wait, and kept for nobody.
    """

    def __init__(self, fresh_seconds: float = FRESH_SECONDS) -> None:
        self._fresh_seconds = fresh_seconds
        self._asked: OrderedDict[Hashable, _Asked] = OrderedDict()

    async def get(self, key: Hashable, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        """The answer to `ask`, or the fresh one of somebody who asked with the same key."""
        asked = self._asked.get(key)
        if asked is None or (asked.answered_at and time.monotonic() - asked.answered_at > self._fresh_seconds):
            asked = _Asked(asyncio.ensure_future(_run(ask)))
            self._asked[key] = asked
            asked.task.add_done_callback(lambda task: self._done(key, task))
            while len(self._asked) > ANSWERS_MAX:
                self._asked.popitem(last=False)
        asked.waiting += 1
        try:
            answer: Answer = await asyncio.shield(asked.task)
            return answer
        finally:
            asked.waiting -= 1
            if asked.waiting == 0 and not asked.task.done():
                asked.task.cancel()
                self._forget(key, asked.task)

    def _done(self, key: Hashable, task: asyncio.Task[Any]) -> None:
        asked = self._asked.get(key)
        if asked is None or asked.task is not task:
            return
        # Taking the exception also keeps asyncio from logging that nobody did.
        if task.cancelled() or task.exception() is not None:
            self._forget(key, task)
        else:
            asked.answered_at = time.monotonic()

    def _forget(self, key: Hashable, task: asyncio.Task[Any]) -> None:
        asked = self._asked.get(key)
        if asked is not None and asked.task is task:
            del self._asked[key]


async def _run(ask: Callable[[], Awaitable[Answer]]) -> Answer:
    return await ask()
