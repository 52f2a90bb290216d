"""Reservations while people set budgets and plans and time passes: each is granted when the records say so, else not.

The limits are read by `tollgate verify`'s own rules, the credits are those of the simulation's purse, and what is spent
and held is added up anew. Sums are counted from the first event on, because a budget on everything is there.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import pytest
from tests.simulation.purse import Purse
from tests.support.accounts import BOOK, USER, Bench, release, reservation, usage
from tests.support.cores import CORES
from tests.support.random_limits import CUTS, HOUR_MS, PLANS, assignment_of, budget_of

from tollgate.domain.budget_book import BudgetBook
from tollgate.domain.budgets import Budget
from tollgate.domain.plans import Plans
from tollgate.domain.pricing import Pricer
from tollgate.ledger import Policy
from tollgate.ledger.core import Core
from tollgate.schemas.amounts import NANO, PICO
from tollgate.schemas.control import AssignmentRecord, BudgetRecord
from tollgate.schemas.instants import format_instant, parse_instant
from tollgate.verification.calendar import instant
from tollgate.verification.limits import Limit, Limits
from tollgate.verification.names import names_of
from tollgate.verification.zones import start_in

START: Final = parse_instant("2026-10-23T20:00:00Z")
ALONE: Final = f"user/{USER}"
SCOPES: Final = (
    ALONE, "user/*", f"{ALONE}+feature/video", f"{ALONE}+feature/*", "user/*+feature/video", f"{ALONE}+provider/groq",
    "user/*+provider/*+feature/video", f"{ALONE}+provider/*+feature/*",
)  # fmt: skip
KEPT: Final = ("user/*", "user/*+feature/*", "user/*+provider/*", "user/*+provider/*+feature/*")
UNITS: Final = ("usd", "usd", "events", "images")
_PLANS: Final = {plan.id: plan for plan in PLANS}


def kept() -> Iterator[BudgetRecord]:
    """Budgets that are never reached, so that all that others may limit is counted from the first event on."""
    zones = [*CUTS, *((kind, "Asia/Tokyo", {}) for kind in ("day", "month"))]
    for number, (kind, zone, first) in enumerate(zones):
        for scope in KEPT:
            given = {"id": f"{scope}{number}", "scope": scope, "limit": "999999", "unit": "characters", "window": kind}
            more = {"timezone": zone, "updated_at": "2026-10-01T00:00:00Z", **first}
            yield BudgetRecord.model_validate(given | more)


def _usd(tenths: int) -> str:
    return f"{tenths // 10}.{tenths % 10}"


@dataclass
class Call:
    """What was counted, or is held."""

    names: dict[str, str]
    at_ms: int
    picousd: int
    images: int = 0
    credits: int = 0

    def is_in(self, scope: str) -> bool:
        return all(self.names.get(dimension) == name for dimension, name in names_of(scope))


class World:
    """One user, what was set for them, and what they may do."""

    def __init__(self, rnd: random.Random, core: Core) -> None:
        self.rnd, self.now_ms, self.number = rnd, START, 0
        self.budgets: dict[str, BudgetRecord] = {}
        self.assigned: dict[str, AssignmentRecord] = {}
        book = BudgetBook(map(Budget.from_record, kept()), Plans.from_records(_PLANS, {}))
        self.of = Bench(Policy(book, lambda: Pricer(BOOK)), core)
        self.counted: list[Call] = []
        self.open: dict[str, Call] = {}
        self.purse: Purse | None = None
        self.denied = 0

    def step(self) -> str:
        what = self.rnd.choice(
            ("reserve", "reserve", "reserve", "use", "use", "end", "set", "assign", "time", "restart")
        )
        self.number += 1
        if what == "time":
            self.now_ms += self.rnd.choice((1, 60_000, HOUR_MS // 4, HOUR_MS, 5 * HOUR_MS, 23 * HOUR_MS))
        elif what == "restart":
            self.of = self.of.restarted()
        elif what == "set":
            made = budget_of(self.rnd, SCOPES, UNITS, 150, self.now_ms)
            self.budgets.pop(made.id, None)
            is_set = self.rnd.random() < 0.7
            if is_set:
                self.budgets[made.id] = made
            self._change({made.id: Budget.from_record(made) if is_set else None}, None)
        elif what == "assign":
            key = self.rnd.choice(("default", f"user/{USER}"))
            self.assigned.pop(key, None)
            if self.rnd.random() < 0.7:
                self.assigned[key] = assignment_of(self.rnd, self.now_ms)
            self._change({}, Plans.from_records(_PLANS, self.assigned))
        else:
            self.open = {name: held for name, held in self.open.items() if held.at_ms > self.now_ms}
            {"reserve": self._reserve, "use": self._use, "end": self._end}[what]()
        # So that no balance is written by another policy than that of its change.
        self.of.write(self.now_ms)
        return what

    def _change(self, budgets: dict[str, Budget | None], plans: Plans | None) -> None:
        self.of.policy = replace(self.of.policy, budgets=self.of.policy.budgets.changed(budgets, plans))
        self.of.stage.set_policy(self.of.policy)

    def _send(self, entry: dict[str, Any], at_ms: int | None = None) -> None:
        time = format_instant(self.now_ms if at_ms is None else at_ms)
        self.of.send(entry | {"time": time}, timestamp=self.now_ms)

    def _names(self) -> dict[str, str]:
        given = {"feature": ("video", "chat"), "provider": ("groq", "openai"), "agent": ("a", "b"), "org": ("b", "c")}
        names = {name: self.rnd.choice(texts) for name, texts in given.items() if self.rnd.random() < 0.6}
        return names | ({"model": self.rnd.choice(("x", "y"))} if "provider" in names else {})

    def _free(self) -> tuple[int, str]:
        """Free credits a day, and the zone of the day."""
        own, default = self.assigned.get(f"user/{USER}"), self.assigned.get("default")
        plan = _PLANS.get(own.plan) if own is not None else None
        if own is not None and plan is not None and plan.ends_after is not None:
            begun = parse_instant(own.since or "")
            # A day of any of the two zones has 24 hours.
            plan = plan if self.now_ms < begun + 24 * HOUR_MS else None
        if plan is None and default is not None:
            plan = _PLANS.get(default.plan)
        zone = (own or default or AssignmentRecord(plan="none")).timezone
        return (int(plan.credits_per_day) if plan is not None else 0, zone)

    def _purse(self) -> Purse | None:
        free = self._free()
        if self.purse is None and free[0]:
            self.purse = Purse()
        if self.purse is not None:
            self.purse.advance(free, self.now_ms)
        return self.purse

    def _use(self) -> None:
        names, tokens = self._names(), self.rnd.choice((0, 0, 3, 9))
        at_ms = self.now_ms - self.rnd.choice((0, 0, 0, HOUR_MS, 30 * HOUR_MS))
        tenths = self.rnd.randrange(9)
        call = Call(names | {"user": USER}, at_ms, tenths * PICO // 10, self.rnd.randrange(4))
        more = self.rnd.random() < 0.3
        data: dict[str, Any] = dict(names) | {"cost_usd": _usd(tenths)}
        data |= {"usage": {"images": call.images}} | ({"retail_tokens": tokens} if tokens else {})
        name = self.rnd.choice([*self.open, ""])
        if name:
            data |= {"reservation_id": name, "more": more}
        sent = usage(f"e{self.number}", **data)
        for absent in {"provider", "model"} - names.keys():
            del sent["data"][absent]
        self._send(sent, at_ms)
        self.counted.append(call)
        if tokens and (purse := self._purse()) is not None:
            purse.burn(tokens, self._free(), self.now_ms)
        if name and more:
            held = self.open[name]
            held.picousd, held.credits = max(0, held.picousd - call.picousd), max(0, held.credits - tokens)
        elif name:
            del self.open[name]

    def _end(self) -> None:
        if self.open:
            name = self.rnd.choice([*self.open])
            del self.open[name]
            self._send(release(name))

    def _reserve(self) -> None:
        names, ttl = self._names(), self.rnd.choice((30, 600, 3600))
        tenths, tokens = self.rnd.randrange(40), self.rnd.choice((0, 0, 1, 4))
        asked = Call(names | {"user": USER}, self.now_ms + ttl * 1000, tenths * PICO // 10, 0, tokens)
        limits = Limits([*kept(), *self.budgets.values()], PLANS, self.assigned)
        parts = [f"{name}/{names[name]}" for name in ("provider", "feature") if name in names]
        scopes = dict.fromkeys("+".join((ALONE, *chosen)) for chosen in ([], parts[:1], parts[1:], parts))
        in_the_way = [limit for scope in scopes for limit in self._in_the_way(limits, scope, asked)]
        right = 429 if in_the_way else None
        purse, free = self._purse(), self._free()
        held = sum(one.credits for one in self.open.values())
        left = (purse.left(free[0]) if purse is not None else 0) - held
        if not in_the_way and (purse is not None or tokens) and (left < 0 or tokens > left):
            right = 402
        name = f"r{self.number}"
        self._send(reservation(name, _usd(tenths), credits=str(tokens), ttl_seconds=ttl, **names))
        self.of.write(self.now_ms)
        said = self.of.decisions[-1]
        where = (said, [limit.id for limit in in_the_way], left, self.open)
        assert (said["reservation_id"], said.get("http_status")) == (name, right), where
        if right is None:
            self.open[name] = asked
        elif right == 429:
            assert said["budget"] in {limit.id for limit in in_the_way}, where
        self.denied += right is not None

    def _in_the_way(self, limits: Limits, scope: str, asked: Call) -> Iterator[Limit]:
        now = instant(self.now_ms)
        for limit in limits.of(scope, self.now_ms):
            blocks = [percent for percent, action in limit.levels if action in ("block", "stop")]
            if not blocks or any(asked.is_in(excepted) for excepted in limit.except_):
                continue
            start = start_in(limit.calendar, now)
            calls = [c for c in self.counted if c.is_in(scope) and start_in(limit.calendar, instant(c.at_ms)) == start]
            open_ = [held for held in self.open.values() if held.is_in(scope)]
            spent, held_, more = {
                "usd": (sum(c.picousd for c in calls), sum(held.picousd for held in open_), asked.picousd),
                "events": (len(calls) * NANO, len(open_) * NANO, NANO),
            }.get(limit.unit, (sum(c.images for c in calls) * NANO if limit.unit == "images" else 0, 0, 1))
            if spent * 100 * 10**9 >= min(blocks) * limit.limit or spent + held_ + more > limit.limit:
                yield limit


@pytest.mark.parametrize("_run", range(3))
@pytest.mark.parametrize("core", CORES)
def test_a_reservation_is_granted_when_the_records_say_so(rnd: random.Random, core: Core, _run: int) -> None:
    world = World(rnd, core)
    for number in range(250):
        what = world.step()
        print(number, what, format_instant(world.now_ms))
    assert world.denied
    assert world.of.granted()
