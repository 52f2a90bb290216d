"""A sweep finds every scope whose flag a change of budgets or plans concerns, without deciding about all."""

import json
import random
from dataclasses import replace
from typing import Any

import pytest
from tests.unit.ledger.test_calendars import Kept

from tollgate.domain.budget_book import BudgetBook
from tollgate.domain.budgets import Budget
from tollgate.domain.plans import Assignment, Plan, Plans
from tollgate.domain.spend import ScopeSpend, Spend
from tollgate.domain.windows import HOUR_MS, Horizon, windows_at
from tollgate.ledger import sweep
from tollgate.ledger.outbox import Outbox
from tollgate.ledger.reached import Reached
from tollgate.ledger.scope_table import ScopeTable
from tollgate.ledger.scopes import Scopes
from tollgate.schemas.control import BudgetRecord, PlanRecord
from tollgate.schemas.instants import format_instant, parse_instant
from tollgate.schemas.scopes import is_combination
from tollgate.schemas.topics import Topic

TEN = parse_instant("2026-11-21T10:00:00Z")
PATTERNS = (
    "user/*",
    "user/*+feature/video",
    "user/*+feature/*",
    "user/u1+feature/*",
    "org/*",
    "user/*+model/m+feature/*",
)
EXACT = ("user/u1", "user/u2", "user/u3+feature/video", "org/a", "global")
CALENDARS = (
    "hour",
    "day",
    "month",
    "lifetime",
    "day@Asia/Tokyo",
    "month@Asia/Tokyo",
    "week",
    "week@Asia/Tokyo",
    "month@Europe/Amsterdam~15",
)
UNITS = ("usd", "events", "images", "other")
USERS = ("u1", "u2", "u3", "u4", "a/b", "é", 'q"uote', "u5+feature")
# Longer than 64 bits, and than 128.
AMOUNTS = (0, 1, 5, 10**12, 10**20, 10**30, 10**45)


def budget(rnd: random.Random, number: int, scopes: tuple[str, ...]) -> Budget:
    scope = rnd.choice(scopes)
    calendar = rnd.choice(CALENDARS)
    unit = rnd.choice(UNITS)
    limits = ("0.000000000001", "0.00000000001", "1", "100000000") if unit == "usd" else ("1", "3", "1000000000")
    record = BudgetRecord(
        id=f"b{number}", scope="user/u1", limit=rnd.choice(limits), unit=unit, updated_at="2026-11-01T00:00:00Z"
    )
    made = replace(Budget.from_record(record), scope=scope, calendar=calendar)
    if rnd.random() < 0.3:
        made = replace(made, valid_from_ms=TEN + rnd.choice((-2, 1, 3)) * HOUR_MS)
    if rnd.random() < 0.2:
        made = replace(made, valid_to_ms=TEN + rnd.choice((2, 5)) * HOUR_MS)
    return made


def amount(rnd: random.Random) -> Spend:
    usage = {unit: rnd.choice(AMOUNTS) for unit in ("images", "other", "x]}") if rnd.random() < 0.5}
    return Spend(rnd.choice(AMOUNTS), 0, rnd.randrange(1, 4), usage)


def scope_of_somebody(rnd: random.Random) -> str:
    user = rnd.choice(USERS)
    return rnd.choice(
        (
            f"user/{user}", f"user/{user}+feature/{rnd.choice(('video', 'chat'))}",
            f"user/{user}+model/m+feature/video", "org/a", "org/b", "model/m", "global",
        )
    )  # fmt: skip


def spend_in(rnd: random.Random, scope: str, into: ScopeSpend | None = None) -> ScopeSpend:
    is_base = not is_combination(scope)
    spend = into if into is not None else ScopeSpend(is_base=is_base)
    horizon = Horizon(TEN)
    for _ in range(rnd.randrange(1, 4)):
        at_ms = TEN + rnd.choice((-40 * 24, -25, -1, 0, 0, 0, 1)) * HOUR_MS
        calendars = tuple(sorted(rnd.sample(CALENDARS[4:] if is_base else CALENDARS, 2)))
        windows = horizon.windows_in(at_ms, calendars)
        spend.add((windows_at(at_ms) if is_base else ()) + windows, amount(rnd))
    return spend


def test_both_cores_find_the_same_rows(rnd: random.Random) -> None:
    found = 0
    for _ in range(150):
        limits = Reached([budget(rnd, number, PATTERNS) for number in range(rnd.randrange(1, 5))], TEN)
        table = ScopeTable(busy_max=0)
        names = list({scope_of_somebody(rnd) for _ in range(12)})
        for name in names:
            table.add(name, spend_in(rnd, name))
        table.settle(names)
        # Rows that this release does not write are left to Python.
        table.restore_open("user/old", b"[1, [5000000000000000,0,9,{}]]")
        rows = table._idle
        by_python, _ = limits.in_rows_by_python(rows, 0, 99)
        by_core, to = limits.in_rows(rows, 0, 99)
        assert (sorted(by_core), to) == (sorted(by_python), None)
        found += len(by_python)
    assert found


def plans_of(rnd: random.Random) -> Plans:
    limits = [
        {
            "feature": f,
            "unit": rnd.choice(("events", "images")),
            "limit": rnd.choice(("1", "3")),
            "window": window,
        }
        for f, window in rnd.sample([("video", "month"), ("", "day"), ("chat", "week")], 2)
    ]
    small = PlanRecord.model_validate({"name": "small", "limits": limits, "updated_at": "2026-11-01T00:00:00Z"})
    trial = small.model_copy(update={"id": "trial", "limits": (), "ends_after": "P1D"})
    users = {user: assignment(rnd) for user in rnd.sample(USERS, 3)}
    default = Assignment("small") if rnd.random() < 0.8 else None
    return Plans({"small": Plan.from_record(small), "trial": Plan.from_record(trial)}, users, default)


def assignment(rnd: random.Random) -> Assignment:
    # The trial ends at ten, or an hour later.
    since_ms = TEN - (24 - rnd.choice((0, 1))) * HOUR_MS
    zone = rnd.choice(("UTC", "UTC", "Asia/Tokyo"))
    return Assignment(rnd.choice(("small", "trial", "free", "none")), since_ms, zone)


def changed(rnd: random.Random, book: BudgetBook) -> BudgetBook:
    """The book after one to three further records."""
    budgets: dict[str, Budget | None] = {}
    plans = book.plans
    for _ in range(rnd.randrange(1, 4)):
        kind = rnd.random()
        number = rnd.randrange(8)
        if kind < 0.6:
            budgets[f"b{number}"] = budget(rnd, number, rnd.choice((PATTERNS, EXACT))) if kind < 0.45 else None
        elif kind < 0.9:
            plans = plans.changed({}, {rnd.choice(USERS): assignment(rnd) if kind < 0.8 else None})
        else:
            plans = plans.with_default(Assignment(rnd.choice(("small", "free"))) if kind < 0.97 else None)
    return book.changed(budgets, plans)


class Deciding:
    """Scopes and their latest flags; with `all_` each change decides about every scope."""

    def __init__(self, book: BudgetBook, *, all_: bool) -> None:
        self._all = all_
        self._kept = Kept(book)
        self.scopes = Scopes(0, Topic.USER_STATE, Horizon(TEN), book, meters=self._kept)
        self.scopes.spend = ScopeTable(busy_max=4)
        self.scopes._sweep = sweep.Sweep(self.scopes.spend)
        # And alerts, whose keys are others.
        self.flags: dict[str, Any] = {}
        self.rows: dict[str, bytes] = {}
        self.offsets: dict[str, int] = {}
        self.most_at_once = 0

    def set_budgets(self, book: BudgetBook, now_ms: int) -> None:
        self._kept.book = book
        self.scopes.set_budgets(book)
        self.write(now_ms)

    def write(self, now_ms: int) -> None:
        self.scopes.tick(now_ms)
        if self._all:
            self.scopes._undecided.update(dict.fromkeys(self.scopes.spend.names()))
        while self.scopes.has_pending():
            outbox = Outbox()
            self.offsets = self.scopes.write(outbox, 1, now_ms)
            for (topic, _), records in outbox.records.items():
                for key, value, _headers in records:
                    assert key is not None
                    if topic in (Topic.FLAGS, Topic.ALERTS) and value is not None:
                        self.flags[key.decode()] = json.loads(value)
                    elif topic is Topic.USER_STATE:
                        self.rows.pop(key.decode(), None)
                        if value is not None:
                            self.rows[key.decode()] = value

    def restart(self, book: BudgetBook, now_ms: int) -> None:
        fresh = Deciding(book, all_=self._all)
        fresh.scopes.restore(dict(self.rows), self.offsets)
        self.scopes, self._kept = fresh.scopes, fresh._kept
        self.write(now_ms)


def test_a_sweep_leaves_the_flags_that_deciding_about_every_scope_would(
    rnd: random.Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "ROWS_MAX", 3)
    monkeypatch.setattr(sweep, "OBJECTS_MAX", 2)
    raised = 0
    for _ in range(60):
        book = BudgetBook([budget(rnd, n, rnd.choice((PATTERNS, EXACT))) for n in range(3)], plans_of(rnd))
        both = (Deciding(book, all_=False), Deciding(book, all_=True))
        now_ms = TEN
        for _ in range(4):
            for scope in {scope_of_somebody(rnd) for _ in range(6)}:
                state = rnd.getstate()
                for one in both:
                    rnd.setstate(state)
                    one.scopes.add(scope, *spent(rnd, scope, now_ms))
            for one in both:
                one.write(now_ms)
            assert both[0].flags == both[1].flags, format_instant(now_ms)
            book = changed(rnd, book)
            is_restart = rnd.random() < 0.4
            for one in both:
                (one.restart if is_restart else one.set_budgets)(book, now_ms)
            assert both[0].flags == both[1].flags, format_instant(now_ms)
            now_ms += rnd.choice((0, 1, 2)) * HOUR_MS
            for one in both:
                one.write(now_ms)
            assert both[0].flags == both[1].flags, format_instant(now_ms)
        raised += sum(flag["state"] != "ok" for flag in both[0].flags.values())
    assert raised


def spent(rnd: random.Random, scope: str, at_ms: int) -> tuple[Any, Spend]:
    calendars = tuple(sorted(CALENDARS[4:]))
    # Twelve hours ago was yesterday in UTC, but today in Tokyo.
    at_ms -= rnd.choice((0, 0, 12)) * HOUR_MS
    if is_combination(scope):
        return Horizon(at_ms).windows_in(at_ms, tuple(sorted(CALENDARS))), amount(rnd)
    return Horizon(at_ms).windows_with(at_ms, calendars), amount(rnd)


def test_an_assignment_concerns_its_user_alone() -> None:
    rnd = random.Random(1)
    book = BudgetBook((), Plans(None, None, Assignment("free")))
    next_book = book.changed({}, book.plans.changed({}, {"u1": Assignment("pro")}))
    features = ("chat", "content", "image", "video")
    assert next_book.scopes_since(book) == frozenset(f"user/u1+feature/{feature}" for feature in features)
    exact = next_book.changed({"b1": replace(budget(rnd, 1, EXACT), scope="org/a")})
    assert exact.scopes_since(next_book) == frozenset({"org/a"})
    assert exact.scopes_since(book) is None
    assert exact.changed({"b2": replace(budget(rnd, 2, EXACT), scope="org/*")}).scopes_since(exact) is None


def test_a_new_default_plan_finds_who_reached_it_in_a_day_of_their_own() -> None:
    limits = [{"limit": "1", "window": "day"}]
    small = PlanRecord.model_validate({"name": "small", "limits": limits, "updated_at": "2026-11-01T00:00:00Z"})
    # They have no plan that exists, so that the default holds, in their zone.
    plans = Plans({"small": Plan.from_record(small)}, {"u1": Assignment("none", timezone="Asia/Tokyo")})
    book = BudgetBook((), plans)
    one = Deciding(book, all_=False)
    yesterday_in_utc = TEN - 12 * HOUR_MS
    one.scopes.add("user/u1", Horizon(TEN).windows_with(yesterday_in_utc, ("day@Asia/Tokyo",)), Spend(0, 0, 1))
    one.write(TEN)
    assert not one.flags
    one.set_budgets(book.changed({}, plans.with_default(Assignment("small"))), TEN)
    assert one.flags["user/u1"]["state"] == "blocked"
    assert one.flags["user/u1"]["window"]["timezone"] == "Asia/Tokyo"
