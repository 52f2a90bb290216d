"""How much of its budgets a scope has spent: the worker's spend by window beside the limits."""

from dataclasses import dataclass
from typing import Any

from tollgate.cli.output import say
from tollgate.cli.scope_names import partitions_of_scope
from tollgate.cli.topic_reading import read_latest
from tollgate.domain.budgets import Budget, BudgetBook, Threshold
from tollgate.domain.windows import window_end, window_start
from tollgate.runtime.settings import Settings
from tollgate.schemas.amounts import NANO, parse_amount, parse_usd
from tollgate.schemas.control import BudgetRecord
from tollgate.schemas.instants import format_instant
from tollgate.schemas.outputs import SpendRecord, WindowKind
from tollgate.schemas.record_reading import UnreadableError, read_record
from tollgate.schemas.topics import Topic


@dataclass(frozen=True, slots=True)
class BudgetStanding:
    """How much of one budget is spent in the window of the moment, and the highest threshold reached."""

    budget: Budget
    start_ms: int
    spent: int
    threshold: Threshold | None

    @property
    def end_ms(self) -> int:
        """First instant after the window."""
        return window_end(self.budget.window, self.start_ms)

    @property
    def numbers(self) -> str:
        """For people: `104.2 of 100 usd, 104.20 %`."""
        budget = self.budget
        spent, limit = budget.format(self.spent), budget.format(budget.limit)
        return f"{spent} of {limit} {budget.unit}, {budget.percent(self.spent)} %"

    def as_json(self) -> dict[str, Any]:
        """For programs, in the words of the flags topic."""
        budget = self.budget
        return {
            "budget": budget.id,
            "scope": budget.scope,
            "window": {
                "kind": budget.window.value,
                "start": format_instant(self.start_ms),
                "end": format_instant(self.end_ms),
                "timezone": "UTC",
            },
            "limit": budget.format(budget.limit),
            "unit": budget.unit,
            "spent": budget.format(self.spent),
            "percent": budget.percent(self.spent),
            "threshold": self.threshold.level.value if self.threshold else None,
            "action": self.threshold.action.value if self.threshold else None,
        }


async def read_spend(settings: Settings, scope: str) -> dict[tuple[str, str], SpendRecord]:
    """The scope's spend by window kind and start, `("month", "2026-11-01T00:00:00Z")`."""
    prefix = f"{scope}|".encode()
    latest = await read_latest(
        settings,
        Topic.SPEND,
        lambda key: key.startswith(prefix),
        partitions=partitions_of_scope(scope, settings.usage_partitions),
    )
    found: dict[tuple[str, str], SpendRecord] = {}
    for key, value in latest.items():
        try:
            record = read_record(SpendRecord.model_validate_json, value)
        except UnreadableError as error:
            say(f"the spend record {key!r} cannot be read: {error}")
            continue
        # Another scope may start with this one's name and a bar.
        if record.scope == scope:
            found[record.window.kind.value, record.window.start] = record
    return found


def standings(
    scope: str, budgets: list[BudgetRecord], spend: dict[tuple[str, str], SpendRecord], at_ms: int
) -> list[BudgetStanding]:
    """The budgets that apply to the scope, in their windows at this instant, the fullest first."""
    found = []
    for budget in BudgetBook(map(Budget.from_record, budgets)).for_scope(scope):
        start_ms = window_start(budget.window, at_ms)
        spent = _measure(budget, spend.get((budget.window.value, format_instant(start_ms))))
        found.append(BudgetStanding(budget, start_ms, spent, budget.reached(spent)))
    return sorted(found, key=lambda s: s.spent * 10_000 // s.budget.limit, reverse=True)


def window_record(
    spend: dict[tuple[str, str], SpendRecord], kind: WindowKind, at_ms: int
) -> tuple[int, int, SpendRecord | None]:
    """Start and end of the window that contains the instant, and its record if anything was spent in it."""
    start_ms = window_start(kind, at_ms)
    return start_ms, window_end(kind, start_ms), spend.get((kind.value, format_instant(start_ms)))


def _measure(budget: Budget, record: SpendRecord | None) -> int:
    if record is None:
        return 0
    if budget.unit == "usd":
        return _signed(parse_usd, record.spent_usd)
    if budget.unit == "events":
        return record.events * NANO
    return _signed(parse_amount, record.usage.get(budget.unit, "0"))


def _signed(parse: Any, text: str) -> int:
    """Sums may be negative for a while when a correction comes before what it corrects."""
    return -int(parse(text[1:])) if text.startswith("-") else int(parse(text))
