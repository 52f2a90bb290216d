"""The alerts that are not resolved, as the topic has them."""

import heapq
from decimal import Decimal
from typing import Final, NamedTuple

from tollgate.console.live.ignored import Ignored
from tollgate.schemas.outputs import Alert, AlertLevel
from tollgate.schemas.record_reading import UnreadableError, read_record
from tollgate.schemas.topics import Topic

_URGENCY: Final = {AlertLevel.EMERGENCY: 0, AlertLevel.CRITICAL: 1, AlertLevel.WARNING: 2, AlertLevel.RESOLVED: 3}


Rank = tuple[int, Decimal, str]
"""Where an alert stands among others: its urgency (0 is the highest), its percent with the sign turned, since when."""


def rank(alert: Alert) -> Rank:
    """The alert's rank: the lower, the worse it is."""
    return _URGENCY[alert.level], -Decimal(alert.percent or 0), alert.since


class _Kept(NamedTuple):
    scope: str
    rank: Rank
    revision: int
    value: bytes


class HeldAlerts:
    """By key the alert that was last written, unless it is resolved."""

    def __init__(self, ignored: Ignored) -> None:
        self._alerts: dict[str, _Kept] = {}
        self._ignored = ignored

    def take(self, key: bytes, value: bytes | None) -> tuple[str, str] | None:
        """Take in a record. The alert's key and scope when something changed."""
        try:
            name = key.decode()
            alert = None if value is None else read_record(Alert.model_validate_json, value)
        except (UnreadableError, UnicodeDecodeError) as error:
            self._ignored.note(Topic.ALERTS, "the key is not UTF-8" if isinstance(error, UnicodeError) else str(error))
            return None
        if alert is None or value is None:
            return self._drop(name)
        if alert.key != name:
            self._ignored.note(Topic.ALERTS, "the key is not the alert's")
            return None
        kept = self._alerts.get(name)
        if kept is not None and kept.revision > alert.revision:
            return None
        if alert.level is AlertLevel.RESOLVED:
            return self._drop(name)
        self._alerts[name] = _Kept(alert.scope, rank(alert), alert.revision, value)
        return name, alert.scope

    def _drop(self, name: str) -> tuple[str, str] | None:
        kept = self._alerts.pop(name, None)
        return None if kept is None else (name, kept.scope)

    def forget(self) -> None:
        """Forget everything."""
        self._alerts.clear()

    def get(self, key: str) -> Alert | None:
        """The alert of this key; None when it is resolved or there is none."""
        kept = self._alerts.get(key)
        return None if kept is None else Alert.model_validate_json(kept.value)

    def worst(
        self, limit: int, scope: str | None = None, after: tuple[Rank, str] | None = None
    ) -> tuple[list[Alert], int]:
        """The worst ones (of a scope), at most `limit`, behind the place `after`; and how many there are behind it.

        By level, then by percent, the oldest first.
        """
        ranked = [(kept.rank, key) for key, kept in self._alerts.items() if scope is None or kept.scope == scope]
        if after is not None:
            ranked = [place for place in ranked if place > after]
        worst = heapq.nsmallest(limit, ranked)
        return [Alert.model_validate_json(self._alerts[key].value) for _rank, key in worst], len(ranked)

    def __len__(self) -> int:
        return len(self._alerts)
