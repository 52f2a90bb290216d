"""The plan of a user at an instant, its limits in the user's own calendar, and the sums that plans need."""

from calendar import monthrange
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from tollgate.schemas.control import AssignmentRecord, PlanLimitRecord, PlanRecord
from tollgate.schemas.plans import parse_duration, shipped_plans
from tollgate.verification.calendar import milliseconds
from tollgate.verification.zones import Calendar, write_calendar

_NOBODYS = AssignmentRecord(plan="nobody")


@dataclass(frozen=True, slots=True)
class PlanLimit:
    """A limit of a plan, the id under which flags show it, and the calendar that its user has. It holds in
    `[from_ms, to_ms)`.
    """

    id: str
    record: PlanLimitRecord
    calendar: str
    from_ms: int = 0
    to_ms: int | None = None


class Plans:
    """Plans by id, those that are shipped included, and who has which: assignments by `user/<name>` and `default`.

    Users are named as in scopes.
    """

    def __init__(self, plans: Iterable[PlanRecord], assignments: Mapping[str, AssignmentRecord]) -> None:
        self._plans = shipped_plans() | {plan.id: plan for plan in plans}
        self._default = assignments.get("default")
        self._users = {key.removeprefix("user/"): found for key, found in assignments.items() if key != "default"}
        self.are_used = bool(assignments)
        # The calendar of everybody without one of their own.
        self._usual = self._default or _NOBODYS

    def limits_of(self, user: str) -> Iterator[PlanLimit]:
        """The limits of the user's plan; where it ends, those of the default plan too, each for its time."""
        own = self._users.get(user)
        plan = self._plans.get(own.plan) if own is not None else None
        calendar = own or self._usual
        usual = self._plans.get(self._default.plan) if self._default is not None else None
        if own is None or plan is None:
            yield from _limits(usual, calendar, 0, None)
            return
        end_ms = _end_ms(own, plan)
        yield from _limits(plan, calendar, 0, end_ms)
        if end_ms is not None:
            yield from _limits(usual, calendar, end_ms, None)

    def needed(self) -> set[tuple[str, str, str]]:
        """User (`*` for all), feature (`""` for whatever they do) and calendar of every sum that plans need.

        All users are counted by every plan that anybody has, so that an upgrade finds what was spent before it; users
        with a calendar of their own are counted in that as well.
        """
        given = {found.plan for found in (*self._users.values(), self._usual)}
        in_use = [self._plans[plan] for plan in given if plan in self._plans]
        found = {("*", limit.record.feature, limit.calendar) for plan in in_use for limit in self._usually(plan)}
        features = {feature for _, feature, _ in found}
        for user, own in self._users.items():
            if (own.timezone, own.month_starts_on) != (self._usual.timezone, self._usual.month_starts_on):
                limits = (limit for limit in self.limits_of(user) if limit.record.feature in features)
                found |= {(user, limit.record.feature, limit.calendar) for limit in limits}
        return found

    def _usually(self, plan: PlanRecord) -> Iterator[PlanLimit]:
        return _limits(plan, self._usual, 0, None)


def _limits(
    plan: PlanRecord | None, assignment: AssignmentRecord, from_ms: int, to_ms: int | None
) -> Iterator[PlanLimit]:
    if plan is None:
        return
    for id_, limit in zip(plan.budget_ids(), plan.limits, strict=True):
        kind = limit.window.value
        zone = "UTC" if kind == "lifetime" else assignment.timezone
        anchor = {"month": assignment.month_starts_on, "week": 0}.get(kind, 1)
        yield PlanLimit(id_, limit, write_calendar(Calendar(kind, zone, anchor)), from_ms, to_ms)


def _end_ms(assignment: AssignmentRecord, plan: PlanRecord) -> int | None:
    """First instant at which the plan does not hold any more: the same day and hour by the user's clock."""
    since = assignment.since or assignment.updated_at
    if plan.ends_after is None:
        return None
    months, days = parse_duration(plan.ends_after)
    begun = datetime.fromisoformat(since) if since is not None else datetime.fromtimestamp(0, ZoneInfo("UTC"))
    local = begun.astimezone(ZoneInfo(assignment.timezone))
    year, month = divmod(local.year * 12 + local.month - 1 + months, 12)
    if year > 9999:
        return None
    day = min(local.day, monthrange(year, month + 1)[1])
    return milliseconds(local.replace(year=year, month=month + 1, day=day) + timedelta(days=days))
