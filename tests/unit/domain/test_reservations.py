"""When a reservation is granted, by hand-worked numbers: on both sides of each limit, and which reason is told."""

from dataclasses import replace
from typing import Any, Final

import msgspec
import pytest
from msgspec import UNSET

from tollgate.domain.budgets import NO_END_MS, Budget, position
from tollgate.domain.decisions import decide
from tollgate.domain.reservations import (
    ENDED,
    Blocked,
    Denial,
    Early,
    Open,
    Request,
    Reserved,
    blocked_by,
    can_exceed_by,
    decision_of,
    first_of,
    in_the_way,
    lacks_credits,
    limits,
    settle,
)
from tollgate.domain.spend import ScopeSpend, Spend
from tollgate.domain.windows import window_start, windows_at
from tollgate.schemas.amounts import NANO, PICO
from tollgate.schemas.control import BudgetRecord
from tollgate.schemas.instants import parse_instant
from tollgate.schemas.outputs import DecisionError
from tollgate.schemas.outputs_codec import DecisionRecord

NOW: Final = parse_instant("2026-11-21T10:00:00Z")


def budget(**changes: Any) -> Budget:
    given = {"id": "b1", "scope": "user/u1", "limit": "1", "updated_at": "2026-11-01T00:00:00Z"} | changes
    return Budget.from_record(BudgetRecord.model_validate(given))


def denied(
    limit: Budget,
    picousd: int = 0,
    *,
    spent: Spend | None = None,
    reserved: Reserved | None = None,
    credits_nano: int = 0,
) -> Denial | None:
    windows = windows_at(NOW)
    spend = ScopeSpend(windows)
    spend.add(windows, spent or Spend())
    where = position(limit, spend, window_start(limit.window, NOW))
    request = Request("tests", "r1", "u1", picousd, credits_nano, {}, NOW + 60_000)
    return in_the_way(where, "user/u1", reserved or Reserved(), request)


def cost(picousd: int) -> Spend:
    return Spend(picousd, 0, 1, {})


def test_what_reaches_the_limit_exactly_is_granted_and_a_picodollar_more_is_not() -> None:
    held = Reserved(PICO // 2, 0, 3)
    assert denied(budget(), PICO // 10, spent=cost(4 * PICO // 10), reserved=held) is None
    found = denied(budget(), PICO // 10 + 1, spent=cost(4 * PICO // 10), reserved=held)
    assert found is not None
    assert (found.http_status, found.error) == (429, DecisionError.USAGE_LIMIT_EXCEEDED)
    assert (found.scope, found.budget, found.limit, found.unit) == ("user/u1", "b1", "1", "usd")
    assert (found.spent, found.reserved, found.available) == ("0.4", "0.5", "0.1")
    assert found.until_ms == parse_instant("2026-12-01T00:00:00Z")
    assert found.message == (
        "user/u1 has 0.1 of 1 USD left (0.4 spent, 0.5 reserved; 0.100000000001 asked for): "
        "wait until 2026-12-01T00:00:00Z, or have b1 raised."
    )


def test_a_denial_says_only_what_helps() -> None:
    """A lifetime does not end, a limit of a plan is raised by a larger plan, and more than a limit fits at no time."""
    lead = "user/u1 has 0 of 1 USD left (1 spent, 0 reserved; 0.1 asked for)"
    ends = budget(valid_to="2026-11-25T00:00:00Z")
    told = [
        (budget(window="lifetime"), f"{lead}: have b1 raised."),
        (ends, f"{lead}: wait until 2026-11-25T00:00:00Z, or have b1 raised."),
        (
            replace(budget(), plan="Free"),
            f"{lead}, the limit of plan Free: wait until 2026-12-01T00:00:00Z, or change to a larger plan.",
        ),
    ]
    for given, message in told:
        found = denied(given, PICO // 10, spent=cost(PICO))
        assert found is not None
        assert found.message == message
    found = denied(budget(), 2 * PICO)
    assert found is not None
    assert found.message == (
        "user/u1 has 1 of 1 USD left (0 spent, 0 reserved; 2 asked for): ask for less, or have b1 raised."
    )
    for_ever = Blocked("org/acme", "usage_limit_exceeded", "b2", "5", "usd", "6", NO_END_MS)
    assert blocked_by(for_ever, is_global=False).message == ("org/acme is blocked (6 of 5 USD spent): have b2 raised.")


@pytest.mark.parametrize(
    ("available", "asked", "free", "message"),
    [
        (115, 200, 10, "user/u1 has 115 credits, and 200 are asked for: buy credits."),
        (115, 125, 10, "user/u1 has 115 credits, and 125 are asked for: buy credits, or wait for free ones."),
        (115, 126, 10, "user/u1 has 115 credits, and 126 are asked for: buy credits."),
        (3, 5, 0, "user/u1 has 3 credits, and 5 are asked for: buy credits."),
        (-4, 10, 10, "user/u1 owes 4 credits, and 10 are asked for: buy credits, or wait for free ones."),
        (-4, 0, 0, "user/u1 owes 4 credits: buy credits."),
    ],
)
def test_free_credits_are_waited_for_only_where_they_suffice(
    available: int, asked: int, free: int, message: str
) -> None:
    request = Request("tests", "r1", "u1", 0, asked * NANO, {}, NOW)
    found = lacks_credits(request, available * NANO, 0, free * NANO)
    assert found is not None
    assert found.message == message


def test_nothing_is_granted_at_a_limit_that_is_reached() -> None:
    assert denied(budget(), 0, spent=cost(PICO - 1)) is None
    assert denied(budget(), 0, spent=cost(PICO)) is not None


def test_the_tenth_call_is_granted_and_the_eleventh_is_not() -> None:
    ten = budget(unit="events", limit="10")
    assert denied(ten, spent=Spend(0, 0, 6, {}), reserved=Reserved(0, 0, 3)) is None
    assert denied(ten, spent=Spend(0, 0, 6, {}), reserved=Reserved(0, 0, 4)) is not None


def test_a_limit_in_credits_counts_the_credits_that_are_asked_for() -> None:
    ten = budget(unit="credits", limit="10")
    spent = Spend(0, 0, 1, {"credits": 4 * NANO})
    assert denied(ten, spent=spent, reserved=Reserved(0, 3 * NANO, 1), credits_nano=3 * NANO) is None
    assert denied(ten, spent=spent, reserved=Reserved(0, 3 * NANO, 1), credits_nano=3 * NANO + 1) is not None


def test_a_limit_in_tokens_is_in_the_way_only_when_it_is_reached() -> None:
    tokens = budget(unit="input_tokens", limit="1000")
    assert denied(tokens, 10**6 * PICO, spent=Spend(0, 0, 1, {"input_tokens": 999 * NANO})) is None
    assert denied(tokens, spent=Spend(0, 0, 1, {"input_tokens": 1000 * NANO})) is not None


def test_a_budget_that_only_alerts_limits_no_reservation() -> None:
    def where(given: Budget) -> bool:
        return limits(position(given, None, window_start(given.window, NOW)))

    alerts = {"warning": {"percent": "80", "action": "alert"}, "critical": {"percent": "100", "action": "downgrade"}}
    assert not where(budget(thresholds=alerts))
    assert where(budget())
    assert where(budget(thresholds={"emergency": {"percent": "150", "action": "stop"}}))


def test_credits_that_are_there_are_granted_to_the_last_one() -> None:
    request = Request("tests", "r1", "u1", 0, 5 * NANO, {}, NOW)
    assert lacks_credits(request, 5 * NANO, 0) is None
    found = lacks_credits(request, 5 * NANO - 1, NANO)
    assert found is not None
    assert (found.http_status, found.error) == (402, DecisionError.INSUFFICIENT_CREDITS)
    assert (found.available, found.reserved, found.unit) == ("4.999999999", "1", "credits")


def test_below_zero_nothing_is_granted_whatever_is_asked_for() -> None:
    request = Request("tests", "r1", "u1", PICO, 0, {}, NOW)
    assert lacks_credits(request, 0, 0) is None
    found = lacks_credits(request, -1, 0)
    assert found is not None
    assert found.available == "0"


def test_a_stop_is_told_before_a_limit_and_a_limit_before_credits() -> None:
    stop = blocked_by(Blocked("global", "spending_stopped", note="ada stopped all spending: invoice"), is_global=True)
    limit = blocked_by(Blocked("org/acme", "usage_limit_exceeded", "b2", "5", "usd", "6", NOW + 1000), is_global=False)
    request = Request("tests", "r1", "u1", 0, 1, {}, NOW)
    credit = lacks_credits(request, 0, 0)
    assert credit is not None
    assert first_of([credit, limit, stop]) is stop
    assert first_of([credit, limit]) is limit
    assert first_of([]) is None
    assert stop.message == "ada stopped all spending: invoice: wait until spending is resumed."
    assert (
        limit.message == "org/acme is blocked (6 of 5 USD spent): wait until 2026-11-21T10:00:01Z, or have b2 raised."
    )
    assert (stop.http_status, limit.http_status) == (503, 429)


def test_a_decision_says_what_was_asked_and_what_stood_in_the_way() -> None:
    request = Request("chat-api", "r1", "u1", PICO // 10, 0, {}, NOW + 60_000)
    granted = decision_of(request, None, NOW)
    assert granted == DecisionRecord(
        reservation_id="r1", source="chat-api", user="u1", granted=True, amount_usd="0.1", credits="0",
        expires_at="2026-11-21T10:01:00Z", decided_at="2026-11-21T10:00:00Z",
    )  # fmt: skip
    ended = decision_of(request, ENDED, NOW)
    assert (ended.granted, ended.http_status) == (False, 409)
    assert ended.message == "This reservation was denied before or has ended: reserve again under another id."


def test_usage_takes_no_more_than_a_reservation_holds() -> None:
    held = Open(PICO, 5 * NANO, NOW, {}, msgspec.Raw(b"{}"))
    settle(held, 3 * PICO // 10, 2 * NANO)
    assert (held.left_picousd, held.left_nano) == (7 * PICO // 10, 3 * NANO)
    settle(held, PICO, 9 * NANO)
    assert (held.left_picousd, held.left_nano) == (0, 0)
    early = Early(0, 0, False, NOW)
    settle(early, PICO, NANO)
    settle(early, PICO, NANO)
    assert (early.used_picousd, early.used_nano) == (2 * PICO, 2 * NANO)


@pytest.mark.parametrize(("spent", "reserved", "most"), [(4, 6, 0), (4, 5, 0), (5, 6, 1), (12, 0, 2)])
def test_a_limit_can_be_exceeded_by_what_is_spent_and_reserved_beyond_it(spent: int, reserved: int, most: int) -> None:
    assert can_exceed_by(spent, reserved, 10) == most


def test_a_flag_says_which_calls_its_block_leaves_alone_and_is_written_anew_when_these_change() -> None:
    windows = windows_at(NOW)
    spend = ScopeSpend(windows)
    spend.add(windows, cost(PICO))
    given = budget()
    standing, told = None, []
    for except_ in ((), ("provider/groq",), ("provider/groq",), ()):
        found = [position(replace(given, except_=except_), spend, window_start(given.window, NOW))]
        decision = decide("user/u1", found, spend, standing, NOW)
        standing = decision.standing
        told.append(decision.flag and decision.flag.except_)
    assert told == [UNSET, ("provider/groq",), None, UNSET]
