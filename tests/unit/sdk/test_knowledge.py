"""What a service knows in memory: decisions with their numbers, estimates, ages, other threads, and its size."""

import json
import threading
import tracemalloc
from decimal import Decimal
from typing import Any

import pytest

from tollgate.schemas.instants import parse_instant
from tollgate.schemas.output_words import Action, FlagState
from tollgate.schemas.outputs import Flag
from tollgate.sdk.held_flag import HeldFlag
from tollgate.sdk.knowledge import Knowledge

NOW_MS = parse_instant("2026-11-30T23:59:00Z")
MONTH = {"kind": "month", "start": "2026-11-01T00:00:00Z", "end": "2026-12-01T00:00:00Z", "timezone": "UTC"}


def value(scope: str = "user/u1", state: str = "blocked", **changes: Any) -> bytes:
    given = {
        "scope": scope,
        "state": state,
        "blocked": state in ("blocked", "stopped"),
        "action": {"ok": None, "warning": "alert"}.get(state, "block"),
        "reason": "usage_limit_exceeded",
        "budget": "monthly-user",
        "window": MONTH,
        "limit": "100",
        "unit": "usd",
        "spent": "104.2",
        "percent": "104.20",
        "since": "2026-11-21T09:00:00.123Z",
        "until": "2026-12-01T00:00:00Z",
        "revision": 7,
    }
    return json.dumps(given | changes).encode()


def known(*flags: bytes, **options: Any) -> Knowledge:
    knowledge = Knowledge(now_ms=lambda: NOW_MS, clock_ms=lambda: 0, **options)
    for flag in flags:
        knowledge.take_flag(json.loads(flag)["scope"], flag)
    knowledge.seen(ago_ms=250)
    return knowledge


def test_a_flag_comes_out_as_it_was_written() -> None:
    written_with: tuple[dict[str, Any], ...] = (
        {},
        {"except": ["provider/groq"], "reserved": "1.5", "can_exceed_by": "0", "incomplete": True, "note": "pay"},
        {"budget": "user/*:month:usd", "reserved": "1.5"},
        {"budget": "plan/free/chat:day:events", "note": "change to a larger plan", "since": "2026-11-21T09:00:00Z"},
        {"budget": None, "window": None, "limit": None, "unit": None, "spent": None, "percent": None, "until": None},
    )
    for changes in written_with:
        written = value(**changes)
        held = HeldFlag.read(written)
        assert held.flag.model_dump() == Flag.model_validate_json(written).model_dump()
        assert HeldFlag.of(held.flag) == held


@pytest.mark.parametrize(
    "changes",
    [{"limit": "1e3"}, {"spent": "100\n"}, {"percent": "80"}, {"since": "now"},
     {"since": "2026-02-30T00:00:00Z"}, {"until": "2026-13-01T00:00:00Z"},
     {"revision": 0}, {"blocked": "yes"}, {"state": "odd"}, {"window": {"kind": "month"}}],
)  # fmt: skip
def test_what_breaks_the_contract_is_no_flag(changes: dict[str, Any]) -> None:
    assert known(value(**changes)).check({"user": "u1"}).allowed


def test_a_decision_tells_the_numbers_and_what_to_do() -> None:
    decision = known(value()).check({"user": "u1", "model": "x"})
    assert (decision.allowed, decision.state, decision.http_status) == (False, FlagState.BLOCKED, 429)
    assert (decision.error, decision.scope, decision.budget) == ("usage_limit_exceeded", "user/u1", "monthly-user")
    assert (decision.limit, decision.spent, decision.unit) == ("100", "104.2", "usd")
    assert (decision.until, decision.retry_after_seconds) == ("2026-12-01T00:00:00Z", 60)
    assert (decision.action, decision.knowledge_age_ms) == (Action.BLOCK, 250)
    assert decision.message == (
        "user/u1 is blocked: 104.2 of 100 usd in this month; "
        "wait until 2026-12-01T00:00:00Z, or have monthly-user raised."
    )


@pytest.mark.parametrize(
    ("flag", "message", "retry"),
    [
        (value(note="change to a larger plan"),
         "user/u1 is blocked: change to a larger plan.", 60),
        (value("global", "stopped", reason="spending_stopped", budget=None, window=None, limit=None, unit=None,
               spent=None, until=None, note="ada: the provider bills twice"),
         "global is stopped; wait until spending is resumed.", None),
        (value(until="9999-12-31T23:59:59Z", window=MONTH | {"kind": "lifetime"}),
         "user/u1 is blocked: 104.2 of 100 usd in this lifetime; have monthly-user raised.", None),
        (value(state="warning", spent="80", percent="80.00"),
         "user/u1 has a warning: 80 of 100 usd in this month.", None),
        (value("user/other"), "Within budget.", None),
    ],
)  # fmt: skip
def test_the_message_says_what_to_do(flag: bytes, message: str, retry: int | None) -> None:
    decision = known(flag).check({"user": "u1"})
    assert (decision.message, decision.retry_after_seconds) == (message, retry)


@pytest.mark.parametrize(
    ("estimate", "allowed"),
    [("0.5", True), ("0.500000000001", False), (Decimal("0.5"), True), (Decimal("0.51"), False), ("0", True)],
)
def test_an_estimate_may_reach_the_limit_and_not_pass_it(estimate: str | Decimal, allowed: bool) -> None:
    knowledge = known(value(state="warning", spent="99.2", reserved="0.3", percent="99.20"))
    decision = knowledge.check({"user": "u1"}, estimate)
    assert decision.allowed is allowed
    assert decision.scope == "user/u1"
    if not allowed:
        assert (decision.http_status, decision.error, decision.state) == (429, "usage_limit_exceeded", "blocked")
        assert decision.message == (
            f"{estimate} usd more would pass the month limit of user/u1: 99.2 of 100 usd, 99.20 %."
        )
        assert decision.retry_after_seconds == 60
    assert knowledge.check({"user": "u1"}).allowed


@pytest.mark.parametrize(
    ("thresholds", "allowed"),
    [
        (None, False),
        ({"critical": {"percent": "100", "action": "block"}}, False),
        ({"warning": {"percent": "80", "action": "alert"}, "critical": {"percent": "99", "action": "downgrade"}}, True),
        ({"critical": {"percent": "99", "action": "alert"}, "emergency": {"percent": "150", "action": "stop"}}, True),
        ({"critical": {"percent": "99", "action": "alert"}, "emergency": {"percent": "100", "action": "block"}}, False),
    ],
)
def test_an_estimate_is_held_against_what_the_budget_blocks_at(thresholds: Any, allowed: bool) -> None:
    knowledge = known(value(state="warning", spent="99.5", percent="99.50"))
    budget = {"scope": "user/*", "limit": "100"} | ({"thresholds": thresholds} if thresholds else {})
    knowledge.take_control("budget/monthly-user", json.dumps(budget).encode())
    assert knowledge.check({"user": "u1"}, "1").allowed is allowed
    knowledge.take_control("budget/monthly-user", None)
    assert not knowledge.check({"user": "u1"}, "1").allowed


def test_an_estimate_is_held_against_dollars_that_are_in_force_and_concern_the_call() -> None:
    warned: dict[str, Any] = {"state": "warning", "spent": "99.5", "percent": "99.50"}
    assert known(value(unit="images", **warned)).check({"user": "u1"}, "1").allowed
    assert known(value(until="2026-11-30T23:59:00Z", **warned)).check({"user": "u1"}, "1").allowed
    excepting = value(**(warned | {"except": ["provider/groq"]}))
    assert known(excepting).check({"user": "u1", "provider": "groq"}, "1").allowed
    assert not known(excepting).check({"user": "u1", "provider": "openai"}, "1").allowed
    company = known(value("global", **warned), value(**warned)).check({"user": "u1"}, "1")
    assert (company.http_status, company.error, company.scope) == (503, "spending_stopped", "global")
    # Sums of a company are larger than any event, and corrections go below zero.
    assert (
        known(value(limit="9" * 20, spent="-1.5", percent="0.00", state="warning")).check({"user": "u1"}, "1").allowed
    )


@pytest.mark.parametrize("estimate", [0.02, "-1", "1e3", "a lot", b"1", Decimal("NaN"), 1])
def test_an_estimate_that_is_no_amount_is_told_at_the_call(estimate: Any) -> None:
    with pytest.raises(TypeError, match=r'estimate_usd must be dollars as a decimal in text, such as "0\.02"'):
        known().check({"user": "u1"}, estimate)


def test_the_age_of_knowledge_is_measured_by_a_clock_that_nobody_sets() -> None:
    clock = [1_000_000]
    knowledge = Knowledge(now_ms=lambda: NOW_MS, clock_ms=lambda: clock[0], when_unknown="closed")
    assert (knowledge.age_ms, knowledge.check({"user": "u1"}).error) == (None, "limits_unknown")
    knowledge.seen()
    knowledge.seen(ago_ms=5_000)
    assert knowledge.age_ms == 0
    clock[0] += 60_000
    assert knowledge.check({"user": "u1"}).knowledge_age_ms == 60_000
    assert knowledge.check({"user": "u1"}).allowed
    clock[0] += 1
    decision = knowledge.check({"user": "u1"})
    assert (decision.http_status, decision.error, decision.knowledge_age_ms) == (503, "limits_unknown", 60_001)
    assert decision.message.endswith("try again.")


def test_threads_may_ask_while_another_writes() -> None:
    knowledge = known()
    failed: list[Exception] = []
    stopped = threading.Event()

    def ask() -> None:
        try:
            while not stopped.is_set():
                knowledge.check({"user": "u7", "feature": "video"}, "0.01")
                knowledge.fails_closed({"user": "user/u7", "org": "org/o7"})
                knowledge.in_force()
        except Exception as error:  # noqa: BLE001 # none is expected
            failed.append(error)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    budget = b'{"scope": "org/o%d", "fail": "closed"}'
    for number in range(2_000):
        scope = f"user/u{number % 50}" + ("+feature/video" if number % 3 == 0 else "")
        knowledge.take_flag(scope, None if number % 5 == 4 else value(scope, revision=number + 1))
        knowledge.take_control(f"budget/b{number % 20}", None if number % 7 == 6 else budget % (number % 20))
    stopped.set()
    for thread in threads:
        thread.join(10)
    assert failed == []


def test_a_flag_takes_less_than_350_bytes() -> None:
    knowledge = known()
    tracemalloc.start()
    try:
        for number in range(10_000):
            scope = f"user/{number:032x}"
            knowledge.take_flag(scope, value(scope, spent=f"{number}.123456", percent=f"{number}.12"))
        used = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(knowledge) == 10_000
    assert used / 10_000 < 350


def test_only_these_flags_are_kept() -> None:
    knowledge = known(value("user/u1+model/x"), value("user/u2"))
    knowledge.keep_only({"user/u3": HeldFlag.read(value("user/u3"))})
    assert [held.scope for held in knowledge.in_force()] == ["user/u3"]
    assert knowledge.check({"user": "u1", "model": "x"}).allowed
    assert not knowledge.check({"user": "u3"}).allowed
