"""Sums of counted events: per scope and hour on disk, per window when a bucket of scopes is read back.

Each event is added under three keys: the user, and two halves of its other names. The same keys come again and again,
so most of the work is done once per key and not once per event and scope.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from tollgate.schemas.partitions import partition_of
from tollgate.schemas.usage_codec import EventRecord
from tollgate.verification.burning import kept, scaled_usage, usage_of
from tollgate.verification.calendar import NESTED, instant, milliseconds, start_of, window_suffix
from tollgate.verification.columns import Cell, Columns
from tollgate.verification.names import DIMENSIONS, names_in, raw, written
from tollgate.verification.spill import Spill
from tollgate.verification.sums import Sum

# Cells in memory: 100 MB of each kind at most.
_CELLS_MAX: Final = 100_000
# Events as columns: 50 MB at most.
_EVENTS_MAX: Final = 50_000

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(tuple[str, int, int, bool, int, int, int, dict[str, int]]).decode

_DIMENSIONS: Final = (("org", "service", "provider", "model"), ("agent", "campaign", "feature", "product"))

# Which partitions of shared scopes count an event: all of them, but for the last events before the cut.
Owners = frozenset[int]
_UserKey = tuple[str, int, int, bool]


@dataclass(slots=True)
class Recounted:
    """A bucket of scopes: the sum of every window by the key of its spend record, and of every user and month."""

    windows: dict[str, Sum] = field(default_factory=dict)
    user_months: dict[tuple[str, int], Sum] = field(default_factory=dict)


class Totals:
    """Sums of counted events. `delta_partitions` is how many partitions shared scopes are spread over."""

    def __init__(self, spill: Spill, delta_partitions: int) -> None:
        self._spill = spill
        self._delta_partitions = delta_partitions
        self._events = Columns(3)
        self._users: dict[_UserKey, Cell] = {}
        self._scopes: dict[tuple[str, int, int], Cell] = {}
        self.events = 0
        self.cost_picousd = 0

    def add(
        self, event: EventRecord, hour_ms: int, held: int, cost: int, retail: int, by_user: bool, owners: Owners
    ) -> None:
        """Count an event at this cost (10⁻¹² USD). `by_user`: whether its user's windows count it."""
        data = event.data
        self.events += 1
        self.cost_picousd += cost
        self._events.add(
            (
                (event.subject, hour_ms, held, by_user),
                (hour_ms, held, owners, data.org, data.service, data.provider, data.model),
                (hour_ms, held, owners, data.agent, data.campaign, data.feature, data.product),
            ),
            cost,
            retail,
            usage_of(data),
        )
        if len(self._events) >= _EVENTS_MAX:
            self._gather()

    def take_back(
        self, event: EventRecord, hour_ms: int, held: int, cost: int, retail: int, by_user: bool, owners: Owners
    ) -> None:
        """The inverse of `add`: the event should not have been counted."""
        usage = {d: -amount for d, amount in scaled_usage(event.data).items()}
        self.events -= 1
        self.cost_picousd -= cost
        _add(self._users, (event.subject, hour_ms, held, by_user), -cost, -retail, -1, usage)
        for scope in scopes_of(event):
            if not scope.startswith("user/") and self._owner(scope) in owners:
                _add(self._scopes, (scope, hour_ms, held), -cost, -retail, -1, usage)
        self._bound()

    def join(self, other: "Totals") -> None:
        """Count everything that another one has counted too; it was flushed."""
        self._spill.join(other._spill)  # noqa: SLF001 # of its own kind
        self.events += other.events
        self.cost_picousd += other.cost_picousd

    def bucket(self, number: int) -> Recounted:
        """What the scopes of a bucket add up to."""
        self.flush()
        found = Recounted()
        windows = found.windows
        for row in self._spill.rows(number):
            scope, hour_ms, held, by_user, cost, retail, events, usage = _decode(row)
            if scope.startswith("user/"):
                month_ms = milliseconds(start_of("month", instant(hour_ms)))
                found.user_months.setdefault((raw(scope[5:]), month_ms), Sum()).add(
                    Sum(cost, retail, events, kept(usage))
                )
                if not by_user:
                    continue
            amount = Sum(cost, retail, events, kept(usage))
            for kind in NESTED[:held]:
                windows.setdefault(scope + window_suffix(kind, hour_ms), Sum()).add(amount)
        # A scope and hour of which every event was taken back has no sum.
        found.windows = {key: amount for key, amount in windows.items() if amount.events}
        found.user_months = {key: amount for key, amount in found.user_months.items() if amount.events}
        return found

    def _gather(self) -> None:
        """Bring the columns into the cells of users and scopes. Every event is in one key of the first half of names,
        and so in `global`.
        """
        users, *halves = self._events.take()
        for key, cell in users.items():
            _add(self._users, key, *cell)
        for dimensions, half in zip(_DIMENSIONS, halves, strict=True):
            for (hour_ms, held, owners, *names), cell in half.items():
                scopes = [
                    f"{dimension}/{written(name)}" for dimension, name in zip(dimensions, names, strict=True) if name
                ]
                if half is halves[0]:
                    scopes.append("global")
                for scope in scopes:
                    if len(owners) == self._delta_partitions or self._owner(scope) in owners:
                        _add(self._scopes, (scope, hour_ms, held), *cell)
        self._bound()

    def _bound(self) -> None:
        if len(self._users) >= _CELLS_MAX:
            self._flush_users()
        if len(self._scopes) >= _CELLS_MAX:
            self._flush_scopes()

    def flush(self) -> None:
        """Write every sum to the files. SpaceError when the disk is full."""
        self._gather()
        self._flush_users()
        self._flush_scopes()
        self._spill.flush()

    def _flush_users(self) -> None:
        for (user, hour_ms, held, by_user), cell in self._users.items():
            self._write(f"user/{written(user)}", hour_ms, held, by_user, cell)
        self._users.clear()

    def _flush_scopes(self) -> None:
        for (scope, hour_ms, held), cell in self._scopes.items():
            self._write(scope, hour_ms, held, True, cell)
        self._scopes.clear()

    def _write(self, scope: str, hour_ms: int, held: int, by_user: bool, cell: Cell) -> None:
        self._spill.add(self._spill.bucket_of(scope), _encode((scope, hour_ms, held, by_user, *cell)))

    def _owner(self, scope: str) -> int:
        return partition_of(scope.encode(), self._delta_partitions)


def _add(cells: dict[Any, Cell], key: Any, cost: int, retail: int, events: int, usage: dict[str, int]) -> None:
    cell = cells.get(key)
    if cell is None:
        cells[key] = [cost, retail, events, dict(usage)]
        return
    cell[0] += cost
    cell[1] += retail
    cell[2] += events
    sums = cell[3]
    for dimension, amount in usage.items():
        sums[dimension] = sums.get(dimension, 0) + amount


def scopes_of(event: EventRecord) -> Iterator[str]:
    """Every base scope that the event is counted for."""
    yield "global"
    for dimension, name in zip(DIMENSIONS, names_in(event), strict=True):
        if name:
            yield f"{dimension}/{written(name)}"
