"""Budgets are changed over the API: a worker acts within a second, and as the preview said."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from tests.integration.clickhouse.stream import query, sink
from tests.support.changing_rooms import API, ROOMS, address, client_of
from tests.support.console import ConsoleUnderTest, now_ms
from tests.support.usage import event as usage_event
from tests.support.worker import latest, send, working
from tests.waiting import eventually

from tollgate.console.live import Live
from tollgate.console.numbers import Numbers
from tollgate.control import ControlStore
from tollgate.runtime.settings import Settings
from tollgate.schemas.instants import format_instant
from tollgate.schemas.outputs import FlagState
from tollgate.schemas.topics import Topic
from tollgate.sinks.clickhouse import migrate

pytestmark = pytest.mark.integration

ALL = "user/*:month:usd"


@dataclass(frozen=True)
class World:
    """A worker, a sink, and a console within the test."""

    settings: Settings
    live: Live
    console: ConsoleUnderTest
    admin: httpx.AsyncClient

    async def spend(self, **costs: str) -> None:
        """One event of now for each user; returns when ClickHouse has the sums."""
        now = format_instant(now_ms())
        events = [event(user.replace("_", "-"), cost, now) for user, cost in costs.items()]
        await send(self.settings, events)
        names = {f"user/{user.replace('_', '-')}" for user in costs}

        async def arrived() -> bool:
            rows = await asyncio.to_thread(query, self.settings, "SELECT scope FROM spend WHERE window = 'month'")
            return names <= {scope for (scope,) in rows}

        await eventually(arrived, 60, "the sums in ClickHouse")

    async def flags(self, expected: dict[str, str]) -> None:
        """Wait until these scopes have these states; one that has none is ok."""

        async def agree() -> bool:
            return {scope: self.state(scope) for scope in expected} == expected

        try:
            await eventually(agree, 20, "the flags")
        except AssertionError:
            pytest.fail(f"{ {scope: self.state(scope) for scope in expected} } are not {expected}")

    def state(self, scope: str) -> str:
        """As the console knows it from Kafka."""
        flag = self.live.flag(scope)
        return flag.state.value if flag is not None else FlagState.OK.value

    async def preview(self, budget_id: str, **body: Any) -> dict[str, Any]:
        """What the API says that it would do."""
        answer = await self.admin.post(address(budget_id, "/preview"), json=body)
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    async def put(self, budget_id: str, **body: Any) -> None:
        """Set a budget, whatever is there."""
        answer = await self.admin.put(address(budget_id), json=body, headers={"If-Match": "*"})
        if answer.status_code == 412:
            answer = await self.admin.put(address(budget_id), json=body)
        assert answer.status_code in (200, 201), answer.text


def event(user: str, cost: str, at: str) -> dict[str, Any]:
    data = {"cost_usd": cost, "provider": "openai", "model": "gpt-4o", "agent": "SEO", "usage": {"images": 2}}
    return usage_event(f"e-{user}-{time.time_ns()}", user=user, time=at, data=data)


@pytest.fixture
async def world(settings: Settings, clickhouse: str, tmp_path: Path) -> AsyncIterator[World]:
    await asyncio.to_thread(migrate, settings)
    control = ControlStore(settings)
    await control.start()
    live, numbers = Live(settings, control), Numbers(settings)
    await live.start()
    given = {name: getattr(settings, name) for name in settings.model_fields_set}
    console = ConsoleUnderTest(ROOMS, control, parts=SimpleNamespace(live=live, numbers=numbers), **given)
    with working(settings, tmp_path / "worker.log"):
        async with sink(settings):
            yield World(settings, live, console, await client_of(console))
    await live.stop()
    await numbers.stop()
    await control.stop()


async def test_a_change_is_in_force_within_a_second(world: World) -> None:
    await world.spend(u_1="120")
    await world.put("b", scope="user/u-1", limit="100")
    await world.flags({"user/u-1": "blocked"})
    seconds = []
    for limit, state in (("500", "ok"), ("100", "blocked")) * 3:
        started = time.monotonic()
        await world.put("b", scope="user/u-1", limit=limit)
        await world.flags({"user/u-1": state})
        seconds.append(time.monotonic() - started)
    print("from PUT to the flag:", [round(one, 3) for one in seconds])
    assert statistics.median(seconds) < 1.0
    in_kafka = (await latest(world.settings, Topic.FLAGS))["user/u-1"]
    assert (in_kafka["state"], in_kafka["budget"], in_kafka["limit"]) == ("blocked", "b", "100")
    gone = await world.admin.delete(address("b"), headers={"If-Match": "*"})
    assert gone.status_code == 204
    await world.flags({"user/u-1": "ok"})
    await world.admin.put(f"{API}/settings/stop", json={"value": {"stopped": True}, "reason": "drill"})
    await world.flags({"global": "stopped"})


async def test_flags_become_what_the_preview_said(world: World) -> None:
    await world.spend(u_1="120", u_2="110", u_3="100", u_4="90", u_5="10", own="400")
    await world.put("own", scope="user/own", limit="1000")
    await world.put(ALL, scope="user/*", limit="100")
    users = ("u-1", "u-2", "u-3", "u-4", "u-5", "own")

    def expect(*states: str) -> dict[str, str]:
        return {f"user/{user}": state for user, state in zip(users, states, strict=True)}

    await world.flags(expect("blocked", "blocked", "blocked", "warning", "ok", "ok"))
    raised = await world.preview(ALL, scope="user/*", limit="150")
    # 120 is 80 % of 150: a warning.
    assert raised["sentence"] == "Ends the warning of user/u-4. Unblocks 3 users: u-1, u-2 and u-3."
    assert (raised["level"], raised["estimate"]) == ("ok", False)
    found = {(one["before"], one["after"]): set(one["scopes"]) for one in raised["changes"]}
    assert found == {
        ("blocked", "warning"): {"user/u-1"},
        ("blocked", "ok"): {"user/u-2", "user/u-3"},
        ("warning", "ok"): {"user/u-4"},
    }
    lowered = await world.preview(ALL, scope="user/*", limit="10")
    assert lowered["sentence"] == "Blocks 2 users: u-4 and u-5."
    assert lowered["level"] == "over"
    assert (await world.preview(ALL, scope="user/*", limit="100"))["sentence"] == "No flag changes."
    by_images = await world.preview(ALL, scope="user/*", limit="2", unit="images")
    # All six have two images, the one with a budget in dollars of its own as well.
    counts = {(one["before"], one["after"]): one["count"] for one in by_images["changes"]}
    assert counts == {("warning", "blocked"): 1, ("ok", "blocked"): 2}
    single = await world.preview("new", scope="user/u-5", limit="12.50")
    assert single["sentence"] == "Warns user/u-5."
    assert (single["before"]["state"], single["after"]["percent"], single["level"]) == ("ok", "80.00", "warn")
    gone = await world.admin.post(
        address(ALL, "/preview"), content="null", headers={"Content-Type": "application/json"}
    )
    assert gone.json()["sentence"] == "Ends the warning of user/u-4. Unblocks 3 users: u-1, u-2 and u-3."

    await world.put(ALL, scope="user/*", limit="10")
    await world.flags(expect("blocked", "blocked", "blocked", "blocked", "blocked", "ok"))
    await world.put(ALL, scope="user/*", limit="150")
    await world.flags(expect("warning", "ok", "ok", "ok", "ok", "ok"))
    await world.put(ALL, scope="user/*", limit="2", unit="images")
    await world.flags(expect(*["blocked"] * 6))


async def test_the_status_says_where_each_budget_stands(world: World) -> None:
    await world.spend(u_1="120", u_2="90", u_3="10")
    await world.put(ALL, scope="user/*", limit="100")
    await world.put("agents", scope="agent/SEO", limit="200")
    await world.put("company", scope="global", limit="440", unit="usd", window="day")
    await world.put("images", scope="model/gpt-4o", limit="12", unit="images")
    await world.put("one", scope="user/u-3", limit="8")
    await world.put("nothing", scope="agent/idle", limit="1")
    await world.flags({"user/u-1": "blocked", "user/u-2": "warning", "user/u-3": "blocked", "agent/SEO": "blocked"})

    async def is_known() -> bool:
        items = (await world.admin.get(f"{API}/budgets/status")).json()["items"]
        return all(one["known"] for one in items) and items[2]["spent"] == "220"

    await eventually(is_known, 20, "the sums")
    page = (await world.admin.get(f"{API}/budgets/status")).json()
    shown = [(one["id"], one["state"], one["spent"], one["percent"], one["remaining"]) for one in page["items"]]
    assert shown == [
        ("one", "blocked", "10", "125.00", "0"),
        (ALL, "blocked", None, "120.00", None),
        ("agents", "blocked", "220", "110.00", "0"),
        ("company", "ok", "220", "50.00", "220"),
        ("images", "ok", "6", "50.00", "6"),
        ("nothing", "ok", "0", "0.00", "1"),
    ]
    assert page["counts"] == {"ok": 3, "warning": 0, "blocked": 3, "stopped": 0}
    assert (page["stale"], page["next_cursor"]) == (False, None)
    assert page["items"][1]["scopes"] == {
        "warned": 1,
        "blocked": 1,
        "worst": [
            {"scope": "user/u-1", "state": "blocked", "spent": "120", "percent": "120.00"},
            {"scope": "user/u-2", "state": "warning", "spent": "90", "percent": "90.00"},
        ],
    }
    first = (await world.admin.get(f"{API}/budgets/status", params={"limit": 4})).json()
    rest = (await world.admin.get(f"{API}/budgets/status", params={"cursor": first["next_cursor"]})).json()
    assert [one["id"] for one in (*first["items"], *rest["items"])] == [one[0] for one in shown]
    ok = (await world.admin.get(f"{API}/budgets/status", params={"state": "ok", "scope": "global"})).json()
    assert [one["id"] for one in ok["items"]] == ["company"]
