"""What is right about reservations and credits, from the inputs in the order of each user's log.

Decisions are followed: each must be one that limits, spend, open reservations and credits allow at its place in the
log. Credits do not depend on the order between usage and entries, because nothing expires that could have been burned.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

from tests.chaos.callers import LASTING_SECONDS
from tests.chaos.limits import KEEPERS, LAPSERS
from tests.simulation.purse import Early, Held, Purses
from tests.simulation.rules import ORDER, Limit, Rules, parts, scopes_with_user, window

CALLERS: Final = frozenset((*KEEPERS, *LAPSERS))
_PICO: Final = 10**12
_NANO: Final = 10**9
# A worker without anything to do ends reservations by its own clock, not by that of the broker.
_CLOCKS_APART_MS: Final = 2_000
# As decisions have them.
_REFUSALS: Final[tuple[str, ...]] = ("spending_stopped", "usage_limit_exceeded", "insufficient_credits")

Decisions = Mapping[tuple[str, str], list[bytes]]


def nano(amount: int | str) -> int:
    """Credits in 10⁻⁹."""
    return int(Decimal(amount) * _NANO)


@dataclass(frozen=True, slots=True)
class Step:
    """Something of a caller that counts, or a reservation whose id was read before: with the same data, or in conflict
    with it. `cost`: in USD.
    """

    at_ms: int
    type: str
    id: str
    data: dict[str, Any]
    time_ms: int
    cost: Decimal = Decimal(0)
    burned_nano: int = 0
    is_repeated: bool = False
    is_in_conflict: bool = False


@dataclass(slots=True)
class Credits:
    """All of a user: granted less what was taken back, burned, and what expires when. In 10⁻⁹ credits."""

    granted: int = 0
    burned: int = 0
    expiring: list[tuple[int, int]] = field(default_factory=list)
    entries: int = 0

    def said(self, per_day: int, reserved: int, now_ms: int) -> dict[str, int]:
        """What the user's balance has to say at an instant of the day on which they got free credits first."""
        granted = self.granted + per_day * _NANO
        expired = sum(amount for expires_ms, amount in self.expiring if expires_ms <= now_ms)
        available = granted - self.burned - expired - reserved
        return {
            "granted": granted,
            "burned": self.burned,
            "expired": expired,
            "available": available,
            "reserved": reserved,
        }


@dataclass
class Accounts:
    """Takes in what counts; the order is that of each user's partition."""

    steps: dict[str, list[Step]] = field(default_factory=lambda: defaultdict(list))
    credits: dict[str, Credits] = field(default_factory=lambda: defaultdict(Credits))

    def count(self, user: str, step: Step) -> None:
        """A usage event, a reservation or a release of a user is counted, or a reservation's id is read again."""
        if step.burned_nano:
            self.credits[user].burned += step.burned_nano
        if user in CALLERS:
            self.steps[user].append(step)

    def grant(self, user: str, data: dict[str, Any]) -> None:
        """Credits are granted or taken back."""
        own, amount = self.credits[user], nano(data["credits"])
        own.granted += amount
        own.entries += 1
        if "expires_at" in data:
            expires_ms = round(datetime.fromisoformat(data["expires_at"]).timestamp() * 1000)
            own.expiring.append((expires_ms, amount))

    def replayed(self, rules: Rules, decisions: Decisions, *, was_stopped: bool) -> "Iterator[Replay]":
        """Every caller's reservations, as their decisions have them."""
        for user, steps in self.steps.items():
            replay = Replay(user, rules, decisions, self.credits.get(user) or Credits(), was_stopped)
            replay.follow(steps)
            yield replay


class Replay:
    """One caller. `wrong` says which decisions cannot be; `purses` has what is open."""

    def __init__(self, user: str, rules: Rules, decisions: Decisions, own: Credits, was_stopped: bool) -> None:
        self.user = user
        self.purses = Purses()
        self.wrong: list[str] = []
        self._limits = lru_cache(maxsize=None)(rules.on)
        self._free_nano = rules.free_of(user)[0] * _NANO
        self._decisions = decisions
        self._own = own
        self._was_stopped = was_stopped
        self._burned = 0
        self._told: dict[str, int] = defaultdict(int)
        # By scope, calendar, start and unit.
        self._spent: dict[tuple[str, str, int, str], Decimal] = defaultdict(Decimal)

    def follow(self, steps: list[Step]) -> None:
        """Replay the log."""
        for step in steps:
            now_ms = max(self.purses.clock_ms, step.at_ms)
            if step.type == "tollgate.usage.v1":
                self._use(step, now_ms)
            elif step.type == "tollgate.release.v1":
                key = (self.user, step.data["reservation_id"])
                self.purses.settle(self.user, key, 0, 0, more=False, now_ms=now_ms)
            else:
                self.purses.end(now_ms)
                self._answer(step, now_ms)
        asked = {step.id for step in steps if step.type == "tollgate.reservation.v1"}
        for name in sorted(asked):
            told = len(self._decisions.get((self.user, name), ()))
            if told > self._told[name]:
                self.wrong.append(f"reservation {name} was answered {told} times, not {self._told[name]}")

    def _use(self, step: Step, now_ms: int) -> None:
        names = self._names(step)
        self._burned += step.burned_nano
        amounts = {"usd": step.cost * _PICO, "events": Decimal(1), "credits": Decimal(step.burned_nano) / _NANO}
        for scope in scopes_with_user(names):
            for limit in self._limits(scope):
                start = window(limit.calendar, step.time_ms)[0]
                # Two limits may be on the same sum.
                self._spent[scope, limit.calendar, start, limit.name] += amounts[limit.unit]
        if "reservation_id" in step.data:
            key, more = (self.user, step.data["reservation_id"]), step.data.get("more", False)
            picousd, burned = int(step.cost * _PICO), step.burned_nano
            self.purses.settle(self.user, key, picousd, burned, more=more, now_ms=now_ms)

    def _names(self, step: Step) -> dict[str, str]:
        return {name: step.data[name] for name in ORDER if name in step.data} | {"user": self.user}

    def _answer(self, step: Step, now_ms: int) -> None:
        """Compare the decision that answers this reading of a reservation, and go on with what it says."""
        at, key = self._told[step.id], (self.user, step.id)
        told = self._decisions.get((self.user, step.id), [])
        self._told[step.id] += 1
        if at >= len(told):
            self.wrong.append(f"reservation {step.id} was not answered when it was read for time {at + 1}")
            return
        said = json.loads(told[at])
        if step.is_in_conflict:
            if said.get("error") != "reservation_conflict":
                self.wrong.append(f"reservation {step.id} with other data was answered by {said}")
            return
        if not step.is_repeated:
            self.purses.read.add(key)
            self._decide(step, said, now_ms)
            return
        is_open = (self.user, key) in self.purses.open
        is_same, is_ended = told[at] == told[0], said.get("error") == "reservation_ended"
        if not (is_same if is_open else is_ended) and not (self._is_lapsing(step) and (is_same or is_ended)):
            self.wrong.append(f"reservation {step.id} was decided twice: {told[0]!r}, then {told[at]!r}")

    @staticmethod
    def _is_lapsing(step: Step) -> bool:
        return bool(step.data["ttl_seconds"] < LASTING_SECONDS)

    def _decide(self, step: Step, said: dict[str, Any], now_ms: int) -> None:
        key = (self.user, step.id)
        asked_usd, asked_nano = Decimal(step.data.get("amount_usd", 0)), nano(step.data.get("credits", 0))
        if (Decimal(said["amount_usd"]), nano(said["credits"])) != (asked_usd, asked_nano):
            self.wrong.append(f"the decision about {step.id} is about {said['amount_usd']} USD, not {asked_usd}")
        early = self.purses.early.pop((self.user, key), Early())
        if early.is_closed:
            if not said["granted"]:
                self.wrong.append(f"reservation {step.id} was denied and its call was done")
            return
        until_ms = now_ms + step.data["ttl_seconds"] * 1000
        picousd = max(0, int(asked_usd * _PICO) - early.picousd)
        held = Held(picousd, max(0, asked_nano - early.credits), until_ms, self._names(step))
        outcome = "granted" if said["granted"] else said["error"]
        possible = self._possible(held, now_ms)
        if outcome not in possible:
            self.wrong.append(f"reservation {step.id} of {self.user} is {outcome}, not {' or '.join(possible)}: {said}")
        if said["granted"]:
            self.purses.open[self.user, key] = held

    def _possible(self, asked: Held, now_ms: int) -> list[str]:
        """Which answers there may be: one, but for what an order of topics or a clock decides."""
        sure, most = self._in_the_way(asked, now_ms, now_ms + _CLOCKS_APART_MS), self._in_the_way(asked, now_ms, now_ms)
        possible = [error for error in _REFUSALS if error in most]
        if sure:
            possible = possible[: 1 + possible.index(min(sure, key=_REFUSALS.index))]
        else:
            possible.insert(0, "granted")
        return ["spending_stopped", *possible] if self._was_stopped else possible

    def _in_the_way(self, asked: Held, now_ms: int, until_ms: int) -> set[str]:
        """Why the answer is no, while what ends before `until_ms` holds nothing."""
        opened = [held for held in self.purses.open.values() if held.until_ms > until_ms]
        found = set()
        for scope in scopes_with_user(asked.names):
            limits = self._limits(scope)
            if not limits:
                continue
            of_scope = [held for held in opened if all(held.names.get(d) == name for d, name in parts(scope))]
            if any(self._is_full(scope, limit, of_scope, asked, now_ms) for limit in limits):
                found.add("usage_limit_exceeded")
        reserved = sum(held.credits for held in opened)
        # Of those who get credits: at the most what they ever get, and nothing before it is read.
        left = self._own.granted + self._free_nano - self._burned - reserved
        if left < 0 or asked.credits > left or (until_ms == now_ms and self._own.entries):
            found.add("insufficient_credits")
        return found

    def _is_full(self, scope: str, limit: Limit, opened: list[Held], asked: Held, now_ms: int) -> bool:
        start = window(limit.calendar, now_ms)[0]
        spent = self._spent.get((scope, limit.calendar, start, limit.name), Decimal(0))
        asked_too = sum((_held_of(held, limit.unit) for held in (*opened, asked)), Decimal(0))
        return spent >= limit.most or spent + asked_too > limit.most

    def reserved(self, scope: str, unit: str, now_ms: int) -> Decimal:
        """What is held of a scope with this user at an instant, in USD, credits or reservations."""
        self.purses.end(now_ms)
        picousd, credits_nano, count = self.purses.reserved(parts(scope))
        amounts = {"usd": Decimal(picousd) / _PICO, "credits": Decimal(credits_nano) / _NANO, "events": Decimal(count)}
        return amounts.get(unit, Decimal(0))


def _held_of(held: Held, unit: str) -> Decimal:
    """What a reservation holds of a limit in this unit."""
    if unit == "usd":
        return Decimal(held.picousd)
    return Decimal(held.credits) / _NANO if unit == "credits" else Decimal(1)
