"""Ten thousand budgets of single users: where they stand is told page by page, with few questions to ClickHouse."""

import time
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from tests.support.console import now_ms
from tests.support.live_console import LiveConsole

from tollgate.console.numbers.questions import Questions
from tollgate.runtime.settings import Settings
from tollgate.schemas.control import BudgetRecord
from tollgate.schemas.tokens import Role

pytestmark = pytest.mark.integration

STATUS = "/api/v1/budgets/status"
USERS = 10_000
PAGE = 1_000
# 4,000 scopes at a time, of one kind of window.
QUESTIONS = 3
# User n has spent n cents of ten dollars.
SPENT = """
INSERT INTO spend_records
    (scope, window, window_start, window_end, timezone, spent_usd, events, updated_at, source_partition, source_offset)
SELECT concat('user/u', toString(number)), 'month', toStartOfMonth(now('UTC')) AS begin, begin + INTERVAL 1 MONTH,
    'UTC', toDecimal128(number, 12) / 100, 1, now64(3), 0, number
FROM numbers(10000)
"""


@pytest.fixture
def console(database: Settings, client: Client) -> LiveConsole:
    client.command("TRUNCATE TABLE spend_records")
    client.command(SPENT)
    made = LiveConsole(
        clickhouse_url=database.clickhouse_url,
        clickhouse_database=database.clickhouse_database,
        console_requests_per_minute=100_000,
    )
    made.has_read_to(now_ms())
    for n in range(USERS):
        record = BudgetRecord(scope=f"user/u{n}", limit="10", updated_at="2026-11-21T10:00:00Z")
        value = record.model_dump_json(exclude_none=True).encode()
        made.control._follower.state.take(f"budget/{record.id}", value, ())
    return made


async def test_they_are_paged_the_worst_first_with_few_questions(
    console: LiveConsole, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0
    rows = Questions.rows

    async def counted(self: Questions, *args: Any, **more: Any) -> Any:
        nonlocal asked
        asked += 1
        return await rows(self, *args, **more)

    monkeypatch.setattr(Questions, "rows", counted)
    viewer = await console.as_role(Role.VIEWER)
    found: list[dict[str, Any]] = []
    cursor, took = "", []
    while cursor is not None:
        began, before = time.perf_counter(), asked
        answer = await viewer.get(STATUS, params={"limit": PAGE, "cursor": cursor})
        took.append(time.perf_counter() - began)
        assert answer.status_code == 200, answer.text
        assert asked - before <= QUESTIONS
        page = answer.json()
        # 80 % of $10.00 is $8.00 and 100 % is $10.00: users 0 to 799 are ok, 800 to 999 warned, the others blocked.
        assert page["counts"] == {"ok": 800, "warning": 200, "blocked": 9_000, "stopped": 0}
        found += page["items"]
        cursor = page["next_cursor"]
    await console.numbers.stop()
    print(f"a page of {PAGE} out of {USERS} budgets: first {took[0] * 1000:.0f} ms, then {min(took[1:]) * 1000:.0f} ms")
    assert len(took) == USERS // PAGE
    assert [one["scope"] for one in found] == [f"user/u{n}" for n in range(USERS - 1, -1, -1)]
    assert [(one["spent"], one["percent"]) for one in found[:2]] == [("99.99", "999.90"), ("99.98", "999.80")]
    assert all(one["known"] for one in found)
