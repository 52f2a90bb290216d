"""Defects of meters, reservations and credits that the simulation must find."""

from collections.abc import Callable
from itertools import chain
from typing import Any, Final

from tollgate.domain.credits import FreeCredits
from tollgate.domain.spend import Spend
from tollgate.domain.windows import WindowKey
from tollgate.ledger.accounts import Accounts
from tollgate.ledger.meters import Meter, MeterTable, patterns_of
from tollgate.ledger.own_meters import OwnMeters
from tollgate.ledger.reservations import OpenReservations
from tollgate.ledger.source import Source
from tollgate.ledger.user_stage import UserStage
from tollgate.schemas.entries import ReservationEntry
from tollgate.schemas.instants import from_ms
from tollgate.schemas.meters import Past

Replaced = tuple[Any, str, Callable[..., Any]]

_settle, _restore, _take_past, _want, _restore_source = (
    Accounts.settle, OpenReservations.restore, OwnMeters.take_past, OwnMeters.want, Source.restore,
)  # fmt: skip


def _settle_twice(self: Accounts, *args: Any, **named: Any) -> None:
    _settle(self, *args, **named)
    _settle(self, *args, **named)


def _restore_without_ends(self: OpenReservations, rows: dict[str, bytes]) -> None:
    _restore(self, rows)
    self._due = []


def _take_past_again(self: OwnMeters, past: Past) -> list[tuple[str, WindowKey, Spend]]:
    kept = self.table.get(Meter.of(past.meter))
    if kept is not None and kept.is_filled:
        kept.is_filled, kept.parts = False, past.part
    return _take_past(self, past)


def _want_from_the_next(self: OwnMeters, meters: frozenset[tuple[str, str]], next_offset: int, clock_ms: int) -> None:
    _want(self, meters, next_offset + 1 if next_offset else 0, clock_ms)


def _calendars_of_each(self: MeterTable, alike: str) -> tuple[str, ...]:
    return tuple(sorted(chain.from_iterable(self._by_scope.get(pattern, ()) for pattern in patterns_of(alike))))


def _day_in_utc(_: FreeCredits, instant_ms: int) -> int:
    return from_ms(instant_ms).toordinal()


def _decide_again(self: Accounts, entry: ReservationEntry, now_ms: int) -> None:
    self._advance(now_ms)
    self.reservations.close((entry.subject, entry.source, entry.id))
    self.reserve(entry, now_ms)


def _restore_an_entry_behind(self: Source, offset: int | None) -> None:
    is_entries = self.tp.topic == "entries" and offset is not None
    _restore_source(self, max(offset - 1, 0) if is_entries and offset is not None else offset)


ACCOUNT_MUTATIONS: Final[dict[str, tuple[Replaced, ...]]] = {
    "settle twice": ((Accounts, "settle", _settle_twice),),
    "forget on restore when reservations end": ((OpenReservations, "restore", _restore_without_ends),),
    "add a past twice": ((OwnMeters, "take_past", _take_past_again),),
    "begin a meter an offset too late": ((OwnMeters, "want", _want_from_the_next),),
    "count a scope once for each meter that covers it": ((MeterTable, "_calendars_of", _calendars_of_each),),
    "give free credits by the day in UTC": ((FreeCredits, "day_of", _day_in_utc),),
    "decide again when a reservation is repeated": ((Accounts, "repeat", _decide_again),),
    "count an entry again after a takeover": (
        (Source, "restore", _restore_an_entry_behind),
        (UserStage, "remember", lambda *_: None),
    ),
}
