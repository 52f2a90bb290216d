"""Plans: which limits and free credits a user has by what they are subscribed to.

A plan is a set of limits on `user/*+feature/<feature>` or `user/*` for its users, and credits per day. Nothing else
knows of plans. A user has the plan they are assigned to until it ends, then, like everybody else, the default plan.
The default plan itself does not end: nobody's limit is lifted because a date has passed.
"""

from calendar import monthrange
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import lru_cache
from typing import Final
from weakref import ref
from zoneinfo import ZoneInfo

from tollgate.domain.budgets import BASE_CALENDARS, NO_END_MS, Budget, Threshold
from tollgate.schemas.amounts import parse_amount, parse_usd
from tollgate.schemas.calendars import Calendar
from tollgate.schemas.control import AssignmentRecord, PlanRecord
from tollgate.schemas.instants import from_ms, parse_instant, to_ms
from tollgate.schemas.outputs import Action, AlertLevel
from tollgate.schemas.plans import parse_duration, shipped_plans
from tollgate.schemas.scopes import Dimension, scope_of
from tollgate.schemas.vocabulary import WindowKind

_PERCENT: Final = 10**9
_THRESHOLDS: Final = (
    Threshold(AlertLevel.CRITICAL, 100 * _PERCENT, Action.BLOCK),
    Threshold(AlertLevel.WARNING, 80 * _PERCENT, Action.ALERT),
)
_EVERY_USER: Final = scope_of(Dimension.USER, "*")

# Budgets that are remembered: one for each plan, calendar and end in use. More are made anew.
_MADE_MAX: Final = 16_384


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan, compiled. `limits` are its budgets in UTC, by feature as it is written in scopes; `""` is any.

    `ends_after` is in months and days; None: it does not end.
    """

    id: str
    name: str
    limits: Mapping[str, tuple[Budget, ...]]
    credits_per_day_nano: int
    ends_after: tuple[int, int] | None

    @classmethod
    def from_record(cls, record: PlanRecord) -> "Plan":
        """Compile what the control topic holds."""
        limits: dict[str, tuple[Budget, ...]] = {}
        for limit, budget_id in zip(record.limits, record.budget_ids(), strict=True):
            part = scope_of(Dimension.FEATURE, limit.feature)
            budget = Budget(
                id=budget_id,
                scope=f"{_EVERY_USER}+{part}" if limit.feature else _EVERY_USER,
                unit=limit.unit,
                limit=parse_usd(limit.limit) if limit.unit == "usd" else parse_amount(limit.limit),
                window=limit.window,
                thresholds=_THRESHOLDS,
                calendar=limit.window.value,
                plan=record.name,
            )
            feature = part.partition("/")[2]
            limits[feature] = (*limits.get(feature, ()), budget)
        ends_after = parse_duration(record.ends_after) if record.ends_after is not None else None
        return cls(record.id, record.name, limits, parse_amount(record.credits_per_day), ends_after)


@dataclass(frozen=True, slots=True)
class Assignment:
    """Who has a plan since when, and the calendar of their limits."""

    plan: str
    since_ms: int = 0
    timezone: str = "UTC"
    month_starts_on: int = 1

    @classmethod
    def from_record(cls, record: AssignmentRecord) -> "Assignment":
        """Compile what the control topic holds. Without `since` it began when the record was written."""
        since = record.since or record.updated_at
        since_ms = parse_instant(since) if since is not None else 0
        return cls(record.plan, since_ms, record.timezone, record.month_starts_on)

    def has_calendar_of(self, other: "Assignment") -> bool:
        """Whether windows are cut alike."""
        return (self.timezone, self.month_starts_on) == (other.timezone, other.month_starts_on)

    def end_ms(self, plan: Plan) -> int:
        """First instant at which the plan does not hold any more; `NO_END_MS` when it does not end.

        A year from 2024-02-29 12:00 in the user's zone ends at 2025-02-28 12:00 there.
        """
        if plan.ends_after is None:
            return NO_END_MS
        return _later(self.since_ms, *plan.ends_after, self.timezone)


_NOBODYS: Final = Assignment("")


class Plans:
    """The plans there are, and who has which. Users are named as in scopes."""

    def __init__(
        self,
        plans: Mapping[str, Plan] | None = None,
        assignments: Mapping[str, Assignment] | None = None,
        default: Assignment | None = None,
    ) -> None:
        self._usual = default or _NOBODYS
        self._default = default
        self._records = dict(plans or {})
        self._assignments = dict(assignments or {})
        self._users = Counter(own.plan for own in self._assignments.values())
        # Users whose windows are cut in a calendar of their own.
        self._odd = {user for user, own in self._assignments.items() if not own.has_calendar_of(self._usual)}
        # The plans before these, and who was assigned anew, when that is all that differs.
        self._assigned: tuple[ref[Plans], frozenset[str]] | None = None
        self._settle()

    @classmethod
    def from_records(cls, plans: Mapping[str, PlanRecord], assignments: Mapping[str, AssignmentRecord]) -> "Plans":
        """Compile what the control topic holds: plans by id, assignments by `user/<name>` and `default`."""
        made = {key: Assignment.from_record(record) for key, record in assignments.items()}
        default = made.pop("default", None)
        users = {key.removeprefix("user/"): own for key, own in made.items()}
        return cls({plan_id: Plan.from_record(record) for plan_id, record in plans.items()}, users, default)

    def changed(
        self,
        plans: Mapping[str, Plan | None] | None = None,
        assignments: Mapping[str, Assignment | None] | None = None,
    ) -> "Plans":
        """These with others in place of some; None removes. A shipped plan is there again without its record."""
        made = Plans(None, None, self._default)
        made._records, made._assignments = dict(self._records), dict(self._assignments)
        made._users, made._odd = self._users.copy(), set(self._odd)
        for plan_id, plan in (plans or {}).items():
            made._records.pop(plan_id, None)
            if plan is not None:
                made._records[plan_id] = plan
        for user, own in (assignments or {}).items():
            made._assign(user, own)
        made._settle()
        if not plans:
            made._assigned = (ref(self), frozenset(assignments or ()))
        return made

    def users_since(self, before: "Plans") -> frozenset[str] | None:
        """The users that were assigned anew; None when these plans differ otherwise, or are not the next ones."""
        if self is before:
            return frozenset()
        if self._assigned is not None and self._assigned[0]() is before:
            return self._assigned[1]
        return None

    def with_default(self, default: Assignment | None) -> "Plans":
        """These with another plan for everybody without one of their own."""
        return Plans(self._records, self._assignments, default)

    def _assign(self, user: str, own: Assignment | None) -> None:
        before = self._assignments.pop(user, None)
        if before is not None:
            self._users[before.plan] -= 1
        self._odd.discard(user)
        if own is not None:
            self._assignments[user] = own
            self._users[own.plan] += 1
            if not own.has_calendar_of(self._usual):
                self._odd.add(user)

    def _settle(self) -> None:
        """What follows from plans and assignments."""
        self._plans = {**_shipped(), **self._records}
        self._made: dict[tuple[str, str, str, int, int, int], tuple[Budget, ...]] = {}
        ids = {plan_id for plan_id, users in self._users.items() if users}
        if self._default is not None:
            ids.add(self._default.plan)
        in_use = [self._plans[plan_id] for plan_id in sorted(ids) if plan_id in self._plans]
        self._in_use = in_use
        self.has_own_calendars = bool(self._odd)
        self.is_in_use = bool(in_use)
        # Every user is counted in the calendar of the default for every plan in use, so that an upgrade in mid window
        # finds what was spent before it.
        metered: dict[str, set[str]] = {}
        for plan in in_use:
            for feature, budgets in plan.limits.items():
                metered.setdefault(feature, set()).update(_calendar(budget, self._usual).text for budget in budgets)
        self._metered = {feature: tuple(sorted(calendars)) for feature, calendars in metered.items()}
        self.has_features = any(self._metered)
        # Whether a plan limits whatever a user does.
        self.limits_users = "" in metered
        # Whether a user alone is counted in more than the base calendars.
        self.counts_users_more = "" in metered and (bool(self._odd) or not metered[""] <= BASE_CALENDARS)

    def plan(self, plan_id: str) -> Plan | None:
        """The plan of this id, a shipped one too."""
        return self._plans.get(plan_id)

    def plan_of(self, user: str, at_ms: int = 0) -> Plan | None:
        """The plan that a user has at an instant, assigned or by default; None: there is no default plan."""
        own = self._assignments.get(user)
        plan = self._plans.get(own.plan) if own is not None else None
        if own is not None and plan is not None and at_ms < own.end_ms(plan):
            return plan
        return self._default_plan()

    def usual_limits(self) -> Iterator[Budget]:
        """The limits of every plan in use, in the calendar of everybody: see `has_own_calendar`."""
        for plan in self._in_use:
            for feature in plan.limits:
                yield from self._limits(plan, feature, self._usual, 0, NO_END_MS)

    def scopes_of(self, user: str) -> list[str]:
        """The scopes by which plans can limit the user."""
        return [scope_for(user, feature) for feature in self._metered]

    def is_assigned(self, user: str) -> bool:
        """Whether the user has a plan of their own, and not that of everybody."""
        return user in self._assignments

    def has_own_calendar(self, user: str) -> bool:
        """Whether the user's windows are cut otherwise than everybody's."""
        return user in self._odd

    def timezone_of(self, user: str) -> str:
        """The zone of the user's days."""
        return self._assignments.get(user, self._usual).timezone

    def covers(self, user: str, feature: str) -> bool:
        """Whether the user's plan has a limit on the feature; `""` as for `limits`."""
        return feature in self._metered and bool(self.limits(user, feature))

    def limits(self, user: str, feature: str) -> tuple[Budget, ...]:
        """The limits that the user's plan has on the feature, `""` for those on whatever they do. Where a plan ends,
        the limits of both plans, each for its time.
        """
        own = self._assignments.get(user)
        plan = self._plans.get(own.plan) if own is not None else None
        if own is None or plan is None:
            return self._limits(self._default_plan(), feature, own or self._usual, 0, NO_END_MS)
        end_ms = own.end_ms(plan)
        limits = self._limits(plan, feature, own, 0, end_ms)
        if end_ms == NO_END_MS:
            return limits
        return (*limits, *self._limits(self._default_plan(), feature, own, end_ms, NO_END_MS))

    def calendars(self, feature: str) -> tuple[str, ...]:
        """In which calendars every user's use of the feature is counted, whatever their plan."""
        return self._metered.get(feature, ())

    def meters(self) -> set[tuple[str, str]]:
        """Scopes and calendars beyond the base sums that the plans in use need."""
        found = {(scope_for("*", feature), text) for feature, texts in self._metered.items() for text in texts}
        for user in self._odd:
            for feature in self._metered:
                found.update((scope_for(user, feature), budget.calendar) for budget in self.limits(user, feature))
        return {(scope, text) for scope, text in found if "+" in scope or text not in BASE_CALENDARS}

    def _default_plan(self) -> Plan | None:
        return self._plans.get(self._default.plan) if self._default is not None else None

    def _limits(self, plan: Plan | None, feature: str, own: Assignment, from_ms: int, to_ms: int) -> tuple[Budget, ...]:
        if plan is None or feature not in plan.limits:
            return ()
        key = (plan.id, feature, own.timezone, own.month_starts_on, from_ms, to_ms)
        made = self._made.get(key)
        if made is None:
            if len(self._made) >= _MADE_MAX:
                self._made.clear()
            made = self._made[key] = tuple(
                replace(budget, calendar=_calendar(budget, own).text, valid_from_ms=from_ms, valid_to_ms=to_ms)
                for budget in plan.limits[feature]
            )
        return made


def scope_for(user: str, feature: str) -> str:
    """`scope_for("u1", "video")` → `"user/u1+feature/video"`, and `"user/u1"` without a feature. As in scopes."""
    return f"user/{user}+feature/{feature}" if feature else f"user/{user}"


def _calendar(budget: Budget, own: Assignment) -> Calendar:
    """How a user's own windows are cut."""
    kind = budget.window
    zone = "UTC" if kind is WindowKind.LIFETIME else own.timezone
    return Calendar(kind, zone, month_starts_on=own.month_starts_on if kind is WindowKind.MONTH else 1)


@lru_cache(maxsize=1)
def _shipped() -> dict[str, Plan]:
    return {plan_id: Plan.from_record(record) for plan_id, record in shipped_plans().items()}


@lru_cache(maxsize=4096)
def _later(instant_ms: int, months: int, days: int, timezone: str) -> int:
    """The instant so many months, then days, later by the calendar of the zone."""
    local = from_ms(instant_ms).astimezone(ZoneInfo(timezone))
    year, month = divmod(local.year * 12 + local.month - 1 + months, 12)
    try:
        day = min(local.day, monthrange(year, month + 1)[1])
        return to_ms(local.replace(year=year, month=month + 1, day=day) + timedelta(days=days))
    except (ValueError, OverflowError):
        # After the year 9999.
        return NO_END_MS
