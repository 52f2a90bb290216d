"""One message for many alerts: who is in it, and what it says. Pure.

A digest is told like an alert: it is posted once, looked up when in doubt, and edited as its members change.
"""

from collections import Counter
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Final, NamedTuple
from zlib import crc32

from tollgate.sinks.alerts.alert import SEVERITY, Alert, Level
from tollgate.sinks.alerts.notification import Notification

KEY_PREFIX: Final = "digest/"


class Member(NamedTuple):
    """An alert that a digest tells of. `line` names it, `percent` is how bad it was when it was told."""

    level: str
    line: str
    percent: str

    @classmethod
    def of(cls, notification: Notification) -> "Member":
        """As it was recorded."""
        return cls(notification.level, notification.line, notification.percent)


class Digest(Alert, frozen=True, kw_only=True):
    """The digest as it stands; `members` has the worst first. Its level is that of the worst."""

    members: tuple[Member, ...]

    @property
    def counts(self) -> dict[str, int]:
        """How many members are at each level, the worst level first."""
        found = Counter(member.level for member in self.members)
        return {level: found[level] for level in sorted(found, key=_severity_of, reverse=True)}

    @property
    def line(self) -> str:
        """What tells whether a message is up to date: `critical 3, resolved 1, 5f0e1c22`, the last of all members."""
        counted = ", ".join(f"{level} {count}" for level, count in self.counts.items())
        return f"{counted or 'empty'}, {crc32(repr(self.members).encode('utf-8', 'surrogatepass')):08x}"


def digest_of(key: str, members: Mapping[str, Member], revision: int, since: str, now: str) -> Digest:
    """The digest of these members at `now` (RFC 3339). An empty one is resolved."""
    ranked = sorted(members.values(), key=_rank)
    worst: Level = ranked[0].level if ranked else "resolved"  # type: ignore[assignment] # a record may hold any text
    return Digest(
        key=key,
        kind="digest",
        level=worst if worst in SEVERITY else "warning",
        revision=revision,
        since=since,
        updated_at=now,
        # Whoever was refused before it could be posted is worth a message.
        peak_level="critical",
        members=tuple(ranked),
    )


def _rank(member: Member) -> tuple[int, Decimal, str]:
    try:
        percent = Decimal(member.percent or 0)
    except InvalidOperation:
        percent = Decimal(0)
    return -_severity_of(member.level), -percent if percent.is_finite() else Decimal(0), member.line


def _severity_of(level: str) -> int:
    return SEVERITY.get(level, 0)
