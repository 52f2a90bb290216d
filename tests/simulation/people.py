"""What people set at run time: budgets, plans, and the stop by hand. Each worker hears of it some time later."""

import dataclasses
from collections.abc import Callable
from decimal import Decimal
from random import Random
from typing import Any, Final

from tests.simulation.rules import DAYS, Having, Limit, Plan, Rules

from tollgate.domain.budget_book import BudgetBook
from tollgate.domain.budgets import Budget
from tollgate.domain.plans import Plans
from tollgate.domain.pricing import Pricer, load_price_book
from tollgate.domain.stops import Stop
from tollgate.ledger.policy import Policy
from tollgate.schemas.control import AssignmentRecord, BudgetRecord, PlanRecord

_SINCE: Final = "2026-10-01T00:00:00Z"

# Monthly budgets in 10⁻¹² USD that are there from the beginning.
LIMITS: Final = {"user/*": Decimal("0.05") * 10**12, "global": Decimal("0.2") * 10**12}
_FIRST: Final = Rules(
    {f"{scope}:month:usd": Limit(scope, "month", "usd", int(limit)) for scope, limit in LIMITS.items()}
)
_SCOPES: Final = (
    "user/*", "user/u1", "user/*+feature/video", "user/u2+feature/video", "user/u2+feature/*", "user/*+feature/*",
    "feature/video", "global", "model/gpt-4o+feature/*", "model/gpt-4o+agent/SEO", "user/*+service/chat+model/gpt-4o",
)  # fmt: skip
# Windows end in every run: hours often, days and months where a run begins in the evening before.
_CALENDARS: Final = (
    "hour", "day", "week", "month", "lifetime", "hour@Asia/Kathmandu", "day@Asia/Tokyo", "day@Europe/Amsterdam",
    "week@America/New_York~sunday", "month@Europe/Amsterdam", "month@America/New_York~21",
)  # fmt: skip
_MOST: Final = {"usd": (2_000_000_000, 200_000_000_000), "events": (2, 60), "credits": (3, 120)}
_ZONES: Final = ("UTC", "Asia/Tokyo", "America/New_York", "Europe/Amsterdam")
_PLANS: Final = {
    "small": Plan((("video", "events", "month", 4), ("", "usd", "day", 40_000_000_000)), 10),
    "large": Plan((("video", "events", "month", 30), ("chat", "credits", "week", 40)), 25),
    "bare": Plan((), 0),
}


def _text(unit: str, most: int) -> str:
    return format(Decimal(most) / 10**12, "f") if unit == "usd" else str(most)


def _budget(limit: Limit) -> Budget:
    kind, _, rest = limit.calendar.partition("@")
    zone, _, first = rest.partition("~")
    given: dict[str, Any] = {
        "scope": limit.scope, "limit": _text(limit.unit, limit.most), "unit": limit.unit, "window": kind,
        "timezone": zone or "UTC", "updated_at": _SINCE,
    }  # fmt: skip
    if first:
        given["week_starts_on" if first in DAYS else "month_starts_on"] = first if first in DAYS else int(first)
    return Budget.from_record(BudgetRecord.model_validate(given))


def _plan(name: str, plan: Plan) -> PlanRecord:
    limits = [
        {"feature": feature, "unit": unit, "limit": _text(unit, most), "window": kind}
        for feature, unit, kind, most in plan.limits
    ]
    record = {"id": name, "name": name, "limits": limits, "credits_per_day": str(plan.free), "updated_at": _SINCE}
    return PlanRecord.model_validate(record)


def _plans(rules: Rules) -> Plans:
    having = {f"user/{user}": has for user, has in rules.having.items()}
    having |= {"default": rules.default} if rules.default is not None else {}
    assignments = {
        key: AssignmentRecord.model_validate(
            {"plan": has.plan, "timezone": has.zone, "month_starts_on": has.first, "updated_at": _SINCE}
        )
        for key, has in having.items()
    }
    return Plans.from_records({name: _plan(name, plan) for name, plan in rules.plans.items()}, assignments)


def _policy() -> Policy:
    pricer = Pricer(load_price_book("default"))
    return Policy(BudgetBook(map(_budget, _FIRST.limits.values())), lambda: pricer)


POLICY: Final = _policy()


class People:
    """`policy` is what the control topic says now, `rules` the same for the checker. `did` hears of each change."""

    def __init__(self, did: Callable[[str], None]) -> None:
        self._did = did
        self._changes = 0
        self.policy = POLICY
        self.rules = _FIRST
        # Books are kept, so that no other has the same number.
        self._books = {id(POLICY.budgets): (POLICY.budgets, _FIRST)}

    def rules_of(self, policy: Policy) -> Rules:
        """What the policy was made of."""
        return self._books[id(policy.budgets)][1]

    @property
    def stopped(self) -> str | None:
        """Why all spending is stopped by hand; None when it is not."""
        stop = self.policy.stop
        return stop.reason if stop is not None and stop.stopped else None

    def stop_or_resume(self, random: Random) -> None:
        """Stop all spending, let it go on, or remove the setting, each time for another reason."""
        self._did("stop")
        self._changes += 1
        reason = f"reason {self._changes}"
        if self.stopped is None or random.randrange(5) == 0:
            stop: Stop | None = Stop(True, "ada", reason)
        else:
            stop = Stop(False, "bob", reason) if random.randrange(3) else None
        self.policy = dataclasses.replace(self.policy, stop=stop)

    def change(self, random: Random) -> None:
        """Set or remove a budget, a plan, or what somebody has."""
        before, kind = self.rules, random.randrange(8)
        limits, plans, having = dict(before.limits), dict(before.plans), dict(before.having)
        default, changed = before.default, dict[str, Budget | None]()
        if kind < 5:
            name, limit = self._limit(random)
            if name in limits and random.randrange(2):
                self._did("remove a budget")
                del limits[name]
                changed[name] = None
            else:
                self._did("set a budget")
                limits[name], changed[name] = limit, _budget(limit)
        elif kind == 5:
            self._did("set a plan")
            name = random.choice(tuple(_PLANS))
            if name in plans and random.randrange(3) == 0:
                del plans[name]
            else:
                plans[name] = _PLANS[name]
        else:
            self._did("assign a plan")
            first = random.choice((1, 1, 21))
            has = Having(random.choice(("small", "large", "bare")), random.choice(_ZONES), first)
            user = f"u{random.randrange(6)}"
            if kind == 6:
                default = has if random.randrange(4) else None
            elif random.randrange(4):
                having[user] = has
            else:
                having.pop(user, None)
        self.rules = Rules(limits, plans, having, default)
        book = self.policy.budgets.changed(changed, _plans(self.rules) if kind >= 5 else None)
        self._books[id(book)] = book, self.rules
        self.policy = dataclasses.replace(self.policy, budgets=book)

    @staticmethod
    def _limit(random: Random) -> tuple[str, Limit]:
        """A budget and its id. Most are on few scopes, so that they are removed and set again."""
        scope = random.choice(_SCOPES[: random.choice((4, len(_SCOPES)))])
        calendar, unit = random.choice(_CALENDARS), random.choice(("usd", "usd", "events", "credits"))
        limit = Limit(scope, calendar, unit, random.randint(*_MOST[unit]))
        return f"{scope}:{limit.kind[0]}:{unit}", limit
