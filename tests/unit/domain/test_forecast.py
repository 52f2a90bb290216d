"""Forecasts with numbers worked out by hand. One dollar is 10**12; days are those of November 2026, which began on a
Sunday.
"""

import pytest

from tollgate.domain.forecast import ExpectedDay, Forecast, History, Method, forecast, weekday
from tollgate.domain.windows import DAY_MS, HOUR_MS, LIFETIME_END_MS, months_later
from tollgate.schemas.amounts import PICO
from tollgate.schemas.instants import parse_instant

NOVEMBER = parse_instant("2026-11-01T00:00:00Z")
DECEMBER = parse_instant("2026-12-01T00:00:00Z")


def day(number: int) -> int:
    """The start of a day of November."""
    return NOVEMBER + (number - 1) * DAY_MS


def dollars(*amounts: int, first: int = 1) -> dict[int, int]:
    """Whole dollars for the days from the first on."""
    return {day(first + number): amount * PICO for number, amount in enumerate(amounts)}


def month(days: dict[int, int], now_ms: int, limit: int | None = None, hours: dict[int, int] | None = None) -> Forecast:
    """The forecast for November."""
    spent = sum(amount for start, amount in days.items() if NOVEMBER <= start < DECEMBER)
    return forecast(History.of(days, hours), spent, DECEMBER, now_ms, None if limit is None else limit * PICO)


def test_weekdays_are_counted_from_monday() -> None:
    assert weekday(0) == 3
    assert weekday(NOVEMBER) == 6
    assert weekday(day(2)) == 0


def test_nothing_was_ever_spent() -> None:
    found = month({}, day(10), limit=100)
    assert (found.spent_picousd, found.projected_picousd, found.low_picousd, found.high_picousd) == (0, 0, 0, 0)
    assert found.method is Method.NOTHING_KNOWN
    assert found.limit_reached_ms is None


def test_before_seven_days_spend_goes_on_at_the_pace_seen_and_says_so() -> None:
    # 10 a day for five days, and 5 by noon of the sixth: 55 in 5.5 days. 24.5 days are left.
    found = month(dollars(10, 10, 10, 10, 10, 5), day(6) + 12 * HOUR_MS)
    assert found.method is Method.RUN_RATE
    assert found.days_known == 5
    assert found.spent_picousd == 55 * PICO
    assert found.projected_picousd == 300 * PICO
    # Half and twice of the 245 to come.
    assert found.low_picousd == 177_500_000_000_000
    assert found.high_picousd == 545 * PICO
    assert found.pace_picousd == 10 * PICO


def test_seven_complete_days_are_a_profile_and_six_are_not() -> None:
    assert month(dollars(*[10] * 6), day(7)).method is Method.RUN_RATE
    assert month(dollars(*[10] * 6), day(8) - 1).method is Method.RUN_RATE
    assert month(dollars(*[10] * 6), day(8)).method is Method.WEEKDAYS


def test_days_that_are_all_equal_are_certain() -> None:
    found = month(dollars(*[10] * 14), day(15))
    assert found.projected_picousd == 300 * PICO
    assert found.low_picousd == found.high_picousd == 300 * PICO


def test_each_weekday_is_expected_to_be_as_it_was() -> None:
    # Sunday to Saturday: 1, 10, 10, 10, 10, 10, 5 = 56 a week. After 14 days two whole weeks and two days are left of
    # November's thirty: 112, then Sunday 29 and Monday 30.
    found = month(dollars(*[1, 10, 10, 10, 10, 10, 5] * 2), day(15))
    assert found.method is Method.WEEKDAYS
    assert found.days_known == 14
    assert found.spent_picousd == 112 * PICO
    assert found.projected_picousd == (112 + 112 + 1 + 10) * PICO
    # The second week was just what the first had promised.
    assert found.low_picousd == found.high_picousd == 235 * PICO


def test_the_level_is_that_of_the_last_seven_days() -> None:
    # A week of 7 and one of 14 a day: sixteen days of 14 are to come, and November has 147 already.
    found = month(dollars(*[7] * 7, *[14] * 7), day(15))
    assert found.projected_picousd == (147 + 16 * 14) * PICO


def test_the_range_follows_from_how_far_expectations_were_off() -> None:
    # Six days of 10 and one of 17: mean 11, so that days are off by -1 six times and by 6 once. With six degrees of
    # freedom the deviation is the root of (6 + 36) / 6 = 7, 2.645751311064, and Student's t is 1.44: a day is off by
    # 3.809881887932 at most. 23 days ahead: sqrt(23 + 23 * 23 / 7) = 9.928315179 times that, 37.825...
    found = month(dollars(10, 10, 10, 17, 10, 10, 10), day(8))
    expected = 77 + 3 * 77 + 10 + 10
    assert found.projected_picousd == expected * PICO
    above = found.high_picousd - found.projected_picousd
    below = found.projected_picousd - found.low_picousd
    assert above == below
    assert 37_825_000_000_000 < above < 37_826_000_000_000


def test_the_range_never_goes_below_what_is_spent() -> None:
    found = month(dollars(0, 0, 0, 700, 0, 0, 0, first=1) | dollars(1, first=1), day(8))
    assert found.low_picousd == found.spent_picousd == 701 * PICO


def test_the_rest_of_today_is_what_its_hours_had_on_the_days_before() -> None:
    # 24 a day, all of it from 12:00 to 18:00 on the three days before. At 15:00 half of it is still to come.
    hours = {day(20 - back) + hour * HOUR_MS: 4 * PICO for back in (1, 2, 3) for hour in range(12, 18)}
    now = day(20) + 15 * HOUR_MS
    found = month(dollars(*[24] * 19, 12), now, hours=hours)
    assert found.days[0] == ExpectedDay(day(20), 12 * PICO, 12 * PICO, 12 * PICO)
    assert found.projected_picousd == (19 * 24 + 12 + 12 + 10 * 24) * PICO
    # At 15:30 five twelfths are.
    later = month(dollars(*[24] * 19, 14), now + HOUR_MS // 2, hours=hours)
    assert later.days[0].middle_picousd == 10 * PICO


def test_without_hours_the_rest_of_today_is_its_part_of_the_day() -> None:
    found = month(dollars(*[24] * 19), day(20) + 6 * HOUR_MS)
    assert found.days[0].middle_picousd == 18 * PICO


def test_the_first_minute_of_a_month_knows_the_month_before() -> None:
    days = {NOVEMBER - back * DAY_MS: 3 * PICO for back in range(1, 20)}
    found = month(days, NOVEMBER + 60_000)
    assert found.spent_picousd == 0
    # All thirty days but one minute of the first: 3 * 1 / 1440 = 0.002083333333.
    assert found.projected_picousd == 89_997_916_666_667


def test_the_first_minute_of_all_does_not_take_one_call_for_a_pace() -> None:
    # A dollar within the first minute is taken for a dollar an hour: 24 * 30 hours but one minute.
    found = month(dollars(1), NOVEMBER + 60_000)
    assert found.method is Method.RUN_RATE
    assert found.projected_picousd == 720_983_333_333_333


def test_for_an_hours_end_some_minutes_are_a_pace() -> None:
    # 2 in the first ten minutes of all are 12 an hour; ten more are to come.
    found = forecast(History(dollars(2), {}, NOVEMBER), 2 * PICO, NOVEMBER + HOUR_MS, NOVEMBER + HOUR_MS // 6)
    assert found.method is Method.RUN_RATE
    assert found.projected_picousd == 12 * PICO


@pytest.mark.parametrize(("start", "days"), [("2026-02", 28), ("2028-02", 29), ("2026-04", 30), ("2026-07", 31)])
def test_months_have_28_to_31_days(start: str, days: int) -> None:
    first = parse_instant(f"{start}-01T00:00:00Z")
    known = {first + number * DAY_MS: 2 * PICO for number in range(14)}
    found = forecast(History.of(known), 28 * PICO, months_later(first, 1), first + 14 * DAY_MS)
    assert found.projected_picousd == 2 * days * PICO
    assert len(found.days) == days - 14


def test_a_window_that_is_over_is_what_it_is() -> None:
    found = month(dollars(*[5] * 30), DECEMBER)
    assert found.projected_picousd == found.low_picousd == found.high_picousd == 150 * PICO
    assert found.days == ()


def test_corrections_are_not_expected_again() -> None:
    found = month(dollars(*[-4] * 10), day(11))
    assert found.spent_picousd == found.projected_picousd == -40 * PICO
    assert month(dollars(-3), day(2)).projected_picousd == -3 * PICO


def test_the_limit_is_reached_at_the_present_pace() -> None:
    days = dollars(*[10] * 10)
    # 100 are spent; 145 are in four and a half days.
    assert month(days, day(11), limit=145).limit_reached_ms == day(15) + 12 * HOUR_MS
    assert month(days, day(11), limit=100).limit_reached_ms == day(11)
    assert month(days, day(11), limit=99).limit_reached_ms == day(11)
    # 300 are there with the window's last instant, and one more is not within it.
    assert month(days, day(11), limit=300).limit_reached_ms == DECEMBER
    assert month(days, day(11), limit=301).limit_reached_ms is None


def test_a_lifetime_has_a_pace_and_a_limit_but_no_end() -> None:
    history = History.of(dollars(*[10] * 10))
    found = forecast(history, 100 * PICO, LIFETIME_END_MS, day(11), 3_000 * PICO)
    assert found.projected_picousd == found.high_picousd == 100 * PICO
    assert found.pace_picousd == 10 * PICO
    assert found.limit_reached_ms == day(11) + 290 * DAY_MS
    assert forecast(history, 100 * PICO, LIFETIME_END_MS, day(11), 4_000 * PICO).limit_reached_ms is None


def test_an_hour_has_a_projection_too() -> None:
    # 48 a day are 2 an hour; a quarter of it is gone.
    now = day(10) + 9 * HOUR_MS + HOUR_MS // 4
    found = forecast(History.of(dollars(*[48] * 9)), PICO, day(10) + 10 * HOUR_MS, now)
    assert found.projected_picousd == 2_500_000_000_000
