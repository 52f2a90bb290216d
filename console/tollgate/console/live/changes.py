"""What changed last, so that any number of streams can catch up without a queue of their own."""

import asyncio
from itertools import takewhile
from typing import Final, Literal, NamedTuple

KEYS_MAX: Final = 10_000
"""Keys that are remembered. A reader who missed more is given everything anew."""

# Two frames a second.
TICK_SECONDS: Final = 0.5

Kind = Literal["spend", "flag", "alert", "budget"]


class Change(NamedTuple):
    """Something that has another value now."""

    kind: Kind
    name: str
    """The scope of a flag, the key of an alert, the id of a budget, or `scope|kind|start` of a sum."""
    scope: str = ""
    """Whose it is; empty when that is not known."""


class Changes:
    """Numbers each change; a key keeps the number of its last one. Readers are woken at most twice a second."""

    def __init__(self) -> None:
        self.number = 0
        """That of the last change."""
        self._numbers: dict[Change, int] = {}
        self._forgotten = 0
        self._ticked_at = float("-inf")
        self._tick: asyncio.TimerHandle | None = None
        self._woken: asyncio.Future[None] | None = None

    def note(self, change: Change) -> None:
        """It has another value now."""
        self.number += 1
        # Taken out first, so that the newest are at the end.
        self._numbers.pop(change, None)
        self._numbers[change] = self.number
        if len(self._numbers) > KEYS_MAX:
            self._forgotten = self._numbers.pop(next(iter(self._numbers)))
        if self._woken is not None:
            self._schedule()

    def forget(self) -> None:
        """Everything may have changed: each reader is given everything anew."""
        self.number += 1
        self._numbers.clear()
        self._forgotten = self.number
        self.wake()

    def _schedule(self) -> None:
        if self._tick is None:
            loop = asyncio.get_running_loop()
            self._tick = loop.call_at(max(loop.time(), self._ticked_at + TICK_SECONDS), self.wake)

    def wake(self) -> None:
        """Let all who wait go on."""
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None
        woken, self._woken = self._woken, None
        if woken is not None:
            self._ticked_at = woken.get_loop().time()
            woken.set_result(None)

    async def wait(self, seen: int, seconds: float) -> bool:
        """Return True at the next tick, which comes when something has changed after `seen`; False after this time."""
        if self._woken is None:
            self._woken = asyncio.get_running_loop().create_future()
        if self.number > seen:
            self._schedule()
        # One future for all who wait: none of them may cancel it.
        done, _ = await asyncio.wait([self._woken], timeout=max(0.0, seconds))
        return bool(done)

    def since(self, number: int) -> list[Change] | None:
        """What changed after this number, the newest first. None when that is no longer known."""
        if number < self._forgotten:
            return None
        newest_first = reversed(self._numbers.items())
        return [change for change, _ in takewhile(lambda entry: entry[1] > number, newest_first)]
