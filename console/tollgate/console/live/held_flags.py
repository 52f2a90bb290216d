"""The flags that warn or block, as the topic has them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import heappush, heappushpop
from sys import intern
from typing import Final, NamedTuple

import msgspec

from tollgate.console.live.ignored import Ignored
from tollgate.schemas.calendars import UTC_ZONE
from tollgate.schemas.outputs import Flag, FlagState
from tollgate.schemas.record_reading import UnreadableError, read_record
from tollgate.schemas.topics import Topic
from tollgate.sdk.call_scopes import KnownShapes
from tollgate.sdk.decision import HeldFlag


class FlagWindow(msgspec.Struct, gc=False):
    """The window of a flag's numbers, as the topic has it."""

    kind: str
    start: str
    timezone: str = UTC_ZONE


class FlagNumbers(msgspec.Struct, gc=False):
    """Of a flag what it says of its budget. It is read ten times as fast as the whole record."""

    state: FlagState
    window: FlagWindow | None = None
    unit: str | None = None
    spent: str | None = None


class _Kept(NamedTuple):
    value: bytes
    until_ms: int | None
    blocked: bool
    revision: int
    budget: str
    hundredths: int

    def in_force(self, now_ms: int) -> bool:
        return self.until_ms is None or now_ms < self.until_ms


WORST_MAX: Final = 5
"""Scopes of a budget that are named when there are too many to name all."""


@dataclass(slots=True)
class BudgetFlags:
    """The flags in force that show one budget: how many, and the scopes that have spent the most of it."""

    warned: int = 0
    blocked: int = 0
    heap: list[tuple[int, str]] = field(default_factory=list)

    def count(self, scope: str, kept: _Kept) -> None:
        """Add a flag."""
        self.blocked += kept.blocked
        self.warned += not kept.blocked
        add = heappush if len(self.heap) < WORST_MAX else heappushpop
        add(self.heap, (kept.hundredths, scope))

    @property
    def worst(self) -> list[str]:
        """The scopes that have spent the most of the budget, at most five, the worst first."""
        return [scope for _, scope in sorted(self.heap, reverse=True)]


_read_numbers: Final = msgspec.json.Decoder(FlagNumbers).decode


class HeldFlags:
    """By scope the flag that was last written, unless it is `ok`."""

    def __init__(self, ignored: Ignored) -> None:
        self._flags: dict[str, _Kept] = {}
        self.shapes = KnownShapes()
        self._ignored = ignored

    def take(self, key: bytes, value: bytes | None) -> str | None:
        """Take in a record. The scope when something changed for it."""
        try:
            scope = key.decode()
            if value is None or read_record(_read_numbers, value).state is FlagState.OK:
                if self._flags.pop(scope, None) is None:
                    return None
                self.shapes.remove(scope)
                return scope
            held = read_record(HeldFlag.read, value)
        except (UnreadableError, UnicodeDecodeError) as error:
            self._ignored.note(Topic.FLAGS, "the key is not UTF-8" if isinstance(error, UnicodeError) else str(error))
            return None
        if held.scope != scope:
            self._ignored.note(Topic.FLAGS, "the key is not the scope")
            return None
        kind, numbers = held.kind, held.numbers
        kept = self._flags.get(scope)
        if kept is not None and kept.revision > numbers.revision:
            return None
        if kept is None:
            self.shapes.add(scope)
        # Thousands of flags show the same budget; its id is kept once.
        budget, hundredths = intern(numbers.budget or ""), int((numbers.percent or "0").replace(".", ""))
        self._flags[scope] = _Kept(value, kind.until_ms, kind.blocked, numbers.revision, budget, hundredths)
        return scope

    def forget(self) -> None:
        """Forget everything."""
        self._flags.clear()
        self.shapes.clear()

    def get(self, scope: str) -> HeldFlag | None:
        """The scope's flag; None when it is `ok` or there is none."""
        kept = self._flags.get(scope)
        return None if kept is None else HeldFlag.read(kept.value)

    def in_force(self, now_ms: int) -> Iterator[str]:
        """The scopes that are warned or blocked at this moment, in no order."""
        return (scope for scope, kept in self._flags.items() if kept.in_force(now_ms))

    def by_budget(self, now_ms: int) -> dict[str, BudgetFlags]:
        """The flags in force by the id of the budget that each shows; some 50 ms for 100,000 of them."""
        found: dict[str, BudgetFlags] = {}
        for scope, kept in self._flags.items():
            if kept.in_force(now_ms):
                found.setdefault(kept.budget, BudgetFlags()).count(scope, kept)
        return found

    def blocked(self, now_ms: int) -> int:
        """How many scopes are blocked or stopped at this moment."""
        return sum(kept.blocked and kept.in_force(now_ms) for kept in self._flags.values())

    def numbers(self, scope: str) -> FlagNumbers | None:
        """As `flag`, but only what it says of its budget."""
        kept = self._flags.get(scope)
        return None if kept is None else _read_numbers(kept.value)

    def flag(self, scope: str) -> Flag | None:
        """As `get`, without its end."""
        held = self.get(scope)
        return None if held is None else held.flag
