"""Reads the control topic: the limits and the stop in force, and every price that the topic still has."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Final, TypeVar

from pydantic import BaseModel

from tollgate.schemas.control import (
    ASSIGNMENT_KEY_PREFIX,
    BUDGET_KEY_PREFIX,
    PLAN_KEY_PREFIX,
    PRICE_KEY_PREFIX,
    SETTING_KEY_PREFIX,
    STOP_SETTING,
    AssignmentRecord,
    BudgetRecord,
    PlanRecord,
    PriceRecord,
    SettingRecord,
)
from tollgate.schemas.record_reading import UnreadableError, read_record
from tollgate.schemas.topics import Topic
from tollgate.verification.limits import Limits
from tollgate.verification.log import Log
from tollgate.verification.prices import Prices

Record = TypeVar("Record", bound=BaseModel)

_STOP_KEY: Final = f"{SETTING_KEY_PREFIX}{STOP_SETTING}"


@dataclass(frozen=True, slots=True)
class Control:
    """Prices in force, with those that the topic remembers; limits in force; the setting `stop`, if there is one."""

    prices: Prices
    limits: Limits
    stop: SettingRecord | None


class _Reader:
    """Takes the topic's records in their order. What cannot be read the worker ignores too, and says so in its log."""

    def __init__(self) -> None:
        self.budgets: dict[str, BudgetRecord] = {}
        self.plans: dict[str, PlanRecord] = {}
        self.assignments: dict[str, AssignmentRecord] = {}
        self.in_force: dict[str, PriceRecord] = {}
        self.remembered: dict[str, PriceRecord] = {}
        self.stop: SettingRecord | None = None

    def take(self, key: str, value: bytes | None) -> None:
        """Raises UnreadableError."""
        if key.startswith(BUDGET_KEY_PREFIX):
            _keep(self.budgets, key, BudgetRecord, value)
        elif key.startswith(PLAN_KEY_PREFIX):
            _keep(self.plans, key, PlanRecord, value)
        elif key.startswith(ASSIGNMENT_KEY_PREFIX):
            _keep(self.assignments, key.removeprefix(ASSIGNMENT_KEY_PREFIX), AssignmentRecord, value)
        elif key.startswith(PRICE_KEY_PREFIX):
            _keep(self.in_force, key, PriceRecord, value)
            if value is not None:
                self.remembered[key] = self.in_force[key]
        elif key == _STOP_KEY:
            found = read_record(SettingRecord.model_validate_json, value) if value is not None else None
            if found is None or found.name == STOP_SETTING:
                self.stop = found


def _keep(held: dict[str, Record], key: str, model: type[Record], value: bytes | None) -> None:
    if value is None:
        held.pop(key, None)
    else:
        held[key] = read_record(model.model_validate_json, value)


async def read_control(log: Log) -> Control:
    """Read the topic to its end as of now."""
    reader = _Reader()
    begins, ends = await log.begins(Topic.CONTROL), await log.ends(Topic.CONTROL)
    for partition, end in ends.items():
        async for batch in log.read(Topic.CONTROL, partition, begins[partition], end):
            for record in batch:
                with suppress(UnreadableError):
                    reader.take(bytes(record.key or b"").decode("utf-8", "replace"), record.value)
    prices = Prices(log.settings.price_book, reader.in_force.values(), reader.remembered.values())
    limits = Limits(reader.budgets.values(), reader.plans.values(), reader.assignments)
    return Control(prices, limits, reader.stop)
