"""A broker's clock that is ahead of the worker's: one alert while it is, and its end."""

from typing import Final

import msgspec
import structlog

from tollgate.ledger.outbox import NO_HEADERS, Outbox
from tollgate.schemas.instants import format_instant
from tollgate.schemas.outputs import Action, AlertKind, AlertLevel, FlagState
from tollgate.schemas.outputs_codec import AlertRecord
from tollgate.schemas.topics import Topic
from tollgate.schemas.vocabulary import GLOBAL_SCOPE

# The row of the state topic: since when the alert fires, and its revision.
ROW: Final = "clock"

# One record may be stamped wrongly, and the next one be right. The alert stays long enough to be seen.
FIRING_MS_MIN: Final = 10 * 60 * 1000

log = structlog.get_logger("tollgate.ledger")

_encode = msgspec.json.Encoder().encode


class Firing(msgspec.Struct):
    """The alert as it was last written."""

    since_ms: int
    revision: int = 0


_decode = msgspec.json.Decoder(Firing).decode


class ClockWatch:
    """The clock of the broker that stamps one partition of usage."""

    def __init__(self, partition: int, state: Topic) -> None:
        self._partition = partition
        self._state = state
        self._firing: Firing | None = None
        # The latest stamp that was too far ahead since the last write, and whether one in bounds has come after it.
        self._ahead: tuple[int, int] | None = None
        self._is_right = False

    def note(self, stamp_ms: int, limit_ms: int) -> None:
        """The broker has stamped a record; a stamp above the limit is ahead of the worker's clock."""
        self._is_right = stamp_ms <= limit_ms
        if not self._is_right and (self._ahead is None or stamp_ms > self._ahead[0]):
            self._ahead = stamp_ms, limit_ms

    def write(self, outbox: Outbox, now_ms: int) -> None:
        """The alert when stamps are ahead; its end with the first transaction ten minutes later, if they are right."""
        if self._ahead is not None:
            stamp_ms, limit_ms = self._ahead
            reason = (
                f"the broker stamped a record of {Topic.USAGE.value} partition {self._partition} with "
                f"{format_instant(stamp_ms)}, over {(stamp_ms - limit_ms) // 1000} s later than the worker's clock "
                "allows: budgets go on by the worker's clock; set the broker's clock"
            )
            if self._firing is None:
                log.warning(
                    "a broker's clock is ahead of the worker's",
                    partition=self._partition,
                    stamp=format_instant(stamp_ms),
                    allowed=format_instant(limit_ms),
                )
                self._firing = Firing(now_ms)
                self._write(outbox, self._firing, AlertLevel.WARNING, reason, now_ms)
            self._ahead = None
        elif self._is_right and self._firing is not None and now_ms >= self._firing.since_ms + FIRING_MS_MIN:
            firing, self._firing = self._firing, None
            reason = f"the broker stamps partition {self._partition} with times that the worker's clock allows"
            self._write(outbox, firing, AlertLevel.RESOLVED, reason, now_ms)

    def _write(self, outbox: Outbox, firing: Firing, level: AlertLevel, reason: str, now_ms: int) -> None:
        # Rises with time, so that an alert that fires again is newer than its end.
        firing.revision = max(firing.revision + 1, now_ms)
        key = f"clock/{self._partition}"
        alert = AlertRecord(
            key=key,
            kind=AlertKind.CLOCK,
            level=level,
            scope=GLOBAL_SCOPE,
            state=FlagState.OK,
            action=Action.ALERT if level is not AlertLevel.RESOLVED else None,
            reason=reason,
            peak_level=AlertLevel.WARNING,
            since=format_instant(firing.since_ms),
            updated_at=format_instant(now_ms),
            revision=firing.revision,
        )
        outbox.to(Topic.ALERTS, 0).append((key.encode(), _encode(alert), NO_HEADERS))
        row = _encode(firing) if level is not AlertLevel.RESOLVED else None
        outbox.to(self._state, self._partition).append((ROW.encode(), row, NO_HEADERS))

    def restore(self, rows: dict[str, bytes]) -> None:
        """Take back whether the alert fires."""
        row = rows.get(ROW)
        self._firing = _decode(row) if row is not None else None
