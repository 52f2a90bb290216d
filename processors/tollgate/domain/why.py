"""Why the calls of a scope are blocked, and what to do about it: one answer for the command line and the console."""

from collections.abc import Sequence
from dataclasses import dataclass

from tollgate.domain.standings import BudgetStanding
from tollgate.schemas.budgets import PLAN_BUDGETS
from tollgate.schemas.outputs import Flag
from tollgate.schemas.scopes import Dimension, parse_names
from tollgate.schemas.shown_text import shell_command, shell_option
from tollgate.schemas.vocabulary import WindowKind


@dataclass(frozen=True, slots=True)
class Why:
    """Calls of the scope `asked` are blocked by `flag`, which is its own or the whole company's.

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
    words = ("--limit", "HIGHER", "--unit", budget.unit, "--window", budget.window.value)
    if budget.scope != scope:
        own = shell_command("tollgate", "budget", "set", scope, *words)
        return [f"give {scope} its own budget above {above}: {own}"]
    raised = shell_command("tollgate", "budget", "set", scope, *words, *shell_option("--id", budget.id))
    removed = shell_command("tollgate", "budget", "remove", name=budget.id)
    return [f"raise it above {above}: {raised}", f"or remove it: {removed}"]
