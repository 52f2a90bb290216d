"""One answer for all who ask the same at the same time, and for a few seconds after."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

Answer = TypeVar("Answer")

# A dashboard asks again every few seconds, in every tab. Changes show sooner by the stream than by asking.
FRESH_SECONDS: Final = 1.5
# Until this age an answer is given at once while a newer one is asked for, so that somebody who looks every few seconds
# never waits for ClickHouse. Every answer says when it was asked.
GIVEN_SECONDS_MAX: Final = 4.0
ANSWERS_MAX: Final = 500


@dataclass(slots=True)
class _Asked:
    task: asyncio.Task[Any]
    waiting: int = 0
    answered_at: float = 0.0
    newer: "_Asked | None" = None


class SharedAnswers:
    """Answers by what was asked. A question is cancelled when the last who waits for it has gone; an error is told to
    those who wait, and kept for nobody.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._asked: OrderedDict[Hashable, _Asked] = OrderedDict()

    async def get(self, key: Hashable, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        """The answer to `ask`, or that of somebody who asked with the same key up to four seconds ago."""
        asked = self._asked.get(key)
        if asked is not None and asked.answered_at and self._clock() - asked.answered_at > GIVEN_SECONDS_MAX:
            # Too old to be given; the newer one may be under way for long, and is not asked for twice.
            asked = asked.newer
            if asked is not None:
                self._asked[key] = asked
        if asked is None:
            asked = self._ask(key, ask)
        elif asked.answered_at:
            if self._clock() - asked.answered_at > FRESH_SECONDS and asked.newer is None:
                asked.newer = self._renew(key, asked, ask)
            known: Answer = asked.task.result()
            return known
        asked.waiting += 1
        try:
            answer: Answer = await asyncio.shield(asked.task)
            return answer
        finally:
            asked.waiting -= 1
            if asked.waiting == 0 and not asked.task.done():
                asked.task.cancel()
                self._forget(key, asked)

    async def stop(self) -> None:
        """Cancel the questions that are asked ahead of need."""
        newer = [asked.newer.task for asked in self._asked.values() if asked.newer is not None]
        self._asked.clear()
        for task in newer:
            task.cancel()
        await asyncio.gather(*newer, return_exceptions=True)

    def _ask(self, key: Hashable, ask: Callable[[], Awaitable[Any]]) -> _Asked:
        asked = self._asked[key] = _Asked(asyncio.ensure_future(_run(ask)))
        asked.task.add_done_callback(lambda _task: self._done(key, asked))
        while len(self._asked) > ANSWERS_MAX:
            _, oldest = self._asked.popitem(last=False)
            if oldest.newer is not None:
                oldest.newer.task.cancel()
        return asked

    def _renew(self, key: Hashable, old: _Asked, ask: Callable[[], Awaitable[Any]]) -> _Asked:
        """Ask for a newer answer, which takes the old one's place when it is there."""
        newer = _Asked(asyncio.ensure_future(_run(ask)))

        def done(_task: object) -> None:
            if self._asked.get(key) is old:
                self._asked[key] = newer
            self._done(key, newer)

        newer.task.add_done_callback(done)
        return newer

    def _done(self, key: Hashable, asked: _Asked) -> None:
        # Taking the exception also keeps asyncio from logging that nobody did.
        if asked.task.cancelled() or asked.task.exception() is not None:
            self._forget(key, asked)
        else:
            asked.answered_at = self._clock()

    def _forget(self, key: Hashable, asked: _Asked) -> None:
        if self._asked.get(key) is asked:
            del self._asked[key]


async def _run(ask: Callable[[], Awaitable[Answer]]) -> Answer:
    return await ask()
