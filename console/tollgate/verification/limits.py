"""Which limits hold for a scope: budgets on it, budgets on patterns, and the limits of its user's plan.

Written again, without the worker's rules: of the limits on the same scope in the same kind of window and unit only the
first in this order holds: a budget on the scope itself, one on a pattern, one of the plan.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from tollgate.schemas.control import AssignmentRecord, BudgetRecord, PlanRecord, ThresholdsRecord
from tollgate.verification.calendar import milliseconds
from tollgate.verification.meters import Meter
from tollgate.verification.names import ANY, covers, is_combination, names_of, shape_of, written
from tollgate.verification.plans import Plans
from tollgate.verification.sums import AMOUNT_DECIMALS, USD_DECIMALS, scaled
from tollgate.verification.zones import Calendar, read_calendar, write_calendar

# Sums that are kept whatever budgets there are: of single names and of everything, in these calendars.
_BASE_CALENDARS: Final = ("hour", "day", "month", "lifetime")
# A plan's limit warns at 80 % and blocks at 100 %.
_OF_PLANS: Final = ((100 * 10**9, "block"), (80 * 10**9, "alert"))


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit on a scope or pattern. `limit` is in 10⁻¹² USD or 10⁻⁹ of the unit; `levels` are percents (10⁻⁹ %) and
    actions, the highest first. It holds in `[from_ms, to_ms)`.
    """

    id: str
    scope: str
    unit: str
    limit: int
    calendar: str
    levels: tuple[tuple[int, str], ...]
    from_ms: int = 0
    to_ms: int | None = None
    except_: tuple[str, ...] = ()

    @property
    def decimals(self) -> int:
        """Of its unit."""
        return USD_DECIMALS if self.unit == "usd" else AMOUNT_DECIMALS

    @property
    def replaces(self) -> tuple[str, str]:
        """Limits on the same scope with the same kind of window and unit replace one another."""
        return read_calendar(self.calendar).kind, self.unit

    def holds(self, now_ms: int) -> bool:
        """Whether it limits anything at this instant."""
        return self.from_ms <= now_ms and (self.to_ms is None or now_ms < self.to_ms)


class Limits:
    """All limits, found by scope."""

    def __init__(
        self,
        budgets: Iterable[BudgetRecord] = (),
        plans: Iterable[PlanRecord] = (),
        assignments: Mapping[str, AssignmentRecord] | None = None,
    ) -> None:
        self._exact: dict[str, list[Limit]] = {}
        self._patterns: dict[tuple[str, ...], list[Limit]] = {}
        self._plans = Plans(plans, assignments or {})
        for budget in sorted(budgets, key=lambda budget: budget.id):
            limit = _limit_of(budget)
            if any(name == ANY for _, name in names_of(limit.scope)):
                self._patterns.setdefault(shape_of(limit.scope), []).append(limit)
            else:
                self._exact.setdefault(limit.scope, []).append(limit)

    @property
    def exact(self) -> Iterator[str]:
        """Every scope that has a budget of its own."""
        return iter(self._exact)

    def of(self, scope: str, now_ms: int) -> list[Limit]:
        """The limits on the scope at this instant, each until another one replaces it."""
        first: list[Limit] = []
        before: list[Limit] = []
        for level in map(list, self._levels(scope)):
            # A limit that does not hold now replaces none.
            taken = {limit.replaces for limit in first}
            held = [limit for limit in level if limit.holds(now_ms) and limit.replaces not in taken]
            for limit in held:
                begin = [other.from_ms for other in before if other.replaces == limit.replaces]
                ends = [ms for ms in (limit.to_ms, *begin) if ms is not None and ms > now_ms]
                first.append(replace(limit, to_ms=min(ends, default=None)))
            before += level
        return first

    def cover(self, scope: str) -> bool:
        """Whether any limit is on the scope, at whatever time."""
        return any(True for level in self._levels(scope) for _ in level)

    def meters(self) -> set[Meter]:
        """The sums beyond the base ones that the limits need."""
        limits = [limit for found in (self._exact, self._patterns) for on in found.values() for limit in on]
        needed = {Meter(limit.scope, limit.calendar) for limit in limits}
        plans = self._plans.needed()
        needed |= {Meter(_plan_scope(user, written(feature)), calendar) for user, feature, calendar in plans}
        return {meter for meter in needed if is_beyond(meter.scope, meter.calendar)}

    def _levels(self, scope: str) -> Iterator[Iterable[Limit]]:
        """The limits on a scope: its own, those of patterns with one star, of others with two, and so on; its plan's.

        Of patterns with as many stars those come first whose first names are given.
        """
        yield self._exact.get(scope, ())
        by_stars: dict[tuple[bool, ...], list[Limit]] = {}
        for limit in self._patterns.get(shape_of(scope), ()):
            if covers(limit.scope, scope):
                stars = tuple(name == ANY for _, name in names_of(limit.scope))
                by_stars.setdefault(stars, []).append(limit)
        for stars in sorted(by_stars, key=lambda stars: (sum(stars), stars)):
            yield by_stars[stars]
        yield self._of_plan(scope)

    def _of_plan(self, scope: str) -> Iterator[Limit]:
        names = names_of(scope)
        if (
            not self._plans.are_used
            or not names
            or names[0][0] != "user"
            or len(names) > 2
            or (len(names) == 2 and names[1][0] != "feature")
        ):
            return
        feature = names[1][1] if len(names) == 2 else ""
        for found in self._plans.limits_of(names[0][1]):
            if written(found.record.feature) == feature:
                unit = found.record.unit
                limit = scaled(found.record.limit, USD_DECIMALS if unit == "usd" else AMOUNT_DECIMALS)
                covered = _plan_scope(ANY, feature)
                yield Limit(found.id, covered, unit, limit, found.calendar, _OF_PLANS, found.from_ms, found.to_ms)


def is_beyond(scope: str, calendar: str) -> bool:
    """Whether sums of the scope in this calendar are not among the base ones."""
    return is_combination(scope) or calendar not in _BASE_CALENDARS


def _plan_scope(user: str, feature: str) -> str:
    return f"user/{user}+feature/{feature}" if feature else f"user/{user}"


def _limit_of(budget: BudgetRecord) -> Limit:
    kind = budget.window.value
    if kind == "week":
        days = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
        anchor = days.index(budget.week_starts_on)
    else:
        anchor = budget.month_starts_on if kind == "month" else 1
    return Limit(
        budget.id,
        budget.scope,
        budget.unit,
        scaled(budget.limit, USD_DECIMALS if budget.unit == "usd" else AMOUNT_DECIMALS),
        write_calendar(Calendar(kind, budget.timezone, anchor)),
        _levels(budget.thresholds),
        _instant_ms(budget.valid_from) or 0,
        _instant_ms(budget.valid_to),
        budget.except_,
    )


def _levels(thresholds: ThresholdsRecord) -> tuple[tuple[int, str], ...]:
    given = (thresholds.emergency, thresholds.critical, thresholds.warning)
    return tuple((scaled(level.percent, 9), level.action.value) for level in given if level is not None)


def _instant_ms(text: str | None) -> int | None:
    return None if text is None else milliseconds(datetime.fromisoformat(text))
