"""What must happen to each usage record, and what all of them add up to.

The rules are the contract's. One `PartitionRecount` judges the records of one partition in offset order; `Totals` adds
up what was counted, scope by scope and hour by hour, and spreads the hours over windows at the end.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from hashlib import sha256
from typing import Final

import msgspec
from aiokafka import ConsumerRecord

from tollgate.schemas.partitions import partition_of
from tollgate.schemas.refusals import Refusal
from tollgate.schemas.usage_codec import EventRecord, decode_usage_event
from tollgate.verification.calendar import held_kinds, hour_of, instant, milliseconds, start_of, window_suffix
from tollgate.verification.sums import AMOUNT_DECIMALS, Sum, scaled

FUTURE_MS: Final = 5 * 60 * 1000
DEDUPE_SECONDS: Final = 35 * 24 * 3600
# The header of a record that a worker has sent to its user's partition: `partition:offset` of where it came from.
FORWARDED_HEADER: Final = "tollgate-forwarded-from"

_SHARED: Final = ("org", "service", "provider", "model", "agent", "campaign", "feature", "product")
_canonical = msgspec.json.Encoder(order="sorted").encode


class Outcome(StrEnum):
    """Each record of the usage topic has exactly one."""

    COUNTED = "counted"
    DUPLICATE = "duplicate"
    REFUSED = "refused"
    FORWARDED = "forwarded"


@dataclass(slots=True)
class Verdict:
    """What must happen to one record. `reason` is set for refusals, `home` for forwarded records, `kinds` are the
    windows that a counted event goes into.
    """

    outcome: Outcome
    event: EventRecord | None = None
    reason: str = ""
    home: int = -1
    kinds: tuple[str, ...] = ()


def origin_of(record: ConsumerRecord) -> str | None:
    """`partition:offset` of where a forwarded record came from; None for any other."""
    for name, value in record.headers:
        if name == FORWARDED_HEADER:
            return bytes(value or b"").decode("utf-8", "replace")
    return None


class PartitionRecount:
    """Judges the records of one partition, which must come in offset order; its clock is the highest broker time."""

    def __init__(self, partition: int, partitions: int) -> None:
        self._partition = partition
        self._partitions = partitions
        self._clock_ms = 0
        self._seen: dict[bytes, tuple[bytes, int]] = {}

    def judge(self, record: ConsumerRecord) -> Verdict:
        """What must happen to the next record."""
        event = decode_usage_event(record.value, record.headers)
        if isinstance(event, Refusal):
            return Verdict(Outcome.REFUSED, reason=event.reason.value)
        self._clock_ms = max(self._clock_ms, record.timestamp)
        home = partition_of(event.subject.encode(), self._partitions)
        if home != self._partition:
            if origin_of(record) is not None:
                return Verdict(Outcome.REFUSED, reason="misrouted")
            return Verdict(Outcome.FORWARDED, event, home=home)
        if event.time_ms > record.timestamp + FUTURE_MS:
            return Verdict(Outcome.REFUSED, reason="future")
        identity = sha256(_canonical((event.source, event.id))).digest()[:16]
        said = sha256(_canonical((event.subject, event.data))).digest()[:8]
        now_s = record.timestamp // 1000
        before = self._seen.get(identity)
        if before is not None and now_s - before[1] <= DEDUPE_SECONDS:
            if before[0] == said:
                return Verdict(Outcome.DUPLICATE, event)
            return Verdict(Outcome.REFUSED, reason="conflict")
        self._seen[identity] = (said, now_s)
        kinds = held_kinds(hour_of(event.time_ms), hour_of(self._clock_ms))
        return Verdict(Outcome.COUNTED, event, kinds=kinds)


class Totals:
    """Sums of counted events: per scope, hour and kinds held; and per user and month, held or not."""

    def __init__(self) -> None:
        self._cells: dict[tuple[str, int, tuple[str, ...]], Sum] = {}
        self.user_months: dict[tuple[str, int], Sum] = {}
        self.all = Sum()

    def add(self, event: EventRecord, kinds: tuple[str, ...], cost_picousd: int, retail_picousd: int) -> None:
        """Count an event at this cost."""
        usage = {
            dimension: amount * 10**AMOUNT_DECIMALS if isinstance(amount, int) else scaled(amount, AMOUNT_DECIMALS)
            for dimension, amount in event.data.usage.items()
        }
        one = Sum(cost_picousd, retail_picousd, 1, usage)
        hour_ms = hour_of(event.time_ms)
        for scope in scopes_of(event):
            self._cells.setdefault((scope, hour_ms, kinds), Sum()).add(one)
        month_ms = milliseconds(start_of("month", instant(hour_ms)))
        self.user_months.setdefault((event.subject, month_ms), Sum()).add(one)
        self.all.add(one)

    def windows(self, earlier: dict[str, Sum] | None = None) -> dict[str, Sum]:
        """The sum of every window, by the key of its spend record, on top of earlier ones (which are not changed)."""
        found = {key: replace(amount, usage_nano=dict(amount.usage_nano)) for key, amount in (earlier or {}).items()}
        for (scope, hour_ms, kinds), amount in self._cells.items():
            for kind in kinds:
                found.setdefault(scope + window_suffix(kind, hour_ms), Sum()).add(amount)
        return found


def scopes_of(event: EventRecord) -> Iterator[str]:
    """Every scope that the event is counted for."""
    yield "global"
    yield f"user/{event.subject}"
    for dimension in _SHARED:
        name = getattr(event.data, dimension)
        if name:
            yield f"{dimension}/{name}"
