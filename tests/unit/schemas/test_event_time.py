"""Facts about event times."""

import pytest

from tollgate.schemas.event_time import EVENT_TIME_MS_MAX, event_time_ms, parse_event_time

# 2026-11-21T10:00:00Z: 20,778 days of 86,400,000 ms and 10 hours of 3,600,000 ms.
TEN = 1_795_255_200_000

ACCEPTED = [
    ("2026-11-21T10:00:00Z", TEN),
    ("2026-11-21t10:00:00z", TEN),
    ("2026-11-21 10:00:00Z", TEN),
    ("2026-11-21T10:00:00.0Z", TEN),
    ("2026-11-21T10:00:00.1Z", TEN + 100),
    ("2026-11-21T10:00:00.12Z", TEN + 120),
    ("2026-11-21T10:00:00.123Z", TEN + 123),
    ("2026-11-21T10:00:00.1239Z", TEN + 123),
    ("2026-11-21T10:00:00.999999999Z", TEN + 999),
    ("2026-11-21T12:00:00+02:00", TEN),
    ("2026-11-21T12:00:00.123456+02:00", TEN + 123),
    ("2026-11-21T04:30:00.5-05:30", TEN + 500),
    ("2026-11-21T10:00:00-00:00", TEN),
    ("2024-02-29T00:00:00Z", 1_709_164_800_000),
    ("1970-01-01T00:00:00Z", 0),
    ("1970-01-01T00:00:00.001Z", 1),
    ("1969-12-31T23:30:00-01:00", 1_800_000),
    ("1969-12-31T23:30:00.250-01:00", 1_800_250),
    ("9999-12-31T23:59:59.999Z", 253_402_300_799_999),
]
REFUSED = [
    ("2026-11-21T10:00:00", "offset"),
    ("2026-11-21T10:00:00.123", "offset"),
    ("2026-12-31T23:59:60Z", "calendar"),
    ("2026-11-21T24:00:00Z", "calendar"),
    ("2026-02-29T00:00:00Z", "calendar"),
    ("0000-01-01T00:00:00Z", "calendar"),
    ("0001-01-01T00:00:00Z", "1970"),
    ("1969-12-31T23:59:59.999Z", "1970"),
    ("1970-01-01T00:59:59.999+01:00", "1970"),
    ("9999-12-31T23:59:59.999-00:01", "9999"),
    ("2026-11-21T10:00:00+24:00", "offset"),
    ("2026-11-21T10:00:00+01:60", "offset"),
    ("2026-11-21T10:00:00.Z", "RFC 3339"),
    ("2026-11-21T10:00Z", "RFC 3339"),
    ("2026-11-21", "RFC 3339"),
    ("2026-11-21T10:00:00Z\n", "RFC 3339"),
    ("2026-11-21T10:00:00+0100", "RFC 3339"),
    ("2026-11-21T10:00:00." + "1" * 10_000 + "Z", "RFC 3339"),
    ("", "RFC 3339"),
]


@pytest.mark.parametrize(("text", "ms"), ACCEPTED)
def test_a_time_is_read_the_same_by_parsing_and_from_memory(text: str, ms: int) -> None:
    assert parse_event_time(text) == ms
    assert [event_time_ms(text) for _ in range(3)] == [ms, ms, ms]


@pytest.mark.parametrize(("text", "why"), REFUSED)
def test_what_is_no_event_time_is_refused_and_stays_refused(text: str, why: str) -> None:
    for read in (parse_event_time, event_time_ms, event_time_ms):
        with pytest.raises(ValueError, match=why):
            read(text)


def test_parts_that_were_remembered_apart_are_not_put_together_wrongly() -> None:
    for text, _ in ACCEPTED:
        event_time_ms(text)
    # Each part has been seen, the whole has not.
    assert event_time_ms("2024-02-29T10:00:00.123+02:00") == 1_709_164_800_000 + 8 * 3_600_000 + 123
    for text in (
        "2026-11-21T10:00:00.123",
        "2026-11-21T10:00:00.",
        "2026-11-21T10:00:00+02:00Z",
        "2026-11-21T10:00:00ZZ",
    ):
        with pytest.raises(ValueError, match=r"RFC 3339|offset"):
            event_time_ms(text)
    with pytest.raises(ValueError, match="9999"):
        event_time_ms("9999-12-31T23:59:59.999-05:30")


def test_the_last_instant_is_the_last_of_9999() -> None:
    assert parse_event_time("9999-12-31T23:59:59.999Z") == EVENT_TIME_MS_MAX
