"""Calendar windows: both sides of each border, and which are still held."""

import pytest

from tollgate.domain.windows import DAY_MS, HOUR_MS, Horizon, months_later, window_end, window_start
from tollgate.schemas.instants import format_instant, parse_instant
from tollgate.schemas.vocabulary import WindowKind


@pytest.mark.parametrize(
    ("kind", "instant", "start", "end"),
    [
        (WindowKind.HOUR, "2026-11-21T10:00:00Z", "2026-11-21T10:00:00Z", "2026-11-21T11:00:00Z"),
        (WindowKind.HOUR, "2026-11-21T10:59:59.999Z", "2026-11-21T10:00:00Z", "2026-11-21T11:00:00Z"),
        (WindowKind.DAY, "2026-11-21T00:00:00Z", "2026-11-21T00:00:00Z", "2026-11-22T00:00:00Z"),
        (WindowKind.DAY, "2026-11-21T23:59:59.999Z", "2026-11-21T00:00:00Z", "2026-11-22T00:00:00Z"),
        (WindowKind.MONTH, "2026-11-01T00:00:00Z", "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"),
        (WindowKind.MONTH, "2026-12-31T23:59:59.999Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
        (WindowKind.MONTH, "2028-02-29T12:00:00Z", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"),
        (WindowKind.LIFETIME, "2026-11-21T10:00:00Z", "1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z"),
    ],
)
def test_a_window_is_half_open_and_follows_the_calendar(kind: WindowKind, instant: str, start: str, end: str) -> None:
    start_ms = window_start(kind, parse_instant(instant))
    assert format_instant(start_ms) == start
    assert format_instant(window_end(kind, start_ms)) == end


def kinds(horizon: Horizon, slot: str) -> list[str]:
    return [str(kind) for kind, _ in horizon.windows_of(parse_instant(slot))]


def test_an_hour_is_held_for_72_hours_and_not_one_hour_longer() -> None:
    now = parse_instant("2026-11-21T10:30:00Z")
    horizon = Horizon(now)
    assert kinds(horizon, "2026-11-18T10:00:00Z") == ["lifetime", "hour", "day", "month"]
    assert kinds(horizon, "2026-11-18T09:00:00Z") == ["lifetime", "day", "month"]
    assert format_instant(horizon.punctual_from_ms) == "2026-11-18T10:00:00Z"


def test_a_day_is_held_for_62_days_and_a_month_for_25_months() -> None:
    horizon = Horizon(parse_instant("2026-11-21T10:30:00Z"))
    assert kinds(horizon, "2026-09-20T00:00:00Z") == ["lifetime", "day", "month"]
    assert kinds(horizon, "2026-09-19T23:00:00Z") == ["lifetime", "month"]
    assert kinds(horizon, "2024-10-01T00:00:00Z") == ["lifetime", "month"]
    assert kinds(horizon, "2024-09-30T23:00:00Z") == ["lifetime"]


def test_the_horizon_moves_forward_only_and_at_the_full_hour() -> None:
    horizon = Horizon(parse_instant("2026-11-21T10:59:59.999Z"))
    old = parse_instant("2026-11-18T10:00:00Z")
    assert horizon.holds(WindowKind.HOUR, old)
    horizon.advance(parse_instant("2026-11-21T11:00:00Z"))
    assert not horizon.holds(WindowKind.HOUR, old)
    horizon.advance(parse_instant("2026-11-21T10:00:00Z"))
    assert not horizon.holds(WindowKind.HOUR, old)


def test_slack_keeps_windows_longer() -> None:
    now = parse_instant("2026-11-21T10:00:00Z")
    assert not Horizon(now).holds(WindowKind.HOUR, now - 73 * HOUR_MS)
    assert Horizon(now, slack_ms=DAY_MS).holds(WindowKind.HOUR, now - 73 * HOUR_MS)


def test_a_clock_that_has_seen_nothing_holds_everything() -> None:
    assert kinds(Horizon(), "1970-01-01T00:00:00Z") == ["lifetime", "hour", "day", "month"]


def test_the_windows_of_a_slot_are_those_that_contain_it() -> None:
    horizon = Horizon(parse_instant("2026-11-21T10:30:00Z"))
    found = horizon.windows_of(parse_instant("2026-11-20T23:00:00Z"))
    assert [(str(kind), format_instant(start)) for kind, start in found] == [
        ("lifetime", "1970-01-01T00:00:00Z"),
        ("hour", "2026-11-20T23:00:00Z"),
        ("day", "2026-11-20T00:00:00Z"),
        ("month", "2026-11-01T00:00:00Z"),
    ]


def test_what_is_held_stays_the_same_from_one_full_hour_to_the_next() -> None:
    horizon = Horizon(parse_instant("2026-11-21T10:30:00Z"))
    assert format_instant(horizon.since_ms) == "2026-11-21T10:00:00Z"
    assert format_instant(horizon.next_ms) == "2026-11-21T11:00:00Z"
    horizon.advance(parse_instant("2026-11-21T12:45:00Z"))
    assert format_instant(horizon.since_ms) == "2026-11-21T12:00:00Z"
    assert format_instant(horizon.next_ms) == "2026-11-21T13:00:00Z"


def test_more_slots_than_are_remembered_have_their_own_windows() -> None:
    horizon = Horizon(parse_instant("2026-11-21T10:30:00Z"))
    for hour in range(5_000):
        (_, (kind, start)) = horizon.windows_of(parse_instant("2024-10-01T00:00:00Z") + hour * HOUR_MS)[:2]
        assert kind in (WindowKind.HOUR, WindowKind.DAY, WindowKind.MONTH)
        assert start <= parse_instant("2024-10-01T00:00:00Z") + hour * HOUR_MS


def test_months_end_with_the_years_that_can_be_written() -> None:
    january = parse_instant("1970-01-01T00:00:00Z")
    assert months_later(january, -25) == 0
    december = parse_instant("9999-12-01T00:00:00Z")
    assert format_instant(months_later(december, 1)) == "9999-12-31T23:59:59Z"
    assert Horizon(december).holds(WindowKind.MONTH, december)
