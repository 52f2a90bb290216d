"""Which budgets and plan limits apply to a scope, and what must be counted for them."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final, TypeVar
from weakref import ref

from tollgate.domain.budgets import BASE_CALENDARS, Budget
from tollgate.domain.plans import Plans
from tollgate.domain.watch import UNWATCHED, Watch
from tollgate.schemas.scopes import Dimension, is_combination, joint_of, scope_of, split_names
from tollgate.schemas.vocabulary import Shape, WindowKind

_USERS: Final = Dimension.USER.value
_USER: Final = f"{_USERS}/"
_USER_AND_FEATURE: Final = (Dimension.USER, Dimension.FEATURE)
_ORDER: Final = {dimension: place for place, dimension in enumerate(Dimension)}

# Scopes whose calendars are remembered, and whose budgets.
_CALENDARS_MAX: Final = 65_536

K = TypeVar("K")

Names = tuple[Dimension, ...]
Interval = tuple[int, int]


class BudgetBook:
    """All budgets and plans, and which of them apply to a scope.

    An exact budget comes first, then patterns, those with fewer stars first, then limits of the user's plan. The first
    one replaces the later ones of the same kind of window and unit, for as long as it is valid.
    """

    def __init__(self, budgets: Iterable[Budget] = (), plans: Plans | None = None) -> None:
        self.plans = plans if plans is not None else Plans()
        self._scopes: dict[str, str] = {}
        self._exact: dict[str, tuple[Budget, ...]] = {}
        self._patterns: dict[str, tuple[Budget, ...]] = {}
        self._metered: Counter[tuple[str, str]] = Counter()
        self._combined: Counter[Names] = Counter()
        self._meters: frozenset[tuple[str, str]] | None = None
        # The book before this one, and the scopes and patterns of what differs.
        self._before: tuple[ref[BudgetBook], frozenset[str]] | None = None
        for budget in budgets:
            self._add(budget)
        self._settle()

    def changed(self, budgets: Mapping[str, Budget | None], plans: Plans | None = None) -> "BudgetBook":
        """This book with other budgets in place of those of these ids, None for none, and other plans if given."""
        book = BudgetBook((), plans if plans is not None else self.plans)
        book._scopes, book._exact, book._patterns = dict(self._scopes), dict(self._exact), dict(self._patterns)
        book._metered, book._combined = self._metered.copy(), self._combined.copy()
        for budget_id, budget in budgets.items():
            book._remove(budget_id)
            if budget is not None:
                book._add(budget)
        book._settle()
        scopes = (held.get(budget_id) for held in (self._scopes, book._scopes) for budget_id in budgets)
        book._before = (ref(self), frozenset(scope for scope in scopes if scope is not None))
        return book

    def scopes_since(self, before: "BudgetBook") -> frozenset[str] | None:
        """The only scopes that the changes since that book concern, known or not; None when they may concern all."""
        if self is before:
            return frozenset()
        if self._before is None or self._before[0]() is not before:
            return None
        scopes, users = self._before[1], self.plans.users_since(before.plans)
        if users is None or any(map(_is_pattern, scopes)):
            return None
        return scopes.union(*(plans.scopes_of(user) for user in users for plans in (before.plans, self.plans)))

    def on_patterns(self) -> Iterator[Budget]:
        """The budgets of patterns, and the limits of plans for users without a calendar of their own."""
        for budgets in self._patterns.values():
            yield from budgets
        yield from self.plans.usual_limits()

    def has_own_calendar(self, scope: str) -> bool:
        """Whether limits of plans on the scope may be in other calendars than those of `on_patterns`."""
        if not scope.startswith(_USER):
            return False
        joint = joint_of(scope)
        return self.plans.has_own_calendar(scope[len(_USER) : joint if joint >= 0 else None])

    def replacing(self, budget_id: str, budget: Budget | None) -> "BudgetBook":
        """This book with another budget in place of the one of that id; with None without it."""
        return self.changed({budget_id: budget})

    def __len__(self) -> int:
        """How many budgets there are. Limits of plans are none of them."""
        return len(self._scopes)

    def __iter__(self) -> Iterator[Budget]:
        """Every budget, in no order. Limits of plans are none of them."""
        for budgets in (*self._exact.values(), *self._patterns.values()):
            yield from budgets

    def for_scope(self, scope: str) -> list[Budget]:
        """What applies to this scope, now or at another time, the most specific first.

        A budget that another one replaces for a time is there with the rest of its own time, in two parts if need be.
        """
        return list(self.limiting(scope))

    def limiting(self, scope: str) -> Sequence[Budget]:
        """The same, most often as one object for all scopes that are limited alike."""
        key = self._limited_alike(scope)
        known = self._applying.get(key)
        if known is None:
            if len(self._applying) >= _CALENDARS_MAX:
                self._applying.clear()
            known = self._applying[key] = self._found_budgets(scope)
        return known

    def watch(self, scope: str) -> Watch:
        """When the budgets of the scope have to be looked at."""
        if scope not in self._exact:
            if not self.has_patterns:
                return UNWATCHED
            if "+" not in scope and scope[: scope.find("/") + 1] not in self._starred:
                return UNWATCHED
        key = self._limited_alike(scope)
        known = self._watches.get(key)
        if known is None:
            if len(self._watches) >= _CALENDARS_MAX:
                self._watches.clear()
            budgets = self.for_scope(scope)
            known = self._watches[key] = Watch(budgets) if budgets else UNWATCHED
        return known

    def _found_budgets(self, scope: str) -> list[Budget]:
        levels = self._levels(scope)
        if len(levels) == 1:
            return list(levels[0])
        found: list[Budget] = []
        taken: dict[tuple[WindowKind, str], list[Interval]] = {}
        for budgets in levels:
            for budget in budgets:
                found.extend(_left(budget, taken.get((budget.window, budget.unit), ())))
            for budget in budgets:
                valid = (budget.valid_from_ms, budget.valid_to_ms)
                taken.setdefault((budget.window, budget.unit), []).append(valid)
        return found

    def in_force(self, scope: str, at_ms: int) -> list[Budget]:
        """Those of `for_scope` that limit the scope at this instant."""
        return [budget for budget in self.for_scope(scope) if budget.is_valid_at(at_ms)]

    def covers(self, scope: str) -> bool:
        """Whether anything may apply to the scope; cheaper than `for_scope`. No is certain."""
        if scope in self._exact:
            return True
        if not self.has_patterns:
            return False
        if "+" in scope and is_combination(scope):
            return bool(self.calendars(scope))
        dimension = scope[: scope.find("/") + 1]
        return dimension + "*" in self._patterns or (
            dimension == _USER and self.plans.is_in_use and self.plans.covers(scope[len(_USER) :], "")
        )

    def calendars(self, scope: str) -> tuple[str, ...]:
        """In which calendars the scope is counted because of budgets and plans, sorted: of a combination all, of
        another scope those beyond the base sums. `()` when there are none.

        Calendars of budgets that are replaced or not valid yet are among them, so that their sums are there when they
        apply; those of every plan in use too, so that an upgrade finds what was spent.
        """
        joint = joint_of(scope)
        if not (self._counts_singles_more if joint < 0 else self.shapes):
            return ()
        key = self._alike(scope, joint)
        known = self._calendars.get(key)
        if known is None:
            if len(self._calendars) >= _CALENDARS_MAX:
                self._calendars.clear()
            known = self._calendars[key] = self._found_calendars(scope, joint >= 0)
        return known

    def _alike(self, scope: str, joint: int) -> str:
        """The same for scopes that are counted alike. Few budgets depend on the first name of a combination: without
        it, a million users have the same few of them.
        """
        if joint < 0 or scope in self._exact:
            return scope
        first = scope[:joint]
        dimension, _, name = first.partition("/")
        if dimension in self._pinned or (dimension == Dimension.USER.value and self.plans.has_own_calendar(name)):
            return scope
        return f"{dimension}/*{scope[joint:]}"

    def _limited_alike(self, scope: str) -> str:
        """The same for scopes that are limited alike: see `_alike`. An assigned user may have limits of their own."""
        if scope in self._exact:
            return scope
        joint = joint_of(scope)
        first = scope if joint < 0 else scope[:joint]
        dimension, slash, name = first.partition("/")
        if not slash or (joint >= 0 and dimension in self._pinned):
            return scope
        if dimension == _USERS and self.plans.is_assigned(name):
            return scope
        return f"{dimension}/*{scope[len(first) :]}"

    def _found_calendars(self, scope: str, is_combined: bool) -> tuple[str, ...]:
        found = {budget.calendar for budgets in self._levels(scope) for budget in budgets}
        feature = self._feature(scope, is_combined)
        if feature is not None:
            found.update(self.plans.calendars(feature))
        return tuple(sorted(found if is_combined else found - BASE_CALENDARS))

    def meters(self) -> frozenset[tuple[str, str]]:
        """What is counted beyond the base sums: scope or pattern, and calendar. Always the same object."""
        found = self._meters
        if found is None:
            found = self._meters = frozenset(self._metered) | self.plans.meters()
        return found

    def credits_of(self, user: str, at_ms: int = 0) -> tuple[int, str]:
        """The user's free credits per day, in 10⁻⁹ credits, and the zone of their day. `user` is as in events.

        `at_ms` 0 stands for an instant at which no plan has ended yet.
        """
        name = scope_of(Dimension.USER, user)[len(_USER) :]
        plan = self.plans.plan_of(name, at_ms)
        return (plan.credits_per_day_nano if plan is not None else 0, self.plans.timezone_of(name))

    def exact_scopes(self) -> Iterable[str]:
        """Scopes that have a budget of their own."""
        return self._exact

    def _levels(self, scope: str) -> list[tuple[Budget, ...]]:
        """The budgets of the scope by how specific they are; no level is empty."""
        found = [self._exact.get(scope, ())]
        if self.has_patterns:
            if "+" in scope and is_combination(scope):
                found.extend(self._levels_of_combination(scope))
            else:
                dimension, _, name = scope.partition("/")
                found.append(self._patterns.get(f"{dimension}/*", ()))
                if dimension == Dimension.USER.value and self.plans.is_in_use:
                    found.append(self.plans.limits(name, ""))
        return [budgets for budgets in found if budgets]

    def _levels_of_combination(self, scope: str) -> Iterator[tuple[Budget, ...]]:
        names = split_names(scope)
        dimensions = tuple(Dimension(dimension) for dimension, _ in names)
        for stars in self._masks.get(dimensions, ()):
            parts = (f"{d}/*" if star else f"{d}/{name}" for star, (d, name) in zip(stars, names, strict=True))
            yield self._patterns.get("+".join(parts), ())
        if dimensions == _USER_AND_FEATURE and self.plans.is_in_use:
            yield self.plans.limits(names[0][1], names[1][1])

    def _feature(self, scope: str, is_combined: bool) -> str | None:
        """The feature by which plans limit the scope, empty for a user alone; None when no plan can."""
        if not self.plans.is_in_use or not scope.startswith(_USER):
            return None
        if not is_combined:
            return ""
        names = split_names(scope)
        return names[1][1] if len(names) == 2 and names[1][0] == Dimension.FEATURE.value else None

    def _add(self, budget: Budget) -> None:
        self._scopes[budget.id] = budget.scope
        held = self._held(budget.scope)
        held[budget.scope] = (*held.get(budget.scope, ()), budget)
        is_combined = is_combination(budget.scope)
        if is_combined:
            self._combined[_dimensions(budget.scope)] += 1
        if is_combined or budget.calendar not in BASE_CALENDARS:
            self._metered[budget.scope, budget.calendar] += 1

    def _remove(self, budget_id: str) -> None:
        scope = self._scopes.pop(budget_id, None)
        if scope is None:
            return
        held = self._held(scope)
        gone = [budget for budget in held[scope] if budget.id == budget_id]
        kept = tuple(budget for budget in held[scope] if budget.id != budget_id)
        if kept:
            held[scope] = kept
        else:
            del held[scope]
        for budget in gone:
            if is_combination(scope):
                _less(self._combined, _dimensions(scope))
            if (scope, budget.calendar) in self._metered:
                _less(self._metered, (scope, budget.calendar))

    def _held(self, scope: str) -> dict[str, tuple[Budget, ...]]:
        return self._patterns if _is_pattern(scope) else self._exact

    def _settle(self) -> None:
        """What follows from the budgets and plans."""
        self.has_patterns = bool(self._patterns) or self.plans.is_in_use
        self.is_empty = not (self._exact or self.has_patterns)
        combined = {*self._combined, *((_USER_AND_FEATURE,) if self.plans.has_features else ())}
        self._counts_singles_more = self.plans.counts_users_more or any(
            not is_combination(scope) for scope, _ in self._metered
        )
        self._calendars: dict[str, tuple[str, ...]] = {}
        self._applying: dict[str, list[Budget]] = {}
        self._watches: dict[str, Watch] = {}
        self._meters = None
        # The combinations whose sums somebody needs, in a fixed order.
        self.shapes: tuple[Shape, ...] = tuple(
            Shape(names) for names in sorted(combined, key=lambda names: [_ORDER[name] for name in names])
        )
        masks: dict[Names, set[tuple[bool, ...]]] = {}
        for scope in self._patterns:
            if is_combination(scope):
                stars = tuple(name == "*" for _, name in split_names(scope))
                masks.setdefault(_dimensions(scope), set()).add(stars)
        # Dimensions that a pattern names first and without a star.
        self._pinned = {names[0].value for names, found in masks.items() if not all(stars[0] for stars in found)}
        # What stands before the star in patterns of one name.
        self._starred = {scope[:-1] for scope in self._patterns if scope.count("/*") == 1 and not is_combination(scope)}
        if self.plans.limits_users:
            self._starred.add(_USER)
        # Fewer stars first; of as many, the one whose first names are given.
        self._masks = {names: sorted(found, key=lambda stars: (sum(stars), stars)) for names, found in masks.items()}


def _left(budget: Budget, taken: Iterable[Interval]) -> list[Budget]:
    """The budget for the times in which none of the others replaces it."""
    parts = [(budget.valid_from_ms, budget.valid_to_ms)]
    for begin, end in taken:
        parts = [
            part
            for low, high in parts
            for part in ((low, min(high, begin)), (max(low, end), high))
            if part[0] < part[1]
        ]
    if parts == [(budget.valid_from_ms, budget.valid_to_ms)]:
        return [budget]
    return [replace(budget, valid_from_ms=low, valid_to_ms=high) for low, high in parts]


def _is_pattern(scope: str) -> bool:
    return scope.endswith("/*") or "/*+" in scope


def _dimensions(scope: str) -> Names:
    return tuple(Dimension(dimension) for dimension, _ in split_names(scope))


def _less(counter: Counter[K], key: K) -> None:
    counter[key] -= 1
    if not counter[key]:
        del counter[key]
