"""Spend records and flags against the recount."""

from typing import Any

import msgspec
import pytest

from tollgate.schemas.control import BudgetRecord
from tollgate.verification.flags import compare_flags
from tollgate.verification.report import Check
from tollgate.verification.spend import Recounted, compare_spend, read_spend
from tollgate.verification.sums import Sum, plain, scaled

USD = 10**12
MONTH = "user/u1|month|2026-11-01T00:00:00Z"
NOW_MS = 1_795_255_200_000  # 2026-11-21T10:00:00Z


def spend_record(**changes: Any) -> bytes:
    window = {"kind": "month", "start": "2026-11-01T00:00:00Z", "end": "2026-12-01T00:00:00Z", "timezone": "UTC"}
    value = {"scope": "user/u1", "window": window, "spent_usd": "20", "retail_usd": "0", "events": 2, "usage": {}}
    return msgspec.json.encode(value | changes)


def spend(recounted: Recounted, *records: tuple[str, bytes]) -> Check:
    return compare_spend(recounted, {key: read_spend(value) for key, value in records}, [])


def still(**windows: Sum) -> Recounted:
    found = {MONTH: windows["month"]} if windows else {}
    return Recounted(found, found)


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("2.5", 25 * 10**11), ("0.000000000001", 1)])
def test_money_is_read_and_written_exactly(text: str, value: int) -> None:
    assert (scaled(text, 12), plain(value, 12)) == (value, text)


@pytest.mark.parametrize("text", ["", "-1", "1e3", "0.0000000000001", ".5", "\u0661"])
def test_what_is_no_plain_decimal_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no decimal"):
        scaled(text, 12)


def test_equal_spend_is_equal_and_usage_of_zero_is_none() -> None:
    check = spend(still(month=Sum(20 * USD, 0, 2, {"images": 0})), (MONTH, spend_record()))
    assert check.ok, check.difference


def test_a_difference_of_one_picodollar_is_told_with_both_values() -> None:
    check = spend(still(month=Sum(20 * USD + 1, 0, 2)), (MONTH, spend_record()))
    assert check.difference == f"spend {MONTH}: expected 20.000000000001 USD, 2 events, found 20 USD, 2 events"


def test_a_window_without_a_record_and_a_record_without_a_window_are_differences() -> None:
    assert spend(still(month=Sum(20 * USD, 0, 2))).differences == 1
    assert spend(still(), (MONTH, spend_record())).differences == 1


def test_a_record_under_another_key_or_with_another_end_is_a_difference() -> None:
    recounted = still(month=Sum(20 * USD, 0, 2))
    assert not spend(recounted, (MONTH, spend_record(scope="user/u2"))).ok
    window = {"kind": "month", "start": "2026-11-01T00:00:00Z", "end": "2026-11-30T00:00:00Z", "timezone": "UTC"}
    assert not spend(recounted, (MONTH, spend_record(window=window))).ok


@pytest.mark.parametrize(("found", "ok"), [("19", False), ("20", True), ("21", True), ("22", True), ("23", False)])
def test_a_window_that_moved_lies_between_the_two_recounts(found: str, ok: bool) -> None:
    recounted = Recounted({MONTH: Sum(20 * USD, 0, 2)}, {MONTH: Sum(22 * USD, 0, 2)})
    assert spend(recounted, (MONTH, spend_record(spent_usd=found))).ok is ok


def test_sums_are_lower_bounds_when_the_log_has_lost_its_beginning() -> None:
    recounted = Recounted({MONTH: Sum(20 * USD, 0, 2)}, {MONTH: Sum(20 * USD, 0, 2)}, open_ended=True)
    assert spend(recounted, (MONTH, spend_record(spent_usd="25"))).ok
    assert not spend(recounted, (MONTH, spend_record(spent_usd="19"))).ok


BUDGET = BudgetRecord.model_validate(
    {"scope": "user/*", "limit": "20", "unit": "usd", "window": "month", "updated_at": "2026-11-01T00:00:00Z"}
)
BLOCKED: dict[str, Any] = {
    "scope": "user/u1", "state": "blocked", "blocked": True, "action": "block", "reason": "usage_limit_exceeded",
    "budget": "user/*:month:usd", "limit": "20", "unit": "usd", "spent": "20.5", "percent": "102.50",
    "window": {"kind": "month", "start": "2026-11-01T00:00:00Z", "end": "2026-12-01T00:00:00Z", "timezone": "UTC"},
    "since": "2026-11-21T09:00:00Z", "until": "2026-12-01T00:00:00Z", "revision": 3,
}  # fmt: skip


def flags(spent_picousd: int, flag: dict[str, Any] | None, *budgets: BudgetRecord, now_ms: int = NOW_MS) -> Check:
    found = {"user/u1": flag} if flag is not None else {}
    return compare_flags(list(budgets), still(month=Sum(spent_picousd, 0, 1)), found, [], now_ms)


def test_a_flag_that_says_what_the_budget_demands_is_right() -> None:
    assert flags(20 * USD + USD // 2, BLOCKED, BUDGET).ok


@pytest.mark.parametrize(
    "wrong", [{"spent": "20.4"}, {"percent": "102.51"}, {"state": "warning"}, {"until": "2027-01-01T00:00:00Z"}]
)
def test_a_flag_with_a_wrong_number_is_a_difference(wrong: dict[str, Any]) -> None:
    assert not flags(20 * USD + USD // 2, BLOCKED | wrong, BUDGET).ok


def test_no_flag_means_ok_until_a_threshold_is_reached() -> None:
    assert flags(16 * USD - 1, None, BUDGET).ok
    missing = flags(16 * USD, None, BUDGET)
    assert missing.difference == (
        "flag of user/u1: expected warning by user/*:month:usd: 16 of 20 usd (80.00 %), action alert, "
        "until 2026-12-01T00:00:00Z, found ok"
    )


def test_a_flag_without_a_budget_must_be_ok_or_past_its_end() -> None:
    assert not flags(0, BLOCKED).ok
    assert flags(0, BLOCKED, now_ms=1_796_083_200_000).ok
    assert flags(0, BLOCKED | {"state": "ok", "blocked": False}).ok


def test_an_exact_budget_replaces_the_pattern_of_the_same_window_and_unit() -> None:
    own = BUDGET.model_copy(update={"id": "own", "scope": "user/u1", "limit": "1000"})
    assert flags(20 * USD + USD // 2, None, BUDGET, own).ok
    events = own.model_copy(update={"unit": "events"})
    assert flags(20 * USD + USD // 2, BLOCKED, BUDGET, events).ok
