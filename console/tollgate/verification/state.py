"""Decodes the sums in the worker's state topics. It does so without the ledger's code, to check that code.

`s|scope` holds lifetime and the newest hour, day and month of a scope, `w|kind|start|scope` a window that a newer one
has replaced, and `o` of which usage (or deltas) the rows of the partition are the sum. `f|9|o` says how far partition 9
of usage was forwarded, which was added to those that are counted. `c|user` is an account of credits, and
`h|user|source|id` an open reservation.
"""

from dataclasses import dataclass
from typing import Any, Final

import msgspec

from tollgate.verification.calendar import text_at
from tollgate.verification.names import is_combination, written
from tollgate.verification.sums import Sum

OFFSET_ROW: Final = b"o"
_KINDS: Final = ("hour", "day", "month")
_ACCOUNT_ROWS: Final = (b"c|", b"h|")

_decode: Final = msgspec.json.Decoder(list[Any]).decode
_decode_numbers: Final = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(frozen=True, slots=True)
class Counted:
    """An offset row: `next` is the first source offset that the state does not count, `sequence` the number of the
    transaction that wrote it; the spend records of all transactions up to `said` have been written. `next_entries` is
    the first offset of entries that is not counted, 0 in rows of releases that had none. `credits_from` is the usage
    offset from which on sums have the credits that events burned; releases before left them out.
    """

    next: int = 0
    sequence: int = 0
    said: int = 0
    clock_ms: int = 0
    next_entries: int = 0
    credits_from: int = 0


def forwarder_of(key: bytes) -> int | None:
    """The partition that is only forwarded, of whose offset this is the key; None for any other key."""
    tag, _, rest = key.partition(b"|")
    number, _, row = rest.partition(b"|")
    return int(number) if tag == b"f" and row == OFFSET_ROW and number.isdigit() else None


def read_forwarded(value: bytes) -> Counted:
    """Decode the offset row of a partition that is only forwarded. Raises what `read_counted` raises."""
    return Counted(int(_decode_numbers(value)["next"]))


def read_counted(value: bytes) -> Counted:
    """Decode an offset row. ValueError, KeyError or TypeError when it is none."""
    numbers = _decode_numbers(value)
    return Counted(
        numbers["next"],
        numbers["sequence"],
        numbers["said"],
        numbers["clock_ms"],
        numbers.get("next_entries", 0),
        numbers.get("credits_from", numbers["next"]),
    )


def scope_of(key: bytes) -> str | None:
    """The scope that the row with this key belongs to: for accounts and reservations that of their user. None for rows
    of other things.
    """
    tag, name = key[:2], key[2:].decode()
    if tag == b"s|":
        return name
    if tag in _ACCOUNT_ROWS:
        return f"user/{written(user_of_row(key))}"
    return name.split("|", 2)[2] if tag == b"w|" else None


def is_of_account(key: bytes) -> bool:
    """Whether the row is a user's account of credits, or one of their reservations."""
    return key[:2] in _ACCOUNT_ROWS


def user_of_row(key: bytes) -> str:
    """The user of an account (`c|user`) or reservation (`h|user|source|id`, with bars in names as `%7C`)."""
    tag, name = key[:2], key[2:].decode()
    return name if tag == b"c|" else name.split("|", 1)[0].replace("%7C", "|").replace("%25", "%")


def windows_of(key: bytes, value: bytes | None) -> list[tuple[str, Sum | None]]:
    """The sums in a row, by the key of their spend record; None for a window that was forgotten.

    Behind the base windows of a scope there may be a map of the newest window in other calendars. A combination has
    only that, and its row goes when nobody needs it. ValueError, KeyError, TypeError or IndexError when the row cannot
    be read.
    """
    name = key[2:].decode()
    if key[:2] == b"w|":
        calendar, start, scope = name.split("|", 2)
        window = f"{scope}|{calendar}|{text_at(int(start))}"
        return [(window, _sum(_decode(value)[1:]) if value is not None else None)]
    if value is None:
        if is_combination(name):
            return []
        raise ValueError("a scope's row was deleted")
    row = _decode(value)
    others = row.pop() if isinstance(row[-1], dict) else {}
    found: list[tuple[str, Sum | None]] = []
    if not is_combination(name):
        found.append((f"{name}|lifetime|1970-01-01T00:00:00Z", _sum(row[1])))
    windows = list(zip(_KINDS, row[2::2], row[3::2], strict=not is_combination(name)))
    windows += [(calendar, *window) for calendar, window in others.items()]
    for calendar, start, amount in windows:
        total = _sum(amount)
        # An open window in which nothing was counted is there for its start alone.
        if total.events:
            found.append((f"{name}|{calendar}|{text_at(start)}", total))
    return found


def _sum(numbers: list[Any]) -> Sum:
    cost, retail, events, usage = numbers
    return Sum(cost, retail, events, usage)
