"""Where thousands of budgets stand, page by page, from memory alone."""

from typing import Any

import httpx
import pytest
from tests.support.console import now_ms
from tests.support.live_console import LiveConsole

from tollgate.domain.windows import month_start
from tollgate.schemas.amounts import format_usd
from tollgate.schemas.control import BudgetRecord
from tollgate.schemas.instants import format_instant
from tollgate.schemas.tokens import Role
from tollgate.schemas.vocabulary import WindowKind

STATUS = "/api/v1/budgets/status"
AGENTS = 2_000
CENT = 10**10


def set_budget(console: LiveConsole, scope: str, limit: str = "10") -> None:
    """As the control topic brings it."""
    record = BudgetRecord(scope=scope, limit=limit, updated_at="2026-11-21T10:00:00Z")
    key = f"budget/{record.id}"
    console.control._follower.state.take(key, record.model_dump_json(exclude_none=True).encode(), ())
    console.live._take_control(key)


@pytest.fixture
def console() -> LiveConsole:
    made = LiveConsole(console_requests_per_minute=100_000)
    made.has_read_to(now_ms())
    return made


async def pages(client: httpx.AsyncClient, limit: int, **params: Any) -> list[dict[str, Any]]:
    found = []
    cursor: str | None = ""
    while cursor is not None:
        answer = await client.get(STATUS, params={"limit": limit, "cursor": cursor, **params})
        assert answer.status_code == 200, answer.text
        found.append(answer.json())
        assert len(found[-1]["items"]) == limit or found[-1]["next_cursor"] is None
        cursor = found[-1]["next_cursor"]
    return found


async def test_thousands_are_paged_the_worst_first(console: LiveConsole) -> None:
    at_ms = now_ms()
    for n in range(AGENTS):
        set_budget(console, f"agent/a{n:04}")
        # n cents of ten dollars: from 800 on a warning, from 1,000 on a block.
        console.spent(f"agent/a{n:04}", format_usd(n * CENT), WindowKind.MONTH, at_ms)
    set_budget(console, "user/*")
    console.flag("user/u1", "warning", budget="user/*:month:usd", percent="90.00")
    viewer = await console.as_role(Role.VIEWER)
    found = await pages(viewer, 150)
    assert len(found) == 14
    items = [one for page in found for one in page["items"]]
    agents = [one for one in items if one["scope"] != "user/*"]
    assert [one["scope"] for one in agents] == [f"agent/a{n:04}" for n in range(AGENTS - 1, -1, -1)]
    assert [(one["spent"], one["percent"], one["remaining"], one["state"]) for one in (agents[0], agents[-801])] == [
        ("19.99", "199.90", "0", "blocked"),
        ("8", "80.00", "2", "warning"),
    ]
    # The pattern has its place among the others, by the scope that has spent the most of it.
    place = items.index(next(one for one in items if one["scope"] == "user/*"))
    assert (items[place - 1]["scope"], items[place + 1]["percent"]) == ("agent/a0900", "89.90")
    assert all(page["counts"] == {"ok": 800, "warning": 201, "blocked": 1_000, "stopped": 0} for page in found)
    warned = await pages(viewer, 150, state="warning")
    assert [one["id"] for page in warned for one in page["items"]] == [
        one["id"] for one in items if one["state"] == "warning"
    ]
    assert sum(len(page["items"]) for page in await pages(viewer, 1, scope="agent/a0007")) == 1


async def test_a_flag_tells_what_clickhouse_does_not(console: LiveConsole) -> None:
    end = "9999-12-31T23:59:59Z"
    month = {"kind": "month", "start": format_instant(month_start(now_ms())), "end": end, "timezone": "UTC"}
    for name in ("known", "old", "unknown"):
        set_budget(console, f"user/{name}", "100")
    console.flag("user/known", "warning", window=month, spent="-4.5")
    console.flag("user/old", window={**month, "start": "2025-10-01T00:00:00Z"}, spent="104.2")
    (page,) = await pages(await console.as_role(Role.VIEWER), 10)
    shown = [(one["scope"], one["spent"], one["known"], one["state"]) for one in page["items"]]
    # The flag of a month before says that the user is blocked, and not what they have spent of this month.
    assert shown == [
        ("user/old", None, False, "blocked"),
        ("user/unknown", None, False, "ok"),
        ("user/known", "-4.5", True, "ok"),
    ]


async def test_of_a_change_only_what_changed_is_compiled_again(console: LiveConsole) -> None:
    for name in ("a", "b", "c"):
        set_budget(console, f"agent/{name}")
    before = {budget.id: budget for budget in console.live.book()}
    set_budget(console, "agent/b", "20")
    set_budget(console, "agent/d")
    after = {budget.id: budget for budget in console.live.book()}
    assert after.keys() == {f"agent/{name}:month:usd" for name in "abcd"}
    assert [after[f"agent/{name}:month:usd"] is before[f"agent/{name}:month:usd"] for name in "abc"] == [
        True,
        False,
        True,
    ]
    assert after["agent/b:month:usd"].limit == 20 * 10**12
    key = "budget/agent/a:month:usd"
    console.control._follower.state.take(key, None, ())
    console.live._take_control(key)
    assert {budget.scope for budget in console.live.book()} == {"agent/b", "agent/c", "agent/d"}
