"""While people set budgets and plans, money is spent and time passes, each flag says what `tollgate verify` demands.

Verify works it out anew from the records, with rules of its own. It is asked after each step, with no event in between:
budgets begin and end, windows roll over, plans end, blocks leave calls alone.
"""

import json
import random
from typing import Final

import pytest
from tests.support.random_limits import HOUR_MS, PLANS, assignment_of, budget_of

from tollgate.domain.budget_book import BudgetBook
from tollgate.domain.budgets import Budget
from tollgate.domain.plans import Plans
from tollgate.domain.reservations import Reserved
from tollgate.domain.spend import Spend
from tollgate.domain.windows import Horizon, WindowKey
from tollgate.ledger.outbox import Outbox
from tollgate.ledger.scopes import Scopes
from tollgate.schemas.amounts import NANO, PICO
from tollgate.schemas.control import AssignmentRecord, BudgetRecord
from tollgate.schemas.instants import format_instant, parse_instant
from tollgate.schemas.topics import Topic
from tollgate.schemas.vocabulary import SLOT_MS
from tollgate.verification.calendar import instant, text
from tollgate.verification.flags import expected_flags, said_by
from tollgate.verification.limits import Limit, Limits
from tollgate.verification.sums import Sum, plain
from tollgate.verification.zones import start_in

# Clocks are set back in Amsterdam in the second night, and in New York a week later.
START: Final = parse_instant("2026-10-23T20:00:00Z")
SCOPES: Final = ("user/u1", "user/u2", "user/u1+feature/video", "user/u2+feature/video")
PATTERNS: Final = ("user/u1", "user/*", "user/u1+feature/video", "user/u1+feature/*", "user/*+feature/video")
UNITS: Final = ("usd", "usd", "events", "images")
BASE: Final = ("day", "hour", "lifetime", "month")
CALENDARS: Final = (
    "day@America/New_York", "day@Asia/Tokyo", "day@Europe/Amsterdam", "hour@Asia/Kathmandu", "month@Asia/Tokyo",
    "month@Asia/Tokyo~25", "week", "week@Europe/Amsterdam~sunday",
)  # fmt: skip
_PLANS: Final = {plan.id: plan for plan in PLANS}


class AlwaysCounted:
    """Every calendar is counted from the first event on, whatever budgets there are."""

    def calendars(self, scope: str) -> tuple[str, ...]:
        return tuple(sorted((*CALENDARS, *BASE))) if "+" in scope else CALENDARS

    def is_whole(self, scope: str, window: WindowKey) -> bool:  # noqa: ARG002 # every sum is whole
        return True


class World:
    """Users who spend, and what was set for them."""

    def __init__(self, rnd: random.Random) -> None:
        self.rnd, self.now_ms = rnd, START
        self.budgets: dict[str, BudgetRecord] = {}
        self.assigned: dict[str, AssignmentRecord] = {}
        self.book = BudgetBook((), Plans.from_records(_PLANS, {}))
        self.meters = AlwaysCounted()
        self.horizon = Horizon(START)
        # What is set aside of each scope.
        self.held = {scope: Reserved() for scope in SCOPES}
        self.scopes = Scopes(
            0, Topic.USER_STATE, self.horizon, self.book, reserved=self.held.__getitem__, meters=self.meters
        )
        self.spent: list[tuple[str, int, Sum]] = []
        self.flags: dict[str, bytes] = {}

    def step(self) -> str:
        often = ("spend", "spend", "set", "time", "hold")
        what = self.rnd.choice((*often, "spend", "set", "time", "hold", "remove", "assign"))
        if what == "spend":
            self._spend()
        elif what == "hold":
            scope, count = self.rnd.choice(SCOPES), self.rnd.randrange(4)
            more = Reserved(count and self.rnd.randrange(20) * PICO, 0, count)
            held = self.held[scope]
            held.picousd, held.count = more.picousd, more.count
            self.scopes.touch(scope)
        elif what == "time":
            self.now_ms += self.rnd.choice((1, 60_000, HOUR_MS // 4, HOUR_MS, 5 * HOUR_MS, 23 * HOUR_MS))
            self.horizon.advance(self.now_ms)
        elif what == "assign":
            key = self.rnd.choice(("default", "user/u1", "user/u2"))
            self.assigned.pop(key, None)
            if self.rnd.random() < 0.7:
                self.assigned[key] = assignment_of(self.rnd, self.now_ms)
            self._set(self.book.changed({}, Plans.from_records(_PLANS, self.assigned)))
        else:
            made = budget_of(self.rnd, PATTERNS, UNITS, 25, self.now_ms)
            self.budgets.pop(made.id, None)
            if what == "set":
                self.budgets[made.id] = made
            self._set(self.book.changed({made.id: Budget.from_record(made) if what == "set" else None}))
        return what

    def _set(self, book: BudgetBook) -> None:
        self.book = book
        self.scopes.set_budgets(book)
        # As the stage does that keeps the reservations.
        for scope, held in self.held.items():
            if held.count:
                self.scopes.touch(scope)

    def _spend(self) -> None:
        scope = self.rnd.choice(SCOPES)
        at_ms = self.now_ms - self.rnd.choice((0, 0, 0, HOUR_MS, 30 * HOUR_MS))
        images = self.rnd.randrange(9) * NANO
        amount = Spend(self.rnd.randrange(8) * PICO, 0, self.rnd.randrange(1, 4), {"images": images})
        held = self.horizon.windows_in if "+" in scope else self.horizon.windows_with
        self.scopes.add(scope, held(at_ms - at_ms % SLOT_MS, self.meters.calendars(scope)), amount)
        self.spent.append((scope, at_ms, Sum(amount.cost_picousd, 0, amount.events, {"images": images})))

    def write(self) -> None:
        """As many transactions as it takes."""
        self.scopes.tick(self.now_ms)
        while self.scopes.has_pending():
            outbox = Outbox()
            self.scopes.write(outbox, 1, self.now_ms)
            for key, value, _ in outbox.records.get((Topic.FLAGS, 0), []):
                assert key is not None
                assert value is not None
                self.flags[key.decode()] = value

    def compare(self) -> int:
        """How many scopes are blocked."""
        limits, now = Limits(self.budgets.values(), PLANS, self.assigned), instant(self.now_ms)
        blocked = 0
        for scope in SCOPES:
            on = limits.of(scope, self.now_ms)
            windows: dict[str, Sum] = {}
            for calendar in {limit.calendar for limit in on}:
                start = start_in(calendar, now)
                total = windows[f"{scope}|{calendar}|{text(start)}"] = Sum()
                for spender, at_ms, amount in self.spent:
                    if spender == scope and start_in(calendar, instant(at_ms)) == start:
                        total.add(amount)
            said = said_by(self.flags.get(scope), self.now_ms)
            said["except"] = sorted(said.get("except") or ())
            demanded = expected_flags(scope, on, windows, now)
            agreed = any(all(said.get(name) == value for name, value in flag.items()) for flag in demanded)
            if not agreed:
                pytest.fail(f"{scope} at {format_instant(self.now_ms)}:\n{said}\n{demanded}")
            blocked += said["blocked"]
            self._compare_held(scope, on, windows)
        return blocked

    def _compare_held(self, scope: str, on: list[Limit], windows: dict[str, Sum]) -> None:
        """The flag says what is held of the limit that it names, and by how much that can exceed it."""
        flag = json.loads(self.flags.get(scope, b"{}"))
        named = next((limit for limit in on if limit.id == flag.get("budget")), None)
        unit = named.unit if named is not None else "events"
        held = self.held[scope].of(unit)
        where = (scope, format_instant(self.now_ms), self.held[scope], flag)
        if named is None or not held:
            # A flag that names no limit is not written for what is reserved: there is none, or the one has none of it.
            assert named is not None or not on or not all(self.held[scope].of(limit.unit) for limit in on), where
            assert "reserved" not in flag, where
            return
        start = start_in(named.calendar, instant(self.now_ms))
        used = windows[f"{scope}|{named.calendar}|{text(start)}"]
        spent = used.cost_picousd if unit == "usd" else used.events * NANO
        decimals = 12 if unit == "usd" else 9
        exceeds = max(0, spent + held - named.limit)
        assert flag["window"]["start"] == text(start), where
        assert (flag["reserved"], flag["can_exceed_by"]) == (plain(held, decimals), plain(exceeds, decimals)), where


@pytest.mark.parametrize("_run", range(6))
def test_flags_say_what_the_records_demand(rnd: random.Random, _run: int) -> None:
    world, blocked = World(rnd), 0
    for number in range(200):
        what = world.step()
        world.write()
        # How much is reserved is told every five seconds.
        world.now_ms += 5_000
        world.write()
        print(number, what, format_instant(world.now_ms))
        blocked += world.compare()
    assert blocked > 20
