"""Blocked and stopped scopes that no user is in: read from the flags topic before anything is counted, then followed.

Reservations ask for them. Their owner is the second stage, perhaps in another worker, so what is known here is late by
one transaction of it and the way through Kafka.
"""

from typing import Final

import msgspec
import structlog
from aiokafka import ConsumerRecord

from tollgate.domain.reservations import Blocked
from tollgate.runtime.settings import Settings
from tollgate.schemas.instants import parse_instant
from tollgate.schemas.record_reading import UnreadableError, read_record
from tollgate.schemas.topics import DELTA_PARTITIONS, Topic
from tollgate.worker.following import Following

log = structlog.get_logger("tollgate.worker")

# Scopes of users, alone or combined with other names, are decided where reservations are.
_USERS: Final = b"user/"


class _Flag(msgspec.Struct):
    scope: str
    blocked: bool
    reason: str
    budget: str | None = None
    limit: str | None = None
    unit: str | None = None
    spent: str | None = None
    until: str | None = None
    note: str | None = None
    except_: tuple[str, ...] | None = msgspec.field(default=None, name="except")


_decode: Final = msgspec.json.Decoder(_Flag).decode


def _blocked(value: bytes) -> Blocked | None:
    flag = _decode(value)
    if not flag.blocked:
        return None
    return Blocked(
        flag.scope,
        flag.reason,
        flag.budget,
        flag.limit,
        flag.unit,
        flag.spent,
        parse_instant(flag.until) if flag.until is not None else None,
        flag.note,
        flag.except_ or (),
    )


class SharedFlags:
    """What the latest flags say. The second stage writes those of its partition n to partition n of the topic."""

    def __init__(self, settings: Settings) -> None:
        self._held: dict[str, Blocked] = {}
        self._following = Following(settings, Topic.FLAGS, range(DELTA_PARTITIONS), self._take_record)

    def latest(self, scope: str) -> Blocked | None:
        """The latest known flag of a scope without a user; None when it does not block."""
        return self._held.get(scope)

    def take(self, key: bytes | None, value: bytes | None) -> None:
        """One record of the topic. What cannot be read leaves the flag as it was."""
        if key is None or key.startswith(_USERS):
            return
        scope = key.decode("utf-8", "replace")
        try:
            flag = read_record(_blocked, value) if value is not None else None
        except UnreadableError as error:
            log.error("a flag is invalid and ignored", scope=scope[:128], why=str(error))
            return
        if flag is None:
            self._held.pop(scope, None)
        else:
            self._held[scope] = flag

    async def read_all(self) -> None:
        """Everything the topic holds now. Raises KafkaError when Kafka cannot be reached."""
        await self._following.read_all()
        log.info("flags of shared scopes read", blocked=len(self._held))

    async def follow(self) -> None:
        """Take in what is written from now on, for ever. `read_all` comes first."""
        await self._following.follow(lambda: None)

    async def stop(self) -> None:
        """Close the connection."""
        await self._following.stop()

    def _take_record(self, record: ConsumerRecord) -> bool:
        self.take(record.key, record.value)
        # Reservations ask by themselves.
        return False
