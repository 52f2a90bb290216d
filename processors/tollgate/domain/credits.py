"""Credits: what a user was granted, what is left of it, and in which order it is burned. Pure.

A credit is a product token, never money. All amounts are in 10⁻⁹ credits. Free credits are not granted by a job: what
is left of them is what the plan gives a day, less what was burned of it in the user's own day.
"""

from bisect import insort
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from tollgate.schemas.instants import from_ms, to_ms

# Grants of which something is left. Each takes about 30 bytes of the user's row, which is written with every burn.
BUCKETS_MAX: Final = 1_000

_NEVER_MS: Final = 1 << 62


@dataclass(frozen=True, slots=True)
class FreeCredits:
    """What a plan gives a user each day, which begins at midnight in their time zone."""

    per_day_nano: int = 0
    timezone: str = "UTC"

    def day_of(self, instant_ms: int) -> int:
        """The user's date, as the number of days since 0001-01-01."""
        return from_ms(instant_ms).astimezone(_zone(self.timezone)).toordinal()

    def next_midnight_ms(self, instant_ms: int) -> int:
        """When the user's next day begins. Where clocks skip midnight it is the first instant after the gap."""
        return _midnight_ms(self.timezone, self.day_of(instant_ms) + 1)


NO_FREE_CREDITS: Final = FreeCredits()


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


@lru_cache(maxsize=4096)
def _midnight_ms(timezone: str, day: int) -> int:
    # Of an hour that the clocks skip, `fold=0` gives the instant of the skip; of one that comes twice, the first.
    return to_ms(datetime.combine(date.fromordinal(day), datetime.min.time(), _zone(timezone)).astimezone(UTC))


class Bucket(msgspec.Struct, array_like=True):
    """What is left of a grant. It can be spent before `expires_ms`; None: always."""

    kind: str
    left_nano: int
    expires_ms: int | None = None


class Account(msgspec.Struct, array_like=True):
    """The credits of one user. Every method takes the present moment, which must not go backwards.

    `granted_nano` is what entries gave less what they took back. `debt_nano` is what was burned or taken back beyond
    what was there: while there is any, no bucket has anything left and neither have the free credits of the day.
    """

    granted_nano: int = 0
    burned_nano: int = 0
    expired_nano: int = 0
    debt_nano: int = 0
    # Part of what was burned: ever, and in the user's day of that number.
    free_burned_nano: int = 0
    free_day: int = 0
    free_burned_today_nano: int = 0
    revision: int = 0
    # In burn order: what expires first, then the rest by age.
    buckets: list[Bucket] = []

    def advance(self, free: FreeCredits, now_ms: int) -> bool:
        """Expire what has expired, begin a new day, and pay debt from its free credits and those of the days between.

        Returns whether something changed.
        """
        changed = False
        while self.buckets and _expires(self.buckets[0]) <= now_ms:
            self.expired_nano += self.buckets.pop(0).left_nano
            changed = True
        if free.per_day_nano and (day := free.day_of(now_ms)) > self.free_day:
            # A user whose zone moves back to yesterday's date does not get that day's credits again.
            if self.free_day:
                # Days that passed without a look at the account have paid like others.
                self._pay((day - self.free_day - 1) * free.per_day_nano)
            self.free_day, self.free_burned_today_nano = day, 0
            changed = True
        if paid := self._pay(self.free_left_nano(free)):
            self.free_burned_today_nano += paid
            changed = True
        return changed

    def _pay(self, free_nano: int) -> int:
        """Pay debt from free credits, which count as burned since the debt was made; returns how many were needed."""
        paid = min(self.debt_nano, free_nano)
        self.debt_nano -= paid
        self.free_burned_nano += paid
        return paid

    def free_left_nano(self, free: FreeCredits) -> int:
        """What is left of the free credits of the day to which the account was advanced."""
        return max(0, free.per_day_nano - self.free_burned_today_nano)

    def available_nano(self, free: FreeCredits, reserved_nano: int) -> int:
        """What can be burned or reserved, as of the last `advance`; below zero when more than that is owed."""
        left = sum(bucket.left_nano for bucket in self.buckets)
        return left + self.free_left_nano(free) - self.debt_nano - reserved_nano

    def granted_in_all_nano(self, free: FreeCredits) -> int:
        """By entries, and the free credits that were burned or can be burned today: those of other days never were."""
        return self.granted_nano + self.free_burned_nano + self.free_left_nano(free)

    def is_full(self) -> bool:
        """Whether no further bucket can be kept."""
        return len(self.buckets) >= BUCKETS_MAX

    def grant(self, kind: str, nano: int, expires_ms: int | None, free: FreeCredits, now_ms: int) -> None:
        """Add credits, which pay debt first. Those that have expired already are expired at once."""
        self.advance(free, now_ms)
        self.granted_nano += nano
        if expires_ms is not None and expires_ms <= now_ms:
            self.expired_nano += nano
            return
        paid = min(nano, self.debt_nano)
        self.debt_nano -= paid
        if nano > paid:
            # To the right of those that expire at the same time, or never: they are older.
            insort(self.buckets, Bucket(kind, nano - paid, expires_ms), key=_expires)

    def take_back(self, nano: int, free: FreeCredits, now_ms: int) -> None:
        """Remove credits in burn order, free ones aside. What is missing is owed."""
        self.advance(free, now_ms)
        self.granted_nano -= nano
        self.debt_nano += self._take(nano)
        self.advance(free, now_ms)

    def burn(self, nano: int, free: FreeCredits, now_ms: int) -> None:
        """Spend credits: free ones, then what expires first, then the oldest. What is missing is owed."""
        self.advance(free, now_ms)
        self.burned_nano += nano
        of_free = min(nano, self.free_left_nano(free))
        self.free_burned_nano += of_free
        self.free_burned_today_nano += of_free
        self.debt_nano += self._take(nano - of_free)

    def _take(self, nano: int) -> int:
        """Take from the buckets in their order; returns what they lack."""
        while nano and self.buckets:
            first = self.buckets[0]
            taken = min(nano, first.left_nano)
            first.left_nano -= taken
            nano -= taken
            if not first.left_nano:
                del self.buckets[0]
        return nano

    def due_ms(self) -> int | None:
        """When the next bucket expires; None: never."""
        return self.buckets[0].expires_ms if self.buckets else None


def _expires(bucket: Bucket) -> int:
    return bucket.expires_ms if bucket.expires_ms is not None else _NEVER_MS
