"""Reads the control topic: the budgets in force, and every price that the topic still has."""

from tollgate.schemas.control import BUDGET_KEY_PREFIX, PRICE_KEY_PREFIX, BudgetRecord, PriceRecord
from tollgate.schemas.record_reading import UnreadableError, read_record
from tollgate.schemas.topics import Topic
from tollgate.verification.log import Log
from tollgate.verification.prices import Prices


async def read_control(log: Log) -> tuple[Prices, list[BudgetRecord]]:
    """Prices and budgets in force, and the prices that the topic remembers."""
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
                except UnreadableError:
                    # The worker ignores it too, and says so in its log.
                    continue
    return Prices(log.settings.price_book, in_force.values(), remembered.values()), list(budgets.values())
