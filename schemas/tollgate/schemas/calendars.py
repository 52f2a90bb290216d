"""Calendars: how the windows of a budget follow one another, and the text that is a calendar's identity everywhere.

`hour`, `day`, `week`, `month` and `lifetime` are in UTC, weeks from Monday and months from the 1st. All others are
written `kind@zone`, with `~anchor` where a week does not begin on Monday or a month not on the 1st: `month@Asia/Tokyo`,
`week@UTC~sunday`, `month@Europe/Amsterdam~15`. Each calendar has one text, and each text is of one calendar.
The arithmetic of windows is in `domain/windows.py`.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from zoneinfo import available_timezones

from tollgate.schemas.vocabulary import WindowKind

UTC_ZONE: Final = "UTC"
WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

# Names that the time zone database holds and that are no place's: what they mean depends on the machine.
_NO_ZONES: Final = frozenset({"Factory", "localtime", "posixrules"})


@dataclass(frozen=True, slots=True)
class Calendar:
    """How windows are cut. ValueError, one sentence for people, for a calendar that there is not.

    `timezone` is an IANA name; a lifetime has none but UTC. `week_starts_on` is the English weekday, lower-case.
    `month_starts_on` is 1 to 31: in a shorter month the window starts on its last day.
    """

    kind: WindowKind
    timezone: str = UTC_ZONE
    week_starts_on: str = WEEKDAYS[0]
    month_starts_on: int = 1

    def __post_init__(self) -> None:
        if self.timezone not in time_zones():
            raise ValueError(f"{self.timezone[:64]!r} is no IANA time zone; one is Europe/Amsterdam")
        if self.kind is WindowKind.LIFETIME and self.timezone != UTC_ZONE:
            raise ValueError("a lifetime window has no time zone; leave it out or say UTC")
        if self.week_starts_on not in WEEKDAYS:
            raise ValueError(f"{self.week_starts_on[:64]!r} is no weekday; use one of {', '.join(WEEKDAYS)}")
        if self.week_starts_on != WEEKDAYS[0] and self.kind is not WindowKind.WEEK:
            raise ValueError(f"only weeks begin on a weekday, and the window is a {self.kind}")
        if not 1 <= self.month_starts_on <= 31:
            raise ValueError("a month starts on a day from 1 to 31")
        if self.month_starts_on != 1 and self.kind is not WindowKind.MONTH:
            raise ValueError(f"only months begin on a day of the month, and the window is a {self.kind}")

    @property
    def text(self) -> str:
        """The calendar's identity; `parse_calendar` is the inverse."""
        if self == Calendar(self.kind):
            return self.kind.value
        text = f"{self.kind.value}@{self.timezone}"
        if self.week_starts_on != WEEKDAYS[0]:
            return f"{text}~{self.week_starts_on}"
        return f"{text}~{self.month_starts_on}" if self.month_starts_on != 1 else text


@lru_cache(maxsize=1024)
def parse_calendar(text: str) -> Calendar:
    """The calendar of a text. ValueError, one sentence for people, when the text is no calendar's."""
    kind, _, cut = text.partition("@")
    if kind not in list(WindowKind):
        raise ValueError(f"{text[:64]!r} is no calendar; one is {', '.join(WindowKind)}, or month@Asia/Tokyo")
    zone, tilde, anchor = cut.partition("~")
    week, month = WEEKDAYS[0], 1
    if anchor.isascii() and anchor.isdecimal():
        month = int(anchor[:3])
    elif tilde:
        week = anchor
    calendar = Calendar(WindowKind(kind), zone or UTC_ZONE, week, month)
    if calendar.text != text:
        raise ValueError(f"{text[:64]!r} is written {calendar.text}")
    return calendar


@lru_cache(maxsize=1)
def time_zones() -> frozenset[str]:
    """Every IANA time zone that this machine knows, with those of the `tzdata` package."""
    return frozenset(available_timezones()) - _NO_ZONES
