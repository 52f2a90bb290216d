"""A budget begins and ends by itself, to the millisecond, with no event arriving."""

import json

from tollgate.domain.budget_book import BudgetBook
from tollgate.domain.budgets import Budget
from tollgate.domain.spend import Spend
from tollgate.domain.windows import Horizon, windows_at
from tollgate.ledger.outbox import Outbox
from tollgate.ledger.scopes import Scopes
from tollgate.schemas.amounts import PICO
from tollgate.schemas.control import BudgetRecord
from tollgate.schemas.instants import parse_instant
from tollgate.schemas.topics import Topic

TEN = parse_instant("2026-11-21T10:00:00Z")
NOON = parse_instant("2026-11-21T12:00:00Z")
TWO = parse_instant("2026-11-21T14:00:00Z")


def test_a_user_is_blocked_and_freed_at_the_ends_of_a_budgets_time() -> None:
    budget = BudgetRecord.model_validate(
        {
            "id": "b",
            "scope": "user/u1",
            "limit": "5",
            "valid_from": "2026-11-21T12:00:00Z",
            "valid_to": "2026-11-21T14:00:00Z",
            "updated_at": "2026-11-21T10:00:00Z",
        }
    )
    horizon = Horizon()
    horizon.advance(TEN)
    scopes = Scopes(0, Topic.USER_STATE, horizon, BudgetBook([Budget.from_record(budget)]))

    def states(now_ms: int) -> list[str]:
        """Of the flags that are written now."""
        scopes.tick(now_ms)
        outbox = Outbox()
        scopes.write(outbox, 1, now_ms)
        flags = [value for (topic, _), rows in outbox.records.items() if topic is Topic.FLAGS for _, value, _ in rows]
        return [json.loads(value)["state"] for value in flags if value is not None]

    scopes.add("user/u1", windows_at(TEN), Spend(6 * PICO, 0, 1))
    assert states(TEN) == []
    assert states(NOON - 1) == []
    assert states(NOON) == ["blocked"]
    assert states(TWO - 1) == []
    assert states(TWO) == ["ok"]
