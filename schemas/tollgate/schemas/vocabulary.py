"""The vocabulary of the ledger as data: dimensions, scope shapes, windows and entry types.

Whatever counts, decides or reads iterates over these lists, and the compiled core is given them when it is made. So a
kind of window is added here and nowhere else. `tollgate verify` and the tests' checkers have lists of their own, so
that a mistake here is not repeated there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

HOUR_MS: Final = 60 * 60 * 1000
DAY_MS: Final = 24 * HOUR_MS

GLOBAL_SCOPE: Final = "global"

# The usage dimension of product tokens in a scope's sums. What a sender reports under this name in `usage` is their own
# unit, and is not added to it.
CREDITS: Final = "credits"


class EntryType(StrEnum):
    """What stands in the ledger, by the `type` of its CloudEvent."""

    USAGE = "tollgate.usage.v1"
    RESERVATION = "tollgate.reservation.v1"
    RELEASE = "tollgate.release.v1"
    CREDIT = "tollgate.credit.v1"
    REVENUE = "tollgate.revenue.v1"
    ADJUSTMENT = "tollgate.adjustment.v1"


class Dimension(StrEnum):
    """The named dimensions of a usage event that spend is kept for. `user` is the event's subject.

    The names of a combined scope are in this order.
    """

    USER = "user"
    ORG = "org"
    SERVICE = "service"
    PROVIDER = "provider"
    MODEL = "model"
    AGENT = "agent"
    CAMPAIGN = "campaign"
    FEATURE = "feature"
    PRODUCT = "product"


@dataclass(frozen=True, slots=True)
class Shape:
    """The scopes that name these dimensions and no others: `(user,)` is that of `user/u-42`, `()` that of `global`."""

    dimensions: tuple[Dimension, ...]

    @property
    def is_users(self) -> bool:
        """Who owns such scopes: the user's partition, which has all of the user's events, else the second stage."""
        return Dimension.USER in self.dimensions

    @property
    def prefix(self) -> str:
        """What stands before the name in a scope of at most one dimension: `user/`, and nothing before `global`."""
        return "".join(f"{dimension.value}/" for dimension in self.dimensions)


# The shapes whose scopes every event adds to, where it has the names: each dimension by itself, and everything last.
BASE_SHAPES: Final = (*(Shape((dimension,)) for dimension in Dimension), Shape(()))


class WindowKind(StrEnum):
    """The calendar intervals that spend is kept for. How each is cut is a calendar's: `schemas/calendars.py`."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    LIFETIME = "lifetime"

    # Equal to its string and hashed alike; enum's own hash is a Python function, too slow for a key of every sum.
    __hash__ = str.__hash__


@dataclass(frozen=True, slots=True)
class Cut:
    """How the windows of one kind follow one another, and for how long a worker keeps them.

    `length_ms`: each is this long, and one of them begins at `origin_ms`; None: they are calendar months. `held` is how
    many before the present one are kept, which bounds the memory per scope. ClickHouse has older ones.
    """

    held: int
    length_ms: int | None
    origin_ms: int = 0


# The kinds that end, cut in UTC; `lifetime` has one window, which is always kept. A week begins on Monday, and the
# first Monday of 1970 was the 5th of January. In other calendars as many windows of a kind are held.
CUTS: Final[Mapping[WindowKind, Cut]] = {
    WindowKind.HOUR: Cut(held=72, length_ms=HOUR_MS),
    WindowKind.DAY: Cut(held=62, length_ms=DAY_MS),
    WindowKind.WEEK: Cut(held=10, length_ms=7 * DAY_MS, origin_ms=4 * DAY_MS),
    WindowKind.MONTH: Cut(held=25, length_ms=None),
}

# The kinds that every base scope is counted in, whatever budgets there are; all others only where a budget needs them.
# Rows of the state topics have their sums in this order: append new kinds at the end. A row of a release that had fewer
# is read as if nothing was spent in the others.
BASE_WINDOWS: Final[Mapping[WindowKind, Cut]] = {
    kind: CUTS[kind] for kind in (WindowKind.HOUR, WindowKind.DAY, WindowKind.MONTH)
}

# The unit of time of a sum on its way to its windows. The offset of every time zone in use is a multiple of it, so each
# window of each of them is a union of slots.
SLOT_MS: Final = 15 * 60 * 1000
