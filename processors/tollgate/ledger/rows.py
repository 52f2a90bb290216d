"""The state rows of the scopes that are held as bytes, by scope.

The compiled core packs them into a quarter of the memory that a dict of bytes takes. Python is the reference.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final, Protocol

from tollgate.domain.spend import counts_more
from tollgate.ledger.spend_records import sequence_of

try:
    from tollgate.ledger._native import Rows as NativeRows
except ImportError:
    NativeRows = None  # type: ignore[assignment, misc] # not built


# Before the scope in the key of a row of its open windows.
OPEN_PREFIX: Final = "s|"


class Rows(Protocol):
    """Rows by scope. A walk over them goes by places: from 0 on to where each answer says, until that is None.

    A walk meets every scope that stays where it is. One that is taken out and put back may be passed over.
    """

    def __len__(self) -> int: ...

    def __contains__(self, scope: str, /) -> bool: ...

    def get(self, scope: str) -> bytes | None:
        """The row as it was put; None for an unknown scope."""

    def values(self, scopes: Sequence[str], place: int, start_ms: int, unit: str) -> list[int | None]:
        """Of each base scope how much of a budget's unit its open window has, at its place among those of a row; None
        when it is another window that is open there, or when only the row tells. Faster than to read the rows.
        """

    def put(self, scope: str, row: bytes) -> None:
        """Add or replace a row."""

    def read(self, scope: str, row: bytes) -> None:
        """The same, for many rows that are read one after another; see `settle`."""

    def settle(self) -> None:
        """All rows are read."""

    def pop(self, scope: str) -> bytes | None:
        """The row, which is not kept any more; None for an unknown scope."""

    def names(self, place: int, most: int) -> tuple[list[str], int | None]:
        """Walk: the scopes at up to `most` places from this one on, and where to go on."""

    def counting_more(self, place: int, most: int) -> tuple[list[tuple[str, list[str] | None]], int | None]:
        """Walk over those that count in calendars beyond the base ones, with these; None: only the row tells."""

    def has_more(self) -> bool:
        """Whether there are any."""

    def written_after(self, sequence: int, most: int) -> tuple[list[tuple[str, int]], int | None]:
        """The scopes whose rows were written by the next transactions after this one, with their numbers: at least
        `most` of them, if there are; and the last of these transactions, None when there are no more.
        """


class PythonRows:
    """The reference."""

    def __init__(self) -> None:
        self._rows: dict[str, tuple[int, bytes]] = {}
        # By place; None for one without a scope, of which there is a list.
        self._scopes: list[str | None] = []
        self._free: list[int] = []

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, scope: str) -> bool:
        return scope in self._rows

    def get(self, scope: str) -> bytes | None:
        held = self._rows.get(scope)
        return held[1] if held is not None else None

    def values(self, scopes: Sequence[str], place: int, start_ms: int, unit: str) -> list[int | None]:  # noqa: ARG002 # the reference packs nothing
        return [None] * len(scopes)

    def put(self, scope: str, row: bytes) -> None:
        held = self._rows.get(scope)
        if held is not None:
            place = held[0]
        elif self._free:
            place = self._free.pop()
            self._scopes[place] = scope
        else:
            place = len(self._scopes)
            self._scopes.append(scope)
        self._rows[scope] = (place, row)

    read = put

    def settle(self) -> None:
        pass

    def pop(self, scope: str) -> bytes | None:
        held = self._rows.pop(scope, None)
        if held is None:
            return None
        place, row = held
        self._scopes[place] = None
        self._free.append(place)
        return row

    def names(self, place: int, most: int) -> tuple[list[str], int | None]:
        return list(self._at(place, most)), self._after(place, most)

    def counting_more(self, place: int, most: int) -> tuple[list[tuple[str, list[str] | None]], int | None]:
        found: list[tuple[str, list[str] | None]] = [
            (scope, None) for scope in self._at(place, most) if counts_more(self._rows[scope][1])
        ]
        return found, self._after(place, most)

    def has_more(self) -> bool:
        return any(counts_more(row) for _, row in self._rows.values())

    def written_after(self, sequence: int, most: int) -> tuple[list[tuple[str, int]], int | None]:
        written = ((scope, sequence_of(self._rows[scope][1])) for scope in self._at(0, len(self._scopes)))
        found = [(scope, number) for scope, number in written if number > sequence]
        if len(found) <= most:
            return found, None
        last = sorted(number for _, number in found)[most - 1]
        return [(scope, number) for scope, number in found if number <= last], last

    def _at(self, place: int, most: int) -> Iterator[str]:
        return (scope for scope in islice(self._scopes, place, place + most) if scope is not None)

    def _after(self, place: int, most: int) -> int | None:
        return place + most if place + most < len(self._scopes) else None


def new_rows() -> Rows:
    """An empty table, of the compiled core where it was built."""
    return NativeRows() if NativeRows is not None else PythonRows()


class StateRows(dict[str, bytes]):
    """The latest rows of a state partition by key, while they are read; those of open windows are apart, packed."""

    def __init__(self) -> None:
        super().__init__()
        self.open_rows = new_rows()

    def take(self, key: str, row: bytes | None) -> None:
        """A row was read; None removes it."""
        is_open = key.startswith(OPEN_PREFIX)
        if row is None:
            if is_open:
                self.open_rows.pop(key[len(OPEN_PREFIX) :])
            else:
                self.pop(key, None)
        elif is_open:
            self.open_rows.read(key[len(OPEN_PREFIX) :], row)
        else:
            self[key] = row


class Walk:
    """How far a walk over a table of rows has come. It may go round: from where it is, and then from 0 up to there."""

    def __init__(self) -> None:
        self._place = 0
        # Where the walk ends after it has begun at 0 again; None: it does not, or has done so.
        self._again_to: int | None = None
        self._end: int | None = None
        self.is_over = True

    def begin(self) -> None:
        """Go over all places once: first those that the walk under way has still to come to."""
        if self.is_over:
            self._place = 0
        self._again_to, self._end = self._place or None, None
        self.is_over = False

    def stop(self) -> None:
        """There is nothing to be looked for any more."""
        self.is_over = True

    def next(self, most: int) -> tuple[int, int]:
        """The place to go on at, and how many may be looked at."""
        return self._place, most if self._end is None else min(most, self._end - self._place)

    def went(self, to: int | None) -> None:
        """What `next` said was looked at; the walk goes on at `to`."""
        if to is not None and (self._end is None or to < self._end):
            self._place = to
        elif self._again_to is not None:
            self._place, self._end, self._again_to = 0, self._again_to, None
        else:
            self.is_over = True
