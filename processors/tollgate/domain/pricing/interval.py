"""Half-open intervals of time, `[from_ms, to_ms)`, in which a price is known not to change."""

from collections.abc import Iterable
from typing import Final, NamedTuple

DAY_MS: Final = 24 * 60 * 60 * 1000

# Further away than any instant that RFC 3339 can write (years 1 to 9999).
_LONG_AGO_MS: Final = -(10**15)
_FAR_AHEAD_MS: Final = 10**15


class Interval(NamedTuple):
    """`from_ms` inclusive, `to_ms` exclusive."""

    from_ms: int
    to_ms: int

    def __and__(self, other: "Interval") -> "Interval":
        return Interval(max(self.from_ms, other.from_ms), min(self.to_ms, other.to_ms))


ALWAYS: Final = Interval(_LONG_AGO_MS, _FAR_AHEAD_MS)


def around(time_ms: int, boundaries: Iterable[int]) -> Interval:
    """The longest interval that holds the time and no boundary after its start: `around(5, [1, 3, 9])` → `[3, 9)`."""
    start, end = ALWAYS
    for boundary in boundaries:
        if boundary <= time_ms:
            start = max(start, boundary)
        else:
            end = min(end, boundary)
    return Interval(start, end)
