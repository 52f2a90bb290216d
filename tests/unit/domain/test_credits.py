"""Credits by hand: the order in which they burn, the user's own day, expiry, debt, and that none is lost or made."""

from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tollgate.domain.credits import NO_FREE_CREDITS, Account, FreeCredits
from tollgate.schemas.amounts import NANO
from tollgate.schemas.instants import format_instant, parse_instant

NOW: Final = parse_instant("2026-11-21T10:00:00Z")
DAY: Final = 86_400_000
TEN_A_DAY: Final = FreeCredits(10 * NANO, "Asia/Tokyo")


def left(account: Account) -> list[tuple[str, int]]:
    return [(bucket.kind, bucket.left_nano // NANO) for bucket in account.buckets]


def test_free_credits_burn_first_then_what_expires_first_then_the_oldest() -> None:
    account = Account()
    account.grant("purchase", 20 * NANO, None, TEN_A_DAY, NOW)
    account.grant("bonus", 5 * NANO, NOW + 30 * DAY, TEN_A_DAY, NOW)
    account.grant("prize", 4 * NANO, None, TEN_A_DAY, NOW)
    account.grant("referral", 6 * NANO, NOW + 7 * DAY, TEN_A_DAY, NOW)
    assert left(account) == [("referral", 6), ("bonus", 5), ("purchase", 20), ("prize", 4)]
    account.burn(10 * NANO, TEN_A_DAY, NOW)
    assert left(account) == [("referral", 6), ("bonus", 5), ("purchase", 20), ("prize", 4)]
    account.burn(8 * NANO, TEN_A_DAY, NOW)
    assert left(account) == [("bonus", 3), ("purchase", 20), ("prize", 4)]
    account.burn(24 * NANO, TEN_A_DAY, NOW)
    assert left(account) == [("prize", 3)]
    assert account.available_nano(TEN_A_DAY, 0) == 3 * NANO
    assert (account.burned_nano, account.free_burned_nano) == (42 * NANO, 10 * NANO)
    # 35 by entries and 10 free = 42 burned + 3 available.
    assert account.granted_in_all_nano(TEN_A_DAY) == 45 * NANO


def test_free_credits_are_whole_again_at_the_users_midnight_to_the_millisecond() -> None:
    # Midnight in Tokyo is 15:00 in UTC.
    midnight = parse_instant("2026-11-21T15:00:00Z")
    account = Account()
    account.burn(10 * NANO, TEN_A_DAY, NOW)
    assert TEN_A_DAY.next_midnight_ms(NOW) == midnight
    account.advance(TEN_A_DAY, midnight - 1)
    assert account.available_nano(TEN_A_DAY, 0) == 0
    account.advance(TEN_A_DAY, midnight)
    assert account.available_nano(TEN_A_DAY, 0) == 10 * NANO
    # What was not burned of a day is not carried to the next one.
    account.advance(TEN_A_DAY, midnight + 5 * DAY)
    assert account.available_nano(TEN_A_DAY, 0) == 10 * NANO


@pytest.mark.parametrize(
    ("zone", "instant", "midnight"),
    [
        ("UTC", "2026-11-21T23:59:59.999Z", "2026-11-22T00:00:00Z"),
        ("UTC", "2026-11-22T00:00:00Z", "2026-11-23T00:00:00Z"),
        ("Asia/Kathmandu", "2026-11-21T10:00:00Z", "2026-11-21T18:15:00Z"),
        # The day in which clocks go forward has 23 hours, the one in which they go back 25.
        ("America/New_York", "2026-03-08T05:00:00Z", "2026-03-09T04:00:00Z"),
        ("America/New_York", "2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z"),
        # Clocks skip midnight itself: the day begins at 01:00, which is 04:00 in UTC.
        ("America/Santiago", "2026-09-05T12:00:00Z", "2026-09-06T04:00:00Z"),
        # There was no 30 December 2011.
        ("Pacific/Apia", "2011-12-29T12:00:00Z", "2011-12-30T10:00:00Z"),
    ],
)
def test_the_next_midnight_of_a_zone(zone: str, instant: str, midnight: str) -> None:
    assert format_instant(FreeCredits(NANO, zone).next_midnight_ms(parse_instant(instant))) == midnight


def test_moving_to_a_zone_where_it_is_still_yesterday_gives_no_second_day() -> None:
    account = Account()
    evening = parse_instant("2026-11-21T16:00:00Z")
    account.burn(10 * NANO, TEN_A_DAY, evening)
    west = FreeCredits(10 * NANO, "America/New_York")
    account.advance(west, evening)
    assert account.free_left_nano(west) == 0


def test_credits_can_be_spent_until_the_millisecond_before_they_expire() -> None:
    account = Account()
    account.grant("bonus", 5 * NANO, NOW + 1000, NO_FREE_CREDITS, NOW)
    account.advance(NO_FREE_CREDITS, NOW + 999)
    assert account.available_nano(NO_FREE_CREDITS, 0) == 5 * NANO
    assert account.due_ms() == NOW + 1000
    account.burn(2 * NANO, NO_FREE_CREDITS, NOW + 999)
    assert account.advance(NO_FREE_CREDITS, NOW + 1000)
    assert account.available_nano(NO_FREE_CREDITS, 0) == 0
    assert (account.granted_nano, account.burned_nano, account.expired_nano) == (5 * NANO, 2 * NANO, 3 * NANO)


def test_a_grant_that_has_expired_already_pays_nothing() -> None:
    account = Account()
    account.burn(4 * NANO, NO_FREE_CREDITS, NOW)
    account.grant("bonus", 5 * NANO, NOW, NO_FREE_CREDITS, NOW)
    assert (account.debt_nano, account.expired_nano) == (4 * NANO, 5 * NANO)


def test_usage_that_is_done_takes_a_balance_below_zero_and_the_next_grant_pays_it_first() -> None:
    account = Account()
    account.grant("purchase", 5 * NANO, None, NO_FREE_CREDITS, NOW)
    account.burn(12 * NANO, NO_FREE_CREDITS, NOW)
    assert account.available_nano(NO_FREE_CREDITS, 0) == -7 * NANO
    account.grant("purchase", 10 * NANO, None, NO_FREE_CREDITS, NOW)
    assert account.available_nano(NO_FREE_CREDITS, 0) == 3 * NANO
    assert left(account) == [("purchase", 3)]


def test_debt_is_paid_from_the_next_days_free_credits() -> None:
    account = Account()
    account.burn(22 * NANO, TEN_A_DAY, NOW)
    assert account.available_nano(TEN_A_DAY, 0) == -12 * NANO
    account.advance(TEN_A_DAY, NOW + DAY)
    assert account.available_nano(TEN_A_DAY, 0) == -2 * NANO
    account.advance(TEN_A_DAY, NOW + 2 * DAY)
    assert account.available_nano(TEN_A_DAY, 0) == 8 * NANO
    # 30 were free: 22 burned, 8 left.
    assert account.granted_in_all_nano(TEN_A_DAY) == 30 * NANO


def test_days_on_which_nobody_looked_pay_debt_like_others() -> None:
    """25 burned, 10 of them free: 15 are owed, which the next day and half of the one after pay."""
    for looks in ((), (1,), (1, 2), (2,)):
        account = Account()
        account.burn(25 * NANO, TEN_A_DAY, NOW)
        for days in looks:
            account.advance(TEN_A_DAY, NOW + days * DAY)
        account.advance(TEN_A_DAY, NOW + 2 * DAY)
        assert account.available_nano(TEN_A_DAY, 0) == 5 * NANO, looks
        assert account.free_burned_nano == 25 * NANO, looks
        account.advance(TEN_A_DAY, NOW + 9 * DAY)
        # What no debt needed of the days between is gone.
        assert account.available_nano(TEN_A_DAY, 0) == 10 * NANO, looks
        assert account.granted_in_all_nano(TEN_A_DAY) == 35 * NANO, looks


def test_days_before_the_first_free_credits_pay_nothing() -> None:
    account = Account()
    account.grant("purchase", 5 * NANO, None, NO_FREE_CREDITS, NOW)
    account.burn(30 * NANO, NO_FREE_CREDITS, NOW)
    account.advance(TEN_A_DAY, NOW + 30 * DAY)
    assert account.available_nano(TEN_A_DAY, 0) == -15 * NANO


def test_what_is_taken_back_may_leave_a_debt() -> None:
    account = Account()
    account.grant("bonus", 5 * NANO, None, NO_FREE_CREDITS, NOW)
    account.take_back(8 * NANO, NO_FREE_CREDITS, NOW)
    assert account.available_nano(NO_FREE_CREDITS, 0) == -3 * NANO
    assert account.granted_nano == -3 * NANO


def test_a_plan_with_fewer_free_credits_leaves_none_rather_than_less_than_none() -> None:
    account = Account()
    account.burn(8 * NANO, TEN_A_DAY, NOW)
    assert account.free_left_nano(FreeCredits(5 * NANO, "Asia/Tokyo")) == 0


_STEP = st.tuples(
    st.sampled_from(["grant", "burn", "take_back", "advance"]),
    st.integers(1, 30 * NANO),
    st.one_of(st.none(), st.integers(-1, 3)),
    st.integers(0, 2 * DAY),
    st.integers(0, 12),
)


@settings(max_examples=300, deadline=None, print_blob=True)
@given(st.lists(_STEP, max_size=40), st.sampled_from(["UTC", "Asia/Tokyo", "America/New_York"]))
def test_no_credit_is_lost_or_made(steps: list[tuple[str, int, int | None, int, int]], zone: str) -> None:
    account, now = Account(), NOW
    for what, nano, days, wait_ms, per_day in steps:
        now += wait_ms
        free = FreeCredits(per_day * NANO, zone)
        if what == "grant":
            expires_ms = now + days * DAY if days is not None else None
            account.grant("bonus", nano, expires_ms, free, now)
        elif what == "burn":
            account.burn(nano, free, now)
        elif what == "take_back":
            account.take_back(nano, free, now)
        account.advance(free, now)
        available = account.available_nano(free, 7)
        assert account.granted_in_all_nano(free) == account.burned_nano + account.expired_nano + available + 7
        assert not account.debt_nano or (not account.buckets and not account.free_left_nano(free))
        assert all(bucket.left_nano > 0 for bucket in account.buckets)
        ends = [bucket.expires_ms or 1 << 62 for bucket in account.buckets]
        assert ends == sorted(ends)
        assert not ends or ends[0] > now
