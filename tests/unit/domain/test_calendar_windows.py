"""Windows in time zones, weeks and anchored months: known answers, worked out by hand with each zone's offsets."""

import random
from collections.abc import Iterator

import pytest

from tollgate.domain.windows import HOUR_MS, Horizon, held_from, window_end, window_start
from tollgate.schemas.calendars import time_zones
from tollgate.schemas.instants import format_instant, parse_instant
from tollgate.schemas.vocabulary import SLOT_MS

# Calendar, first instant of a window, first instant after it, hours between.
KNOWN = [
    # +09:00 all year.
    ("month@Asia/Tokyo", "2026-10-31T15:00:00Z", "2026-11-30T15:00:00Z", 720),
    ("day@Asia/Tokyo", "2026-11-20T15:00:00Z", "2026-11-21T15:00:00Z", 24),
    ("week@Asia/Tokyo", "2026-11-15T15:00:00Z", "2026-11-22T15:00:00Z", 168),
    # +05:30: hours begin at half past in UTC.
    ("hour@Asia/Kolkata", "2026-11-21T09:30:00Z", "2026-11-21T10:30:00Z", 1),
    ("day@Asia/Kolkata", "2026-11-20T18:30:00Z", "2026-11-21T18:30:00Z", 24),
    ("month@Asia/Kolkata", "2028-01-31T18:30:00Z", "2028-02-29T18:30:00Z", 696),
    # +05:45.
    ("hour@Asia/Kathmandu", "2026-11-21T09:15:00Z", "2026-11-21T10:15:00Z", 1),
    ("day@Asia/Kathmandu", "2026-11-20T18:15:00Z", "2026-11-21T18:15:00Z", 24),
    ("month@Asia/Kathmandu", "2026-10-31T18:15:00Z", "2026-11-30T18:15:00Z", 720),
    # -05:00; -04:00 from 2026-03-08 02:00 to 2026-11-01 02:00.
    ("day@America/New_York", "2026-03-08T05:00:00Z", "2026-03-09T04:00:00Z", 23),
    ("day@America/New_York", "2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z", 25),
    ("week@America/New_York", "2026-03-02T05:00:00Z", "2026-03-09T04:00:00Z", 167),
    ("week@America/New_York~sunday", "2026-03-08T05:00:00Z", "2026-03-15T04:00:00Z", 167),
    ("week@America/New_York~sunday", "2026-11-01T04:00:00Z", "2026-11-08T05:00:00Z", 169),
    ("month@America/New_York", "2026-03-01T05:00:00Z", "2026-04-01T04:00:00Z", 743),
    ("month@America/New_York", "2026-11-01T04:00:00Z", "2026-12-01T05:00:00Z", 721),
    ("hour@America/New_York", "2026-03-08T06:00:00Z", "2026-03-08T07:00:00Z", 1),
    ("hour@America/New_York", "2026-03-08T07:00:00Z", "2026-03-08T08:00:00Z", 1),
    # 01:00 to 02:00 is there twice.
    ("hour@America/New_York", "2026-11-01T05:00:00Z", "2026-11-01T06:00:00Z", 1),
    ("hour@America/New_York", "2026-11-01T06:00:00Z", "2026-11-01T07:00:00Z", 1),
    # +01:00; +02:00 from 2026-03-29 02:00 to 2026-10-25 03:00.
    ("day@Europe/Amsterdam", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z", 23),
    ("day@Europe/Amsterdam", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z", 25),
    ("week@Europe/Amsterdam", "2026-10-18T22:00:00Z", "2026-10-25T23:00:00Z", 169),
    ("month@Europe/Amsterdam", "2026-02-28T23:00:00Z", "2026-03-31T22:00:00Z", 743),
    ("month@Europe/Amsterdam", "2026-09-30T22:00:00Z", "2026-10-31T23:00:00Z", 745),
    ("month@Europe/Amsterdam~15", "2026-10-14T22:00:00Z", "2026-11-14T23:00:00Z", 745),
    # From -10:00 to +14:00 at the end of 2011-12-29: there was no 30th.
    ("day@Pacific/Apia", "2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z", 24),
    ("day@Pacific/Apia", "2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z", 24),
    ("week@Pacific/Apia", "2011-12-26T10:00:00Z", "2012-01-01T10:00:00Z", 144),
    ("week@Pacific/Apia~friday", "2011-12-30T10:00:00Z", "2012-01-05T10:00:00Z", 144),
    ("month@Pacific/Apia", "2011-12-01T10:00:00Z", "2011-12-31T10:00:00Z", 720),
    ("month@Pacific/Apia~30", "2011-12-30T10:00:00Z", "2012-01-29T10:00:00Z", 720),
    ("month@Pacific/Apia", "2026-10-31T11:00:00Z", "2026-11-30T11:00:00Z", 720),
    # Clocks skip midnight, from 00:00 to 01:00.
    ("day@Africa/Cairo", "2026-04-23T22:00:00Z", "2026-04-24T21:00:00Z", 23),
    ("day@Asia/Beirut", "2026-03-28T22:00:00Z", "2026-03-29T21:00:00Z", 23),
    # Midnight is there twice: set back from 01:00 to 00:00.
    ("day@America/Havana", "2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z", 25),
    # Set back from 00:01 to 23:01: the old date is shown again, in the new day.
    ("day@America/St_Johns", "2010-11-07T02:30:00Z", "2010-11-08T03:30:00Z", 25),
    ("day@America/St_Johns", "2010-11-06T02:30:00Z", "2010-11-07T02:30:00Z", 24),
    # Set back by half an hour, from 02:00 to 01:30.
    ("hour@Australia/Lord_Howe", "2026-04-04T14:00:00Z", "2026-04-04T15:00:00Z", 1),
    ("hour@Australia/Lord_Howe", "2026-04-04T15:00:00Z", "2026-04-04T15:30:00Z", 0.5),
    ("hour@Australia/Lord_Howe", "2026-04-04T15:30:00Z", "2026-04-04T16:30:00Z", 1),
    # Weeks from Monday and from Sunday; 2026-11-21 is a Saturday.
    ("week", "2026-11-16T00:00:00Z", "2026-11-23T00:00:00Z", 168),
    ("week@UTC~sunday", "2026-11-15T00:00:00Z", "2026-11-22T00:00:00Z", 168),
    ("week", "1970-01-01T00:00:00Z", "1970-01-05T00:00:00Z", 96),
    ("week@UTC~sunday", "1970-01-01T00:00:00Z", "1970-01-04T00:00:00Z", 72),
    # Months from the 1st, 15th, 29th, 30th and 31st through the February of a leap year, and of a common one.
    ("month", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z", 696),
    ("month@UTC~15", "2028-02-15T00:00:00Z", "2028-03-15T00:00:00Z", 696),
    ("month@UTC~29", "2028-01-29T00:00:00Z", "2028-02-29T00:00:00Z", 744),
    ("month@UTC~29", "2028-02-29T00:00:00Z", "2028-03-29T00:00:00Z", 696),
    ("month@UTC~30", "2028-01-30T00:00:00Z", "2028-02-29T00:00:00Z", 720),
    ("month@UTC~30", "2028-02-29T00:00:00Z", "2028-03-30T00:00:00Z", 720),
    ("month@UTC~31", "2028-01-31T00:00:00Z", "2028-02-29T00:00:00Z", 696),
    ("month@UTC~31", "2028-02-29T00:00:00Z", "2028-03-31T00:00:00Z", 744),
    ("month@UTC~31", "2028-03-31T00:00:00Z", "2028-04-30T00:00:00Z", 720),
    ("month@UTC~29", "2027-02-28T00:00:00Z", "2027-03-29T00:00:00Z", 696),
    ("month@UTC~31", "2027-02-28T00:00:00Z", "2027-03-31T00:00:00Z", 744),
    ("month@UTC~31", "2026-12-31T00:00:00Z", "2027-01-31T00:00:00Z", 744),
]  # fmt: skip


@pytest.mark.parametrize(("calendar", "start", "end", "hours"), KNOWN)
def test_a_window_has_these_borders_to_the_millisecond(calendar: str, start: str, end: str, hours: float) -> None:
    start_ms, end_ms = parse_instant(start), parse_instant(end)
    assert (end_ms - start_ms) / HOUR_MS == hours
    for inside_ms in (start_ms, (start_ms + end_ms) // 2, end_ms - 1):
        assert format_instant(window_start(calendar, inside_ms)) == start
    assert format_instant(window_end(calendar, start_ms)) == end
    assert window_start(calendar, end_ms) == end_ms
    if start_ms > 0:
        before_ms = window_start(calendar, start_ms - 1)
        assert before_ms < start_ms
        assert window_end(calendar, before_ms) == start_ms


def calendars(rnd: random.Random) -> Iterator[str]:
    zones = sorted(time_zones() - {"UTC"})
    for zone in rnd.sample(zones, 40):
        yield from (f"hour@{zone}", f"day@{zone}", f"week@{zone}", f"month@{zone}", f"month@{zone}~31")


def test_the_windows_of_any_zone_follow_one_another_without_gap() -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    rnd = random.Random(seed)
    years = parse_instant("1985-01-01T00:00:00Z"), parse_instant("2037-01-01T00:00:00Z")
    for calendar in calendars(rnd):
        for _ in range(20):
            instant_ms = rnd.randrange(*years)
            start_ms = window_start(calendar, instant_ms)
            end_ms = window_end(calendar, start_ms)
            place = f"{calendar} at {format_instant(instant_ms)}"
            assert start_ms <= instant_ms < end_ms, place
            assert start_ms % SLOT_MS == end_ms % SLOT_MS == 0, place
            assert window_start(calendar, end_ms) == end_ms, place
            assert window_start(calendar, end_ms - 1) == start_ms, place


@pytest.mark.parametrize(
    ("calendar", "oldest"),
    [
        # The clock shows 2026-11-21T10:30Z, a Saturday.
        ("hour@Asia/Kolkata", "2026-11-18T10:30:00Z"),
        ("day@America/New_York", "2026-09-20T04:00:00Z"),
        ("week", "2026-09-07T00:00:00Z"),
        ("week@Asia/Tokyo~sunday", "2026-09-05T15:00:00Z"),
        ("month@Asia/Tokyo", "2024-09-30T15:00:00Z"),
        ("month@UTC~31", "2024-09-30T00:00:00Z"),
        ("lifetime", "1970-01-01T00:00:00Z"),
    ],
)
def test_as_many_windows_are_held_in_every_calendar(calendar: str, oldest: str) -> None:
    assert format_instant(held_from(calendar, parse_instant("2026-11-21T10:30:00Z"))) == oldest


def test_a_horizon_tells_the_windows_of_a_slot_in_the_calendars_asked_for() -> None:
    horizon = Horizon(parse_instant("2026-11-21T10:30:00Z"))
    asked = ("day@Asia/Tokyo", "lifetime", "week")
    assert [(calendar, format_instant(start)) for calendar, start in horizon.windows_in(horizon.since_ms, asked)] == [
        ("day@Asia/Tokyo", "2026-11-20T15:00:00Z"),
        ("lifetime", "1970-01-01T00:00:00Z"),
        ("week", "2026-11-16T00:00:00Z"),
    ]
    # Days are held for 62 days, weeks for 10 weeks.
    august = parse_instant("2026-09-08T00:00:00Z")
    assert [calendar for calendar, _ in horizon.windows_in(august, asked)] == ["lifetime", "week"]
    assert horizon.windows_in(august, ()) == ()


def test_what_is_held_in_a_zone_stays_the_same_within_an_hour_in_utc() -> None:
    # An hour of Kolkata ends at half past, and must not end the time in which sums are the same for every clock.
    horizon, old = Horizon(parse_instant("2026-11-21T10:15:00Z")), parse_instant("2026-11-18T09:30:00Z")
    assert horizon.holds("hour@Asia/Kolkata", old)
    horizon.advance(parse_instant("2026-11-21T10:45:00Z"))
    assert horizon.holds("hour@Asia/Kolkata", old)
    assert Horizon(parse_instant("2026-11-21T10:45:00Z")).holds("hour@Asia/Kolkata", old)
    horizon.advance(parse_instant("2026-11-21T11:00:00Z"))
    assert not horizon.holds("hour@Asia/Kolkata", old)


def test_every_calendar_holds_what_is_punctual() -> None:
    horizon = Horizon(parse_instant("2026-11-21T10:15:00Z"))
    for calendar in ("hour@Asia/Kolkata", "hour@Asia/Kathmandu", "hour@Australia/Lord_Howe", "week", "day@Asia/Tokyo"):
        assert len(horizon.windows_in(horizon.punctual_from_ms, (calendar,))) == 1


@pytest.mark.parametrize("calendar", ["month@Asia/Tokyo", "day@Pacific/Apia", "week@America/Lima", "hour@Asia/Kolkata"])
def test_windows_exist_at_both_ends_of_time(calendar: str) -> None:
    assert window_start(calendar, 0) == 0
    assert window_end(calendar, 0) > 0
    assert held_from(calendar, 0) == 0
    assert window_start(calendar, parse_instant("9999-12-31T23:59:59Z")) > parse_instant("9999-09-01T00:00:00Z")
