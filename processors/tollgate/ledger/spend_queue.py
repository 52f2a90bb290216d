"""Which spend records of a partition are still to be written, and when.

Spend records are for readers, not for recovery, and a window that changes with every batch needs only its latest. So
they are written at a bounded pace, and the offset row tells up to which transaction all of them are.
"""

from collections.abc import Callable
from itertools import islice
from operator import itemgetter
from typing import Final

import msgspec

from tollgate.domain.reservations import NOTHING_RESERVED, Reserved
from tollgate.domain.spend import ScopeSpend
from tollgate.domain.windows import WindowKey, window_start
from tollgate.ledger.outbox import NO_HEADERS, Outbox
from tollgate.ledger.scope_table import ScopeTable
from tollgate.ledger.spend_records import spend_key, spend_value
from tollgate.schemas.instants import format_instant
from tollgate.schemas.topics import Topic

# A transaction carries at most this many spend records, or an eighth of its events if that is more.
RECORDS_MIN: Final = 400
RECORDS_SHARE: Final = 8

# Once all are written the next ones wait for so long. ADR 45 has what they cost when each transaction has some.
APART_MS: Final = 500

# Scopes whose records were missing at the last stop: so many are remembered at a time.
READ_AT_ONCE: Final = 2_000

_encode = msgspec.json.Encoder().encode


def nothing_reserved(_scope: str) -> Reserved:
    """Of every scope of a partition without reservations."""
    return NOTHING_RESERVED


class SpendQueue:
    """Windows that changed since their last spend record was written, oldest change first.

    Each has the number of the transaction that changed it. `apart_ms`: milliseconds from the writing of the last record
    that waited to the next one; 0 writes some in each transaction. `reserved` tells what open reservations hold of a
    scope.
    """

    def __init__(
        self,
        partition: int,
        table: ScopeTable,
        apart_ms: int,
        reserved: Callable[[str], Reserved] = nothing_reserved,
    ) -> None:
        self._partition = partition
        self._table = table
        self._apart_ms = apart_ms
        self._reserved = reserved
        self._written_ms = 0
        self._is_due = True
        # Scopes of which open windows changed.
        self._open: dict[str, int] = {}
        self._closed: dict[tuple[str, WindowKey], int] = {}
        # The same of before the start. There may be a million: those of all transactions up to `_read_to` were read
        # from the rows, of which None has no more.
        self._before: dict[str, int] = {}
        self._read_to: int | None = None

    def add(self, scope: str, sequence: int) -> None:
        """The scope's open windows are changed by the transaction of this number."""
        self._open.setdefault(scope, sequence)

    def add_closed(self, scope: str, window: WindowKey, sequence: int) -> None:
        """One of its closed windows is."""
        self._closed.setdefault((scope, window), sequence)

    def has_closed(self, scope: str, window: WindowKey) -> bool:
        """Whether the record of a closed window is still to be written, so that its sum must be kept."""
        return (scope, window) in self._closed

    def drop(self, scope: str) -> None:
        """The scope is forgotten."""
        self._open.pop(scope, None)

    def drop_closed(self, scope: str, window: WindowKey) -> None:
        """One of its closed windows is."""
        self._closed.pop((scope, window), None)

    def tick(self, now_ms: int) -> None:
        """Notice the time. A clock that was set back is no reason to wait."""
        if not 0 <= now_ms - self._written_ms < self._apart_ms:
            self._is_due = True

    def has_pending(self) -> bool:
        """Whether a transaction now would write some."""
        return self._is_due and not self._is_empty()

    def _is_empty(self) -> bool:
        return not (self._open or self._closed or self._before) and self._read_to is None

    def write(self, outbox: Outbox, events: int, now_ms: int) -> None:
        """Write the next ones into a transaction of so many events, if it is time for them."""
        self._read_rows()
        if not self._is_due or self._is_empty():
            return
        records = outbox.to(Topic.SPEND, self._partition)
        updated_at = format_instant(now_ms)

        def put(scope: str, spend: ScopeSpend, window: WindowKey, reserved: int = 0) -> None:
            held = spend.window(*window)
            if held is not None:
                # A reservation counts in the windows of now alone.
                reserved = reserved if reserved and window_start(window[0], now_ms) == window[1] else 0
                value = _encode(spend_value(scope, window, held, updated_at, reserved))
                records.append((spend_key(scope, window), value, NO_HEADERS))

        most = max(RECORDS_MIN, events // RECORDS_SHARE)
        end = len(records) + most
        for scope, window in list(islice(self._closed, most)):
            del self._closed[scope, window]
            if (spend := self._table.find(scope)) is not None:
                put(scope, spend, window)
        for waiting in (self._before, self._open):
            for scope in list(islice(waiting, most)):
                if len(records) >= end:
                    return
                del waiting[scope]
                if (spend := self._table.find(scope)) is not None:
                    reserved = self._reserved(scope).picousd
                    for window in spend.windows():
                        put(scope, spend, window, reserved)
        if self._is_empty():
            self._written_ms = now_ms
            self._is_due = self._apart_ms == 0

    def written_to(self, sequence: int) -> int:
        """The number of the transaction up to which all are written, of so many transactions."""
        waiting = (self._before, self._open, self._closed)
        oldest = (next(iter(numbers.values()), sequence + 1) - 1 for numbers in waiting)
        return min(*oldest, sequence if self._read_to is None else self._read_to)

    def restore(self, written_to: int, closed: dict[tuple[str, WindowKey], int]) -> None:
        """After the table: those of later transactions than that one are missing, and of closed windows these."""
        # The first tells up to which transaction all are written: recovery relies on it.
        self._closed = dict(sorted(closed.items(), key=itemgetter(1)))
        self._read_to = written_to
        self._read_rows()

    def _read_rows(self) -> None:
        """Read from the rows which were missing at the start, the oldest first."""
        if self._read_to is not None and not self._before:
            found, self._read_to = self._table.written_after(self._read_to, READ_AT_ONCE)
            self._before = dict(sorted(found, key=itemgetter(1)))
