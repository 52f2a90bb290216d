"""What a stream is sent: a snapshot, then what changed, coalesced; heartbeats; `bye`."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any, Final

from tollgate.console.live.changes import Change, Changes
from tollgate.console.live.frames import BYE, ITEMS_MAX, Frame, frame
from tollgate.console.live.freshness import Freshness
from tollgate.console.live.items import Items
from tollgate.console.live.sight import Sight
from tollgate.schemas.instants import format_instant

HEARTBEAT_SECONDS: Final = 10.0
# Before the first change.
_NOTHING: Final = -1
_KINDS: Final = ("spend", "flag", "alert", "budget")


class Stream:
    """The frames of every stream of a process. `freshness` tells by name how old each topic is, `now_ms` the time."""

    def __init__(
        self,
        changes: Changes,
        items: Items,
        freshness: Callable[[], dict[str, Freshness]],
        now_ms: Callable[[], int],
    ) -> None:
        self._changes, self._items = changes, items
        self._freshness, self._now_ms = freshness, now_ms
        self._ended = False
        self._made: dict[tuple[int, Sight], list[Frame]] = {}
        self._made_at = 0
        self.open = 0
        """How many there are."""

    def end(self) -> None:
        """Send `bye` to each and end it; those that are opened later end at once."""
        self._ended = True
        self._changes.wake()

    async def frames(self, sight: Sight) -> AsyncIterator[Frame]:
        """The frames of one stream, for as long as it is asked for them."""
        clock = asyncio.get_running_loop().time
        self.open += 1
        try:
            seen, beat_at = self._changes.number, clock()
            for made in self._since(_NOTHING, sight):
                yield made
            while not self._ended:
                if clock() >= beat_at:
                    beat_at = clock() + HEARTBEAT_SECONDS
                    yield self._heartbeat()
                    continue
                if not await self._changes.wait(seen, beat_at - clock()) or self._ended:
                    continue
                # Before the frames: their reader may be slow, and then catches up with what changed meanwhile.
                before, seen = seen, self._changes.number
                for made in self._since(before, sight):
                    yield made
            yield BYE
        finally:
            self.open -= 1

    def _since(self, number: int, sight: Sight) -> list[Frame]:
        """What changed after this number; everything when `number` is `_NOTHING`, or is too long ago.

        Made once for all streams that have seen the same.
        """
        if self._made_at != self._changes.number:
            self._made.clear()
            self._made_at = self._changes.number
        made = self._made.get((number, sight))
        if made is None:
            changes = None if number == _NOTHING else self._changes.since(number)
            made = list(self._snapshot(sight) if changes is None else self._changed(changes, sight))
            self._made[number, sight] = made
        return made

    def _changed(self, changes: Iterable[Change], sight: Sight) -> Iterator[Frame]:
        by_kind: dict[str, list[Change]] = {}
        for change in changes:
            if sight.may_hear(change):
                by_kind.setdefault(change.kind, []).append(change)
        for kind in _KINDS:
            found = by_kind.get(kind)
            if found is not None:
                items = [self._items.of(change, sight) for change in found[:ITEMS_MAX]]
                yield self._frame(kind, items, len(found) - len(items), snapshot=False)

    def _snapshot(self, sight: Sight) -> Iterator[Frame]:
        for kind in _KINDS:
            items, more = self._items.all(kind, sight)
            yield self._frame(kind, items, more, snapshot=True)

    def _frame(self, kind: Any, items: list[dict[str, Any]], more: int, *, snapshot: bool) -> Frame:
        return frame(kind, {"snapshot": snapshot, "items": items, "more": more}, self._changes.number)

    def _heartbeat(self) -> Frame:
        known = self._freshness()
        as_of = {name: format_instant(found.as_of_ms) if found.as_of_ms else None for name, found in known.items()}
        stale = [name for name, found in known.items() if found.stale]
        data = {"now": format_instant(self._now_ms()), "as_of": as_of, "stale": stale}
        return frame("heartbeat", data, self._changes.number)
