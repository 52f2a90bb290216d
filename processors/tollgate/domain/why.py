"""Why the calls of a scope are blocked, and what to do about it: one answer for the command line and the console."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

from tollgate.domain.budgets import NO_END_MS, Budget
from tollgate.domain.except_scopes import is_excepted
from tollgate.domain.standings import BudgetStanding
from tollgate.schemas.amounts import format_amount
from tollgate.schemas.budgets import PLAN_BUDGETS, Fail, default_thresholds
from tollgate.schemas.calendars import UTC_ZONE, WEEKDAYS, parse_calendar
from tollgate.schemas.instants import format_instant
from tollgate.schemas.outputs import Action, AlertLevel, Flag
from tollgate.schemas.scopes import GLOBAL_SCOPE, Dimension, parse_names, scope_of_all
from tollgate.schemas.shown_text import shell_command, shell_option
from tollgate.schemas.vocabulary import WindowKind

# Those of `tollgate budget set` where nothing else is said.
_USUAL: Final = default_thresholds()
_PERCENTS: Final = {
    level: threshold.percent for level in AlertLevel if (threshold := getattr(_USUAL, level.value, None)) is not None
}


def deciding_scopes(scope: str) -> list[str]:
    """The scopes of which a block is one of every call of this scope, in the order in which they are told.

    They are the whole company, the scope itself, and those of a combination's names: `user/u1+model/x` is blocked where
    `user/u1` is.
    """
    names = parse_names(scope)
    parts = (scope_of_all(some) for count in range(len(names), 0, -1) for some in combinations(names, count))
    return [GLOBAL_SCOPE, *parts]


def leaves_alone(flag: Flag, scope: str) -> bool:
    """Whether the flag excepts every call of this scope."""
    return is_excepted(flag.except_ or (), set(parse_names(scope)))


@dataclass(frozen=True, slots=True)
class Why:
    """Calls of the scope `asked` are blocked by `flag`, which is of one of its `deciding_scopes`.

    `budgets` are those of the flag's scope, the fullest first.
    """

    asked: str
    flag: Flag
    budgets: Sequence[BudgetStanding]

    @property
    def http_status(self) -> int:
        """What services answer."""
        return 503 if self.flag.reason == "spending_stopped" else 429

    @property
    def blocking(self) -> list[BudgetStanding]:
        """The budgets that block now."""
        return [standing for standing in self.budgets if standing.is_blocking]

    @property
    def next_steps(self) -> list[str]:
        """What a person can do, as sentences and commands to type. Names of others are quoted for a shell."""
        flag = self.flag
        lifetime = flag.window is None or flag.window.kind is WindowKind.LIFETIME
        steps = [] if lifetime else [f"wait until {flag.until}: it ends then"]
        if flag.budget is None and flag.note is not None:
            steps.append("let spending go on: tollgate resume --reason REASON")
        if flag.budget is not None and flag.budget.startswith(PLAN_BUDGETS):
            steps += _larger_plan(flag.scope)
        for standing in self.blocking:
            steps += _about(standing, flag.scope)
        return steps


def _larger_plan(scope: str) -> list[str]:
    try:
        users = [name for dimension, name in parse_names(scope) if dimension is Dimension.USER]
    except ValueError:
        # The flag was written by somebody else.
        return []
    words = [("--", user) if user.startswith("-") else (user,) for user in users]
    return [f"change to a larger plan: {shell_command('tollgate', 'plan', 'assign', *word, 'PLAN')}" for word in words]


def _about(standing: BudgetStanding, scope: str) -> list[str]:
    budget = standing.budget
    above = budget.format(standing.spent)
    words = ("--limit", "HIGHER", "--unit", budget.unit, "--window", budget.window.value, *_kept(budget))
    if budget.scope != scope:
        own = shell_command("tollgate", "budget", "set", scope, *words)
        return [f"give {scope} its own budget above {above}: {own}"]
    words += (*_validity(budget), *shell_option("--id", budget.id))
    raised = shell_command("tollgate", "budget", "set", scope, *words)
    removed = shell_command("tollgate", "budget", "remove", name=budget.id)
    return [f"raise it above {above}: {raised}", f"or remove it: {removed}"]


def _kept(budget: Budget) -> list[str]:
    """The options without which `budget set` would make another budget of it: calendar, thresholds, `fail`, `except`.
    What is as it is by default is left out.
    """
    cut = parse_calendar(budget.calendar)
    words = ["--timezone", cut.timezone] if cut.timezone != UTC_ZONE else []
    words += ["--week-starts-on", cut.week_starts_on] if cut.week_starts_on != WEEKDAYS[0] else []
    words += ["--month-starts-on", str(cut.month_starts_on)] if cut.month_starts_on != 1 else []
    if not budget.plan:
        # A plan has no emergency; an own budget in its place may have one.
        words += _thresholds(budget)
    words += ["--fail", budget.fail.value] if budget.fail is not Fail.OPEN else []
    return [*words, *(word for excepted in budget.except_ for word in shell_option("--except", excepted))]


def _thresholds(budget: Budget) -> Iterator[str]:
    found = {threshold.level: threshold for threshold in budget.thresholds}
    for level, usual in _PERCENTS.items():
        percent = format_amount(found[level].percent_nano) if level in found else "none"
        if percent != usual:
            yield from (f"--{level.value}", percent)
    actions = {level: threshold.written or threshold.action for level, threshold in found.items()}
    critical = actions.get(AlertLevel.CRITICAL, Action.BLOCK)
    if critical is not Action.BLOCK:
        yield from ("--action", critical.value)
    if actions.get(AlertLevel.EMERGENCY, critical) is not critical:
        yield from ("--emergency-action", actions[AlertLevel.EMERGENCY].value)
    if actions.get(AlertLevel.WARNING, Action.ALERT) is not Action.ALERT:
        yield from ("--warning-action", actions[AlertLevel.WARNING].value)


def _validity(budget: Budget) -> Iterator[str]:
    if budget.valid_from_ms:
        yield from ("--valid-from", format_instant(budget.valid_from_ms))
    if budget.valid_to_ms != NO_END_MS:
        yield from ("--valid-to", format_instant(budget.valid_to_ms))
