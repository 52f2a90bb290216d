"""A user's credits and reservations as they should be, worked out from what was promised. No code of the ledger.

Credits are whole numbers, money is in 10⁻¹² USD. Instants are in milliseconds.
"""

from dataclasses import dataclass, field
from datetime import date
from typing import Any

from tests.simulation.rules import Names, Rules, day_of

NEVER_MS = 1 << 62


@dataclass
class Purse:
    """The credits of one user. `lots` are what is left of grants: when they expire, their number, how much."""

    granted: int = 0
    burned: int = 0
    expired: int = 0
    owed: int = 0
    free_burned: int = 0
    today: date = date.min
    free_today: int = 0
    lots: list[list[int]] = field(default_factory=list)
    grants: int = 0

    def advance(self, free: tuple[int, str], now_ms: int) -> None:
        """Let time pass: grants expire, a day begins, its free credits pay what is owed."""
        per_day, zone = free
        self.expired += sum(left for expires_ms, _, left in self.lots if expires_ms <= now_ms)
        self.lots = [lot for lot in self.lots if lot[0] > now_ms]
        if per_day and day_of(zone, now_ms) > self.today:
            if self.today > date.min:
                between = min(self.owed, ((day_of(zone, now_ms) - self.today).days - 1) * per_day)
                self.owed -= between
                self.free_burned += between
            self.today, self.free_today = day_of(zone, now_ms), 0
        paid = min(self.owed, self.free_left(per_day))
        self.owed -= paid
        self.free_today += paid
        self.free_burned += paid

    def free_left(self, per_day: int) -> int:
        """What is left of the day's free credits."""
        return max(0, per_day - self.free_today)

    def left(self, per_day: int) -> int:
        """What could be burned if nothing were reserved; below zero when more is owed."""
        return sum(left for _, _, left in self.lots) + self.free_left(per_day) - self.owed

    def change(self, amount: int, expires_ms: int, free: tuple[int, str], now_ms: int) -> None:
        """Grant, or take back when negative."""
        self.advance(free, now_ms)
        self.granted += amount
        if amount < 0:
            self.owed += self._take(-amount)
            self.advance(free, now_ms)
        elif expires_ms <= now_ms:
            self.expired += amount
        else:
            paid = min(amount, self.owed)
            self.owed -= paid
            self.grants += 1
            if amount > paid:
                self.lots.append([expires_ms, self.grants, amount - paid])
                self.lots.sort()

    def burn(self, amount: int, free: tuple[int, str], now_ms: int) -> None:
        """Free ones first, then what expires first, then the oldest; what is missing is owed."""
        self.advance(free, now_ms)
        self.burned += amount
        of_free = min(amount, self.free_left(free[0]))
        self.free_today += of_free
        self.free_burned += of_free
        self.owed += self._take(amount - of_free)

    def _take(self, amount: int) -> int:
        for lot in self.lots:
            taken = min(amount, lot[2])
            lot[2] -= taken
            amount -= taken
        self.lots = [lot for lot in self.lots if lot[2]]
        return amount

    def said(self, per_day: int, reserved: int) -> dict[str, int]:
        """What a balance has to say."""
        return {
            "available": self.left(per_day) - reserved,
            "reserved": reserved,
            "granted": self.granted + self.free_burned + self.free_left(per_day),
            "burned": self.burned,
            "expired": self.expired,
        }


@dataclass
class Held:
    """An open reservation; `names` with its user's."""

    picousd: int
    credits: int
    until_ms: int
    names: Names


@dataclass
class Early:
    """What calls took of a reservation that was not read yet."""

    picousd: int = 0
    credits: int = 0
    is_closed: bool = False
    until_ms: int = 0


Key = tuple[str, str]  # source and id


class Purses:
    """Of all users of one partition. `expected` are the answers that the next transaction must have, by user: the id
    and `granted`, `same` or the error.
    """

    def __init__(self) -> None:
        self.purses: dict[str, Purse] = {}
        self.open: dict[tuple[str, Key], Held] = {}
        self.early: dict[tuple[str, Key], Early] = {}
        self.read: set[Key] = set()
        self.expected: dict[str, list[tuple[str, str]]] = {}
        self.clock_ms = 0

    def end(self, now_ms: int) -> None:
        """Let what ends at this instant end."""
        self.clock_ms = max(self.clock_ms, now_ms)
        self.open = {key: held for key, held in self.open.items() if held.until_ms > now_ms}
        self.early = {key: early for key, early in self.early.items() if early.until_ms > now_ms}

    def reserved(self, scope_names: tuple[tuple[str, str], ...]) -> tuple[int, int, int]:
        """What is held of a scope with these names: money, credits, reservations."""
        found = [held for held in self.open.values() if all(held.names.get(d) == name for d, name in scope_names)]
        return sum(held.picousd for held in found), sum(held.credits for held in found), len(found)

    def reserved_credits(self, user: str) -> int:
        """Credits that the user's open reservations hold."""
        return self.reserved((("user", user),))[1]

    def purse(self, user: str, rules: Rules, now_ms: int) -> Purse | None:
        """The user's, as of now; None when they never had any and their plan gives none."""
        self.clock_ms = max(self.clock_ms, now_ms)
        free = rules.free_of(user)
        if user not in self.purses and free[0]:
            self.purses[user] = Purse()
        purse = self.purses.get(user)
        if purse is not None:
            purse.advance(free, self.clock_ms)
        return purse

    def settle(self, user: str, key: Key, picousd: int, burned: int, *, more: bool, now_ms: int) -> None:
        """A call of a reservation was counted, or it was released."""
        self.end(now_ms)
        held = self.open.get((user, key))
        if held is not None:
            if more:
                held.picousd = max(0, held.picousd - picousd)
                held.credits = max(0, held.credits - burned)
            else:
                del self.open[user, key]
        elif key not in self.read:
            early = self.early.setdefault((user, key), Early(until_ms=now_ms + 3_600_000))
            early.picousd += picousd
            early.credits += burned
            early.is_closed = early.is_closed or not more

    def row_of(self, key: tuple[str, Key]) -> list[Any] | None:
        """How the state has to have a reservation: what it holds or was taken, and until when."""
        held, early = self.open.get(key), self.early.get(key)
        if held is not None:
            return ["o", held.picousd, held.credits * 10**9, held.until_ms]
        if early is not None:
            return ["e", early.picousd, early.credits * 10**9, early.is_closed, early.until_ms]
        return None
