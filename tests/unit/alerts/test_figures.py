"""Numbers and times in words."""

import pytest
from tests.support.alert_records import budget_record, decoded

from tollgate.sinks.alerts.alert import AlertWindow
from tollgate.sinks.alerts.figures import amount, calming_limit, duration, percent, window_name


@pytest.mark.parametrize(
    ("text", "unit", "shown"),
    [
        ("100", "usd", "$100"),
        ("104.2", "usd", "$104.20"),
        # Rounded down: it has not reached 100.
        ("99.999", "usd", "$99.99"),
        ("1234567.891", "usd", "$1,234,567.89"),
        ("0.0125", "usd", "$0.0125"),
        ("0.000000250001", "usd", "$0.000000250001"),
        ("0", "usd", "$0"),
        ("4000000", "events", "4,000,000 events"),
        ("2.5", "video_seconds", "2.5 video seconds"),
        (None, "usd", "?"),
        ("NaN", "usd", "?"),
    ],
)
def test_amounts(text: str | None, unit: str, shown: str) -> None:
    assert amount(text, unit) == shown


@pytest.mark.parametrize(("text", "shown"), [("104.20", "104.2 %"), ("80.00", "80 %"), ("100", "100 %"), (None, "? %")])
def test_percents(text: str | None, shown: str) -> None:
    assert percent(text) == shown


@pytest.mark.parametrize(
    ("spent", "limit", "unit", "suggested"),
    [
        ("104.2", "100", "usd", "140"),  # 130.25 → 140
        ("80", "100", "usd", "110"),  # exactly 100 would be 80 % again
        ("0.08", "0.1", "usd", "0.11"),
        ("5", "6", "events", "7"),  # 6.25 → 7, no part of an event
        ("4200000", "4000000", "events", "5300000"),  # 5,250,000
        ("0", "100", "usd", None),
    ],
)
def test_the_suggested_limit_puts_spend_below_its_warning(
    spent: str, limit: str, unit: str, suggested: str | None
) -> None:
    assert calming_limit(decoded(budget_record(spent=spent, limit=limit, unit=unit))) == suggested


@pytest.mark.parametrize(
    ("kind", "start", "zone", "shown"),
    [
        ("month", "2026-11-01T00:00:00Z", "UTC", "Nov 2026 UTC"),
        ("month", "2026-10-31T23:00:00Z", "Europe/Berlin", "Nov 2026 Europe/Berlin"),
        ("day", "2026-11-21T00:00:00Z", "UTC", "21 Nov 2026 UTC"),
        ("hour", "2026-11-21T10:00:00Z", "UTC", "21 Nov 2026 10:00 UTC"),
        ("lifetime", "1970-01-01T00:00:00Z", "UTC", "lifetime"),
        ("day", "2026-11-21T00:00:00Z", "../x", "day from 2026-11-21 00:00 UTC"),
    ],
)
def test_windows(kind: str, start: str, zone: str, shown: str) -> None:
    assert window_name(AlertWindow(kind, start, "2026-12-01T00:00:00Z", zone)) == shown


@pytest.mark.parametrize(
    ("until", "shown"),
    [
        ("2026-11-21T12:00:40Z", "40 s"),
        ("2026-11-21T13:05:30Z", "1 h 5 min"),
        ("2026-11-23T15:00:00Z", "2 d 3 h"),
        ("2026-11-21T12:00:00Z", "0 s"),
        ("2026-11-21T11:00:00Z", None),
    ],
)
def test_durations(until: str, shown: str | None) -> None:
    assert duration("2026-11-21T12:00:00Z", until) == shown
