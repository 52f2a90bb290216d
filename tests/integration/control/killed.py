"""A process that dies by SIGKILL in the middle of a change: before, between or after its writes, or after the commit.

Reads settings as JSON, one of `between`, `uncommitted`, `committed`, and `change` or `grant`.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Sequence
from typing import Any

from aiokafka import AIOKafkaProducer

from tollgate.control.change import OutRecord, new_change
from tollgate.control.follower import Follower
from tollgate.control.grants import grant_records
from tollgate.control.writer import GrantWriter, Transaction, Writer
from tollgate.runtime.settings import Settings
from tollgate.schemas.refusals import Refusal


class Dying(Transaction[Any]):
    """Dies at the named moment, when Kafka has acknowledged everything up to it."""

    moment = ""

    async def _commit(self, producer: AIOKafkaProducer, records: Sequence[OutRecord]) -> None:
        if self.moment == "committed":
            await super()._commit(producer, records)
        else:
            await producer.begin_transaction()
            for record in records if self.moment == "uncommitted" else records[:1]:
                topic = self._settings.topic(record.topic)
                headers = list(record.headers)
                partition = record.partition
                await producer.send_and_wait(topic, record.value, record.key, partition=partition, headers=headers)
        os.kill(os.getpid(), signal.SIGKILL)


class DyingWriter(Dying, Writer):
    """Of a change."""


class DyingGrantWriter(Dying, GrantWriter):
    """Of a grant."""


async def grant_and_die(settings: Settings, moment: str) -> None:
    """Grant u1 credits and die."""
    data = {"credits": "5", "kind": "bonus"}
    records = grant_records("c-1", "u1", data, source="cli", actor="dead", now_ms=time.time_ns() // 1_000_000)
    assert not isinstance(records, Refusal)
    writer = DyingGrantWriter(settings, records)
    writer.moment = moment
    await writer.until_done()


async def die(settings: Settings, moment: str) -> None:
    """Change the company's budget and die."""
    follower = Follower(settings)
    await follower.start()
    change = new_change(
        "the-dead-one",
        "budget/global:month:usd",
        {"scope": "global", "limit": "13"},
        actor="dead",
        reason="",
        expect_version=None,
        idempotency_key="once",
        request=None,
    )
    writer = DyingWriter(settings, follower, change, time.time_ns() // 1_000_000)
    writer.moment = moment
    await writer.until_done()


if __name__ == "__main__":
    program = {"change": die, "grant": grant_and_die}[sys.argv[3]]
    asyncio.run(program(Settings.model_validate_json(sys.argv[1]), sys.argv[2]))
