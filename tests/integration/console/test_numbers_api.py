"""The API over numbers: a real ClickHouse, a live memory that is filled by hand, real access."""

import csv
import io
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from httpx import AsyncClient
from tests.integration.numbers.conftest import client, database, filled  # noqa: F401 # fixtures
from tests.integration.numbers.ledger import insert
from tests.integration.numbers.story import NOW
from tests.support.live_console import LiveConsole

from tollgate.console.api import asking
from tollgate.console.numbers import Numbers
from tollgate.console.pages.overview_model import Dashboard
from tollgate.runtime.settings import Settings
from tollgate.schemas.instants import parse_instant
from tollgate.schemas.tokens import Role
from tollgate.schemas.vocabulary import WindowKind

pytestmark = pytest.mark.integration

NOW_MS = parse_instant(NOW)


@pytest.fixture
async def console(filled: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LiveConsole]:  # noqa: F811 # the imported fixture
    """Over the story, at its last moment; the topics are read to their ends."""
    made = LiveConsole(clickhouse_url=filled.clickhouse_url, clickhouse_database=filled.clickhouse_database)
    clock(made, monkeypatch)
    made.has_read_to(NOW_MS)
    yield made
    await made.numbers.stop()


def clock(console: LiveConsole, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every part of the console takes the story's last moment for now."""
    for module in ("asking", "sums", "spend", "users", "dashboard"):
        monkeypatch.setattr(f"tollgate.console.api.{module}.now_ms", lambda: NOW_MS)
    console.numbers._questions.now_ms = lambda: NOW_MS
    console.live._now_ms = lambda: NOW_MS
    console.live._spend._set_oldest(NOW_MS)


def between(begin: str, end: str) -> dict[str, Any]:
    """The parameters of a range; one of them is a word of Python."""
    return {"from": begin, "to": end}


async def get(caller: AsyncClient, path: str, expected: int = 200, **query: Any) -> Any:
    """The answer's JSON."""
    answer = await caller.get(f"/api/v1{path}", params=query)
    assert answer.status_code == expected, answer.text
    return answer.json()


async def test_spend_is_the_value_of_the_topic(console: LiveConsole) -> None:
    viewer = await console.as_role(Role.VIEWER)
    await console.budget("user/bob", "10")
    found = await get(viewer, "/spend", scope="user/bob")
    assert found | {"as_of": ""} == {
        "scope": "user/bob",
        "window": {
            "kind": "month", "start": "2026-11-01T00:00:00Z", "end": "2026-12-01T00:00:00Z", "timezone": "UTC",
        },
        "spent_usd": "8.25",
        "retail_usd": "1",
        "usage": {"images": "3", "video_seconds": "2.5"},
        "events": 2,
        "reserved_usd": "0",
        "revenue_usd": "0",
        "updated_at": NOW,
        "budgets": [
            {
                "budget": "user/bob:month:usd",
                "scope": "user/bob",
                "window": found["window"],
                "limit": "10",
                "unit": "usd",
                "spent": "8.25",
                "percent": "82.50",
                "threshold": "warning",
                "action": "alert",
            }
        ],
        "as_of": "",
    }  # fmt: skip
    nobody = await get(viewer, "/spend", scope="user/nobody", window="day", at="2026-11-02")
    assert (nobody["spent_usd"], nobody["updated_at"], nobody["window"]["start"]) == (
        "0", None, "2026-11-02T00:00:00Z",
    )  # fmt: skip


async def test_summaries_by_day_and_month(console: LiveConsole) -> None:
    viewer = await console.as_role(Role.VIEWER)
    days = await get(viewer, "/summaries/daily", **between("2026-11-01", "2026-11-03"))
    assert [(day["start"], day["cost_usd"], day["profit_usd"]) for day in days["items"]] == [
        ("2026-11-01T00:00:00Z", "4.5", "0.5"),
        ("2026-11-02T00:00:00Z", "0.25", "0.75"),
    ]
    assert days["total"] == {"cost_usd": "4.75", "retail_usd": "6", "profit_usd": "1.25", "events": 2}
    assert (days["from"], days["to"]) == ("2026-11-01T00:00:00Z", "2026-11-03T00:00:00Z")
    months = await get(viewer, "/summaries/monthly", scope="org/globex")
    assert [month["cost_usd"] for month in months["items"]] == [*["0"] * 11, "48.100000000001"]


async def test_trends_compare_with_the_time_before(console: LiveConsole) -> None:
    viewer = await console.as_role(Role.VIEWER)
    found = await get(viewer, "/trends", **between("2026-11-28", "2026-11-29"))
    assert (found["total"]["cost_usd"], found["before"]["cost_usd"], found["change_percent"]) == ("24", "0", None)
    found = await get(viewer, "/trends", **between("2026-11-29", "2026-11-30"))
    assert (found["before"]["cost_usd"], found["change_percent"]) == ("24", "33.75")
    found = await get(viewer, "/trends", **between("2026-11-02", "2026-11-03"))
    assert (found["before"]["cost_usd"], found["change_percent"]) == ("4.5", "-94.44")


async def test_breakdown_and_top(console: LiveConsole) -> None:
    viewer = await console.as_role(Role.VIEWER)
    found = await get(viewer, "/breakdown", by="agent")
    assert [(share["name"], share["cost_usd"], share["percent"]) for share in found["items"]] == [
        ("", "56.35", "92.60"), ("SEO", "4.500000000001", "7.39"),
    ]  # fmt: skip
    assert found["total"]["cost_usd"] == "60.850000000001"
    top = await get(viewer, "/top", by="user", limit="1")
    assert [share["name"] for share in top["items"]] == ["eve"]
    assert top["rest"]["cost_usd"] == "12.75"


async def test_a_projection_says_how_it_was_made(console: LiveConsole) -> None:
    viewer = await console.as_role(Role.VIEWER)
    await console.budget("global", "70")
    console.spent("global", "60.850000000001", WindowKind.MONTH, NOW_MS)
    found = await get(viewer, "/projections")
    assert found["spent_usd"] == "60.850000000001"
    assert found["method"] == "weekday_profile"
    assert found["days_known"] == 28
    assert float(found["low_usd"]) <= float(found["projected_usd"]) <= float(found["high_usd"])
    assert found["limit_usd"] == "70"
    assert [day["start"] for day in found["days"]] == ["2026-11-29T00:00:00Z", "2026-11-30T00:00:00Z"]


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/summaries/daily", {"from": "2026-11-03", "to": "2026-11-03"}),
        ("/summaries/daily", {"from": "2026-13-01"}),
        ("/summaries/daily", {"from": "yesterday"}),
        ("/summaries/daily", {"from": "2026-11-01T00:00:00"}),
        ("/summaries/daily", {"from": "1900-01-01"}),
        ("/summaries/daily", {"from": "1970-01-01"}),
        ("/summaries/daily", {"scope": "users/ann"}),
        ("/summaries/daily", {"scope": "user/" + "x" * 257}),
        ("/trends", {"window": "fortnight"}),
        ("/breakdown", {"by": "country"}),
        ("/breakdown", {"limit": "1001"}),
        ("/top", {"limit": "0"}),
        ("/spend", {}),
        ("/spend", {"scope": "nothing"}),
        ("/spend", {"scope": "global", "at": "soon"}),
        ("/projections", {"scope": "x"}),
        ("/events", {"cursor": "x"}),
        ("/events", {"limit": "1001"}),
        ("/events", {"status": "bad"}),
        ("/reports/export", {"by": "country"}),
        ("/reports/export", {"by": "event,day"}),
        ("/reports/export", {"format": "xlsx"}),
        ("/reports/export", {"from": "2026-11-03", "to": "2026-11-01"}),
        ("/users/" + "x" * 257, {}),
        ("/dead-letters", {"cursor": "x"}),
        ("/audit", {"cursor": "x"}),
    ],
    ids=str,
)
async def test_what_makes_no_sense_is_a_problem_422(console: LiveConsole, path: str, query: dict[str, Any]) -> None:
    admin = await console.as_role(Role.ADMIN)
    problem = await get(admin, path, 422, **query)
    assert problem["status"] == 422
    assert problem["detail"].endswith((".", "'")) or problem["faults"]


async def test_events_page_by_page(console: LiveConsole) -> None:
    analyst = await console.as_role(Role.ANALYST)
    first = await get(analyst, "/events", limit="4")
    assert [event["event_id"] for event in first["items"]] == ["a4", "e3", "e2", "e1"]
    assert first["items"][1]["time"] == "2026-11-29T10:15:00Z"
    rest = await get(analyst, "/events", limit="100", cursor=first["next_cursor"])
    assert [event["event_id"] for event in rest["items"]] == ["b2", "b1", "a3", "a2", "a1"]
    assert rest["next_cursor"] is None
    found = await get(analyst, "/events", model="gpt-4o", **between("2026-11-01", "2026-11-02"))
    assert [event["event_id"] for event in found["items"]] == ["a3"]


async def test_users(console: LiveConsole) -> None:
    viewer = await console.as_role(Role.VIEWER)
    bob = await get(viewer, "/users/bob")
    assert (bob["month"]["cost_usd"], bob["lifetime"]["events"]) == ("8.25", 2)
    assert [card["events"] for card in bob["cards"]] == [0, 1, 1, 0]
    assert [call["event_id"] for call in bob["last_calls"]] == ["b2", "b1"]
    assert bob["flag"]["state"] == "ok"
    usage = await get(viewer, "/users/bob/usage", **between("2026-11-28", "2026-11-29"))
    assert [card["events"] for card in usage["cards"]] == [0, 0, 1, 0]


# Path, query, and which roles are let in; a user and an org's people see what is theirs, or nothing.
GRANTS = [
    ("/spend?scope=user/ann", "user org viewer analyst admin"),
    ("/spend?scope=user/eve", "viewer analyst admin"),
    ("/spend?scope=global", "viewer analyst admin"),
    ("/summaries/daily", "user org viewer analyst admin"),
    ("/summaries/monthly", "user org viewer analyst admin"),
    ("/trends", "user org viewer analyst admin"),
    ("/breakdown", "user org viewer analyst admin"),
    ("/top", "user org viewer analyst admin"),
    ("/projections", "user org viewer analyst admin"),
    ("/events", "user analyst admin"),
    ("/me", "user org viewer analyst admin"),
    ("/users/ann", "user org viewer analyst admin"),
    ("/users/eve", "org viewer analyst admin"),
    ("/users/eve/usage", "org viewer analyst admin"),
    ("/reports/export", "analyst admin"),
    ("/dashboard", "org viewer analyst admin"),
    ("/audit", "admin"),
    ("/dead-letters", "analyst admin"),
]


@pytest.mark.parametrize(("path", "roles"), GRANTS)
async def test_who_may_ask_and_sees_nothing_of_others(console: LiveConsole, path: str, roles: str) -> None:
    callers = {
        "user": await console.as_role(Role.USER, user="ann"),
        "org": await console.as_role(Role.VIEWER, org="acme"),
        "viewer": await console.as_role(Role.VIEWER),
        "analyst": await console.as_role(Role.ANALYST),
        "admin": await console.as_role(Role.ADMIN),
        "service": await console.as_role(Role.SERVICE),
    }
    if path == "/spend?scope=user/ann":
        roles = roles.replace("org ", "")
    for name, caller in callers.items():
        answer = await caller.get(f"/api/v1{path}")
        assert answer.status_code == (200 if name in roles.split() else 403), (name, answer.text)
        if name in ("user", "org") and answer.status_code == 200:
            # The time of an answer may have 32.1 seconds.
            shown = re.sub(r"\d\dT\d\d:\d\d:[0-9.]+Z", "", answer.text)
            assert [sign for sign in ("globex", "48.1", "32.1", '"e1"', '"e3"') if sign in shown] == []
    assert (await console.client().get(f"/api/v1{path}")).status_code == 401


async def test_a_report_is_a_file(console: LiveConsole) -> None:
    analyst = await console.as_role(Role.ANALYST)
    answer = await analyst.get("/api/v1/reports/export?by=month,model&from=2026-10-01&to=2026-12-01")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    assert answer.headers["content-disposition"] == (
        'attachment; filename="tollgate-2026-10-01-2026-12-01-by-month-model.csv"'
    )
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert [(row["month"], row["model"], row["cost_usd"], row["profit_usd"]) for row in rows] == [
        ("2026-10", "gpt-4o", "2", "1"),
        ("2026-11", "dall-e", "32.35", "8.65"),
        ("2026-11", "gen-3", "8", "-8"),
        ("2026-11", "gpt-4o", "20.5", "4.5"),
        ("2026-11", "gpt-5", "0.000000000001", "-0.000000000001"),
    ]
    empty = await analyst.get("/api/v1/reports/export?by=event&format=json&from=2020-01-01&to=2020-01-02")
    assert empty.json() == []
    events = await analyst.get("/api/v1/reports/export?by=event&format=json&from=2026-11-02&to=2026-11-03")
    (event,) = events.json()
    assert (event["time"], event["event_id"], event["usage"]) == ("2026-11-02T10:00:00.000Z", "b1", {"images": "3"})


async def test_the_audit_tells_who_changed_what(console: LiveConsole, client: Client) -> None:  # noqa: F811 # the imported fixture
    row = {
        "id": "c1", "time": "2026-11-20T10:00:00Z", "actor": "cli:<b>alice</b>", "action": "set",
        "key": "budget/user/*:month:usd", "kind": "budget", "before": "", "after": json.dumps({"limit": "5"}),
        "reason": "=1+1", "version": 1, "source_offset": 1,
    }  # fmt: skip
    insert(client, "audit_records", [row])
    admin = await console.as_role(Role.ADMIN)
    found = (await get(admin, "/audit", kind="budget"))["items"]
    assert found == [
        {
            "id": "c1", "time": "2026-11-20T10:00:00Z", "actor": "cli:<b>alice</b>", "action": "set",
            "key": "budget/user/*:month:usd", "kind": "budget", "before": None, "after": {"limit": "5"},
            "differences": [{"field": "limit", "name": "Limit", "before": "", "after": "$5.00"}],
            "reason": "=1+1", "version": 1,
        }
    ]  # fmt: skip
    assert (await get(admin, "/audit", actor="alice"))["items"] == []
    of_org = await console.as_role(Role.ADMIN, org="acme")
    await get(of_org, "/audit", 403)


async def test_the_dashboard_has_what_the_first_page_shows(console: LiveConsole) -> None:
    await console.budget("global", "100")
    for kind, spent in ((WindowKind.MONTH, "61"), (WindowKind.DAY, "33"), (WindowKind.LIFETIME, "64")):
        console.spent("global", spent, kind, NOW_MS)
    console.spent("service/chat", "21", WindowKind.MONTH, NOW_MS)
    console.spent("service/video", "8", WindowKind.MONTH, NOW_MS)
    console.flag("user/bob", until="2026-12-01T00:00:00Z")
    viewer = await console.as_role(Role.VIEWER)
    found = await get(viewer, "/dashboard")
    page = Dashboard.model_validate(found)
    assert page.unavailable == {}
    assert page.month is not None
    # The newest sum is memory's, not ClickHouse's.
    assert page.month.cost_usd == "61"
    assert page.budget is not None
    assert (page.budget.percent, page.budget.left) == ("61.00", "39")
    assert page.projection is not None
    assert page.projection.method == "weekday_profile"
    assert page.days is not None
    assert [day.cost_usd for day in page.days][-2:] == ["24", "33"]
    assert len(page.days) == 31
    assert page.hours is not None
    assert len(page.hours) == 13
    assert page.projected is not None
    assert [day.start for day in page.projected] == ["2026-11-30T00:00:00Z"]
    assert page.shares is not None
    assert [(share.name, share.cost_usd) for share in page.shares["service"].items] == [("chat", "21"), ("video", "8")]
    assert page.users is not None
    assert [share.name for share in page.users.items] == ["eve", "bob", "ann"]
    assert page.calls is not None
    assert page.calls[0].event_id == "a4"
    assert page.blocked is not None
    assert [block.scope for block in page.blocked] == ["user/bob"]
    assert page.blocked_total == 1
    html = await viewer.get("/")
    assert html.status_code == 200


async def test_what_is_not_known_is_null_with_the_reason_and_never_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    away = LiveConsole()
    clock(away, monkeypatch)
    viewer = await away.as_role(Role.VIEWER)
    page = Dashboard.model_validate(await get(viewer, "/dashboard"))
    nothing = ("month", "projection", "hours", "days", "projected", "shares", "users", "calls", "alerts", "blocked")
    for name in nothing:
        assert getattr(page, name) is None, name
        assert page.unavailable[name].endswith("."), name
    for path in ("/summaries/daily", "/breakdown", "/top", "/projections", "/spend?scope=user/ann", "/users/ann"):
        answer = await viewer.get(f"/api/v1{path}")
        assert answer.status_code == 503
        assert answer.json()["error"] == "clickhouse_unavailable"
        assert int(answer.headers["retry-after"]) >= 1
    assert isinstance(away.numbers, Numbers)
    # Without ClickHouse, what memory knows is told.
    away.has_read_to(NOW_MS)
    away.spent("global", "61", WindowKind.MONTH, NOW_MS)
    page = Dashboard.model_validate(await get(viewer, "/dashboard"))
    assert page.month is not None
    assert page.month.cost_usd == "61"
    assert page.blocked == []
    assert page.users is None
    assert page.ages["history"].stale
    await away.numbers.stop()
    assert asking.now_ms() == NOW_MS
