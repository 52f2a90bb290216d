"""Calendars and their texts: each has one, and what is no calendar is refused in a sentence."""

import pytest

from tollgate.schemas.calendars import Calendar, parse_calendar
from tollgate.schemas.vocabulary import WindowKind

WEEKDAYS = "monday, tuesday, wednesday, thursday, friday, saturday, sunday"
SHORT = ["hour", "day", "week", "month", "lifetime"]


@pytest.mark.parametrize(
    ("text", "calendar"),
    [
        ("month@Asia/Tokyo", Calendar(WindowKind.MONTH, "Asia/Tokyo")),
        ("week@UTC~sunday", Calendar(WindowKind.WEEK, week_starts_on="sunday")),
        ("week@America/New_York~sunday", Calendar(WindowKind.WEEK, "America/New_York", "sunday")),
        ("month@Europe/Amsterdam~15", Calendar(WindowKind.MONTH, "Europe/Amsterdam", month_starts_on=15)),
        ("month@UTC~31", Calendar(WindowKind.MONTH, month_starts_on=31)),
        ("hour@Asia/Kolkata", Calendar(WindowKind.HOUR, "Asia/Kolkata")),
        ("day@Etc/GMT+5", Calendar(WindowKind.DAY, "Etc/GMT+5")),
        *((kind, Calendar(WindowKind(kind))) for kind in SHORT),
    ],
)
def test_a_calendar_has_one_text(text: str, calendar: Calendar) -> None:
    assert parse_calendar(text) == calendar
    assert calendar.text == text


def test_the_text_of_a_kind_in_utc_is_the_kind() -> None:
    assert [Calendar(WindowKind(kind)).text for kind in SHORT] == SHORT


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "'' is no calendar; one is hour, day, week, month, lifetime, or month@Asia/Tokyo"),
        ("year", "'year' is no calendar; one is hour, day, week, month, lifetime, or month@Asia/Tokyo"),
        ("month@Europe/Atlantis", "'Europe/Atlantis' is no IANA time zone; one is Europe/Amsterdam"),
        ("month@../../etc/passwd", "'../../etc/passwd' is no IANA time zone; one is Europe/Amsterdam"),
        ("month@europe/amsterdam", "'europe/amsterdam' is no IANA time zone; one is Europe/Amsterdam"),
        ("day@right/UTC", "'right/UTC' is no IANA time zone; one is Europe/Amsterdam"),
        ("day@localtime", "'localtime' is no IANA time zone; one is Europe/Amsterdam"),
        ("month@UTC", "'month@UTC' is written month"),
        ("month@", "'month@' is written month"),
        ("month~15", "'month~15' is no calendar; one is hour, day, week, month, lifetime, or month@Asia/Tokyo"),
        ("week@UTC~monday", "'week@UTC~monday' is written week"),
        ("week@Asia/Tokyo~", f"'' is no weekday; use one of {WEEKDAYS}"),
        ("month@UTC~015", "'month@UTC~015' is written month@UTC~15"),
        ("month@UTC~1", "'month@UTC~1' is written month"),
        ("month@UTC~0", "a month starts on a day from 1 to 31"),
        ("month@UTC~32", "a month starts on a day from 1 to 31"),
        ("month@UTC~99999999999999999999", "a month starts on a day from 1 to 31"),
        ("month@UTC~²", f"'²' is no weekday; use one of {WEEKDAYS}"),
        ("month@UTC~sunday", "only weeks begin on a weekday, and the window is a month"),
        ("week@UTC~15", "only months begin on a day of the month, and the window is a week"),
        ("day@UTC~15", "only months begin on a day of the month, and the window is a day"),
        ("lifetime@Asia/Tokyo", "a lifetime window has no time zone; leave it out or say UTC"),
    ],
)  # fmt: skip
def test_what_is_no_calendar_is_refused(text: str, error: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 # the text is compared below
        parse_calendar(text)
    assert str(refused.value) == error
