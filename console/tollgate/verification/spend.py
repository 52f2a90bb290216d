"""Compares each window's sum in the state, the spend topic and ClickHouse with the recount; none may be extra."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec

from tollgate.schemas.partitions import partition_of
from tollgate.schemas.record_reading import UnreadableError, read_record
from tollgate.verification.calendar import NESTED, hour_of, instant, milliseconds, text
from tollgate.verification.limits import is_beyond
from tollgate.verification.names import owner_of, user_of, written
from tollgate.verification.report import Check, FirstDifference
from tollgate.verification.snapshot import Cut
from tollgate.verification.sums import AMOUNT_DECIMALS, USD_DECIMALS, Sum, scaled
from tollgate.verification.view import Place, View
from tollgate.verification.zones import end_in, is_held_in, read_calendar, start_in

_decode = msgspec.json.Decoder().decode
_FUTURE_MS: Final = 5 * 60 * 1000


@dataclass(slots=True)
class Spent:
    """A decoded spend record: its sum, and what else it says, which must be what its key says."""

    sum: Sum
    scope: str
    window: dict[str, str]

    def fault(self, key: str) -> str:
        """What it says of its scope or window that is not so by its key; empty when nothing is."""
        scope, calendar, start = split_window(key)
        if scope != self.scope:
            return f"scope {self.scope}"
        try:
            right = _window(calendar, start)
        except ValueError as error:
            return str(error)
        return "" if self.window == right else f"window {self.window}, which is not {right}"


def read_spend(value: bytes) -> Spent:
    """Decode a record of the spend topic. UnreadableError when it is none."""
    return read_record(_spent, value)


def _spent(value: bytes) -> Spent:
    record: dict[str, Any] = _decode(value)
    usage = {dimension: scaled(amount, AMOUNT_DECIMALS) for dimension, amount in record["usage"].items()}
    cost, retail = scaled(record["spent_usd"], USD_DECIMALS), scaled(record["retail_usd"], USD_DECIMALS)
    said = record["window"]
    window = {name: str(said[name]) for name in ("kind", "start", "end", "timezone")}
    return Spent(Sum(cost, retail, record["events"], usage), record["scope"], window)


def _window(calendar: str, start: str) -> dict[str, str]:
    """The calendar's window that starts then. ValueError when there is none."""
    kind, zone, _ = read_calendar(calendar)
    begins = datetime.fromisoformat(start)
    return {
        "kind": kind,
        "start": text(start_in(calendar, begins)),
        "end": text(end_in(calendar, begins)),
        "timezone": zone,
    }


def split_window(key: str) -> tuple[str, str, str]:
    """Scope, kind and start of a window by the key of its spend record."""
    scope, kind, start = key.rsplit("|", 2)
    return scope, kind, start


def _order(key: str) -> tuple[str, int, str]:
    scope, kind, start = split_window(key)
    return scope, NESTED.index(kind) if kind in NESTED else -1, start


class WindowsCheck(Check):
    """A check of windows; the first difference is that of the first scope and window, whatever the order of the looks.

    `said_by` is whose numbers are checked.
    """

    def __init__(self, name: str, said_by: str) -> None:
        super().__init__(name)
        self.said_by = said_by
        self.first: FirstDifference | None = None
        self._first_order: tuple[str, int, str] | None = None
        self.windows = 0
        self.agreed = 0
        # Rows of sums that the worker has dropped, which nothing is left to compare with.
        self.left_over = 0

    def window_differs(self, key: str, expected: object, found: object) -> None:
        """Note a difference in a window."""
        order = _order(key)
        self.differs(f"{self.said_by} {key}", expected, found)
        if self._first_order is None or order < self._first_order:
            self._first_order = order
            self.first = FirstDifference(*split_window(key), self.said_by, str(expected), str(found))
            self.difference = f"{self.said_by} {key}: expected {expected}, found {found}"

    def finish(self) -> Check:
        """All windows were shown."""
        if self.left_over:
            self.note = f"{self.left_over} rows are of sums that no budget or plan needs any more: not compared"
        return self.shows(f"{self.windows} windows", f"{self.agreed} windows")


class Range:
    """Which windows the usage topic still has from their beginning. `first_ms`: by usage partition the broker's time of
    the first record that is left, for partitions whose beginning is past its retention.
    """

    def __init__(self, cut: Cut, first_ms: dict[int, int]) -> None:
        self._cut = cut
        self._first_ms = first_ms
        self.open_windows = 0

    def is_whole(self, key: str) -> bool:
        """Whether no event of the window can be past the retention: none arrives over 5 minutes before its time."""
        if not self._first_ms:
            return True
        scope, kind, start = split_window(key)
        if (user := user_of(scope)) is not None:
            first_ms = self._first_ms.get(partition_of(user.encode(), len(self._cut.users)), 0)
        else:
            first_ms = max(self._first_ms.values())
        if not first_ms or (
            kind != "lifetime" and milliseconds(datetime.fromisoformat(start)) >= first_ms + _FUTURE_MS
        ):
            return True
        self.open_windows += 1
        return False

    def must_hold(self, key: str) -> bool:
        """Whether the state must still have the window, by the clock of the partition that owns it."""
        scope, kind, start = split_window(key)
        cut = self._cut
        is_users, owner = owner_of(scope, cut.homes, len(cut.shared))
        clock_ms = (cut.user_clocks if is_users else cut.shared_clocks).get(owner, 0)
        try:
            return is_held_in(kind, datetime.fromisoformat(start), hour_of(clock_ms))
        except ValueError:
            return False

    def is_dropped(self, key: str) -> bool:
        """Whether the worker has dropped the window with its meter, because no budget or plan needed it any more."""
        scope, calendar, start = split_window(key)
        if not is_beyond(scope, calendar):
            return False
        return not self._cut.meters.count(scope, calendar, milliseconds(datetime.fromisoformat(start)))

    def admits(self, key: str, expected: Sum | None, found: Sum | None) -> bool:
        """Whether the sum found is the recomputed one, or may be, where the topic's beginning is gone."""
        if expected == found:
            return True
        return found is not None and (expected is None or expected <= found) and not self.is_whole(key)


def compare_state(check: WindowsCheck, windows: dict[str, Sum], view: View, range_: Range) -> None:
    """Every window of the recount is in the state while it is held, and every one of the state in the recount."""
    for problem in view.unreadable:
        check.differs("row of the state", "a readable one", problem)
    for key in windows.keys() | view.state.keys():
        expected, found = windows.get(key), view.state.get(key)
        if found is None and not range_.must_hold(key):
            continue
        check.windows += 1
        if range_.admits(key, expected, found):
            check.agreed += 1
        else:
            check.window_differs(key, expected or "nothing", found or "nothing")


def compare_spend(check: WindowsCheck, windows: dict[str, Sum] | None, view: View, range_: Range) -> int:
    """Every window has its record and every record its window. Returns how many windows moved on since the cut.

    A record must say what the state said at the cut or after a later transaction; of windows that the state has
    forgotten, what the recount says (they are left out while `windows` is None), or be removed as they were.
    """
    moved = 0
    known = windows or {}
    forgotten = (known.keys() | view.spend.keys()) - view.state.keys() if windows is not None else set()
    for key in view.state.keys() | (view.spend.keys() & view.moved.keys()) | forgotten:
        check.windows += 1
        found = _read(check, key, view)
        since = view.moved.get(key, [])
        moved += bool(since)
        expected = view.state.get(key)
        if key not in view.spend and _is_forgotten(key, view, range_):
            right = True
        elif expected is None and not since:
            right = range_.admits(key, expected := known.get(key), found)
        else:
            right = found is not None and any(found == version for version in (expected, *since))
        if right:
            check.agreed += 1
        else:
            check.window_differs(key, _shown(expected, since, "no record"), found or "no record")
    return moved


def _is_forgotten(key: str, view: View, range_: Range) -> bool:
    """Whether the worker has given the window up, and has removed its record with it."""
    return key in view.forgotten or (key not in view.state and not range_.must_hold(key))


def _read(check: Check, key: str, view: View) -> Sum | None:
    record = view.spend.get(key)
    if record is None:
        return None
    try:
        spent = read_spend(record[1])
    except UnreadableError as error:
        check.differs(f"spend record {key}", "a readable one", str(error))
        return None
    if fault := spent.fault(key):
        check.differs(f"spend record {key}", "its own scope and window", fault)
    return spent.sum


def compare_table(check: WindowsCheck, windows: dict[str, Sum], view: View, range_: Range) -> None:
    """ClickHouse's rows against the topic: each must be the record of its window at the cut, or a later one.

    ClickHouse keeps windows whose records were removed. They must say what the state said last, or else the recount;
    of a sum that no meter counts any more there is neither.
    """
    for key in view.spend.keys() | view.table.keys():
        check.windows += 1
        row = view.table.get(key)
        records = [record for record in (view.spend.get(key), *view.spend_since.get(key, ())) if record is not None]
        said = list(_sums(records))
        if row is not None and row in said:
            check.agreed += 1
        elif row is None:
            check.window_differs(key, said[0][0] if said else "a row", "no row")
        elif not said and key not in view.spend and key not in view.forgotten and range_.is_dropped(key):
            check.left_over += 1
            check.agreed += 1
        elif not said and key not in view.spend and _is_forgotten(key, view, range_):
            versions = [*view.moved.get(key, ()), view.state.get(key)]
            if row[0] in versions or range_.admits(key, windows.get(key), row[0]):
                check.agreed += 1
            else:
                check.window_differs(key, windows.get(key) or "no row", row[0])
        elif not said:
            check.window_differs(key, "no row", row[0])
        else:
            expected, place = said[-1]
            check.window_differs(key, f"{expected} from {place}", f"{row[0]} from {row[1]}")


def _sums(records: Iterable[tuple[Place, bytes]]) -> Iterable[tuple[Sum, Place]]:
    for place, value in records:
        try:
            yield read_spend(value).sum, place
        except UnreadableError:
            # The topic's own check tells it.
            continue


def compare_months(
    check: WindowsCheck, expected: dict[tuple[str, int], Sum], found: dict[tuple[str, int], Sum]
) -> None:
    """Every user's months in ClickHouse's view of events."""
    for user, month_ms in expected.keys() | found.keys():
        check.windows += 1
        right, said = expected.get((user, month_ms)), found.get((user, month_ms))
        if right == said:
            check.agreed += 1
        else:
            check.window_differs(
                f"user/{written(user)}|month|{text(instant(month_ms))}", right or "nothing", said or "nothing"
            )


def _shown(expected: Sum | None, since: list[Sum], nothing: str) -> str:
    if since:
        return f"one of {len(since) + (expected is not None)} sums from {expected or since[0]} to {since[-1]}"
    return str(expected) if expected is not None else nothing
