"""The checker's rules for reservations, credits and meters, against answers worked out by hand."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from tests.chaos.accounts import Accounts, Credits, Replay, Step
from tests.chaos.limits import People, budget, level, morning_zones
from tests.chaos.truth import Truth
from tests.simulation.rules import Having, Limit, Plan, Rules

from tollgate.schemas.partitions import partition_of
from tollgate.schemas.topics import Topic

START = datetime(2026, 11, 25, 12, tzinfo=UTC)
# 12:00 of that day.
NOON_MS = 1_795_608_000_000
USER = "keep-0"
# Half a dollar a month and ten credits a day.
RULES = Rules({"b": budget("user/keep-0", "0.5")}, {"usual": Plan((), 10)}, {}, Having("usual"))


def reserve(name: str, second: int, *, again: bool = False, ttl: int = 3600, **asked: Any) -> Step:
    data = {"ttl_seconds": ttl, "model": "alpha", **asked}
    return Step(NOON_MS + second * 1000, "tollgate.reservation.v1", name, data, NOON_MS, is_repeated=again)


def call(name: str, second: int, cost: str, **more: Any) -> Step:
    data = {"model": "alpha", "reservation_id": name, **more}
    return Step(NOON_MS + second * 1000, "tollgate.usage.v1", f"call-{second}", data, NOON_MS, cost=Decimal(cost))


def release(name: str, second: int) -> Step:
    data = {"reservation_id": name}
    return Step(NOON_MS + second * 1000, "tollgate.release.v1", f"release-{second}", data, NOON_MS)


def said(step: Step, error: str = "") -> bytes:
    asked = {"amount_usd": step.data.get("amount_usd", "0"), "credits": str(step.data.get("credits", 0))}
    return json.dumps({"granted": not error, **asked, **({"error": error} if error else {})}).encode()


def replayed(*told: tuple[Step, str | None], stopped: bool = False, own: Credits | None = None) -> Replay:
    """The log with how each reservation in it was answered; None for what has no answer."""
    decisions: dict[tuple[str, str], list[bytes]] = {}
    for step, error in told:
        if step.type == "tollgate.reservation.v1" and error is not None:
            decisions.setdefault((USER, step.id), []).append(said(step, error))
    replay = Replay(USER, RULES, decisions, own or Credits(), stopped)
    replay.follow([step for step, _ in told])
    return replay


def test_what_fits_exactly_is_granted_and_a_cent_more_is_not() -> None:
    full = [(reserve("a", 0, amount_usd="0.3"), ""), (reserve("b", 1, amount_usd="0.2"), "")]
    over = reserve("c", 2, amount_usd="0.01")
    assert replayed(*full, (over, "usage_limit_exceeded")).wrong == []
    (wrong,) = replayed(*full, (over, "")).wrong
    assert wrong.startswith("reservation c of keep-0 is granted, not usage_limit_exceeded")


def test_what_fits_must_not_be_denied() -> None:
    (wrong,) = replayed((reserve("a", 0, amount_usd="0.5"), "usage_limit_exceeded")).wrong
    assert wrong.startswith("reservation a of keep-0 is usage_limit_exceeded, not granted")


def test_a_call_settles_and_what_it_cost_stays_spent() -> None:
    told = [(reserve("a", 0, amount_usd="0.5"), ""), (call("a", 1, "0.1"), None)]
    assert replayed(*told, (reserve("b", 2, amount_usd="0.4"), "")).wrong == []
    assert replayed(*told, (reserve("b", 2, amount_usd="0.41"), "usage_limit_exceeded")).wrong == []


def test_a_call_of_several_leaves_the_rest_reserved_and_a_second_end_changes_nothing() -> None:
    told = [(reserve("a", 0, amount_usd="0.5"), ""), (call("a", 1, "0.1", more=True), None)]
    assert replayed(*told).reserved("user/keep-0", "usd", NOON_MS) == Decimal("0.4")
    ended = replayed(*told, (release("a", 2), None), (release("a", 3), None), (call("a", 4, "0.05"), None))
    assert ended.wrong == []
    assert ended.reserved("user/keep-0", "usd", NOON_MS) == 0


def test_a_call_before_its_reservation_leaves_nothing_to_reserve() -> None:
    replay = replayed((call("a", 0, "0.1"), None), (reserve("a", 1, amount_usd="0.5"), ""))
    assert replay.wrong == []
    assert replay.reserved("user/keep-0", "usd", NOON_MS) == 0


def test_a_reservation_ends_by_itself() -> None:
    told = [(reserve("a", 0, amount_usd="0.5", ttl=60), "")]
    assert replayed(*told, (reserve("b", 59, amount_usd="0.1"), "usage_limit_exceeded")).wrong == []
    assert replayed(*told, (reserve("b", 63, amount_usd="0.1"), "")).wrong == []
    assert replayed(*told).reserved("user/keep-0", "events", NOON_MS + 60_000) == 0


@pytest.mark.parametrize(
    ("second", "wrong"),
    [("", None), ("usage_limit_exceeded", "decided twice"), (None, "was not answered when it was read for time 2")],
)
def test_a_repeated_reservation_has_the_same_answer(second: str | None, wrong: str | None) -> None:
    first = reserve("a", 0, amount_usd="0.1")
    found = replayed((first, ""), (reserve("a", 1, again=True, amount_usd="0.1"), second)).wrong
    assert len(found) == (wrong is not None)
    assert wrong is None or wrong in found[0]


def test_one_answer_too_many_is_seen_and_so_is_another_answer_after_the_end() -> None:
    first = reserve("a", 0, amount_usd="0.1")
    decisions = {(USER, "a"): [said(first), said(first)]}
    replay = Replay(USER, RULES, decisions, Credits(), False)
    replay.follow([first])
    assert replay.wrong == ["reservation a was answered 2 times, not 1"]
    told = [(first, ""), (release("a", 1), None)]
    again = reserve("a", 2, again=True, amount_usd="0.1")
    assert replayed(*told, (again, "reservation_ended")).wrong == []
    assert len(replayed(*told, (again, "")).wrong) == 1


@pytest.mark.parametrize(("answer", "wrong"), [("reservation_conflict", 0), ("reservation_ended", 1), ("", 1)])
def test_other_data_under_the_id_of_a_reservation_is_a_conflict_and_changes_nothing(answer: str, wrong: int) -> None:
    other = replace(reserve("a", 1, amount_usd="0.2"), is_in_conflict=True)
    replay = replayed((reserve("a", 0, amount_usd="0.1"), ""), (other, answer))
    assert len(replay.wrong) == wrong
    assert replay.reserved("user/keep-0", "usd", NOON_MS) == Decimal("0.1")


def test_credits_that_are_not_there_are_not_reserved() -> None:
    told = [(reserve("a", 0, credits=9), "")]
    assert replayed(*told, (reserve("b", 1, credits=2), "insufficient_credits")).wrong == []
    assert len(replayed(*told, (reserve("b", 1, credits=2), "")).wrong) == 1
    # Nobody knows whether a grant was read before.
    own = Credits(granted=5 * 10**9, entries=1)
    for answer in ("", "insufficient_credits"):
        assert replayed(*told, (reserve("b", 1, credits=2), answer), own=own).wrong == []
    assert len(replayed(*told, (reserve("b", 1, credits=7), ""), own=own).wrong) == 1


def test_a_stop_is_told_only_when_there_was_one() -> None:
    told = (reserve("a", 0, amount_usd="0.1"), "spending_stopped")
    assert replayed(told, stopped=True).wrong == []
    assert len(replayed(told).wrong) == 1


def test_a_balance_is_what_was_granted_less_what_was_burned_expired_and_reserved() -> None:
    accounts = Accounts()
    accounts.grant("u1", {"credits": "20.5", "kind": "purchase"})
    accounts.grant("u1", {"credits": -3, "kind": "correction"})
    accounts.grant("u1", {"credits": 7, "kind": "bonus", "expires_at": "2026-11-25T12:00:30Z"})
    accounts.count("u1", Step(NOON_MS, "tollgate.usage.v1", "e", {}, NOON_MS, burned_nano=4 * 10**9))
    before = accounts.credits["u1"].said(10, 2 * 10**9, NOON_MS + 29_999)
    # 20.5 − 3 + 7 + 10 = 34.5, of which 4 are burned and 2 reserved.
    assert before == {
        "granted": 34_500_000_000,
        "burned": 4_000_000_000,
        "expired": 0,
        "available": 28_500_000_000,
        "reserved": 2_000_000_000,
    }
    after = accounts.credits["u1"].said(10, 0, NOON_MS + 30_000)
    assert (after["expired"], after["available"]) == (7_000_000_000, 23_500_000_000)


@pytest.mark.parametrize(
    ("percent", "of_budget", "of_plan"),
    [(79, "ok", "ok"), (80, "warning", "warning"), (100, "critical", "critical"), (150, "emergency", "critical")],
)
def test_levels_begin_where_thresholds_are(percent: int, of_budget: str, of_plan: str) -> None:
    assert level(budget("user/u1", "0.1"), Decimal(percent) * 10**9) == of_budget
    assert level(Limit("user/u1", "month", "events", 100, "plan/usual/*/events"), Decimal(percent)) == of_plan


@pytest.mark.parametrize("hour", range(24))
def test_zones_are_far_from_midnight_at_any_hour(hour: int) -> None:
    start = START.replace(hour=hour)
    for zone in morning_zones(start):
        day = start.astimezone(ZoneInfo(zone)).date()
        for hours in (-5, 9):
            assert (start + timedelta(hours=hours)).astimezone(ZoneInfo(zone)).date() == day


def entry(kind: str, name: str, user: str, data: dict[str, Any], age: timedelta = timedelta(0)) -> bytes:
    envelope = {"type": f"tollgate.{kind}.v1", "source": "chaos", "id": name, "subject": user, "data": data}
    return json.dumps(envelope | {"time": (START - age).isoformat()}).encode()


def test_a_meter_has_what_is_in_its_scope_and_in_its_windows() -> None:
    # 17:45 in Kathmandu, whose day began at 18:15 UTC the day before.
    meter = "user/*+feature/video|day@Asia/Kathmandu"
    truth = Truth(8, START, [meter])
    home = partition_of(b"u1", 8)
    video = {"provider": "chaos", "model": "beta", "feature": "video", "usage": {"images": 1}, "retail_tokens": 3}
    for name, age, data in (
        ("a", timedelta(0), video),
        ("b", timedelta(hours=17), video | {"status": "error"}),
        ("c", timedelta(hours=18), video),
        ("d", timedelta(0), video | {"feature": "chat"}),
    ):
        truth.take(home, entry("usage", name, "u1", data, age))
    today = "user/u1+feature/video|day@Asia/Kathmandu|2026-11-24T18:15:00Z"
    before = "user/u1+feature/video|day@Asia/Kathmandu|2026-11-23T18:15:00Z"
    whole = truth.kept_windows({meter: 0})
    assert whole[today] == (Decimal("0.04"), 2, {"images": Decimal(2), "credits": Decimal(3)})
    assert whole[before][:2] == (Decimal("0.04"), 1)
    # Set at noon, it has the windows from the one that runs then on.
    since = truth.kept_windows({meter: NOON_MS - 17 * 3_600_000 - 2_700_000})
    assert today in since
    assert before not in since
    # With nothing in the partition before, it has all.
    assert truth.kept_windows({meter: NOON_MS}, {(meter, home)}) == whole
    assert before not in truth.kept_windows({meter: NOON_MS}, {(meter, (home + 1) % 8)})
    assert truth.kept_windows({}).keys() == truth.windows.keys()
    assert truth.measured("user/u1+feature/video", "day@Asia/Kathmandu", NOON_MS, "events")[0] == 2


def test_entries_count_once_and_another_content_is_a_conflict() -> None:
    truth = Truth(8, START)
    home = partition_of(b"keep-0", 8)
    credit, asked = {"credits": 5, "kind": "bonus"}, {"amount_usd": "0.1", "ttl_seconds": 60}
    for value, topic in (
        (entry("credit", "c", "keep-0", credit), Topic.ENTRIES),
        (entry("credit", "c", "keep-0", credit), Topic.ENTRIES),
        (entry("credit", "c", "keep-0", credit | {"credits": 6}), Topic.ENTRIES),
        (entry("later", "x", "keep-0", {}), Topic.ENTRIES),
        (b'{"specversion":"1.0","type":"tollgate.internal.past.v1","data":{}}', Topic.ENTRIES),
        (entry("reservation", "r", "keep-0", asked), Topic.USAGE),
        (entry("reservation", "r", "keep-0", asked), Topic.USAGE),
        (entry("reservation", "r", "keep-0", asked | {"amount_usd": "0.2"}), Topic.USAGE),
    ):
        truth.take(home, value, topic, NOON_MS)
    assert truth.accounts.credits["keep-0"].granted == 5_000_000_000
    assert [(step.id, step.is_repeated) for step in truth.accounts.steps["keep-0"]] == [
        ("r", False),
        ("r", True),
        ("r", False),
    ]
    assert [step.is_in_conflict for step in truth.accounts.steps["keep-0"]] == [False, False, True]
    assert truth.refused == {"conflict": 2, "invalid": 1}


def test_a_budget_that_is_set_later_is_metered_from_its_window_on() -> None:
    people = People(START)
    later = people.later[1]
    assert later.scope == "agent/SUPPORT"
    meter = f"{later.scope}|{later.calendar}"
    assert meter in people.all_meters()
    assert meter not in people.since_ms
    people.know(later, START)
    assert meter in people.all_meters()
    assert NOON_MS - 7 * 86_400_000 < people.since_ms[meter] < NOON_MS
    assert later not in people.later
