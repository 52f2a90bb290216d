"""What readers show of a user's credits: free ones of this day and this plan, also before the worker writes them."""

from decimal import Decimal
from typing import Any

from tollgate.domain.balances import balance_now
from tollgate.domain.credits import NO_FREE_CREDITS, FreeCredits
from tollgate.schemas.instants import parse_instant
from tollgate.schemas.outputs import Balance

TEN = FreeCredits(10 * 10**9, "Asia/Tokyo")
# Midnight in Tokyo is 15:00 in UTC.
NOON = parse_instant("2026-11-21T12:00:00Z")
MIDNIGHT = "2026-11-21T15:00:00Z"


def balance(**changes: Any) -> Balance:
    """100 of a purchase, and 3 of the 10 free ones of the day; 7 were burned."""
    return Balance.model_validate(
        {
            "user": "u1",
            "available": "103",
            "reserved": "0",
            "granted": "110",
            "burned": "7",
            "expired": "0",
            "free_today": "3",
            "free_per_day": "10",
            "free_until": MIDNIGHT,
            "buckets": [{"kind": "purchase", "left": "100", "expires_at": None}],
            "revision": 4,
            "updated_at": "2026-11-21T10:00:00Z",
        }
        | changes
    )


def shown(found: Balance | None) -> tuple[str, str, str, str, str | None]:
    assert found is not None
    assert Decimal(found.granted) == sum(map(Decimal, (found.burned, found.expired, found.available, found.reserved)))
    return found.available, found.granted, found.free_today, found.free_per_day, found.free_until


def test_who_has_neither_an_account_nor_free_credits_has_no_balance() -> None:
    assert balance_now(None, "u1", NO_FREE_CREDITS, NOON) is None


def test_the_free_credits_of_a_plan_are_there_before_anything_was_used() -> None:
    found = balance_now(None, "u1", TEN, NOON)
    assert shown(found) == ("10", "10", "10", "10", MIDNIGHT)
    assert found is not None
    assert (found.user, found.reserved, found.burned, found.buckets) == ("u1", "0", "0", [])


def test_a_balance_of_today_is_shown_as_it_was_written() -> None:
    written = balance()
    assert balance_now(written, "u1", TEN, NOON) is written
    assert balance_now(written, "u1", TEN, parse_instant(MIDNIGHT) - 1) is written


def test_at_midnight_the_free_credits_are_whole_again() -> None:
    found = balance_now(balance(), "u1", TEN, parse_instant(MIDNIGHT))
    assert shown(found) == ("110", "117", "10", "10", "2026-11-22T15:00:00Z")


def test_a_plan_that_was_assigned_after_the_grant_gives_its_free_credits_at_once() -> None:
    before = balance(available="93", granted="100", free_today="0", free_per_day="0", free_until=None)
    assert shown(balance_now(before, "u1", TEN, NOON)) == ("103", "110", "10", "10", MIDNIGHT)


def test_of_a_larger_plan_what_was_burned_today_is_taken_off() -> None:
    twenty = FreeCredits(20 * 10**9, "Asia/Tokyo")
    assert shown(balance_now(balance(), "u1", twenty, NOON)) == ("113", "120", "13", "20", MIDNIGHT)


def test_without_a_plan_the_free_credits_are_gone() -> None:
    assert shown(balance_now(balance(), "u1", NO_FREE_CREDITS, NOON)) == ("100", "107", "0", "0", None)


def test_the_free_credits_of_a_new_day_pay_debt_first() -> None:
    owes = {"granted": "10", "burned": "14", "free_today": "0", "buckets": []}
    tomorrow = parse_instant(MIDNIGHT)
    four = balance(available="-4", **owes)
    assert shown(balance_now(four, "u1", TEN, tomorrow)) == ("6", "20", "6", "10", "2026-11-22T15:00:00Z")
    twelve = balance(available="-12", **(owes | {"burned": "22"}))
    assert shown(balance_now(twelve, "u1", TEN, tomorrow)) == ("-2", "20", "0", "10", "2026-11-22T15:00:00Z")


def test_each_day_that_has_passed_has_paid_debt() -> None:
    fifteen = balance(available="-15", granted="10", burned="25", free_today="0", buckets=[])
    tomorrow, day_after = "2026-11-22T15:00:00Z", "2026-11-23T15:00:00Z"
    late = parse_instant(tomorrow) - 1
    assert shown(balance_now(fifteen, "u1", TEN, late)) == ("-5", "20", "0", "10", tomorrow)
    assert shown(balance_now(fifteen, "u1", TEN, late + 1)) == ("5", "30", "5", "10", day_after)
    week_later = late + 7 * 86_400_000
    assert shown(balance_now(fifteen, "u1", TEN, week_later)) == ("10", "35", "10", "10", "2026-11-29T15:00:00Z")


def test_what_is_reserved_is_no_debt() -> None:
    held = balance(available="-1", reserved="5", granted="10", burned="6", free_today="4", buckets=[])
    found = balance_now(held, "u1", TEN, parse_instant(MIDNIGHT))
    assert shown(found) == ("5", "16", "10", "10", "2026-11-22T15:00:00Z")
