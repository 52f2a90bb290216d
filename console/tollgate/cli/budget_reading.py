"""The budgets and plans in force, read from the control topic."""

from collections.abc import Callable
from typing import Any, Final, TypeVar

from tollgate.cli.output import say
from tollgate.domain.budget_book import BudgetBook
from tollgate.domain.budgets import Budget
from tollgate.domain.plans import Plans
from tollgate.runtime.settings import Settings
from tollgate.runtime.topic_reading import read_latest
from tollgate.schemas.control import (
    ASSIGNMENT_KEY_PREFIX,
    BUDGET_KEY_PREFIX,
    ID_CHARS_MAX,
    PLAN_KEY_PREFIX,
    AssignmentRecord,
    BudgetRecord,
    PlanRecord,
)
from tollgate.schemas.record_reading import UnreadableError, read_record
from tollgate.schemas.topics import Topic

R = TypeVar("R", BudgetRecord, PlanRecord, AssignmentRecord)

_NAMES: Final = {BUDGET_KEY_PREFIX: "budget", PLAN_KEY_PREFIX: "plan", ASSIGNMENT_KEY_PREFIX: "assignment"}


async def read_budgets(settings: Settings) -> dict[str, BudgetRecord]:
    """All valid budgets by id. One that is not valid is said on stderr and left out, as the worker does."""
    found = await _read(settings, BUDGET_KEY_PREFIX)
    return {record.id: record for record in _valid(found, BUDGET_KEY_PREFIX, BudgetRecord.model_validate_json).values()}


async def read_book(settings: Settings) -> BudgetBook:
    """The budgets and plans. What is not valid is said on stderr and left out, as the worker does."""
    found = await _read(settings, *_NAMES)
    budgets = _valid(found, BUDGET_KEY_PREFIX, BudgetRecord.model_validate_json)
    plans = Plans.from_records(
        _valid(found, PLAN_KEY_PREFIX, PlanRecord.model_validate_json),
        _valid(found, ASSIGNMENT_KEY_PREFIX, AssignmentRecord.model_validate_json),
    )
    return BudgetBook(map(Budget.from_record, budgets.values()), plans)


def budget_json(record: BudgetRecord) -> dict[str, Any]:
    """A budget for programs: every field, null where there is nothing, and the thresholds that it has."""
    thresholds = record.thresholds.model_dump(mode="json", exclude_none=True)
    return record.model_dump(mode="json") | {"thresholds": thresholds}


async def _read(settings: Settings, *prefixes: str) -> dict[str, bytes]:
    wanted = tuple(prefix.encode() for prefix in prefixes)
    return await read_latest(settings, Topic.CONTROL, lambda key: key.startswith(wanted))


def _valid(found: dict[str, bytes], prefix: str, read: Callable[[bytes], R]) -> dict[str, R]:
    """The records whose keys begin with the prefix, by the rest of their keys."""
    valid: dict[str, R] = {}
    for key, value in found.items():
        if key.startswith(prefix):
            name = key.removeprefix(prefix)
            try:
                valid[name] = read_record(read, value)
            except UnreadableError as error:
                say(f"the {_NAMES[prefix]} {name[:ID_CHARS_MAX]!r} is not valid: {error}")
    return valid
