"""Windows in time zones: weeks, anchored months, and days on which the clocks are set."""

from datetime import datetime

import pytest

from tollgate.verification.zones import end_in, is_held_in, read_calendar, start_in, write_calendar


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("calendar", "moment", "start", "end"),
    [
        ("month@Asia/Tokyo", "2026-10-31T14:59:59.999Z", "2026-09-30T15:00:00Z", "2026-10-31T15:00:00Z"),
        ("month@Asia/Tokyo", "2026-10-31T15:00:00Z", "2026-10-31T15:00:00Z", "2026-11-30T15:00:00Z"),
        ("day@Asia/Kolkata", "2026-11-21T18:29:59.999Z", "2026-11-20T18:30:00Z", "2026-11-21T18:30:00Z"),
        ("hour@Asia/Kathmandu", "2026-11-21T10:00:00Z", "2026-11-21T09:15:00Z", "2026-11-21T10:15:00Z"),
        # Clocks are set: 23 hours in March, 25 in October and November.
        ("day@Europe/Amsterdam", "2026-03-29T10:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"),
        ("day@Europe/Amsterdam", "2026-10-25T22:30:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"),
        ("day@America/New_York", "2026-03-08T12:00:00Z", "2026-03-08T05:00:00Z", "2026-03-09T04:00:00Z"),
        ("day@America/New_York", "2026-11-02T04:30:00Z", "2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z"),
        ("week@America/New_York", "2026-11-02T04:59:59Z", "2026-10-26T04:00:00Z", "2026-11-02T05:00:00Z"),
        # Midnight is left out, and a whole day is.
        ("day@America/Santiago", "2026-09-06T05:00:00Z", "2026-09-06T04:00:00Z", "2026-09-07T03:00:00Z"),
        ("day@Pacific/Apia", "2011-12-30T09:59:59Z", "2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z"),
        ("day@Pacific/Apia", "2011-12-30T10:00:00Z", "2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z"),
        # The hour is there twice in New York; in Lord Howe the clocks are set by half an hour.
        ("hour@America/New_York", "2026-11-01T06:30:00Z", "2026-11-01T06:00:00Z", "2026-11-01T07:00:00Z"),
        ("hour@Australia/Lord_Howe", "2026-04-04T15:10:00Z", "2026-04-04T15:00:00Z", "2026-04-04T15:30:00Z"),
        ("week", "2026-11-22T23:59:59Z", "2026-11-16T00:00:00Z", "2026-11-23T00:00:00Z"),
        ("week@UTC~sunday", "2026-11-22T00:00:00Z", "2026-11-22T00:00:00Z", "2026-11-29T00:00:00Z"),
        ("month@UTC~15", "2026-11-14T23:59:59Z", "2026-10-15T00:00:00Z", "2026-11-15T00:00:00Z"),
        ("month@UTC~29", "2028-02-28T00:00:00Z", "2028-01-29T00:00:00Z", "2028-02-29T00:00:00Z"),
        ("month@UTC~30", "2028-02-29T00:00:00Z", "2028-02-29T00:00:00Z", "2028-03-30T00:00:00Z"),
        ("month@UTC~31", "2027-02-28T00:00:00Z", "2027-02-28T00:00:00Z", "2027-03-31T00:00:00Z"),
        ("lifetime", "2026-11-22T00:00:00Z", "1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z"),
    ],
)
def test_a_window_is_the_one_that_the_zones_clock_shows(calendar: str, moment: str, start: str, end: str) -> None:
    assert (start_in(calendar, at(moment)), end_in(calendar, at(start))) == (at(start), at(end))


@pytest.mark.parametrize(
    "text",
    ["", "year", "month@", "month@Mars/Olympus", "week@UTC", "month@UTC~1", "month@UTC~32", "week@UTC~monday",
     "month~15", "lifetime@UTC", "week@UTC~15", "month@UTC~015", "month@Asia/Tokyo~1"],
)  # fmt: skip
def test_a_calendar_has_one_text(text: str) -> None:
    with pytest.raises(ValueError, match=r"calendar|zone|written"):
        read_calendar(text)


@pytest.mark.parametrize("text", ["week", "month@Asia/Tokyo", "week@UTC~sunday", "month@Europe/Amsterdam~15"])
def test_what_is_read_is_written_alike(text: str) -> None:
    assert write_calendar(read_calendar(text)) == text


@pytest.mark.parametrize(
    ("calendar", "held", "gone"),
    [
        ("week", "2026-09-07T00:00:00Z", "2026-08-31T00:00:00Z"),
        ("day@Asia/Tokyo", "2026-09-19T15:00:00Z", "2026-09-18T15:00:00Z"),
        ("month@UTC~15", "2024-10-15T00:00:00Z", "2024-09-15T00:00:00Z"),
    ],
)
def test_a_window_is_held_as_long_as_its_kind(calendar: str, held: str, gone: str) -> None:
    clock_ms = 1_795_255_200_000  # 2026-11-21T10:00:00Z
    assert is_held_in(calendar, at(held), clock_ms)
    assert not is_held_in(calendar, at(gone), clock_ms)
