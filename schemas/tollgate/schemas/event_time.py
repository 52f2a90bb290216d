"""Event times: RFC 3339 text with an offset, to milliseconds. Events may be of the years 1970 to 9999."""

import re
from datetime import datetime
from typing import Final

# 9999-12-31T23:59:59.999Z, the last instant that four digits can write.
EVENT_TIME_MS_MAX: Final = 253_402_300_799_999
# Far longer than any sensible time; bounds what the pattern is tried on.
_CHARS_MAX: Final = 64

_RFC_3339: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?"
    r"(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))?"
)
_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 # offsets are subtracted as integers, which cannot overflow


def parse_event_time(text: str) -> int:
    """Milliseconds since the epoch, rounded down. ValueError says what is wrong without quoting the text.

    Accepted: `T`, `t` or a space between date and time, any number of decimals, `Z`, `z` or an offset up to ±23:59.
    Refused: no offset, a leap second (`:60`), 24:00, an instant before 1970 or after 9999.
    """
    match = _RFC_3339.fullmatch(text) if len(text) <= _CHARS_MAX else None
    if match is None:
        raise ValueError("must be RFC 3339, for example 2026-11-21T10:00:00Z")
    *fields, fraction, sign, offset_hours, offset_minutes = match.groups()
    if sign is None and text[-1] not in "Zz":
        raise ValueError("must have an offset, such as Z or +02:00")
    try:
        moment = datetime(*map(int, fields))  # type: ignore[arg-type] # noqa: DTZ001 # six of seven fields
    except ValueError:
        raise ValueError("is no time of the calendar") from None
    since = moment - _EPOCH
    ms = (since.days * 86_400 + since.seconds) * 1000
    if fraction:
        ms += int(fraction[:3].ljust(3, "0"))
    if sign is not None:
        hours, minutes = int(offset_hours), int(offset_minutes)
        if hours > 23 or minutes > 59:
            raise ValueError("has no valid offset")
        offset_ms = (hours * 60 + minutes) * 60_000
        ms += offset_ms if sign == "-" else -offset_ms
    if not 0 <= ms <= EVENT_TIME_MS_MAX:
        raise ValueError("must be in the years 1970 to 9999")
    return ms


# A busy service sends the same few hours, minutes and ends of time texts again and again. Each part's milliseconds are
# remembered apart, so that four look-ups replace the parsing: `2026-11-21T10`, `:00:00`, `.123`, `Z`.
_PARTS_MAX: Final = 20_000
# Within a day of 1970 an offset may put the wall clock in 1969, which has no milliseconds of its own.
_REMEMBERED_FROM_MS: Final = 2 * 86_400_000
_hours: Final[dict[str, int]] = {}
_minutes: Final[dict[str, int]] = {}
_millis: Final[dict[str, int]] = {}
_ends: Final[dict[str, int]] = {}


def event_time_ms(text: str) -> int:
    """Exactly `parse_event_time`, several times faster for texts whose parts have been seen."""
    try:
        if len(text) == 20:
            ms = _hours[text[:13]] + _minutes[text[13:19]] + (0 if text[19] == "Z" else _ends[""])
        else:
            ms = _hours[text[:13]] + _minutes[text[13:19]] + _millis[text[19:23]] + _ends[text[23:]]
        if 0 <= ms <= EVENT_TIME_MS_MAX:
            return ms
    except KeyError:
        pass
    return _parse_and_remember(text)


def _parse_and_remember(text: str) -> int:
    ms = parse_event_time(text)
    head, fraction, end = text[:19], text[19:23], text[23:]
    if len(text) == 20:
        fraction, end = ".000", "Z"
    elif not (fraction[0] == "." and fraction[1:].isdigit() and end):
        return ms
    if ms < _REMEMBERED_FROM_MS:
        return ms
    for parts in (_hours, _minutes, _millis, _ends):
        if len(parts) >= _PARTS_MAX:
            parts.clear()
    hour_ms = parse_event_time(f"{head[:13]}:00:00Z")
    minute_ms = parse_event_time(f"1970-01-01T00{head[13:]}Z")
    fraction_ms = int(fraction[1:])
    _hours[head[:13]], _minutes[head[13:]], _millis[fraction] = hour_ms, minute_ms, fraction_ms
    _ends[end] = ms - hour_ms - minute_ms - fraction_ms
    return ms
