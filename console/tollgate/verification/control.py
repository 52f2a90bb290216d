"""Reads the control topic: the budgets and the stop in force, and every price that the topic still has."""

from typing import Final, NamedTuple

from tollgate.schemas.control import (
    BUDGET_KEY_PREFIX,
    PRICE_KEY_PREFIX,
    SETTING_KEY_PREFIX,
    STOP_SETTING,
    BudgetRecord,
    PriceRecord,
    SettingRecord,
)
from tollgate.schemas.record_reading import UnreadableError, read_record
from tollgate.schemas.topics import Topic
from tollgate.verification.log import Log
from tollgate.verification.prices import Prices

_STOP_KEY: Final = f"{SETTING_KEY_PREFIX}{STOP_SETTING}"


class Control(NamedTuple):
    """Prices in force, with those that the topic remembers; budgets in force; the setting `stop`, if there is one."""

    prices: Prices
    budgets: list[BudgetRecord]
    stop: SettingRecord | None


async def read_control(log: Log) -> Control:
    """Read the topic to its end as of now."""
    stop: SettingRecord | None = None
    budgets: dict[str, BudgetRecord] = {}
    in_force: dict[str, PriceRecord] = {}
    remembered: dict[str, PriceRecord] = {}
    begins, ends = await log.begins(Topic.CONTROL), await log.ends(Topic.CONTROL)
    for partition, end in ends.items():
        async for batch in log.read(Topic.CONTROL, partition, begins[partition], end):
            for record in batch:
                key = bytes(record.key or b"").decode("utf-8", "replace")
                try:
                    if key.startswith(BUDGET_KEY_PREFIX):
                        if record.value is None:
                            budgets.pop(key, None)
                        else:
                            budgets[key] = read_record(BudgetRecord.model_validate_json, record.value)
                    elif key.startswith(PRICE_KEY_PREFIX):
                        if record.value is None:
                            in_force.pop(key, None)
                        else:
                            price = read_record(PriceRecord.model_validate_json, record.value)
                            in_force[key] = remembered[key] = price
                    elif key == _STOP_KEY:
                        found = (
                            read_record(SettingRecord.model_validate_json, record.value)
                            if record.value is not None
                            else None
                        )
                        if found is None or found.name == STOP_SETTING:
                            stop = found
                except UnreadableError:
                    # The worker ignores it too, and says so in its log.
                    continue
    prices = Prices(log.settings.price_book, in_force.values(), remembered.values())
    return Control(prices, list(budgets.values()), stop)
