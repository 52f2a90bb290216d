"""Where budgets stand by the sums of the spend topic, and whether a call fits into them."""

from typing import Any

import pytest

from tollgate.domain.budgets import Budget
from tollgate.domain.standings import (
    first_blocking,
    fits_without_flag,
    standings,
    sum_of_usd,
    window_record,
    would_pass,
)
from tollgate.domain.why import Why
from tollgate.schemas.amounts import PICO
from tollgate.schemas.control import BudgetRecord
from tollgate.schemas.instants import parse_instant
from tollgate.schemas.outputs import AlertLevel, Flag, SpendRecord, Window
from tollgate.schemas.vocabulary import WindowKind

NOON_MS = parse_instant("2026-11-21T12:00:00Z")
MONTH = Window(kind=WindowKind.MONTH, start="2026-11-01T00:00:00Z", end="2026-12-01T00:00:00Z")
ALERTS = {"warning": {"percent": "80", "action": "alert"}, "critical": {"percent": "100", "action": "downgrade"}}
LATE = {"critical": {"percent": "100", "action": "alert"}, "emergency": {"percent": "150", "action": "stop"}}


def record(scope: str = "user/u1", limit: str = "100", **changes: Any) -> BudgetRecord:
    given = {"scope": scope, "limit": limit, "updated_at": "2026-11-21T10:00:00Z", **changes}
    return BudgetRecord.model_validate(given)


def budget(thresholds: object = None) -> Budget:
    """$100 a month, blocked at 100 % unless the thresholds say otherwise."""
    return Budget.from_record(record(thresholds=thresholds) if thresholds else record())


def spent(usd: str, **changes: object) -> SpendRecord:
    given = {"scope": "user/u1", "window": MONTH, "spent_usd": usd, "events": 31, "updated_at": "2026-11-21T10:00:00Z"}
    return SpendRecord.model_validate(given | changes)


def usd(dollars: str) -> int:
    return sum_of_usd(dollars)


def test_a_sum_may_be_negative_and_longer_than_a_cost() -> None:
    assert sum_of_usd("104.2") == 104_200_000_000_000
    assert sum_of_usd("-0.000000000001") == -1
    assert sum_of_usd("12345678901234567890123456") == 12345678901234567890123456 * PICO


def test_budgets_stand_in_their_window_the_fullest_first() -> None:
    budgets = [record(limit="1000", id="big"), record("user/*", "10", unit="images"), record(id="day", window="day")]
    sums = {("month", "2026-11-01T00:00:00Z"): spent("104.2", usage={"images": "9.5"})}
    found = standings("user/u1", budgets, sums, NOON_MS)
    assert [(s.budget.id, s.numbers) for s in found] == [
        ("user/*:month:images", "9.5 of 10 images, 95.00 %"),
        ("big", "104.2 of 1000 usd, 10.42 %"),
        ("day", "0 of 100 usd, 0.00 %"),
    ]
    assert found[0].as_json()["threshold"] == AlertLevel.WARNING
    assert window_record(sums, WindowKind.DAY, NOON_MS)[2] is None


def test_an_amount_may_reach_a_blocking_threshold_and_not_pass_it() -> None:
    limit = budget()
    assert would_pass(limit, usd("99.5"), usd("0.5")) is None
    passed = would_pass(limit, usd("99.5"), usd("0.500000000001"))
    assert passed is not None
    assert passed.level is AlertLevel.CRITICAL
    assert would_pass(budget(thresholds=LATE), usd("100"), usd("50")) is None
    assert would_pass(budget(thresholds=LATE), usd("100"), usd("50.01")) is not None


def test_a_budget_that_only_warns_is_never_passed() -> None:
    assert first_blocking(budget(thresholds=ALERTS)) is None
    assert would_pass(budget(thresholds=ALERTS), usd("1000"), usd("1000")) is None
    assert fits_without_flag(budget(thresholds=ALERTS), usd("1000"))


@pytest.mark.parametrize(
    ("thresholds", "most"),
    [
        (None, "20"),
        (LATE, "50"),
        ({"critical": {"percent": "100", "action": "block"}}, "0"),
    ],
)
def test_below_every_threshold_the_room_up_to_the_block_is_free(thresholds: object, most: str) -> None:
    limit = budget(thresholds)
    assert fits_without_flag(limit, usd(most))
    assert not fits_without_flag(limit, usd(most) + 1)


def test_what_fits_without_a_flag_passes_nothing_whatever_was_spent() -> None:
    limit = budget()
    most_without_flag = usd("80") - 1
    assert limit.reached(most_without_flag) is None
    assert would_pass(limit, most_without_flag, usd("20")) is None


def flag(scope: str, budget_id: str, **changes: object) -> Flag:
    given = {
        "scope": scope,
        "state": "blocked",
        "blocked": True,
        "reason": "usage_limit_exceeded",
        "budget": budget_id,
        "window": MONTH,
        "since": "2026-11-21T10:00:00Z",
        "until": "2026-12-01T00:00:00Z",
        "revision": 1,
    }
    return Flag.model_validate(given | changes)


def test_why_tells_what_to_do_about_an_own_budget_and_about_a_pattern() -> None:
    budgets = [record("user/*", "100"), record("user/a'b", "50", window="day")]
    sums = {
        ("month", "2026-11-01T00:00:00Z"): spent("104.2"),
        ("day", "2026-11-21T00:00:00Z"): spent("60"),
    }
    found = Why("user/a'b", flag("user/a'b", "user/*:month:usd"), standings("user/a'b", budgets, sums, NOON_MS))
    assert (found.http_status, len(found.blocking)) == (429, 2)
    quoted = "'user/a'\"'\"'b'"
    set_own = f"tollgate budget set {quoted} --limit HIGHER --unit usd"
    assert found.next_steps == [
        "wait until 2026-12-01T00:00:00Z: it ends then",
        f"raise it above 60: {set_own} --window day --id 'user/a'\"'\"'b:day:usd'",
        "or remove it: tollgate budget remove 'user/a'\"'\"'b:day:usd'",
        f"give user/a'b its own budget above 104.2: {set_own} --window month",
    ]


def test_a_budget_that_is_raised_as_why_says_stays_as_it_is_otherwise() -> None:
    window = Window(
        kind=WindowKind.MONTH, start="2026-11-14T15:00:00Z", end="2026-12-14T15:00:00Z", timezone="Asia/Tokyo"
    )
    calendar = {"timezone": "Asia/Tokyo", "month_starts_on": 15}
    thresholds = {
        "warning": {"percent": "70", "action": "downgrade"},
        "critical": {"percent": "90", "action": "stop"},
        "emergency": {"percent": "150", "action": "block"},
    }
    more = {"fail": "closed", "except": ["provider/groq", "model/-m"], "valid_to": "2027-01-01T00:00:00Z"}
    own = record("user/a", "100", id="mine", **calendar, **more, thresholds=thresholds)
    sums = {("month@Asia/Tokyo~15", "2026-11-14T15:00:00Z"): spent("120")}
    where = standings("user/a", [own], sums, NOON_MS)
    found = Why("user/a", flag("user/a", "mine", window=window), where).next_steps
    assert found[1] == (
        "raise it above 120: tollgate budget set user/a --limit HIGHER --unit usd --window month --timezone Asia/Tokyo"
        " --month-starts-on 15 --warning 70 --critical 90 --action stop --emergency-action block"
        " --warning-action downgrade --fail closed --except provider/groq --except model/-m"
        " --valid-to 2027-01-01T00:00:00Z --id mine"
    )


def test_why_tells_what_to_do_about_a_limit_of_a_plan_and_nothing_about_a_stop() -> None:
    blocked = flag("user/a'b+feature/video", "plan/free/video/events", note="10 of 10 video events are used")
    assert Why("user/a'b+feature/video", blocked, []).next_steps == [
        "wait until 2026-12-01T00:00:00Z: it ends then",
        "change to a larger plan: tollgate plan assign 'a'\"'\"'b' PLAN",
    ]


@pytest.mark.parametrize(("scope", "steps"), [("global", 1), ("no scope", 1), ("user/-u+feature/video", 2)])
def test_why_proposes_a_plan_to_users_alone(scope: str, steps: int) -> None:
    found = Why(scope, flag(scope, "plan/free/video/events"), []).next_steps
    assert len(found) == steps
    assert found[-1] != "change to a larger plan: tollgate plan assign -u PLAN"


def test_a_stop_by_hand_is_ended_by_resume() -> None:
    stopped = flag("global", "", budget=None, window=None, until=None, reason="spending_stopped", note="ada: too dear")
    assert Why("user/u1", stopped, []).next_steps == ["let spending go on: tollgate resume --reason REASON"]


def test_a_stop_is_answered_with_503() -> None:
    assert Why("user/u1", flag("global", "all", reason="spending_stopped"), []).http_status == 503
